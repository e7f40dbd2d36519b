"""The HTTP transport under both clients: it sees what really comes over the wire, which neither of them tells.

ChatOllama takes a stream that ends without `done` for a success and stumbles over a blank line; litellm says "stop"
whatever happened, and of an answer that is not streamed it makes an empty text out of an error. Both turn exceptions
into others. So the status, the last line, silence and size are judged here, on the bytes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx

from localgif import outbound
from localgif.endpoint.dialects import cut_silently
from localgif.endpoint.retry import Failed, Failure, Patience, read_retry_after

if TYPE_CHECKING:
    from localgif.endpoint.clients import Reply

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
            raise outbound.cause(error) or Failed(self.failure or broken(error)) from error
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
