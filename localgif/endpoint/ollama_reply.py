"""OpenAI events -> replies of the Ollama API: lines, thoughts, counts, errors. Pure: callers read the clock."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from localgif.endpoint.ollama_request import ApiError, Call, Kind
from localgif.endpoint.received import number, read_json, texts
from localgif.endpoint.thoughts import Thoughts

#: At most this many characters of an upstream's words are shown.
_SHOWN = 500
#: Parts of the messages about an answer and about a prompt that is too long; http.py recognises both by them.
ENDLESS, OVERFLOW = "does not stop", "exceeds the available context size"


class UpstreamBroken(ApiError):
    """The server behind the gateway died, or sent what no working server sends."""

    def __init__(self, message: str) -> None:
        super().__init__(502, message)


def encode(payload: dict[str, Any]) -> bytes:
    """One JSON object on one line of ASCII, because several clients end lines at U+0085 and U+2028 too."""
    return json.dumps(payload, separators=(",", ":")).encode()


def timestamp(moment: datetime | None = None, ahead: float = 0.0) -> str:
    """RFC 3339 in UTC, e.g. "2025-01-31T12:00:00.000000Z": of `moment` or now, at most a century `ahead` (seconds)."""
    later = (moment or datetime.now(UTC)) + timedelta(seconds=min(ahead, 100 * 365 * 86400.0))
    return later.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


# --- events ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Delta:
    """One event of the stream; texts are empty and objects None if the event has none."""

    content: str = ""
    thinking: str = ""
    finish: str | None = None
    usage: dict[str, Any] | None = None
    timings: dict[str, Any] | None = None


def read_delta(data: str) -> Delta:
    """One `data:` payload of the stream, or a whole completion; raises an ApiError for an error, and UpstreamBroken for
    what is neither."""
    try:
        event = read_json(data, halves=True)
    except ValueError:
        raise UpstreamBroken(f"the upstream server sent something that is not JSON: {data[:_SHOWN]}") from None
    if isinstance(event, dict) and (event.get("error") or event.get("object") == "error" or "detail" in event):
        raise _told(event.get("error") or event, data)
    try:
        (choice,) = event.get("choices") or [{}]
        delta = choice.get("delta") or choice.get("message") or {}
        finish = choice.get("finish_reason")
        content, thinking = texts(delta.get("content"))
        # llama.cpp's name and vLLM's name for the same thing.
        thinking += "".join(texts(delta.get("reasoning_content") or delta.get("reasoning")))
    except (AttributeError, TypeError, ValueError):
        raise UpstreamBroken(f"the upstream server sent an unknown event: {data[:_SHOWN]}") from None
    if finish in ("abort", "error"):
        raise UpstreamBroken(f"the upstream server ended the generation: {finish}")
    usage, timings = (value if isinstance(value, dict) else None for value in map(event.get, ("usage", "timings")))
    return Delta(content, thinking, finish if isinstance(finish, str) else None, usage, timings)


def _told(error: object, data: str) -> ApiError:
    """The error for an error event: a refusal keeps the status that it names, and an overflow is always a refusal."""
    codes = [str(error.get(name)) for name in ("code", "status")] if isinstance(error, dict) else []
    status = next((int(code) for code in codes if re.fullmatch(r"[45]\d\d", code, re.ASCII)), 500)
    if OVERFLOW in overflow_words(text := error_text(data)):
        status = 400
    failure = upstream_failure(status, data)
    return failure if status < 500 else UpstreamBroken(text)


# --- lines -----------------------------------------------------------------------------------------------------------


def chunk(kind: Kind, model: str, content: str = "", thinking: str = "") -> dict[str, Any]:
    """One line with text, `done` false. Every chat line has a message with a string content."""
    line: dict[str, Any] = {"model": model, "created_at": timestamp()}
    thoughts = {"thinking": thinking} if thinking else {}
    if kind == "chat":
        line["message"] = {"role": "assistant", "content": content, **thoughts}
    else:
        line |= {"response": content, **thoughts}
    return line | {"done": False}


def emptied(kind: Kind, model: str, reason: str) -> dict[str, Any]:
    """The reply to a request without text; `reason` is "load" or "unload"."""
    return chunk(kind, model) | {"done": True, "done_reason": reason}


class Answer:
    """One answer in progress, from the events that came so far.

    Args:
        arrival: When the request arrived, like all times a reading of one monotonic clock, nanoseconds.
        dispatch: When it was sent to the upstream.
        tagged: Whether the text may contain thoughts in tags.
        trusted: Whether the upstream is known to refuse a prompt that exceeds its window.
        left_out: Fields that the upstream forbids; the last line names them.
    """

    def __init__(
        self,
        call: Call,
        arrival: int,
        dispatch: int,
        *,
        tagged: bool = True,
        trusted: bool = True,
        left_out: Collection[str] = (),
    ) -> None:
        self._call = call
        self._arrival = arrival
        self._dispatch = dispatch
        self._thoughts = Thoughts() if tagged else None
        self._trusted = trusted
        self._left_out = left_out
        #: num_predict 0 wants the prompt read and nothing written; llama.cpp generates one token anyway.
        self._silent = call.options.num_predict == 0
        self._content: list[str] = []
        self._thinking: list[str] = []
        self._pieces = 0
        self._first: int | None = None
        self._last = 0
        self._finish: str | None = None
        self._usage: dict[str, Any] = {}
        self._timings: dict[str, Any] = {}

    def take(self, delta: Delta, now: int) -> dict[str, Any] | None:
        """Collect one event; returns the client's line if there is text in it."""
        self._finish = delta.finish or self._finish
        self._usage = delta.usage or self._usage
        self._timings = delta.timings or self._timings
        content, thinking = delta.content, delta.thinking
        if content or thinking:
            self._pieces += 1
            self._first, self._last = self._first or now, now
        if self._thoughts is not None:
            content, thought = self._thoughts.feed(content)
            rest = self._thoughts.end() if delta.finish is not None else ("", "")
            content, thinking = content + rest[0], thinking + thought + rest[1]
        if self._silent or not (content or thinking):
            return None
        first = not self._content
        self._content.append(content)
        self._thinking.append(thinking)
        line = chunk(self._call.kind, self._call.model, content, thinking)
        return line | self._prompt() if first else line

    def final(self, whole: bool, now: int) -> dict[str, Any]:
        """The last line of a stream, or with `whole` the one object of an answer that is not streamed.

        Raises:
            UpstreamBroken: The answer has no finish reason and may be half of one, or the prompt was not read whole.
        """
        if self._finish is None:
            raise UpstreamBroken("the upstream server ended the answer without a finish reason")
        read = number(self._usage.get("prompt_tokens"))
        prompt = "\n".join(message["content"] for message in self._call.body["messages"])
        if not self._trusted and read is not None and cut_silently(prompt, read):
            raise UpstreamBroken(
                f"the prompt {OVERFLOW}: the upstream server read only {read} tokens of it and "
                "silently dropped the rest; raise the context length of that server"
            )
        text = ("".join(self._content), "".join(self._thinking)) if whole else ()
        line = chunk(self._call.kind, self._call.model, *text)
        reason = "length" if self._finish == "length" else "stop"
        forbidden = {"left_out": sorted(self._left_out)} if self._left_out else {}
        return line | {"done": True, "done_reason": reason} | self._metrics(now) | self._prompt() | forbidden

    def _prompt(self) -> dict[str, int]:
        """How many tokens the prompt has, and how many of them were in the upstream's cache; empty unless it says both.

        An Ollama reports the first only at the end, and never the second.
        """
        cached, read = (number(self._timings.get(name)) for name in ("cache_n", "prompt_n"))
        if cached is None or read is None:
            return {}
        return {"prompt_eval_count": int(cached + read), "prompt_cached_count": int(cached)}

    def _metrics(self, now: int) -> dict[str, int]:
        """Six numbers: tokens, and nanoseconds. The upstream's own measurements take precedence."""
        usage, timings = self._usage, self._timings
        first, last = (now, now) if self._first is None else (self._first, self._last)
        written = _count(usage.get("completion_tokens"), timings.get("predicted_n"), self._pieces)
        return {
            "total_duration": max(0, now - self._arrival),
            "load_duration": max(0, self._dispatch - self._arrival),
            "prompt_eval_count": _count(usage.get("prompt_tokens")),
            "prompt_eval_duration": _nanoseconds(timings.get("prompt_ms"), first - self._dispatch),
            "eval_count": 0 if self._silent else written,
            "eval_duration": _nanoseconds(timings.get("predicted_ms"), last - first),
        }


def _count(*candidates: Any) -> int:
    return next((count for count in map(number, candidates) if count is not None), 0)


def _nanoseconds(milliseconds: Any, fallback: int) -> int:
    known = number(milliseconds) is not None
    return int(milliseconds * 1e6) if known else max(0, fallback)


# --- refusals --------------------------------------------------------------------------------------------------------


def upstream_failure(status: int, body: str) -> ApiError:
    """The error for our client: a refused request keeps its status; one that fails, or lacks a key, becomes a 502."""
    text = error_text(body)
    if status in (400, 413, 422):
        text = overflow_words(text)
    if status == 501 or (400 <= status < 500 and status not in (401, 403)):
        return ApiError(status, text)
    return UpstreamBroken(f"the upstream server answered {status}: {text}")


def error_text(body: str) -> str:
    """The message in an error body: OpenAI's shape, the older flat ones, or the first characters."""
    shown = body.strip()[:_SHOWN].encode("utf-8", "replace").decode()
    try:
        value = read_json(body)
    except ValueError:
        return shown or "no reason given"
    if isinstance(value, dict):
        inner = value.get("error", value)
        if isinstance(inner, dict):
            inner = inner.get("message") or inner
        if isinstance(inner, str) and inner:
            return inner[: 4 * _SHOWN]
    return shown


#: How servers state the size of the window, of the request, and of the longest answer.
_WINDOW = re.compile(r"context (?:length|size|window)(?: is| of)?(?: only)? (\d{1,12})")
_ASKED = re.compile(r"(at least )?\b(\d{1,12}) (?:(?:tokens )?in the (?:messages|prompt|input)|input tokens)")
_ANSWER = re.compile(r"(\d{1,12}) in the completion|requested (\d{1,12}) output tokens|too large: (\d{1,12})")
#: A message about a prompt that does not fit matches both: what is too long or too small, and in which way.
_WHAT = re.compile(r"context[ _-]?(?:length|size|window)?|max_seq_len|n_ctx|prompt|inputs?\b.{0,20}tokens|token count")
_HOW = re.compile(r"exceed|too (?:long|large|many)|longer|larger|greater|not enough|overflow|must be <=|does not fit")
_OTHER = re.compile(r"memory|timeout|ssl|rate limit")


def overflow_words(text: str) -> str:
    """Any server's refusal of a prompt that exceeds the window, in llama.cpp's words, which clients know; other texts
    unchanged.
    """
    if OVERFLOW in text:
        return text
    lower = text[: 4 * _SHOWN].lower()
    window, asked = _WINDOW.search(lower), _ASKED.search(lower)
    if window is None or asked is None:
        unclear = _WHAT.search(lower) and _HOW.search(lower) and not _OTHER.search(lower)
        return f"request {OVERFLOW} (the server says: {text})" if window or unclear else text
    prompt, size = int(asked[2]), int(window[1])
    words = f"{asked[1] or ''}{prompt} tokens"
    if prompt >= size:
        return f"request ({words}) {OVERFLOW} ({size} tokens), try increasing it"
    answer = _ANSWER.search(lower)
    longest = f" of {next(group for group in answer.groups() if group)} tokens" if answer else ""
    return (
        f"request ({words}) and an answer{longest}: together that {OVERFLOW} ({size} tokens), "
        "lower num_predict or try increasing it"
    )


#: The token count of a prompt shorter than this, bytes, proves nothing: fixed parts of a template weigh too much in it.
_LONG = 2000
#: No tokenizer in use packs more bytes of text into an average token, once long runs of one character are shortened.
_BYTES_A_TOKEN = 8
_RUN = re.compile(r"(\s)\s{2,}|(.)\2{3,}", re.S)


def cut_silently(prompt: str, tokens: int) -> bool:
    """Whether a server that counts only this many tokens cannot have read the whole prompt."""
    size = len(_RUN.sub(r"\1\2", prompt).encode("utf-8", "replace"))
    return size >= _LONG and tokens * _BYTES_A_TOKEN < size
