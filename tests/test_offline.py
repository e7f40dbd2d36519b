"""localgif stays offline: addresses, the environment of libraries, and the guard, also inside other libraries.

`sys.audit` notifies all hooks of the interpreter about a connection without making one. Most tests use it, and no
test sends a packet to another machine.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import pwd
import shutil
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from localgif import offline
from localgif.endpoint.clients import Animator, reflector_arguments
from localgif.errors import ConfigError, EndpointError, OutboundRefused
from localgif.models.find import places_for
from localgif.offline import (
    is_here,
    is_loopback,
    ollama_address,
    ollama_url,
    pin_environment,
    scheduler_url,
    server_url,
    without_secret,
)
from localgif.records import Limits, Verdict
from localgif.sandbox import jobs
from localgif.sandbox.runner import run_program
from tests.support.kit import model
from tests.support.tracing import HOSTILE, ROOT
from tests.support.weights import reply, serving

#: An address reserved for documentation.
ELSEWHERE = "192.0.2.1"

V4 = st.ip_addresses(v=4)
FAR_V4 = V4.filter(lambda address: not address.is_loopback)
FAR_V6: st.SearchStrategy[ipaddress.IPv6Address] = st.builds(ipaddress.IPv6Address, st.integers(0, 2**128 - 1)).filter(
    lambda address: not address.is_loopback and not address.ipv4_mapped
)
PORTS = st.integers(1, 65535)
LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
NAMES = st.lists(LABEL, min_size=1, max_size=4).map(".".join).filter(lambda name: not is_loopback(name))


# --- addresses -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://127.0.0.1:11434", True),
        ("http://localhost:8000/v1", True),
        ("http://[::1]:80", True),
        ("http://127.9.9.9", True),
        ("http://0.0.0.0:11434", False),
        ("http://gpu-box:11434", False),
        ("http://192.168.1.5:11434", False),
        ("http://2130706433", False),
        ("http://localhost.example.org", False),
        ("http://127.0.0.1@192.0.2.1/", False),
    ],
)
def test_an_address_is_here_or_elsewhere(url: str, here: bool) -> None:
    assert is_here(url) is here


@pytest.mark.parametrize(
    ("url", "openai", "address"),
    [
        ("http://127.0.0.1:11434/", False, "http://127.0.0.1:11434"),
        ("https://gpu-box", False, "https://gpu-box"),
        ("http://127.0.0.1:11434/v1", False, "must have no path"),
        ("http://127.0.0.1:8000", True, "http://127.0.0.1:8000/v1"),
        ("http://127.0.0.1:8000/api/v1/", True, "http://127.0.0.1:8000/api/v1"),
        ("http://127.0.0.1:8000/models", True, "must end with /v1"),
        ("http://127.0.0.1:8000/v1?key=x", True, "must end with /v1"),
        ("localhost:11434", False, "must be a URL such as"),
        ("http://127.0.0.1:port", False, "must be a URL such as"),
        ("http://[::1", True, "must be a URL such as"),
        (11434, False, "must be an address in quotes"),
    ],
)
def test_an_address_of_models_toml_is_checked(url: object, openai: bool, address: str) -> None:
    if address.startswith("http"):
        assert server_url(url, openai) == address
        return
    with pytest.raises(ValueError, match=address):
        server_url(url, openai)


@pytest.mark.parametrize("openai", [False, True])
def test_an_address_with_a_password_is_refused_without_showing_it(openai: bool) -> None:
    for url in ("http://me:secret@host:1", "http://secret@host/v1", "http://127.0.0.1:8000/v1?user=a@secret"):
        with pytest.raises(ValueError, match=r"must not contain a user or a password.*api_key_env") as caught:
            server_url(url, openai)
        assert "secret" not in str(caught.value)
    assert without_secret("http://me:secret@host:1/v1 asked") == "http://***@host:1/v1 asked"


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:80", "http://127.0.0.1:80"),
        (":8080", "http://127.0.0.1:8080"),
        ("gpu-box", "http://gpu-box:11434"),
        ("http://gpu-box", "http://gpu-box:80"),
        ("https://gpu-box", "https://gpu-box:443"),
        ("https://gpu-box:7/path", "https://gpu-box:7"),
        ("[::]:8080", "http://[::1]:8080"),
        ("::1", "http://[::1]:11434"),
        ("[fe80::2]", "http://[fe80::2]:11434"),
        (" 'gpu-box:99999' ", "http://gpu-box:11434"),
        ("", "http://127.0.0.1:11434"),
    ],
)
def test_ollama_host_means_what_it_means_to_ollama(value: str, address: str) -> None:
    assert ollama_address(value) == address


@given(st.text(max_size=30))
def test_whatever_ollama_host_holds_becomes_an_address(value: str) -> None:
    address = ollama_address(value)
    assert address.startswith(("http://", "https://")) and 0 <= int(address.rpartition(":")[2]) < 65536


def test_what_is_pinned_for_libraries_is_not_what_the_user_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:5")
    assert ollama_url() == "http://127.0.0.1:5"
    for name in ("OLLAMA_API_BASE", "HTTP_PROXY"):
        monkeypatch.setenv(name, "")  # so that monkeypatch restores it
    pin_environment("http://127.0.0.1:6")
    assert os.environ["OLLAMA_HOST"] == "http://127.0.0.1:6"
    assert ollama_url() != "http://127.0.0.1:6"


@pytest.mark.parametrize(
    "url", ["http://a:1", "tcp://a", "tcp://:8786", "tcp://a:0", "tcp://a:1/x", "tls://a:1?b=c", "a:1"]
)
def test_other_addresses_are_not_schedulers(url: str) -> None:
    assert scheduler_url("tls://gpu-box:8786/") == "tls://gpu-box:8786"
    with pytest.raises(ValueError, match="must be a URL such as tcp://gpu-box:8786"):
        scheduler_url(url)


# --- environment -----------------------------------------------------------------------------------------------------

OURS = "http://127.0.0.1:11434"


def test_pinning_twice_changes_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in HOSTILE.items():
        monkeypatch.setenv(name, value)
    offline.pin_environment(OURS)
    once = dict(os.environ)
    offline.pin_environment(OURS)
    assert dict(os.environ) == once
    assert once["OLLAMA_HOST"] == once["OLLAMA_API_BASE"] == OURS
    assert once["LITELLM_LOCAL_MODEL_COST_MAP"] == "True", 'litellm takes no other word for it, "1" neither'
    assert not [name for name in once if name.lower().endswith("_proxy") and name != "USE_LITELLM_PROXY"]
    for name in ("LANGSMITH_TRACING", "LANGSMITH_TRACING_V2", "LANGCHAIN_TRACING_V2"):
        assert once[name] == "false", "any one of them is enough to trace"
    assert "LANGCHAIN_TRACING" not in once and "LANGCHAIN_HANDLER" not in once


#: Variables that a shell in Jupyter, a container or a cluster may set, and variables that break some library.
BROKEN = {
    **dict.fromkeys(("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "SSLKEYLOGFILE"), "/gone/x"),
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "MATPLOTLIBRC": "/gone",
    "MPLCONFIGDIR": "/gone",
    "PYTHONWARNINGS": "error",
    "PYTHONIOENCODING": "ascii",
    "PYTHONOPTIMIZE": "2",
    "LC_ALL": "C",
    "COLUMNS": "0",
    "TERM": "none",
    "FORCE_COLOR": "1",
    "TMPDIR": "/gone",
    "OMP_NUM_THREADS": "x",
    "LITELLM_LOG": "x",
}


@pytest.mark.slow
def test_no_variable_of_the_shell_breaks_a_command(tmp_path: Path) -> None:
    """Files in the current folder have no effect, like variables."""
    shutil.copytree(ROOT / "tests" / "runs" / "v2", tmp_path / "runs" / "v2")
    (tmp_path / "shadow").mkdir()
    (tmp_path / "shadow" / "typer.py").write_text("raise SystemExit(9)")
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nnonsense\n")
    done = subprocess.run(
        [sys.executable, "-m", "localgif", "report", "v2"],
        cwd=tmp_path,
        env={**os.environ, **BROKEN, "PYTHONPATH": str(tmp_path / "shadow"), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (0, "runs/v2/report.html\n"), done.stderr
    assert "Traceback" not in done.stderr and (tmp_path / ".cache" / "localgif" / "matplotlib").is_dir()


def closed(path: Any, **_: Any) -> None:
    raise PermissionError(errno.EACCES, "Permission denied", path)


def test_no_process_of_ours_takes_a_library_from_the_current_folder(tmp_path: Path) -> None:
    """Otherwise a random.py in a stranger's folder would run as the user, outside of the sandbox."""
    for name in ("random", "typer"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(9)")
    code = "from localgif import offline; offline.own_process(); import random, typer"
    began = [sys.executable, "-c", code]  # Python searches the current folder first, as with `python -m localgif`
    for command in (began, [*offline.our_python("localgif"), "--help"]):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr


def test_certificates_that_cannot_be_read_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import certifi

    (tmp_path / "text").write_text("no certificate")
    os.mkfifo(tmp_path / "pipe")
    for value in ("/gone", str(tmp_path / "text"), str(tmp_path / "pipe"), str(tmp_path), f"/{'x' * 300}"):
        monkeypatch.setenv("SSL_CERT_FILE", value)
        assert offline.unusable_certificates() == ("SSL_CERT_FILE",), value
        offline.pin_libraries()
        assert "SSL_CERT_FILE" not in os.environ
    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", closed)  # the folder of another user, as in a shell that sudo left
        for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"):
            patch.setenv(name, "/root/ca.pem")
            assert name in offline.unusable_certificates()
    monkeypatch.setenv("SSL_CERT_FILE", certifi.where())
    monkeypatch.setenv("SSL_CERT_DIR", f"/gone{os.pathsep}{tmp_path}")
    assert offline.unusable_certificates() == ()


def test_our_folder_is_where_the_user_says_or_has_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert offline.cache_folder() == tmp_path / ".cache" / "localgif"
    for value, place in (("~/x", tmp_path / "x"), ("~", tmp_path), ("x", Path.cwd() / "x"), ("/x", Path("/x"))):
        monkeypatch.setenv("LOCALGIF_HOME", value)
        monkeypatch.setenv("OLLAMA_MODELS", value)
        assert offline.weights_environment() == (place, place)
    for value in ("~nobody/x", "/\udcff"):
        monkeypatch.setenv("LOCALGIF_HOME", value)
        with pytest.raises(ConfigError, match="LOCALGIF_HOME = "):
            offline.cache_folder()


@pytest.mark.parametrize("home", [None, "", "relative"])
def test_a_user_without_a_home_has_a_folder_that_is_theirs_alone(
    home: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(_: int) -> None:
        raise KeyError("getpwuid(): uid not found")

    for name in ("HOME", "XDG_CACHE_HOME", "LOCALGIF_HOME"):
        monkeypatch.delenv(name, raising=False)
    if home is not None:
        monkeypatch.setenv("HOME", home)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    uid = 2_000_000_000 + os.getpid()
    monkeypatch.setattr(os, "getuid", lambda: uid)
    folder = Path(f"/var/tmp/localgif-{uid}")
    try:
        with pytest.raises(ConfigError, match="belongs to another user") as caught:
            offline.cache_folder()  # made by another user than its name says
        assert "export LOCALGIF_HOME" in caught.value.remedy
        os.chown(folder, uid, -1)
        assert offline.cache_folder() == folder and folder.stat().st_mode & 0o777 == 0o700
        assert places_for(None, None).cache == folder / "models"
    except PermissionError:
        pytest.skip("only root can give a folder away")
    finally:
        folder.rmdir()


def test_a_display_that_is_gone_is_not_missed_but_a_lost_result_is_told() -> None:
    read, write = os.pipe()
    os.close(read)
    shown = offline.Stream(write, "w")
    assert shown.write(b"progress") == 8 and shown.write(b"more") == 4
    shown.close()
    with offline.Stream(os.open("/dev/full", os.O_WRONLY), "w") as full:
        assert full.write(b"progress") == 8
    code = (
        "import sys\nfrom localgif import offline\noffline.own_process()\n"
        "print('x', file=sys.stderr)\n"
        "try: print('result')\nexcept Exception as error: sys.exit(error.exit_code)\n"
    )
    with Path("/dev/full").open("w") as disk:
        for out, err, status in ((None, disk, 0), (disk, None, 2)):
            done = subprocess.run([sys.executable, "-c", code], stdout=out, stderr=err, cwd=ROOT, check=False)
            assert done.returncode == status


def test_a_parent_that_ignores_the_end_of_its_children_hides_no_failure() -> None:
    """While SIGCHLD is ignored, Python reports success for every child: for a failed pip, for a crashed program."""
    code = (
        "import signal, subprocess, sys\nfrom localgif import offline\n"
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})\n"
        "assert subprocess.run(['false']).returncode == 0\n"
        "offline.own_process()\n"
        "assert not signal.pthread_sigmask(signal.SIG_BLOCK, ())\n"
        "sys.exit(subprocess.run(['false']).returncode)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 1


def test_proxies_stay_until_the_models_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Downloads of weights use them."""
    monkeypatch.setenv("HTTPS_PROXY", "http://192.0.2.1:3128")
    offline.pin_libraries()
    assert os.environ["HTTPS_PROXY"] == "http://192.0.2.1:3128"


# --- the guard -------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _guard() -> Iterator[None]:
    offline.guard()
    yield
    offline.release()


def all_refused(events: dict[str, tuple[Any, ...]]) -> bool:
    """Whether these audit events are refused; all must give the same answer."""
    answers = set()
    for event, arguments in events.items():
        try:
            sys.audit(f"socket.{event}", *arguments)
            answers.add(False)
        except OutboundRefused:
            answers.add(True)
    (answer,) = answers
    return answer


def refused(host: Any, port: int = 80, family: int = socket.AF_INET) -> bool:
    """Whether connections are refused, in all three ways to send."""
    to = (SimpleNamespace(family=family), (host, port, *((0, 0) if family == socket.AF_INET6 else ())))
    return all_refused({"connect": to, "sendto": to, "sendmsg": to})


def look_up_refused(host: Any) -> bool:
    names = {"gethostbyname": (host,), "gethostbyaddr": (host,), "getnameinfo": ((host, 80),)}
    return all_refused({"getaddrinfo": (host, 80, 0, 0, 0), **names})


def spellings(address: ipaddress.IPv4Address) -> list[str]:
    """Other spellings of an IPv4 address that C libraries accept."""
    a, b, c, d = address.packed
    number = int(address)
    return [
        str(number),
        hex(number),
        oct(number).replace("0o", "0"),
        f"{a}.{int.from_bytes([b, c, d], 'big')}",
        f"{a}.{b}.{int.from_bytes([c, d], 'big')}",
        f"0{a:o}.0{b:o}.0{c:o}.0{d:o}",
        f"{a:#x}.{b:#x}.{c:#x}.{d:#x}",
        f" {address}",
        f"{address}.",
    ]


@given(FAR_V4, PORTS)
@example(ipaddress.IPv4Address("0.0.0.0"), 80)
@example(ipaddress.IPv4Address("255.255.255.255"), 80)
@example(ipaddress.IPv4Address("169.254.169.254"), 80)
def test_no_ipv4_address_elsewhere_is_reached_in_any_spelling(address: ipaddress.IPv4Address, port: int) -> None:
    assert refused(str(address), port)
    assert look_up_refused(str(address)) and look_up_refused(str(address).encode())
    mapped = ipaddress.IPv6Address(f"::ffff:{address}")
    for text in (f"::ffff:{address}", str(mapped), mapped.exploded):
        assert refused(text, port, socket.AF_INET6) and look_up_refused(text)
    for text in spellings(address):
        assert refused(text, port) and look_up_refused(text), text


@given(FAR_V6, PORTS)
@example(ipaddress.IPv6Address("::"), 80)
@example(ipaddress.IPv6Address("::7f00:1"), 80)
@example(ipaddress.IPv6Address("64:ff9b::7f00:1"), 80)
@example(ipaddress.IPv6Address("fe80::1"), 80)
def test_no_ipv6_address_elsewhere_is_reached(address: ipaddress.IPv6Address, port: int) -> None:
    assert refused(str(address), port, socket.AF_INET6) and look_up_refused(str(address))
    assert refused(address.exploded, port, socket.AF_INET6)
    assert refused(f"{address}%eth0", port, socket.AF_INET6)


@given(NAMES)
@example("localhost.example.org")
@example("127.0.0.1.example.org")
@example("localhost4")
@example("metadata")
def test_other_names_are_not_looked_up(name: str) -> None:
    assert look_up_refused(name) and look_up_refused(name.encode()) and refused(name)


@given(st.integers(1, 2**24 - 1), PORTS)
def test_loopback_is_reached_at_every_address_and_port(host: int, port: int) -> None:
    address = ipaddress.IPv4Address((127 << 24) + host)
    assert not refused(str(address), port) and not look_up_refused(str(address))
    assert not refused(f"::ffff:{address}", port, socket.AF_INET6)
    # They may be this machine too, but libraries disagree, so they are refused like every unusual spelling.
    for text in spellings(address):
        assert refused(text, port), text


@pytest.mark.parametrize("host", [None, "", b"", "localhost", "LOCALHOST", b"localhost", "::1", "0:0:0:0:0:0:0:1"])
def test_names_of_this_machine_are_looked_up(host: Any) -> None:
    assert not look_up_refused(host)


@given(V4, PORTS, PORTS)
def test_a_listed_address_is_reached_at_its_port_alone(address: ipaddress.IPv4Address, port: int, other: int) -> None:
    offline.guard([f"http://{address}:{port}"])
    assert not refused(str(address), port) and not look_up_refused(str(address))
    assert not refused(f"::ffff:{address}", port, socket.AF_INET6)
    if other != port and not address.is_loopback:
        assert refused(str(address), other)
    assert refused(str(ipaddress.IPv4Address(int(address) ^ 0x40000000)), port) or address.packed[0] in (127, 63)


def test_a_listed_name_is_looked_up_and_reached_where_it_is_now(monkeypatch: pytest.MonkeyPatch) -> None:
    offline.guard(["http://Gpu-Box:11434", "https://[2001:db8::1]/v1"])
    where = "192.0.2.7"

    def known(host: str, port: int, **_: Any) -> list[Any]:
        assert host == "gpu-box", "nothing else is looked up"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (where, port))]

    monkeypatch.setattr(socket, "getaddrinfo", known)
    assert not look_up_refused("gpu-box") and not look_up_refused("GPU-BOX")
    assert not refused("192.0.2.7", 11434) and refused("192.0.2.7", 80) and refused("192.0.2.8", 11434)
    where = "192.0.2.8"
    assert not refused("192.0.2.8", 11434) and refused("192.0.2.7", 11434)
    assert not refused("2001:db8::1", 443, socket.AF_INET6) and refused("2001:db8::1", 80, socket.AF_INET6)


def test_an_unknown_name_allows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    offline.guard(["http://gpu-box:11434"])

    def unknown(*_: Any, **__: Any) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert refused("192.0.2.7", 11434)


def test_other_families_are_refused_and_pipes_are_not() -> None:
    left, right = socket.socketpair()
    with left, right:
        left.sendmsg([b"x"])
        assert right.recv(1) == b"x"
    with pytest.raises(FileNotFoundError), socket.socket(socket.AF_UNIX) as sock:
        sock.connect("/nowhere/at/all")
    with pytest.raises(OutboundRefused, match="address family 40"):
        sys.audit("socket.connect", SimpleNamespace(family=40), (2, 1024))  # AF_VSOCK: to the host of a virtual machine


def test_a_real_connection_is_refused_before_it_is_made_and_its_caller_named() -> None:
    with socket.socket() as sock, pytest.raises(OutboundRefused) as caught:
        sock.settimeout(5)
        sock.connect((ELSEWHERE, 9))
    assert f"{__name__}, line" in caught.value.message and f"{ELSEWHERE} port 9" in caught.value.message
    assert "allow_remote" in caught.value.remedy
    assert caught.value.exit_code == 4 and isinstance(caught.value, OSError)
    assert any(f"{ELSEWHERE} port 9" in line for line in offline.refusals())
    with socket.socket() as sock, pytest.raises(ConnectionRefusedError):
        sock.bind(("127.0.0.1", 0))  # in use, but not listening
        port = sock.getsockname()[1]
        with socket.socket() as other:
            other.connect(("127.0.0.1", port))


def test_a_released_guard_refuses_nothing() -> None:
    offline.release()
    assert not refused(ELSEWHERE) and not look_up_refused("example.org") and offline.may_fetch()


def test_only_the_thread_of_a_download_may_connect() -> None:
    inside, done, answers = threading.Event(), threading.Event(), []

    def elsewhere() -> None:
        inside.wait(60)
        answers.append(refused(ELSEWHERE))
        done.set()

    thread = threading.Thread(target=elsewhere)
    thread.start()
    with offline.lifted():
        with offline.lifted():
            assert not refused(ELSEWHERE)
        inside.set()
        assert done.wait(60)
        assert not refused(ELSEWHERE) and not look_up_refused("example.org")
    thread.join()
    assert answers == [True] and refused(ELSEWHERE)


# --- inside libraries ------------------------------------------------------------------------------------------------


@pytest.fixture
def redirecting() -> Iterator[str]:
    """A server on this machine that redirects every request elsewhere."""
    with serving(lambda request, _: reply(request, 307, Location=f"http://{ELSEWHERE}:9{request.path}")) as server:
        yield server.url("")


def with_urllib(url: str) -> None:
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=45)


def with_httpx(url: str) -> None:
    import httpx

    httpx.get(url, follow_redirects=True, trust_env=False, timeout=45)


def with_aiohttp(url: str) -> None:
    import aiohttp

    async def get() -> None:
        async with aiohttp.ClientSession() as session, session.get(url):
            pass

    # In a separate thread, because a browser test may keep a loop running in this one.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: asyncio.run(get())).result()


@pytest.mark.parametrize("ask", [with_urllib, with_httpx, with_aiohttp])
def test_a_redirect_to_elsewhere_is_refused_in_every_library(ask: Any, redirecting: str) -> None:
    found = None
    try:
        ask(redirecting)
    except Exception as error:  # each library has its own
        found = offline.cause(error)
    assert found is not None and f"{ELSEWHERE} port 9" in found.message
    assert __name__ in found.message or "localgif" in found.message or ask is with_aiohttp


def test_no_client_follows_a_server_elsewhere(redirecting: str) -> None:
    with pytest.raises(OutboundRefused) as caught, Animator(model("animator", redirecting), redirecting) as animator:
        animator.write([("user", "hi")], 1, lambda _: "")
    assert f"{ELSEWHERE} port 9" in caught.value.message
    from localgif.endpoint.clients import Reflector

    reflector = Reflector(model("reflector", redirecting), redirecting)
    with pytest.raises(EndpointError) as wrong:
        reflector.write("hi", 1, lambda _: "", 16)
    assert ELSEWHERE in wrong.value.message or "307" in wrong.value.message
    assert reflector_arguments(reflector.model, redirecting)["api_base"] == redirecting


def test_a_refusal_is_found_in_any_chain_of_exceptions() -> None:
    first = OutboundRefused("no")
    try:
        try:
            raise urllib.error.URLError(first)
        except urllib.error.URLError as error:
            raise RuntimeError("wrapped") from error
    except RuntimeError as error:
        assert offline.cause(error) is first
    assert offline.cause(RuntimeError("alone")) is None
    circle = RuntimeError("one")
    circle.__cause__ = circle
    assert offline.cause(circle) is None and offline.cause(None) is None


def test_programs_run_under_the_guard() -> None:
    jobs.stop()  # a new one is started under the guard
    ran = run_program("def make_gif(path):\n    open(path, 'wb').write(b'no GIF')\n", Limits())
    assert ran.verdict is Verdict.OUTPUT_BAD


# --- in a command ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_library_that_calls_home_is_reported_and_the_command_continues(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    code = (
        "import localgif.store.read as read, urllib.request, sys\n"
        "def home(*a):\n"
        "    try: urllib.request.urlopen('http://192.0.2.1:9/ping', timeout=5)\n"
        "    except OSError: pass\n"
        "    return []\n"
        "read.list_runs = home\n"
        "sys.argv = ['localgif', 'runs']\n"
        "from localgif.__main__ import main; main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout == "no runs under runs\n"
    assert done.stderr.startswith(
        "note: localgif blocked a connection: __main__, line 3, tried to reach 192.0.2.1 port 9"
    )
