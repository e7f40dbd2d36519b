"""Runs commands in a namespace without a network, and lists with strace every address that they tried to reach."""

from __future__ import annotations

import ipaddress
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.support.kit import tiny_models
from tests.support.netns import REFUSED

ROOT = Path(__file__).parents[2]
_NETNS = Path(__file__).parent / "netns.py"

#: Short answers: a model of that size writes no program worth having, however long.
MODELS = tiny_models(16)

#: Variables that users have in their shells, with addresses for documentation.
HOSTILE = {
    "HTTP_PROXY": "http://192.0.2.1:3128",
    "HTTPS_PROXY": "http://192.0.2.1:3128",
    "ALL_PROXY": "socks5://192.0.2.1:1080",
    "http_proxy": "http://192.0.2.1:3128",
    "https_proxy": "http://192.0.2.1:3128",
    "all_proxy": "socks5://192.0.2.1:1080",
    "LANGSMITH_TRACING": "true",
    "LANGSMITH_TRACING_V2": "true",
    "LANGCHAIN_TRACING_V2": "true",
    "LANGCHAIN_TRACING": "true",
    "LANGCHAIN_HANDLER": "langchain",
    "LANGSMITH_API_KEY": "ls-secret",
    "LANGSMITH_ENDPOINT": "http://192.0.2.2:1984",
    "LANGSMITH_GATEWAY": "http://192.0.2.2:1985",
    "LANGSMITH_OTEL_ENABLED": "true",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://192.0.2.2:4318",
    "OPENAI_API_KEY": "sk-secret",
    "OPENAI_BASE_URL": "http://192.0.2.3/v1",
    "USE_LITELLM_PROXY": "True",
    "LITELLM_PROXY_API_BASE": "http://192.0.2.4:4000",
    "LITELLM_MODEL_COST_MAP_URL": "http://192.0.2.4/prices.json",
    "LITELLM_LOCAL_MODEL_COST_MAP": "1",
    "LITELLM_MODE": "DEV",
    "OLLAMA_HOST": "http://192.0.2.5:11434",
    "OLLAMA_API_BASE": "http://192.0.2.5:11434",
    "WANDB_API_KEY": "wandb-secret",
    "WANDB_MODE": "online",
    "HF_HUB_OFFLINE": "0",
    "CUSTOM_TIKTOKEN_CACHE_DIR": "/nowhere",
}

_CALL = re.compile(r"^(?:\d+\s+)?(connect|sendto|sendmsg|sendmmsg)\(")
_FAILED_LATER = re.compile(r"^\d+\s+<\.\.\. (?:connect|sendto|sendmsg|sendmmsg) resumed>.* = -1 E\w+")
_FAMILY = re.compile(
    r"\{sa_family=(AF_\w+|0x[0-9a-f]+|\d+)"
    r"(?:, sin_port=htons\((\d+)\), sin_addr=inet_addr\(\"([^\"]+)\"\)"
    r"|, sin6_port=htons\((\d+)\), sin6_flowinfo=[^,]*, inet_pton\(AF_INET6, \"([^\"]+)\""
    r"|, sun_path=(@?\"[^\"]*\"))?"
)


@dataclass(frozen=True)
class Reached:
    """One address that a process connected or sent to, or tried to."""

    family: str
    address: str
    """An IP address, the path of a pipe, or ""."""
    port: int | None
    answered: bool = True
    """False only if the trace says that the call failed."""

    @property
    def here(self) -> bool:
        """Whether it is this machine."""
        if self.family in ("AF_INET", "AF_INET6"):
            address = ipaddress.ip_address(self.address)
            return (getattr(address, "ipv4_mapped", None) or address).is_loopback
        # AF_UNSPEC takes a connection back; AF_NETLINK asks the kernel.
        return self.family in ("AF_UNIX", "AF_NETLINK", "AF_UNSPEC")

    @property
    def looks_up(self) -> bool:
        """Whether it is a DNS server, or a service that asks one.

        The C library also tries nscd for names of users. Without nscd it asks a DNS server, which the trace shows.
        """
        if self.family == "AF_UNIX":
            return self.answered and any(word in self.address for word in ("nscd", "resolve", "avahi"))
        return self.port in (53, 853, 5353)

    def __str__(self) -> str:
        return f"{self.family} {self.address}" + (f" port {self.port}" if self.port is not None else "")


def read_trace(text: str) -> list[Reached]:
    """The addresses in a trace of strace, in order."""
    found: list[Reached] = []
    unfinished: dict[str, int] = {}
    for line in text.splitlines():
        pid = line.partition(" ")[0]
        if _FAILED_LATER.match(line) and pid in unfinished:
            place = unfinished.pop(pid)
            found[place] = replace(found[place], answered=False)
        if not _CALL.match(line):
            continue
        answered = not re.search(r" = -1 E\w+", line)
        for family, port4, address4, port6, address6, path in _FAMILY.findall(line):
            port = port4 or port6
            place = address4 or address6 or path.strip('@"')
            found.append(Reached(family, place, int(port) if port else None, answered))
            if line.endswith("<unfinished ...>"):  # another process called meanwhile; the end of this call follows
                unfinished[pid] = len(found) - 1
    return found


@dataclass(frozen=True)
class Traced:
    """A finished command."""

    command: str
    status: int
    stdout: str
    stderr: str
    seconds: float
    reached: tuple[Reached, ...]

    @property
    def elsewhere(self) -> tuple[Reached, ...]:
        return tuple(place for place in self.reached if not place.here)

    @property
    def look_ups(self) -> tuple[Reached, ...]:
        return tuple(place for place in self.reached if place.looks_up)

    def line(self) -> str:
        """One line about the command."""
        return (
            f"{self.command:<46} exit {self.status}  {self.seconds:5.1f} s  "
            f"{sum(place.here for place in self.reached):4} here  {len(self.elsewhere)} elsewhere  "
            f"{len(self.look_ups)} look-ups"
        )


def summary(places: Iterable[Reached]) -> list[str]:
    """How often a process reached each address."""
    words = Counter(
        f"{p.family} {p.address} (any port)" if p.here and p.port is not None and not p.looks_up else str(p)
        for p in places
    )
    return [f"{count:6} x {word}" for word, count in sorted(words.items())]


def in_namespace(*command: str) -> list[str]:
    """The same command in a namespace where only loopback exists."""
    return [sys.executable, str(_NETNS), *command]


def why_not() -> str:
    """Why commands cannot be watched without a network here; "" if they can."""
    if shutil.which("strace") is None:
        return "strace is not installed (apt-get install strace)"
    tried = subprocess.run(
        in_namespace("strace", "-f", "-qq", "--seccomp-bpf", "-e", "trace=connect", "true"),
        capture_output=True,
        text=True,
        timeout=60,
    )
    if tried.returncode == REFUSED:
        return tried.stderr.strip()
    return "" if tried.returncode == 0 else f"strace does not work here: {tried.stderr.strip()}"


def need_namespace() -> None:
    """Skip the test if it is impossible here."""
    why = why_not()
    if why:
        pytest.skip(why)


def traced(folder: Path, environment: dict[str, str], name: str, *command: str, watched: bool = True) -> Traced:
    """Run a command without a network, and list what it and its children tried to reach; or just run it."""
    trace = folder / ".trace"
    watch = ["strace", "-f", "-qq", "-s", "0", "-e", "signal=none", "--seccomp-bpf", "-o", str(trace)]
    watch += ["-e", "trace=connect,sendto,sendmsg,sendmmsg"]
    started = time.monotonic()
    done = subprocess.run(
        in_namespace(*watch, *command) if watched else command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=1800,
        stdin=subprocess.DEVNULL,
    )
    reached = tuple(read_trace(trace.read_text(errors="replace"))) if watched else ()
    trace.unlink(missing_ok=True)
    return Traced(name, done.returncode, done.stdout, done.stderr, time.monotonic() - started, reached)


def localgif(folder: Path, environment: dict[str, str], *arguments: str, watched: bool = True) -> Traced:
    """The same for a command of localgif."""
    command = (sys.executable, "-W", "ignore", "-m", "localgif", *arguments)
    return traced(folder, environment, " ".join(arguments)[:46], *command, watched=watched)


def home(folder: Path, weights: Path, extra: dict[str, str]) -> dict[str, str]:
    """An environment with an empty home folder, and the weights of this machine."""
    (folder / "models.toml").write_text(MODELS)
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "PYTHONPATH": str(ROOT),
        "LOCALGIF_HOME": str(weights),
        **extra,
    }


def hostile(folder: Path, settings: dict[str, str]) -> dict[str, str]:
    """The variables that users have in their shells, also in a file that some libraries read."""
    (folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    return settings


def leaks(runs: Sequence[Traced]) -> list[str]:
    """Every connection elsewhere and every look-up of a name, in words."""
    return [f"{run.command}: {place}" for run in runs for place in (*run.elsewhere, *run.look_ups)]
