"""`localgif sweep` and `localgif compare`: do many runs, and compare them."""

from __future__ import annotations

import contextlib
import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from localgif.cli.shared import (
    JsonOption,
    ModelsOption,
    RunsOption,
    command,
    complete_run,
    echo,
    load_models,
    make_console,
    print_json,
    try_file,
    write_file,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from localgif.doctor.models import StoredPace
    from localgif.models.toml import ModelsFile
    from localgif.settings import Settings
    from localgif.sweep.plan import Cell, Plan


@command
def sweep(
    file: Annotated[
        Path, typer.Argument(help="TOML file with the axes; docs/sweeps.md has an example.", metavar="FILE.toml")
    ],
    *,
    plan_only: Annotated[bool, typer.Option("--plan", help="Print the plan, and stop.")] = False,
    cells: Annotated[
        str | None,
        typer.Option(help="Run only the cells whose names match, e.g. 'reflection=plain_*'.", metavar="PATTERN"),
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0, help="Start no new cell after this many minutes (default: no limit).")
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            help="Run the cells on a Dask cluster: tcp://HOST:PORT of its scheduler, or local:N for N workers on this "
            "machine (docs/sweeps.md).",
            metavar="ADDRESS",
        ),
    ] = None,
    runs_dir: RunsOption,
    models: ModelsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run every combination of some settings.

    The runs use this machine or a cluster. Repeat the command to continue a sweep that stopped.
    """
    from localgif.cli.tables import plan_table, say
    from localgif.cli.tasks import take_tasks
    from localgif.files import is_file
    from localgif.store.read import load_record, status_of
    from localgif.sweep.execute import choose
    from localgif.sweep.plan import estimate, plan_sentences, read_plan
    from localgif.sweep.read import stored_runs

    workers = _workers(scheduler)
    models_file = load_models(models, others=(workers,) if isinstance(workers, str) else ())
    plan = read_plan(file, models_file)
    chosen = choose(plan, cells)
    take_tasks(*{cell.suite: cell.settings for cell in chosen}.values())

    def stored(cell: Cell) -> str:
        folder = runs_dir / plan.name / cell.name
        return status_of(folder, load_record(folder)) if is_file(folder / "run.json") else ""

    done = {cell.name for cell in chosen if stored(cell) == "done"}
    estimated = estimate(plan._replace(cells=chosen), stored_runs(runs_dir), done, measured_pace)
    if as_json and plan_only:
        rows = [{"cell": c.name, "values": c.values, "samples": c.samples, "status": stored(c) or None} for c in chosen]
        print_json({"sweep": plan.name, "cells": rows, "estimate": estimated.as_json()})
        return
    console = make_console(stderr=not plan_only)
    plan_table(console, plan, chosen, stored)
    say(console, *plan_sentences(estimated))
    if plan_only:
        return
    summary = _run(plan, models_file, runs_dir, chosen, minutes, workers)
    if as_json:
        print_json(summary)
    else:
        _print_summary(summary, runs_dir)
    if summary["failed"]:
        raise typer.Exit(4)


def _workers(scheduler: str | None) -> str | int | None:
    """The value of --scheduler: an address, or the number of workers to start here. Raises ConfigError."""
    from localgif.errors import ConfigError
    from localgif.offline import scheduler_url

    if scheduler is None:
        return None
    if local := re.fullmatch(r"local:([1-9][0-9]{0,3})", scheduler):
        return int(local[1])
    try:
        return scheduler_url(scheduler)
    except ValueError as error:
        raise ConfigError(f"--scheduler {scheduler} {error}", "or local:N for N workers on this machine") from None


def _run(
    plan: Plan,
    models: ModelsFile,
    runs_dir: Path,
    chosen: Sequence[Cell],
    minutes: float | None,
    scheduler: str | int | None,
) -> dict[str, Any]:
    """Run the cells; returns the object that `--json` prints."""
    from localgif.cli.progress import SweepLines
    from localgif.offline import is_here
    from localgif.report.page import write_report
    from localgif.sweep.cluster import run_on_cluster
    from localgif.sweep.execute import run_sweep

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    lines = SweepLines(make_console(stderr=True), write_report)
    try:
        if scheduler is None:
            return run_sweep(plan, models, runs_dir, chosen, lines, minutes)
        if isinstance(scheduler, str) and not is_here(scheduler):
            lines.note(f"{scheduler} is on another machine: the scheduler and its workers read prompts and programs")
        return run_on_cluster(plan, models, runs_dir, chosen, lines, scheduler, minutes)
    except KeyboardInterrupt:
        lines.stop()
        echo(f"what was measured is kept in {runs_dir / plan.name}; repeat the command to continue", err=True)
        raise
    finally:
        lines.stop()


def measured_pace(settings: Settings) -> StoredPace | None:
    """The speed of a run's models as doctor measured it on this machine; None if it did not."""
    from localgif.doctor.models import recall
    from localgif.models.find import places_for
    from localgif.offline import weights_environment

    return recall(places_for(*weights_environment()).cache, settings)


def _print_summary(summary: dict[str, Any], runs_dir: Path) -> None:
    """Print how a sweep ended, and the next command."""
    from localgif.models.toml import runs_folder

    echo(f"sweep {summary['sweep']}: {summary['done']} done, {summary['failed']} failed, {summary['left']} not started")
    for row in summary["cells"]:
        if row["status"] == "failed":
            echo(f"  {row['cell']} failed: {row['error'].splitlines()[0]}")
    if summary["failed"] or summary["left"]:
        echo("repeat the command to run the rest")
    where = "" if runs_dir == runs_folder() else f" --runs-dir {runs_dir}"
    echo(f"compare the runs: localgif compare {summary['sweep']}{where}")


@command
def compare(
    names: Annotated[
        list[str],
        typer.Argument(
            help="Runs, or one sweep: names or folders.", metavar="RUN... | SWEEP", autocompletion=complete_run
        ),
    ],
    *,
    by: Annotated[
        list[str] | None,
        typer.Option(
            help="Setting that defines the groups; repeatable. Groups are compared within each combination of the "
            "other settings that differ (default: every setting that differs, except the seed)."
        ),
    ] = None,
    scorer: Annotated[
        str | None,
        typer.Option(help="The rule whose scores to compare (default: the optimised one).", metavar="strict|article"),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="The page to write (default: compare.html).", metavar="FILE.html"),
    ] = None,
    runs_dir: RunsOption,
    as_json: JsonOption = False,
) -> None:
    """Compare several runs, and write compare.html."""
    from localgif.cli.tables import compared_tables, say
    from localgif.settings import known
    from localgif.sweep.compare import as_json as object_of
    from localgif.sweep.compare import compare as compare_groups
    from localgif.sweep.compare import group, render, sentences
    from localgif.sweep.read import find_runs

    if scorer is not None:
        known("scorer", scorer)
    found = find_runs(runs_dir, names, scorer)
    page = output or found.folder / "compare.html"
    if output is None and (page.is_symlink() or not page.is_file()):
        with contextlib.suppress(OSError):  # no such file yet
            page.unlink()  # a sweep's folder may come from a stranger, with a link or a pipe in this place
    try_file(page, "name another file with -o")
    compared = compare_groups(group(found.runs, by or (), found.axes))
    said = sentences(compared)
    written = render(compared, found.title, said, found.left)
    write_file(page, written.encode("utf-8", "replace"), "name another file with -o")
    if as_json:
        left = [{"run": run.name, "why": run.why} for run in found.left]
        more = {"sentences": said, "notes": list(compared.grouping.notes), "left": left, "page": str(page)}
        print_json({**object_of(compared), **more})
        return
    console = make_console()
    compared_tables(console, compared, said)
    notes = [*compared.grouping.notes, *(f"left out: {run.name} ({run.why})" for run in found.left)]
    say(console, *(f"note: {text}" for text in notes))
    echo(f"page      {page}")
