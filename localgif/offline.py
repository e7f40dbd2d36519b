"""Keeps localgif offline: checks addresses, cleans the environment that libraries see, guards connections."""

from __future__ import annotations

import contextlib
import functools
import io
import ipaddress
import os
import re
import signal
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

from localgif.errors import ConfigError, EndpointError, OutboundRefused

# --- addresses -------------------------------------------------------------------------------------------------------


def server_url(value: object, openai: bool) -> str:
    """The address of a model server: ending in `/v1` for an OpenAI-compatible one, else without a path.

    Raises:
        ValueError: The address is not valid; the message completes "url ...".
    """
    if not isinstance(value, str):
        raise ValueError("must be an address in quotes")
    parts = _parts(value, ("http", "https"), "http://127.0.0.1:8000/v1" if openai else "http://127.0.0.1:11434")
    path = parts.path.rstrip("/")
    if not openai:
        if (
            path or parts.query or parts.fragment
        ):  # ollama-python silently uses its own default for a value that it cannot parse
            raise ValueError("must have no path: the Ollama API is at the root, not under /v1")
        return value.rstrip("/")
    if parts.query or parts.fragment or (path and not path.endswith("/v1")):
        raise ValueError("must end with /v1, such as http://127.0.0.1:8000/v1")
    return f"{parts.scheme}://{parts.netloc}{path or '/v1'}"


def scheduler_url(url: str) -> str:
    """The address of a Dask scheduler. Raises ValueError as `server_url` does."""
    parts = _parts(url, ("tcp", "tls"), "tcp://gpu-box:8786")
    if not parts.port or parts.path.rstrip("/") or parts.query or parts.fragment:
        raise ValueError("must be a URL such as tcp://gpu-box:8786")
    return url.rstrip("/")


def without_secret(url: str) -> str:
    """An address for messages, with user and password masked."""
    return re.sub(r"//[^/\s]*@", "//***@", url)


def _parts(url: str, schemes: tuple[str, ...], example: str) -> SplitResult:
    if "@" in url:
        raise ValueError(
            'must not contain a user or a password; for a server of kind "openai" set api_key_env to the name of the '
            'variable with its key, e.g. api_key_env = "MY_KEY"'
        )
    with contextlib.suppress(ValueError):  # a port that is not a number, half an IPv6 address
        parts = urlsplit(url)
        if parts.scheme in schemes and parts.hostname and parts.port != 0:
            return parts
    raise ValueError(f"must be a URL such as {example}")


#: Ollama's default port and address.
_OLLAMA_PORT = 11434
OLLAMA_URL = f"http://127.0.0.1:{_OLLAMA_PORT}"


def ollama_address(value: str) -> str:
    """The address that a value of OLLAMA_HOST means, by Ollama's own rules.

    Scheme, host and port may each be missing: "", "0.0.0.0", ":8080", "gpu-box", "http://gpu-box". The default port is
    the scheme's, or 11434 without a scheme. A path is ignored. The listen address of all interfaces becomes loopback.
    """
    scheme, _, rest = value.strip().strip("\"'").strip().rpartition("://")
    default = {"http": 80, "https": 443}.get(scheme.lower(), _OLLAMA_PORT)
    scheme = "https" if scheme.lower() == "https" else "http"
    place = rest.partition("/")[0]
    host, port = place, ""
    if plain_address(place.strip("[]")) is None and ":" in place:
        host, _, port = place.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    number = int(port) if re.fullmatch(r"[0-9]{1,5}", port) and int(port) < 65536 else default
    address = plain_address(host)
    if address is not None and address.is_unspecified:
        host = "127.0.0.1" if address.version == 4 else "::1"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{number}"


def is_here(url: str) -> bool:
    """Whether an address is on this machine, by the rule of `is_loopback`."""
    return is_loopback(urlsplit(url).hostname or "")


def is_loopback(host: str) -> bool:
    """Whether a host is certainly this machine: "localhost", or a loopback address in its usual spelling.

    An IPv4-mapped IPv6 address counts as the IPv4 address. Other spellings (0x7f000001, 127.1, 0177.0.0.1), 0.0.0.0 and
    other names may be this machine too, but count as another machine.
    """
    if host.lower() == "localhost":
        return True
    address = plain_address(host)
    return address is not None and address.is_loopback


def plain_address(host: str) -> IPv4Address | IPv6Address | None:
    """A host as an IP address, IPv4-mapped ones as IPv4; None for a name or an unusual spelling of a number."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


# --- environment -----------------------------------------------------------------------------------------------------

#: The environment at the start. `own_process` removes most variables from os.environ.
_AT_START = dict(os.environ)

#: The variables that localgif's processes keep: user, terminal, folders, shell completion, localgif, Ollama, Dask,
#: proxies, certificates, pip. Any other one could break or redirect a run, through Python, TLS, matplotlib, litellm,
#: OpenMP or rich.
_KEPT = re.compile(
    r"HOME|PATH|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_[A-Z]+|TZ|TERM|COLORTERM|NO_COLOR|TMPDIR"
    r"|XDG_(?:CACHE|CONFIG)_HOME|_LOCALGIF_COMPLETE|_TYPER_COMPLETE_\w+|COMP_WORDS|COMP_CWORD"
    r"|LD_LIBRARY_PATH|LOCALGIF_[A-Z]+|OLLAMA_MODELS|OLLAMA_HOST|DASK_\w+|(?:https?|all|no)_proxy|(?:HTTPS?|ALL|NO)_PROXY"
    r"|SSL_CERT_FILE|SSL_CERT_DIR|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE"
    r"|PIP_(?:INDEX_URL|EXTRA_INDEX_URL|FIND_LINKS|NO_INDEX|TRUSTED_HOST|CERT|CLIENT_CERT|PROXY|RETRIES|TIMEOUT"
    r"|DEFAULT_TIMEOUT|CONFIG_FILE|CACHE_DIR|KEYRING_PROVIDER)"
)

#: Variables that name files or folders of certificates.
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")

#: Keeps libraries off the network, whatever the user's environment says. Each entry was measured, or read in the
#: library's source. litellm 1.106 downloads a price list on import unless the first one contains "True" (its other
#: downloads belong to parts that localgif does not use); LITELLM_MODE stops its search for a .env file;
#: USE_LITELLM_PROXY would redirect every request of the reflector. langsmith traces if any of its variables asks for
#: it, and LANGSMITH_GATEWAY redirects chat models. gepa can report to Weights & Biases.
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

#: Variables to unset. langchain fails if one of the first two is set to any value. The third makes litellm look for
#: tiktoken's files outside its own package. Python's ssl fails if it cannot open the last one.
_UNWANTED = ("LANGCHAIN_TRACING", "LANGCHAIN_HANDLER", "CUSTOM_TIKTOKEN_CACHE_DIR", "SSLKEYLOGFILE")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")


def own_process() -> None:
    """Prepare this process before it imports a library: remove all variables but those of `_KEPT`, open missing
    streams, make stderr safe to write, and restore signals.

    Python reads its own variables (PYTHONWARNINGS, PYTHONPATH, ...) at start-up, so if one is set, the process restarts
    without it.
    """
    here = str(Path(__file__).parents[1])
    theirs = {n for n, value in os.environ.items() if n.startswith("PYTHON") and (n, value) != ("PYTHONPATH", here)}
    if theirs and not sys.flags.ignore_environment and sys.executable:
        kept = {name: value for name, value in os.environ.items() if name not in theirs}
        if here in os.environ.get("PYTHONPATH", "").split(os.pathsep):  # it may be the only way to localgif
            kept["PYTHONPATH"] = here
        with contextlib.suppress(OSError):
            os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], kept)
    with contextlib.suppress(OSError):  # `python -m localgif` put the current folder first
        current = str(Path.cwd())
        sys.path[:] = [entry for entry in sys.path if entry == here or entry not in ("", current)]
    restore_signals()
    home = home_folder()
    for name in [name for name in os.environ if not _KEPT.fullmatch(name)]:
        del os.environ[name]
    os.environ.pop("HOME", None)
    if home is not None:
        os.environ["HOME"] = str(home)
    pin_libraries()
    for number, stream in enumerate((sys.stdin, sys.stdout, sys.stderr)):
        if stream is None:  # closed by the parent; the next opened file would take its number
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
    sys.stdin = sys.stdin or io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)))
    sys.stdout, sys.stderr = _stream(1), _stream(2)


#: While SIGCHLD is ignored, the kernel drops exit codes, and Python reports success for every child. SIGHUP, SIGINT and
#: SIGQUIT are not listed: nohup and a shell's & ignore them on purpose.
_EXPECTED = (signal.SIGCHLD, signal.SIGTERM, signal.SIGALRM)


def restore_signals() -> None:
    """Reset signals that the parent ignored or blocked, so that localgif sees its children end and gets Ctrl-C.

    Call it before starting children; outside the main thread it does nothing.
    """
    with contextlib.suppress(ValueError):
        for number in _EXPECTED:
            if signal.getsignal(number) is signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {*_EXPECTED, signal.SIGINT})


def _stream(number: int) -> io.TextIOWrapper:
    buffer = io.BufferedWriter(Stream(number, "w", closefd=False))
    return io.TextIOWrapper(buffer, errors="backslashreplace", line_buffering=True)


class Stream(io.FileIO):
    """stdout or stderr that survives a full disk or a closed pipe: the output is dropped. On stdout that is an error,
    because stdout carries the result."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
            if self.fileno() == 1:
                if isinstance(error, BrokenPipeError):
                    raise
                raise ConfigError(
                    f"stdout cannot be written: {error.strerror}",
                    "the work itself is stored; find a run's result with: localgif runs",
                    code="E-FILE",
                ) from None
            return len(data)


#: Imports this copy of localgif, and everything else by Python's own search path.
_BOOT = (
    "import runpy, sys; module, here = sys.argv.pop(1), sys.argv.pop(1); sys.path.insert(0, here); import localgif; "
    "sys.path.remove(here); sys.path.append(here); runpy.run_module(module, run_name='__main__', alter_sys=True)"
)


def our_python(module: str) -> list[str]:
    """The command that runs a module of localgif in a new process. `python -m` would search for modules in the current
    folder first, which may contain anything."""
    return [sys.executable, "-P", "-c", _BOOT, module, str(Path(__file__).parents[1])]


def pin_libraries() -> None:
    """Set the variables that keep libraries off the network. Call it before importing one; child processes inherit."""
    os.environ.update(_QUIET)
    for name in (*_UNWANTED, *unusable_certificates()):
        os.environ.pop(name, None)


def unusable_certificates() -> tuple[str, ...]:
    """The certificate variables that name no usable certificates; with them TLS fails in some libraries."""
    return tuple(name for name in _CERTIFICATES if not _has_certificates(name))


def _has_certificates(name: str) -> bool:
    value = os.environ.get(name, _AT_START.get(name))
    if not value:
        return value is None
    if name == "SSL_CERT_DIR":
        return any(os.path.isdir(part) for part in value.split(os.pathsep))  # noqa: PTH112 - Path raises, as below
    if not os.path.isfile(value):  # noqa: PTH113 - Path raises if the name is too long, or in a closed folder
        return name == "REQUESTS_CA_BUNDLE" and os.path.isdir(value)  # noqa: PTH112
    try:
        _read_certificates(value, Path(value).stat().st_mtime_ns)
    except OSError:  # ssl.SSLError is one
        return False
    return True


@functools.cache
def _read_certificates(path: str, modified: int) -> None:
    """Raises OSError if a file holds no certificates. Reading them takes a while, several variables often name the
    same file, and each client asks again."""
    import ssl

    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)


#: The OLLAMA_HOST that pin_environment set; None before.
_pinned: str | None = None


def ollama_url() -> str:
    """The address of the user's Ollama, from OLLAMA_HOST or the default."""
    said = os.environ.get("OLLAMA_HOST", "")
    said = _AT_START.get("OLLAMA_HOST", "") if said == _pinned else said
    return ollama_address(said) if said.strip() else OLLAMA_URL


def pin_environment(url: str) -> None:
    """Point litellm and langchain at the endpoint `url`. Call it before they are used.

    litellm sends side requests to OLLAMA_API_BASE even when it has another address; ollama's client reads OLLAMA_HOST.
    """
    global _pinned
    pin_clients()
    os.environ.update(OLLAMA_API_BASE=url, OLLAMA_HOST=url)
    _pinned = url


def pin_clients() -> None:
    """Prepare the environment for the import of litellm and langchain.

    Proxies are removed: requests to models never use one, and httpx without socksio fails if ALL_PROXY names a SOCKS
    proxy. Downloads, which may use one, have finished by then.
    """
    pin_libraries()
    for name in [name for name in os.environ if name.lower() in _PROXIES]:
        del os.environ[name]


def pin_matplotlib() -> None:
    """Put matplotlib's font list into localgif's cache, not ~/.config. Call it before importing matplotlib."""
    folder = cache_folder() / "matplotlib"
    with contextlib.suppress(OSError):  # without this folder matplotlib uses a temporary one
        folder.mkdir(parents=True, exist_ok=True)
        os.environ["MPLCONFIGDIR"] = str(folder)


def cache_folder() -> Path:
    """localgif's folder for weights and caches: LOCALGIF_HOME, else inside the user's cache folder, else in /var/tmp
    for a user without a home folder.

    Raises:
        ConfigError: LOCALGIF_HOME is not a valid path, or the folder in /var/tmp belongs to another user.
    """
    if named := os.environ.get("LOCALGIF_HOME"):
        return _path("LOCALGIF_HOME", named)
    if home_folder() is not None or os.environ.get("XDG_CACHE_HOME", "").startswith("/"):
        import platformdirs

        return Path(platformdirs.user_cache_dir("localgif")).absolute()
    folder = Path(f"/var/tmp/localgif-{os.getuid()}")
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700)
    if not folder.is_dir() or folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise ConfigError(
            f"this user has no home folder, and {folder} belongs to another user",
            "name a folder: export LOCALGIF_HOME=/...",
        )
    return folder


def config_folder() -> Path | None:
    """The user's folder for localgif's settings, which may not exist; None for a user without a home folder."""
    if home_folder() is None and not os.environ.get("XDG_CONFIG_HOME", "").startswith("/"):
        return None
    import platformdirs

    return Path(platformdirs.user_config_dir("localgif")).absolute()


def named_models_file() -> Path | None:
    """The models.toml that the variable LOCALGIF_MODELS names; None if it is not set."""
    named = os.environ.get("LOCALGIF_MODELS")
    return _path("LOCALGIF_MODELS", named) if named else None


def called_as() -> str:
    """How the user called localgif, for commands in messages: "localgif", "python -m localgif", or the `just` command
    that ran a recipe (scripts/just and the Justfile set LOCALGIF_CALLED)."""
    if just := os.environ.get("LOCALGIF_CALLED"):
        return just
    return "python -m localgif" if Path(sys.argv[0]).parts[-2:] == ("localgif", "__main__.py") else "localgif"


def home_folder() -> Path | None:
    """The user's home folder; None for a user without HOME and without a passwd entry."""
    home = Path(os.environ.get("HOME", ""))
    if home.is_absolute():
        return home
    import pwd

    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        return None


def _path(name: str, value: str) -> Path:
    """The path in a variable; "~" is the user's home folder."""
    if value == "~" or value.startswith("~/"):
        home = home_folder()
        value = str(home or "~") + value[1:]
    try:
        value.encode()
    except UnicodeEncodeError:
        value = "~"
    if value.startswith("~"):
        raise ConfigError(f"{name} = {os.environ.get(name)!a} is not a valid path", "give an absolute path")
    return Path(value).absolute()


def keep_keys(names: Iterable[str]) -> None:
    """Restore variables with servers' keys, so that child processes inherit them."""
    os.environ.update({name: _AT_START[name] for name in names if name in _AT_START})


def variable_names() -> frozenset[str]:
    """The names of the variables in the user's shell, without values."""
    return frozenset(_AT_START)


def weights_environment() -> tuple[Path, Path | None]:
    """localgif's folder for weights, and Ollama's folder if OLLAMA_MODELS names one."""
    ollama = os.environ.get("OLLAMA_MODELS")
    return cache_folder(), _path("OLLAMA_MODELS", ollama) if ollama else None


def api_key(name: str | None, where: str) -> str:
    """The server's key in the variable `name`; "" if `name` is None.

    Raises:
        ConfigError: The variable is not set; the message says that `where`, a key of models.toml, names it.
    """
    if name is None:
        return ""
    key = os.environ.get(name, _AT_START.get(name, "")).strip()
    if not key:
        raise ConfigError(
            f"{where} names the variable {name}, which is not set",
            f"export {name}=... with the server's key, or remove the line",
            code="E-API-KEY",
        )
    return key


# --- the guard -------------------------------------------------------------------------------------------------------

#: Audit events with (socket, address).
_TO_AN_ADDRESS = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})

#: Audit events with (host, ...) or ((host, port), ...).
_OF_A_NAME = frozenset({"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo"})

#: Address families that cannot leave the machine: between processes, and to the kernel.
_LOCAL_FAMILIES = frozenset({int(socket.AF_UNIX), int(getattr(socket, "AF_NETLINK", -1))})
_INTERNET = frozenset({int(socket.AF_INET), int(socket.AF_INET6)})

#: HTTP libraries, which connect for their caller; the message names the caller.
_CARRIERS = {"httpx", "httpcore", "httpx2", "httpcore2", "anyio", "aiohttp", "aiohappyeyeballs", "urllib3", "requests"}


@dataclass(frozen=True)
class _Rules:
    """What may be reached besides loopback: lower-case hosts with ports, and whether weights may be downloaded."""

    hosts: frozenset[tuple[str, int]]
    fetch: bool


_rules: _Rules | None = None
_installed = False
_lifted = threading.local()
_refused: dict[str, None] = {}


def guard(urls: Iterable[str] = (), *, fetch: bool = True) -> None:
    """Refuse all connections except to loopback and to the hosts and ports of `urls`.

    A later call replaces the list, and `release` lifts it. The audit hook stays until the process ends, because Python
    cannot remove one; it costs 0.1 µs per audit event. `fetch` says whether weights may be downloaded.
    """
    global _rules, _installed
    _rules = _Rules(frozenset(_host_and_port(url) for url in urls), fetch)
    if not _installed:
        _installed = True
        sys.addaudithook(_hook)


def release() -> None:
    """End the guard."""
    global _rules
    _rules = None


def may_fetch() -> bool:
    """Whether missing weights may be downloaded."""
    return _rules is None or _rules.fetch


@contextlib.contextmanager
def lifted() -> Iterator[None]:
    """Let only this thread connect anywhere inside the block: for a download that the user was notified about."""
    _lifted.depth = getattr(_lifted, "depth", 0) + 1
    try:
        yield
    finally:
        _lifted.depth -= 1


def refusals() -> tuple[str, ...]:
    """The connections that were refused in this process, each once, in words."""
    return tuple(_refused)


def cause(error: BaseException | None) -> EndpointError | None:
    """The EndpointError, such as the guard's refusal, that caused a library's exception; None without one."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, EndpointError):
            return error
        seen.add(id(error))
        reason = getattr(error, "reason", None)  # where urllib stores the cause
        error = reason if isinstance(reason, BaseException) else error.__cause__ or error.__context__
    return None


def _host_and_port(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return (parts.hostname or "").lower(), parts.port or (443 if parts.scheme == "https" else 80)


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if event not in _TO_AN_ADDRESS and event not in _OF_A_NAME:
        return
    rules = _rules
    if rules is None or getattr(_lifted, "depth", 0) > 0:
        return
    if event in _TO_AN_ADDRESS:
        _check_address(rules, int(arguments[0].family), arguments[1])
    else:
        _check_name(rules, arguments[0], arguments[1] if event == "socket.getaddrinfo" else None)


def _check_address(rules: _Rules, family: int, address: Any) -> None:
    """Raises OutboundRefused. Without an address the socket is connected already, which was checked then."""
    if address is None or family in _LOCAL_FAMILIES:
        return
    if family not in _INTERNET or not isinstance(address, tuple) or len(address) < 2:
        _refuse(f"{address!r} (address family {family})")
    host, port = _text(address[0]), address[1]
    if not (
        is_loopback(host) or (host.lower(), port) in rules.hosts or (plain_address(host), port) in _addresses(rules)
    ):
        _refuse(f"{host} port {port}")


def _check_name(rules: _Rules, asked: Any, port: Any) -> None:
    """Raises OutboundRefused. An empty name means this machine, as servers look it up."""
    host = _text(asked[0] if isinstance(asked, tuple) and asked else asked)
    if not host or is_loopback(host) or host.lower() in dict(rules.hosts):
        return
    if plain_address(host) not in dict(_addresses(rules)):
        _refuse(f"{host} port {port}" if port else host)


def _addresses(rules: _Rules) -> set[tuple[IPv4Address | IPv6Address, int]]:
    """The current addresses of the listed hosts. Names are looked up each time: an address can change during a run."""
    found: set[tuple[IPv4Address | IPv6Address, int]] = set()
    for host, port in rules.hosts:
        if (known := plain_address(host)) is not None:
            found.add((known, port))
            continue
        with contextlib.suppress(OSError):
            for *_, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
                if (known := plain_address(str(address[0]))) is not None:
                    found.add((known, port))
    return found


def _text(host: Any) -> str:
    if host is None:
        return ""
    return host.decode("ascii", "replace") if isinstance(host, bytes | bytearray) else str(host)


def _refuse(what: str) -> NoReturn:
    refusal = f"{_caller()} tried to reach {what}, which is neither this machine nor an endpoint in models.toml"
    _refused.setdefault(refusal)
    raise OutboundRefused(
        f"localgif blocked a connection: {refusal}",
        "An endpoint on another machine needs allow_remote = true in its table of models.toml. "
        "offline = false at the top of models.toml turns this guard off.",
    )


def _caller() -> str:
    """The innermost caller outside of Python's own library and HTTP libraries, e.g. "litellm.main, line 7,"."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        module = str(frame.f_globals.get("__name__", "?"))
        root = module.partition(".")[0]
        if module != __name__ and root not in sys.stdlib_module_names and root not in _CARRIERS:
            return f"{module}, line {frame.f_lineno},"
        frame = frame.f_back
    return "a thread of Python's own library"
