"""The command line: flags -> Settings -> one call; errors -> message and exit code. No logic lives here.

`--json` prints one JSON object on stdout and nothing else; progress and messages go to stderr.
"""

from __future__ import annotations

import typer

from localgif.cli.machine import bundle, doctor, models_app, sandbox_app, serve
from localgif.cli.results import draw, export, report, rescore, runs, score, show
from localgif.cli.run import optimize, resume, watch
from localgif.cli.sweep import compare, sweep

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
app.command()(runs)
app.command()(show)
app.command()(report)
app.command()(serve)


def main() -> None:
    """Entry point of the `localgif` command."""
    app()
