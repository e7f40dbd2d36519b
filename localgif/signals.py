"""Restores signals that the parent ignored or blocked, so that localgif sees its children end and gets Ctrl-C."""

from __future__ import annotations

import contextlib
import signal

#: While SIGCHLD is ignored, the kernel drops exit codes, and Python reports success for every child. SIGHUP, SIGINT and
#: SIGQUIT are not listed: nohup and a shell's & ignore them on purpose.
_EXPECTED = (signal.SIGCHLD, signal.SIGTERM, signal.SIGALRM)


def restore() -> None:
    """Reset inherited signal settings. Call it before starting children; outside the main thread it does nothing."""
    with contextlib.suppress(ValueError):
        for number in _EXPECTED:
            if signal.getsignal(number) is signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {*_EXPECTED, signal.SIGINT})
