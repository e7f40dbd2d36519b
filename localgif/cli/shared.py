"""What the commands share: options, errors as message and exit code, files, consoles, JSON."""

from __future__ import annotations

import errno
import functools
import inspect
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec

import typer

from localgif.errors import EXIT_INTERRUPTED, ConfigError, LocalGifError
from localgif.files import behind_links, exists, is_text, replace_file
from localgif.offline import guard, keep_keys, pin_libraries, refusals, release
from localgif.sandbox.text import CONTROLS, printable
from localgif.settings import FIELDS, ModelSettings, Setting

if TYPE_CHECKING:
    from rich.console import Console

    from localgif.cli.progress import Lines
    from localgif.models.toml import ModelsFile
    from localgif.tasks.task import Task

P = ParamSpec("P")


def _option(row: Setting, more: str = "") -> Any:
    flags = f"{row.flag}/--no-{row.flag[2:]}" if row.type is bool else row.flag
    words = {bool: None, int: "N", float: "NUMBER", ModelSettings: "MODEL"}
    metavar = "|".join(row.choices) or words.get(row.type, row.name.upper())
    return typer.Option(flags, help=row.help + more, metavar=metavar, show_default=False)


DEFAULT_MODELS = Path("models.toml")
DEFAULT_RUNS = Path("runs")
DEFAULT_LEVEL: str = FIELDS["sandbox_level"].default
DEFAULT_SCORER: str = FIELDS["scorer"].default

ModelsOption = Annotated[Path, typer.Option("--models", help="The models file.", metavar="FILE")]
RunsOption = Annotated[Path, typer.Option("--runs-dir", help="The folder with the runs.", metavar="DIR")]
RunArgument = Annotated[
    str | None, typer.Argument(help="Name or folder of a run (default: the newest).", metavar="RUN")
]
LevelOption = Annotated[str, _option(FIELDS["sandbox_level"], f" [default: {DEFAULT_LEVEL}]")]
OfflineOption = Annotated[
    bool, typer.Option("--offline", help="Download nothing, not even missing weights.", show_default=False)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else.")]


def with_settings(*, fork: bool = False) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command one option for each row of the settings table, or with `fork` only for what a fork may change.

    The command receives the settings that the user gave as a dict, as its first argument.
    """
    rows = [row for row in FIELDS.values() if row.fork or not fork]

    def parameter(row: Setting) -> inspect.Parameter:
        option = _option(row, "" if fork else f" [default: {row.default_words}]")
        kind: Any = str if row.none or row.type is ModelSettings else row.type
        hint = Annotated[kind | None, option]
        return inspect.Parameter(row.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=hint)

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]

        @functools.wraps(function)
        def wrapped(**values: Any) -> None:
            given = {row.name: values.pop(row.name) for row in rows}
            function({row.name: row.parsed(given[row.name]) for row in rows if given[row.name] is not None}, **values)

        keywords = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own]
        vars(wrapped)["__signature__"] = inspect.Signature([*map(parameter, rows), *keywords])
        return wrapped

    return decorate


def command(function: Callable[P, None]) -> Callable[P, None]:
    """Turn the errors that users can meet into a message and an exit code; a bug keeps its traceback."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        pin_libraries()
        guard()  # load_models widens it to what models.toml names
        try:
            _check_folder()
            for name, value in kwargs.items():
                if not is_text(f"{value}"):
                    raise ConfigError(f"{name} = {value!a} is not UTF-8", "use a name that is")
            function(*args, **kwargs)
            sys.stdout.flush()
        except LocalGifError as error:
            complain(error)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            echo("interrupted", err=True)
            raise typer.Exit(EXIT_INTERRUPTED) from None
        except BrokenPipeError:
            # `localgif show | head`: the reader has what it wanted.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        finally:
            # Libraries take a refused connection for a missing network and go on; the user still learns of it.
            for refusal in refusals():
                echo(f"note: nothing left this machine; {refusal}", err=True)

    return wrapped


def _check_folder() -> None:
    try:
        Path.cwd()
    except OSError:
        raise ConfigError("the current folder was removed", "change to another one: cd ...", code="E-FILE") from None


def complain(error: LocalGifError) -> None:
    """Print an error on stderr: its code, its message, its remedy."""
    echo(f"error [{error.code}]: {error.message}", err=True)
    for line in printable(error.remedy).splitlines():
        echo(f"  {line}", err=True)


def warn_about(*tasks: Task) -> None:
    """Print on stderr why no GIF can meet a task's brief, as far as localgif knows."""
    for task in tasks:
        for doubt in task.doubts():
            echo(f"warning: task {task.name}: {doubt}", err=True)


def load_models(path: Path, offline: bool | None = None, others: Iterable[str] = ()) -> ModelsFile:
    """Read models.toml; from here on this process connects only to what the file and the addresses in `others` name.

    `offline` overrides the file. True: no downloads. False: no guard, for commands whose purpose is a download.
    """
    from localgif.models.toml import load_models_file

    file = load_models_file(path)
    keep_keys(file.keys)
    chosen = file.offline if offline is None else offline
    if chosen is False:
        release()
    else:
        guard((*file.elsewhere, *others), fetch=chosen is None)
    return file


def write_file(path: Path, data: bytes, remedy: str) -> None:
    """Write a file that the user named; a ConfigError if it cannot be written, and an old file is untouched."""
    try:
        if exists(path) and not path.is_file():  # such as /dev/stdout
            path.write_bytes(data)
        else:
            replace_file(path, data)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}", remedy, code="E-FILE") from None


def try_file(path: Path, remedy: str) -> None:
    """Check, before long work, that `write_file` can write a file; the same ConfigError if not. Leaves no trace."""
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "Is a directory")
        if exists(path) and not path.is_file():
            os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
        else:
            tempfile.TemporaryFile(dir=behind_links(path).parent).close()
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}", remedy, code="E-FILE") from None


def make_console(*, stderr: bool = False) -> Console:
    """A console on stdout or stderr, for texts that others wrote: no markup, no escape sequences."""
    from rich.console import Console

    class Plain(Console):
        def render_str(self, text: str, **how: Any) -> Any:  # every string of a line, a cell or a title
            return super().render_str(printable(text), **how)

    how: dict[str, Any] = {"stderr": stderr, "markup": False, "emoji": False, "highlight": False}
    console = Plain(**how)
    # Without a terminal rich assumes 80 columns and would cut the table.
    return console if console.is_terminal else Plain(**how, width=max(console.width, 120))


def open_progress(display: str | None = None) -> Lines:
    """Progress on stderr; see make_progress."""
    from localgif.cli.progress import make_progress

    return make_progress(make_console(stderr=True), display)


def echo(text: object = "", *, end: str = "\n", err: bool = False) -> None:
    """Print a text on stdout or stderr, without escape sequences: names and texts of runs may be somebody else's."""
    print(printable(str(text)), end=end, file=sys.stderr if err else sys.stdout)


def print_json(value: Any) -> None:
    """Print a JSON value on stdout; characters that a terminal obeys, and those that are none, are escaped."""
    text = json.dumps(value, ensure_ascii=False, indent=2)
    print(CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text).encode(errors="backslashreplace").decode())
