"""`localgif optimize`, `resume`, `demo` and `watch`: start, continue, demonstrate and follow a run."""

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
from localgif.cli.tasks import take_tasks
from localgif.errors import ConfigError, LocalGifError
from localgif.files import is_name

if TYPE_CHECKING:
    from localgif.records import RunResult

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
        from localgif.cli.plan import show_plan

        show_plan(file, chosen, runs_dir, offline=offline or file.offline is True, as_json=as_json)
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
