"""What came over the wire, which failures are retried and when, and what the user reads when no retry is left.

ChatOllama takes a stream that ends without `done` for a success and fails on a blank line; litellm says "stop" whatever
happened, and turns an error in an answer that is not streamed into an empty text. Both replace exceptions by their own.
So the status, the last line, silence and size are judged here, on the bytes, below both clients. Both roles have one
retry policy; the clients' own retries are off: litellm repeats any refused request four times within half a second.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal, TypeVar

import httpx

from localgif import offline
from localgif.endpoint.child import death_at
from localgif.endpoint.discover import listed_weights
from localgif.errors import EndpointError

_CONNECT_SECONDS = 5.0
#: The largest line of a stream, bytes a token, and the largest last line, which repeats the prompt's tokens as numbers.
_LINE_BYTES, _CONTEXT_BYTES, _FIXED_BYTES = 4096, 16, 2**20
_SHOWN = 400

_KEPT = "what was measured so far is kept."
_LOG = "Read the server's log"

Kind = Literal["unreachable", "lost", "unfinished", "silent", "status", "said", "garbled", "flood", "window", "thought"]
#: How an attempt failed -> what happened, and what the user can do.
_KINDS: dict[Kind, tuple[str, str]] = {
    "unreachable": ("nobody answers there", "Start the server again"),
    "lost": ("the connection broke", _LOG),
    "unfinished": ("the answer ended without its last line", _LOG),
    "silent": ("nothing came for too long", f"The server hangs, or this model is too slow here. {_LOG}, restart it"),
    "status": ("it answered", _LOG),
    "said": ("it reports an error", _LOG),
    "garbled": ("that is not an answer of the Ollama API", "Check the address, and that no proxy is in front of it"),
    "flood": ("it does not stop", "The server does not respect num_predict; use another one"),
    "window": ("the prompt does not fit", "Raise num_ctx of this model in models.toml"),
    "thought": (
        "it wrote nothing but thoughts",
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
        """Whether the server had taken the request."""
        return self.kind != "unreachable" and not (self.kind == "status" and self.status in _NOT_NOW)

    @property
    def reason(self) -> str:
        """What happened, in one line."""
        text = " ".join(self.text.split())[:_SHOWN]
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
#: At most this many tries that the server took and then failed: it may fail this very request every time.
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


class Patience:
    """Asks a server again until it answers or no retry is left, if it still has the weights of the first request."""

    def __init__(self, url: str, model: str, notice: Callable[[str], None]) -> None:
        self._url = url
        self._model = model
        self._notice = notice
        self._weights: str | None = None

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
                raise explain(self._url, self._model, failures, now - began) from (failed.__cause__ or failed)
            self._notice(f"{self._url}: {failed.failure.reason}; asking again in {pause:.1f} s")
            time.sleep(pause)

    def _check_weights(self) -> None:
        """A server that comes back with other weights would turn the run into another experiment."""
        now = listed_weights(self._url, self._model)
        if now and self._weights and now != self._weights:
            raise EndpointError(
                f"{self._url} now has other weights under the name {self._model}: sha256 {now[:12]}, "
                f"and {self._weights[:12]} at the first request",
                f"Load the former weights again, or start a new run; {_KEPT}",
            )
        self._weights = self._weights or now


def explain(url: str, model: str, failures: Sequence[Failure], seconds: float) -> EndpointError:
    """The error that ends a run, with the evidence of the last failure and its remedy."""
    last = failures[-1]
    remedy = f"{_KINDS[last.kind][1]}; {_KEPT}"
    if last.kind == "window":
        text = " ".join(last.text.split())[:_SHOWN]
        return EndpointError(f"{url}: the prompt does not fit into the window of {model}: {text}", remedy, code="E-CTX")
    often = f"; asked {len(failures)} times in {seconds:.0f} s" if len(failures) > 1 else ""
    what = f"{url}: {model} gave no answer ({last.reason}){often}"
    return EndpointError(what, remedy, code="E-STREAM" if last.kind == "unfinished" else None)


# --- the wire --------------------------------------------------------------------------------------------------------


class Wire(httpx.HTTPTransport):
    """One client's connection to its server, one request at a time.

    Args:
        patience: Retries requests that are not streamed; a client that streams retries by itself.
        between: Longest silence inside an answer, seconds. Before its first byte the client's own limit holds.
    """

    def __init__(self, patience: Patience | None = None, between: float = math.inf) -> None:
        # A connection that is kept while a GIF is rendered may be dead by the next request.
        super().__init__(limits=httpx.Limits(max_keepalive_connections=0))
        self.failure: Failure | None = None
        """What was wrong with the latest answer."""
        self.done = False
        """Whether its last line has `done`."""
        self.first = b""
        """Its first line, once it came."""
        self._patience = patience
        self._between = between
        self._body: _Lines | None = None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.method != "POST" or not request.url.path.endswith(("/api/chat", "/api/generate")):
            return super().handle_request(request)
        body = json.loads(request.read())
        # Since 0.12.6 an Ollama then answers 400 to a prompt that is too long; else it drops up to half of it.
        content = json.dumps({**body, "truncate": False}).encode()
        dropped = (b"content-length", b"accept-encoding", b"transfer-encoding")
        headers = [(name, value) for name, value in request.headers.raw if name.lower() not in dropped]
        headers.append((b"Accept-Encoding", b"identity"))  # the lines are read here

        def made() -> httpx.Request:
            extensions = {**request.extensions, "timeout": dict(request.extensions.get("timeout") or {})}
            return httpx.Request("POST", request.url, headers=headers, content=content, extensions=extensions)

        most = _longest_reply(body)
        if self._patience is None or body.get("stream", True):
            return self._send(made(), most)
        return self._patience.ask(lambda: self._whole(made(), most))

    def _send(self, request: httpx.Request, most: int) -> httpx.Response:
        self.failure, self.done, self.first = None, False, b""
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
        # httpcore reads the timeout again for the body.
        if self._between != math.inf:
            timeouts["read"] = self._between
        assert isinstance(response.stream, httpx.SyncByteStream)
        response.stream = self._body = _Lines(response.stream, self, most)
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
        # The client judged lines that did come: it would judge the same answer the same way again.
        seen = self.failure or (self._garbled(text) if self.first else Failure("unfinished"))
        return Failed(_judged(replace(seen, text=seen.text or text)))

    def check_done(self, text: str) -> None:
        """Raise `Failed`, with `text` as the evidence, unless the answer came to its end."""
        if not self.done:
            begun = not self.first or _is_object(self.first)
            raise Failed(Failure("unfinished", text) if begun else self._garbled(text))

    def _garbled(self, text: str) -> Failure:
        return Failure("garbled", f"it begins with {self.first[:80].decode('utf-8', 'replace')!r}; {text}")

    def look(self, line: bytes) -> None:
        """Note a line that may be the last."""
        if b'"done"' not in line and b'"error"' not in line:
            return
        try:
            value = json.loads(line)
        except ValueError:
            return
        if isinstance(value, dict):
            self.done = value.get("done") is True
            said = value.get("error")
            if said and self.failure is None:
                self.failure = Failure("said", said if isinstance(said, str) else json.dumps(said))


class _Lines(httpx.SyncByteStream):
    """A body in whole lines, without blank ones: the official client takes a blank line for broken JSON."""

    def __init__(self, inner: httpx.SyncByteStream, wire: Wire, most: int) -> None:
        self._inner = inner
        self._wire = wire
        self._most = most

    def __iter__(self) -> Iterator[bytes]:
        held: list[bytes] = []
        size = 0
        try:
            for block in self._inner:
                size += len(block)
                if size > self._most:
                    self._wire.failure = Failure("flood", f"{size} bytes so far; no valid answer exceeds {self._most}")
                    raise httpx.ReadError("the answer does not end")
                if b"\n" not in block:
                    held.append(block)
                    continue
                *lines, rest = b"".join([*held, block]).split(b"\n")
                held = [rest]
                yield from self._good(lines)
            yield from self._good([b"".join(held)])
        except httpx.TransportError as error:
            self._wire.failure = self._wire.failure or _broken(error)
            raise

    def _good(self, lines: list[bytes]) -> Iterator[bytes]:
        kept = [line for line in lines if line.strip()]
        if kept:
            self._wire.first = self._wire.first or kept[0]
            self._wire.look(kept[-1])
            yield b"\n".join(kept) + b"\n"

    def close(self) -> None:
        self._inner.close()


def _broken(error: httpx.TransportError) -> Failure:
    text = str(error) or type(error).__name__
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return Failure("unreachable", text)
    return Failure("silent" if isinstance(error, httpx.TimeoutException) else "lost", text)


def _judged(failure: Failure) -> Failure:
    """The same failure, with kind "window" if its text speaks of a prompt that is too long."""
    if "exceeds the available context size" in failure.text or "input length exceeds the context" in failure.text:
        return replace(failure, kind="window")
    return failure


def _longest_reply(body: dict[str, Any]) -> int:
    """No answer to this request has more bytes, from a server that respects its options."""
    options = body.get("options") or {}
    tokens, window = options.get("num_predict") or 2**16, options.get("num_ctx") or 2**17
    return _FIXED_BYTES + _LINE_BYTES * int(tokens) + _CONTEXT_BYTES * int(window)


def _is_object(content: bytes) -> bool:
    try:
        return isinstance(json.loads(content), dict)
    except ValueError:
        return False
