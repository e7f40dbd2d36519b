"""Runs the cells of a sweep one after another; what is done is skipped, what was begun goes on."""

from __future__ import annotations

import fnmatch
import os
import shutil
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from localgif.config import ModelsFile, nearest
from localgif.errors import ConfigError, LocalGifError, RunCorrupt, RunError, RunLocked, RunMismatch
from localgif.runs.files import is_locked, now, replace_file, take_lock
from localgif.runs.read import load_record
from localgif.search.progress import Progress
from localgif.search.resume import differences, resume
from localgif.search.run import optimize
from localgif.sweep.gather import SWEEP, SweepRecord, read_sweep_record
from localgif.sweep.plan import Cell, Plan


class CellEnd(NamedTuple):
    """What became of a cell."""

    cell: Cell
    status: Literal["done", "failed", "left"]
    seconds: float
    """Of this call; 0 when the run was there already."""
    result: dict[str, Any] | None
    error: str
    """Why it failed, with the remedy."""
    trace: str = ""
    """Where a bug was met; "" for failures that have a name."""
    known: bool = False
    """Whether it was done before this call."""


class Watch(Protocol):
    """Is told what a sweep does."""

    def begins(self, cell: Cell, number: int, cells: int) -> Progress:
        """A cell begins; what its run tells goes to the progress that is given back."""

    def ended(self, end: CellEnd, number: int, cells: int) -> None:
        """A cell ended. One that failed is told each time that it did."""


def choose(plan: Plan, pattern: str | None) -> tuple[Cell, ...]:
    """The cells whose names match a shell pattern; all without one.

    Raises:
        ConfigError: none does.
    """
    chosen = tuple(cell for cell in plan.cells if pattern is None or fnmatch.fnmatchcase(cell.name, pattern))
    if not chosen:
        names = [cell.name for cell in plan.cells]
        raise ConfigError(f"--cells {pattern}: no cell is called so", nearest(str(pattern), names[:20]))
    return chosen


def run_sweep(
    plan: Plan, models: ModelsFile, runs_dir: Path, cells: Sequence[Cell], watch: Watch, minutes: float | None = None
) -> dict[str, Any]:
    """Run cells of a plan, each in `runs_dir / plan.name / cell.name`.

    A cell that fails is tried again at the end, once. Ctrl-C ends the sweep; the next call goes on with its cell.

    Args:
        plan: The whole plan.
        models: models.toml.
        runs_dir: Where runs lie.
        cells: Those of the plan that are to be run.
        watch: Who is told.
        minutes: Start no new cell after so many.

    Returns:
        The object that `--json` prints.

    Raises:
        RunMismatch: a cell was run, or begun, with other settings.
        RunLocked: another process runs the sweep.
        RunError: the folder cannot be written.
    """
    began = time.monotonic()
    folder = runs_dir / plan.name
    lock = _open(folder)
    try:
        _check_stored(folder, cells)
        record = _recorded(folder, plan)
        ends: dict[str, CellEnd] = {}
        waiting = list(cells)
        for _ in range(2):
            failed = []
            for cell in waiting:
                number = cells.index(cell) + 1
                if (
                    minutes is not None
                    and time.monotonic() - began >= 60 * minutes
                    and not _is_done(folder / cell.name)
                ):
                    ends.setdefault(cell.name, CellEnd(cell, "left", 0.0, None, ""))
                    continue
                end = _carry_out(folder, cell, models, watch, number, len(cells))
                ends[cell.name] = end
                watch.ended(end, number, len(cells))
                record = _noted(folder, record, end)
                if end.status == "failed":
                    failed.append(cell)
            waiting = failed
        return _summary(plan, folder, [ends[cell.name] for cell in cells])
    finally:
        os.close(lock)


def _open(folder: Path) -> int:
    """Make and lock the sweep's folder; gives back the lock."""
    if (folder / "run.json").exists():
        raise ConfigError(f"{folder} is a run, so it cannot be a sweep", "rename the sweep's file")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return take_lock(folder)
    except OSError as error:
        raise RunError(f"{folder} cannot be written: {error.strerror}", "choose another --runs-dir") from None


def _check_stored(folder: Path, cells: Sequence[Cell]) -> None:
    """Before anything starts: what lies there belongs to this plan."""
    for cell in cells:
        if not (folder / cell.name / "run.json").exists():
            continue
        stored = load_record(folder / cell.name).settings
        differing = list(differences(stored, cell.settings.model_dump(mode="json")))
        if differing:
            lines = "".join(f"\n  {line}" for line in differing)
            raise RunMismatch(
                f"the cell {cell.name} of {folder} was run with other settings:{lines}",
                "put them back, or rename the sweep's file: another name is another sweep",
            )


def _recorded(folder: Path, plan: Plan) -> SweepRecord:
    """sweep.json, written anew: the file may have got more cells since."""
    old = read_sweep_record(folder) if (folder / SWEEP).exists() else None
    names = {cell.name: cell.values for cell in plan.cells}
    record = SweepRecord(
        name=plan.name,
        started=old.started if old is not None else now(),
        axes=plan.axes,
        cells=names,
        failures={name: why for name, why in old.failures.items() if name in names} if old is not None else {},
    )
    return _write(folder, record)


def _write(folder: Path, record: SweepRecord) -> SweepRecord:
    try:
        replace_file(folder / SWEEP, record.model_dump_json(indent=2).encode() + b"\n")
    except OSError as error:
        raise RunError(f"{folder / SWEEP} cannot be written: {error.strerror}", "free some space, then go on") from None
    return record


def _noted(folder: Path, record: SweepRecord, end: CellEnd) -> SweepRecord:
    """Failures are kept for `localgif compare`: a cell that never began has no run that could tell."""
    failures = {name: why for name, why in record.failures.items() if name != end.cell.name}
    if end.status == "failed":
        failures[end.cell.name] = end.error
    if failures == record.failures:
        return record
    return _write(folder, record.model_copy(update={"failures": failures}))


def _is_done(folder: Path) -> bool:
    return (folder / "run.json").exists() and load_record(folder).status == "done"


def _carry_out(folder: Path, cell: Cell, models: ModelsFile, watch: Watch, number: int, cells: int) -> CellEnd:
    began, home = time.monotonic(), folder / cell.name
    try:
        if _is_done(home):
            return CellEnd(cell, "done", 0.0, load_record(home).result, "", known=True)
        progress = watch.begins(cell, number, cells)
        if (home / "run.json").exists():
            result = resume(home, models, progress, {})
        else:
            _clear_stillborn(home)
            result = optimize(cell.settings, folder, cell.name, progress)
    except LocalGifError as error:
        return CellEnd(cell, "failed", time.monotonic() - began, None, str(error))
    except Exception as error:
        # A bug that one cell meets is told as one, and must not cost the rest of the night.
        return CellEnd(
            cell, "failed", time.monotonic() - began, None, f"{type(error).__name__}: {error}", traceback.format_exc()
        )
    return CellEnd(cell, "done", time.monotonic() - began, result, "")


def _clear_stillborn(home: Path) -> None:
    """Remove the folder of a run that died before it had a run.json: nothing was done."""
    if not home.exists():
        return
    if is_locked(home):
        raise RunLocked(f"{home} is being written by another process", "Wait for it, or stop it.")
    for path in home.rglob("*"):
        ours = path.name == ".lock" or (path.name.startswith(".run.json.") and path.name.endswith(".tmp"))
        if not ours and not (path.is_dir() and path.name in ("candidates", "code", "gifs")):
            raise RunCorrupt(f"{home} has no run.json, but holds {path.name}", "move it away")
    shutil.rmtree(home)


def _summary(plan: Plan, folder: Path, ends: Sequence[CellEnd]) -> dict[str, Any]:
    return {
        "sweep": plan.name,
        "folder": str(folder),
        **{status: sum(end.status == status for end in ends) for status in ("done", "failed", "left")},
        "cells": [
            {
                "cell": end.cell.name,
                "values": end.cell.values,
                "status": end.status,
                "folder": str(folder / end.cell.name),
                "seconds": round(end.seconds, 1),
                "seed_mean": end.result["seed"]["mean"] if end.result else None,
                "best_mean": end.result["best"]["mean"] if end.result else None,
                "verdict": end.result["verdict"]["word"] if end.result else None,
                "error": end.error or None,
            }
            for end in ends
        ],
    }
