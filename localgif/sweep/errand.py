"""One cell on one worker of a cluster: sent there, its run folder brought home as it grows.

Nothing but what this process takes gets into the sweep's folder. An errand that was given up asks for nothing any more,
so a worker that comes back after it was cut off overwrites nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from localgif.errors import LocalGifError, RunError
from localgif.files import replace_file, take_lock
from localgif.records import RunResult
from localgif.search.progress import Progress, Standing
from localgif.store.read import load_record
from localgif.sweep import worker
from localgif.sweep.carry import Outcome, clear_stillborn
from localgif.sweep.cluster import Cluster, Lost
from localgif.sweep.dispatch import Hand
from localgif.sweep.parcel import Piece, begun, pack, take

#: Between two questions what came of a cell.
BEAT = 1.0
#: A worker that is there but says nothing about its cell for so long is lost all the same.
SILENCE = 60.0


class Errand:
    """A cell that a worker carries out.

    Args:
        cluster: Where the worker is.
        hand: The worker.
        home: Folder of the cell's run.
        order: What worker.carry is asked, without the folder.
        progress: Who is told what the run tells.
    """

    def __init__(self, cluster: Cluster, hand: Hand, home: Path, order: Mapping[str, Any], progress: Progress) -> None:
        self.hand = hand
        self._cluster, self._home, self._order, self._progress = cluster, home, order, progress
        self._token = secrets.token_hex(8)

    async def run(self) -> Outcome | None:
        """Until it is done; None when the worker was lost."""
        try:
            with _held(self._home):
                outcome = await self._fetched()
                return outcome if outcome.error else Outcome(_at_home(self._home))
        except Lost:
            return None
        except LocalGifError as error:
            return Outcome(None, str(error), error.code)
        except OSError as error:
            return Outcome(None, f"{self._home} cannot be written: {error.strerror or error}", "E-RUN")

    async def stop(self) -> None:
        """Have it interrupted, as Ctrl-C does it; `run` then ends soon."""
        with contextlib.suppress(Lost):
            await self._cluster.call(self.hand.address, worker.stop, self._token)

    async def forget(self) -> None:
        """Have the worker remove what is left of it."""
        with contextlib.suppress(Lost):
            await self._cluster.call(self.hand.address, worker.forget, self._token)

    async def _fetched(self) -> Outcome:
        address, name = self.hand.address, f"{self._home.parent.name}/{self._home.name}-{self._token}"
        files = await asyncio.to_thread(pack, self._home)
        work = self._cluster.task(address, name, worker.carry, self._token, self._order, files, self.hand.scratch)
        ending = asyncio.create_task(work)
        born, acked, heard = "", 0, time.monotonic()
        try:
            while True:
                await asyncio.wait({ending}, timeout=BEAT)
                over = ending.done()
                try:
                    news = await self._cluster.call(address, worker.news, self._token, acked)
                except Lost:
                    if over or time.monotonic() - heard > SILENCE:
                        raise
                    continue
                heard = time.monotonic()
                if news is not None:
                    if born not in ("", news.born):
                        raise Lost("another worker is at that address")
                    born, acked = news.born, news.number
                    await self._bring(news.pieces)
                    _tell(self._progress, news.told)
                if over:
                    said = ending.result()
                    if news is None:
                        raise Lost("what it did is not there any more")
                    return Outcome(None, said["error"], said["code"], said["trace"])
        finally:
            ending.cancel()

    async def _bring(self, pieces: Sequence[Piece]) -> None:
        """Take what came; what was begun is ended, so that nobody writes in the folder when this is given up."""
        writing = asyncio.create_task(asyncio.to_thread(_bring, self._home, pieces))
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            await asyncio.wait({writing})
            raise


@contextlib.contextmanager
def _held(home: Path) -> Iterator[None]:
    """The folder of a cell, there and locked.

    Raises:
        LocalGifError: somebody else writes in it, or it is no run's.
    """
    if not (home / "run.json").exists():
        clear_stillborn(home)
        home.mkdir()
    lock = take_lock(home)
    try:
        yield
    finally:
        os.close(lock)


def _bring(home: Path, pieces: Sequence[Piece]) -> None:
    if not (home / "run.json").exists() and (first := begun(pieces)) is not None:
        replace_file(home / "run.json", first)
    take(home, pieces)


def _at_home(home: Path) -> RunResult:
    """The result of a run that came back, whose run.json now says where it lies.

    Raises:
        RunError: it came back without its end.
    """
    record = load_record(home)
    if record.status != "done" or record.result is None:
        raise RunError(f"{home} came back without its end", "the same command goes on with it")
    result = record.result.model_copy(update={"folder": str(home)})
    record = record.model_copy(update={"result": result})
    replace_file(home / "run.json", record.model_dump_json(indent=2).encode() + b"\n")
    return result


def _tell(progress: Progress, told: Sequence[Sequence[Any]]) -> None:
    for kind, *rest in told:
        if kind == "activity":
            progress.activity(*rest)
        elif kind == "metric_call":
            number, mean, what, task, standing = rest
            progress.metric_call(number, mean, what, task, Standing(*standing) if standing is not None else None)
