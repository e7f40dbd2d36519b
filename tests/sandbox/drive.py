"""Runs programs of the corpus one after the other at one level, as the user that it is started as, and looks at all
that must hold after each of them. One line of JSON per program on standard output; see Seen.

A process of its own, since a user and a subreaper are properties of a process, and so that our own growth is measured
in one that does nothing else. Standard input: one JSON object, see order.py.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field

import psutil

from localgif.errors import SandboxError
from localgif.records import Limits
from tests.sandbox import at_level, corpus, stage
from tests.sandbox.order import Order

#: Above what this process has, bytes: no experiment may take the machine down.
_OWN_SPACE = 2 * 2**30


@dataclass
class Seen:
    """What became of one program, as the test wants to know it."""

    program: str
    verdict: str = ""
    reason: str = ""
    output: str = ""
    marks: list[str] = field(default_factory=list)
    """What it got at; see stage.py."""
    left: list[str] = field(default_factory=list)
    """Processes that were alive when the result was there."""
    grown: int = 0
    """Resident bytes that this process and the sandbox's own have more than before."""
    wall_seconds: float = 0.0
    elapsed: float = 0.0
    failure: str = ""
    """An exception instead of a result: ours, whatever it says."""
    measured: str = ""
    """Why the GIF of a program with the verdict ok cannot be measured."""


def main() -> None:
    order: Order = json.load(sys.stdin)
    known = corpus.programs()
    own = psutil.Process().memory_info().vms + _OWN_SPACE
    resource.setrlimit(resource.RLIMIT_AS, (own, resource.getrlimit(resource.RLIMIT_AS)[1]))
    stage.become_subreaper()
    scene = stage.Stage()
    tempfile.tempdir = str(scene.jobs)
    try:
        at_level.arrange(order)
        warm_up(order)
        for name in order["programs"]:
            print(json.dumps(asdict(seen(known[name], order, scene))), flush=True)
    finally:
        at_level.stop()
        scene.close()


def warm_up(order: Order) -> None:
    """What is started, imported and cached once is not a program's doing, nor what measuring its GIF loads."""
    source = corpus.programs()["b1_plain"].source({})
    for _ in range(2):
        result = at_level.run_at(order, source, corpus.SMALL)
        if result.gif is not None:
            at_level.measure_at(order, result.gif, corpus.SMALL)


def seen(program: corpus.Program, order: Order, scene: stage.Stage) -> Seen:
    case = corpus.Case(order["level"], order["user"])
    found = Seen(program.name)
    if program.get("after", case):
        earlier = corpus.programs()["b1_plain"].source({}) + f"\n# {scene.token} END\n"
        at_level.run_at(order, earlier, corpus.SMALL)
    before = own_memory()
    started = time.monotonic()
    told = run(program.source(scene.places()), program.limits, order, found)
    found.elapsed = time.monotonic() - started
    ours = at_level.own_processes()
    found.left = stage.left_running(ours | {scene.victim.pid})
    found.marks = sorted(scene.marks(told, set(program.get("hits", case).split())))
    found.grown = own_memory() - before
    return found


def run(source: str, limits: Limits, order: Order, found: Seen) -> bytes:
    """Fills in the result; returns all that came out of the program."""
    try:
        result = at_level.run_at(order, source, limits)
    except SandboxError as error:
        found.failure = str(error)
        return b""
    found.verdict, found.reason, found.output = str(result.verdict), result.reason, result.output[:3000]
    found.wall_seconds = result.wall_seconds
    if result.gif is not None:
        measured = at_level.measure_at(order, result.gif, limits)
        found.measured = measured if isinstance(measured, str) else ""
    return result.output.encode() + result.reason.encode() + (result.gif or b"")


def own_memory() -> int:
    return sum(psutil.Process(pid).memory_info().rss for pid in {os.getpid(), *at_level.own_processes()})


if __name__ == "__main__":
    main()
