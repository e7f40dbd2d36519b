"""Whether a model runs where its server is, and whether it can see and think, as far as its server says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from localgif import offline
from localgif.endpoint.discover import check_abilities, check_ollama
from localgif.errors import EndpointUnreachable, PreflightError
from localgif.run.roles import check_role, open_roles
from localgif.settings import EndpointSettings, Role
from tests.kit import Notes, model, settings
from tests.scripted import MODEL, Scripted, serving


def test_the_servers_word_is_kept_or_missing() -> None:
    for said in (None, (), ("completion", "vision")):
        with serving(Scripted(capabilities=said)) as server:
            assert check_ollama(server.url, MODEL).capabilities == said


def test_a_model_that_sees_passes_without_a_word() -> None:
    with serving(Scripted(capabilities=["completion", "vision"])) as server:
        assert check_abilities(server.url, check_ollama(server.url, MODEL), ("vision",)) == ""


@pytest.mark.parametrize("said", [["completion", "tools"], []])
def test_a_model_that_cannot_see_is_refused_with_the_servers_words(said: Sequence[str], tmp_path: Path) -> None:
    with serving(Scripted(capabilities=said)) as server:
        seeing = settings(server.url, reflector=model("reflector", server.url, vision=True))
        with pytest.raises(PreflightError) as caught, open_roles(seeing, Notes()):
            pass
        with pytest.raises(PreflightError):
            check_role(seeing.reflector)
    message = caught.value.message
    assert MODEL in message and server.url in message and (", ".join(said) or "none") in message
    assert "vision" in caught.value.remedy
    assert caught.value.exit_code == 3


def test_a_server_that_does_not_say_is_believed_with_a_note() -> None:
    notes = Notes()
    with serving(Scripted(capabilities=None)) as server:
        seeing = settings(server.url, reflector=model("reflector", server.url, vision=True))
        with open_roles(seeing, notes):
            pass
        line = check_role(seeing.reflector)
    assert len(notes.notes) == 1 and "does not say whether" in notes.notes[0] and MODEL in notes.notes[0]
    assert notes.notes[0] in line


def test_for_the_animator_vision_means_nothing() -> None:
    notes = Notes()
    with serving(Scripted(capabilities=["completion"])) as server:
        blind = settings(server.url, animator=model("animator", server.url, vision=True))
        with open_roles(blind, notes):
            pass
        check_role(blind.animator)
    assert not notes.notes


@pytest.mark.parametrize("name", ["gpt-oss:120b-cloud", "kimi-k2:cloud", "Kimi-K2:CLOUD"])
def test_a_name_of_ollamas_cloud_is_refused_before_anybody_is_asked(name: str) -> None:
    with serving(Scripted()) as server:
        with pytest.raises(PreflightError) as caught:
            check_ollama(server.url, name)
        assert not server.history
    assert name in caught.value.message and "the cloud" in caught.value.message
    assert "OLLAMA_NO_CLOUD=1" in caught.value.remedy and "offline = false" in caught.value.remedy
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    "said", [{"remote_host": "https://ollama.com:443", "remote_model": "gpt-oss:120b"}, {"remote_model": "kimi-k2"}]
)
def test_a_local_name_that_stands_for_a_model_elsewhere_is_refused(said: dict[str, str], tmp_path: Path) -> None:
    with serving(Scripted(shown=said)) as server:
        with pytest.raises(PreflightError) as caught, open_roles(settings(server.url), Notes()):
            pass
        with pytest.raises(PreflightError):
            check_role(model("animator", server.url))
        there = EndpointSettings(name="ollama", kind="ollama", url=server.url, cloud=True)
        assert MODEL in check_role(model("animator", server.url, endpoint=there))
    assert MODEL in caught.value.message and said.get("remote_host", "the cloud") in caught.value.message


@pytest.mark.parametrize("name", ["cloudy:7b", "cloud:latest", "my-cloud:3b", "stratus:cloudless"])
def test_a_model_that_is_only_called_after_clouds_is_not_refused_for_it(name: str) -> None:
    with serving(Scripted()) as server, pytest.raises(PreflightError, match="has no model"):
        check_ollama(server.url, name)


def test_an_endpoint_on_another_machine_is_named_before_it_is_asked() -> None:
    url, notes = "http://192.0.2.1:9", Notes()
    far = EndpointSettings(name="gpu", kind="ollama", url=url, allow_remote=True)
    both = settings(url, animator=model("animator", url, endpoint=far), reflector=model("reflector", url, endpoint=far))
    offline.guard()  # so that no test sends a packet to another machine
    try:
        with pytest.raises(EndpointUnreachable, match="nothing leaves this machine"), open_roles(both, notes):
            pass
    finally:
        offline.release()
    assert notes.notes == [f"{url} is not this machine; it gets to read prompts and programs (allow_remote = true)"]


@pytest.mark.parametrize("role", ["animator", "reflector"])
def test_a_model_that_cannot_think_is_refused_when_it_is_let(role: Role, tmp_path: Path) -> None:
    with serving(Scripted(capabilities=["completion"])) as server:
        thinking = settings(server.url, **{role: model(role, server.url, think=True)})
        with pytest.raises(PreflightError) as caught, open_roles(thinking, Notes()):
            pass
    assert caught.value.code == "E-MODEL-THINK" and "think = true" in caught.value.remedy
    with serving(Scripted(capabilities=["completion", "thinking"])) as server:
        thinking = settings(server.url, **{role: model(role, server.url, think=True)})
        notes = Notes()
        with open_roles(thinking, notes):
            pass
    assert not notes.notes
