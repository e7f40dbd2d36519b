"""What becomes of the cells of a sweep: told to who watches, kept in sweep.json, summed up at the end."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from localgif.errors import ConfigError, RunError, RunMismatch
from localgif.files import now, replace_file, take_lock
from localgif.records import RunResult
from localgif.run.resume import differences
from localgif.search.progress import Progress
from localgif.store.read import load_record
from localgif.sweep.carry import Outcome
from localgif.sweep.gather import SWEEP, SweepRecord, read_sweep_record
from localgif.sweep.plan import Cell, Plan


class CellEnd(NamedTuple):
    """What became of a cell."""

    cell: Cell
    status: Literal["done", "failed", "left"]
    seconds: float
    """Of this call; 0 when the run was there already."""
    result: RunResult | None
    error: str
    """Why it failed, with the remedy."""
    trace: str = ""
    """Where a bug was met; "" for failures that have a name."""
    known: bool = False
    """Whether it was done before this call."""
    where: str = ""
    """Name of the worker that it ran on; "" for this process."""


class Watch(Protocol):
    """Is told what a sweep does."""

    def begins(self, cell: Cell, number: int, cells: int) -> Progress:
        """A cell begins; what its run tells goes to the progress that is given back."""

    def ended(self, end: CellEnd, number: int, cells: int) -> None:
        """A cell ended. One that failed is told each time that it did."""

    def note(self, text: str) -> None:
        """Something worth a line of its own."""


def end_of(cell: Cell, outcome: Outcome, seconds: float, where: str = "") -> CellEnd:
    """What became of a cell that was tried."""
    status: Literal["done", "failed"] = "failed" if outcome.result is None else "done"
    return CellEnd(cell, status, seconds, outcome.result, outcome.error, outcome.trace, where=where)


def is_done(home: Path) -> bool:
    """Whether the run of a cell is done; raises RunCorrupt where that cannot be read."""
    return (home / "run.json").exists() and load_record(home).status == "done"


def known_end(cell: Cell, home: Path) -> CellEnd:
    """What became of a cell that was done before this call."""
    return CellEnd(cell, "done", 0.0, load_record(home).result, "", known=True)


class Kept:
    """The folder of a sweep, locked, and its sweep.json. Use `opened`."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.folder = folder
        self._plan = plan
        self._record = self._recorded()

    def _recorded(self) -> SweepRecord:
        """sweep.json, written anew: the file may have got more cells since."""
        old = read_sweep_record(self.folder) if (self.folder / SWEEP).exists() else None
        names = {cell.name: cell.values for cell in self._plan.cells}
        return self._write(
            SweepRecord(
                name=self._plan.name,
                started=old.started if old is not None else now(),
                axes=self._plan.axes,
                cells=names,
                failures={name: why for name, why in old.failures.items() if name in names} if old is not None else {},
            )
        )

    def _write(self, record: SweepRecord) -> SweepRecord:
        path = self.folder / SWEEP
        try:
            replace_file(path, record.model_dump_json(indent=2).encode() + b"\n")
        except OSError as error:
            raise RunError(f"{path} cannot be written: {error.strerror}", "free some space, then go on") from None
        return record

    def note(self, end: CellEnd) -> None:
        """Failures are kept for `localgif compare`: a cell that never began has no run that could tell.

        Raises:
            RunError: sweep.json cannot be written.
        """
        failures = {name: why for name, why in self._record.failures.items() if name != end.cell.name}
        if end.status == "failed":
            failures[end.cell.name] = end.error
        if failures != self._record.failures:
            self._record = self._write(self._record.model_copy(update={"failures": failures}))

    def summary(self, ends: Sequence[CellEnd]) -> dict[str, Any]:
        """The object that `--json` prints."""
        return {
            "sweep": self._plan.name,
            "folder": str(self.folder),
            **{status: sum(end.status == status for end in ends) for status in ("done", "failed", "left")},
            "cells": [
                {
                    "cell": end.cell.name,
                    "values": end.cell.values,
                    "status": end.status,
                    "folder": str(self.folder / end.cell.name),
                    "seconds": round(end.seconds, 1),
                    "seed_mean": end.result.seed.mean if end.result else None,
                    "best_mean": end.result.best.mean if end.result else None,
                    "verdict": end.result.verdict.word if end.result else None,
                    "error": end.error or None,
                    "worker": end.where or None,
                }
                for end in ends
            ],
        }


@contextlib.contextmanager
def opened(plan: Plan, runs_dir: Path, cells: Sequence[Cell]) -> Iterator[Kept]:
    """The folder of a sweep, made if it is not there, and locked for the time of the block.

    Args:
        plan: The whole plan.
        runs_dir: Where runs lie.
        cells: Those that are to be run.

    Raises:
        ConfigError: there is a run of that name.
        RunMismatch: a cell was run, or begun, with other settings.
        RunLocked: another process runs the sweep.
        RunError: the folder cannot be written.
    """
    folder = runs_dir / plan.name
    if (folder / "run.json").exists():
        raise ConfigError(f"{folder} is a run, so it cannot be a sweep", "rename the sweep's file")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = take_lock(folder)
    except OSError as error:
        raise RunError(f"{folder} cannot be written: {error.strerror}", "choose another --runs-dir") from None
    try:
        _check_stored(folder, cells)
        yield Kept(plan, folder)
    finally:
        os.close(lock)


def _check_stored(folder: Path, cells: Sequence[Cell]) -> None:
    """Before anything starts: what lies there belongs to this plan."""
    for cell in cells:
        if not (folder / cell.name / "run.json").exists():
            continue
        stored = load_record(folder / cell.name).settings.model_dump(mode="json")
        differing = list(differences(stored, cell.settings.model_dump(mode="json")))
        if differing:
            lines = "".join(f"\n  {line}" for line in differing)
            raise RunMismatch(
                f"the cell {cell.name} of {folder} was run with other settings:{lines}",
                "put them back, or rename the sweep's file: another name is another sweep",
            )
