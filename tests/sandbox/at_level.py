"""Runs a program at a level of our choice, a layer switched off if a test wants that. The one place that knows how."""

from __future__ import annotations

from localgif.records import Limits, ProgramResult
from localgif.sandbox.runner import run_program


def run_at(level: str, off: str, source: str, limits: Limits) -> ProgramResult:
    assert level == "limits-only" and not off
    return run_program(source, limits)


def own_processes() -> set[int]:
    """Pids of the sandbox's own processes that live between programs."""
    return set()


def levels() -> list[str]:
    """What this machine offers."""
    return ["limits-only"]


def stop() -> None:
    """Ends what lives between programs."""
