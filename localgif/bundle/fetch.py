"""The wheels of a lock, brought by pip into a folder. Nothing is installed or run."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from localgif.bundle.lock import Pin, Target, as_requirements, tags
from localgif.bundle.seal import sha256_of
from localgif.errors import PreflightError
from localgif.models.wheels import last_words


def fetch_wheels(pins: Sequence[Pin], target: Target, glibc: int, folder: Path) -> tuple[Path, ...]:
    """Bring one wheel of each package into `folder`; what is there already, with the right bytes, is not fetched again.

    Files that the lock does not name are removed: a newer lock may have left them.

    Raises:
        PreflightError: pip cannot bring them; its words are in the message.
        OSError: The disk.
    """
    folder.mkdir(exist_ok=True)
    requirements = folder.parent / ".requirements"
    requirements.write_text(as_requirements(pins), "utf-8")
    try:
        _download(requirements, target, glibc, folder)
    finally:
        requirements.unlink()
    wanted = {digest for pin in pins for digest in pin.hashes}
    for path in sorted(folder.iterdir()):
        if sha256_of(path) not in wanted:
            path.unlink()
    wheels = tuple(sorted(folder.glob("*.whl")))
    there = {_package(path) for path in wheels}
    lacking = [f"{pin.name}=={pin.version}" for pin in pins if (pin.name, pin.version) not in there]
    if lacking:
        raise PreflightError(f"pip did not bring {', '.join(lacking)}", "run the command again", code="E-BUNDLE-FETCH")
    return wheels


def _download(requirements: Path, target: Target, glibc: int, folder: Path) -> None:
    """Raises PreflightError."""
    # -P: a pip.py in the current folder is not pip.
    command = [sys.executable, "-P", "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
    command += ["--require-hashes", "--no-deps", "--only-binary=:all:", "--progress-bar", "off"]
    command += ["--implementation", "cp", "--python-version", target.python]
    command += [word for tag in tags(target, glibc) for word in ("--platform", tag)]
    done = subprocess.run(
        [*command, "-d", str(folder), "-r", str(requirements)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    if done.returncode:
        raise PreflightError(
            f"the wheels for CPython {target.python} on {target.machine} cannot be had: "
            f"{last_words(done.stderr) or f'pip ended with status {done.returncode}'}",
            "A bundle is made on a machine that reaches a package index (pip config list, PIP_INDEX_URL). What was "
            "fetched is kept: the same command goes on there.",
            code="E-BUNDLE-FETCH",
        )


def _package(wheel: Path) -> tuple[str, str]:
    """Name and version in a wheel's file name, spelled as in a lock."""
    name, version = wheel.name.split("-")[:2]
    return re.sub(r"[-_.]+", "-", name).lower(), version
