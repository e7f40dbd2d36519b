"""Nothing leaves this machine: checked addresses, the environment that libraries see, the guard on connections."""

from __future__ import annotations

import contextlib
import io
import ipaddress
import os
import re
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

from localgif import signals
from localgif.errors import ConfigError, EndpointError, OutboundRefused

# --- addresses -------------------------------------------------------------------------------------------------------


def server_url(value: object, openai: bool) -> str:
    """The address of a model server: with `/v1` at its end if it is OpenAI-compatible, else without a path.

    Raises:
        ValueError: It is not such an address; the message completes "url ...".
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
    """An address as messages show it: without a user and a password."""
    return re.sub(r"//[^/\s]*@", "//***@", url)


def _parts(url: str, schemes: tuple[str, ...], example: str) -> SplitResult:
    if "@" in url:
        raise ValueError(
            'must hold no user and no password; a server of kind "openai" takes a key from the variable that '
            'api_key_env names, e.g. api_key_env = "MY_KEY"'
        )
    with contextlib.suppress(ValueError):  # a port that is not a number, half an IPv6 address
        parts = urlsplit(url)
        if parts.scheme in schemes and parts.hostname and parts.port != 0:
            return parts
    raise ValueError(f"must be a URL such as {example}")


#: The port of an Ollama, and its address if nothing names another one.
_OLLAMA_PORT = 11434
OLLAMA_URL = f"http://127.0.0.1:{_OLLAMA_PORT}"


def ollama_address(value: str) -> str:
    """The address that a value of OLLAMA_HOST means, by Ollama's own rules.

    Scheme, host and port may each be missing: "", "0.0.0.0", ":8080", "gpu-box", "http://gpu-box". With a scheme the
    port is that of the scheme, without one 11434. A path counts for nothing. An address to listen at on all interfaces
    is asked on this machine.
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

    An IPv4 address inside an IPv6 one counts as the IPv4 address. Other spellings (0x7f000001, 127.1, 0177.0.0.1),
    0.0.0.0 and other names may be this machine too; they count as elsewhere.
    """
    if host.lower() == "localhost":
        return True
    address = plain_address(host)
    return address is not None and address.is_loopback


def plain_address(host: str) -> IPv4Address | IPv6Address | None:
    """A host as an address, with IPv4 taken out of IPv6; None for a name or an unusual spelling of numbers."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


# --- environment -----------------------------------------------------------------------------------------------------

#: The variables of the shell that began this process; `own_process` takes most of them out of the environment.
_AT_START = dict(os.environ)

#: What our processes take over from the shell: the person, the terminal, folders, what the shell wants completed,
#: weights and the address of an Ollama, the way to a package index, certificates, Dask. Anything else could break or
#: redirect a run in Python, TLS, matplotlib, litellm, OpenMP or rich.
_KEPT = re.compile(
    r"HOME|PATH|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_[A-Z]+|TZ|TERM|COLORTERM|NO_COLOR|TMPDIR"
    r"|XDG_(?:CACHE|CONFIG)_HOME|_LOCALGIF_COMPLETE|_TYPER_COMPLETE_\w+|COMP_WORDS|COMP_CWORD"
    r"|LD_LIBRARY_PATH|LOCALGIF_[A-Z]+|OLLAMA_MODELS|OLLAMA_HOST|DASK_\w+|(?:https?|all|no)_proxy|(?:HTTPS?|ALL|NO)_PROXY"
    r"|SSL_CERT_FILE|SSL_CERT_DIR|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE"
    r"|PIP_(?:INDEX_URL|EXTRA_INDEX_URL|FIND_LINKS|NO_INDEX|TRUSTED_HOST|CERT|CLIENT_CERT|PROXY|RETRIES|TIMEOUT"
    r"|DEFAULT_TIMEOUT|CONFIG_FILE|CACHE_DIR|KEYRING_PROVIDER)"
)

#: Each names a file or folders of certificates.
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")

#: Keeps libraries quiet, whatever the user's environment says. Each was measured, or read in the library's source:
#: litellm 1.106 downloads a price list on import unless the first contains the word "True" (others like it belong to
#: parts that localgif does not use); LITELLM_MODE stops its search for a .env file; USE_LITELLM_PROXY would send every
#: request of the reflector to another server. langsmith traces if any one of its four variables says so, and
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

#: Must not be set at all: langchain fails if it sees one of the first two, whatever their value, and litellm looks for
#: tiktoken's files at the third instead of among its own. Python's ssl fails if it cannot open the last.
_UNWANTED = ("LANGCHAIN_TRACING", "LANGCHAIN_HANDLER", "CUSTOM_TIKTOKEN_CACHE_DIR", "SSLKEYLOGFILE")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")


def own_process() -> None:
    """Make this process ours, before it imports a library: no variable counts but those of `_KEPT`, stderr cannot fail,
    missing streams are open, and signals do what Python expects.

    Python reads its own variables (PYTHONWARNINGS, PYTHONPATH, ...) when it begins, so if there is one, this process
    begins again without it.
    """
    here = str(Path(__file__).parents[1])
    theirs = {n for n, value in os.environ.items() if n.startswith("PYTHON") and (n, value) != ("PYTHONPATH", here)}
    if theirs and not sys.flags.ignore_environment and sys.executable:
        kept = {name: value for name, value in os.environ.items() if name not in theirs}
        if here in os.environ.get("PYTHONPATH", "").split(os.pathsep):  # without it there would be no localgif
            kept["PYTHONPATH"] = here
        with contextlib.suppress(OSError):
            os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], kept)
    with contextlib.suppress(OSError):  # `python -m localgif` put the current folder first
        current = str(Path.cwd())
        sys.path[:] = [entry for entry in sys.path if entry == here or entry not in ("", current)]
    signals.restore()
    home = home_folder()
    for name in [name for name in os.environ if not _KEPT.fullmatch(name)]:
        del os.environ[name]
    os.environ.pop("HOME", None)
    if home is not None:
        os.environ["HOME"] = str(home)
    pin_libraries()
    for number, stream in enumerate((sys.stdin, sys.stdout, sys.stderr)):
        if stream is None:  # closed by the parent; the next file would get its number
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
    sys.stdin = sys.stdin or io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)))
    sys.stdout, sys.stderr = _stream(1), _stream(2)


def _stream(number: int) -> io.TextIOWrapper:
    buffer = io.BufferedWriter(Stream(number, "w", closefd=False))
    return io.TextIOWrapper(buffer, errors="backslashreplace", line_buffering=True)


class Stream(io.FileIO):
    """stdout or stderr. If it cannot be written (a full disk, a reader that has left), what is shown is lost and
    nothing else; for stdout that is an error, because it carries the result."""

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
                    "what was done is done; a run's result is in its folder: localgif runs",
                    code="E-FILE",
                ) from None
            return len(data)


#: Finds this very localgif, and everything else where Python does.
_BOOT = (
    "import runpy, sys; module, here = sys.argv.pop(1), sys.argv.pop(1); sys.path.insert(0, here); import localgif; "
    "sys.path.remove(here); sys.path.append(here); runpy.run_module(module, run_name='__main__', alter_sys=True)"
)


def our_python(module: str) -> list[str]:
    """The command that runs a module of ours in a process of its own. `python -m` would look for all modules in the
    current folder first, which may be somebody else's."""
    return [sys.executable, "-P", "-c", _BOOT, module, str(Path(__file__).parents[1])]


def pin_libraries() -> None:
    """Set the variables that keep libraries quiet, before any library is imported; child processes inherit them."""
    os.environ.update(_QUIET)
    for name in (*_UNWANTED, *unusable_certificates()):
        os.environ.pop(name, None)


def unusable_certificates() -> tuple[str, ...]:
    """The variables of the shell that name no certificates; TLS would fail at once in some libraries."""
    return tuple(name for name in _CERTIFICATES if not _has_certificates(name))


def _has_certificates(name: str) -> bool:
    value = os.environ.get(name, _AT_START.get(name))
    if not value:
        return value is None
    if name == "SSL_CERT_DIR":
        return any(os.path.isdir(part) for part in value.split(os.pathsep))  # noqa: PTH112 - Path raises, as below
    if not os.path.isfile(value):  # noqa: PTH113 - Path raises if the name is too long, or in a closed folder
        return name == "REQUESTS_CA_BUNDLE" and os.path.isdir(value)  # noqa: PTH112
    import ssl

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(value)
    except OSError:  # ssl.SSLError is one
        return False
    return True


#: What OLLAMA_HOST was set to here, for libraries; None before.
_pinned: str | None = None


def ollama_url() -> str:
    """The address of the user's Ollama: what OLLAMA_HOST says, or the usual one."""
    said = os.environ.get("OLLAMA_HOST", "")
    said = _AT_START.get("OLLAMA_HOST", "") if said == _pinned else said
    return ollama_address(said) if said.strip() else OLLAMA_URL


def pin_environment(url: str) -> None:
    """Set the variables that keep litellm and langchain at our endpoint, before they are used.

    litellm sends side requests to OLLAMA_API_BASE whatever address it is given; ollama's client reads OLLAMA_HOST.
    """
    global _pinned
    pin_clients()
    os.environ.update(OLLAMA_API_BASE=url, OLLAMA_HOST=url)
    _pinned = url


def pin_clients() -> None:
    """Prepare the environment for the import of litellm and langchain.

    Proxies are removed: models are never asked through one, and httpx without socksio fails if ALL_PROXY names a SOCKS
    proxy. All downloads are done by then.
    """
    pin_libraries()
    for name in [name for name in os.environ if name.lower() in _PROXIES]:
        del os.environ[name]


def pin_matplotlib() -> None:
    """Make matplotlib keep its list of fonts in our cache, not in ~/.config; call it before matplotlib is imported."""
    folder = cache_folder() / "matplotlib"
    with contextlib.suppress(OSError):  # matplotlib then takes a temporary folder
        folder.mkdir(parents=True, exist_ok=True)
        os.environ["MPLCONFIGDIR"] = str(folder)


def cache_folder() -> Path:
    """Our folder for weights and what only costs time to find out again: LOCALGIF_HOME, or below the user's cache, or,
    for a user without a home folder, /var/tmp.

    Raises:
        ConfigError: LOCALGIF_HOME cannot be a folder, or the one in /var/tmp is somebody else's.
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
            f"this user has no home folder, and {folder} is not theirs", "name a folder: export LOCALGIF_HOME=/..."
        )
    return folder


def config_folder() -> Path | None:
    """The user's folder for localgif's settings, which need not exist; None for a user without a home folder."""
    if home_folder() is None and not os.environ.get("XDG_CONFIG_HOME", "").startswith("/"):
        return None
    import platformdirs

    return Path(platformdirs.user_config_dir("localgif")).absolute()


def named_models_file() -> Path | None:
    """The models.toml that the variable LOCALGIF_MODELS names; None if it is not set."""
    named = os.environ.get("LOCALGIF_MODELS")
    return _path("LOCALGIF_MODELS", named) if named else None


def called_as() -> str:
    """How the user calls localgif, for the commands that messages suggest: "localgif", "python -m localgif", or the
    `just` that a recipe of ours was called with (scripts/just and the Justfile set LOCALGIF_CALLED)."""
    if just := os.environ.get("LOCALGIF_CALLED"):
        return just
    return "python -m localgif" if Path(sys.argv[0]).parts[-2:] == ("localgif", "__main__.py") else "localgif"


def home_folder() -> Path | None:
    """The user's home; None for one without HOME and without an entry in passwd."""
    home = Path(os.environ.get("HOME", ""))
    if home.is_absolute():
        return home
    import pwd

    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        return None


def _path(name: str, value: str) -> Path:
    """A file or folder that a variable names; "~" is the user's home."""
    if value == "~" or value.startswith("~/"):
        home = home_folder()
        value = str(home or "~") + value[1:]
    try:
        value.encode()
    except UnicodeEncodeError:
        value = "~"
    if value.startswith("~"):
        raise ConfigError(f"{name} = {os.environ.get(name)!a} cannot be a path", "name it with its whole path")
    return Path(value).absolute()


def keep_keys(names: Iterable[str]) -> None:
    """Give the processes that we start the variables with keys of servers back."""
    os.environ.update({name: _AT_START[name] for name in names if name in _AT_START})


def variable_names() -> frozenset[str]:
    """The names of the variables that the user's shell exported, without their values."""
    return frozenset(_AT_START)


def weights_environment() -> tuple[Path, Path | None]:
    """Our folder for weights, and the folder of an Ollama that OLLAMA_MODELS names."""
    ollama = os.environ.get("OLLAMA_MODELS")
    return cache_folder(), _path("OLLAMA_MODELS", ollama) if ollama else None


def api_key(name: str | None, where: str) -> str:
    """The key of a server from the variable `name`, or "" if no variable is named.

    Raises:
        ConfigError: The variable that `where` (a key of models.toml) names is not set.
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

#: Audit events with a host first, or with (host, port).
_OF_A_NAME = frozenset({"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo"})

#: These stay on the machine: pipes between processes, and questions to the kernel.
_LOCAL_FAMILIES = frozenset({int(socket.AF_UNIX), int(getattr(socket, "AF_NETLINK", -1))})
_INTERNET = frozenset({int(socket.AF_INET), int(socket.AF_INET6)})

#: HTTP libraries connect on behalf of their caller, so the message names the caller instead.
_CARRIERS = {"httpx", "httpcore", "httpx2", "httpcore2", "anyio", "aiohttp", "aiohappyeyeballs", "urllib3", "requests"}


@dataclass(frozen=True)
class _Rules:
    """What may be reached besides loopback: hosts in lower case with their ports, and the sources of weights."""

    hosts: frozenset[tuple[str, int]]
    fetch: bool


_rules: _Rules | None = None
_installed = False
_lifted = threading.local()
_refused: dict[str, None] = {}


def guard(urls: Iterable[str] = (), *, fetch: bool = True) -> None:
    """Refuse all connections except to loopback and to the hosts of `urls` at their ports.

    A later call replaces the list; `release` ends it. The audit hook itself stays for the life of the process, because
    Python cannot remove one; it costs 0.1 µs per audit event. `fetch` says whether weights may be downloaded.
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
    """Let only this thread connect anywhere inside the block: for a download that the user was notified of."""
    _lifted.depth = getattr(_lifted, "depth", 0) + 1
    try:
        yield
    finally:
        _lifted.depth -= 1


def refusals() -> tuple[str, ...]:
    """What this process was refused, each once, in words."""
    return tuple(_refused)


def cause(error: BaseException | None) -> EndpointError | None:
    """The guard's refusal, or another error of ours, behind a library's exception."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, EndpointError):
            return error
        seen.add(id(error))
        reason = getattr(error, "reason", None)  # urllib stores the cause here
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
    """Raises OutboundRefused. Without an address the socket is connected, and that was checked."""
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
    """Raises OutboundRefused. Without a name a server asks for this machine's own addresses."""
    host = _text(asked[0] if isinstance(asked, tuple) and asked else asked)
    if not host or is_loopback(host) or host.lower() in dict(rules.hosts):
        return
    if plain_address(host) not in dict(_addresses(rules)):
        _refuse(f"{host} port {port}" if port else host)


def _addresses(rules: _Rules) -> set[tuple[IPv4Address | IPv6Address, int]]:
    """The current addresses of the listed hosts. Looks names up each time: an address may change during a long run."""
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
    refusal = f"{_caller()} wanted to reach {what}, which is neither this machine nor an endpoint of models.toml"
    _refused.setdefault(refusal)
    raise OutboundRefused(
        f"nothing leaves this machine: {refusal}",
        "An endpoint elsewhere needs allow_remote = true in its table of models.toml. "
        "offline = false at the top of models.toml ends this guard.",
    )


def _caller() -> str:
    """The nearest code that is neither Python's own nor an HTTP library: "litellm.main, line 7,"."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        module = str(frame.f_globals.get("__name__", "?"))
        root = module.partition(".")[0]
        if module != __name__ and root not in sys.stdlib_module_names and root not in _CARRIERS:
            return f"{module}, line {frame.f_lineno},"
        frame = frame.f_back
    return "a thread of Python's own library"
