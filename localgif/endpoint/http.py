"""What came over the wire, which failures are retried and when, and what is said at the end."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

import httpx

from localgif import offline
from localgif.endpoint.ollama_request import cut_silently
from localgif.errors import EndpointError

if TYPE_CHECKING:
    from localgif.endpoint.clients import Reply


#: How an answer failed. "unreachable": nobody took the request. "lost": the connection broke. "unfinished": a clean
#: end without `done`. "silent": nothing came for too long. "status": an HTTP status of 400 or more. "said": an error in
#: place of a line. "garbled": no answer of the Ollama API. "flood": far more than was asked for. "window": the prompt
#: does not fit. "thought": the whole budget went into thinking.
Kind = Literal["unreachable", "lost", "unfinished", "silent", "status", "said", "garbled", "flood", "window", "thought"]

#: Statuses that say "not now": the request itself was not begun.
NOT_NOW = frozenset({408, 425, 429, 502, 503, 504})

_SHOWN = 400


@dataclass(frozen=True)
class Failure:
    """How one attempt ended.

    Attributes:
        kind: What happened.
        text: The evidence: the server's words, or the system's.
        status: The HTTP status, for kind "status".
        retry_after: Seconds that the server asked to be left alone for; None when it did not.
    """

    kind: Kind
    text: str = ""
    status: int = 0
    retry_after: float | None = None


class Failed(Exception):
    """One attempt failed; `Patience` decides what becomes of it."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.text)
        self.failure = failure


@dataclass(frozen=True)
class Policy:
    """How much patience there is.

    Attributes:
        first: Seconds before the second try; each further wait is twice as long.
        longest: Most seconds of one wait, unless the server asks for more.
        longest_asked: Most seconds that a server gets when it asks (Retry-After).
        seconds: From the first failure to the last try. A server that loads a large model on a CPU needs minutes.
        spoilt: Most tries that the server took and then spoilt: it may do so with this very request every time.
    """

    first: float = 0.5
    longest: float = 30.0
    longest_asked: float = 60.0
    seconds: float = 300.0
    spoilt: int = 5


POLICY = Policy()


def transient(failure: Failure) -> bool:
    """Whether the same request may succeed later."""
    if failure.kind == "status":
        return failure.status in NOT_NOW or (failure.status >= 500 and failure.status != 501)
    return failure.kind in ("unreachable", "lost", "unfinished", "said")


def spoilt(failure: Failure) -> bool:
    """Whether the server had taken the request."""
    return failure.kind != "unreachable" and not (failure.kind == "status" and failure.status in NOT_NOW)


def wait(failures: Sequence[Failure], elapsed: float, policy: Policy = POLICY) -> float | None:
    """Seconds to wait before the next try; None: give up.

    Args:
        failures: Of this request so far, at least one, the latest last.
        elapsed: Seconds since the first of them.
        policy: How much patience there is.
    """
    last = failures[-1]
    left = policy.seconds - elapsed
    if not transient(last) or sum(map(spoilt, failures)) >= policy.spoilt or left <= 0:
        return None
    own = min(policy.first * 2.0 ** min(len(failures) - 1, 30), policy.longest)
    return min(max(own, min(last.retry_after or 0.0, policy.longest_asked)), left)


def read_retry_after(header: str | None, now: datetime) -> float | None:
    """Seconds of a Retry-After header, which holds seconds or a date; None when it is absent or neither."""
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


class Clock(Protocol):
    """Time, as the loop sees it."""

    def now(self) -> float:
        """Seconds, never going back."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


class SystemClock:
    """The machine's own."""

    def now(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


CLOCK: Clock = SystemClock()

T = TypeVar("T")


class Patience:
    """Asks a server until it answers or the policy is at its end, and only the weights that it began with.

    Args:
        url: The endpoint, for messages.
        model: The model's name, for messages.
        weights: Gives the sha256 that the server lists for the model now; None when it does not say.
        notice: Told before each wait.
        hopeless: Says why the server will not come back, or "" when it may.
        policy: How much patience there is.
        clock: None is the machine's.
    """

    def __init__(
        self,
        url: str,
        model: str,
        weights: Callable[[], str | None],
        notice: Callable[[str], None],
        hopeless: Callable[[], str] = str,
        policy: Policy = POLICY,
        clock: Clock | None = None,
    ) -> None:
        self._url = url
        self._model = model
        self._weights_now = weights
        self._weights: str | None = None
        self._notice = notice
        self._hopeless = hopeless
        self._policy = policy
        self._clock = clock or CLOCK

    def ask(self, attempt: Callable[[], T]) -> T:
        """The result of the first attempt that does not raise `Failed`.

        Raises:
            EndpointError: None is left, or the server has other weights under this name than at the first request.
        """
        failures: list[Failure] = []
        began = 0.0
        while True:
            self._check_weights()
            try:
                return attempt()
            except Failed as error:
                failed = error
            now = self._clock.now()
            began = began if failures else now
            failures.append(failed.failure)
            pause = wait(failures, now - began, self._policy)
            if pause is None or self._hopeless():
                raise explain(self._url, self._model, failures, now - began) from (failed.__cause__ or failed)
            self._notice(f"{self._url}: {reason(failed.failure)}; asking again in {pause:.1f} s")
            self._clock.sleep(pause)

    def _check_weights(self) -> None:
        """A server that came back with other weights would go on with another experiment."""
        now = self._weights_now()
        if now and self._weights and now != self._weights:
            raise EndpointError(
                f"{self._url} now has other weights under the name {self._model}: sha256 {now[:12]}, "
                f"and {self._weights[:12]} at the first request",
                "Load the former ones again, or start a new run; what was measured so far is kept.",
            )
        self._weights = self._weights or now


def reason(failure: Failure) -> str:
    """What happened, in one line."""
    text = " ".join(failure.text.split())[:_SHOWN]
    words = {
        "unreachable": "nobody answers there",
        "lost": "the connection broke",
        "unfinished": "the answer ended without its last line",
        "silent": "nothing came for too long",
        "status": f"it answered {failure.status}",
        "said": "it reports an error",
        "garbled": "that is no answer of the Ollama API",
        "flood": "it does not stop",
        "window": "the prompt does not fit",
        "thought": "it wrote nothing but thoughts",
    }[failure.kind]
    return f"{words}: {text}" if text else words


def explain(url: str, model: str, failures: Sequence[Failure], seconds: float) -> EndpointError:
    """The error that ends a run, with the evidence of the last failure and what can be done about it."""
    last = failures[-1]
    if last.kind == "window":
        text = " ".join(last.text.split())[:_SHOWN]
        return EndpointError(
            f"{url}: the prompt does not fit into the window of {model}: {text}",
            "Raise num_ctx of this model in models.toml.",
            code="E-CTX",
        )
    often = f"; asked {len(failures)} times in {seconds:.0f} s" if len(failures) > 1 else ""
    what = f"{url}: {model} gave no answer ({reason(last)}){often}"
    if last.kind == "unfinished":
        return EndpointError(what, _REMEDIES[last.kind], code="E-STREAM")
    return EndpointError(what, _REMEDIES[last.kind])


_KEPT = "what was measured so far is kept."

_REMEDIES: dict[Kind, str] = {
    "unreachable": f"Start the server again; {_KEPT}",
    "lost": f"Look at the server's log; {_KEPT}",
    "unfinished": f"Look at the server's log: it stopped in the middle; {_KEPT}",
    "silent": f"The server hangs, or this model is too slow here: look at its log, restart it; {_KEPT}",
    "status": f"Look at the server's log; {_KEPT}",
    "said": f"Look at the server's log; {_KEPT}",
    "garbled": f"Is this the address of an Ollama API, without a proxy in front of it? {_KEPT.capitalize()}",
    "flood": f"The server does not keep to num_predict; use another one; {_KEPT}",
    "window": "",
    "thought": f"Raise num_predict in models.toml, or name a model that does not think; {_KEPT}",
}

CONNECT_SECONDS = 5.0

#: What a line of a stream may weigh, bytes a token, and the last one, which repeats the prompt's tokens as numbers.
_LINE_BYTES, _CONTEXT_BYTES, _FIXED_BYTES = 4096, 16, 2**20


class Wire(httpx.HTTPTransport):
    """One client's way to its server, one request at a time.

    Args:
        patience: Repeats requests that are not streamed; who streams does so itself.
        between: Seconds of silence in the middle of an answer that are too long. Before its first byte the client's own
            limit holds.

    Attributes:
        failure: What was wrong with the latest answer; None so far.
        done: Whether its last line said that it is done.
        first: Its first line, as far as one came.
    """

    def __init__(self, patience: Patience | None = None, between: float = math.inf) -> None:
        # A connection that is kept while a GIF is rendered may be dead by the time of the next request.
        super().__init__(limits=httpx.Limits(max_keepalive_connections=0))
        self.failure: Failure | None = None
        self.done = False
        self.first = b""
        self._patience = patience
        self._between = between
        self._body: _Lines | None = None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.method != "POST" or not request.url.path.endswith(("/api/chat", "/api/generate")):
            return super().handle_request(request)
        body = json.loads(request.read())
        # An Ollama since 0.12.6 then answers 400 to a prompt that is too long; else it leaves out up to half of it.
        content = json.dumps({**body, "truncate": False}).encode()
        dropped = (b"content-length", b"accept-encoding", b"transfer-encoding")
        headers = [(name, value) for name, value in request.headers.raw if name.lower() not in dropped]
        headers.append((b"Accept-Encoding", b"identity"))  # the lines are read here

        def made() -> httpx.Request:
            extensions = {**request.extensions, "timeout": dict(request.extensions.get("timeout") or {})}
            return httpx.Request("POST", request.url, headers=headers, content=content, extensions=extensions)

        most = longest_reply(body)
        if self._patience is None or body.get("stream", True):
            return self._send(made(), most)
        return self._patience.ask(lambda: self._whole(made(), most))

    def _send(self, request: httpx.Request, most: int) -> httpx.Response:
        self.failure, self.done, self.first = None, False, b""
        timeouts = request.extensions["timeout"]
        timeouts["connect"] = CONNECT_SECONDS
        try:
            response = super().handle_request(request)
        except httpx.TransportError as error:
            self.failure = broken(error)
            raise
        if response.status_code >= 400:
            asked = read_retry_after(response.headers.get("Retry-After"), datetime.now(UTC))
            self.failure = Failure("status", "", response.status_code, asked)
        # httpcore looks again when the body is read.
        if self._between != math.inf:
            timeouts["read"] = self._between
        assert isinstance(response.stream, httpx.SyncByteStream)
        response.stream = self._body = _Lines(response.stream, self, most)
        return response

    def _whole(self, request: httpx.Request, most: int) -> httpx.Response:
        """A complete, good answer.

        Raises:
            Failed: Anything else.
        """
        content = b""
        try:
            response = self._send(request, most)
            assert isinstance(response.stream, httpx.SyncByteStream)
            try:
                content = b"".join(response.stream)
            finally:
                response.stream.close()
        except httpx.TransportError as error:
            raise offline.cause(error) or Failed(self.failure or broken(error)) from error
        text = content.decode("utf-8", "replace")
        if self.failure is not None:
            raise Failed(judged(replace(self.failure, text=self.failure.text or text)))
        if not self.done:
            raise Failed(self._broken_off(text))
        return httpx.Response(response.status_code, headers={"Content-Type": "application/json"}, content=content)

    def hang_up(self) -> None:
        """Close the connection in the middle of an answer: the server stops writing when its reader is gone."""
        if self._body is not None:
            self._body.close()

    def failed(self, error: Exception) -> Failed:
        """What went wrong, from what was seen and what a client made of it: any exception of httpx, ollama, litellm."""
        self.hang_up()  # litellm leaves the connection open, and the model writing
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        # The client's own verdict on lines that came: the same answer would get it again.
        seen = self.failure or (self._garbled(text) if self.first else Failure("unfinished"))
        return Failed(judged(replace(seen, text=seen.text or text)))

    def check(self, answer: Reply, prompt: str, thinks: bool) -> None:
        """Whether that is a whole answer to the whole prompt.

        One that was allowed to think and did nothing else is an answer without a text: what comes of it is measured.

        Raises:
            Failed: The server stopped in the middle or left out a part of the prompt, or its model only thought.
        """
        if not self.done:
            raise Failed(self._broken_off(f"after {answer.output_tokens} tokens"))
        read = answer.prompt_tokens
        if read and cut_silently({"messages": [{"content": prompt}]}, read):
            raise Failed(Failure("window", f"the server read {read} tokens of it and left out the rest without a word"))
        if not thinks and not answer.text and answer.done_reason == "length":
            raise Failed(Failure("thought", f"all {answer.output_tokens} tokens of num_predict"))

    def _broken_off(self, text: str) -> Failure:
        """One that was an answer of the Ollama API broke off; another never was one, or its last line is none."""
        if not self.done and (not self.first or _is_object(self.first)):
            return Failure("unfinished", text)
        return self._garbled(text)

    def _garbled(self, text: str) -> Failure:
        return Failure("garbled", f"it begins with {self.first[:80].decode('utf-8', 'replace')!r}; {text}")

    def look(self, line: bytes) -> None:
        """Take note of a line that may be the last."""
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
    """A body, in whole lines and without blank ones: the official client takes a blank line for broken JSON."""

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
                    self._wire.failure = Failure("flood", f"{size} bytes so far, at most {self._most} can be meant")
                    raise httpx.ReadError("the answer does not end")
                if b"\n" not in block:
                    held.append(block)
                    continue
                *lines, rest = b"".join([*held, block]).split(b"\n")
                held = [rest]
                yield from self._good(lines)
            yield from self._good([b"".join(held)])
        except httpx.TransportError as error:
            self._wire.failure = self._wire.failure or broken(error)
            raise

    def _good(self, lines: list[bytes]) -> Iterator[bytes]:
        kept = [line for line in lines if line.strip()]
        if kept:
            self._wire.first = self._wire.first or kept[0]
            self._wire.look(kept[-1])
            yield b"\n".join(kept) + b"\n"

    def close(self) -> None:
        self._inner.close()


def broken(error: httpx.TransportError) -> Failure:
    """What a connection that failed means."""
    text = str(error) or type(error).__name__
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return Failure("unreachable", text)
    return Failure("silent" if isinstance(error, httpx.TimeoutException) else "lost", text)


def judged(failure: Failure) -> Failure:
    """The same failure; one that tells of a prompt that is too long is of that kind."""
    if "exceeds the available context size" in failure.text or "input length exceeds the context" in failure.text:
        return replace(failure, kind="window")
    return failure


def longest_reply(body: dict[str, Any]) -> int:
    """Bytes that no answer to this request exceeds from a server that keeps to its options."""
    options = body.get("options") or {}
    tokens, window = options.get("num_predict") or 2**16, options.get("num_ctx") or 2**17
    return _FIXED_BYTES + _LINE_BYTES * int(tokens) + _CONTEXT_BYTES * int(window)


def _is_object(content: bytes) -> bool:
    try:
        return isinstance(json.loads(content), dict)
    except ValueError:
        return False
