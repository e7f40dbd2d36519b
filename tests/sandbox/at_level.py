"""Runs a program at a level of our choice, a layer switched off if a test wants that. The one place that knows how."""

from __future__ import annotations

from localgif.records import Limits, Measurements, ProgramResult
from localgif.sandbox.runner import measure_gif, run_program


def run_at(level: str, off: str, source: str, limits: Limits) -> ProgramResult:
    assert level == "limits-only" and not off
    return run_program(source, limits)


def measure_at(level: str, off: str, data: bytes, limits: Limits) -> Measurements | str:
    return measure_gif(data, "localgif.gif.measure", limits)


def own_processes() -> set[int]:
    """Pids of the sandbox's own processes that live between programs."""
    return set()


def levels() -> list[str]:
    """What this machine offers."""
    return ["limits-only"]


def stop() -> None:
    """Ends what lives between programs."""
