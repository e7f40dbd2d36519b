"""`localgif optimize --plan`: what a run would do, how long it would take on this machine, and what prevents it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from localgif.cli.shared import echo, print_json
from localgif.cli.sweep import measured_pace
from localgif.doctor.models import minutes
from localgif.errors import PreflightError
from localgif.gif.score import VERSIONS
from localgif.models.catalog import lookup
from localgif.models.find import listed
from localgif.models.toml import BUILT_IN, built_in
from localgif.run.optimize import check_budget
from localgif.run.preflight import cheap_checks, different
from localgif.run.roles import places
from localgif.search.progress import counted, duration
from localgif.settings import Settings
from localgif.sweep.plan import Cell, seconds_of
from localgif.sweep.read import stored_runs
from localgif.tasks.suite import chosen_suite

if TYPE_CHECKING:
    from localgif.models.toml import ModelsFile


def show_plan(file: ModelsFile, settings: Settings, runs_dir: Path, *, offline: bool, as_json: bool) -> None:
    """Print the plan of a run and all checks that need no model, without starting or downloading anything.

    Raises:
        typer.Exit: A check failed; with the exit code of a run that cannot start.
        ConfigError: The budget is too low for a search.
    """
    suite = chosen_suite(settings)
    check_budget(settings, suite)
    cell = Cell("", {}, settings, suite)
    least, most, basis = _minutes(cell, runs_dir)
    downloads = _downloads(settings)
    checks = list(cheap_checks(settings, runs_dir, offline))
    if as_json:
        print_json(
            {
                "settings": settings.model_dump(mode="json"),
                "tasks": [task.name for task in suite.all],
                "samples": cell.samples,
                "minutes": {"least": round(least, 1), "most": round(most, 1), "basis": basis},
                "downloads": downloads,
                "models_file": str(file.path),
                "runs_dir": str(runs_dir),
                "checks": [check.model_dump(mode="json") for check in checks],
            }
        )
    else:
        _print(file, cell, runs_dir, _time(least, most, basis), downloads)
        for check in checks:
            if check.status in ("WARN", "FAIL"):
                lines = [*check.evidence.splitlines(), *(f"-> {line}" for line in check.remedy.splitlines())]
                echo(f"{check.status:<10}{check.name}: " + f"\n{'':<10}".join(lines))
        echo("nothing was started")
    if any(check.status == "FAIL" for check in checks):
        raise typer.Exit(PreflightError.exit_code)


def _minutes(cell: Cell, runs_dir: Path) -> tuple[float, float, str]:
    """Least and most minutes for the whole budget, and the source of the numbers."""
    settings, suite = cell.settings, cell.suite
    pace = measured_pace(settings)
    seconds, basis = seconds_of(cell, stored_runs(runs_dir), pace)
    least = most = seconds / 60
    if pace is not None and "doctor" in basis:
        least, most = minutes(settings, suite, pace.attempt, pace.reflection)
    if settings.minutes is not None:
        final = settings.fresh * len(suite.tested) + len(suite.neighbours)
        share = 2 * final / max(1, cell.samples)
        most = min(most, settings.minutes + most * share)
        least = min(least, most)
    return least, most, basis


def _time(least: float, most: float, basis: str) -> str:
    # From five minutes on seconds would suggest a precision that the estimate does not have.
    low, high = (duration(60 * round(m) if m >= 5 else 60 * m).removesuffix(" 00 s") for m in (least, most))
    return f"{f'about {high}' if low == high else f'{low} to {high}'} on this machine ({basis})"


def _downloads(settings: Settings) -> dict[str, int]:
    """Name -> bytes of the weights that the run would download."""
    found = {}
    for model in different(settings):
        known = lookup(model.model) if model.endpoint.kind == "embedded" and model.path is None else None
        here = listed(model.model, places()) if known is not None else None
        if known is not None and here is not None and here.path is None:
            found[known.name] = known.size - here.partial
    return found


def _print(file: ModelsFile, cell: Cell, runs_dir: Path, time: str, downloads: dict[str, int]) -> None:
    settings, suite = cell.settings, cell.suite
    for task in suite.train if suite.mode == "single" else ():
        echo(f"task      {task.name}: {task.brief}")
    if suite.mode != "single":
        echo(f"tasks     {', '.join(task.name for task in suite.all)}")
    for model in (settings.animator, settings.reflector):
        where = model.endpoint.url or "this machine"
        echo(f"{model.role:<10}{model.model} on {model.endpoint.name} ({where})")
    tested = f" of {counted(len(suite.tested), 'task')}" if suite.mode != "single" else ""
    samples, rule = counted(settings.samples, "sample"), VERSIONS[settings.scorer]
    echo(f"search    {counted(settings.metric_calls, 'metric call')} x {samples}, scored with {rule}")
    echo(f"          then {counted(settings.fresh, 'fresh sample')}{tested} with the seed prompt and with the best one")
    early = f"; it ends earlier when a re-test reaches {settings.target:g}" if settings.target is not None else ""
    echo(f"          at most {counted(cell.samples, 'sample')}, without re-tests{early}")
    for name, size in downloads.items():
        echo(f"download  {size / 1e6:,.0f} MB, once: the weights of {name}")
    echo(f"time      {time}{', and the download' if downloads else ''}")
    echo(f"folder    {runs_dir}")
    echo(f"models    {file.path}{BUILT_IN if file.path == built_in() else ''}")
