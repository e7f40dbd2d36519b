"""OpenAI events -> replies of the Ollama API: lines, lists, errors. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from localgif.endpoint.ollama_request import ApiError, Kind, UpstreamBroken, overflow_words, timestamp

_OPEN, _CLOSE = "<think>", "</think>"


class Thoughts:
    """Splits one answer; what was fed in comes out once, in order, whatever the pieces are."""

    def __init__(self) -> None:
        self._held = ""
        self._feed = self._begin

    def feed(self, piece: str) -> tuple[str, str]:
        """(content, thinking) that are certain with this piece of the text."""
        self._held += piece
        return self._feed()

    def end(self) -> tuple[str, str]:
        """(content, thinking) that were held back when the text ended."""
        rest, self._held = self._held, ""
        return ("", rest) if self._feed == self._think else (rest, "")

    def _begin(self) -> tuple[str, str]:
        start = self._held.lstrip()
        if start.startswith(_OPEN):
            self._held, self._feed = start[len(_OPEN) :], self._think
            return self._think()
        if _OPEN.startswith(start):  # also when there is nothing but white space yet
            return "", ""
        self._feed = self._speak
        return self._speak()

    def _think(self) -> tuple[str, str]:
        thought, closed, rest = self._held.partition(_CLOSE)
        if closed:
            self._held, self._feed = rest, self._pause
            return self._pause()[0], thought
        # The end may be the beginning of the closing tag.
        keep = next((n for n in range(len(_CLOSE) - 1, 0, -1) if thought.endswith(_CLOSE[:n])), 0)
        self._held = thought[len(thought) - keep :]
        return "", thought[: len(thought) - keep]

    def _pause(self) -> tuple[str, str]:
        self._held = self._held.lstrip()
        if not self._held:
            return "", ""
        self._feed = self._speak
        return self._speak()

    def _speak(self) -> tuple[str, str]:
        said, self._held = self._held, ""
        return said, ""


#: How much of an unreadable upstream answer is shown.
SHOWN = 500


@dataclass(frozen=True)
class Delta:
    """One event of the stream. Texts are empty, objects None, where the event holds none."""

    content: str = ""
    thinking: str = ""
    finish: str | None = None
    usage: dict[str, Any] | None = None
    timings: dict[str, Any] | None = None

    @property
    def speaks(self) -> bool:
        """Whether the event holds something that the client gets to see at once."""
        return bool(self.content or self.thinking)


def read_delta(data: str) -> Delta:
    """One `data:` payload of the stream.

    Raises:
        UpstreamBroken: An error event, or no chat completion chunk.
    """
    try:
        event = json.loads(data)
    except ValueError:
        raise UpstreamBroken(f"the upstream server sent something that is not JSON: {data[:SHOWN]}") from None
    if not isinstance(event, dict):
        raise UpstreamBroken(f"the upstream server sent an unknown event: {data[:SHOWN]}")
    if event.get("error"):
        raise UpstreamBroken(error_text(data))
    try:
        (choice,) = event.get("choices") or [{}]
        delta = choice.get("delta") or {}
        finish = choice.get("finish_reason")
        # llama.cpp's name and vLLM's name for the same thing.
        thinking = delta.get("reasoning_content") or delta.get("reasoning")
    except (AttributeError, TypeError, ValueError):
        raise UpstreamBroken(f"the upstream server sent an unknown event: {data[:SHOWN]}") from None
    if finish in ("abort", "error"):
        raise UpstreamBroken(f"the upstream server ended the generation: {finish}")
    return Delta(
        content=delta.get("content") or "",
        thinking=thinking or "",
        finish=finish,
        usage=event.get("usage"),
        timings=event.get("timings"),
    )


@dataclass
class Answer:
    """A whole answer, collected from its events."""

    content: list[str] = field(default_factory=list)
    thinking: list[str] = field(default_factory=list)
    finish: str | None = None
    usage: dict[str, Any] = field(default_factory=dict)
    timings: dict[str, Any] = field(default_factory=dict)
    pieces: int = 0

    def add(self, delta: Delta) -> None:
        """Take one event in."""
        if delta.content:
            self.content.append(delta.content)
        if delta.thinking:
            self.thinking.append(delta.thinking)
        self.pieces += delta.speaks
        self.finish = delta.finish or self.finish
        self.usage = delta.usage or self.usage
        self.timings = delta.timings or self.timings


@dataclass(frozen=True)
class Clock:
    """Readings of one monotonic clock, nanoseconds; None for a first or last token that never came."""

    arrival: int
    dispatch: int
    first: int | None
    last: int | None
    end: int


def chunk(kind: Kind, model: str, content: str = "", thinking: str = "") -> dict[str, Any]:
    """One line with text in it, `done` false. Every chat line has a message with a string content."""
    line: dict[str, Any] = {"model": model, "created_at": timestamp()}
    if kind == "chat":
        message: dict[str, Any] = {"role": "assistant", "content": content}
        if thinking:
            message["thinking"] = thinking
        line["message"] = message
    else:
        line["response"] = content
        if thinking:
            line["thinking"] = thinking
    line["done"] = False
    return line


def final(kind: Kind, model: str, answer: Answer, clock: Clock, whole: bool, silent: bool = False) -> dict[str, Any]:
    """The last line of a stream, or with `whole` the one object of an answer that is not streamed.

    Args:
        silent: The client wanted no token at all (num_predict 0); llama.cpp makes one all the same.
    """
    line = chunk(kind, model)
    if whole and not silent:
        line = chunk(kind, model, "".join(answer.content), "".join(answer.thinking))
    counts = _metrics(answer, clock)
    if silent:
        counts["eval_count"] = 0
    return line | {"done": True, "done_reason": "length" if answer.finish == "length" else "stop"} | counts


def emptied(kind: Kind, model: str, reason: str) -> dict[str, Any]:
    """The answer to a request without text; `reason` is "load" or "unload"."""
    return chunk(kind, model) | {"done": True, "done_reason": reason}


def _metrics(answer: Answer, clock: Clock) -> dict[str, int]:
    """The six numbers of the last line: tokens, and nanoseconds. The upstream's own measurements come first."""
    usage, timings = answer.usage, answer.timings
    prompt = _count(usage.get("prompt_tokens"), _sum(timings, "cache_n", "prompt_n"))
    generated = _count(usage.get("completion_tokens"), timings.get("predicted_n"), answer.pieces)
    first = clock.end if clock.first is None else clock.first
    last = first if clock.last is None else clock.last
    return {
        "total_duration": max(0, clock.end - clock.arrival),
        "load_duration": max(0, clock.dispatch - clock.arrival),
        "prompt_eval_count": prompt,
        "prompt_eval_duration": _nanoseconds(timings.get("prompt_ms"), first - clock.dispatch),
        "eval_count": generated,
        "eval_duration": _nanoseconds(timings.get("predicted_ms"), last - first),
    }


def _sum(source: dict[str, Any], *names: str) -> Any:
    values = [source.get(name) for name in names]
    return sum(values) if all(isinstance(value, int) for value in values) else None


def _count(*candidates: Any) -> int:
    return next((int(value) for value in candidates if isinstance(value, (int, float)) and value >= 0), 0)


def _nanoseconds(milliseconds: Any, fallback: int) -> int:
    if isinstance(milliseconds, (int, float)) and milliseconds >= 0:
        return int(milliseconds * 1e6)
    return max(0, fallback)


def upstream_failure(status: int, body: str) -> ApiError:
    """What an upstream answer with an error status means for our client.

    A refused request keeps its status; a server that fails, or refuses our key, is a broken upstream.
    """
    text = error_text(body)
    if status in (400, 413, 422):
        text = overflow_words(text)
    if status == 501 or (400 <= status < 500 and status not in (401, 403)):
        return ApiError(status, text)
    return UpstreamBroken(f"the upstream server answered {status}: {text}")


def error_text(body: str) -> str:
    """The message inside an error body: OpenAI's shape, the older flat ones, or the start of whatever it is."""
    try:
        value = json.loads(body)
    except ValueError:
        return body.strip()[:SHOWN] or "no reason given"
    if isinstance(value, dict):
        inner = value.get("error", value)
        if isinstance(inner, dict):
            inner = inner.get("message") or inner
        if isinstance(inner, str) and inner:
            return inner
    return body.strip()[:SHOWN]
