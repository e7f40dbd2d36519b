"""requirements.lock as it is needed on another machine: which of its packages, with which hashes, in which wheels."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from packaging.markers import InvalidMarker, Marker

from localgif.errors import ConfigError

MACHINES = ("x86_64", "aarch64")
PYTHONS = ("3.11", "3.12", "3.13")
#: The oldest glibc that wheels are built for (manylinux2014).
OLDEST_GLIBC = 17

_PIN = re.compile(
    r"^(?P<name>[A-Za-z0-9][\w.-]*)==(?P<version>[^\s;\\]+)(?: ; (?P<marker>[^\\\n]*?))? \\\n"
    r"(?P<hashes>(?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Target:
    """The machine that a bundle is for: CPython on Linux with glibc."""

    python: str
    """Major and minor version, e.g. "3.12"."""
    machine: str
    """As `uname -m` says it."""


@dataclass(frozen=True)
class Pin:
    """One package of the lock."""

    name: str
    version: str
    marker: str
    """Where it is needed; "" for everywhere."""
    hashes: frozenset[str]
    """sha256 of each of its files, hex."""


def this_target() -> Target:
    """The machine that we are on."""
    return Target(f"{sys.version_info.major}.{sys.version_info.minor}", platform.machine())


def read_lock(text: str) -> tuple[Pin, ...]:
    """The packages of a lock as uv writes it.

    Raises:
        ConfigError: there is none, or a line that begins a package is not understood.
    """
    pins = tuple(
        Pin(
            match["name"].lower(),
            match["version"],
            (match["marker"] or "").strip(),
            frozenset(re.findall(r"sha256:([0-9a-f]{64})", match["hashes"])),
        )
        for match in _PIN.finditer(text)
    )
    begun = len(re.findall(r"^[A-Za-z0-9]", text, re.MULTILINE))
    if not pins or len(pins) != begun:
        raise ConfigError(
            f"requirements.lock holds {begun} packages, of which {len(pins)} have a version and hashes",
            "make it again: ./scripts/just lock",
            code="E-BUNDLE-LOCK",
        )
    return pins


def needed(pins: Sequence[Pin], target: Target) -> tuple[Pin, ...]:
    """Those that the target needs.

    Raises:
        ConfigError: a marker cannot be read, or two versions of a package are needed at once.
    """
    environment = {
        "implementation_name": "cpython",
        "implementation_version": f"{target.python}.0",
        "os_name": "posix",
        "platform_machine": target.machine,
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "python_full_version": f"{target.python}.0",
        "python_version": target.python,
        "sys_platform": "linux",
    }
    chosen: dict[str, Pin] = {}
    for pin in pins:
        try:
            wanted = not pin.marker or Marker(pin.marker).evaluate(environment)
        except InvalidMarker as error:
            raise ConfigError(
                f"requirements.lock: {pin.name}: {error}", "make it again: ./scripts/just lock", code="E-BUNDLE-LOCK"
            ) from None
        if not wanted:
            continue
        if pin.name in chosen:
            where = f"CPython {target.python} on {target.machine}"
            raise ConfigError(
                f"requirements.lock holds {pin.name} twice for {where}",
                "make it again: scripts/just lock",
                code="E-BUNDLE-LOCK",
            )
        chosen[pin.name] = pin
    return tuple(chosen.values())


def as_requirements(pins: Sequence[Pin]) -> str:
    """The text of a requirements file for pip, without markers: pip would judge them by the Python it runs on."""
    return "".join(
        f"{pin.name}=={pin.version} " + " ".join(f"--hash=sha256:{digest}" for digest in sorted(pin.hashes)) + "\n"
        for pin in pins
    )


def tags(target: Target, glibc: int) -> tuple[str, ...]:
    """Platform tags of wheels that run there, those for the oldest glibc first.

    Args:
        glibc: Minor version of the newest glibc 2 that may be asked for.
    """
    newest = max(glibc, OLDEST_GLIBC)
    named = [f"manylinux2014_{target.machine}"]
    return (*named, *(f"manylinux_2_{minor}_{target.machine}" for minor in range(OLDEST_GLIBC, newest + 1)))


def glibc_here() -> int:
    """Minor version of this machine's glibc 2; the oldest one's where there is none."""
    library, version = platform.libc_ver()
    parts = version.split(".")
    if library != "glibc" or parts[0] != "2" or len(parts) < 2 or not parts[1].isdigit():
        return OLDEST_GLIBC
    return int(parts[1])
