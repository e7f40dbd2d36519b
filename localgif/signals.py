"""Signals that our own parent ignored or blocked: put right, so that the end of our children and Ctrl-C reach us."""

from __future__ import annotations

import contextlib
import signal

#: With SIGCHLD ignored, the kernel forgets how a child ended, and Python takes every child for a success. SIGHUP,
#: SIGINT and SIGQUIT stay: nohup and the & of a shell ignore them on purpose.
_EXPECTED = (signal.SIGCHLD, signal.SIGTERM, signal.SIGALRM)


def restore() -> None:
    """Undo what this process inherited. Called before children are started; only the main thread can do it."""
    with contextlib.suppress(ValueError):
        for number in _EXPECTED:
            if signal.getsignal(number) is signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {*_EXPECTED, signal.SIGINT})
