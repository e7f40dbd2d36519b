"""Runs programs of the corpus one after the other, as the user that it was started as, and checks what they did. It
prints one line of JSON per program; see Seen.

A process of its own, because user and subreaper are properties of a process, and because the growth of our own memory
is measured in a process that does nothing else. It reads one JSON object, an Order, from standard input.
"""

from __future__ import annotations

import errno
import functools
import json
import os
import resource
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from typing import NamedTuple, TypedDict

import psutil

from localgif.errors import SandboxError
from localgif.gif import MEASURE
from localgif.records import Limits
from localgif.sandbox import confine, jobs, keeper_client, portable, probe, syscalls
from localgif.sandbox.protocol import KEEPERS, LANDLOCK, LAYERS, SEATBELT
from localgif.sandbox.runner import measure_gif, run_program
from localgif.sandbox.syscalls import ALLOW, Instruction, load_filter, pack_filter
from tests.support import corpus, stage

#: Room above what this process has, bytes, so that no experiment takes the machine down.
_OWN_SPACE = 2 * 2**30


class Job(NamedTuple):
    """One program at one level, with some layers switched off."""

    level: str
    off: tuple[str, ...]
    program: str


class Order(TypedDict):
    """What a driver has to do."""

    user: str
    lacks: dict[str, str]
    """What the kernel refuses ("landlock", "seccomp"), and with which error. localgif must then find this level."""
    landlock: int
    """The Landlock version that the keeper sees; 0: the real one."""
    leaky: bool
    """Whether the keeper starts with our whole environment, as a careless app would do it."""
    jobs: list[Job]


@dataclass
class Seen:
    """The outcome of one job, for the test."""

    job: Job
    verdict: str = ""
    reason: str = ""
    output: str = ""
    marks: list[str] = field(default_factory=list)
    """What it reached; see stage.py."""
    left: list[str] = field(default_factory=list)
    """Processes that were alive when the result came."""
    grown: int = 0
    """Resident bytes that this process and the sandbox's own have gained."""
    wall_seconds: float = 0.0
    elapsed: float = 0.0
    failure: str = ""
    """An exception in place of a result; always a fault of localgif."""
    measured: str = ""
    """Why the GIF of a program with the verdict ok cannot be measured."""


def main() -> None:
    order: Order = json.load(sys.stdin)
    wanted = [Job(level, tuple(off), name) for level, off, name in order["jobs"]]
    known = corpus.programs()
    own = psutil.Process().memory_info().vms + _OWN_SPACE
    resource.setrlimit(resource.RLIMIT_AS, (own, resource.getrlimit(resource.RLIMIT_AS)[1]))
    stage.become_subreaper()
    scene = stage.Stage()
    tempfile.tempdir = str(scene.jobs)
    try:
        _arrange(order, wanted[0].level)
        # Not a program's doing: everything that is started, imported and cached once, measuring included.
        layers = _layers(order, wanted[0])
        for _ in range(2):
            result = run_program(known["b1_plain"].source({}), corpus.SMALL, layers=layers)
            if result.gif is not None:
                _measure(result.gif, corpus.SMALL, layers)
        for job in wanted:
            print(json.dumps(asdict(_seen(known[job.program], job, order, scene))), flush=True)
    finally:
        jobs.stop()
        scene.close()


def _seen(program: corpus.Program, job: Job, order: Order, scene: stage.Stage) -> Seen:
    case, layers = corpus.Case(job.level, order["user"]), _layers(order, job)
    found = Seen(job)
    if program.get("after", case):
        earlier = corpus.programs()["b1_plain"].source({}) + f"\n# {scene.token} END\n"
        run_program(earlier, corpus.SMALL, layers=layers)
    before = _own_memory()
    started = time.monotonic()
    said = _fill_in(found, program.source(scene.places()), program.limits, layers)
    found.elapsed = time.monotonic() - started
    found.left = stage.left_running(lambda: _own_processes() | portable.pids() | {scene.victim.pid})
    found.marks = sorted(scene.marks(said, set(program.get("hits", case).split())))
    found.grown = _own_memory() - before
    return found


def _fill_in(found: Seen, source: str, limits: Limits, layers: frozenset[str] | None) -> bytes:
    """Fills in the result; returns all that came out of the program."""
    try:
        result = run_program(source, limits, layers=layers)
    except SandboxError as error:
        found.failure = str(error)
        return b""
    found.verdict, found.reason, found.output = str(result.verdict), result.reason, result.output[:3000]
    found.wall_seconds = result.wall_seconds
    if result.gif is not None:
        found.measured = _measure(result.gif, limits, layers)
    return result.output.encode() + result.reason.encode() + (result.gif or b"")


def _measure(data: bytes, limits: Limits, layers: frozenset[str] | None) -> str:
    measured = measure_gif(data, MEASURE, limits, layers=layers)
    return measured if isinstance(measured, str) else ""


def _layers(order: Order, job: Job) -> frozenset[str] | None:
    """None: the layers of the level that localgif found, as in a run."""
    return None if order["lacks"] else LAYERS[job.level] - set(job.off)


def _own_processes() -> set[int]:
    pid = keeper_client.pid()
    return set() if pid is None else {pid}


def _own_memory() -> int:
    return sum(psutil.Process(pid).memory_info().rss for pid in {os.getpid(), *_own_processes()})


@functools.cache
def levels() -> tuple[str, ...]:
    """The levels for which this machine has the layers; without the one that needs a Mac."""
    lacking = {SEATBELT} | (KEEPERS if keeper_client.missing() else set())
    try:
        confine.handled_rights()
    except OSError:
        lacking |= {LANDLOCK}
    return tuple(level for level, layers in LAYERS.items() if not lacking & layers)


# --- another machine, or another app -----------------------------------------------------------------------------

#: Rights to files, to the network, and scopes, by the version of Landlock that brought them.
_RIGHTS = {1: (13,), 2: (14,), 3: (15,), 4: (15, 2), 5: (16, 2), 6: (16, 2, 2)}

_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_NUMBER_AT, _FIRST_ARGUMENT_AT = 0, 16
_ALLOW = Instruction(_RETURN, 0, 0, ALLOW)


def _arrange(order: Order, level: str) -> None:
    """Put this process, its keepers and the kernel into the state that the order describes.

    Raises:
        AssertionError: The kernel lacks something, but localgif found another level.
    """
    if order["leaky"]:
        clean = keeper_client.clean_environment
        keeper_client.clean_environment = lambda mark: {**os.environ, **clean(mark)}
    if order["landlock"]:
        masks = tuple((1 << count) - 1 for count in _RIGHTS[order["landlock"]])
        keeper_client.BOOT = (
            "import sys; sys.path.insert(0, sys.argv[-1]); from localgif.sandbox import confine as c; "
            f"r = c.handled_rights; c.handled_rights = lambda: tuple(a & b for a, b in zip(r(), {masks})); "
        ) + keeper_client.BOOT
    if order["lacks"]:
        for thing, name in order["lacks"].items():  # seccomp last, which nothing can filter afterwards
            syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
            load_filter(pack_filter(_refusing(thing, getattr(errno, name))))
        found = probe.decide(accept=level)
        assert found.level == level, found


def _refusing(thing: str, number: int) -> list[Instruction]:
    """A filter that refuses "landlock" or "seccomp" with an error number, as an older kernel or a container would."""
    refused = Instruction(_RETURN, 0, 0, 0x00050000 | number)
    call = Instruction(_LOAD, 0, 0, _NUMBER_AT)
    if thing == "landlock":
        first = syscalls.LANDLOCK_CREATE_RULESET  # its three calls have one number after the other
        tests = [step for n in range(first, first + 3) for step in (Instruction(_EQUAL, 0, 1, n), refused)]
        return [call, *tests, _ALLOW]
    option = [Instruction(_LOAD, 0, 0, _FIRST_ARGUMENT_AT), Instruction(_EQUAL, 0, 1, syscalls.PR_SET_SECCOMP)]
    prctl = syscalls.numbers(syscalls.MACHINE)["prctl"]
    return [call, Instruction(_EQUAL, 1, 0, prctl), _ALLOW, *option, refused, _ALLOW]


if __name__ == "__main__":
    main()
