"""What is wrong in models.toml, in words: which key, the nearest known one, what to write instead. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from localgif.toml_lines import Location

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

#: Keys of earlier versions -> what they are called now.
_RENAMED = {"path": "gguf"}
_PROXY = "for several servers put a reverse proxy such as nginx or HAProxy in front and name its address"
#: What pydantic calls a value where a table should be.
_NO_TABLE = ("model_type", "dict_type")


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint for a mistyped name: the nearest known one, or all of them when none is near."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    if close:
        return f'did you mean "{close[0]}"? (known: {", ".join(names)})'
    return f"known: {', '.join(names)}" if names else "none is known"


def quoted(key: str) -> str:
    """A key as it is written in TOML."""
    return key if key.replace("-", "").replace("_", "").isalnum() and key.isascii() else f'"{key}"'


def explain(
    error: ValidationError, place: Callable[[Location], str], keys: Mapping[str, Collection[str]]
) -> tuple[str, str]:
    """(message, remedy) of the first problem, with its place and the key's full name.

    Args:
        error: What pydantic says of the file.
        place: File and line of a key.
        keys: Name of a top-level table -> keys of the tables in it; "" -> the top-level keys.
    """
    problem = _first(error)
    location = problem["loc"]
    key = ".".join(quoted(str(part)) for part in location)
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    where = place(location)
    if problem["type"] == "extra_forbidden":
        name = str(location[-1])
        known = keys["" if len(location) == 1 else str(location[0])]
        if _RENAMED.get(name) in known:
            return f"{where}: {key} is called {_RENAMED[name]} now{more}", f"write {_RENAMED[name]} = ... there"
        return f"{where}: unknown key {key}{more}", nearest(name, known)
    if problem["type"] == "missing":
        return f"{where}: {key} is missing{more}", f"add it: {_example(location)}"
    value: Any = problem["input"]
    if location[-1] == "url" and isinstance(value, list):
        return f"{where}: {key} = {value!r}: must be one address, not a list{more}", _PROXY
    message = "must be a table" if problem["type"] in _NO_TABLE else problem["msg"].removeprefix("Value error, ")
    return f"{where}: {key} = {value!r}: {message}{more}", "correct the value"


def _first(error: ValidationError) -> ErrorDetails:
    """The problem to tell: an unknown key before the missing one that it may be meant for."""
    problems = error.errors()
    return next((each for each in problems if each["type"] == "extra_forbidden"), problems[0])


def _example(location: Location) -> str:
    examples = {
        "roles": '[roles] with animator = "..." and reflector = "..."',
        "animator": 'animator = "NAME" under [roles], a name of a [models.NAME] table or "ollama:NAME"',
        "reflector": 'reflector = "NAME" under [roles], a name of a [models.NAME] table or "ollama:NAME"',
        "kind": 'kind = "embedded", kind = "ollama" or kind = "openai"',
        "endpoint": 'endpoint = "embedded"',
        "model": 'model = "qwen2.5-coder:1.5b"',
    }
    return examples.get(str(location[-1]), str(location[-1]))
