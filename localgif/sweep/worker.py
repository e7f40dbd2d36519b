"""What is called on a worker of a cluster: cells are carried out by children of it, and news of them is given out.

Two of these functions are tasks and run in a thread of the worker (`meet`, `carry`); the others are called aside, in
its event loop, and are quick. Nothing here knows Dask. A worker writes in a folder of its own, never in anybody's runs:
what comes of it is fetched by who gave the cell out, so one that was given up can do no harm, however long it goes on.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import secrets
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import localgif
from localgif.run.optimize import versions
from localgif.sweep.parcel import Piece, State, lacking, unpack

#: Who gave a cell out asks for news every second; a worker that hears nothing for so long stops it.
LEASE_SECONDS = 45.0
#: How often a child's silence is interrupted to look whether the cell is still wanted.
_BEAT = 1.0
_STOP_SECONDS = 5.0
_TAIL = 4096


class News(NamedTuple):
    """What became of a cell since the last time."""

    born: str
    """Of this try, so that another one under the same token is not taken for it."""
    number: int
    """To be said back next time: then these pieces have come."""
    pieces: tuple[Piece, ...]
    told: tuple[list[Any], ...]
    """Lines of the child."""


class _Child:
    """A process that carries out one order after another."""

    def __init__(self) -> None:
        self._log: IO[bytes] = tempfile.TemporaryFile(prefix="localgif-child-")  # noqa: SIM115 (closed in `end`)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "localgif.sweep.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,  # a Ctrl-C at the worker's terminal is the worker's business
        )
        self._stopped = False

    def ask(self, order: Mapping[str, Any], told: Callable[[list[Any]], object], beat: Callable[[], object]) -> Any:
        """What the child says at the end; a dictionary with an `error` when it died.

        Args:
            order: As child.py describes them.
            told: Gets each line before.
            beat: Called about every second.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it died; the end of its stdout says so below
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()
        descriptor, rest = self._process.stdout.fileno(), b""
        while True:
            beat()
            if not select.select([descriptor], [], [], _BEAT)[0]:
                continue
            data = os.read(descriptor, 65536)
            if not data:
                return self._death()
            *lines, rest = (rest + data).split(b"\n")
            for line in map(json.loads, lines):
                if line[0] == "end":
                    return line[1]
                told(line)

    def _death(self) -> dict[str, str]:
        code = self._process.wait(_STOP_SECONDS)
        self._log.seek(max(0, self._log.seek(0, os.SEEK_END) - _TAIL))
        words = self._log.read().decode("utf-8", "replace").strip()
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return {"error": f"the process that ran the cell {how}", "code": "", "trace": words}

    def usable(self) -> bool:
        """Whether it takes another order."""
        return not self._stopped and self._process.poll() is None

    def stop(self) -> None:
        """Interrupt what it does, as Ctrl-C would; it ends then."""
        assert self._process.stdin is not None
        if self._stopped:
            return  # a second one would hit what it does at the end
        self._stopped = True
        with contextlib.suppress(OSError, ValueError):
            self._process.stdin.write(b"stop\n")
            self._process.stdin.flush()

    def end(self) -> None:
        """Be rid of it."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._log.close()


class _Attempt:
    """A cell that is carried out here, or was, until it is forgotten."""

    def __init__(self, home: Path, copy: Mapping[str, State]) -> None:
        self.home = home
        self.told: deque[list[Any]] = deque(maxlen=200)
        self.child: _Child | None = None
        self._born = secrets.token_hex(8)
        self._copy = dict(copy)
        self._number = 0
        self._sent: tuple[Piece, ...] = ()
        self._heard = time.monotonic()

    @property
    def lapsed(self) -> bool:
        return time.monotonic() - self._heard > LEASE_SECONDS

    def news(self, acked: int) -> News:
        self._heard = time.monotonic()
        if acked == self._number:
            self._copy.update((piece.path, piece.state) for piece in self._sent)
        self._number += 1
        try:
            self._sent = lacking(self.home, self._copy) if self.home.is_dir() else ()
        except FileNotFoundError:
            self._sent = ()  # a damaged log was set aside at this moment; next time
        told = tuple(self.told.popleft() for _ in range(len(self.told)))
        return News(self._born, self._number, self._sent, told)

    def beat(self) -> None:
        if self.lapsed and self.child is not None:
            self.child.stop()


_attempts: dict[str, _Attempt] = {}
_idle: list[_Child] = []
_lock = threading.Lock()


def identity() -> dict[str, str]:
    """What must be the same on every machine of a sweep: versions, and localgif to the letter."""
    root = Path(localgif.__file__).parent
    source = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        source.update(f"{path.relative_to(root)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return {**versions(), "source": source.hexdigest()[:12]}


def meet(question: Mapping[str, Any]) -> Any:
    """What this worker is, `identity`, and what it `lacks` of the models that are asked for, each with the reason."""
    _quiet()
    with _child() as child:
        return child.ask({"meet": question}, lambda line: None, lambda: None)


def carry(token: str, order: Mapping[str, Any], files: Mapping[str, bytes], scratch: str) -> Any:
    """Carry out a cell; gives back `error`, `code` and `trace`, all empty when the run is done.

    Args:
        token: What the cell is called in `news`, `stop` and `forget`.
        order: As child.py wants it, without the folder.
        files: Of its run folder, when it was begun elsewhere.
        scratch: Where this worker may write.
    """
    for old in [name for name, attempt in list(_attempts.items()) if attempt.lapsed and attempt.child is None]:
        forget(old)
    home = Path(tempfile.mkdtemp(prefix="localgif-cell-", dir=scratch)) / str(order["name"])
    attempt = _attempts[token] = _Attempt(home, unpack(home, files) if files else {})
    with _child() as child:
        attempt.child = child
        try:
            return child.ask({"cell": {**order, "home": str(home)}}, attempt.told.append, attempt.beat)
        finally:
            attempt.child = None


def news(token: str, acked: int) -> News | None:
    """What became of a cell since; None when nothing of that name was begun here.

    Args:
        token: As for `carry`.
        acked: The number of the news that came last, 0 at first.
    """
    attempt = _attempts.get(token)
    return attempt.news(acked) if attempt is not None else None


def stop(token: str) -> None:
    """Interrupt a cell, as Ctrl-C would."""
    attempt = _attempts.get(token)
    if attempt is not None and attempt.child is not None:
        attempt.child.stop()


def forget(token: str) -> None:
    """Remove what is left of a cell."""
    attempt = _attempts.pop(token, None)
    if attempt is not None:
        shutil.rmtree(attempt.home.parent, ignore_errors=True)


def ignore_ctrl_c() -> None:
    """For workers on the terminal of who gives the cells out: Ctrl-C is meant for that one, who tells them to stop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextlib.contextmanager
def _child() -> Iterator[_Child]:
    """A child, used before or new; it is kept for the next order when it lives on."""
    with _lock:
        while _idle and not _idle[-1].usable():
            _idle.pop().end()
        child = _idle.pop() if _idle else _Child()
    try:
        yield child
    except BaseException:
        child.end()
        raise
    if child.usable():
        with _lock:
            _idle.append(child)
    else:
        child.end()


def _quiet() -> None:
    """Dask notes every call aside in the worker's log; one a second says nothing."""
    logger = logging.getLogger("distributed.worker")
    if not any(isinstance(each, _NoCalls) for each in logger.filters):
        logger.addFilter(_NoCalls())


class _NoCalls(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith("Run out-of-band function")
