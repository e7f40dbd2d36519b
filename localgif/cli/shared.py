"""Shared by all commands: options, errors as message and exit code, files, consoles, JSON."""

from __future__ import annotations

import errno
import functools
import inspect
import json
import os
import re
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec, TextIO, cast

import typer
from typer.core import TyperGroup

from localgif.errors import EXIT_INTERRUPTED, ConfigError, LocalGifError
from localgif.files import behind_links, exists, is_text, replace_file
from localgif.offline import called_as, guard, keep_keys, pin_libraries, refusals, release
from localgif.sandbox.text import CONTROLS, printable
from localgif.settings import FIELDS, ModelSettings, Setting

if TYPE_CHECKING:
    from rich.console import Console

    from localgif.cli.progress import Lines
    from localgif.models.toml import ModelsFile
    from localgif.settings import Settings
    from localgif.tasks.task import Task

P = ParamSpec("P")


def _option(row: Setting, more: str = "") -> Any:
    flags = f"{row.flag}/--no-{row.flag[2:]}" if row.type is bool else row.flag
    words = {bool: None, int: "N", float: "NUMBER", ModelSettings: "MODEL"}
    metavar = "|".join(row.choices) or words.get(row.type, row.name.upper())
    how: dict[str, Any] = {"metavar": metavar, "show_default": False, "autocompletion": _COMPLETIONS.get(row.name)}
    return typer.Option(flags, help=row.help + more, **how)


def _runs_folder() -> Path:
    from localgif.models.toml import runs_folder

    return runs_folder()


def complete_run(incomplete: str) -> list[str]:
    """Shell completion: the runs whose names start like this, newest first."""
    from localgif.store.read import list_runs

    return [folder.name for folder in list_runs(_runs_folder()) if folder.name.startswith(incomplete)]


def complete_model(incomplete: str) -> list[str]:
    """Shell completion: the models whose names start like this."""
    from localgif.models.toml import load_models_file

    try:
        return [name for name in load_models_file().aliases if name.startswith(incomplete)]
    except ConfigError:
        return []


def complete_task(incomplete: str) -> list[str]:
    """Shell completion: the shipped tasks whose names start like this."""
    from localgif.tasks.task import task_names

    return [name for name in task_names() if name.startswith(incomplete)]


_COMPLETIONS: dict[str, Callable[[str], list[str]]] = {
    "animator": complete_model,
    "reflector": complete_model,
    "task": complete_task,
}

DEFAULT_LEVEL: str = FIELDS["sandbox_level"].default
DEFAULT_SCORER: str = FIELDS["scorer"].default

ModelsOption = Annotated[
    Path | None, typer.Option("--models", help="The models file (default: the nearest models.toml).", metavar="FILE")
]
ModelOption = Annotated[
    str | None,
    typer.Option("-m", "--model", help="The model of both roles.", metavar="MODEL", autocompletion=complete_model),
]
RunsOption = Annotated[
    Path,
    typer.Option(
        "--runs-dir",
        help="The folder with the runs (default: runs, next to the nearest models.toml).",
        metavar="DIR",
        default_factory=_runs_folder,
        show_default=False,
    ),
]
RunArgument = Annotated[
    str | None,
    typer.Argument(
        help="Name of a run, its first letters, or its folder (default: the newest run).",
        metavar="RUN",
        autocompletion=complete_run,
    ),
]
LevelOption = Annotated[str, _option(FIELDS["sandbox_level"], f" [default: {DEFAULT_LEVEL}]")]
OfflineOption = Annotated[
    bool, typer.Option("--offline", help="Download nothing, not even missing weights.", show_default=False)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else.")]
YesOption = Annotated[bool, typer.Option("-y", "--yes", help="Answer every question with yes.")]

_QuietOption = Annotated[bool, typer.Option("-q", "--quiet", help="Print only results and errors.")]
_VerboseOption = Annotated[
    bool, typer.Option("-v", "--verbose", help="Print progress line by line, and the traceback of an error.")
]


class _Volume:
    """How much the current command prints on stderr."""

    quiet = False
    verbose = False


def with_settings(*, fork: bool = False) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add an option to a command for each row of the settings table, with `fork` only for rows that a fork may change.

    The first argument of the command is a dict with the settings that the user gave.
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
    """Add -q and -v to a command, and turn expected errors into a message and an exit code. A bug keeps its
    traceback."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        _Volume.quiet, _Volume.verbose = bool(kwargs.pop("quiet", False)), bool(kwargs.pop("verbose", False))
        pin_libraries()
        guard()  # load_models adds the endpoints of models.toml
        try:
            _check_folder()
            for name, value in kwargs.items():
                if not is_text(f"{value}"):
                    raise ConfigError(f"{name} = {value!a} is not UTF-8", "use a name in UTF-8")
            function(*args, **kwargs)
            sys.stdout.flush()
        except LocalGifError as error:
            complain(error)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            echo("interrupted", err=True)
            raise typer.Exit(EXIT_INTERRUPTED) from None
        except BrokenPipeError:
            # As in `localgif show | head`: the reader has what it needs.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        finally:
            # Libraries treat a refused connection as a missing network and continue, so the user would not notice it.
            for refusal in refusals():
                echo(f"note: localgif blocked a connection: {refusal}", err=True)

    own = inspect.signature(function, eval_str=True)
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=option)
        for name, option in (("quiet", _QuietOption), ("verbose", _VerboseOption))
    ]
    vars(wrapped)["__signature__"] = own.replace(parameters=[*own.parameters.values(), *more])
    return wrapped


def _check_folder() -> None:
    try:
        Path.cwd()
    except OSError:
        raise ConfigError("the current folder was removed", "go to another folder: cd ...", code="E-FILE") from None


#: What Typer raises for a wrong command line.
_UsageError = cast(type[typer.BadParameter], typer.BadParameter.__base__)


def _with_value(error: typer.BadParameter, words: Sequence[str]) -> str:
    """The message for a wrong command line; for a wrong value it starts with the option and the value."""
    said = error.format_message()
    for option in getattr(getattr(error, "param", None), "opts", ()):
        for word, following in zip(words, [*words[1:], ""], strict=True):
            if word == option or word.startswith(f"{option}="):
                value = word.partition("=")[2] if "=" in word else following
                return f"{option} {value}: {said.partition(': ')[2] or said}" if said.startswith("Invalid") else said
    return said


class Group(TyperGroup):
    """The group of all commands; reports a wrong command line like any other error."""

    def main(self, args: Sequence[str] | None = None, *more: Any, **how: Any) -> Any:
        """Run a command. Exits the process with its exit code unless `standalone_mode` is False."""
        words = sys.argv[1:] if args is None else list(args)
        standalone = how.get("standalone_mode", True)
        how["standalone_mode"] = False
        if not standalone:
            return super().main(args, *more, **how)
        try:
            code = super().main(args, *more, **how)
        except _UsageError as error:
            said = _with_value(error, words)
            said = said.replace("argument(s)", "argument" if len(said.rpartition("(")[2].split()) == 1 else "arguments")
            if type(error).__name__ == "NoArgsIsHelpError":  # `localgif` and `localgif models` print their help
                _print(said, file=sys.stderr)
            else:
                where = error.ctx.command_path if error.ctx is not None else "localgif"
                complain(ConfigError(said[:1].lower() + said[1:].rstrip("."), f"see {where} --help"))
            code = ConfigError.exit_code
        except typer.Abort:
            echo("interrupted", err=True)
            code = EXIT_INTERRUPTED
        sys.exit(code or 0)


#: The commands with a recipe of the same name in the Justfile.
RECIPES = (
    *("optimize", "resume", "demo", "watch", "sweep", "tasks", "doctor", "models", "serve", "sandbox", "bundle"),
    *("runs", "show", "view", "compare", "draw", "export", "score"),
)
#: A command in a message: matches "localgif resume t1", but not "localgif runs no programs" or "-m localgif models".
_SAID = re.compile(
    rf"(?<![\w./-])(?<!-m )localgif (?=({'|'.join(RECIPES)}|init|report|rescore)\b(?! (?:no|from|in)\b))"
)


def as_called(text: str) -> str:
    """A text with its commands as the user would type them, such as "./scripts/just resume t1"."""
    called = called_as()
    if called == "localgif" or "localgif" not in text:
        return text

    def form(found: re.Match[str]) -> str:
        if Path(called).name != "just" or found[1] in RECIPES:
            return f"{called} "
        return f"{Path(called).with_name('env')} localgif " if "/" in called else "localgif "

    return _SAID.sub(form, text)


def complain(error: LocalGifError) -> None:
    """Print an error on stderr: code, message and remedy; with --verbose also the traceback."""
    _print(f"error [{error.code}]: {error.message}", file=sys.stderr)
    for line in printable(error.remedy).splitlines():
        _print(f"  {line}", file=sys.stderr)
    if _Volume.verbose:
        _print("".join(traceback.format_exception(error)), file=sys.stderr)


def warn_about(*tasks: Task) -> None:
    """Warn on stderr about each reason why no GIF can meet a task."""
    for task in tasks:
        for doubt in task.doubts():
            echo(f"warning: task {task.name}: {doubt}", err=True)


def load_models(path: Path | None, offline: bool | None = None, others: Iterable[str] = ()) -> ModelsFile:
    """Read models.toml. From then on this process connects only to the endpoints in the file and in `others`.

    Args:
        path: The file; None: localgif looks for it.
        offline: Overrides `offline` in the file. True: no downloads. False: no guard, for commands that download.
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


def settings_of(file: ModelsFile, model: str | None, given: Mapping[str, Any]) -> Settings:
    """The settings of a run from models.toml, --model and other flags; raises as make_settings.

    Notes on stderr which model an ambiguous name means.
    """
    from localgif.models.toml import make_settings

    given = with_model(model, given)
    for name in dict.fromkeys(filter(None, (given.get("animator"), given.get("reflector")))):
        note_meaning(file, name)
    return make_settings(file, **given)


def with_model(model: str | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """The flags of a run, with the model of --model for each role without a flag of its own."""
    return {**({"animator": model, "reflector": model} if model is not None else {}), **given}


def note_meaning(file: ModelsFile, name: str) -> None:
    """Note on stderr which model a name means if two endpoints may have it."""
    if meaning := file.meaning(name):
        echo(f"note: {meaning}", err=True)


def write_file(path: Path, data: bytes, remedy: str) -> None:
    """Write a file that the user named. If that fails, raises ConfigError and leaves an old file unchanged."""
    try:
        if exists(path) and not path.is_file():  # such as /dev/stdout
            path.write_bytes(data)
        else:
            replace_file(path, data)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}", remedy, code="E-FILE") from None


def try_file(path: Path, remedy: str) -> None:
    """Check, before long work, that `write_file` can write a file; raises as `write_file`. Leaves no trace."""
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
    """A console on stdout or stderr without markup and escape sequences, because texts may come from strangers."""
    from rich.console import Console

    class Plain(Console):
        def render_str(self, text: str, **how: Any) -> Any:  # called for each string in a line, a cell or a title
            return super().render_str(as_called(printable(text)), **how)

    how: dict[str, Any] = {"stderr": stderr, "markup": False, "emoji": False, "highlight": False}
    how["quiet"] = stderr and _Volume.quiet
    console = Plain(**how)
    # Without a terminal rich assumes 80 columns, which would cut tables.
    return console if console.is_terminal else Plain(**how, width=max(console.width, 120))


def open_progress(display: str | None = None) -> Lines:
    """Progress on stderr, by make_progress. Without `display`, --quiet shows nothing and --verbose plain lines."""
    from localgif.cli.progress import make_progress

    usual = "none" if _Volume.quiet else "plain" if _Volume.verbose else None
    return make_progress(make_console(stderr=True), display or usual)


def echo(text: object = "", *, end: str = "\n", err: bool = False) -> None:
    """Print a text on stdout, or on stderr unless --quiet."""
    if not (err and _Volume.quiet):
        _print(str(text), end=end, file=sys.stderr if err else sys.stdout)


def _print(text: str, *, end: str = "\n", file: TextIO) -> None:
    """Print a text without escape sequences: names and texts in runs may come from strangers."""
    print(as_called(printable(text)), end=end, file=file)


def print_json(value: Any) -> None:
    """Print a JSON value on stdout, with control characters and lone surrogates escaped."""
    text = json.dumps(value, ensure_ascii=False, indent=2)
    print(CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text).encode(errors="backslashreplace").decode())
