"""Opening both roles: remote models, abilities of models, and the models that `serve` offers."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from localgif import offline
from localgif.errors import ConfigError, EndpointUnreachable, ModelMissing, PreflightError
from localgif.run.roles import check_role, config_of_models, config_of_upstream, open_roles
from localgif.search.progress import Silent
from localgif.settings import EndpointSettings, Role
from tests.support.gateway_kit import in_thread, serving_app
from tests.support.kit import Notes, model, settings
from tests.support.scripted import MODEL, Scripted, serving


@pytest.mark.parametrize("said", [["completion", "tools"], []])
def test_a_model_that_cannot_see_is_refused_with_the_servers_words(said: Sequence[str]) -> None:
    with serving(Scripted(capabilities=said)) as server:
        seeing = settings(server.url, reflector=model("reflector", server.url, vision=True))
        with pytest.raises(PreflightError) as caught, open_roles(seeing, Notes()):
            pass
        with pytest.raises(PreflightError):
            check_role(seeing.reflector)
    message = caught.value.message
    assert MODEL in message and server.url in message and (", ".join(said) or "none") in message
    assert "vision" in caught.value.remedy and caught.value.exit_code == 3


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


@pytest.mark.parametrize("role", ["animator", "reflector"])
def test_a_model_that_cannot_think_is_refused_if_it_may(role: Role) -> None:
    with serving(Scripted(capabilities=["completion"])) as server:
        thinking = settings(server.url, **{role: model(role, server.url, think=True)})
        with pytest.raises(PreflightError) as caught, open_roles(thinking, Notes()):
            pass
    assert caught.value.code == "E-MODEL-THINK" and "think = true" in caught.value.remedy
    notes = Notes()
    with serving(Scripted(capabilities=["completion", "thinking"])) as server:
        thinking = settings(server.url, **{role: model(role, server.url, think=True)})
        with open_roles(thinking, notes):
            pass
    assert not notes.notes


def test_an_endpoint_on_another_machine_is_named_before_it_is_asked() -> None:
    url, notes = "http://192.0.2.1:9", Notes()
    far = EndpointSettings(name="gpu", kind="ollama", url=url, allow_remote=True)
    both = settings(url, animator=model("animator", url, endpoint=far), reflector=model("reflector", url, endpoint=far))
    offline.guard()  # so that no test sends a packet to another machine
    try:
        with pytest.raises(EndpointUnreachable, match="localgif blocked a connection"), open_roles(both, notes):
            pass
    finally:
        offline.release()
    assert len(notes.notes) == 1 and url in notes.notes[0] and "allow_remote = true" in notes.notes[0]


# --- what `serve` may offer ------------------------------------------------------------------------------------------


def listing(*models: dict[str, Any]) -> web.Application:
    """An OpenAI-compatible server that lists these models."""

    async def said(_: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": models})

    app = web.Application()
    app.router.add_get("/v1/models", said)
    return app


def test_an_upstream_offers_its_models() -> None:
    with pytest.raises(ConfigError, match="must end with /v1"):
        config_of_upstream("http://127.0.0.1:9/api", [], 0)
    with in_thread(lambda: serving_app(listing())) as root, pytest.raises(ModelMissing, match="has no models"):
        config_of_upstream(root, [], 0)
    two = [{"id": name, "max_model_len": 512} for name in ("alpha", "beta")]
    with in_thread(lambda: serving_app(listing(*two))) as root:
        assert [remote.name for remote in config_of_upstream(root, [], 0).remotes] == ["alpha", "beta"]
        assert [remote.name for remote in config_of_upstream(root, ["beta"], 0).remotes] == ["beta"]
        with pytest.raises(ModelMissing, match='no model "betta"') as caught:
            config_of_upstream(root, ["betta"], 0)
        assert '"beta"' in caught.value.remedy
    with (
        in_thread(lambda: serving_app(listing({"id": "alpha"}))) as root,
        pytest.raises(PreflightError, match=r"alpha") as unknown,
    ):
        config_of_upstream(root, [], 0)
    assert unknown.value.code == "E-WINDOW" and "localgif serve --model" in unknown.value.remedy


def test_what_an_ollama_serves_is_not_served_again() -> None:
    with pytest.raises(ConfigError, match="Ollama"):
        config_of_models([model("animator", "http://127.0.0.1:1")], 0, Silent())


def test_a_file_of_ones_own_is_whole_or_refused_and_said_to_be_unknown(tmp_path: Path) -> None:
    """Its sha256 is unknown, so only its header is checked; a missing chat template gives a note."""
    path = tmp_path / "own.gguf"
    tensor = struct.pack("<QcIQIQ", 1, b"t", 1, 32, 0, 0)
    path.write_bytes((b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + tensor).ljust(64, b"\0") + bytes(128))
    own = model("animator", "", endpoint=EndpointSettings(name="e", kind="embedded"), model="own", path=str(path))
    said = check_role(own)
    assert "not in the catalogue; complete" in said and "verified" not in said
    assert "no chat template" in said and "gguf-new-metadata" in said and "llama-server" in said, "both ways out"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ModelMissing, match="191 bytes, but its tensors need 192") as caught:
        check_role(own)
    assert caught.value.code == "E-WEIGHTS-REFUSED"
