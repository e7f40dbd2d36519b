"""Addresses of model servers, checked."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit


def http_parts(url: str, example: str) -> SplitResult:
    """The parts of an http or https address.

    Raises:
        ValueError: it is none; the text completes "url must ...".
    """
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:  # a port that is none, half an IPv6 address
        valid = False
    if not valid:
        raise ValueError(f"must be a URL such as {example}")
    return parts


def openai_url(url: str) -> str:
    """The address of an OpenAI-compatible server, with `/v1` at its end.

    Raises:
        ValueError: No URL, or one of something else; the text completes "url must ...".
    """
    parts = http_parts(url, "http://127.0.0.1:8000/v1")
    path = parts.path.rstrip("/")
    if parts.query or parts.fragment or (path and not path.endswith("/v1")):
        raise ValueError("must end with /v1, such as http://127.0.0.1:8000/v1")
    return f"{parts.scheme}://{parts.netloc}{path or '/v1'}"
