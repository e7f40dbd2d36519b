"""What all commands share: common options, errors as message and exit code, consoles, JSON."""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec

import typer

from localgif import offline as offline_module
from localgif.errors import EXIT_INTERRUPTED, ConfigError, LocalGifError
from localgif.offline import pin_libraries

if TYPE_CHECKING:
    from rich.console import Console

    from localgif.models.toml import ModelsFile


def clock(seconds: float) -> str:
    """Minutes and seconds, "12:05"; hours in front when there are any."""
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


P = ParamSpec("P")

ModelsOption = Annotated[Path, typer.Option("--models", help="The models file.", metavar="FILE")]

RunsOption = Annotated[Path, typer.Option("--runs-dir", help="Folder of the runs.", metavar="DIR")]

LevelOption = Annotated[
    str,
    typer.Option(
        "--sandbox-level", help="Weakest sandbox level to accept: full, no-read-confinement, weak, limits-only."
    ),
]

TaskOption = Annotated[
    str | None,
    typer.Option(
        help="Name of a shipped task, or a TOML file of your own (default: bouncing-ball); several with commas "
        "between them for multi."
    ),
]

ModeOption = Annotated[
    str,
    typer.Option(
        help="single: one task. multi: one prompt for several tasks. general: learn from some, be tested on others."
    ),
]

MetricCallsOption = Annotated[
    int | None,
    typer.Option(help="Budget: evaluations of a candidate on a task (default: 12, multi 40, general 60)."),
]

SamplesOption = Annotated[int | None, typer.Option(help="Samples per metric call (default: 2, multi and general 1).")]

OfflineOption = Annotated[
    bool, typer.Option("--offline", help="Fetch nothing, not even weights that are missing.", show_default=False)
]

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else.")]

DEFAULT_MODELS = Path("models.toml")

DEFAULT_RUNS = Path("runs")

DEFAULT_LEVEL = "no-read-confinement"


def command(function: Callable[P, None]) -> Callable[P, None]:
    """Turn the errors that users can meet into a message and an exit code; a bug keeps its traceback."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        pin_libraries()
        offline_module.guard()  # load_models widens it to what models.toml names
        try:
            function(*args, **kwargs)
        except LocalGifError as error:
            complain(error)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            raise typer.Exit(EXIT_INTERRUPTED) from None
        except BrokenPipeError:
            # `localgif show | head`: the reader has what it wanted.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        finally:
            _tell_refusals()

    return wrapped


def _tell_refusals() -> None:
    """Libraries take a refused connection for a missing network and go on; the user gets to know of it all the same."""
    for refusal in offline_module.refusals():
        print(f"note: nothing left this machine; {refusal}", file=sys.stderr)


def complain(error: LocalGifError) -> None:
    from localgif.sandbox.text import printable

    print(f"error [{error.code}]: {printable(error.message)}", file=sys.stderr)
    for line in printable(error.remedy).splitlines():
        print(f"  {line}", file=sys.stderr)


def make_console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    console = Console(stderr=stderr)
    # Without a terminal rich assumes 80 columns and would cut the table.
    return console if console.is_terminal else Console(stderr=stderr, width=max(console.width, 120))


def load_models(path: Path, offline: bool | None = None, others: Iterable[str] = ()) -> ModelsFile:
    """Read models.toml; from here on this process reaches what the file names, and nothing else.

    Args:
        offline: In place of what the file says. True: weights are not fetched either. False: no guard, for commands
            that the user gives in order to fetch.
        others: Addresses that the command line names, which may be reached too.

    Raises:
        ConfigError: see config.load_models_file.
    """
    from localgif.models.toml import load_models_file

    file = load_models_file(path)
    chosen = file.offline if offline is None else offline
    if chosen is False:
        offline_module.release()
    else:
        offline_module.guard((*file.elsewhere, *others), fetch=chosen is None)
    return file


def known_level(name: str) -> str:
    """The name of a sandbox level.

    Raises:
        ConfigError: There is none of that name.
    """
    from localgif.errors import nearest
    from localgif.sandbox.protocol import LEVELS

    if name not in LEVELS:
        raise ConfigError(f'--sandbox-level {name}: there is no sandbox level "{name}"', nearest(name, LEVELS))
    return name


def print_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=2))
