"""The level follows from what attacks achieve, not from what is claimed, and a level that is too weak is refused."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import localgif
from localgif.errors import SandboxError, SandboxTooWeak
from localgif.gif import MEASURE
from localgif.records import Limits, Verdict
from localgif.sandbox import confine, probe, runner
from localgif.sandbox.jobs import DEFAULT_LIMITS, PROMISES, run_confined
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
)
from tests.support.ground import PLAIN, SMALL, Ground

HERE = Path(localgif.__file__).parent.parent
BY_LANDLOCK = {"write a file outside", "delete a file outside", "read a file outside"}


@pytest.fixture
def undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "checked", None)
    monkeypatch.setattr(probe, "accepted", NO_READ_CONFINEMENT)


def silently_without(missing: str) -> Callable[[Job, Limits, Path], Ended]:
    """run_confined on a machine that silently ignores a layer."""
    return lambda job, limits, path: run_confined(dataclasses.replace(job, layers=job.layers - {missing}), limits, path)


def test_this_machine_is_checked_and_nothing_is_left(ground: Ground) -> None:
    found = probe.check()
    assert [each.name for each in found.probes] == [attack.name for attack in probe.ATTACKS]
    if found.level == FULL:
        assert all(each.refused for each in found.probes) and not found.missing


def test_a_port_that_somebody_else_uses_for_udp_does_not_matter(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = socket.create_server
    with contextlib.ExitStack() as stack:

        def beside_a_taken_port(address: tuple[str, int]) -> socket.socket:
            server = create(address)
            with contextlib.suppress(OSError):  # it is taken already
                stack.enter_context(socket.socket(type=socket.SOCK_DGRAM)).bind(server.getsockname())
            return server

        monkeypatch.setattr(socket, "create_server", beside_a_taken_port)
        assert probe.check().probes


@pytest.mark.parametrize(("missing", "level"), [(SECCOMP, WEAK), (LANDLOCK, NO_READ_CONFINEMENT)])
def test_a_layer_that_does_nothing_is_found_out(
    missing: str, level: str, ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With neither of them: test_seatbelt.py, test_a_profile_that_does_nothing_is_found_out."""
    monkeypatch.setattr(probe, "run_confined", silently_without(missing))
    found = probe.check()
    assert found.level == level
    assert found.missing[0].startswith("full: these were not refused: ")
    refused = {each.name for each in found.probes if each.refused}
    assert refused >= BY_LANDLOCK if missing != LANDLOCK else "read a file outside" not in refused
    if missing == LANDLOCK:
        assert found.missing == (f"full: these were not refused: {', '.join(a.name for a in probe.ATTACKS[:3])}",)


def test_inside_as_many_rulesets_as_the_kernel_stacks_the_next_level_is_found() -> None:
    """In a process of its own, which puts one ruleset after another upon itself until no more fit."""
    try:
        confine.handled_rights()
    except OSError as error:
        pytest.skip(f"no Landlock here: {error}")
    code = """
from localgif.sandbox import confine, probe, syscalls
syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
ruleset = confine.create_ruleset((1 << 12,))  # no symbolic links
try:
    for _ in range(1000):
        syscalls.syscall(syscalls.LANDLOCK_RESTRICT_SELF, ruleset, 0)
except OSError:
    found = probe.check()
    print(found.level, *found.missing)
"""
    run = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(HERE)}, capture_output=True, text=True, timeout=120
    )
    assert run.stderr == ""
    assert run.stdout.startswith(f"{NO_READ_CONFINEMENT} full: Landlock is not available: [Errno {errno.E2BIG}]")


def test_a_machine_on_which_nothing_works_is_our_failure(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(job: Job, limits: Limits, path: Path) -> Ended:
        broken = b"def make_gif(path):\n    raise ValueError('odd machine')\n"
        return run_confined(dataclasses.replace(job, payload=broken), limits, path)

    monkeypatch.setattr(probe, "run_confined", run)
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
        runner.run_program(PLAIN, SMALL)
    with pytest.raises(SandboxTooWeak):
        runner.measure_gif(b"GIF89a", MEASURE)
    assert probe.decide(level).level == level
    assert ground.run(PLAIN).verdict is Verdict.OK
    assert len(checks) == 1


@pytest.mark.usefixtures("undecided")
def test_asking_for_more_than_the_machine_offers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, NO_READ_CONFINEMENT)
    assert probe.decide().level == NO_READ_CONFINEMENT
    with pytest.raises(SandboxTooWeak, match=r"(?s)only at level no-read-confinement.*no Landlock"):
        probe.decide(FULL)


@pytest.mark.usefixtures("undecided")
@pytest.mark.parametrize("level", [FULL, NO_READ_CONFINEMENT])
def test_the_description_can_be_stored_and_is_true(level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, level)
    stored = json.loads(probe.describe().model_dump_json())
    assert (stored["level"], stored["layers"]) == (level, sorted(LAYERS[level]))
    assert stored["root"] is (os.geteuid() == 0)
    assert stored["notes"] == [PROMISES[level], "full: no Landlock"]
    assert {name: stored[name] for name in Limits.model_fields} == DEFAULT_LIMITS.model_dump()
