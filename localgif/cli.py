"""The command line: flags -> Settings -> one call; errors -> message and exit code. No logic lives here.

`--json` prints one JSON object on stdout and nothing else; progress and messages go to stderr.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from localgif.cli_bundle import bundle
from localgif.cli_doctor import doctor
from localgif.cli_export import draw, export
from localgif.cli_models import models_app
from localgif.cli_run import optimize, resume, watch
from localgif.cli_sandbox import sandbox_app
from localgif.cli_score import rescore, score
from localgif.cli_sweep import compare, sweep
from localgif.command import (
    DEFAULT_MODELS,
    DEFAULT_RUNS,
    JsonOption,
    ModelsOption,
    OfflineOption,
    RunsOption,
    command,
    load_models,
    make_console,
    print_json,
)
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
app.command()(optimize)
app.command()(resume)
app.command()(watch)
app.command()(doctor)
app.command()(score)
app.command()(rescore)
app.command()(export)
app.command()(draw)
app.command()(bundle)
app.command()(sweep)
app.command()(compare)


@app.command()
@command
def runs(runs_dir: RunsOption = DEFAULT_RUNS, as_json: JsonOption = False) -> None:
    """List the runs, newest first."""
    from localgif.errors import RunCorrupt
    from localgif.runs.read import list_runs, load_record, status_of
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
    from localgif.runs.read import find_run, load_record, status_of
    from localgif.tables import result_table

    folder = find_run(runs_dir, run)
    record = load_record(folder)
    if as_json:
        print_json(record.model_dump(mode="json"))
    elif record.result is not None:
        result_table(make_console(), record.result)
    else:
        print(f"run {record.name}: {status_of(folder, record)}{f', {record.error}' if record.error else ''}")
        print(f"what was measured is in {folder}; go on with it: localgif resume {record.name}")


@app.command()
@command
def report(
    run: Annotated[str | None, typer.Argument(help="Name or folder of a run; the newest without it.")] = None,
    runs_dir: RunsOption = DEFAULT_RUNS,
) -> None:
    """Write a run's report.html again."""
    from localgif.runs.read import find_run

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
    host: Annotated[
        str, typer.Option(help="Address to listen at. Any other than this one lets everybody who reaches it in.")
    ] = "127.0.0.1",
    models: ModelsOption = DEFAULT_MODELS,
    offline: OfflineOption = False,
) -> None:
    """Serve models over the Ollama API on loopback until Ctrl-C: embedded ones, or those of another server."""
    from localgif.display import make_progress
    from localgif.endpoint.serve import serve as run
    from localgif.search.serving import config_of_models, config_of_upstream

    if upstream is not None:
        run(config_of_upstream(upstream, model or [], port).model_copy(update={"host": host}), managed=False)
        return
    file = load_models(models, offline or None)
    wanted = (
        [file.role("animator", alias) for alias in model] if model else [file.role("animator"), file.role("reflector")]
    )
    with make_progress(make_console(stderr=True)) as progress:
        config = config_of_models(wanted, port, progress)
    run(config.model_copy(update={"host": host}), managed=False)


def main() -> None:
    """Entry point of the `localgif` command."""
    app()
