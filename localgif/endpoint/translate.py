"""Requests of the Ollama API -> bodies of an OpenAI-compatible server. Pure: no I/O, no clock.

`replies.py` is the way back. The model's name in the body is the gateway's business, not this module's.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from localgif.endpoint.options import Sampling, read_format, read_keep_alive, read_options, read_think
from localgif.endpoint.wire import ApiError, type_name

Kind = Literal["chat", "generate"]

MAX_TOP_LOGPROBS = 20


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
        tools: Whether the request offers tools.
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
    tools: bool
    images: bool


def read_call(kind: Kind, request: dict[str, Any]) -> Call:
    """Read one /api/chat or /api/generate request; fields that nobody knows are ignored.

    Raises:
        ApiError: 400 (404 for generate with an empty model, as Ollama does) with the field that is wrong.
    """
    model = read_model(request, missing_status=400 if kind == "chat" else 404)
    messages = _chat_messages(request) if kind == "chat" else _generate_messages(request)
    sampling = read_options(request.get("options"))
    think = read_think(request.get("think"))
    body: dict[str, Any] = {
        "messages": messages,
        "stream": True,  # always: a dropped stream is noticed at once, a dropped plain request is not
        "stream_options": {"include_usage": True},
        **sampling.fields,
        **_logprobs(request),
    }
    if (response_format := read_format(request.get("format"))) is not None:
        body["response_format"] = response_format
    if think is not None:
        body["chat_template_kwargs"] = _think_arguments(think)
    tools = _list_of_objects(request, "tools") if kind == "chat" else []
    if tools:
        body["tools"] = tools
    return Call(
        kind=kind,
        model=model,
        stream=_boolean(request, "stream", True),
        empty=not (messages if kind == "chat" else _text(request, "prompt")),
        keep_alive=read_keep_alive(request.get("keep_alive")),
        body=body,
        sampling=sampling,
        think=think,
        tools=bool(tools),
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


def _logprobs(request: dict[str, Any]) -> dict[str, Any]:
    wanted = _boolean(request, "logprobs", False)
    top = request.get("top_logprobs")
    if top is None:
        top = 0
    if isinstance(top, bool) or not isinstance(top, int) or not 0 <= top <= MAX_TOP_LOGPROBS:
        raise ApiError(400, f"top_logprobs must be between 0 and {MAX_TOP_LOGPROBS}")
    if not wanted:
        return {}
    # llama.cpp reports none at all for 0.
    return {"logprobs": True, "top_logprobs": max(1, top)}


def _think_arguments(think: bool | str) -> dict[str, Any]:
    if isinstance(think, bool):
        return {"enable_thinking": think}
    return {"enable_thinking": True, "reasoning_effort": think}


def _generate_messages(request: dict[str, Any]) -> list[dict[str, Any]]:
    """`prompt` and `system` as messages: the model's chat template is applied to both, as Ollama does without `raw`."""
    for field in ("raw", "template", "suffix", "context"):
        if request.get(field):
            raise ApiError(400, f"{field} is not supported by localgif: send the prompt, and system for instructions")
    system, prompt = _text(request, "system"), _text(request, "prompt")
    messages = [{"role": "system", "content": system}] if system else []
    return [*messages, {"role": "user", "content": prompt}]


def _chat_messages(request: dict[str, Any]) -> list[dict[str, Any]]:
    """Ollama's messages as OpenAI's.

    ollama-python drops empty contents and the ids of tool calls, so a missing content is an empty one, and tool
    results are paired with the calls before them by order.
    """
    messages: list[dict[str, Any]] = []
    waiting: list[str] = []  # ids of calls that have no result yet
    made = 0
    for entry in _list_of_objects(request, "messages"):
        role = _text(entry, "role").lower()
        if role not in ("system", "user", "assistant", "tool"):
            raise ApiError(400, f"invalid role {entry.get('role')!r}: expected system, user, assistant or tool")
        message: dict[str, Any] = {"role": role, "content": _text(entry, "content")}
        if role == "assistant":
            if thinking := _text(entry, "thinking"):
                message["reasoning_content"] = thinking
            calls = [
                _tool_call(call, made + number) for number, call in enumerate(_list_of_objects(entry, "tool_calls"))
            ]
            made += len(calls)
            if calls:
                message["tool_calls"] = calls
                waiting = [call["id"] for call in calls]
        elif role == "tool":
            message |= _tool_result(entry, waiting)
        messages.append(message)
    return messages


def _tool_call(call: dict[str, Any], number: int) -> dict[str, Any]:
    function = call.get("function")
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise ApiError(400, "tool_calls need a function with a name")
    arguments = function.get("arguments")
    if not isinstance(arguments, str):
        arguments = json.dumps({} if arguments is None else arguments, ensure_ascii=False)
    identity = call.get("id")
    return {
        "id": identity if isinstance(identity, str) and identity else f"call_{number}",
        "type": "function",
        "function": {"name": function["name"], "arguments": arguments},
    }


def _tool_result(entry: dict[str, Any], waiting: list[str]) -> dict[str, Any]:
    """Id and name of a tool message; takes its id out of `waiting`."""
    identity = _text(entry, "tool_call_id")
    if identity in waiting:
        waiting.remove(identity)
    elif not identity and waiting:
        identity = waiting.pop(0)
    fields = {"tool_call_id": identity} if identity else {}
    if name := _text(entry, "tool_name"):
        fields["name"] = name
    return fields
