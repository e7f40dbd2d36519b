"""The list of commands; their functions are in the other modules of this package.

`--json` prints one JSON object on stdout and nothing else; progress and messages go to stderr.
"""

from __future__ import annotations

from typing import Annotated

import typer

from localgif import __version__
from localgif.cli import machine, results, run, sweep, tasks
from localgif.cli.shared import Group

app = typer.Typer(
    name="localgif",
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        print(f"localgif {__version__}")
        raise typer.Exit


@app.callback()
def localgif(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Evolve the system prompt with which a small local model draws GIFs, offline, on this machine."""


for command in (run.optimize, run.resume, run.demo, run.watch):
    app.command()(command)
app.add_typer(results.runs_app, name="runs")
for command in (results.show, results.report, results.view, results.export):
    app.command()(command)
for command in (results.draw, results.score, results.rescore, sweep.sweep, sweep.compare):
    app.command()(command)
for command in (machine.doctor, machine.init, machine.serve, machine.bundle):
    app.command()(command)
app.add_typer(tasks.tasks_app, name="tasks")
app.add_typer(machine.models_app, name="models")
app.add_typer(machine.sandbox_app, name="sandbox")
