"""The commands `score` and `rescore`: what a GIF is worth, without any model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from localgif.command import (
    DEFAULT_LEVEL,
    DEFAULT_RUNS,
    JsonOption,
    LevelOption,
    RunsOption,
    command,
    known_level,
    make_console,
    print_json,
)
from localgif.errors import ConfigError

if TYPE_CHECKING:
    from localgif.records import Limits, Score

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
    from localgif.tasks.load import load_task

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
    from localgif.config import nearest
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
    from localgif.runs.read import find_run
    from localgif.sandbox import probe
    from localgif.search.rescore import rescore as again
    from localgif.tables import rescored_table
    from localgif.tasks.load import load_task

    _known_scorer(scorer)
    folder = find_run(runs_dir, run)
    probe.decide(known_level(sandbox_level))
    result = again(folder, scorer, load_task(task) if task is not None else None)
    if as_json:
        print_json(result)
    else:
        rescored_table(make_console(), result)
