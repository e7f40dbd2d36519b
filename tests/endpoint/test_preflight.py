"""Whether a model can see, as far as its server says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from localgif.endpoint.preflight import check_ollama, check_vision
from localgif.errors import PreflightError
from localgif.search.roles import check_role, open_roles
from tests.kit import Notes, model, settings
from tests.scripted import MODEL, Scripted, serving


def test_the_servers_word_is_kept_or_missing() -> None:
    for said in (None, (), ("completion", "vision")):
        with serving(Scripted(capabilities=said)) as server:
            assert check_ollama(server.url, MODEL).capabilities == said


def test_a_model_that_sees_passes_without_a_word() -> None:
    with serving(Scripted(capabilities=["completion", "vision"])) as server:
        assert check_vision(server.url, check_ollama(server.url, MODEL)) == ""


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
