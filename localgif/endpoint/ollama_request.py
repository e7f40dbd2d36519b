"""Requests of the Ollama API, read strictly, and the OpenAI bodies that they become. Pure.

A wrong type is a 400 that names the field (Ollama answers 500). Unknown fields and options are ignored, as in Ollama.
The body names no model: the gateway adds the upstream's own name for it.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["chat", "generate"]

FOREVER = math.inf

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

#: llama.cpp reads seeds as 32 bits and takes the largest one for "random".
_SEEDS = 2**32 - 1
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600}
_DURATION_PART = r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)"
_DURATION = re.compile(rf"([+-]?)((?:{_DURATION_PART})+)")
#: Fields that none of our clients sends -> what to do instead.
_UNSUPPORTED = {
    "tools": "leave it out",
    "logprobs": "leave it out",
    "raw": "send the prompt, and system for instructions",
    "template": "send the prompt, and system for instructions",
    "suffix": "send the prompt, and system for instructions",
    "context": "use /api/chat for a conversation",
}


class ApiError(Exception):
    """A failure that the gateway reports to its client.

    Before the first line it becomes an HTTP status with `{"error": text}`, later a last line `{"error": text}`.

    Args:
        status: HTTP status code.
        message: One text; Ollama's clients expect a string there, never an object.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True)
class Sampling:
    """What `options` amount to.

    Attributes:
        fields: Members of the OpenAI request body.
        num_ctx: The window that the request asked for, tokens; None if it asked for none.
        num_predict: At most this many tokens are generated; None means only the window limits them.
    """

    fields: dict[str, Any]
    num_ctx: int | None
    num_predict: int | None


@dataclass(frozen=True)
class Call:
    """One request for text.

    Attributes:
        model: The name as the client wrote it; replies repeat it unchanged.
        stream: Whether the client wants lines.
        empty: No messages or no prompt: the client loads or unloads the model.
        keep_alive: Seconds, `FOREVER`, or None if the client does not say.
        body: The upstream's request body, without `model`.
        sampling: What the options amount to.
        think: As requested; None if absent.
        images: Whether the request carries images.
    """

    kind: Kind
    model: str
    stream: bool
    empty: bool
    keep_alive: float | None
    body: dict[str, Any]
    sampling: Sampling
    think: bool | str | None
    images: bool


def parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object in a request body.

    Raises:
        ApiError: 400; the body is empty, is not JSON, contains NaN or infinity, or is not an object.
    """
    if not body.strip():
        raise ApiError(400, "missing request body")
    try:
        value = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"request body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ApiError(400, f"request body must be a JSON object, not {_type_name(value)}")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _type_name(value: object) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


# --- calls -----------------------------------------------------------------------------------------------------------


def read_call(kind: Kind, request: dict[str, Any]) -> Call:
    """Read one /api/chat or /api/generate request.

    Raises:
        ApiError: 400 with the wrong field (404 for generate with an empty model, as in Ollama).
    """
    model = read_model(request, missing_status=400 if kind == "chat" else 404)
    for field, remedy in _UNSUPPORTED.items():
        if request.get(field):
            raise ApiError(400, f"{field} is not supported by localgif: {remedy}")
    messages = _chat_messages(request) if kind == "chat" else _generate_messages(request)
    sampling = read_options(request.get("options"))
    think = read_think(request.get("think"))
    body: dict[str, Any] = {
        "messages": messages,
        "stream": True,  # always: a dropped stream is noticed at once, a dropped plain request is not
        "stream_options": {"include_usage": True},
        **sampling.fields,
    }
    if (response_format := read_format(request.get("format"))) is not None:
        body["response_format"] = response_format
    if think is not None:
        effort = {} if isinstance(think, bool) else {"reasoning_effort": think}
        body["chat_template_kwargs"] = {"enable_thinking": bool(think), **effort}
    sources = _list_of_objects(request, "messages") if kind == "chat" else [request]
    return Call(
        kind=kind,
        model=model,
        stream=_boolean(request, "stream", True),
        empty=not (messages if kind == "chat" else _text(request, "prompt")),
        keep_alive=read_keep_alive(request.get("keep_alive")),
        body=body,
        sampling=sampling,
        think=think,
        images=any(source.get("images") for source in sources),  # litellm always sends an empty list
    )


def read_model(request: dict[str, Any], missing_status: int = 400) -> str:
    """The model's name from `model`, or from `name` (deprecated; litellm sends it to /api/show).

    Raises:
        ApiError: `missing_status` if there is none, 400 if it is not a string.
    """
    name = request.get("model") or request.get("name")
    if not name:
        raise ApiError(missing_status, "model is required" if missing_status == 400 else "model '' not found")
    if not isinstance(name, str):
        raise ApiError(400, "invalid model name")
    return name


def same_model(offered: str, asked: str) -> bool:
    """Whether two names match: case does not matter, and `:latest` may be left out."""
    one, other = (name.casefold().removesuffix(":latest") for name in (offered, asked))
    return one == other


def _generate_messages(request: dict[str, Any]) -> list[dict[str, Any]]:
    """`prompt` and `system` as messages: the model's chat template applies to both, as in Ollama without `raw`."""
    system, prompt = _text(request, "system"), _text(request, "prompt")
    messages = [{"role": "system", "content": system}] if system else []
    return [*messages, {"role": "user", "content": prompt}]


def _chat_messages(request: dict[str, Any]) -> list[dict[str, Any]]:
    """Ollama's messages as OpenAI's; ollama-python drops empty contents, so a missing content is an empty one."""
    messages = []
    for entry in _list_of_objects(request, "messages"):
        role = _text(entry, "role").lower()
        if role not in ("system", "user", "assistant"):
            raise ApiError(400, f"invalid role {entry.get('role')!r}: expected system, user or assistant")
        if entry.get("tool_calls"):
            raise ApiError(400, "tool_calls is not supported by localgif: send text only")
        message = {"role": role, "content": _text(entry, "content")}
        if role == "assistant" and (thinking := _text(entry, "thinking")):
            message["reasoning_content"] = thinking
        messages.append(message)
    return messages


def _text(source: dict[str, Any], field: str) -> str:
    """A string field; absent and null are the empty string."""
    value = source.get(field)
    if value is not None and not isinstance(value, str):
        raise ApiError(400, f"{field} must be a string, not {_type_name(value)}")
    return value or ""


def _boolean(source: dict[str, Any], field: str, default: bool) -> bool:
    value = source.get(field)
    if value is not None and not isinstance(value, bool):
        raise ApiError(400, f"{field} must be a boolean, not {_type_name(value)}")
    return default if value is None else value


def _list_of_objects(source: dict[str, Any], field: str) -> list[dict[str, Any]]:
    value = source.get(field)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise ApiError(400, f"{field} must be an array of objects")
    return value


# --- options ---------------------------------------------------------------------------------------------------------


def read_options(value: object) -> Sampling:
    """The sampling settings of a request; absent and null options get Ollama's default.

    Options that are fixed when the model is loaded (num_gpu, num_thread, use_mmap ...) are ignored.

    Raises:
        ApiError: 400, naming the option.
    """
    if value is None:
        value = {}
    if not isinstance(value, dict):
        raise ApiError(400, "options must be an object")
    given = {name: entry for name, entry in value.items() if entry is not None}
    ints = {
        name: _integer(name, given[name]) for name in (*INT_DEFAULTS, "seed", "num_predict", "num_ctx") if name in given
    }
    fields: dict[str, Any] = {
        name: _number(name, given[name]) if name in given else default for name, default in FLOAT_DEFAULTS.items()
    }
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
    # 1e400 is valid JSON and infinite as a double.
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
    """Ollama's server wants a list, its documentation allows a string, and clients send both."""
    if value is None:
        return []
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise _wrong_type("stop", "array of strings")
    return [word for word in words if word]


def read_format(value: object) -> dict[str, Any] | None:
    """The OpenAI `response_format` for Ollama's `format`; None for no format.

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
    """The `think` field of a request: None if absent.

    Raises:
        ApiError: 400; neither a boolean nor a known level.
    """
    if value is None or isinstance(value, bool) or value in ("low", "medium", "high", "max"):
        return value
    raise ApiError(400, f'invalid think value: {value!r}; expected true, false, "low", "medium", "high" or "max"')


def read_keep_alive(value: object) -> float | None:
    """Seconds for which the model stays loaded after the request.

    Returns:
        None if absent, `FOREVER` if negative, else seconds >= 0. Numbers are seconds; strings are Go durations ("5m",
        "1h30m", "-1m", "0").

    Raises:
        ApiError: 400; neither a number nor a duration.
    """
    if value is None:
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = float(max(-1, min(value, 2**62)))
    elif value in ("0", "+0", "-0"):  # the only number without a unit that Go accepts
        seconds = 0.0
    elif isinstance(value, str) and (match := _DURATION.fullmatch(value)):
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in re.findall(_DURATION_PART, match[2]))
        seconds = -seconds if match[1] == "-" else seconds
    else:
        raise ApiError(400, f'invalid keep_alive: {value!r}; expected seconds or a duration such as "5m"')
    return FOREVER if seconds < 0 else seconds
