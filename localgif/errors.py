"""Every failure that localgif reports, and the exit code of each.

    LocalGifError                exit 1    a bug, when it is none of the below
    ├─ ConfigError               exit 2    the command line or models.toml is wrong
    ├─ PreflightError            exit 3    nothing was started; the message carries the remedy
    │   ├─ EndpointUnreachable
    │   ├─ ModelMissing
    │   └─ SandboxTooWeak
    ├─ EndpointError             exit 4    the server failed mid-run; what was measured is kept
    │   └─ OutboundRefused                 something wanted to leave this machine (outbound.py); an OSError too
    ├─ SandboxError              exit 4    OUR machinery failed; never a score
    └─ RunError                  exit 5    the run folder
        ├─ RunLocked
        ├─ RunMismatch
        └─ RunCorrupt

What generated code does wrong is a verdict (data), never one of these.
"""

import errno


class LocalGifError(Exception):
    """Base of all; shown to the user as message and remedy, without a traceback.

    Args:
        message: What happened, with the value and the place.
        remedy: What the user can do about it; one or several lines.
    """

    exit_code = 1

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}\n{self.remedy}" if self.remedy else self.message


class ConfigError(LocalGifError):
    """A flag, an environment variable or a line of models.toml cannot be used."""

    exit_code = 2


class PreflightError(LocalGifError):
    """A precondition of the run does not hold; nothing was started."""

    exit_code = 3


class EndpointUnreachable(PreflightError):
    """No server answers at the endpoint's address, or it could not be started."""


class ModelMissing(PreflightError):
    """The weights or the model name are not there."""


class SandboxTooWeak(PreflightError):
    """This machine cannot confine programs as far as was asked."""


class EndpointError(LocalGifError):
    """The endpoint failed in the middle of a run."""

    exit_code = 4


class OutboundRefused(EndpointError, PermissionError):
    """Something in this process wanted to reach a host that it may not.

    An OSError too, because it comes out of connect() and getaddrinfo(): libraries take it for a network that is not
    there, as they should.
    """

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message, remedy)
        self.errno, self.strerror = errno.EACCES, message


class SandboxError(LocalGifError):
    """Our own sandbox machinery failed: says nothing about the program it was running."""

    exit_code = 4


class RunError(LocalGifError):
    """Something is wrong with a run folder."""

    exit_code = 5


class RunLocked(RunError):
    """Another process is writing this run."""


class RunMismatch(RunError):
    """The stored settings differ from the ones asked for."""


class RunCorrupt(RunError):
    """A stored file does not hold what it says it holds."""


#: Exit code of Ctrl-C, as shells expect it (128 + SIGINT).
EXIT_INTERRUPTED = 130
