"""Starts the drivers of the corpus and judges what they saw."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.sandbox import as_user, at_level, corpus, stage
from tests.sandbox.corpus import Case
from tests.sandbox.drive import Seen
from tests.sandbox.order import Order

ROOT = Path(__file__).parent.parent.parent
#: A user that no system has: nothing on this machine belongs to it, and no process counts against its limit.
UID = 60_800
AS_ROOT = os.geteuid() == 0

CASES = [Case(level, user) for user in (corpus.USERS if AS_ROOT else ("user",)) for level in at_level.levels()]

#: More than this may a program not make our own processes grow, bytes.
GROWTH = 20 * 2**20
#: On top of the wall limit, as the sandbox itself measured it, seconds.
LATE = 1.0
#: What we may need on top of what the program needed, seconds: to start, to clear up, to read what it left. More than
#: that, since a driver shares two cores with another driver and whatever else runs here.
LATE_OUTSIDE = 3.0
#: A driver with all programs needs less than a minute; nothing waits longer, seconds.
_PATIENCE = 200.0


class Cases:
    """One driver for each case, two at a time, started when the first test asks."""

    def __init__(self, items: Iterable[pytest.Item]) -> None:
        wanted: dict[Case, list[str]] = {}
        for parameters in _parameters(items):
            if {"case", "name"} <= set(parameters):
                wanted.setdefault(parameters["case"], []).append(parameters["name"])
        self._pool = ThreadPoolExecutor(2)
        self._found: dict[Case, Future[dict[str, Seen]]] = {
            case: self._pool.submit(drive, Drive(case, tuple(names))) for case, names in wanted.items()
        }

    def seen(self, case: Case, name: str) -> Seen:
        return self._found[case].result()[name]


class Drive(NamedTuple):
    """What one driver is to do; for the options see order.py."""

    case: Case
    names: tuple[str, ...]
    off: frozenset[str] = frozenset()
    lacks: tuple[tuple[str, str], ...] = ()
    landlock: int = 0
    leaky: bool = False


class Drives:
    """The drivers that are parameters of the selected tests, each once, two at a time: starting one takes longer than
    most programs."""

    def __init__(self, items: Iterable[pytest.Item]) -> None:
        values = (value for parameters in _parameters(items) for value in parameters.values())
        wanted = dict.fromkeys(value for value in values if isinstance(value, Drive))
        self._pool = ThreadPoolExecutor(2)
        self._found = {each: self._pool.submit(drive, each) for each in wanted}

    def seen(self, wanted: Drive) -> dict[str, Seen]:
        return self._found[wanted].result()


def _parameters(items: Iterable[pytest.Item]) -> Iterator[dict[str, Any]]:
    for item in items:
        yield getattr(getattr(item, "callspec", None), "params", {})


def drive(wanted: Drive) -> dict[str, Seen]:
    """Runs a driver to its end; what it saw of each program."""
    order: Order = {
        "level": wanted.case.level,
        "user": wanted.case.user,
        "off": sorted(wanted.off),
        "lacks": dict(wanted.lacks),
        "landlock": wanted.landlock,
        "leaky": wanted.leaky,
        "programs": list(wanted.names),
    }
    arguments = ["-m", "tests.sandbox.drive"]
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
    """All that must hold.

    Raises:
        AssertionError: Something does not.
    """
    told = f"{program.title} at {case.level} as {case.user}: {seen.verdict} {seen.reason!r} {seen.failure}"
    assert not seen.failure, told
    assert seen.verdict in program.verdicts(case), f"{told}\n{seen.output}"
    says = program.get("says", case)
    assert not says or any(words in seen.reason for words in says.split(" | ")), f"{told}\nnot said: {says}"
    bad = program.get("measured", case)
    assert bad in seen.measured and bool(bad) == bool(seen.measured and seen.verdict == "ok"), (
        f"{told}\n{seen.measured}"
    )
    hits, may = set(program.get("hits", case).split()), set(program.get("may", case).split())
    assert hits <= set(seen.marks) <= hits | may, f"{told}\ngot at: {seen.marks}, expected: {sorted(hits)}"
    assert not seen.left, f"{told}\nleft running: {seen.left}"
    assert seen.grown < GROWTH, f"{told}\nwe grew by {seen.grown / 2**20:.0f} MB"
    assert seen.wall_seconds < program.limits.wall_seconds + LATE, told
    # A program that waited on an overloaded machine is run a second time before it counts.
    runs = 2 if seen.verdict == "wall_limit" else 1
    assert seen.elapsed < runs * seen.wall_seconds + LATE_OUTSIDE, f"{told}\ntook us {seen.elapsed:.1f} s"
