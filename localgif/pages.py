"""Writes a run's report.html: reads the run, words its verdict, and puts the page beside it."""

from __future__ import annotations

from pathlib import Path


def write_report(folder: Path) -> Path:
    """The report of a run folder, finished or not; returns where it lies.

    Raises:
        RunCorrupt: run.json or a complete line of a log cannot be read.
        OSError: the page cannot be written.
    """
    from localgif.report.html import render
    from localgif.runs.store import load_run, replace_file, status_of
    from localgif.tables import verdict_sentence

    run = load_run(folder)
    result = run.record.result
    verdict = verdict_sentence(result).removeprefix("Verdict: ") if result is not None else None
    page = render(run, status_of(folder, run.record), verdict[:1].upper() + verdict[1:] if verdict else None)
    path = folder / "report.html"
    replace_file(path, page.encode("utf-8", "replace"))
    return path
