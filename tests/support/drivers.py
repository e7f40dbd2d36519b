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
from tests.support.drive import Order, Seen

ROOT = Path(__file__).parent.parent.parent
#: A user that no system has: it owns nothing on this machine, and no process counts against its limit.
UID = 60_800
AS_ROOT = os.geteuid() == 0
#: The first one has more rights, so its programs can do more harm.
USERS = corpus.USERS if AS_ROOT else ("user",)

CASES = [Case(level, user) for user in USERS for level in drive.levels()]

#: A program may not make our own processes grow by more than this, bytes.
_GROWTH = 20 * 2**20
#: On top of the wall limit, as the sandbox itself measured it, seconds.
_LATE = 2.0
#: What we may need on top of what the program needed, seconds: to start, to clean up, to measure its GIF. Generous,
#: because a driver shares two cores with other drivers and everything else that runs here.
_LATE_OUTSIDE = 6.0
#: A driver with all programs needs less than a minute; nothing waits longer, seconds.
_PATIENCE = 200.0
#: Drivers at a time. More than cores: many programs only wait for a limit.
_AT_A_TIME = 3
#: Programs of one driver. Starting a driver takes longer than most programs.
_PROGRAMS = 80


class Drive(NamedTuple):
    """What one driver has to do; see drive.Order."""

    case: Case
    names: tuple[str, ...]
    off: frozenset[str] = frozenset()
    lacks: tuple[tuple[str, str], ...] = ()
    landlock: int = 0
    leaky: bool = False


class Drivers:
    """The drivers that the selected tests need, started when the first test asks.

    A test names its driver by a parameter of type Drive, or its program by the parameters `case` and `name`.
    """

    def __init__(self, items: list[pytest.Item]) -> None:
        parameters: list[dict[str, Any]] = [getattr(getattr(item, "callspec", None), "params", {}) for item in items]
        wanted: dict[Case, list[str]] = {}
        for each in parameters:
            if {"case", "name"} <= set(each):
                wanted.setdefault(each["case"], []).append(each["name"])
        # Every n-th, so that the parts take about the same time.
        parts = {case: -(-len(names) // _PROGRAMS) for case, names in wanted.items()}
        drives = [
            Drive(case, (*names[k :: parts[case]],)) for case, names in wanted.items() for k in range(parts[case])
        ]
        drives += [value for each in parameters for value in each.values() if isinstance(value, Drive)]
        self._pool = ThreadPoolExecutor(_AT_A_TIME)
        self._found = {each: self._pool.submit(drive_to_the_end, each) for each in dict.fromkeys(drives)}
        self._of: dict[tuple[Case, str], Future[dict[str, Seen]]] = {
            (each.case, name): self._found[each] for each in drives for name in each.names if each == Drive(*each[:2])
        }

    def seen(self, wanted: Drive) -> dict[str, Seen]:
        return self._found[wanted].result()

    def program(self, case: Case, name: str) -> Seen:
        return self._of[case, name].result()[name]


def drive_to_the_end(wanted: Drive) -> dict[str, Seen]:
    """Runs a driver; what it saw of each program."""
    order: Order = {
        "level": wanted.case.level,
        "user": wanted.case.user,
        "off": sorted(wanted.off),
        "lacks": dict(wanted.lacks),
        "landlock": wanted.landlock,
        "leaky": wanted.leaky,
        "programs": list(wanted.names),
    }
    arguments = ["-m", "tests.support.drive"]
    if AS_ROOT and wanted.case.user == "user":
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
    return {line["program"]: Seen(**line) for line in lines}


def check(program: corpus.Program, case: Case, seen: Seen) -> None:
    """Checks everything that must hold for a program.

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
    assert seen.elapsed < runs * seen.wall_seconds + _LATE_OUTSIDE, f"{about}\ntook us {seen.elapsed:.1f} s"
