"""Nothing leaves: this process reaches loopback and the endpoints that models.toml names, and nothing else.

An audit hook of the interpreter is told of every connection and every look-up of a name that goes through Python's
socket module, whoever asks for it: a library that calls home, a redirect, a mistyped address. What is not on the list
is refused before it happens, with the host and the caller in the message. One thing is seen too late: a connect() that
is given a name directly has looked it up by the time the hook is told (everything here asks getaddrinfo first).

It guards against accidents, not against code that wants out: native code does not pass here, and what generated
programs may do is the sandbox's business.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from types import FrameType
from typing import Any, NoReturn
from urllib.parse import urlsplit

from localgif.addresses import is_loopback, plain_address
from localgif.errors import OutboundRefused

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
