"""`localgif optimize`, `resume` and `watch`: the main job, and a run that is already there."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from localgif.cli.shared import (
    DEFAULT_LEVEL,
    DEFAULT_MODELS,
    DEFAULT_RUNS,
    JsonOption,
    LevelOption,
    MetricCallsOption,
    ModelsOption,
    ModeOption,
    OfflineOption,
    RunsOption,
    SamplesOption,
    TaskOption,
    command,
    known_level,
    load_models,
    make_console,
    print_json,
)
from localgif.errors import ConfigError, LocalGifError

if TYPE_CHECKING:
    from localgif.records import RunResult

AnimatorOption = Annotated[str | None, typer.Option(help="Model of models.toml that writes the code, or ollama:NAME.")]
ReflectorOption = Annotated[
    str | None, typer.Option(help="Model of models.toml that rewrites the prompt, or ollama:NAME.")
]
MinutesOption = Annotated[float | None, typer.Option(help="Start no new proposal after so many minutes of work.")]
DisplayOption = Annotated[
    str | None,
    typer.Option(help="Progress on stderr: rich, plain, json, none (default: what fits the terminal)."),
]
RunArgument = Annotated[str | None, typer.Argument(help="Name or folder of a run; the newest unfinished without it.")]


@command
def optimize(
    task: TaskOption = None,
    mode: ModeOption = "single",
    animator: AnimatorOption = None,
    reflector: ReflectorOption = None,
    reflection: Annotated[
        str,
        typer.Option(
            help="How to reflect: grounded, example-only, instruction-only, plain (GEPA's own), none (best of N)."
        ),
    ] = "grounded",
    facts: Annotated[bool, typer.Option(help="Tell the reflector background facts about Pillow and GIFs.")] = True,
    target: Annotated[
        str, typer.Option(help='End when a re-test of the best holds this score; "none" never ends early.')
    ] = "0.985",
    scorer: Annotated[str, typer.Option(help="The score to optimise: strict, article.")] = "strict",
    metric_calls: MetricCallsOption = None,
    samples: SamplesOption = None,
    fresh: Annotated[int, typer.Option(help="New samples of seed and best prompt at the end, of each task.")] = 4,
    seed: Annotated[int, typer.Option(help="Seed of the search and of the models.")] = 0,
    minutes: MinutesOption = None,
    name: Annotated[str | None, typer.Option(help="Name of the run (default: date, time, task).")] = None,
    sandbox_level: LevelOption = DEFAULT_LEVEL,
    runs_dir: RunsOption = DEFAULT_RUNS,
    models: ModelsOption = DEFAULT_MODELS,
    offline: OfflineOption = False,
    display: DisplayOption = None,
    as_json: JsonOption = False,
) -> None:
    """Evolve the animator's system prompt (the main job)."""
    from localgif.models.toml import make_settings

    chosen = make_settings(
        load_models(models, offline or None),
        animator=animator,
        reflector=reflector,
        task=task,
        mode=mode,
        reflection=reflection,
        facts=facts,
        target=_target(target),
        scorer=scorer,
        metric_calls=metric_calls,
        samples=samples,
        fresh=fresh,
        seed=seed,
        minutes=minutes,
        sandbox_level=known_level(sandbox_level),
    )
    _check_name(name)
    # Not before: a slip on the command line is told without loading what a run needs.
    from localgif.run.optimize import optimize as run

    _carry_out(lambda progress: run(chosen, runs_dir, name, progress), runs_dir, display, as_json=as_json)


@command
def resume(
    run: RunArgument = None,
    fork: Annotated[
        bool, typer.Option("--fork", help="Begin another run that shares the samples and answers of this one.")
    ] = False,
    name: Annotated[str | None, typer.Option(help="Name of that other run (default: the old one and -fork).")] = None,
    animator: AnimatorOption = None,
    reflector: ReflectorOption = None,
    target: Annotated[str | None, typer.Option(help='As for optimize; "none" never ends early.')] = None,
    scorer: Annotated[str | None, typer.Option(help="As for optimize.")] = None,
    metric_calls: Annotated[int | None, typer.Option(help="Another budget.")] = None,
    fresh: Annotated[int | None, typer.Option(help="Another number of new samples at the end.")] = None,
    minutes: MinutesOption = None,
    runs_dir: RunsOption = DEFAULT_RUNS,
    models: ModelsOption = DEFAULT_MODELS,
    offline: OfflineOption = False,
    display: DisplayOption = None,
    as_json: JsonOption = False,
) -> None:
    """Go on with a run that was interrupted, killed or cut off, or with --fork begin one that shares its work."""
    from localgif.store.read import find_run, find_unfinished

    wanted = {
        "animator": animator,
        "reflector": reflector,
        "scorer": scorer,
        "metric_calls": metric_calls,
        "fresh": fresh,
        "minutes": minutes,
    }
    changes: dict[str, Any] = {key: value for key, value in wanted.items() if value is not None}
    if target is not None:
        changes["target"] = _target(target)
    _check_name(name)
    if name is not None and not fork:
        raise ConfigError("--name is for the run that --fork begins", "add --fork, or leave --name out")
    folder = find_run(runs_dir, run) if run is not None or fork else find_unfinished(runs_dir)
    file = load_models(models, offline or None)
    from localgif.run.resume import resume as go_on

    _carry_out(
        lambda progress: go_on(folder, file, progress, changes, fork=fork, name=name),
        folder.parent,
        display,
        as_json=as_json,
    )


@command
def watch(
    run: Annotated[str | None, typer.Argument(help="Name or folder of a run; the newest without it.")] = None,
    runs_dir: RunsOption = DEFAULT_RUNS,
    display: DisplayOption = None,
) -> None:
    """Show what a run does, from another terminal, until it ends; Ctrl-C leaves the run alone."""
    from localgif.cli.progress import watch as follow
    from localgif.cli.tables import result_table
    from localgif.store.read import find_run, load_record

    folder = find_run(runs_dir, run)
    with _progress(display) as progress:
        status = follow(folder, progress)
    record = load_record(folder)
    if record.result is not None:
        result_table(make_console(), record.result)
        return
    print(f"run {record.name}: {status}{f', {record.error}' if record.error else ''}")
    print(f"go on with it: localgif resume {record.name}")


def _carry_out(work: Callable[[Any], RunResult], runs_dir: Path, display: str | None, *, as_json: bool) -> None:
    """Do a run's work, write its report whatever happens, and print its result."""
    from localgif.cli.tables import result_table
    from localgif.report.page import write_report

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with _progress(display) as progress:
        try:
            result = work(progress)
        except (LocalGifError, KeyboardInterrupt):
            if progress.run is not None:
                _keep(runs_dir / progress.run)
            raise
    write_report(Path(result.folder))
    if as_json:
        print_json(result.model_dump(mode="json"))
    else:
        result_table(make_console(), result)


def _progress(display: str | None) -> Any:
    from localgif.cli.progress import Display, make_progress
    from localgif.errors import nearest

    known = get_args(Display)
    if display is not None and display not in known:
        raise ConfigError(f'--display {display}: there is no display "{display}"', nearest(display, known))
    return make_progress(make_console(stderr=True), display)  # type: ignore[arg-type]


def _keep(folder: Path) -> None:
    """A run that ended early: its report, where it lies, and how it goes on."""
    from localgif.report.page import write_report

    with contextlib.suppress(LocalGifError, OSError):
        write_report(folder, whole=False)
    print(f"what was measured is kept in {folder} (samples.jsonl, report.html)", file=sys.stderr)
    print(f"go on with it: localgif resume {folder.name}", file=sys.stderr)


def _target(text: str) -> float | None:
    if text == "none":
        return None
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"--target {text} is no number", 'give a score from 0 to 1, or "none"') from None


def _check_name(name: str | None) -> None:
    if name is not None and (not name or name.startswith((".", "-")) or "/" in name or "\0" in name or len(name) > 120):
        raise ConfigError(f"--name {name!r} cannot be the name of a folder", "use letters, digits, - and _")
