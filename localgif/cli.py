"""The command line: flags -> Settings -> one call; errors -> message and exit code. No logic lives here.

`--json` prints one JSON object on stdout and nothing else; progress and messages go to stderr.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from localgif.cli_export import draw, export
from localgif.cli_models import models_app
from localgif.cli_sandbox import sandbox_app
from localgif.cli_score import rescore, score
from localgif.command import (
    DEFAULT_LEVEL,
    DEFAULT_MODELS,
    DEFAULT_RUNS,
    JsonOption,
    LevelOption,
    MetricCallsOption,
    ModelsOption,
    ModeOption,
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
from localgif.pages import write_report

app = typer.Typer(
    name="localgif",
    help="Evolve the system prompt that makes a small local model draw a GIF: offline, on this machine.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(models_app, name="models")
app.add_typer(sandbox_app, name="sandbox")
app.command()(score)
app.command()(rescore)
app.command()(export)
app.command()(draw)


@app.command()
@command
def optimize(
    task: TaskOption = None,
    mode: ModeOption = "single",
    animator: Annotated[str | None, typer.Option(help="Model of models.toml that writes the code.")] = None,
    reflector: Annotated[str | None, typer.Option(help="Model of models.toml that rewrites the prompt.")] = None,
    reflection: Annotated[
        str, typer.Option(help="How to reflect: grounded, example-only, instruction-only, plain (GEPA's own).")
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
    minutes: Annotated[float | None, typer.Option(help="Start no new proposal after so many minutes.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run (default: date, time, task).")] = None,
    sandbox_level: LevelOption = DEFAULT_LEVEL,
    runs_dir: RunsOption = DEFAULT_RUNS,
    models: ModelsOption = DEFAULT_MODELS,
    as_json: JsonOption = False,
) -> None:
    """Evolve the animator's system prompt (the main job)."""
    from localgif.config import make_settings
    from localgif.display import make_progress
    from localgif.search.run import optimize as run
    from localgif.tables import result_table

    chosen = make_settings(
        load_models(models),
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
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with make_progress(make_console(stderr=True)) as progress:
        try:
            result = run(chosen, runs_dir, name, progress)
        except (LocalGifError, KeyboardInterrupt):
            if progress.run is not None:
                _keep(runs_dir / progress.run)
            raise
    write_report(Path(result["folder"]))
    if as_json:
        print_json(result)
    else:
        result_table(make_console(), result)


def _keep(folder: Path) -> None:
    """A run that ended early: its report, and where it lies."""
    with contextlib.suppress(LocalGifError, OSError):
        write_report(folder, whole=False)
    print(f"what was measured is kept in {folder} (samples.jsonl, report.html)", file=sys.stderr)


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


@app.command()
@command
def runs(runs_dir: RunsOption = DEFAULT_RUNS, as_json: JsonOption = False) -> None:
    """List the runs, newest first."""
    from localgif.errors import RunCorrupt
    from localgif.runs.store import list_runs, load_record, status_of
    from localgif.tables import runs_table

    rows: list[tuple[str, ...]] = []
    objects: list[dict[str, Any]] = []
    for folder in list_runs(runs_dir):
        try:
            record = load_record(folder)
        except RunCorrupt as error:
            rows.append((folder.name, "unreadable", "", "", "", str(error)))
            objects.append({"run": folder.name, "status": "unreadable", "error": str(error)})
            continue
        status, result = status_of(folder, record), record.result or {}
        objects.append({"run": record.name, "status": status, "started": record.started, "result": record.result})
        scores = [f"{result[key]['mean']:.3f}" if result else "" for key in ("seed", "best")]
        word = result["verdict"]["word"] if result else record.error or ""
        rows.append((record.name, status, str(record.settings.get("task", "")), *scores, word))
    if as_json:
        print_json(objects)
    elif rows:
        runs_table(make_console(), rows)
    else:
        print(f"no runs under {runs_dir}")


@app.command()
@command
def show(
    run: Annotated[str | None, typer.Argument(help="Name or folder of a run; the newest without it.")] = None,
    runs_dir: RunsOption = DEFAULT_RUNS,
    as_json: JsonOption = False,
) -> None:
    """Show a run's table, verdict and evolved prompt."""
    from localgif.runs.store import find_run, load_record, status_of
    from localgif.tables import result_table

    folder = find_run(runs_dir, run)
    record = load_record(folder)
    if as_json:
        print_json(record.model_dump(mode="json"))
    elif record.result is not None:
        result_table(make_console(), record.result)
    else:
        print(f"run {record.name}: {status_of(folder, record)}{f', {record.error}' if record.error else ''}")
        print(f"what was measured is in {folder}")


@app.command()
@command
def report(
    run: Annotated[str | None, typer.Argument(help="Name or folder of a run; the newest without it.")] = None,
    runs_dir: RunsOption = DEFAULT_RUNS,
) -> None:
    """Write a run's report.html again."""
    from localgif.runs.store import find_run

    print(write_report(find_run(runs_dir, run)))


@app.command()
@command
def serve(
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="Model of models.toml, or of the --upstream; may be repeated (default: the roles', or all there)."
        ),
    ] = None,
    upstream: Annotated[
        str | None,
        typer.Option(
            help="OpenAI-compatible server whose models to serve instead, e.g. http://127.0.0.1:8000/v1.", metavar="URL"
        ),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 11435,
    models: ModelsOption = DEFAULT_MODELS,
) -> None:
    """Serve models over the Ollama API on loopback until Ctrl-C: embedded ones, or those of another server."""
    from localgif.display import make_progress
    from localgif.endpoint.serve import serve as run
    from localgif.search.serving import config_of_models, config_of_upstream

    if upstream is not None:
        run(config_of_upstream(upstream, model or [], port), managed=False)
        return
    file = load_models(models)
    wanted = (
        [file.role("animator", alias) for alias in model] if model else [file.role("animator"), file.role("reflector")]
    )
    with make_progress(make_console(stderr=True)) as progress:
        config = config_of_models(wanted, port, progress)
    run(config, managed=False)


def main() -> None:
    """Entry point of the `localgif` command."""
    app()
