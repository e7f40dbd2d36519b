"""Starts the drivers of the corpus (drive.py), and judges what they saw."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support import as_user, corpus, drive, stage
from tests.support.corpus import Case
from tests.support.drive import Job, Order, Seen

ROOT = Path(__file__).parent.parent.parent
#: A user that no system has: it owns nothing on this machine, and no process counts against its limit.
UID = 60_800
AS_ROOT = os.geteuid() == 0
#: The first one has more rights, so its programs can do more harm.
USERS = corpus.USERS if AS_ROOT else ("user",)

CASES = [Case(level, user) for user in USERS for level in drive.levels()]

#: A program may not make our own processes grow by more than this, bytes.
_GROWTH = 20 * 2**20
#: What we may need on top of what the program needed, seconds: to start, to clean up, to measure its GIF. It bounds
#: what would never end: a driver shares two cores with other drivers and everything else that runs here.
_LATE = 30.0
#: A driver with all programs needs less than a minute on an idle machine, seconds.
_PATIENCE = 900.0
#: Drivers at a time. More than cores: many programs only wait for a limit.
_AT_A_TIME = 3
#: Programs of one driver. Starting a driver takes longer than most programs.
_PROGRAMS = 220


class Machine(NamedTuple):
    """Where programs run; a driver has one."""

    user: str
    lacks: tuple[tuple[str, str], ...] = ()
    landlock: int = 0
    leaky: bool = False


class Drive(NamedTuple):
    """Some programs at one level; see drive.Order."""

    level: str
    names: tuple[str, ...]
    machine: Machine
    off: frozenset[str] = frozenset()

    @property
    def case(self) -> Case:
        return Case(self.level, self.machine.user)

    @property
    def jobs(self) -> list[Job]:
        return [Job(self.level, tuple(sorted(self.off)), name) for name in self.names]


class Drivers:
    """The drivers that the selected tests need, started at the first request and shared by tests on one machine.

    A test names what it needs by a parameter of type Drive, or its program by the parameters `case` and `name`.
    """

    def __init__(self, items: list[pytest.Item]) -> None:
        wanted: dict[Machine, dict[Job, None]] = {}
        for item in items:
            if item.get_closest_marker("skip"):  # by a masked run: the level that it needs is not there
                continue
            given: dict[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
            drives = [value for value in given.values() if isinstance(value, Drive)]
            if {"case", "name"} <= set(given):
                drives.append(_alone(given["case"], given["name"]))
            for each in drives:
                wanted.setdefault(each.machine, {}).update(dict.fromkeys(each.jobs))
        self._pool = ThreadPoolExecutor(_AT_A_TIME)
        self._found: dict[tuple[Machine, Job], Future[dict[Job, Seen]]] = {}
        for machine, jobs in wanted.items():
            parts = -(-len(jobs) // _PROGRAMS)
            for k in range(parts):  # every n-th, so that the parts take about the same time
                part = [*jobs][k::parts]
                future = self._pool.submit(drive_to_the_end, machine, part)
                self._found.update({(machine, job): future for job in part})

    def seen(self, wanted: Drive) -> dict[str, Seen]:
        return {job.program: self._found[wanted.machine, job].result()[job] for job in wanted.jobs}

    def program(self, case: Case, name: str) -> Seen:
        return self.seen(_alone(case, name))[name]


def _alone(case: Case, name: str) -> Drive:
    return Drive(case.level, (name,), Machine(case.user))


def drive_to_the_end(machine: Machine, jobs: list[Job]) -> dict[Job, Seen]:
    """Run a driver; returns what it saw of each program."""
    order: Order = {**machine._asdict(), "lacks": dict(machine.lacks), "jobs": jobs}  # type: ignore[typeddict-item]
    arguments = ["-m", "tests.support.drive"]
    if AS_ROOT and machine.user == "user":
        arguments = [as_user.__file__, str(UID), *arguments]
    done = subprocess.run(
        [sys.executable, *arguments],
        input=json.dumps(order),
        capture_output=True,
        text=True,
        timeout=_PATIENCE,
        cwd=ROOT,
        env={**os.environ, stage.KEY: f"secret of the app: {secrets.token_hex(16)}"},
    )
    if done.returncode == as_user.CANNOT:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr[-4000:]
    lines: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    return dict(zip(jobs, (Seen(**line) for line in lines), strict=True))


def check(program: corpus.Program, case: Case, seen: Seen) -> None:
    """Check everything that must hold for a program.

    Raises:
        AssertionError: Something does not hold.
    """
    about = f"{program.title} at {case.level} as {case.user}: {seen.verdict} {seen.reason!r} {seen.failure}"
    assert not seen.failure, about
    assert seen.verdict in program.verdicts(case), f"{about}\n{seen.output}"
    says = program.get("says", case)
    assert not says or any(words in seen.reason for words in says.split(" | ")), f"{about}\nnot said: {says}"
    bad = program.get("measured", case)
    assert bad in seen.measured, f"{about}\n{seen.measured}"
    assert bool(bad) == bool(seen.measured and seen.verdict == "ok"), f"{about}\n{seen.measured}"
    hits, may = set(program.get("hits", case).split()), set(program.get("may", case).split())
    assert hits <= set(seen.marks) <= hits | may, f"{about}\ngot at: {seen.marks}, expected: {sorted(hits)}"
    assert not seen.left, f"{about}\nleft running: {seen.left}"
    assert seen.grown < _GROWTH, f"{about}\nwe grew by {seen.grown / 2**20:.0f} MB"
    assert seen.wall_seconds < program.limits.wall_seconds + _LATE, about
    # A program that waited on an overloaded machine runs a second time before it counts.
    runs = 2 if seen.verdict == "wall_limit" else 1
    assert seen.elapsed < runs * seen.wall_seconds + _LATE, f"{about}\ntook us {seen.elapsed:.1f} s"
