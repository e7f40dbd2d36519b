"""What crosses the wire in both directions: the error that becomes an HTTP answer, JSON lines, timestamps. Pure."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any


class ApiError(Exception):
    """A failure that the client of the gateway is told about.

    Never leaves the gateway: before the first line it becomes an HTTP status with `{"error": text}`, after it a last
    line `{"error": text}`.

    Args:
        status: HTTP status code.
        message: One text; Ollama's clients expect a string there, never an object.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class UpstreamBroken(ApiError):
    """The server behind the gateway died, or answered what no working server answers."""

    def __init__(self, message: str) -> None:
        super().__init__(502, message)


def parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object of a request body.

    Raises:
        ApiError: 400; nothing sent, no JSON, NaN or infinity, or not an object.
    """
    if not body.strip():
        raise ApiError(400, "missing request body")
    try:
        value = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"request body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ApiError(400, f"request body must be a JSON object, not {type_name(value)}")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def type_name(value: object) -> str:
    """The JSON word for the type of a decoded value."""
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def encode(payload: dict[str, Any]) -> bytes:
    """One JSON object on one line, UTF-8, no newline at the end (a lone surrogate becomes a question mark)."""
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def encode_line(payload: dict[str, Any]) -> bytes:
    """One line of an NDJSON stream."""
    return encode(payload) + b"\n"


def timestamp(moment: datetime | None = None, ahead: float = 0.0) -> str:
    """RFC 3339 in UTC, e.g. "2025-01-31T12:00:00.000000Z".

    Args:
        moment: None is now.
        ahead: Seconds to add; more than a century is cut to a century.
    """
    base = moment or datetime.now(UTC)
    later = base + timedelta(seconds=min(ahead, 100 * 365 * 86400.0))
    return later.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
