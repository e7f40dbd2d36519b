"""Addresses of model servers, checked."""

from __future__ import annotations

import ipaddress
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


def ollama_url(url: str) -> str:
    """The address of a server of the Ollama API, without a slash at its end.

    Raises:
        ValueError: No URL, or one with a path; the text completes "url must ...".
    """
    # ollama-python silently falls back to its own default for a value that it cannot parse.
    if http_parts(url, "http://127.0.0.1:11434").path.rstrip("/"):
        raise ValueError("must have no path: the Ollama API is asked at the root, not under /v1")
    return url.rstrip("/")


def server_url(value: object, openai: bool) -> str:
    """The address in a `url` of models.toml.

    Raises:
        ValueError: As in `ollama_url` or `openai_url`, or no text; the message completes "url ...".
    """
    if not isinstance(value, str):
        raise ValueError("must be an address in quotes")
    return openai_url(value) if openai else ollama_url(value)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine for certain: "localhost", or an address of loopback as it is usually written.

    An IPv4 address inside an IPv6 one counts as what it is. Other spellings (0x7f000001, 127.1, 0177.0.0.1), 0.0.0.0
    and other names may be this machine too; they count as elsewhere.
    """
    if host.lower() == "localhost":
        return True
    address = plain_address(host)
    return address is not None and address.is_loopback


def plain_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that a host is, IPv4 taken out of IPv6; None for a name and for unusual spellings of numbers."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def is_here(url: str) -> bool:
    """Whether an http or https address is on this machine, by the rule of `is_loopback`."""
    return is_loopback(urlsplit(url).hostname or "")


def scheduler_url(url: str) -> str:
    """The address of a scheduler of Dask.

    Raises:
        ValueError: It is none; the text completes "URL ...".
    """
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("tcp", "tls") and bool(parts.hostname) and bool(parts.port)
    except ValueError:
        valid = False
    if not valid or parts.path.rstrip("/") or parts.query or parts.fragment:
        raise ValueError("must be an address such as tcp://gpu-box:8786")
    return url.rstrip("/")
