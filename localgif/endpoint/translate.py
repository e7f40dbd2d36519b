"""Requests of the Ollama API -> bodies of an OpenAI-compatible server. Pure: no I/O, no clock.

`replies.py` is the way back. The model's name in the body is the gateway's business, not this module's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from localgif.endpoint.options import Sampling, read_format, read_keep_alive, read_options, read_think
from localgif.endpoint.wire import ApiError, type_name

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
