"""Weights from a plain URL: redirects followed, and a broken transfer continued where it stopped.

The only module of this package that imports httpx, and only when it is used.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from localgif.models.partial import Partial
from localgif.models.verify import GGUF_MAGIC, Refused
from localgif.models.wheels import Say

if TYPE_CHECKING:
    import httpx

#: How often one pull asks for the rest after a transfer broke.
ATTEMPTS = 8
#: Pause before asking again, seconds.
RETRY_SECONDS = 1.0
#: Silence of the server that counts as broken, seconds.
TIMEOUT_SECONDS = 60.0

#: Received bytes are made to count this often, bytes.
_COMMIT_BYTES = 32 * 2**20


class _Broken(Exception):
    """The transfer stopped before its end; what came is good."""


def fetch_url(url: str, partial: Partial, say: Say) -> None:
    """Append what `partial` lacks.

    Raises:
        Refused: The server cannot be reached, or has something else; the text says what.
        OSError: The disk.
    """
    import httpx

    try:
        # No compression: the sizes and ranges below are those of the file itself.
        with httpx.Client(
            follow_redirects=True, timeout=TIMEOUT_SECONDS, headers={"Accept-Encoding": "identity"}
        ) as client:
            _until_complete(client, url, partial, say)
    except httpx.TooManyRedirects as error:
        raise Refused("too many redirects") from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Refused(_words(error)) from error


def _until_complete(client: httpx.Client, url: str, partial: Partial, say: Say) -> None:
    """Ask until all bytes are there. Raises Refused, OSError, httpx.HTTPError (nothing ever came)."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            _stream(client, url, partial, say)
            return
        except _Broken as broken:
            if attempt == ATTEMPTS:
                raise Refused(f"broke off {ATTEMPTS} times, last after {partial.position} bytes: {broken}") from broken
            time.sleep(RETRY_SECONDS)


def _stream(client: httpx.Client, url: str, partial: Partial, say: Say) -> None:
    """One request for the missing bytes. Raises _Broken, Refused, OSError, httpx.HTTPError."""
    import httpx

    if partial.position == partial.size:
        return
    asked = partial.position
    headers = {"Range": f"bytes={asked}-"} if asked else {}
    with client.stream("GET", url, headers=headers) as response:
        if response.status_code == 416 and asked:
            partial.rewind(0)
            raise _Broken("the server does not continue the file there")
        _check(response, asked, partial.size)
        if asked and response.status_code == 200:
            partial.rewind(0)  # the server knows no ranges and sends all of it
        try:
            _receive(response, partial, say)
        except httpx.TransportError as error:
            raise _Broken(_words(error)) from error
        finally:
            partial.commit()
    if partial.position < partial.size:
        raise _Broken("the server closed the connection")


def _check(response: httpx.Response, asked: int, size: int) -> None:
    """Refuse an answer that cannot be the rest of the file."""
    if response.status_code not in (200, 206):
        raise Refused(f"HTTP {response.status_code}")
    kind = response.headers.get("content-type", "")
    if kind.startswith("text/"):
        raise Refused(f"the server sent a page ({kind}), not the file")
    if response.headers.get("content-encoding", "identity") != "identity":
        raise Refused("the server sent the file compressed, which was not asked for")
    announced: str | None
    if response.status_code == 206:
        span, _, announced = response.headers.get("content-range", "").removeprefix("bytes ").partition("/")
        if span.partition("-")[0] != str(asked):
            raise Refused(f"the server sent bytes {span or '?'}, asked for {asked}-")
    else:
        announced = response.headers.get("content-length")
    if announced is not None and announced.isdigit() and int(announced) != size:
        raise Refused(f"the file there has {announced} bytes, expected {size}")


def _receive(response: httpx.Response, partial: Partial, say: Say) -> None:
    """Append the body. Raises Refused, OSError, httpx.TransportError."""
    uncounted = 0
    for data in response.iter_raw():  # as they come: with a chunk size, httpx would lose the rest of a broken transfer
        if partial.position == 0 and not data.startswith(GGUF_MAGIC):
            raise Refused("what the server sent does not begin with the bytes GGUF")
        partial.write(data)
        uncounted += len(data)
        if uncounted >= _COMMIT_BYTES:
            partial.commit()
            uncounted = 0
        say(partial.position, "download")


def _words(error: Exception) -> str:
    """What went wrong, in one line; several of httpx's exceptions have no text."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
