"""Requests of the Ollama API, read strictly, and the OpenAI bodies that they become. Pure.

A wrong type is a 400 that names the field (Ollama answers 500). Unknown fields and options are ignored, as in Ollama.
The body names no model: the gateway adds the upstream's own name for it.
"""

from __future__ import annotations

import json
import math
import re
import reprlib
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, ValidationError, model_validator

Kind = Literal["chat", "generate"]

FOREVER = math.inf

#: llama.cpp reads seeds as 32 bits and takes the largest one for "random".
_SEEDS = 2**32 - 1
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600}
_DURATION_PART = r"(\d++(?:\.\d*+)?|\.\d++)(ns|us|µs|μs|ms|s|m|h)"
_DURATION = re.compile(rf"([+-]?)((?:{_DURATION_PART})+)")
#: Fields that none of our clients sends -> the remedy.
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
    Ollama's clients expect one string there, never an object.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object in a request body; an ApiError (400) if it is anything else, or contains NaN or infinity."""
    if not body.strip():
        raise ApiError(400, "missing request body")
    try:
        value = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"request body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ApiError(400, f"request body must be a JSON object, not {reprlib.repr(value)}")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


# --- values ----------------------------------------------------------------------------------------------------------


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _words(value: object) -> object:
    """Ollama's server wants a list for `stop`, its documentation allows a string, and clients send both."""
    words = [value] if isinstance(value, str) else value
    return [word for word in words if word != ""] if isinstance(words, list) else words


def _response_format(value: object) -> dict[str, Any] | None:
    """OpenAI's `response_format` for Ollama's `format`."""
    if value == "":
        return None
    if value == "json":
        return {"type": "json_object"}
    if isinstance(value, dict):
        return {"type": "json_schema", "json_schema": {"name": "schema", "schema": value}}
    raise ValueError('must be "json" or a JSON Schema object')


def _think(value: object) -> bool | str:
    if isinstance(value, bool) or value in ("low", "medium", "high", "max"):
        return value
    raise ValueError('must be true, false, "low", "medium", "high" or "max"')


def _keep_alive(value: object) -> float:
    """Seconds, `FOREVER` for a negative number; strings are Go durations ("5m", "1h30m", "-1m", "0")."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(max(-1, min(value, 2**62)))
    elif value in ("0", "+0", "-0"):  # the only number without a unit that Go accepts
        seconds = 0.0
    elif isinstance(value, str) and (match := _DURATION.fullmatch(value)):
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in re.findall(_DURATION_PART, match[2]))
        seconds = -seconds if match[1] == "-" else seconds
    else:
        raise ValueError('must be seconds or a duration such as "5m"')
    return FOREVER if seconds < 0 else seconds


#: Clients send whole numbers as floats too.
_Int = Annotated[int, BeforeValidator(_whole), Field(ge=-(2**63), lt=2**63)]


# --- requests --------------------------------------------------------------------------------------------------------


class _Table(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, value: object) -> dict[str, Any]:
        """To Ollama, null is absent."""
        if not isinstance(value, dict):
            raise ValueError("must be an object")
        return {name: entry for name, entry in value.items() if entry is not None}


class Options(_Table):
    """The sampling settings of a request; options that are fixed when the model is loaded are ignored.

    The defaults are Ollama's. They are always sent, because upstreams have others (llama.cpp: top_p 0.95, min_p 0.05).
    """

    temperature: float = 0.8
    top_p: float = 0.9
    min_p: float = 0.0
    typical_p: float = 1.0
    repeat_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    top_k: _Int = 40
    repeat_last_n: _Int = 64
    seed: _Int = -1
    stop: Annotated[list[str], BeforeValidator(_words)] = []
    num_ctx: _Int | None = Field(None, ge=1)
    """The window that the request asks for, tokens; None if it asks for none."""
    num_predict: _Int = -1
    """At most this many tokens are generated; if negative, only the window limits them."""

    def fields(self) -> dict[str, Any]:
        """The options as fields of an OpenAI request."""
        fields = self.model_dump(exclude={"seed", "stop", "num_ctx", "num_predict"})
        if self.seed >= 0:
            fields["seed"] = self.seed % _SEEDS
        if self.num_predict >= 0:
            fields["max_tokens"] = self.num_predict
        if self.stop:
            fields["stop"] = self.stop
        return fields


class _Message(_Table):
    """One message of /api/chat; ollama-python drops empty contents, so a missing content is an empty one."""

    role: Annotated[Literal["system", "user", "assistant"], BeforeValidator(_lower)]
    content: str = ""
    thinking: str = ""
    images: list[Any] = []
    tool_calls: list[Any] = Field([], max_length=0)

    def openai(self) -> dict[str, str]:
        thoughts = {"reasoning_content": self.thinking} if self.role == "assistant" and self.thinking else {}
        return {"role": self.role, "content": self.content, **thoughts}


class Call(_Table):
    """One request for text."""

    kind: Kind
    model: str
    """The name as the client wrote it; replies repeat it unchanged."""
    stream: bool = True
    """Whether the client wants lines."""
    keep_alive: Annotated[float | None, PlainValidator(_keep_alive)] = None
    """Seconds, `FOREVER`, or None if the client does not say."""
    options: Options = Options()
    think: Annotated[bool | str | None, PlainValidator(_think)] = None
    format: Annotated[dict[str, Any] | None, PlainValidator(_response_format)] = None
    messages: list[_Message] = []
    system: str = ""
    prompt: str = ""
    images: list[Any] = []

    @property
    def empty(self) -> bool:
        """No messages or no prompt: the client loads or unloads the model."""
        return not (self.messages if self.kind == "chat" else self.prompt)

    @property
    def has_images(self) -> bool:
        """Whether it shows pictures; litellm always sends an empty list."""
        return bool(self.images) or any(message.images for message in self.messages)

    @cached_property
    def body(self) -> dict[str, Any]:
        """The upstream's request body, without `model`; the gateway adapts it to the model and its window."""
        messages = self.messages
        if self.kind == "generate":  # the chat template applies to both, as in Ollama without `raw`
            messages = [_Message(role="system", content=self.system)] if self.system else []
            messages = [*messages, _Message(role="user", content=self.prompt)]
        body: dict[str, Any] = {
            "messages": [message.openai() for message in messages],
            "stream": True,  # always: a dropped stream is noticed at once, a dropped plain request is not
            "stream_options": {"include_usage": True},
            **self.options.fields(),
        }
        if self.format is not None:
            body["response_format"] = self.format
        if self.think is not None:
            effort = {} if isinstance(self.think, bool) else {"reasoning_effort": self.think}
            body["chat_template_kwargs"] = {"enable_thinking": bool(self.think), **effort}
        return body


def read_call(kind: Kind, request: dict[str, Any]) -> Call:
    """Read one /api/chat or /api/generate request; an ApiError (400) names the wrong field."""
    model = read_model(request)
    for field, remedy in _UNSUPPORTED.items():
        if request.get(field):
            raise ApiError(400, f"{field} is not supported by localgif: {remedy}")
    try:
        return Call.model_validate({**request, "kind": kind, "model": model})
    except ValidationError as error:
        problem = error.errors()[0]
    field = ".".join(map(str, problem["loc"]))
    if "tool_calls" in problem["loc"]:
        raise ApiError(400, f"{field} is not supported by localgif: send text only")
    value = "" if problem["type"] == "missing" else f" = {reprlib.repr(problem['input'])}"
    says = problem["msg"].removeprefix("Value error, ").replace("Input should", "must")
    raise ApiError(400, f"{field}{value}: {says}")


def read_model(request: dict[str, Any]) -> str:
    """The model's name from `model`, or from `name` (deprecated; litellm sends it to /api/show); else an ApiError."""
    name = request.get("model") or request.get("name")
    if not isinstance(name, str) or not name:
        raise ApiError(400, "invalid model name" if name else "model is required")
    return name


def same_model(offered: str, asked: str) -> bool:
    """Whether two names match: case does not matter, and `:latest` and Ollama's own registry may be left out."""
    one, other = (_short(name) for name in (offered, asked))
    return one == other


def _short(name: str) -> str:
    name = name.casefold().removesuffix(":latest").removeprefix("https://").removeprefix("registry.ollama.ai/")
    return name.removeprefix("library/")
