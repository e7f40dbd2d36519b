"""Carries out one cell: begins its run, or goes on with it; what goes wrong is told, not raised."""

from __future__ import annotations

import shutil
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from localgif.errors import LocalGifError, RunCorrupt, RunLocked
from localgif.files import is_locked
from localgif.models.toml import ModelsFile
from localgif.records import RunResult
from localgif.run.optimize import begin
from localgif.run.resume import resume
from localgif.search.progress import Progress
from localgif.settings import Settings
from localgif.tasks.suite import Suite


class Outcome(NamedTuple):
    """How one try of a cell ended."""

    result: RunResult | None
    """Of the run; None when it failed."""
    error: str = ""
    """Why it failed, with the remedy."""
    code: str = ""
    """Of that error in docs/errors.md; "" for a bug."""
    trace: str = ""
    """Where a bug was met; "" for failures that have a name."""


def carry_out(
    home: Path,
    settings: Settings,
    suite: Suite,
    models: ModelsFile,
    progress: Progress,
    at: Mapping[str, str] | None = None,
) -> Outcome:
    """Begin the run of a cell, or go on with the one that lies there.

    Args:
        home: Folder of the run, called as the cell is.
        settings: Of the cell.
        suite: Its tasks.
        models: models.toml.
        progress: Who is told.
        at: Name of an endpoint -> address of the server that is asked in place of the one in models.toml.
    """
    try:
        if (home / "run.json").exists():
            return Outcome(resume(home, models, progress, {}, at=at))
        clear_stillborn(home)
        return Outcome(begin(settings, suite, home.parent, home.name, progress, at))
    except LocalGifError as error:
        return Outcome(None, str(error), error.code)
    except Exception as error:
        # A bug that one cell meets is told as one, and must not cost the rest of the night.
        return Outcome(None, f"{type(error).__name__}: {error}", trace=traceback.format_exc())


def clear_stillborn(home: Path) -> None:
    """Remove the folder of a run that died before it had a run.json: nothing was done.

    Raises:
        RunLocked: it is just beginning, in another process.
        RunCorrupt: it holds what no run leaves that early.
    """
    if not home.exists():
        return
    if is_locked(home):
        raise RunLocked(f"{home} is being written by another process", "Wait for it, or stop it.")
    for path in home.rglob("*"):
        ours = path.name == ".lock" or (path.name.startswith(".run.json.") and path.name.endswith(".tmp"))
        if not ours and not (path.is_dir() and path.name in ("candidates", "code", "gifs")):
            raise RunCorrupt(f"{home} has no run.json, but holds {path.name}", "move it away")
    shutil.rmtree(home)
