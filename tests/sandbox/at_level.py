"""Runs programs as an order says: at a level, with layers switched off, on a kernel that is made to lack something."""

from __future__ import annotations

import functools
import os

from localgif.records import Limits, Measurements, ProgramResult
from localgif.sandbox import keeper_client, landlock, probe
from localgif.sandbox.protocol import LANDLOCK, LAYERS
from localgif.sandbox.runner import measure_gif, run_program
from tests.sandbox import lacking
from tests.sandbox.order import Order


def arrange(order: Order) -> None:
    """To be called before the first program.

    Raises:
        AssertionError: The kernel lacks something, but not the level that was foreseen was found.
    """
    if order["leaky"]:
        clean = keeper_client.clean_environment
        keeper_client.clean_environment = lambda mark: {**os.environ, **clean(mark)}
    if order["landlock"]:
        keeper_client.BOOT = lacking.boot_with_landlock(order["landlock"]) + keeper_client.BOOT
    for thing, name in order["lacks"].items():
        lacking.lack(thing, name)
    if order["lacks"]:
        found = probe.decide(accept=order["level"])
        assert found.level == order["level"], found


def run_at(order: Order, source: str, limits: Limits) -> ProgramResult:
    return run_program(source, limits, layers=_layers(order))


def measure_at(order: Order, data: bytes, limits: Limits) -> Measurements | str:
    return measure_gif(data, "localgif.gif.measure", limits, layers=_layers(order))


def _layers(order: Order) -> frozenset[str] | None:
    """None: those of the level that was found, as in a run."""
    return None if order["lacks"] else LAYERS[order["level"]] - set(order["off"])


def own_processes() -> set[int]:
    """Pids of the sandbox's own processes that live between programs."""
    pid = keeper_client.pid()
    return set() if pid is None else {pid}


def stop() -> None:
    """Ends what lives between programs."""
    keeper_client.stop()


@functools.cache
def levels() -> tuple[str, ...]:
    """The levels for which this machine has the layers."""
    try:
        landlock.handled_rights()
    except OSError:
        return tuple(level for level, layers in LAYERS.items() if LANDLOCK not in layers)
    return tuple(LAYERS)
