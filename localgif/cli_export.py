"""`localgif export` and `localgif draw`: what a run found, used elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from localgif.command import (
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
    from localgif.records import RunRecord


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
    from localgif.choices import make_settings
    from localgif.display import make_progress
    from localgif.search.draw import draw as drawn

    record, prompt = _found(runs_dir, run)
    # One model is asked: the reflector's role is given to the animator's, so that no second one is loaded.
    file = load_models(models, offline or None)
    who = file.role("animator", animator).alias
    settings = make_settings(file, animator=who, reflector=who, seed=seed, sandbox_level=known_level(sandbox_level))
    # Runs of older versions did not store their task; all that shipped then had these targets.
    usual = {"frames": 24, "loop_ms": 1000, "max_bytes": 100 * 1024}
    targets = next((task["targets"] for task in record.drawn), usual)
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
    from localgif.runs.read import find_run, load_record

    folder = find_run(runs_dir, run)
    record = load_record(folder)
    if record.result is not None:
        return record, str(record.result["best"]["prompt"])
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
