"""Writes a run's report.html: reads the run, words its verdict, and puts the page beside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from localgif.runs.read import StoredRun

#: So many GIFs at most get a strip of their frames, the fresh ones first: each is decoded in a process of its own.
MOST_STRIPS = 10


def write_report(folder: Path, *, whole: bool = True) -> Path:
    """The report of a run folder, finished or not; returns where it lies.

    Args:
        folder: The run.
        whole: With plots and strips of frames, which take some seconds; without, for who pressed Ctrl-C.

    Raises:
        RunCorrupt: run.json or a complete line of a log cannot be read.
        OSError: the page cannot be written.
    """
    from localgif.report.html import render
    from localgif.runs.files import replace_file
    from localgif.runs.read import load_run, status_of
    from localgif.tables import verdict_sentence

    run = load_run(folder)
    result = run.record.result
    verdict = verdict_sentence(result).removeprefix("Verdict: ") if result is not None else None
    verdict = verdict[:1].upper() + verdict[1:] if verdict else None
    page = render(run, status_of(folder, run.record), verdict, _strips(run) if whole else {}, plotted=whole)
    path = folder / "report.html"
    replace_file(path, page.encode("utf-8", "replace"))
    return path


def _strips(run: StoredRun) -> dict[str, bytes]:
    """Hash of a GIF -> a PNG with its frames, drawn in a confined process. Where that cannot be had, the page goes
    without: it shows stored results and must open where the sandbox does not."""
    from localgif.errors import PreflightError, RunCorrupt, SandboxError
    from localgif.gif import SHEET
    from localgif.sandbox.runner import picture_gif

    order = {"fresh": 0, "retest": 1, "search": 2}
    moving = [s for s in run.samples if s.gif is not None and s.measurements is not None and s.measurements.frames > 1]
    wanted = dict.fromkeys(str(s.gif) for s in sorted(moving, key=lambda s: (order[s.purpose], -s.score.total)))
    found: dict[str, bytes] = {}
    for name in list(wanted)[:MOST_STRIPS]:
        try:
            png = picture_gif(run.data("gifs", name), SHEET)
        except RunCorrupt:
            continue
        except (PreflightError, SandboxError):
            break
        if isinstance(png, bytes):
            found[name] = png
    return found
