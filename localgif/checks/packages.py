"""Python and the installed packages against requirements.lock."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Collection, Mapping
from importlib import metadata
from pathlib import Path

from localgif.checks.result import Check

#: The Pythons that requirements.lock was tried with.
TRIED = ((3, 11), (3, 12), (3, 13))
_ENTRY = re.compile(r"^([A-Za-z0-9][\w.-]*)==([^\s;\\]+)[ \t]*(;)?", re.MULTILINE)
_SHOWN = 6


def python(version: tuple[int, int, int], implementation: str, system: str) -> Check:
    """Whether localgif was tried with this Python.

    Args:
        version: As sys.version_info begins.
        implementation: E.g. "cpython".
        system: As platform.system() says.
    """
    words = f"{implementation} {'.'.join(map(str, version))} on {system} {platform.machine()}"
    if implementation != "cpython" or version[:2] < TRIED[0]:
        return Check(name="python", status="FAIL", evidence=words, remedy="use CPython 3.11, 3.12 or 3.13")
    if system != "Linux":
        return Check(
            name="python",
            status="FAIL",
            evidence=f"{words}: the sandbox needs Linux",
            remedy="run localgif on Linux (on Windows: in WSL2)",
        )
    if version[:2] not in TRIED:
        return Check(
            name="python",
            status="WARN",
            evidence=f"{words}, which the locked packages were not tried with",
            remedy="use CPython 3.11, 3.12 or 3.13: LOCALGIF_PYTHON=python3.13 ./scripts/just doctor",
        )
    return Check(name="python", status="PASS", evidence=words)


def this_python() -> Check:
    """The Python that runs this."""
    return python(sys.version_info[:3], sys.implementation.name, platform.system())


def normalised(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_lock(text: str) -> dict[str, dict[str, bool]]:
    """Name -> version -> whether it is for every machine; of some packages there is one version for each Python."""
    locked: dict[str, dict[str, bool]] = {}
    for name, version, marker in _ENTRY.findall(text):
        locked.setdefault(normalised(name), {})[version] = not marker
    return locked


def compare(locked: Mapping[str, Mapping[str, bool]], installed: Mapping[str, str], needed: Collection[str]) -> Check:
    """What is installed against what is locked.

    Args:
        locked: From read_lock.
        installed: Normalised name -> version.
        needed: Names that localgif itself asks for; others may be for other machines or for developers.
    """
    found = {name: installed[name] for name in locked if name in installed}
    other = [
        f"{name} {version} (locked: {' or '.join(locked[name])})"
        for name, version in found.items()
        if version not in locked[name]
    ]
    absent = [name for name in locked if name not in installed and all(locked[name].values())]
    missing = sorted({*needed} - {*installed})
    remedy = "let it be put right: ./scripts/env true (or pip install --require-hashes -r requirements.lock)"
    if missing:
        return Check(name="packages", status="FAIL", evidence=f"not installed: {_some(missing)}", remedy=remedy)
    words = []
    if other:
        words.append(f"{len(other)} of {len(found)} are not as locked: {_some(other)}")
    if absent:
        words.append(f"{len(absent)} that developers or a cluster need are not installed: {_some(absent)}")
    if other:
        return Check(name="packages", status="WARN", evidence="\n".join(words), remedy=remedy)
    words.insert(0, f"{len(found)} packages as requirements.lock has them")
    return Check(name="packages", status="PASS", evidence="; ".join(words))


def these_packages(root: Path | None = None) -> Check:
    """The packages of this environment; skipped where there is no requirements.lock to compare them with.

    Args:
        root: The project's folder; by default the one that holds localgif/.
    """
    lock = (root or Path(__file__).parents[2]) / "requirements.lock"
    try:
        text = lock.read_text(encoding="utf-8")
    except OSError:
        return Check(name="packages", status="SKIP", evidence="localgif was installed without its requirements.lock")
    locked = read_lock(text)
    installed = {}
    for name in locked:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return compare(locked, installed, _needed() & {*locked})


def _needed() -> set[str]:
    """What localgif's own metadata asks for; nothing when it is run from a folder that was never installed."""
    try:
        asked = metadata.requires("localgif") or []
    except metadata.PackageNotFoundError:
        return set()
    names = (re.match(r"[\w.-]+", line) for line in asked if "extra ==" not in line)
    return {normalised(name[0]) for name in names if name}


def _some(names: Collection[str]) -> str:
    shown = list(names)[:_SHOWN]
    rest = len(names) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest else "")
