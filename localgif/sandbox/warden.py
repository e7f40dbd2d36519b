"""The warden: starts the process of one job, adopts its orphans, and ends everything when the app is gone.

A small process between the app and a job without the keeper (portable.py). It uses portable features only; where the
system lets a process adopt orphans, it does, and reports that. Descriptors: on 0 the app sends one byte when it wants
the job's process reaped, and its end means that the app is gone; 1 takes lines for the app; 3 to 6 are the job's.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
from typing import NoReturn

#: The job's payload, stdout, stderr and ready pipe here -> their numbers in the job's process.
STREAMS = {3: 0, 4: 1, 5: 2, 6: 3}

#: The line that reports that a process below the warden may have ended.
STIRRED = b"stirred\n"


def main() -> NoReturn:
    """Starts `sys.argv[1:]`, and stays until the job is over."""
    os.chdir("/")
    command = sys.argv[1:]
    adopts = _adopt_orphans()
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    moves = [(os.POSIX_SPAWN_DUP2, here, there) for here, there in STREAMS.items()]
    # From the lowest number on, because each target but the last is the source of an earlier move.
    closes = [(os.POSIX_SPAWN_CLOSE, here) for here in STREAMS if here not in STREAMS.values()]
    pid = os.posix_spawn(command[0], command, os.environ, file_actions=[*moves, *closes])
    for descriptor in STREAMS:
        os.close(descriptor)
    code = 1
    try:
        _say(json.dumps({"pid": pid, "adopts": adopts}).encode() + b"\n")
        if _serve(woken):
            _, status, used = os.wait4(pid, 0)
            rss = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
            cpu = used.ru_utime + used.ru_stime
            _reap_the_rest()
            _say(json.dumps({"status": os.waitstatus_to_exitcode(status), "cpu": cpu, "rss": rss}).encode() + b"\n")
            code = 0
    finally:
        if code:
            _end_all(pid, adopts)
        os._exit(code)


def _adopt_orphans() -> bool:
    """Makes orphans below this process its children; False on a system that does not offer that."""
    try:
        from localgif.sandbox import syscalls

        syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
    except (AttributeError, OSError):
        return False
    return True


def _serve(woken: int) -> bool:
    """Reports that a child changed, until the app ends the job (True) or is gone (False)."""
    while True:
        ready = select.select([0, woken], [], [])[0]
        if woken in ready:
            os.read(woken, 4096)
            _say(STIRRED)
        if 0 in ready:
            return bool(os.read(0, 1))


def _say(line: bytes) -> None:
    os.write(1, line)


def _reap_the_rest() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _end_all(pid: int, adopts: bool) -> None:
    """Kills everything that came from the job; no other process will."""
    from localgif.errors import SandboxError
    from localgif.sandbox import watch  # loads psutil, which an orderly end does not need

    mark = f"{watch.KEEPER}={os.environ.get(watch.KEEPER, '')}"

    def strays() -> list[int]:
        found = [child for child in watch.children(os.getpid()) if child != pid]
        return found if adopts else [*found, *watch.relatives(pid, mark)]

    with contextlib.suppress(SandboxError):
        watch.Tree(pid).kill(strays)
    _reap_the_rest()
