"""The gateway's outer layer: only local callers, and every failure is `{"error": text}`."""

from __future__ import annotations

import ipaddress
import logging
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler

from localgif.endpoint.wire import ApiError, encode

_LOG = logging.getLogger("localgif.endpoint")


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


def error_response(status: int, message: str) -> web.Response:
    """The only shape of a failure."""
    return web.Response(
        status=status, body=encode({"error": message}), content_type="application/json", charset="utf-8"
    )


@web.middleware
async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse callers from elsewhere; turn every exception into a JSON error.

    A web page can make a browser call us under a name that resolves to loopback; its Host and Origin give it away.
    """
    origin = request.headers.get("Origin", "")
    if not is_local(request.headers.get("Host", "localhost")) or (origin and not is_local(urlsplit(origin).netloc)):
        return error_response(403, "localgif answers local callers only")
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
    except ConnectionError:
        raise  # the client left while we wrote: nobody to tell
    except Exception as error:
        _LOG.exception("%s %s", request.method, request.path)
        return error_response(500, f"internal error: {type(error).__name__}: {error}")
