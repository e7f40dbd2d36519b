"""Finds the runs that are to be compared: by name, or all of a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field

from localgif.errors import ConfigError, RunCorrupt
from localgif.records import Record
from localgif.store.read import find_run, read_versioned
from localgif.sweep.runs import Finished, Left, read_run

SWEEP = "sweep.json"
SWEEP_VERSION = 1


class SweepRecord(Record):
    """sweep.json: what a sweep is to hold, written before its first run begins. The runs themselves are the truth about
    what became of them."""

    schema_version: int = SWEEP_VERSION
    name: str
    started: str
    axes: dict[str, tuple[Any, ...]]
    cells: dict[str, dict[str, Any]]
    """Name of a cell, and of its folder -> its values, axis by axis; in their order."""
    failures: dict[str, str] = Field(default_factory=dict)
    """Cell -> why it failed, the last time."""


class Gathered(NamedTuple):
    """What was found."""

    title: str
    runs: tuple[Finished, ...]
    left: tuple[Left, ...]
    axes: tuple[str, ...]
    """Of the sweeps."""
    folder: Path
    """Where the page belongs."""


def gather(runs_dir: Path, names: Sequence[str], rule: str | None = None) -> Gathered:
    """The runs that some names stand for.

    Args:
        runs_dir: Where runs and sweeps lie.
        names: Of runs and of sweeps, or their folders.
        rule: Whose scores to take; by default those that the runs optimised.

    Raises:
        ConfigError: nothing of that name, no run that is done, runs scored by different rules.
        RunCorrupt: a sweep.json cannot be read.
    """
    runs: list[Finished | Left] = []
    axes: dict[str, None] = {}
    sweeps: list[Path] = []
    seen: set[Path] = set()
    for name in names:
        folder = _sweep_folder(runs_dir, name)
        if folder is None:
            folders = [find_run(runs_dir, name)]
        else:
            sweeps.append(folder)
            record = read_sweep_record(folder)
            axes.update(dict.fromkeys(record.axes))
            folders, left = _cells(folder, record)
            runs += left
        for each in folders:
            if each.resolve() not in seen:
                seen.add(each.resolve())
                runs.append(read_run(each, rule))
    found = tuple(run for run in runs if isinstance(run, Finished))
    missing = tuple(run for run in runs if isinstance(run, Left))
    if not found:
        why = "; ".join(f"{run.name}: {run.why}" for run in missing[:5])
        raise ConfigError(f"none of these runs can be compared ({why})", "compare runs that are done: localgif runs")
    _one_rule(found)
    single = len(names) == 1 and sweeps
    return Gathered(
        f"sweep {sweeps[0].name}" if single else f"{len(found)} runs",
        found,
        missing,
        tuple(axis for axis in axes if axis != "seed"),
        sweeps[0] if single else runs_dir,
    )


def read_sweep_record(folder: Path) -> SweepRecord:
    """Raises RunCorrupt when a sweep.json cannot be read, or a newer version wrote it."""
    path = folder / SWEEP
    record = read_versioned(path, SweepRecord, SWEEP_VERSION, unreadable="check its permissions", damaged=_REWRITE)
    if any("/" in name or name.startswith(".") for name in record.cells):
        raise RunCorrupt(f"{path} names a cell that cannot be a folder of the sweep", _REWRITE)
    return record


_REWRITE = "Remove it and call localgif sweep with the sweep's file again: it is written anew, the runs are kept."


def _sweep_folder(runs_dir: Path, name: str) -> Path | None:
    return next((folder for folder in (runs_dir / name, Path(name)) if (folder / SWEEP).is_file()), None)


def _cells(folder: Path, record: SweepRecord) -> tuple[list[Path], list[Finished | Left]]:
    """Folders of the cells that have a run, and what is missing."""
    present: list[Path] = []
    left: list[Finished | Left] = []
    for name in record.cells:
        if (folder / name / "run.json").is_file():
            present.append(folder / name)
        else:
            left.append(Left(name, record.failures.get(name, "not started")))
    others = sorted(path.parent.name for path in folder.glob("*/run.json") if path.parent.name not in record.cells)
    return present, [*left, *(Left(name, "the sweep's file has no such cell any more") for name in others)]


def _one_rule(runs: Sequence[Finished]) -> None:
    rules = sorted({run.rule for run in runs})
    if len(rules) > 1:
        raise ConfigError(
            f"the runs are scored by different rules: {', '.join(rules)}",
            "compare them by one that all have: --scorer strict, or --scorer article",
        )
