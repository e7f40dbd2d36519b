"""`localgif runs`, `show`, `report`, `export`, `draw`, `score` and `rescore`: what runs gave, and single GIFs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from localgif.cli.shared import (
    DEFAULT_LEVEL,
    DEFAULT_MODELS,
    DEFAULT_RUNS,
    JsonOption,
    LevelOption,
    ModelsOption,
    OfflineOption,
    RunsOption,
    command,
    known_level,
    load_models,
    make_console,
    print_json,
)
from localgif.errors import ConfigError, RunError

if TYPE_CHECKING:
    from localgif.records import Limits, Score
    from localgif.store.read import RunRecord


@command
def export(
    run: Annotated[str | None, typer.Argument(help="Name or folder of a run; the newest without it.")] = None,
    to: Annotated[str, typer.Option(help="Form: md, modelfile, llm, promptfoo, python.")] = "md",
    out: Annotated[Path | None, typer.Option("-o", "--out", help="File to write; stdout without it.")] = None,
    runs_dir: RunsOption = DEFAULT_RUNS,
) -> None:
    """Print a run's best prompt in the form of another tool."""
    from localgif.report.export import best_of
    from localgif.report.export import export as text_of

    record, prompt = _found(runs_dir, run)
    text = text_of(best_of(record, prompt), to)
    if out is None:
        sys.stdout.buffer.write(text.encode("utf-8", "replace"))
    else:
        _write(out, text.encode("utf-8", "replace"))


@command
def draw(
    brief: Annotated[str, typer.Argument(help="What to draw.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The GIF to write.", metavar="FILE")],
    run: Annotated[str | None, typer.Option(help="The run whose best prompt is used; the newest without it.")] = None,
    seed: Annotated[int, typer.Option(help="Another seed gives another drawing.")] = 0,
    animator: Annotated[str | None, typer.Option(help="Model of models.toml that writes the code.")] = None,
    sandbox_level: LevelOption = DEFAULT_LEVEL,
    runs_dir: RunsOption = DEFAULT_RUNS,
    models: ModelsOption = DEFAULT_MODELS,
    offline: OfflineOption = False,
    as_json: JsonOption = False,
) -> None:
    """Draw one GIF of any brief with a run's best prompt, and say what was measured."""
    from localgif.cli.progress import make_progress
    from localgif.models.toml import make_settings
    from localgif.run.draw import draw as drawn
    from localgif.tasks.task import Targets

    record, prompt = _found(runs_dir, run)
    # One model is asked: the reflector's role is given to the animator's, so that no second one is loaded.
    file = load_models(models, offline or None)
    who = file.role("animator", animator).alias
    settings = make_settings(file, animator=who, reflector=who, seed=seed, sandbox_level=known_level(sandbox_level))
    # Runs of older versions did not store their task; all that shipped then had these targets.
    usual = Targets(frames=24, loop_ms=1000, max_bytes=100 * 1024)
    targets = next((task.targets for task in record.drawn), usual)
    with make_progress(make_console(stderr=True)) as progress:
        picture = drawn(settings, prompt, brief, targets, progress)
    if picture.gif is not None:
        _write(out, picture.gif)
    facts = {"file": str(out) if picture.gif is not None else None, "run": record.name, **picture.facts}
    if as_json:
        print_json(facts)
    else:
        _say(facts)
    if picture.gif is None:
        raise typer.Exit(1)


def _say(facts: dict[str, object]) -> None:
    from localgif.records import Measurements, Score
    from localgif.sandbox.text import printable

    attempts = f"{facts['attempts']} attempt{'s' if facts['attempts'] != 1 else ''}"
    if facts["file"] is None:
        print(f"no GIF in {attempts}: {facts['verdict']}, {printable(str(facts['reason']))}")
        return
    m, score = Measurements.model_validate(facts["measurements"]), Score.model_validate(facts["score"])
    print(
        f"{facts['file']}: {m.frames} frames, {m.width}x{m.height}, {sum(m.delays_ms)} ms, {m.size:,} bytes, {attempts}"
    )
    print(
        f"{score.total:.3f} by {score.scorer} (frames, loop, pace, size; whether it shows the brief was not measured)"
    )
    for part in score.parts:
        print(f"  {part.name:<8} {part.value:.2f}  {part.explanation}")


def _found(runs_dir: Path, run: str | None) -> tuple[RunRecord, str]:
    """A run and its best prompt.

    Raises:
        ConfigError: there is no such run, or its search has not ended.
    """
    from localgif.store.read import find_run, load_record

    folder = find_run(runs_dir, run)
    record = load_record(folder)
    if record.result is not None:
        return record, record.result.best.prompt
    try:
        return record, (folder / "best_prompt.md").read_text("utf-8")
    except OSError:
        raise ConfigError(
            f"run {record.name} has no best prompt: its search did not end", "name another: --run"
        ) from None


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror}", "choose another -o") from None


ScorerOption = Annotated[str, typer.Option("--scorer", help="The rule: strict, article.")]


@command
def score(
    file: Annotated[Path, typer.Argument(help="A GIF that anyone made.", metavar="FILE.gif")],
    task: Annotated[str, typer.Option(help="What it should show: a shipped task, or a TOML file.")] = "bouncing-ball",
    scorer: ScorerOption = "strict",
    sandbox_level: LevelOption = DEFAULT_LEVEL,
    as_json: JsonOption = False,
) -> None:
    """Measure and score a GIF, in the sandbox."""
    from localgif.gif import MEASURE
    from localgif.gif.score import no_gif, of
    from localgif.records import Limits
    from localgif.sandbox import probe
    from localgif.sandbox.runner import measure_gif
    from localgif.tasks.task import load_task

    _known_scorer(scorer)
    wanted = load_task(task)
    # A GIF from elsewhere may be larger and slower to read than one of a small program.
    limits = Limits(file_size=32 * 2**20, cpu_seconds=20, wall_seconds=60)
    data = _read(file, limits)
    probe.decide(known_level(sandbox_level))
    measured = measure_gif(data, MEASURE, limits)
    given = no_gif(scorer, str(measured)) if isinstance(measured, str) else of(scorer, measured, wanted)
    if as_json:
        print_json(
            {
                "file": str(file),
                "task": wanted.name,
                "score": given.model_dump(mode="json"),
                "measurements": None if isinstance(measured, str) else measured.model_dump(mode="json"),
            }
        )
        return
    print(f"{given.total:.3f}  {file}  ({given.scorer}, task {wanted.name})")
    if isinstance(measured, str):
        print(f"  it cannot be measured: {measured}")
        return
    _print_parts(given)


def _read(file: Path, limits: Limits) -> bytes:
    try:
        with file.open("rb") as stream:
            data = stream.read(limits.file_size + 1)
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}", "name a GIF file", code="E-FILE") from None
    if len(data) > limits.file_size:
        raise ConfigError(f"{file} is larger than {limits.file_size // 2**20} MiB", "name a smaller GIF", code="E-FILE")
    return data


def _print_parts(score: Score) -> None:
    for part in score.parts:
        print(f"  {part.value:5.3f}  weight {part.weight:.2f}  {part.name:<10} {part.explanation}")


def _known_scorer(scorer: str) -> None:
    from localgif.errors import nearest
    from localgif.gif.score import SCORERS

    if scorer not in SCORERS:
        raise ConfigError(f'there is no scorer "{scorer}"', nearest(scorer, SCORERS))


@command
def rescore(
    run: Annotated[str | None, typer.Argument(help="Name or folder of a run; the newest without it.")] = None,
    scorer: ScorerOption = "strict",
    task: Annotated[
        str | None, typer.Option(help="Another task than the run's: a shipped one, or a TOML file.")
    ] = None,
    runs_dir: RunsOption = DEFAULT_RUNS,
    sandbox_level: LevelOption = DEFAULT_LEVEL,
    as_json: JsonOption = False,
) -> None:
    """Score a run's stored GIFs again, with another rule or version; no model is asked."""
    from localgif.cli.tables import rescored_table
    from localgif.run.rescore import rescore as again
    from localgif.sandbox import probe
    from localgif.store.read import find_run
    from localgif.tasks.task import load_task

    _known_scorer(scorer)
    folder = find_run(runs_dir, run)
    probe.decide(known_level(sandbox_level))
    result = again(folder, scorer, load_task(task) if task is not None else None)
    if as_json:
        print_json(result)
    else:
        rescored_table(make_console(), result)


@command
def runs(runs_dir: RunsOption = DEFAULT_RUNS, as_json: JsonOption = False) -> None:
    """List the runs, newest first."""
    from localgif.cli.tables import runs_table
    from localgif.errors import RunCorrupt
    from localgif.store.read import list_runs, load_record, status_of

    rows: list[tuple[str, ...]] = []
    objects: list[dict[str, Any]] = []
    for folder in list_runs(runs_dir):
        try:
            record = load_record(folder)
        except RunCorrupt as error:
            rows.append((folder.name, "unreadable", "", "", "", str(error)))
            objects.append({"run": folder.name, "status": "unreadable", "error": str(error)})
            continue
        status, result = status_of(folder, record), record.result
        stored = result.model_dump(mode="json") if result is not None else None
        objects.append({"run": record.name, "status": status, "started": record.started, "result": stored})
        ends = ("", "", record.error or "")
        if result is not None:
            ends = (f"{result.seed.mean:.3f}", f"{result.best.mean:.3f}", result.verdict.word)
        rows.append((record.name, status, record.settings.task, *ends))
    if as_json:
        print_json(objects)
    elif rows:
        runs_table(make_console(), rows)
    else:
        print(f"no runs under {runs_dir}")


@command
def show(
    run: Annotated[str | None, typer.Argument(help="Name or folder of a run; the newest without it.")] = None,
    runs_dir: RunsOption = DEFAULT_RUNS,
    as_json: JsonOption = False,
) -> None:
    """Show a run's table, verdict and evolved prompt."""
    from localgif.cli.tables import result_table
    from localgif.store.read import find_run, load_record, status_of

    folder = find_run(runs_dir, run)
    record = load_record(folder)
    if as_json:
        print_json(record.model_dump(mode="json"))
    elif record.result is not None:
        result_table(make_console(), record.result)
    else:
        print(f"run {record.name}: {status_of(folder, record)}{f', {record.error}' if record.error else ''}")
        print(f"what was measured is in {folder}; go on with it: localgif resume {record.name}")


@command
def report(
    run: Annotated[str | None, typer.Argument(help="Name or folder of a run; the newest without it.")] = None,
    runs_dir: RunsOption = DEFAULT_RUNS,
) -> None:
    """Write a run's report.html again."""
    from localgif.report.page import write_report
    from localgif.store.read import find_run

    print(write_report(find_run(runs_dir, run)))
