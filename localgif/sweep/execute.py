"""Runs the cells of a sweep in order and keeps sweep.json. Finished cells are skipped, unfinished ones resumed."""

from __future__ import annotations

import contextlib
import fnmatch
import functools
import hashlib
import io
import os
import shutil
import tarfile
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import localgif
from localgif.errors import ConfigError, LocalGifError, RunCorrupt, RunError, RunLocked, RunMismatch, nearest
from localgif.files import check_free, is_file, is_locked, now, replace_inside, sync_folder, take_lock
from localgif.models.toml import ModelsFile
from localgif.records import RunResult
from localgif.run.optimize import begin, versions
from localgif.run.resume import differences, resume
from localgif.search.progress import Progress
from localgif.settings import Settings
from localgif.store.read import load_record
from localgif.sweep.plan import Cell, Plan
from localgif.sweep.read import SWEEP, SweepRecord, read_sweep_record
from localgif.tasks.suite import Suite

#: Largest archive of a run folder, bytes.
_MOST_BYTES = 512 * 1024 * 1024


class Outcome(NamedTuple):
    """How one attempt at a cell ended; the default means no attempt."""

    result: RunResult | None = None
    """The result of the run; None if it failed."""
    error: str = ""
    """Why it failed, with the remedy."""
    trace: str = ""
    """The traceback of a bug; "" for other failures."""
    exit_code: int = 1
    """Exit code of the error: 3 if this machine cannot start the run."""


class CellEnd(NamedTuple):
    """How a cell ended."""

    cell: Cell
    outcome: Outcome = Outcome()
    seconds: float = 0.0
    """Time in this call; 0 if the run was done before."""
    known: bool = False
    """Whether the run was done before this call."""
    worker: str = ""
    """The worker that ran it; "" for this process."""

    @property
    def status(self) -> Literal["done", "failed", "left"]:
        """The status in one word, for --json."""
        return "done" if self.outcome.result is not None else "failed" if self.outcome.error else "left"


class Watch(Protocol):
    """Receives the events of a sweep."""

    def begins(self, cell: Cell, number: int, cells: int) -> Progress:
        """A cell begins; returns the object that receives the progress of its run."""

    def ended(self, end: CellEnd, number: int, cells: int) -> None:
        """An attempt at a cell ended."""

    def note(self, text: str) -> None:
        """A message for the user."""


def choose(plan: Plan, pattern: str | None) -> tuple[Cell, ...]:
    """The cells whose names match a shell pattern; all cells without one. Raises ConfigError if none matches."""
    chosen = tuple(cell for cell in plan.cells if pattern is None or fnmatch.fnmatchcase(cell.name, pattern))
    if not chosen:
        names = [cell.name for cell in plan.cells]
        raise ConfigError(f"--cells {pattern}: no cell matches", nearest(str(pattern), names[:20]))
    return chosen


def run_sweep(
    plan: Plan, models: ModelsFile, runs_dir: Path, cells: Sequence[Cell], watch: Watch, minutes: float | None = None
) -> dict[str, Any]:
    """Run cells of a plan, each in `runs_dir / plan.name / cell.name`; returns the object that `--json` prints.

    A cell that fails is retried once at the end. After Ctrl-C the next call resumes the interrupted cell. No new cell
    starts after `minutes`. Raises as open_sweep.
    """
    began = time.monotonic()
    with open_sweep(plan, runs_dir, cells) as sweep:
        ends: dict[str, CellEnd] = {}
        waiting = list(cells)
        for _ in range(2):
            failed = []
            for cell in waiting:
                number = cells.index(cell) + 1
                late = minutes is not None and time.monotonic() - began >= 60 * minutes
                if late and not is_done(sweep.folder / cell.name):
                    ends.setdefault(cell.name, CellEnd(cell))
                    continue
                end = _attempt(sweep.folder / cell.name, cell, models, watch, number, len(cells))
                ends[cell.name] = end
                watch.ended(end, number, len(cells))
                sweep.note(end)
                if end.status == "failed":
                    failed.append(cell)
            waiting = failed
        return sweep.summary([ends[cell.name] for cell in cells])


def _attempt(home: Path, cell: Cell, models: ModelsFile, watch: Watch, number: int, cells: int) -> CellEnd:
    began = time.monotonic()
    try:
        if is_done(home):
            return known_end(cell, home)
    except LocalGifError as error:
        return CellEnd(cell, Outcome(error=str(error)), time.monotonic() - began)
    outcome = run_cell(home, cell.settings, cell.suite, models, watch.begins(cell, number, cells))
    return CellEnd(cell, outcome, time.monotonic() - began)


# --- one cell ---------------------------------------------------------------------------------------------------------


def run_cell(home: Path, settings: Settings, suite: Suite, models: ModelsFile, progress: Progress) -> Outcome:
    """Start the run of a cell in the folder `home`, or resume it. Failures are returned, not raised."""
    try:
        if home.is_symlink():
            raise RunCorrupt(f"{home} is a link", "if you trust this sweep, remove the link and repeat the command")
        if is_file(home / "run.json"):
            # The sweep file accepts the level; a run folder alone could not lower it.
            return Outcome(resume(home, models, progress, {"sandbox_level": settings.sandbox_level}))
        _clear_stillborn(home)
        return Outcome(begin(settings, suite, home.parent, home.name, progress))
    except LocalGifError as error:
        return Outcome(None, str(error), exit_code=error.exit_code)
    except Exception as error:
        # A bug in one cell is reported with its traceback, and does not stop the other cells.
        return Outcome(None, f"{type(error).__name__}: {error}", trace=traceback.format_exc())


def _clear_stillborn(home: Path) -> None:
    """Remove the folder of a run that died before it wrote run.json, because it contains no work.

    Raises:
        RunCorrupt: The folder contains something else.
        RunLocked: Another process is just starting this run.
    """
    if not home.exists():
        return
    if is_locked(home):
        raise RunLocked(f"{home} is being written by another process", "wait for that process, or stop it")
    for path in home.rglob("*"):
        ours = path.name == ".lock" or (path.name.startswith(".run.json.") and path.name.endswith(".tmp"))
        if not ours and not (path.is_dir() and path.name in ("candidates", "code", "gifs")):
            raise RunCorrupt(f"{home} has no run.json, but contains {path.name}", "move the folder away")
    shutil.rmtree(home)


def is_done(home: Path) -> bool:
    """Whether the run of a cell is done. Raises RunCorrupt if its run.json cannot be read."""
    return is_file(home / "run.json") and load_record(home).status == "done"


def known_end(cell: Cell, home: Path) -> CellEnd:
    """The end of a cell that was done before this call."""
    return CellEnd(cell, Outcome(load_record(home).result), known=True)


# --- between machines -------------------------------------------------------------------------------------------------


@functools.cache
def identity() -> dict[str, str]:
    """What must be the same on all machines of a sweep: versions, and a digest of localgif's source."""
    root = Path(localgif.__file__).parent
    source = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        source.update(f"{path.relative_to(root)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    # Kernel and distribution do not change results.
    return {key: value for key, value in versions().items() if key != "platform"} | {"source": source.hexdigest()[:12]}


def differing(there: Mapping[str, str] | Exception, here: Mapping[str, str]) -> str:
    """How a worker's `identity` differs from this command's, or why the worker has none; "" if they are the same."""
    if isinstance(there, Exception):
        return f"it cannot run localgif ({type(there).__name__}: {there})"
    lines = [f"{n}: {there.get(n)} there, {here.get(n)} here" for n in {**there, **here} if there.get(n) != here.get(n)]
    return f"it has another localgif or other packages: {'; '.join(lines)}" if lines else ""


class Archive(NamedTuple):
    """A run folder as a tar file."""

    data: bytes
    digest: str
    """sha256 of the data, hex."""


def pack(home: Path) -> Archive | None:
    """The run folder of a cell as an archive; None if it contains no run."""
    if not is_file(home / "run.json"):
        return None
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for path in sorted(home.rglob("*")):
            if path.is_file() and not path.is_symlink() and path.name[0] != "." and path.name != "report.html":
                tar.add(path, path.relative_to(home).as_posix())
    return Archive(file.getvalue(), hashlib.sha256(file.getvalue()).hexdigest())


def unpack(archive: Archive, home: Path) -> None:
    """Store the run folder of a cell as `home`, replacing an older folder there.

    Raises:
        RunCorrupt: The archive was changed, is too large, or contains anything but plain files inside the folder.
        RunLocked, RunError: Another process is writing to the folder, or it cannot be written.
    """
    if len(archive.data) > _MOST_BYTES or hashlib.sha256(archive.data).hexdigest() != archive.digest:
        raise RunCorrupt(f"{home}: the archive was damaged on the way, or is too large", "check the network")
    arriving = home.with_name(f".{home.name}.arriving")
    try:
        shutil.rmtree(arriving, ignore_errors=True)
        arriving.mkdir(parents=True)
        with tarfile.open(fileobj=io.BytesIO(archive.data), mode="r:") as tar:
            members = tar.getmembers()
            if any(member.type not in (tarfile.REGTYPE, tarfile.DIRTYPE) or member.issparse() for member in members):
                raise RunCorrupt(f"{home}: the archive contains more than plain files", "check the worker")
            tar.extractall(arriving, members, filter="data")
        if home.exists():
            check_free(home)
            shutil.rmtree(home)
        arriving.rename(home)
        sync_folder(home.parent)
    except tarfile.TarError as error:
        raise RunCorrupt(f"{home}: the archive cannot be read ({error})", "check the worker") from None
    except OSError as error:
        raise RunError(
            f"{home} cannot be written: {error.strerror}", "free some space, then repeat the command"
        ) from None
    finally:
        shutil.rmtree(arriving, ignore_errors=True)


def bring_home(archive: Archive, home: Path) -> RunResult:
    """Unpack a finished run, set the folder in its result, and return the result. Raises as unpack, and RunCorrupt if
    the run is not finished."""
    unpack(archive, home)
    record = load_record(home)
    if record.result is None:
        raise RunCorrupt(f"{home} came back without a result", "check the worker")
    result = record.result.model_copy(update={"folder": str(home)})
    record = record.model_copy(update={"result": result})
    replace_inside(home, "run.json", record.model_dump_json(indent=2).encode() + b"\n")
    return result


# --- the folder of a sweep --------------------------------------------------------------------------------------------


class SweepFolder:
    """The locked folder of a sweep and its sweep.json. Use `open_sweep`."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.folder = folder
        self._plan = plan
        old = read_sweep_record(folder) if is_file(folder / SWEEP) else None
        names = {cell.name: cell.values for cell in plan.cells}
        # Always write it: the sweep file may have other cells than the last time.
        self._record = self._write(
            SweepRecord(
                name=plan.name,
                started=old.started if old is not None else now(),
                axes=plan.axes,
                cells=names,
                failures={name: why for name, why in old.failures.items() if name in names} if old is not None else {},
            )
        )

    def _write(self, record: SweepRecord) -> SweepRecord:
        try:
            replace_inside(self.folder, SWEEP, record.model_dump_json(indent=2).encode() + b"\n")
        except OSError as error:
            raise RunError(
                f"{self.folder / SWEEP} cannot be written: {error.strerror}", "free some space, then repeat the command"
            ) from None
        return record

    def note(self, end: CellEnd) -> None:
        """Store a failure for `localgif compare`, because a cell that never began has no run folder. Raises RunError if
        sweep.json cannot be written."""
        failures = {name: why for name, why in self._record.failures.items() if name != end.cell.name}
        if end.status == "failed":
            failures[end.cell.name] = end.outcome.error
        if failures != self._record.failures:
            self._record = self._write(self._record.model_copy(update={"failures": failures}))

    def summary(self, ends: Sequence[CellEnd]) -> dict[str, Any]:
        """The object that `--json` prints."""
        results = [end.outcome.result for end in ends]
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
                    "seed_mean": result.seed.mean if result else None,
                    "best_mean": result.best.mean if result else None,
                    "verdict": result.verdict.word if result else None,
                    "error": end.outcome.error or None,
                    "worker": end.worker or None,
                }
                for end, result in zip(ends, results, strict=True)
            ],
        }


@contextlib.contextmanager
def open_sweep(plan: Plan, runs_dir: Path, cells: Sequence[Cell]) -> Iterator[SweepFolder]:
    """Create the folder of a sweep if needed, and hold its lock while its `cells` run.

    Raises:
        ConfigError: A run has that name.
        RunMismatch: The stored run of a cell has other settings.
        RunLocked, RunError: Another process runs the sweep, or the folder cannot be written.
    """
    folder = runs_dir / plan.name
    if is_file(folder / "run.json"):
        raise ConfigError(f"{folder} is a run, so it cannot be a sweep", "rename the sweep's file")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = take_lock(folder)
    except OSError as error:
        raise RunError(f"{folder} cannot be written: {error.strerror}", "choose another --runs-dir") from None
    try:
        for cell in cells:
            _check_stored(folder / cell.name, cell)
        yield SweepFolder(plan, folder)
    finally:
        os.close(lock)


def _check_stored(home: Path, cell: Cell) -> None:
    """Check before anything starts that a stored cell belongs to this plan."""
    if not is_file(home / "run.json"):
        return
    stored = load_record(home).settings.model_dump(mode="json")
    lines = "".join(f"\n  {line}" for line in differences(stored, cell.settings.model_dump(mode="json")))
    if lines:
        raise RunMismatch(
            f"the cell {cell.name} of {home.parent} was run with other settings:{lines}",
            "restore them, or start another sweep: rename the sweep file",
        )
