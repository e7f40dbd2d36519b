"""Every failure that localgif reports, with its exit code and its code in docs/errors.md.

    LocalGifError                exit 1    a bug, unless it is one of the following
    ├─ ConfigError               exit 2    the command line or models.toml is wrong
    ├─ PreflightError            exit 3    a precondition fails; nothing was started
    │   ├─ EndpointUnreachable
    │   ├─ ModelMissing
    │   └─ SandboxTooWeak
    ├─ EndpointError             exit 4    the server failed during a run; the run keeps what was measured
    │   └─ OutboundRefused                 something tried to connect to another machine (offline.py); also an OSError
    ├─ SandboxError              exit 4    localgif's own sandbox failed; never a score
    └─ RunError                  exit 5    something is wrong with a run folder
        ├─ RunLocked
        ├─ RunMismatch
        └─ RunCorrupt

Each class has a code. An error whose remedy needs its own entry in docs/errors.md gets a more specific code where it
is raised. A failure of generated code is a verdict (data), never one of these.
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable


class LocalGifError(Exception):
    """Base class. The user sees the message (value and place) and the remedy (what to do), without a traceback."""

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
    """A flag, an environment variable or a line of a file cannot be used."""

    exit_code = 2
    code = "E-USAGE"


class PreflightError(LocalGifError):
    """A precondition of the run fails; nothing was started."""

    exit_code = 3
    code = "E-PREFLIGHT"


class EndpointUnreachable(PreflightError):
    """No server answers at the endpoint's address, or the embedded endpoint could not start."""

    code = "E-CONN"


class ModelMissing(PreflightError):
    """The weights are missing, or the server does not have the model."""

    code = "E-MODEL-MISSING"


class SandboxTooWeak(PreflightError):
    """This machine cannot confine programs at the required level."""

    code = "E-SANDBOX-LEVEL"


class EndpointError(LocalGifError):
    """The endpoint failed during a run."""

    exit_code = 4
    code = "E-ENDPOINT"


class OutboundRefused(EndpointError, PermissionError):
    """Something in this process tried to connect to a host that is not allowed.

    Also an OSError, because connect() and getaddrinfo() raise it: libraries then treat it as a missing network.
    """

    code = "E-OFFLINE"

    def __init__(self, message: str, remedy: str = "", *, code: str | None = None) -> None:
        super().__init__(message, remedy, code=code)
        self.errno, self.strerror = errno.EACCES, message


class SandboxError(LocalGifError):
    """localgif's own sandbox failed. This says nothing about the program in it."""

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
    """The stored settings differ from the requested ones."""

    code = "E-RUN-MISMATCH"


class RunCorrupt(RunError):
    """A stored file cannot be read, or its content does not match its name or format."""

    code = "E-RUN-CORRUPT"


#: Exit code of `localgif draw --must` if the picture fails its check.
EXIT_NOT_RIGHT = 6
#: Exit code of `localgif score --min` if a GIF scores lower.
EXIT_BELOW = 7
#: Exit code after Ctrl-C, as shells expect it (128 + SIGINT).
EXIT_INTERRUPTED = 130


def nearest(word: str, known: Iterable[str]) -> str:
    """A remedy for a mistyped name: the nearest known name, and all known ones."""
    names = sorted(known)
    if close := difflib.get_close_matches(word, names, n=1, cutoff=0.5):
        return f'did you mean "{close[0]}"? (known: {", ".join(names)})'
    return f"known: {', '.join(names)}" if names else "none is known"
