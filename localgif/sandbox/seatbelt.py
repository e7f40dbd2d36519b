"""Seatbelt: macOS's own sandbox. The profile under which a job's process runs, and the command that applies it.

It is untested on a Mac. The probes (probe.py) decide there whether it holds: where a profile is too tight or too loose
for a version of macOS, the level is limits-only.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import localgif
from localgif.sandbox import places

#: Applies a profile to itself, then becomes the program that it is given.
SANDBOX_EXEC = Path("/usr/bin/sandbox-exec")

#: Software of the system and of Homebrew, and fonts. A path that does not exist does no harm.
_SYSTEM = (
    "/System/Library",
    "/System/Cryptexes",
    "/System/Volumes/Preboot/Cryptexes",
    "/Library/Fonts",
    "/opt/homebrew/Cellar",
    "/opt/homebrew/lib",
    "/opt/homebrew/opt",
    "/usr/local/Cellar",
    "/usr/local/opt",
    "/private/etc/localtime",
    "/private/var/db/dyld",
    "/private/var/db/timezone",
)


def command(scratch: Path | None) -> tuple[str, ...]:
    """The command that confines the command after it; `scratch` is the folder that may be written (None: nothing)."""
    return (str(SANDBOX_EXEC), "-p", profile(_executables(), [*map(Path, _SYSTEM), *_ours()], _listed(), scratch))


def profile(executables: Iterable[Path], readable: Iterable[Path], listed: Iterable[Path], scratch: Path | None) -> str:
    """The text of a profile. Of two rules that fit, the later one counts.

    Args:
        executables: The Python that is started. Nothing else can be, and no process can fork.
        readable: Files, and folders with everything in them.
        listed: Folders whose names may be read, but not their files.
        scratch: The folder that may be written; None: nothing may.
    """
    rules = [
        "(version 1)",
        "(deny default)",
        "; what every process of this version of macOS needs to start",
        '(import "system.sb")',
        "(deny network*)",
        "(deny process-fork)",
        _rule("allow process-exec", [f"(literal {_quoted(path)})" for path in executables]),
        "(allow process-info* (target self))",
        "(allow signal (target self))",
        "(allow sysctl-read)",
        "; sizes and times of files are not secret at the other levels either, and Python asks for them on its way",
        "(allow file-read-metadata)",
        _rule("allow file-read*", ['(literal "/")', *(f"(literal {_quoted(path)})" for path in listed)]),
        _rule("allow file-read*", [f"(subpath {_quoted(path)})" for path in readable]),
        '(allow file-read* (literal "/dev/random") (literal "/dev/urandom"))',
        '(allow file-read* file-write-data (literal "/dev/null"))',
    ]
    if scratch is not None:
        rules.append(f"(allow file-read* file-write* (subpath {_quoted(scratch)}))")
    return "\n".join(rules) + "\n"


def _rule(head: str, filters: list[str]) -> str:
    return "\n    ".join([f"({head}", *filters]) + ")"


def _quoted(path: Path) -> str:
    """A path as the kernel sees it, without links, as a string of the profile's language."""
    return '"' + str(path.resolve()).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _executables() -> list[Path]:
    """Our Python, and the program that the Python of a framework becomes when it starts."""
    app = Path(sys.base_prefix) / "Resources/Python.app/Contents/MacOS/Python"
    return [Path(sys.executable), app]


def _ours() -> list[Path]:
    """Python, its packages, and our own code that a job loads."""
    return [*places.readable(), Path(sys.base_prefix), Path(sys.prefix) / "pyvenv.cfg", Path(localgif.__file__).parent]


def _listed() -> list[Path]:
    return [Path(localgif.__file__).parent.parent, Path(sys.prefix), Path(sys.executable).parent]
