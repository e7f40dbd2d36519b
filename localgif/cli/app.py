"""Which commands there are. Each is in a module beside this one.

`--json` prints one JSON object on stdout and nothing else; progress and messages go to stderr.
"""

from __future__ import annotations

import typer

from localgif.cli import machine, results, run, sweep, tasks

app = typer.Typer(
    name="localgif",
    help="Evolve the system prompt that makes a small local model draw a GIF: offline, on this machine.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for commands in (
    (run.optimize, run.resume, run.demo, run.watch),
    (
        results.runs,
        results.show,
        results.report,
        results.view,
        results.export,
        results.draw,
        results.score,
        results.rescore,
    ),
    (sweep.sweep, sweep.compare),
    (machine.doctor, machine.serve, machine.bundle),
):
    for command in commands:
        app.command()(command)
app.add_typer(tasks.tasks_app, name="tasks")
app.add_typer(machine.models_app, name="models")
app.add_typer(machine.sandbox_app, name="sandbox")
