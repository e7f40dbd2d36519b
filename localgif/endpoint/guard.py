"""The outer layer of what listens: who may call, how slowly, and every failure is `{"error": text}`."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from localgif.endpoint.wire import ApiError, encode

_LOG = logging.getLogger("localgif.endpoint")


#: Prompts with sources and pictures in them are long, but not this long.
MAX_BODY = 64 * 2**20
#: A whole request must be here by then, seconds. Its headers have as long as a connection may be idle (serve.py).
BODY_SECONDS = 60.0
#: A client that takes nothing for so long, seconds, is gone: the model works for it alone meanwhile.
READER_SECONDS = 60.0


async def read_body(request: web.Request) -> bytes:
    """The body of a request.

    Raises:
        ApiError: 413; it is too long. 408; it does not come.
    """
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise ApiError(413, f"the request is larger than {MAX_BODY >> 20} MiB") from None
    except TimeoutError:
        raise ApiError(408, f"the request did not arrive within {BODY_SECONDS:.0f} s") from None


class ClientGone(ConnectionResetError):
    """Nobody reads the answer any more."""


async def send(request: web.Request, response: web.StreamResponse, data: bytes = b"", *, last: bool = False) -> None:
    """Write a part of an answer, or with `last` its end; the headers go out with the first part.

    Raises:
        ClientGone: The client left, or takes nothing any more.
    """
    try:
        async with asyncio.timeout(READER_SECONDS):
            if not response.prepared:
                await response.prepare(request)
            await (response.write_eof(data) if last else response.write(data))
    except TimeoutError:
        raise ClientGone(f"the client took nothing for {READER_SECONDS:.0f} s") from None
    except ConnectionError as error:
        raise ClientGone(str(error)) from error


def is_local(authority: str) -> bool:
    """Whether a Host header (or the host of an Origin) names this machine's loopback."""
    try:
        host = urlsplit(f"//{authority}").hostname or ""
    except ValueError:
        return False
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_local_page(origin: str) -> bool:
    try:
        return is_local(urlsplit(origin).netloc)
    except ValueError:  # half an IPv6 address
        return False


def error_response(status: int, message: str) -> web.Response:
    """The only shape of a failure."""
    return web.Response(
        status=status, body=encode({"error": message}), content_type="application/json", charset="utf-8"
    )


def is_ours(authority: str) -> bool:
    """Whether a Host header names this machine by an address or its own name, not by a name that a stranger chose."""
    try:
        host = urlsplit(f"//{authority}").hostname or ""
    except ValueError:
        return False
    if is_local(authority) or (host and host == socket.gethostname().lower()):
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def guarded(everybody: bool = False) -> Middleware:
    """A middleware that refuses strangers and turns every exception into a JSON error.

    A web page can make a browser call us under a name that it lets resolve to our address; its Host and Origin give it
    away.

    Args:
        everybody: Callers from other machines are wanted.
    """

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        host, origin = request.headers.get("Host", "localhost"), request.headers.get("Origin")
        if not (is_ours(host) if everybody else is_local(host)) or (origin is not None and not _is_local_page(origin)):
            return error_response(403, "localgif answers local callers only")
        return await _answer(request, handler)

    return guard


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except ApiError as error:
        return error_response(error.status, error.message)
    except web.HTTPException as error:
        words = {404: f"{request.path} not found", 405: f"method {request.method} not allowed for {request.path}"}
        response = error_response(error.status, words.get(error.status, error.reason))
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
        return response
    except ConnectionError as error:
        # aiohttp takes any exception but the one below for a bug, with a traceback.
        if not isinstance(error, ClientGone):
            _LOG.warning("%s %s: half an answer is cut off: %s", request.method, request.path, error)
        elif request.transport is not None:
            request.transport.abort()  # what nobody reads would keep a closed connection open
        raise asyncio.CancelledError from error
    except Exception as error:
        _LOG.exception("%s %s", request.method, request.path)
        return error_response(500, f"internal error: {type(error).__name__}: {error}")
