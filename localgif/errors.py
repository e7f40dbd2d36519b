"""Every failure that localgif reports, its exit code, and the code that docs/errors.md explains it under.

    LocalGifError                exit 1    a bug, when it is none of the below
    ├─ ConfigError               exit 2    the command line or models.toml is wrong
    ├─ PreflightError            exit 3    nothing was started; the message carries the remedy
    │   ├─ EndpointUnreachable
    │   ├─ ModelMissing
    │   └─ SandboxTooWeak
    ├─ EndpointError             exit 4    the server failed mid-run; what was measured is kept
    │   └─ OutboundRefused                 something wanted to leave this machine (offline.py); an OSError too
    ├─ SandboxError              exit 4    OUR machinery failed; never a score
    └─ RunError                  exit 5    the run folder
        ├─ RunLocked
        ├─ RunMismatch
        └─ RunCorrupt

Each class has a code of its own; an error that needs a remedy of its own names a sharper one where it is raised. What
generated code does wrong is a verdict (data), never one of these.
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable


class LocalGifError(Exception):
    """Base of all; shown to the user as message and remedy, without a traceback.

    Args:
        message: What happened, with the value and the place.
        remedy: What the user can do about it; one or several lines.
        code: A heading of docs/errors.md, when the class's own says too little.
    """

    exit_code = 1
    code: str

    def __init__(self, message: str, remedy: str = "", *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        if code is not None:
            self.code = code

    def __str__(self) -> str:
        return f"{self.message}\n{self.remedy}" if self.remedy else self.message


class ConfigError(LocalGifError):
    """A flag, an environment variable or a line of models.toml cannot be used."""

    exit_code = 2
    code = "E-USAGE"


class PreflightError(LocalGifError):
    """A precondition of the run does not hold; nothing was started."""

    exit_code = 3
    code = "E-PREFLIGHT"


class EndpointUnreachable(PreflightError):
    """No server answers at the endpoint's address, or it could not be started."""

    code = "E-CONN"


class ModelMissing(PreflightError):
    """The weights or the model name are not there."""

    code = "E-MODEL-MISSING"


class SandboxTooWeak(PreflightError):
    """This machine cannot confine programs as far as was asked."""

    code = "E-SANDBOX-LEVEL"


class EndpointError(LocalGifError):
    """The endpoint failed in the middle of a run."""

    exit_code = 4
    code = "E-ENDPOINT"


class OutboundRefused(EndpointError, PermissionError):
    """Something in this process wanted to reach a host that it may not.

    An OSError too, because it comes out of connect() and getaddrinfo(): libraries take it for a network that is not
    there, as they should.
    """

    code = "E-OFFLINE"

    def __init__(self, message: str, remedy: str = "", *, code: str | None = None) -> None:
        super().__init__(message, remedy, code=code)
        self.errno, self.strerror = errno.EACCES, message


class SandboxError(LocalGifError):
    """Our own sandbox machinery failed: says nothing about the program it was running."""

    exit_code = 4
    code = "E-SANDBOX"


class RunError(LocalGifError):
    """Something is wrong with a run folder."""

    exit_code = 5
    code = "E-RUN"


class RunLocked(RunError):
    """Another process is writing this run."""

    code = "E-RUN-LOCKED"


class RunMismatch(RunError):
    """The stored settings differ from the ones asked for."""

    code = "E-RUN-MISMATCH"


class RunCorrupt(RunError):
    """A stored file does not hold what it says it holds."""

    code = "E-RUN-CORRUPT"


#: Exit code of Ctrl-C, as shells expect it (128 + SIGINT).
EXIT_INTERRUPTED = 130


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint for a mistyped name: the nearest known one, or all of them when none is near."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    if close:
        return f'did you mean "{close[0]}"? (known: {", ".join(names)})'
    return f"known: {', '.join(names)}" if names else "none is known"


def quoted(key: str) -> str:
    """A key as it is written in TOML."""
    return key if key.replace("-", "").replace("_", "").isalnum() and key.isascii() else f'"{key}"'
