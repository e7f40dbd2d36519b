"""`localgif optimize`, `resume`, `demo` and `watch`: plan, start, continue, demonstrate and follow a run."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from localgif.cli.shared import (
    JsonOption,
    ModelOption,
    ModelsOption,
    OfflineOption,
    RunArgument,
    RunsOption,
    YesOption,
    command,
    complete_run,
    echo,
    load_models,
    make_console,
    note_meaning,
    open_progress,
    print_json,
    settings_of,
    with_model,
    with_settings,
)
from localgif.cli.sweep import measured_pace
from localgif.cli.tasks import take_tasks
from localgif.errors import ConfigError, LocalGifError, PreflightError
from localgif.files import is_name
from localgif.search.progress import counted, duration

if TYPE_CHECKING:
    from localgif.models.toml import ModelsFile
    from localgif.records import RunResult
    from localgif.settings import Settings
    from localgif.sweep.plan import Cell

DisplayOption = Annotated[
    str | None,
    typer.Option(help="Progress on stderr (default: what the terminal can show).", metavar="rich|plain|json|none"),
]


@command
@with_settings()
def optimize(
    given: dict[str, Any],
    *,
    model: ModelOption = None,
    name: Annotated[str | None, typer.Option(help="Name of the run (default: date, time and task).")] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Print what the run would do and how long it would take, and stop.")
    ] = False,
    runs_dir: RunsOption,
    models: ModelsOption = None,
    offline: OfflineOption = False,
    display: DisplayOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Evolve the animator's system prompt (the main job)."""
    file = load_models(models, offline or None)
    chosen = settings_of(file, model, given)
    _check_name(name, runs_dir)
    take_tasks(chosen, yes=yes)
    if plan:
        _show_plan(file, chosen, runs_dir, offline=offline or file.offline is True, as_json=as_json)
        return
    # Imported late, so that mistakes on the command line are reported without loading what a run needs.
    from localgif.run.optimize import optimize as run

    _carry_out(lambda progress: run(chosen, runs_dir, name, progress), runs_dir, display, as_json=as_json)


@command
@with_settings(fork=True)
def resume(
    given: dict[str, Any],
    run: Annotated[
        str | None,
        typer.Argument(
            help="Name of a run, its first letters, or its folder (default: the newest unfinished run).",
            metavar="RUN",
            autocompletion=complete_run,
        ),
    ] = None,
    *,
    fork: Annotated[
        bool, typer.Option("--fork", help="Start a new run that reuses the samples and answers of this one.")
    ] = False,
    model: ModelOption = None,
    name: Annotated[str | None, typer.Option(help="With --fork: name of the new run (default: RUN-fork).")] = None,
    runs_dir: RunsOption,
    models: ModelsOption = None,
    offline: OfflineOption = False,
    display: DisplayOption = None,
    as_json: JsonOption = False,
) -> None:
    """Continue a run that stopped early, or fork it.

    A fork is a new run with other settings that reuses the work of the old one.
    """
    from localgif.store.read import find_run, find_unfinished

    if name is not None and not fork:
        raise ConfigError("--name works only with --fork", "add --fork, or remove --name")
    folder = find_run(runs_dir, run) if run is not None or fork else find_unfinished(runs_dir)
    if fork:
        _check_name(name or f"{folder.resolve().name}-fork", folder.parent)
    file = load_models(models, offline or None)
    given = with_model(model, given)
    for each in dict.fromkeys(filter(None, (given.get("animator"), given.get("reflector")))):
        note_meaning(file, each)
    from localgif.run.resume import resume as go_on

    _carry_out(
        lambda progress: go_on(folder, file, progress, given, fork=fork, name=name),
        folder.parent,
        display,
        as_json=as_json,
    )


@command
def demo(*, runs_dir: RunsOption, display: DisplayOption = None) -> None:
    """Show a whole run in under a minute, without a model.

    The models' answers are recorded; sandbox, search and report are real.
    """
    from localgif.cli.tables import DEMO
    from localgif.run.demo import demo as run

    echo(DEMO, err=True)
    _carry_out(lambda progress: run(runs_dir, progress), runs_dir, display, as_json=False, resumes=False)
    echo(DEMO)


@command
def watch(run: RunArgument = None, *, runs_dir: RunsOption, display: DisplayOption = None) -> None:
    """Follow a run from another terminal until it ends.

    Ctrl-C ends `watch`, not the run.
    """
    from localgif.cli.progress import watch as follow
    from localgif.cli.tables import print_run
    from localgif.store.read import find_run, load_record

    folder = find_run(runs_dir, run)
    with open_progress(display) as progress:
        status = follow(folder, progress)
    print_run(make_console(), load_record(folder), status, folder)


def _carry_out(
    work: Callable[[Any], RunResult], runs_dir: Path, display: str | None, *, as_json: bool, resumes: bool = True
) -> None:
    """Do a run, print its result, and write its report, after a failure too. A failed report is only mentioned."""
    from localgif.cli.tables import result_table
    from localgif.report.page import write_report

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with open_progress(display) as progress:
        try:
            result = work(progress)
        except (LocalGifError, KeyboardInterrupt):
            if progress.run is not None:
                folder = runs_dir / progress.run
                with contextlib.suppress(Exception):  # the first error is the one to report
                    write_report(folder, whole=False)
                echo(f"what was measured is kept in {folder} (samples.jsonl, report.html)", err=True)
                if resumes:
                    echo(f"continue it: localgif resume {folder.name}", err=True)
            raise
    if as_json:
        print_json(result.model_dump(mode="json"))
    else:
        result_table(make_console(), result)
    try:
        write_report(Path(result.folder))
    except Exception as error:
        echo(f"the run is done, but report.html was not written: {type(error).__name__}: {error}", err=True)
        echo(f"write it again: localgif report {result.run}", err=True)


def _check_name(name: str | None, runs_dir: Path) -> None:
    """Check the name of a new run before anything is loaded. Raises ConfigError."""
    from localgif.store.read import taken

    if name is None:
        return
    if not is_name(name):
        raise ConfigError(f"--name {name!r} is not a valid folder name", "use letters, digits, - and _")
    if (runs_dir / name).exists():
        raise taken(runs_dir / name)


# --- `optimize --plan` ------------------------------------------------------------------------------------------------


def _show_plan(file: ModelsFile, settings: Settings, runs_dir: Path, *, offline: bool, as_json: bool) -> None:
    """Print the plan of a run and all checks that need no model, without starting or downloading anything.

    Raises:
        typer.Exit: A check failed; with the exit code of a run that cannot start.
        ConfigError: The budget is too low for a search.
    """
    from localgif.run.optimize import check_budget, with_examples
    from localgif.run.preflight import cheap_checks
    from localgif.sweep.plan import Cell
    from localgif.tasks.suite import chosen_suite

    suite = with_examples(chosen_suite(settings), settings, runs_dir)
    check_budget(settings, suite)
    cell = Cell("", {}, settings, suite)
    least, most, basis = _plan_minutes(cell, runs_dir)
    downloads = _plan_downloads(settings)
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
        _print_plan(file, cell, runs_dir, _plan_time(least, most, basis), downloads)
        for check in checks:
            if check.status in ("WARN", "FAIL"):
                lines = [*check.evidence.splitlines(), *(f"-> {line}" for line in check.remedy.splitlines())]
                echo(f"{check.status:<10}{check.name}: " + f"\n{'':<10}".join(lines))
        echo("nothing was started")
    if any(check.status == "FAIL" for check in checks):
        raise typer.Exit(PreflightError.exit_code)


def _plan_minutes(cell: Cell, runs_dir: Path) -> tuple[float, float, str]:
    """Least and most minutes for the whole budget, and the source of the numbers."""
    from localgif.doctor.models import minutes
    from localgif.sweep.plan import seconds_of
    from localgif.sweep.read import stored_runs

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


def _plan_time(least: float, most: float, basis: str) -> str:
    # From five minutes on seconds would suggest a precision that the estimate does not have.
    low, high = (duration(60 * round(m) if m >= 5 else 60 * m).removesuffix(" 00 s") for m in (least, most))
    return f"{f'about {high}' if low == high else f'{low} to {high}'} on this machine ({basis})"


def _plan_downloads(settings: Settings) -> dict[str, int]:
    """Name -> bytes of the weights that the run would download."""
    from localgif.models.catalog import lookup
    from localgif.models.find import listed
    from localgif.run.preflight import different
    from localgif.run.roles import places

    found = {}
    for model in different(settings):
        known = lookup(model.model) if model.endpoint.kind == "embedded" and model.path is None else None
        here = listed(model.model, places()) if known is not None else None
        if known is not None and here is not None and here.path is None:
            found[known.name] = known.size - here.partial
    return found


def _print_plan(file: ModelsFile, cell: Cell, runs_dir: Path, time: str, downloads: dict[str, int]) -> None:
    from localgif.gif.score import VERSIONS
    from localgif.models.toml import BUILT_IN, built_in

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
