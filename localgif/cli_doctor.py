"""`localgif doctor`: every precondition of a run, tried."""

from __future__ import annotations

from typing import Annotated

import typer

from localgif.command import (
    DEFAULT_MODELS,
    DEFAULT_RUNS,
    JsonOption,
    ModelsOption,
    command,
    load_models,
    make_console,
    print_json,
)
from localgif.errors import PreflightError


@command
def doctor(
    offline: Annotated[
        bool, typer.Option("--offline", help="Ask nothing but this machine; weights that are not here are a failure.")
    ] = False,
    models: ModelsOption = DEFAULT_MODELS,
    as_json: JsonOption = False,
) -> None:
    """Try everything that a run needs and say what to do about the rest; exit 3 when anything fails."""
    from localgif.choices import make_settings
    from localgif.display import make_progress
    from localgif.doctor.examine import examine
    from localgif.doctor.table import as_object, table
    from localgif.sandbox.text import printable

    settings = make_settings(load_models(models, offline or None))
    with make_progress(make_console(stderr=True)) as progress:
        found = examine(settings, DEFAULT_RUNS, progress, offline)
    if as_json:
        print_json(as_object(found.checks, found.minutes, found.cheap_seconds, found.seconds))
    else:
        print(printable(table(found.checks)))
    if found.failed:
        raise typer.Exit(PreflightError.exit_code)
