"""A run starts only where programs are confined as far as was asked; what it had is in its record."""

from __future__ import annotations

from pathlib import Path

import pytest

from localgif.errors import SandboxTooWeak
from localgif.run.optimize import optimize
from localgif.sandbox import probe
from localgif.sandbox.protocol import LAYERS, LEVELS, NO_READ_CONFINEMENT, WEAK
from localgif.store.read import load_run
from tests.kit import Notes, fenced, program, settings
from tests.scripted import Scripted, serving


@pytest.fixture(autouse=True)
def weak_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "checked", probe.Check(WEAK, (), ("full: no seccomp",)))
    monkeypatch.setattr(probe, "accepted", NO_READ_CONFINEMENT)


def test_nothing_is_started_on_a_machine_that_is_too_weak(tmp_path: Path) -> None:
    with pytest.raises(SandboxTooWeak) as caught:
        optimize(settings("http://127.0.0.1:9"), tmp_path / "runs", "r", Notes())
    assert caught.value.exit_code == 3
    assert "only at level weak, which is weaker than no-read-confinement" in caught.value.message
    assert "--sandbox-level weak" in caught.value.remedy
    assert not (tmp_path / "runs").exists()


def test_a_weak_level_that_was_accepted_is_used_and_recorded(tmp_path: Path) -> None:
    with serving(Scripted(animator=[fenced(program(2))], reflector=["x"])) as server:
        chosen = settings(server.url, metric_calls=1, samples=1, fresh=1, sandbox_level=WEAK)
        optimize(chosen, tmp_path, "r", Notes())
    record = load_run(tmp_path / "r").record
    assert (record.settings.sandbox_level, record.sandbox.level) == (WEAK, WEAK)
    assert record.sandbox.layers == tuple(sorted(LAYERS[WEAK]))
    assert "full: no seccomp" in record.sandbox.notes


def test_the_names_of_levels_are_the_same_everywhere() -> None:
    for level in LEVELS:
        assert settings("http://127.0.0.1:9", sandbox_level=level).sandbox_level == level
