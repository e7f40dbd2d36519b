"""Nothing leaves this machine: the environment that libraries see, checked addresses, and the guard on connections."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn
from urllib.parse import SplitResult, urlsplit

from localgif.errors import ConfigError, OutboundRefused


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


def weights_environment() -> tuple[str | None, str | None]:
    """The values of LOCALGIF_HOME (where weights are kept) and OLLAMA_MODELS (where an Ollama keeps its own)."""
    return os.environ.get("LOCALGIF_HOME"), os.environ.get("OLLAMA_MODELS")


def pin_matplotlib() -> None:
    """Set, before matplotlib is imported, where it keeps its list of fonts: with our cache, not in ~/.config.

    Where the user names a place (MPLCONFIGDIR), that one is used.
    """
    import platformdirs

    base = Path(os.environ.get("LOCALGIF_HOME") or platformdirs.user_cache_dir("localgif"))
    os.environ.setdefault("MPLCONFIGDIR", str(base.absolute() / "matplotlib"))


def api_key(name: str | None, where: str) -> str:
    """The key that a server wants, from the variable `name`; "" when no variable is named.

    Args:
        where: The line of models.toml that names it, e.g. "endpoints.vllm.api_key_env".

    Raises:
        ConfigError: the variable is not set.
    """
    if name is None:
        return ""
    key = os.environ.get(name, "").strip()
    if not key:
        raise ConfigError(
            f"{where} names the variable {name}, which is not set",
            f"export {name}=... with the key that the server was started with, or remove the line",
            code="E-API-KEY",
        )
    return key


#: What keeps libraries quiet, whatever the environment says. Each was measured, or read in the library's source:
#: litellm 1.106 downloads a price list on import unless the first says the word "True" (others like it are asked for by
#: parts that we do not use); LITELLM_MODE stops its search for a .env file; USE_LITELLM_PROXY would send every request
#: of the reflector to another server. langsmith traces when any one of its four variables says so, and
#: LANGSMITH_GATEWAY redirects chat models. gepa can report to Weights & Biases.
_QUIET = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "LITELLM_LOCAL_BLOG_POSTS": "True",
    "LITELLM_MODE": "PRODUCTION",
    "USE_LITELLM_PROXY": "False",
    "LANGSMITH_TRACING": "false",
    "LANGSMITH_TRACING_V2": "false",
    "LANGCHAIN_TRACING_V2": "false",
    "LANGSMITH_GATEWAY": "false",
    "OTEL_SDK_DISABLED": "true",
    "WANDB_MODE": "disabled",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "DO_NOT_TRACK": "1",
}

#: Must not be there at all: langchain stops with an error at the first two, whatever they say, and litellm looks for
#: tiktoken's files at the third instead of among its own.
_UNWANTED = ("LANGCHAIN_TRACING", "LANGCHAIN_HANDLER", "CUSTOM_TIKTOKEN_CACHE_DIR")

_PROXIES = ("http_proxy", "https_proxy", "all_proxy")

#: The names of the variables that were set when this process began: what the user's shell leaks.
_AT_START = frozenset(os.environ)


def pin_libraries() -> None:
    """Set, before any library is imported, what keeps it from calling home; child processes inherit it."""
    os.environ.update(_QUIET)
    for name in _UNWANTED:
        os.environ.pop(name, None)


def pin_environment(url: str) -> None:
    """Set, before litellm and langchain are imported, what keeps them on this machine and at our endpoint.

    litellm's side calls go to OLLAMA_API_BASE whatever address it is given, ollama's client reads OLLAMA_HOST. Proxies
    go: no model is asked through one, and httpx without socksio does not even start where ALL_PROXY names a SOCKS one.
    What has to be fetched was fetched before.
    """
    pin_libraries()
    os.environ.update(OLLAMA_API_BASE=url, OLLAMA_HOST=url)
    for name in [name for name in os.environ if name.lower() in _PROXIES]:
        del os.environ[name]


def variable_names() -> frozenset[str]:
    """The names of the variables that the user's shell had set, without their values."""
    return _AT_START


#: Told with (socket, address).
_TO_AN_ADDRESS = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})

#: Told with a host first, or with (host, port).
_OF_A_NAME = frozenset({"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo"})

_WATCHED = _TO_AN_ADDRESS | _OF_A_NAME

#: They do not leave the machine: pipes between processes, and questions to the kernel.
_LOCAL_FAMILIES = frozenset({int(socket.AF_UNIX), int(getattr(socket, "AF_NETLINK", -1))})

_INTERNET = frozenset({int(socket.AF_INET), int(socket.AF_INET6)})

#: They connect on behalf of whoever called them; the message names that one.
_CARRIERS = frozenset(
    {"httpx", "httpcore", "httpx2", "httpcore2", "anyio", "aiohttp", "aiohappyeyeballs", "urllib3", "requests"}
)

_Address = IPv4Address | IPv6Address


@dataclass(frozen=True)
class _Rules:
    """What may be reached beside loopback."""

    hosts: frozenset[tuple[str, int]]
    """Names and addresses with their ports, as the list of the user spells them, lower case."""
    fetch: bool
    """Whether weights that are missing may be brought here."""


_rules: _Rules | None = None

_installed = False

_lifted = threading.local()

_refused: dict[str, None] = {}


def guard(urls: Iterable[str] = (), *, fetch: bool = True) -> None:
    """From here on, refuse to reach anything but loopback and the hosts of `urls` at their ports.

    Args:
        urls: Addresses such as "http://gpu-box:11434".
        fetch: Whether `lifted` may let a download pass.

    A later call replaces the list; `release` ends it. The hook itself stays for the life of the process (the
    interpreter cannot take one out) and costs a tenth of a microsecond for each event of any kind.
    """
    global _rules, _installed
    _rules = _Rules(frozenset(_host_and_port(url) for url in urls), fetch)
    if not _installed:
        _installed = True
        sys.addaudithook(_hook)


def release() -> None:
    """Refuse nothing any more."""
    global _rules
    _rules = None


def may_fetch() -> bool:
    """Whether weights that are missing may be downloaded."""
    return _rules is None or _rules.fetch


@contextlib.contextmanager
def lifted() -> Iterator[None]:
    """Let this thread, and no other, reach anything inside the block: for a download that the user was told about."""
    _lifted.depth = getattr(_lifted, "depth", 0) + 1
    try:
        yield
    finally:
        _lifted.depth -= 1


def refusals() -> tuple[str, ...]:
    """What was refused in this process, each once, in words."""
    return tuple(_refused)


def cause(error: BaseException | None) -> OutboundRefused | None:
    """The refusal that is behind an exception of a library, or None."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, OutboundRefused):
            return error
        seen.add(id(error))
        reason = getattr(error, "reason", None)  # urllib's way of saying why
        error = reason if isinstance(reason, BaseException) else error.__cause__ or error.__context__
    return None


def _host_and_port(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return (parts.hostname or "").lower(), parts.port or (443 if parts.scheme == "https" else 80)


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if event not in _WATCHED:
        return
    rules = _rules
    if rules is None or getattr(_lifted, "depth", 0) > 0:
        return
    if event in _TO_AN_ADDRESS:
        _check_address(rules, arguments[0], arguments[1])
    else:
        _check_name(rules, arguments[0], arguments[1] if event == "socket.getaddrinfo" else None)


def _check_address(rules: _Rules, sock: Any, address: Any) -> None:
    """Raises OutboundRefused. No address: the socket is connected, and that was checked."""
    family = int(sock.family)
    if address is None or family in _LOCAL_FAMILIES:
        return
    if family not in _INTERNET or not isinstance(address, tuple) or len(address) < 2:
        _refuse(f"{address!r} (address family {family})")
    host, port = _text(address[0]), address[1]
    if is_loopback(host) or (host.lower(), port) in rules.hosts:
        return
    wanted = plain_address(host)
    if wanted is None or (wanted, port) not in _addresses(rules):
        _refuse(f"{host} port {port}")


def _check_name(rules: _Rules, asked: Any, port: Any) -> None:
    """Raises OutboundRefused. No name: the machine itself, as servers ask for it."""
    host = _text(asked[0] if isinstance(asked, tuple) and asked else asked)
    if not host or is_loopback(host) or any(host.lower() == known for known, _ in rules.hosts):
        return
    wanted = plain_address(host)
    if wanted is None or all(wanted != known for known, _ in _addresses(rules)):
        _refuse(f"{host} port {port}" if port else host)


def _addresses(rules: _Rules) -> set[tuple[_Address, int]]:
    """The addresses of the listed hosts now. Names are looked up each time: an address may change in a long run."""
    found: set[tuple[_Address, int]] = set()
    for host, port in rules.hosts:
        known = plain_address(host)
        if known is not None:
            found.add((known, port))
            continue
        with contextlib.suppress(OSError):
            for *_, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
                known = plain_address(str(address[0]))
                if known is not None:
                    found.add((known, port))
    return found


def _text(host: Any) -> str:
    if host is None:
        return ""
    return host.decode("ascii", "replace") if isinstance(host, bytes | bytearray) else str(host)


def _refuse(what: str) -> NoReturn:
    caller = _caller()
    refusal = f"{caller} wanted to reach {what}, which is neither this machine nor an endpoint of models.toml"
    _refused.setdefault(refusal)
    raise OutboundRefused(
        f"nothing leaves this machine: {refusal}",
        "An endpoint elsewhere needs allow_remote = true in its table of models.toml. "
        "offline = false at the top of models.toml ends this guard.",
    )


def _caller() -> str:
    """The nearest code that is neither Python's own nor one of the carriers: "litellm.main, line 7"."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        module = str(frame.f_globals.get("__name__", "?"))
        root = module.partition(".")[0]
        if module != __name__ and root not in sys.stdlib_module_names and root not in _CARRIERS:
            return f"{module}, line {frame.f_lineno},"
        frame = frame.f_back
    return "a thread of Python's own library"
