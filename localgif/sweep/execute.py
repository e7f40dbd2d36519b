"""Runs the cells of a sweep one after another; what is done is skipped, what was begun goes on."""

from __future__ import annotations

import fnmatch
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from localgif.errors import ConfigError, LocalGifError, nearest
from localgif.models.toml import ModelsFile
from localgif.sweep.carry import carry_out
from localgif.sweep.cells import CellEnd, Watch, end_of, is_done, known_end, opened
from localgif.sweep.plan import Cell, Plan


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
    with opened(plan, runs_dir, cells) as kept:
        ends: dict[str, CellEnd] = {}
        waiting = list(cells)
        for _ in range(2):
            failed = []
            for cell in waiting:
                number = cells.index(cell) + 1
                late = minutes is not None and time.monotonic() - began >= 60 * minutes
                if late and not is_done(kept.folder / cell.name):
                    ends.setdefault(cell.name, CellEnd(cell, "left", 0.0, None, ""))
                    continue
                end = _carry_out(kept.folder / cell.name, cell, models, watch, number, len(cells))
                ends[cell.name] = end
                watch.ended(end, number, len(cells))
                kept.note(end)
                if end.status == "failed":
                    failed.append(cell)
            waiting = failed
        return kept.summary([ends[cell.name] for cell in cells])


def _carry_out(home: Path, cell: Cell, models: ModelsFile, watch: Watch, number: int, cells: int) -> CellEnd:
    began = time.monotonic()
    try:
        if is_done(home):
            return known_end(cell, home)
    except LocalGifError as error:
        return CellEnd(cell, "failed", time.monotonic() - began, None, str(error))
    outcome = carry_out(home, cell.settings, cell.suite, models, watch.begins(cell, number, cells))
    return end_of(cell, outcome, time.monotonic() - began)
