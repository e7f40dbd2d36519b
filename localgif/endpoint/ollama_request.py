"""Requests of the Ollama API, read strictly, and the OpenAI bodies that they become. Pure."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from localgif.records import Dialect


class ApiError(Exception):
    """A failure that the client of the gateway is told about.

    Never leaves the gateway: before the first line it becomes an HTTP status with `{"error": text}`, after it a last
    line `{"error": text}`.

    Args:
        status: HTTP status code.
        message: One text; Ollama's clients expect a string there, never an object.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class UpstreamBroken(ApiError):
    """The server behind the gateway died, or answered what no working server answers."""

    def __init__(self, message: str) -> None:
        super().__init__(502, message)


def parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object of a request body.

    Raises:
        ApiError: 400; nothing sent, no JSON, NaN or infinity, or not an object.
    """
    if not body.strip():
        raise ApiError(400, "missing request body")
    try:
        value = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"request body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ApiError(400, f"request body must be a JSON object, not {type_name(value)}")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def type_name(value: object) -> str:
    """The JSON word for the type of a decoded value."""
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def encode(payload: dict[str, Any]) -> bytes:
    """One JSON object on one line, UTF-8, no newline at the end (a lone surrogate becomes a question mark)."""
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def encode_line(payload: dict[str, Any]) -> bytes:
    """One line of an NDJSON stream."""
    return encode(payload) + b"\n"


def timestamp(moment: datetime | None = None, ahead: float = 0.0) -> str:
    """RFC 3339 in UTC, e.g. "2025-01-31T12:00:00.000000Z".

    Args:
        moment: None is now.
        ahead: Seconds to add; more than a century is cut to a century.
    """
    base = moment or datetime.now(UTC)
    later = base + timedelta(seconds=min(ahead, 100 * 365 * 86400.0))
    return later.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


@dataclass(frozen=True)
class Upstream:
    """An OpenAI-compatible server that is ready to answer for one model.

    Attributes:
        url: Address without `/v1`.
        key: What it wants as bearer token; empty when it wants none.
        model: The model's name over there.
        window: Tokens of prompt and answer together.
        dialect: Whose names for the fields beyond OpenAI's it knows, and how it counts tokens.
        ours: We started it, with every default set. Somebody else's may shift its window or refuse a long answer.
    """

    url: str
    key: str
    model: str
    window: int
    dialect: Dialect = "llama.cpp"
    ours: bool = True


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


#: Without a name of its own in vLLM: it looks at the whole context for repetitions, and has no typical sampling.
_NOT_IN_VLLM = ("repeat_last_n", "typical_p", "repeat_penalty")

#: Shorter prompts than this, bytes, are not judged by their count: fixed parts of a template weigh too much in them.
_LONG = 2000

#: No tokenizer in use packs more bytes of text into a token on average, once long runs of one character are shortened.
_BYTES_A_TOKEN = 8

_RUN = re.compile(r"(\s)\s{2,}|(.)\2{3,}", re.S)


def adapted(body: dict[str, Any], upstream: Upstream) -> dict[str, Any]:
    """The request body in the upstream's own words, with the model's name over there."""
    body = {**body, "model": upstream.model}
    if upstream.dialect != "vllm":
        return body
    if "repeat_penalty" in body:
        body["repetition_penalty"] = body["repeat_penalty"]
    for name in _NOT_IN_VLLM:
        body.pop(name, None)
    effort = body.get("chat_template_kwargs", {}).get("reasoning_effort")
    if effort is not None:
        body["reasoning_effort"] = effort
    body["messages"] = [
        {"reasoning" if name == "reasoning_content" else name: value for name, value in message.items()}
        for message in body["messages"]
    ]
    return body


def counting_request(body: dict[str, Any], upstream: Upstream) -> tuple[str, dict[str, Any], str] | None:
    """How to have the prompt counted, chat template included: path, body, and where in the answer the number is.

    None when servers of this kind do not count.
    """
    body = adapted(body, upstream)
    if upstream.dialect == "llama.cpp":
        return "/v1/chat/completions/input_tokens", body, "input_tokens"
    if upstream.dialect == "vllm":
        kept = ("model", "messages", "chat_template_kwargs")
        asked = {name: body[name] for name in kept if name in body}
        return "/tokenize", {**asked, "add_generation_prompt": True}, "count"
    return None


def cut_silently(body: dict[str, Any], prompt_tokens: int) -> bool:
    """Whether a server that says so few tokens of this prompt cannot have read all of it."""
    text = "\n".join(message["content"] for message in body["messages"] if isinstance(message.get("content"), str))
    size = len(_RUN.sub(r"\1\2", text).encode("utf-8", "replace"))
    return size >= _LONG and prompt_tokens * _BYTES_A_TOKEN < size


#: vLLM's and LM Studio's ways to say how large the window is, how much was asked, and how long the answer may get.
_WINDOW = re.compile(r"context (?:length|size|window)(?: is| of)?(?: only)? (\d+)")

_ASKED = re.compile(r"(at least )?\b(\d+) (?:(?:tokens )?in the (?:messages|prompt|input)|input tokens)")

_ANSWER = re.compile(r"(\d+) in the completion|requested (\d+) output tokens|too large: (\d+)")

_TOO_MUCH = re.compile(r"context.*(?:exceed|too (?:long|large|many)|larger|greater|not enough|overflow)", re.S)


def overflow_words(text: str) -> str:
    """llama.cpp's words for a refusal that says, in any server's words, that the window is too small; else the text.

    Clients know these words: our own turn them into the advice to raise num_ctx.
    """
    if "exceeds the available context size" in text:
        return text
    window, asked = _WINDOW.search(text), _ASKED.search(text)
    if window is None or asked is None:
        unclear = window is not None or _TOO_MUCH.search(text)
        return f"request exceeds the available context size (the server says: {text})" if unclear else text
    prompt, size = int(asked[2]), int(window[1])
    words = f"{asked[1] or ''}{prompt} tokens"
    if prompt >= size:
        return f"request ({words}) exceeds the available context size ({size} tokens), try increasing it"
    answer = _ANSWER.search(text)
    longest = f" of {next(group for group in answer.groups() if group)} tokens" if answer else ""
    return (
        f"request ({words}) and an answer{longest}: together that exceeds the available context size ({size} tokens), "
        "lower num_predict or try increasing it"
    )


Kind = Literal["chat", "generate"]


@dataclass(frozen=True)
class Call:
    """One request for text, as the gateway works with it.

    Attributes:
        model: The name as the client wrote it; it is echoed so.
        stream: Whether the client wants lines.
        empty: No messages or no prompt: the client loads or unloads the model.
        keep_alive: Seconds, infinity, or None when the client does not say.
        body: The upstream's request body, without `model`.
        sampling: What the options came to.
        think: As requested; None when absent.
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


def read_call(kind: Kind, request: dict[str, Any]) -> Call:
    """Read one /api/chat or /api/generate request; fields that nobody knows are ignored.

    Raises:
        ApiError: 400 (404 for generate with an empty model, as Ollama does) with the field that is wrong.
    """
    model = read_model(request, missing_status=400 if kind == "chat" else 404)
    messages = _chat_messages(request) if kind == "chat" else _generate_messages(request)
    for field in ("tools", "logprobs"):
        if request.get(field):
            raise _unsupported(field, "leave it out")
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
        body["chat_template_kwargs"] = _think_arguments(think)
    return Call(
        kind=kind,
        model=model,
        stream=_boolean(request, "stream", True),
        empty=not (messages if kind == "chat" else _text(request, "prompt")),
        keep_alive=read_keep_alive(request.get("keep_alive")),
        body=body,
        sampling=sampling,
        think=think,
        images=_has_images(kind, request),
    )


def read_model(request: dict[str, Any], missing_status: int = 400) -> str:
    """The model's name from `model`, or from `name` (deprecated, and what litellm sends to /api/show).

    Raises:
        ApiError: `missing_status` when there is none, 400 when it is not a string.
    """
    name = request.get("model") or request.get("name")
    if not name:
        raise ApiError(missing_status, "model is required" if missing_status == 400 else "model '' not found")
    if not isinstance(name, str):
        raise ApiError(400, "invalid model name")
    return name


def same_model(offered: str, asked: str) -> bool:
    """Names match without regard to case, and `:latest` may be left out."""

    def normal(name: str) -> str:
        return name.casefold().removesuffix(":latest")

    return normal(offered) == normal(asked)


def _text(source: dict[str, Any], field: str) -> str:
    """A string field; absent and null are the empty string."""
    value = source.get(field)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ApiError(400, f"{field} must be a string, not {type_name(value)}")
    return value


def _boolean(source: dict[str, Any], field: str, default: bool) -> bool:
    value = source.get(field)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise ApiError(400, f"{field} must be a boolean, not {type_name(value)}")
    return value


def _list_of_objects(source: dict[str, Any], field: str) -> list[dict[str, Any]]:
    value = source.get(field)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise ApiError(400, f"{field} must be an array of objects")
    return value


def _has_images(kind: Kind, request: dict[str, Any]) -> bool:
    """litellm always sends an empty list; only a filled one asks for something."""
    sources = _list_of_objects(request, "messages") if kind == "chat" else [request]
    return any(source.get("images") for source in sources)


def _think_arguments(think: bool | str) -> dict[str, Any]:
    if isinstance(think, bool):
        return {"enable_thinking": think}
    return {"enable_thinking": True, "reasoning_effort": think}


def _generate_messages(request: dict[str, Any]) -> list[dict[str, Any]]:
    """`prompt` and `system` as messages: the model's chat template is applied to both, as Ollama does without `raw`."""
    for field in ("raw", "template", "suffix", "context"):
        if request.get(field):
            raise _unsupported(field, "send the prompt, and system for instructions")
    system, prompt = _text(request, "system"), _text(request, "prompt")
    messages = [{"role": "system", "content": system}] if system else []
    return [*messages, {"role": "user", "content": prompt}]


def _chat_messages(request: dict[str, Any]) -> list[dict[str, Any]]:
    """Ollama's messages as OpenAI's; ollama-python drops empty contents, so a missing content is an empty one."""
    messages: list[dict[str, Any]] = []
    for entry in _list_of_objects(request, "messages"):
        role = _text(entry, "role").lower()
        if role not in ("system", "user", "assistant"):
            raise ApiError(400, f"invalid role {entry.get('role')!r}: expected system, user or assistant")
        if entry.get("tool_calls"):
            raise _unsupported("tool_calls", "send text only")
        message: dict[str, Any] = {"role": role, "content": _text(entry, "content")}
        if role == "assistant" and (thinking := _text(entry, "thinking")):
            message["reasoning_content"] = thinking
        messages.append(message)
    return messages


def _unsupported(field: str, remedy: str) -> ApiError:
    return ApiError(400, f"{field} is not supported by localgif: {remedy}")
