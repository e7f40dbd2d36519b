"""`localgif tasks`: list what ships, show what a task checks, make a task from a sentence, check a task file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from localgif.cli.shared import (
    DEFAULT_LEVEL,
    JsonOption,
    LevelOption,
    YesOption,
    command,
    complete_task,
    echo,
    print_json,
    try_file,
    warn_about,
    write_file,
)
from localgif.errors import ConfigError
from localgif.files import read_input
from localgif.sandbox.text import printable
from localgif.settings import Settings

if TYPE_CHECKING:
    from localgif.tasks.sentence import Reading
    from localgif.tasks.task import Task

_ABOUT = "List, show, make and check tasks."
tasks_app = typer.Typer(help=_ABOUT, no_args_is_help=True, rich_markup_mode=None)


def take_task(text: str, *, yes: bool = True) -> Task:
    """The task that the command line names. For a sentence, prints on stderr how localgif reads it.

    Args:
        text: A shipped name, a path, or a sentence.
        yes: Ask nothing. Otherwise localgif asks at a terminal if the sentence is ambiguous or cannot be checked.

    Raises:
        ConfigError: The task does not exist or cannot be used, or the user refuses the reading.
    """
    from localgif.tasks.sentence import find, is_sentence
    from localgif.tasks.task import task_names

    reading = find(text)
    if is_sentence(text):
        for line in reading_lines(reading):
            echo(line, err=True)
        if not yes and (reading.doubts or not reading.checkable):
            _ask()
    elif text in task_names():  # a brief of one word may be the name of a task by accident
        echo(f"task {text}, which ships with localgif: {reading.task.brief}", err=True)
    warn_about(reading.task)
    return reading.task


def take_tasks(*runs: Settings, yes: bool = True) -> None:
    """The same for all tasks of some runs, each once, with warnings about the tasks of a split."""
    from localgif.tasks.suite import chosen_suite, task_texts
    from localgif.tasks.task import task_names

    texts = list(dict.fromkeys(text for settings in runs for text in task_texts(settings)))
    shipped = [text for text in texts if text in task_names()]
    if len(shipped) > 1:  # one line for all of them
        echo(f"tasks that ship with localgif: {', '.join(shipped)}", err=True)
        texts = [text for text in texts if text not in shipped]
    for text in texts:
        take_task(text, yes=yes)
    for settings in runs:
        suite = chosen_suite(settings)
        if not task_texts(settings):
            warn_about(*suite.all)


def reading_lines(reading: Reading) -> list[str]:
    """How localgif reads a sentence, in lines for people."""
    from localgif.tasks.task import sentence_of

    checks = sentence_of(reading.task)
    lines = [f"I will check: {checks}" if checks else "I can check nothing of this but frames, time, size and loop"]
    if reading.unchecked:
        lines.append("not checked: " + ", ".join(f"'{printable(words)}'" for words in reading.unchecked))
    lines += [f"not sure: {printable(str(doubt))}" for doubt in reading.doubts]
    return lines


def _ask() -> None:
    """Ask at a terminal whether a reading is right; a script is not asked."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return
    if not typer.confirm("Use this reading?", default=True, err=True):
        raise ConfigError("the sentence was not used", "rephrase it, or write a task file (docs/tasks.md)")


@tasks_app.command("list")
@command
def tasks_list(as_json: JsonOption = False) -> None:
    """List the shipped tasks."""
    from localgif.tasks.task import load_task, task_names

    tasks = [load_task(name) for name in task_names()]
    if as_json:
        print_json([{"name": task.name, "family": task.family, "brief": task.brief} for task in tasks])
        return
    width = max(len(task.name) for task in tasks)
    for task in tasks:
        echo(f"{task.name:<{width}}  {task.brief}")


@tasks_app.command("show")
@command
def tasks_show(
    task: Annotated[
        str,
        typer.Argument(
            help="A shipped task, a TOML file, or a sentence.", metavar="TASK", autocompletion=complete_task
        ),
    ],
    as_json: JsonOption = False,
) -> None:
    """Show what a task checks, and its file."""
    from localgif.tasks.sentence import find
    from localgif.tasks.task import sentence_of, technique_of, toml_of

    reading = find(task)
    if as_json:
        print_json(_facts(reading))
        return
    echo(f"{sentence_of(reading.task) or 'nothing about the picture'}; {technique_of(reading.task.targets)}\n")
    echo(toml_of(reading.task), end="")


@tasks_app.command("new")
@command
def tasks_new(
    sentence: Annotated[str, typer.Argument(help="What to draw, in English.", metavar="SENTENCE")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File to write (default: stdout).", metavar="FILE")
    ] = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make a task file from a sentence, and print on stderr what it checks."""
    from localgif.tasks.sentence import read
    from localgif.tasks.task import toml_of

    if output is not None:
        try_file(output, "name another file with -o")
    reading = read(sentence, output.stem if output is not None else "")
    for line in reading_lines(reading):
        echo(line, err=True)
    warn_about(reading.task)
    if not yes and (reading.doubts or not reading.checkable):
        _ask()
    text = toml_of(reading.task)
    if output is not None:
        write_file(output, text.encode(), "name another file with -o")
    if as_json:
        print_json(_facts(reading))
    elif output is None:
        echo(text, end="")
    else:
        echo(f"{output}   (use it: --task {output if '/' in str(output) else f'./{output}'})")


def _facts(reading: Reading) -> dict[str, Any]:
    """The object that `--json` prints."""
    from localgif.tasks.task import sentence_of

    return {
        "task": reading.task.model_dump(mode="json"),
        "checks": sentence_of(reading.task),
        "unchecked": list(reading.unchecked),
        "doubts": [doubt._asdict() for doubt in reading.doubts],
    }


@tasks_app.command("check")
@command
def tasks_check(
    task: Annotated[str, typer.Argument(help="A TOML file, a shipped task, or a sentence.", metavar="FILE")],
    gif: Annotated[Path | None, typer.Argument(help="A GIF to score with the task.", metavar="FILE.gif")] = None,
    sandbox_level: LevelOption = DEFAULT_LEVEL,
    as_json: JsonOption = False,
) -> None:
    """Check that a task is valid and that a GIF can meet it.

    Also reports where the brief and the keys differ.
    """
    from localgif.cli.tables import scored_text
    from localgif.run.rescore import GIF_LIMITS, score_gif
    from localgif.tasks.sentence import differences, find
    from localgif.tasks.task import sentence_of, technique_of

    reading = find(task)
    wanted = reading.task
    impossible, other = wanted.doubts(), differences(wanted)
    data = read_input(gif, GIF_LIMITS.file_size, "a GIF file") if gif is not None else None
    scored = score_gif(data, wanted, sandbox_level=sandbox_level) if data is not None else None
    if as_json:
        result = scored.model_dump(mode="json") if scored is not None else None
        print_json({**_facts(reading), "impossible": list(impossible), "differences": list(other), "gif": result})
    else:
        echo(f"{wanted.name} checks: {sentence_of(wanted) or 'nothing about the picture'}")
        echo(f"and: {technique_of(wanted.targets)}")
        for text in other:
            echo(f"note: {text}")
        for text in impossible:
            echo(f"no GIF can meet it: {text}")
        if scored is not None:
            echo(scored_text(str(gif), wanted.name, scored.score, scored.measurements))
    if impossible:
        raise typer.Exit(2)
