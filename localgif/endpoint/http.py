"""What came over the wire, which failures are retried and when, and what the user reads when no retry is left.

Neither client judges an answer well. ChatOllama accepts a stream that ends without `done`, and fails on a blank line.
litellm always says "stop", and turns an error in an answer that is not streamed into an empty text. Both replace
exceptions by their own, split lines at U+0085 and U+2028, and leave thoughts in the text or remove only their tags.
So this module judges status, last line, silence and size on the bytes, below both clients, and gives them plain lines
without thoughts. Both roles share one retry policy. The clients' own retries are off: litellm repeats any refused
request four times within half a second.
"""

from __future__ import annotations

import functools
import json
import math
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal, TypeVar

import httpx

from localgif import offline
from localgif.endpoint.child import death_at
from localgif.endpoint.discover import listed_weights, with_system_at
from localgif.endpoint.ollama_reply import ENDLESS, OVERFLOW, overflow_words
from localgif.endpoint.received import ERROR_BYTES, Joined, number, read_json, texts
from localgif.endpoint.thoughts import Thoughts
from localgif.errors import EndpointError

_CONNECT_SECONDS = 5.0
#: An answer has at most this many bytes per token of text, per token of its window (the last line may repeat the prompt
#: as numbers), and besides.
_LINE_BYTES, _CONTEXT_BYTES, _FIXED_BYTES = 4096, 16, 2**20
_SHOWN = 400

_KEPT = "what was measured so far is kept."
_LOG = "Read the server's log"

Kind = Literal["unreachable", "lost", "unfinished", "silent", "status", "said", "garbled", "flood", "window", "thought"]
#: How an attempt failed -> what happened, and the remedy.
_KINDS: dict[Kind, tuple[str, str]] = {
    "unreachable": ("no server answers there", "Start the server again"),
    "lost": ("the connection broke", _LOG),
    "unfinished": ("the answer ended without its last line", _LOG),
    "silent": (
        "the server was silent for too long",
        f"The server hangs, or this model is too slow here. {_LOG}, then restart it",
    ),
    "status": ("it answered", _LOG),
    "said": ("it reports an error", _LOG),
    "garbled": ("that is not an answer of the Ollama API", "Check the address, and that no proxy is in front of it"),
    "flood": ("it does not stop", "The server does not respect num_predict; use another one"),
    "window": ("the prompt does not fit", "Raise num_ctx of this model in models.toml"),
    "thought": (
        "it wrote only thoughts",
        "Raise num_predict in models.toml, or name a model that does not think",
    ),
}

#: Statuses that say "not now": the server did not begin the request.
_NOT_NOW = frozenset({408, 425, 429, 502, 503, 504})


@dataclass(frozen=True)
class Failure:
    """How one attempt ended."""

    kind: Kind
    text: str = ""
    """The evidence: the server's words, or the system's."""
    status: int = 0
    """The HTTP status, for kind "status"."""
    retry_after: float | None = None
    """Seconds that the server asked to wait."""

    @property
    def transient(self) -> bool:
        """Whether the same request may succeed later."""
        if self.kind == "status":
            return self.status in _NOT_NOW or (self.status >= 500 and self.status != 501)
        return self.kind in ("unreachable", "lost", "unfinished", "said")

    @property
    def spoilt(self) -> bool:
        """Whether the server had accepted the request."""
        return self.kind != "unreachable" and not (self.kind == "status" and self.status in _NOT_NOW)

    @property
    def reason(self) -> str:
        """What happened, in one line."""
        text = " ".join(self.text.encode("utf-8", "replace").decode().split())[:_SHOWN]
        words = _KINDS[self.kind][0] + (f" {self.status}" if self.kind == "status" else "")
        return f"{words}: {text}" if text else words


class Failed(Exception):
    """One attempt failed; `Patience` decides whether to retry."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.text)
        self.failure = failure


# --- retries ---------------------------------------------------------------------------------------------------------


#: Seconds before the first retry. Each further wait is twice as long, up to the longest.
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0
#: At most this many seconds if the server asks for more (Retry-After).
LONGEST_ASKED = 60.0
#: From the first failure to the last try, seconds. A server that loads a large model on a CPU needs minutes.
RETRY_SECONDS = 300.0
#: At most this many tries that the server accepted and then failed: it may fail this very request every time.
_MOST_SPOILT = 5


def wait(failures: Sequence[Failure], elapsed: float) -> float | None:
    """Seconds to wait after these failures, the first of which is `elapsed` seconds ago; None means give up."""
    last, left = failures[-1], RETRY_SECONDS - elapsed
    if not last.transient or sum(failure.spoilt for failure in failures) >= _MOST_SPOILT or left <= 0:
        return None
    own = min(_FIRST_WAIT * 2.0 ** min(len(failures) - 1, 30), _LONGEST_WAIT)
    return min(max(own, min(last.retry_after or 0.0, LONGEST_ASKED)), left)


def read_retry_after(header: str | None, now: datetime) -> float | None:
    """Seconds of a Retry-After header, which holds seconds or a date; None if it is absent or neither."""
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())


_T = TypeVar("_T")
#: Notices that were given once, for both roles. The cap is for a server that names other options in every line.
_TOLD: set[str] = set()
_MOST_TOLD = 20


class Patience:
    """Repeats a request until the server answers or no retry is left, if it still has the weights of the first request.

    `place` is the address that the user knows, if requests go to another one (our gateway).
    """

    def __init__(self, url: str, model: str, notice: Callable[[str], None], place: str | None = None) -> None:
        self._url = url
        self._model = model
        self._notice = notice
        self.place = place or url
        self._weights: str | None = None
        self._told = 0

    def ask(self, attempt: Callable[[], _T]) -> _T:
        """The result of the first attempt that does not raise `Failed`; `notice` gets a message before each wait.

        Raises:
            EndpointError: No retry is left, or the server has other weights under this name than at the first request.
        """
        failures: list[Failure] = []
        began = 0.0
        while True:
            self._check_weights()
            try:
                return attempt()
            except Failed as error:
                failed = error
            now = time.monotonic()
            began = began if failures else now
            failures.append(failed.failure)
            pause = wait(failures, now - began)
            if pause is None or death_at(self._url):
                raise explain(self.place, self._model, failures, now - began) from (failed.__cause__ or failed)
            self._notice(f"{self.place}: {failed.failure.reason}; asking again in {pause:.1f} s")
            time.sleep(pause)

    def tell_left_out(self, names: object) -> None:
        """Tell the user once which options the gateway leaves out because the server forbids them."""
        if isinstance(names, list) and names:
            options = ", ".join(map(str, names[:_MOST_TOLD]))[:_SHOWN]
            words = f"{self.place} forbids {options}; localgif leaves this out of its requests"
            if words not in _TOLD and self._told < _MOST_TOLD:
                self._told += 1
                _TOLD.add(words)
                self._notice(words)

    def _check_weights(self) -> None:
        """Refuse a server that came back with other weights: the run would become another experiment."""
        now = listed_weights(self._url, self._model)
        if now and self._weights and now != self._weights:
            raise EndpointError(
                f"{self.place} now has other weights under the name {self._model}: sha256 {now[:12]}, "
                f"and {self._weights[:12]} at the first request",
                f"Load the earlier weights again, or start a new run; {_KEPT}",
            )
        self._weights = self._weights or now


def explain(url: str, model: str, failures: Sequence[Failure], seconds: float) -> EndpointError:
    """The error that ends a run, with the evidence of the last failure and its remedy."""
    last = failures[-1]
    remedy = f"{_KINDS[last.kind][1]}; {_KEPT}"
    text = " ".join(last.text.split())[:_SHOWN]
    if last.kind == "status" and last.status == 404:
        remedy = f"Get the model back there (an Ollama: ollama pull {model}), then run localgif resume; {_KEPT}"
        return EndpointError(f"{url} no longer has {model}: it answered 404: {text}", remedy)
    if last.kind == "window":
        return EndpointError(f"{url}: the prompt does not fit into the window of {model}: {text}", remedy, code="E-CTX")
    often = f"; asked {len(failures)} times in {seconds:.0f} s" if len(failures) > 1 else ""
    what = f"{url}: {model} gave no answer ({last.reason}){often}"
    return EndpointError(what, remedy, code="E-STREAM" if last.kind == "unfinished" else None)


# --- the wire --------------------------------------------------------------------------------------------------------


@functools.cache
def _certificates() -> ssl.SSLContext:
    """What every client trusts; reading it takes 30 ms."""
    return httpx.create_ssl_context()


class Wire(httpx.HTTPTransport):
    """One client's connection to its server, one request at a time.

    Args:
        patience: Retries requests that are not streamed; a client that streams retries by itself.
        between: Longest silence inside an answer, seconds. Before its first byte the client's own limit applies.
        system: Where system messages go, "system" or "user" (see `with_system_at`).
    """

    def __init__(self, patience: Patience, between: float = math.inf, system: str = "system") -> None:
        # A connection that is kept while a GIF is rendered may be dead by the next request.
        super().__init__(verify=_certificates(), limits=httpx.Limits(max_keepalive_connections=0))
        self.failure: Failure | None = None
        """What was wrong with the latest answer."""
        self.done = False
        """Whether its last line has `done`."""
        self.first = b""
        """Its first line, once it has come."""
        self.swallowed = 0
        """Parts of it that held only thoughts."""
        self.prompt: int | None = None
        """Tokens of its prompt, and how many of them were in the server's cache, if it says so before the last line."""
        self.cached: int | None = None
        self._patience = patience
        self._between = between
        self._system = system
        self._streams = True
        self._text = _Text()
        self._body: _Lines | None = None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.method != "POST" or not request.url.path.endswith(("/api/chat", "/api/generate")):
            return super().handle_request(request)
        body = json.loads(request.read())
        # Then an Ollama from 0.12.6 on answers 400 to a prompt that is too long; otherwise it drops up to half of it.
        content = json.dumps({**with_system_at(body, self._system), "truncate": False}).encode()
        dropped = (b"content-length", b"accept-encoding", b"transfer-encoding")
        headers = [(name, value) for name, value in request.headers.raw if name.lower() not in dropped]
        headers.append((b"Accept-Encoding", b"identity"))  # the lines are read here

        def made() -> httpx.Request:
            extensions = {**request.extensions, "timeout": dict(request.extensions.get("timeout") or {})}
            return httpx.Request("POST", request.url, headers=headers, content=content, extensions=extensions)

        most = _longest_reply(body)
        self._streams = bool(body.get("stream", True))
        if self._streams:
            return self._send(made(), most)
        return self._patience.ask(lambda: self._whole(made(), most))

    def _send(self, request: httpx.Request, most: int) -> httpx.Response:
        self.failure, self.done, self.first, self.swallowed, self._text = None, False, b"", 0, _Text()
        self.prompt = self.cached = None
        timeouts = request.extensions["timeout"]
        timeouts["connect"] = _CONNECT_SECONDS
        try:
            response = super().handle_request(request)
        except httpx.TransportError as error:
            self.failure = _broken(error)
            raise
        if response.status_code >= 400:
            asked = read_retry_after(response.headers.get("Retry-After"), datetime.now(UTC))
            self.failure = Failure("status", "", response.status_code, asked)
            most = min(most, ERROR_BYTES)
        elif (coding := response.headers.get("Content-Encoding", "identity").lower()) != "identity":
            self.failure = Failure("garbled", f"it is compressed ({coding}), and localgif asks for plain text")
        # httpcore reads the timeout again for the body. It starts anew with each byte, so _Lines has a limit per line.
        longest = max(self._between, timeouts.get("read") or math.inf)
        if self._between != math.inf:
            timeouts["read"] = self._between
        assert isinstance(response.stream, httpx.SyncByteStream)
        response.stream = self._body = _Lines(response.stream, self, most, longest)
        return response

    def _whole(self, request: httpx.Request, most: int) -> httpx.Response:
        """A complete, good answer; raises `Failed` for anything else."""
        try:
            response = self._send(request, most)
            assert isinstance(response.stream, httpx.SyncByteStream)
            try:
                content = b"".join(response.stream)
            finally:
                response.stream.close()
        except httpx.TransportError as error:
            raise offline.cause(error) or Failed(self.failure or _broken(error)) from error
        text = content.decode("utf-8", "replace")
        if self.failure is not None:
            raise Failed(_judged(replace(self.failure, text=self.failure.text or text)))
        self.check_done(text)
        return httpx.Response(response.status_code, headers={"Content-Type": "application/json"}, content=content)

    def hang_up(self) -> None:
        """Close the connection inside an answer: the server stops writing when its reader leaves."""
        if self._body is not None:
            self._body.close()

    def failed(self, error: Exception) -> Failed:
        """What went wrong, from the bytes and from a client's exception (of httpx, ollama or litellm)."""
        self.hang_up()  # litellm leaves the connection open, and the model writing
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        # The client refused lines that did come: it would refuse the same answer again.
        seen = self.failure or (self._garbled(text) if self.first else Failure("unfinished"))
        return Failed(_judged(replace(seen, text=seen.text or text)))

    def check_done(self, text: str) -> None:
        """Raise `Failed`, with `text` as the evidence, unless the answer came to its end."""
        if self.failure is not None:
            raise Failed(_judged(self.failure))
        if not self.done:
            begun = not self.first or _is_object(self.first)
            raise Failed(Failure("unfinished", text) if begun else self._garbled(text))

    def _garbled(self, text: str) -> Failure:
        return Failure("garbled", f"it begins with {self.first[:80].decode('utf-8', 'replace')!r}; {text}")

    def plain(self, line: bytes) -> bytes:
        """A line as every client can read it: ASCII, with one text as its content and no thoughts in it.

        Also records whether the answer is complete or failed. A line without an object stays unchanged: the client
        reports the fault.
        """
        try:
            value = read_json(line, halves=True)
        except ValueError:
            return line
        if not isinstance(value, dict):
            return line
        if error := value.get("error"):
            words = error if isinstance(error, str) else json.dumps(error)
            self.failure = self.failure or Failure("said", words[:ERROR_BYTES])
        self.done = value.get("done", self.done) is True
        self._patience.tell_left_out(value.get("left_out"))
        if not self.done:  # a client that leaves early may not see the last line
            self.prompt = _counted(value, "prompt_eval_count", self.prompt)
            self.cached = _counted(value, "prompt_cached_count", self.cached)
        message = value.get("message")
        holder, key = (message, "content") if isinstance(message, dict) else (value, "response")
        if key in holder:
            sent, (text, _) = holder[key], texts(holder[key])
            self._text.begun = self._text.begun or bool(holder.get("thinking"))
            self._text.null = self._text.null or sent is None
            empty = self.done and not self._text.begun and (self._text.null or value.get("done_reason") == "load")
            if empty and not text:
                self.failure = self.failure or Failure("said", "an answer without text; the model was being loaded")
            holder[key] = self._text.feed(text, last=self.done)
            self.swallowed += bool(text) and not holder[key]
            if self.done and self._streams and holder[key]:  # litellm's `ollama/` drops the text of a last line
                said = json.dumps({**value, "done": False}).encode()
                holder[key] = ""
                return said + b"\n" + json.dumps(value).encode()
        return json.dumps(value).encode()


class _Text:
    """The text of one answer: halves of characters joined, thoughts removed."""

    def __init__(self) -> None:
        self.begun = False
        """Whether any text or thought has come; `null` whether null has come in its place."""
        self.null = False
        self._joined, self._thoughts = Joined(), Thoughts()

    def feed(self, piece: str, *, last: bool) -> str:
        self.begun = self.begun or bool(piece)
        content, _ = self._thoughts.feed(self._joined.feed(piece, last=last))
        return content + self._thoughts.end()[0] if last else content


class _Lines(httpx.SyncByteStream):
    """A body in whole lines, without blank ones, which the official client would read as broken JSON."""

    def __init__(self, inner: httpx.SyncByteStream, wire: Wire, most: int, longest: float) -> None:
        self._inner = inner
        self._wire = wire
        self._most = most
        self._longest = longest
        """Seconds without a whole line after which the server counts as silent."""

    def __iter__(self) -> Iterator[bytes]:
        held: list[bytes] = []
        size, since = 0, time.monotonic()
        try:
            for block in self._inner:
                size += len(block)
                if time.monotonic() - since > self._longest:
                    raise httpx.ReadTimeout(f"no whole line for {self._longest:.0f} s")
                if size > self._most and self._wire.failure is not None:
                    yield b"".join([*held, block])[: self._most]  # the beginning of a refusal is enough
                    return
                if size > self._most:
                    self._wire.failure = Failure("flood", f"{size} bytes so far; no valid answer exceeds {self._most}")
                    raise httpx.ReadError("the answer does not end")
                if b"\n" not in block:
                    held.append(block)
                    continue
                *lines, rest = b"".join([*held, block]).split(b"\n")
                held = [rest]
                if any(line.strip() for line in lines):
                    since = time.monotonic()
                yield from self._good(lines)
            yield from self._good([b"".join(held)])
        except httpx.TransportError as error:
            self._wire.failure = self._wire.failure or _broken(error)
            raise

    def _good(self, lines: list[bytes]) -> Iterator[bytes]:
        kept = [line for line in lines if line.strip()]
        if kept:
            self._wire.first = self._wire.first or kept[0]
            yield b"\n".join(map(self._wire.plain, kept)) + b"\n"

    def close(self) -> None:
        self._inner.close()


def _broken(error: httpx.TransportError) -> Failure:
    text = str(error) or type(error).__name__
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return Failure("unreachable", text)
    return Failure("silent" if isinstance(error, httpx.TimeoutException) else "lost", text)


def _judged(failure: Failure) -> Failure:
    """The same failure, with kind "window" or "flood" if its text reports that a prompt or an answer is too long."""
    if ENDLESS in failure.text:
        return replace(failure, kind="flood")
    refused = failure.kind == "said" or (failure.kind == "status" and failure.status in (400, 413, 422))
    words = overflow_words(failure.text) if refused else failure.text
    return replace(failure, kind="window") if OVERFLOW in words else failure


def _longest_reply(body: dict[str, Any]) -> int:
    """The most bytes that an answer to this request has, from a server that respects its options."""
    options = body.get("options") or {}
    tokens, window = options.get("num_predict") or 2**16, options.get("num_ctx") or 2**17
    return _FIXED_BYTES + _LINE_BYTES * int(tokens) + _CONTEXT_BYTES * int(window)


def _counted(line: dict[str, Any], name: str, before: int | None) -> int | None:
    count = number(line.get(name))
    return before if count is None else int(count)


def _is_object(content: bytes) -> bool:
    try:
        return isinstance(read_json(content), dict)
    except ValueError:
        return False
