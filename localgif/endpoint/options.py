"""Ollama's `options`, `format`, `think` and `keep_alive`, read strictly and said in OpenAI's words. Pure.

A wrong type is a 400 that names the option (Ollama itself answers 500); an unknown name is ignored, as there.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from localgif.endpoint.wire import ApiError

#: Ollama's own defaults. Sent explicitly, because every upstream has others (llama.cpp: top_p 0.95, min_p 0.05).
FLOAT_DEFAULTS = {
    "temperature": 0.8,
    "top_p": 0.9,
    "min_p": 0.0,
    "typical_p": 1.0,
    "repeat_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
}
INT_DEFAULTS = {"top_k": 40, "repeat_last_n": 64}

#: Integers with a meaning of their own below.
_SPECIAL_INTS = ("seed", "num_predict", "num_ctx")
#: Fixed when the model is loaded, or of no meaning here: checked for their type, then ignored.
_IGNORED_INTS = ("num_keep", "num_gpu", "num_thread", "num_batch", "main_gpu", "draft_num_predict")
_IGNORED_BOOLS = ("use_mmap",)

#: llama.cpp reads seeds as 32 bits and takes the largest of them for "random".
_SEEDS = 2**32 - 1

_NANOSECONDS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_DURATION = re.compile(r"([+-]?)((?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+)")
_DURATION_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")

FOREVER = math.inf


@dataclass(frozen=True)
class Sampling:
    """What `options` come to.

    Attributes:
        fields: Members of the OpenAI request body.
        num_ctx: The window that the request asked for, tokens; None when it did not.
        num_predict: Most tokens to generate; None is no limit but the window.
    """

    fields: dict[str, Any]
    num_ctx: int | None
    num_predict: int | None


def read_options(value: object) -> Sampling:
    """The sampling settings of a request; what is absent or null gets Ollama's default.

    Raises:
        ApiError: 400, naming the option.
    """
    if value is None:
        value = {}
    if not isinstance(value, dict):
        raise ApiError(400, "options must be an object")
    given = {name: entry for name, entry in value.items() if entry is not None}
    ints = {
        name: _integer(name, given[name]) for name in (*INT_DEFAULTS, *_SPECIAL_INTS, *_IGNORED_INTS) if name in given
    }
    floats = {name: _number(name, given[name]) for name in FLOAT_DEFAULTS if name in given}
    for name in _IGNORED_BOOLS:
        if name in given and not isinstance(given[name], bool):
            raise _wrong_type(name, "bool")
    fields: dict[str, Any] = {**FLOAT_DEFAULTS, **floats}
    fields |= {name: ints.get(name, default) for name, default in INT_DEFAULTS.items()}
    if ints.get("seed", -1) >= 0:
        fields["seed"] = ints["seed"] % _SEEDS
    num_predict = ints.get("num_predict", -1)
    if num_predict >= 0:
        fields["max_tokens"] = num_predict
    if stop := _stop(given.get("stop")):
        fields["stop"] = stop
    num_ctx = ints.get("num_ctx")
    if num_ctx is not None and num_ctx < 1:
        raise ApiError(400, f'option "num_ctx" must be at least 1, not {num_ctx}')
    return Sampling(fields, num_ctx, num_predict if num_predict >= 0 else None)


def _wrong_type(name: str, expected: str) -> ApiError:
    return ApiError(400, f'option "{name}" must be of type {expected}')


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _wrong_type(name, "float32")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    # 1e400 is valid JSON and infinite in a double.
    if not math.isfinite(number):
        raise _wrong_type(name, "float32")
    return number


def _integer(name: str, value: object) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong_type(name, "integer")
    if not -(2**63) <= value < 2**63:
        raise _wrong_type(name, "integer (64 bits)")
    return value


def _stop(value: object) -> list[str]:
    """Ollama's server wants a list, its documentation allows a string, clients send both."""
    if value is None:
        return []
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise _wrong_type("stop", "array of strings")
    return [word for word in words if word]


def read_format(value: object) -> dict[str, Any] | None:
    """The OpenAI `response_format` for Ollama's `format`; None when it asks for nothing.

    Raises:
        ApiError: 400; neither "json" nor a schema object.
    """
    if value is None or value == "":
        return None
    if value == "json":
        return {"type": "json_object"}
    if isinstance(value, dict):
        return {"type": "json_schema", "json_schema": {"name": "schema", "schema": value}}
    raise ApiError(400, f'invalid format: {value!r}; expected "json" or a valid JSON Schema object')


def read_think(value: object) -> bool | str | None:
    """`think` of a request: None when absent.

    Raises:
        ApiError: 400; neither a boolean nor a known level.
    """
    if value is None or isinstance(value, bool) or value in ("low", "medium", "high", "max"):
        return value
    raise ApiError(400, f'invalid think value: {value!r}; expected true, false, "low", "medium", "high" or "max"')


def read_keep_alive(value: object) -> float | None:
    """Seconds for which the model stays loaded after the request.

    Returns:
        None when absent, `FOREVER` when negative, else seconds >= 0. Numbers are seconds; strings are Go durations
        ("5m", "1h30m", "-1m", "0").

    Raises:
        ApiError: 400; neither a number nor a duration.
    """
    if value is None:
        return None
    if isinstance(value, str):
        seconds = _duration(value)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            seconds = float(value)
        except OverflowError:
            seconds = FOREVER if value > 0 else -1.0
    else:
        raise ApiError(400, f'invalid keep_alive: {value!r}; expected seconds or a duration such as "5m"')
    return FOREVER if seconds < 0 else seconds


def _duration(text: str) -> float:
    """Seconds of a Go duration; a number without a unit is an error there, except 0."""
    if text in ("0", "+0", "-0"):
        return 0.0
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ApiError(400, f'invalid keep_alive: {text!r}; expected seconds or a duration such as "5m"')
    parts = _DURATION_PART.findall(match[2])
    seconds = sum(float(number) * _NANOSECONDS[unit] for number, unit in parts) / 1e9
    return -seconds if match[1] == "-" else seconds
