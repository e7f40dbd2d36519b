"""Reads tasks: those that ship with localgif by name, a user's own by path."""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from localgif.config import nearest
from localgif.errors import ConfigError
from localgif.task import Subject, Targets, Task

#: No task needs more; a larger file is something else.
MAX_BYTES = 64 * 1024


def task_names() -> tuple[str, ...]:
    """Names of the shipped tasks."""
    folder = resources.files(__package__)
    return tuple(sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml")))


def families() -> dict[str, tuple[str, ...]]:
    """Family -> names of its shipped tasks."""
    found: dict[str, tuple[str, ...]] = {}
    for name in task_names():
        family = load_task(name).family
        found[family] = (*found.get(family, ()), name)
    return found


def load_task(name: str) -> Task:
    """A task by the name of a shipped one, or by the path of a TOML file (it holds a slash or ends in .toml).

    Raises:
        ConfigError: there is none, or the file cannot be used; the message names file and key.
    """
    if "/" in name or name.endswith(".toml"):
        return parse_task(_read(Path(name)), Path(name).stem, name)
    if name not in task_names():
        raise ConfigError(
            f'there is no task "{name}"',
            f"{nearest(name, task_names())}; a file of your own: --task ./NAME.toml",
            code="E-TASK",
        )
    text = resources.files(__package__).joinpath(f"{name}.toml").read_text(encoding="utf-8")
    return parse_task(text, name, f"{name}.toml")


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror or error}", "name a task file", code="E-TASK"
        ) from None
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{path} is larger than {MAX_BYTES // 1024} KiB", "name a task file", code="E-TASK")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 (byte {error.start})", "save it as UTF-8", code="E-TASK") from None


def parse_task(text: str, name: str, place: str) -> Task:
    """The task that a TOML text describes.

    Args:
        text: The TOML.
        name: What the task is called.
        place: The file, for error messages.

    Raises:
        ConfigError: no TOML, an unknown key or word, a wrong type, a contradiction.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{place} is not valid TOML: {error}", "correct that line", code="E-TASK") from None
    if "name" in data:
        raise ConfigError(
            f"{place}: unknown key name", "a task is called as its file is; leave the key out", code="E-TASK"
        )
    try:
        return Task.model_validate({**data, "name": name})
    except ValidationError as error:
        raise ConfigError(*_explain(place, error), code="E-TASK") from None


def _explain(place: str, error: ValidationError) -> tuple[str, str]:
    """(message, remedy) of the first problem, with the key's full name and the nearest known one."""
    problem = error.errors()[0]
    location = problem["loc"]
    key = _key(location)
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    table = _table(location)
    if problem["type"] == "extra_forbidden":
        return f"{place}: unknown key {key}{more}", nearest(str(location[-1]), set(table.model_fields) - {"name"})
    if problem["type"] == "missing":
        return f"{place}: {key} is missing{more}", f"add it; docs/tasks.md has an example of every key ({key})"
    if problem["type"] == "value_error":  # of a whole table: its own words say what to do
        return f"{place}: {key or 'the task'} {problem['msg'].removeprefix('Value error, ')}{more}", "see docs/tasks.md"
    expected: Any = problem.get("ctx", {}).get("expected", "")
    remedy = nearest(str(problem["input"]), _words(expected)) if expected else "correct the value; see docs/tasks.md"
    return f"{place}: {key} = {problem['input']!r}: {problem['msg']}{more}", remedy


def _key(location: tuple[str | int, ...]) -> str:
    """A key as people write it: subjects[2].colour, counted from 1."""
    text = ""
    for part in location:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _table(location: tuple[str | int, ...]) -> type[BaseModel]:
    if len(location) > 1 and location[0] == "subjects":
        return Subject
    return Targets if len(location) > 1 and location[0] == "targets" else Task


def _words(expected: str) -> list[str]:
    """The words that pydantic lists: 'a', 'b' or 'c'."""
    return expected.split("'")[1::2]
