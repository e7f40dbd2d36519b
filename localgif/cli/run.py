"""`localgif optimize`, `resume`, `demo` and `watch`: start a run, continue one, show one, follow one."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from localgif.cli.shared import (
    DEFAULT_MODELS,
    DEFAULT_RUNS,
    JsonOption,
    ModelsOption,
    OfflineOption,
    RunArgument,
    RunsOption,
    command,
    echo,
    load_models,
    make_console,
    open_progress,
    print_json,
    with_settings,
)
from localgif.cli.tasks import YesOption, take_tasks
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
    name: Annotated[str | None, typer.Option(help="Name of the run (default: date, time and task).")] = None,
    runs_dir: RunsOption = DEFAULT_RUNS,
    models: ModelsOption = DEFAULT_MODELS,
    offline: OfflineOption = False,
    display: DisplayOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Evolve the animator's system prompt (the main job)."""
    from localgif.models.toml import make_settings

    chosen = make_settings(load_models(models, offline or None), **given)
    _check_name(name)
    take_tasks(chosen, yes=yes)
    # Imported only now: a mistake on the command line is reported without loading what a run needs.
    from localgif.run.optimize import optimize as run

    _carry_out(lambda progress: run(chosen, runs_dir, name, progress), runs_dir, display, as_json=as_json)


@command
@with_settings(fork=True)
def resume(
    given: dict[str, Any],
    run: Annotated[
        str | None, typer.Argument(help="Name or folder of a run (default: the newest unfinished).", metavar="RUN")
    ] = None,
    fork: Annotated[
        bool, typer.Option("--fork", help="Start a new run that shares the samples and answers of this one.")
    ] = False,
    name: Annotated[str | None, typer.Option(help="Name of the new run (default: the old name and -fork).")] = None,
    runs_dir: RunsOption = DEFAULT_RUNS,
    models: ModelsOption = DEFAULT_MODELS,
    offline: OfflineOption = False,
    display: DisplayOption = None,
    as_json: JsonOption = False,
) -> None:
    """Continue a run that stopped early, or with --fork start a new one that shares its work."""
    from localgif.store.read import find_run, find_unfinished

    _check_name(name)
    if name is not None and not fork:
        raise ConfigError("--name is only for the run that --fork starts", "add --fork, or leave --name out")
    folder = find_run(runs_dir, run) if run is not None or fork else find_unfinished(runs_dir)
    file = load_models(models, offline or None)
    from localgif.run.resume import resume as go_on

    _carry_out(
        lambda progress: go_on(folder, file, progress, given, fork=fork, name=name),
        folder.parent,
        display,
        as_json=as_json,
    )


@command
def demo(runs_dir: RunsOption = DEFAULT_RUNS, display: DisplayOption = None) -> None:
    """Show a whole run in under a minute, without a model: recorded answers, real sandbox, search and report."""
    from localgif.cli.tables import DEMO
    from localgif.run.demo import demo as run

    echo(DEMO, err=True)
    _carry_out(lambda progress: run(runs_dir, progress), runs_dir, display, as_json=False, resumes=False)
    echo(DEMO)


@command
def watch(run: RunArgument = None, runs_dir: RunsOption = DEFAULT_RUNS, display: DisplayOption = None) -> None:
    """Follow a run from another terminal until it ends; Ctrl-C ends the watching, not the run."""
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
    """Do a run's work, print its result, and write its report whatever happens; a report that fails fails nothing."""
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


def _check_name(name: str | None) -> None:
    if name is not None and not is_name(name):
        raise ConfigError(f"--name {name!r} cannot be the name of a folder", "use letters, digits, - and _")
