"""The level follows from what attacks achieve, never from what is claimed, and a level that is too weak is refused."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import localgif
from localgif.errors import SandboxError, SandboxTooWeak
from localgif.records import Limits, Verdict
from localgif.sandbox import landlock, probe, runner
from localgif.sandbox.keeper_client import DEFAULT_LIMITS, PROMISES, run_confined
from localgif.sandbox.protocol import (
    FULL,
    LANDLOCK,
    LAYERS,
    LIMITS_ONLY,
    NO_READ_CONFINEMENT,
    SECCOMP,
    WEAK,
    Ended,
    Job,
    LayerMissing,
)
from tests.sandbox.guest_kit import SMALL, Ground, grounds, source_of

HERE = Path(localgif.__file__).parent.parent
BY_LANDLOCK = {"write a file outside", "delete a file outside", "read a file outside"}


@pytest.fixture
def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ground]:
    with grounds(tmp_path, monkeypatch) as ground:
        yield ground
        ground.check()


@pytest.fixture
def undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "checked", None)
    monkeypatch.setattr(probe, "accepted", NO_READ_CONFINEMENT)


def confining(layer_filter: Callable[[frozenset[str]], frozenset[str]]) -> Callable[[Job, Limits, Path], Ended]:
    """run_confined on a machine that silently does only a part of what it is asked for."""
    return lambda job, limits, path: run_confined(
        dataclasses.replace(job, layers=layer_filter(job.layers)), limits, path
    )


def lacking(layer: str) -> Callable[[Job, Limits, Path], Ended]:
    """run_confined on a machine that says that it lacks a layer."""

    def run(job: Job, limits: Limits, path: Path) -> Ended:
        if layer in job.layers:
            raise LayerMissing(f"no {layer} here")
        return run_confined(job, limits, path)

    return run


def test_this_machine_is_checked_and_nothing_is_left(ground: Ground) -> None:
    found = probe.check()
    assert [each.name for each in found.probes] == [attack.name for attack in probe.ATTACKS]
    if found.level == FULL:
        assert all(each.refused for each in found.probes) and not found.missing


def test_a_filter_that_lets_everything_pass_is_found_out(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "run_confined", confining(lambda layers: layers - {SECCOMP}))
    found = probe.check()
    assert found.level == WEAK
    assert len(found.missing) == 2 and "these were not refused: " in found.missing[0]
    assert {each.name for each in found.probes if each.refused} >= BY_LANDLOCK


def test_rules_that_are_not_in_force_are_found_out(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "run_confined", confining(lambda layers: layers - {LANDLOCK}))
    found = probe.check()
    assert found.level == NO_READ_CONFINEMENT
    assert found.missing == (f"full: these were not refused: {', '.join(a.name for a in probe.ATTACKS[:3])}",)
    assert {each.name: each.refused for each in found.probes}["read a file outside"] is False


@pytest.mark.parametrize(("layer", "level"), [(LANDLOCK, NO_READ_CONFINEMENT), (SECCOMP, WEAK)])
def test_a_missing_layer_leads_to_the_next_level(
    layer: str, level: str, ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "run_confined", lacking(layer))
    found = probe.check()
    assert found.level == level
    assert found.missing[0] == f"full: no {layer} here"


def test_inside_as_many_rulesets_as_the_kernel_stacks_the_next_level_is_found() -> None:
    """In a process of its own, which puts one ruleset after another upon itself until no more fit."""
    try:
        landlock.handled_rights()
    except OSError as error:
        pytest.skip(f"no Landlock here: {error}")
    code = """
from localgif.sandbox import landlock, probe, syscalls
syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
ruleset = landlock.create_ruleset((1 << 12,))  # no symbolic links
try:
    for _ in range(1000):
        syscalls.syscall(syscalls.LANDLOCK_RESTRICT_SELF, ruleset, 0)
except OSError:
    found = probe.check()
    print(found.level, *found.missing)
"""
    run = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(HERE)}, capture_output=True, text=True, timeout=60
    )
    assert run.stderr == ""
    assert run.stdout.startswith(f"{NO_READ_CONFINEMENT} full: Landlock is not available: [Errno {errno.E2BIG}]")


def test_only_limits_are_left_when_nothing_holds(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "run_confined", confining(lambda layers: layers - {SECCOMP, LANDLOCK}))
    found = probe.check()
    assert found.level == LIMITS_ONLY
    assert {each.name for each in found.probes if not each.refused} >= BY_LANDLOCK


def test_a_machine_on_which_nothing_works_is_our_failure(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_HARMLESS_PROGRAM", "def make_gif(path):\n    raise ValueError('odd machine')\n")
    with pytest.raises(SandboxError, match=r"(?s)a harmless program does not run here: limits-only: .*odd machine"):
        probe.check()


# --- the decision ------------------------------------------------------------------------------------------------


def pretend(monkeypatch: pytest.MonkeyPatch, level: str) -> list[int]:
    """Every check finds `level`; the list holds one entry per check."""
    checks: list[int] = []

    def check() -> probe.Check:
        checks.append(1)
        return probe.Check(level, (), ("full: no Landlock",))

    monkeypatch.setattr(probe, "check", check)
    return checks


@pytest.mark.usefixtures("undecided")
@pytest.mark.parametrize("level", [WEAK, LIMITS_ONLY])
def test_a_weak_machine_runs_nothing_until_it_is_accepted(
    level: str, ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = pretend(monkeypatch, level)
    with pytest.raises(SandboxTooWeak, match=f"--sandbox-level {level}"):
        runner.run_program(source_of("b1_plain.py"), SMALL)
    with pytest.raises(SandboxTooWeak):
        runner.measure_gif(b"GIF89a", "localgif.gif.measure")
    assert probe.decide(level).level == level
    assert ground.run(source_of("b1_plain.py")).verdict is Verdict.OK
    assert len(checks) == 1


@pytest.mark.usefixtures("undecided")
def test_asking_for_more_than_there_is_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, NO_READ_CONFINEMENT)
    assert probe.decide().level == NO_READ_CONFINEMENT
    with pytest.raises(SandboxTooWeak, match=r"(?s)only at level no-read-confinement.*no Landlock"):
        probe.decide(FULL)


@pytest.mark.usefixtures("undecided")
@pytest.mark.parametrize("level", [FULL, NO_READ_CONFINEMENT])
def test_the_description_can_be_stored_and_tells_the_truth(level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, level)
    stored = json.loads(probe.describe().model_dump_json())
    assert (stored["level"], stored["layers"]) == (level, sorted(LAYERS[level]))
    assert stored["root"] is (os.geteuid() == 0)
    assert stored["notes"] == [PROMISES[level], "full: no Landlock"]
    assert {name: stored[name] for name in Limits.model_fields} == DEFAULT_LIMITS.model_dump()


def test_where_only_the_output_may_be_written_it_is_written_in_every_way(ground: Ground) -> None:
    layers = LAYERS[NO_READ_CONFINEMENT]
    good = ground.run(source_of("b1_plain.py"), layers=layers)
    assert good.verdict is Verdict.OK and good.gif is not None
    ways = [
        "open(path, 'wb').write(DATA)",
        "pathlib.Path(path).write_bytes(DATA)",
        "os.write(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC), DATA)",
        "open(path, 'wb').write(b'x' * 9999); open(path, 'wb').write(DATA)",
        "open(path, 'wb').write(DATA[:9]); open(path, 'ab').write(DATA[9:])",
        "open('out.gif', 'w+b').write(DATA)",
        "io.open(path, 'xb').write(DATA)",
    ]
    for way in ways:
        source = f"import io, os, pathlib\nDATA = {good.gif!r}\ndef make_gif(path):\n    {way}\n"
        result = ground.run(source, layers=layers)
        assert (result.verdict, result.gif) == (Verdict.OK, good.gif), (way, result.reason)


def test_where_only_the_output_may_be_written_a_missing_one_is_missing(ground: Ground) -> None:
    layers = LAYERS[NO_READ_CONFINEMENT]
    result = ground.run("def make_gif(path):\n    pass\n", layers=layers)
    assert (result.verdict, result.reason) == (Verdict.OUTPUT_MISSING, "the program wrote no out.gif")
    result = ground.run("def make_gif(path):\n    open('other', 'w')\n", layers=layers)
    assert result.verdict is Verdict.ERROR and "Operation not permitted: 'other'" in result.reason
