"""A sweep on a cluster: gives cells to workers, brings their run folders home as they grow, goes on when one is lost.

Only this process writes in the sweep's folder. It asks each worker every second what came of its cell, and holds the
lock of the cell's folder meanwhile, so `localgif watch` and `show` see it as a run like any other. When a worker is
gone, what came back goes along to the next one; what the lost one still does or says is asked for by nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
import time
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

from localgif.errors import ConfigError, PreflightError
from localgif.models.toml import ModelsFile
from localgif.run.resume import differences
from localgif.settings import ModelSettings
from localgif.sweep import worker
from localgif.sweep.carry import Outcome
from localgif.sweep.cells import CellEnd, Kept, Watch, end_of, is_done, known_end, opened
from localgif.sweep.cluster import SCHEDULER_SECONDS, Cluster, Lost, Seen, Unreachable, connected, local_workers
from localgif.sweep.dispatch import Board, Hand, Need
from localgif.sweep.errand import Errand
from localgif.sweep.plan import Cell, Plan

#: Between two looks at who is there.
BEAT = 1.0
#: So long others may still come when nobody who is there can have a cell.
GRACE = 15.0
#: Between two looks at a worker that lacks something.
AGAIN = 30.0
#: For cells to end after Ctrl-C.
STOP_SECONDS = 15.0


def run_on_cluster(
    plan: Plan,
    models: ModelsFile,
    runs_dir: Path,
    cells: Sequence[Cell],
    watch: Watch,
    scheduler: str,
    minutes: float | None = None,
) -> dict[str, Any]:
    """As execute.run_sweep, with the cells on the workers of a Dask cluster.

    Args:
        scheduler: Address of a scheduler of Dask, or "local:N" for N workers on this machine.

    Raises:
        ConfigError: `scheduler` is neither, or N embedded engines would share this machine.
        PreflightError: no Dask, no scheduler, or no worker that can have a cell.
        EndpointError: the scheduler was lost in the middle.
        KeyboardInterrupt: Ctrl-C or SIGTERM; the cells were told to stop, and what they had done came back.
        LocalGifError: as run_sweep.
    """
    count = local_workers(scheduler)
    if count is not None and count > 1 and all(_need(cell).embedded for cell in cells):
        raise ConfigError(
            f"--scheduler {scheduler} would start the embedded engine {count} times on this machine; one takes all "
            "cores",
            "leave --scheduler out; or give the workers servers of their own under [workers] of the sweep's file "
            "(docs/scale.md)",
        )
    deadline = None if minutes is None else time.monotonic() + 60 * minutes
    with opened(plan, runs_dir, cells) as kept:
        try:
            return asyncio.run(_conduct(plan, models, kept, cells, watch, scheduler, deadline))
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None


async def _conduct(
    plan: Plan,
    models: ModelsFile,
    kept: Kept,
    cells: Sequence[Cell],
    watch: Watch,
    scheduler: str,
    deadline: float | None,
) -> dict[str, Any]:
    loop, me = asyncio.get_running_loop(), asyncio.current_task()
    assert me is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(ValueError, RuntimeError):  # only the main thread gets signals
            loop.add_signal_handler(number, me.cancel)
    async with connected(scheduler) as cluster:
        conductor = _Conductor(plan, models, kept, cells, watch, cluster, deadline)
        try:
            await conductor.conduct()
        finally:
            await conductor.stop()
        return kept.summary([conductor.ends[cell.name] for cell in cells])


class _Conductor:
    """One call of a sweep."""

    def __init__(
        self,
        plan: Plan,
        models: ModelsFile,
        kept: Kept,
        cells: Sequence[Cell],
        watch: Watch,
        cluster: Cluster,
        deadline: float | None,
    ) -> None:
        self.ends: dict[str, CellEnd] = {}
        self._plan, self._models, self._kept, self._watch = plan, models, kept, watch
        self._cluster, self._deadline = cluster, deadline
        self._cells = {cell.name: cell for cell in cells}
        self._numbers = {cell.name: number for number, cell in enumerate(cells, 1)}
        known = [cell for cell in cells if is_done(kept.folder / cell.name)]
        self._board = Board({cell.name: _need(cell) for cell in cells if cell not in known})
        self._asked = {_key(m): m for cell in cells for m in (cell.settings.animator, cell.settings.reflector)}
        self._errands: dict[str, Errand] = {}
        self._attempts: dict[asyncio.Task[Outcome | None], str] = {}
        self._began: dict[str, float] = {}
        self._started = False
        self._identity = worker.identity()
        self._meetings: dict[str, asyncio.Task[None]] = {}
        self._met: dict[str, float] = {}
        self._asides: set[asyncio.Task[Any]] = set()
        self._told: asyncio.Queue[CellEnd] = asyncio.Queue()
        self._changed = self._seen = time.monotonic()
        self._teller = asyncio.create_task(self._tell())
        for cell in known:
            self._ended(known_end(cell, kept.folder / cell.name))

    async def conduct(self) -> None:
        """Until every cell has an end."""
        waits = False
        while True:
            await self._look()
            if not self._late:
                while (given := self._board.give()) is not None:
                    self._begin(*given)
            if not self._board.running and (self._late or not self._board.waiting):
                break
            if not waits and not self._board.hands and not self._meetings:
                waits = True
                self._watch.note(f"waiting for workers at {self._cluster.where}")
            self._give_up()
            busy: list[asyncio.Task[Any]] = [*self._attempts, *self._meetings.values()]
            if busy:
                await asyncio.wait(busy, timeout=BEAT, return_when=asyncio.FIRST_COMPLETED)
            else:
                await asyncio.sleep(BEAT)
            self._settle()
        for name in self._board.waiting:
            self.ends.setdefault(name, CellEnd(self._cells[name], "left", 0.0, None, ""))
        joined = asyncio.create_task(self._told.join())
        await asyncio.wait((joined, self._teller), return_when=asyncio.FIRST_COMPLETED)
        joined.cancel()
        if self._teller.done():
            self._teller.result()

    async def stop(self) -> None:
        """End what still runs: cells are interrupted, as Ctrl-C does it, and what they leave is brought home."""
        if self._attempts:
            calls = [errand.stop() for errand in self._errands.values()]
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_SECONDS):
                    await asyncio.gather(*calls, return_exceptions=True)
                    await asyncio.wait(self._attempts)
        left = [*self._attempts, *self._meetings.values(), self._teller]
        for each in left:
            each.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await asyncio.gather(*left, *self._asides, return_exceptions=True)

    @property
    def _late(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline

    # --- who is there -------------------------------------------------------------------------------------------------

    async def _look(self) -> None:
        now = time.monotonic()
        try:
            seen = await self._cluster.workers()
        except Unreachable:
            if now - self._seen > SCHEDULER_SECONDS:
                raise self._cluster.gone() from None
            return
        self._seen = now
        for address in [*self._board.hands, *self._meetings]:
            if address not in seen:
                self._gone(address)
        for address, one in seen.items():
            hand = self._board.hands.get(address)
            due = hand is None or hand.doubted or (hand.lacks and now - self._met[address] > AGAIN)
            if due and address not in self._meetings:
                self._meetings[address] = asyncio.create_task(self._meet(one, hand))

    def _gone(self, address: str) -> None:
        self._changed = time.monotonic()
        if (meeting := self._meetings.pop(address, None)) is not None:
            meeting.cancel()
        hand = self._board.hands.get(address)
        cells = self._board.leaves(address)
        for task, name in self._attempts.items():
            if name in cells:
                task.cancel()
        if hand is not None:
            went = f"; {', '.join(cells)} will go on from what came back" if cells else ""
            self._watch.note(f"worker {hand.name} at {address} is gone{went}")

    async def _meet(self, one: Seen, before: Hand | None) -> None:
        """Ask a worker what it is and what it has; it gets no cell before."""
        question = {**self._source(one.name), "models": {k: m.model_dump(mode="json") for k, m in self._asked.items()}}
        hand = Hand(one.address, one.name, one.host, one.threads, one.scratch)
        try:
            if self._cluster.local:
                await self._cluster.call(one.address, worker.ignore_ctrl_c)
            met = await self._cluster.task(one.address, f"meet-{secrets.token_hex(8)}", worker.meet, question)
            if "identity" in met:
                differing = [
                    line for line in differences(met["identity"], worker.identity()) if line[:9] != "platform:"
                ]
                said = "; ".join(differing).replace(", now ", " there, here ")
                hand.refused = f"it has another localgif or other packages: {said}" if differing else ""
                hand.lacks = met["lacks"]
            else:
                hand.refused = f"{met['error']}\n{met['trace']}".strip()
        except Lost:
            return  # the next look says whether it is there
        except Exception as error:
            # What Dask itself cannot carry there: mostly a localgif that is missing or another one.
            hand.refused = f"it cannot run this localgif ({type(error).__name__}: {error})"
        finally:
            self._met[one.address] = time.monotonic()
            if self._meetings.get(one.address) is asyncio.current_task():
                del self._meetings[one.address]
        self._board.joins(hand)
        if before is None or (before.refused, before.lacks) != (hand.refused, hand.lacks):
            self._changed = time.monotonic()
            for why in filter(None, (hand.refused, *hand.lacks.values())):
                self._watch.note(f"worker {hand.name} at {hand.address}: {why}")

    def _source(self, name: str) -> dict[str, Any]:
        """models.toml, and which servers a worker asks, for the machine where it is not."""
        return {
            "models_path": str(self._models.path),
            "models_text": self._models.text,
            "at": self._plan.workers.get(name, {}),
        }

    def _give_up(self) -> None:
        """Say so when nobody who is there can have what is left.

        Raises:
            PreflightError: of all cells, before one was begun.
        """
        if self._board.running or self._meetings or not self._board.waiting or not self._board.hands:
            return
        hopeless = {name: why for name in self._board.waiting if (why := self._board.reasons(name))}
        refused = all(hand.refused for hand in self._board.hands.values())
        patience = 0.0 if refused or self._cluster.local else GRACE
        if len(hopeless) < len(self._board.waiting) or time.monotonic() - self._changed < patience:
            return
        if not self._started:
            why = next(iter(hopeless.values()))
            raise PreflightError(
                f"no worker at {self._cluster.where} can take a cell:\n{why}",
                "put that right; workers, scheduler and this command need the same localgif and packages",
                code="E-WORKERS",
            )
        for name, why in hopeless.items():
            self._board.drop(name)
            self._ended(CellEnd(self._cells[name], "failed", 0.0, None, f"no worker can have it:\n{why}"))

    # --- cells --------------------------------------------------------------------------------------------------------

    def _begin(self, name: str, hand: Hand) -> None:
        cell = self._cells[name]
        self._started = True
        self._began.setdefault(name, time.monotonic())
        progress = self._watch.begins(cell, self._numbers[name], len(self._cells))
        order = {
            **self._source(hand.name),
            "name": name,
            "settings": cell.settings.model_dump(mode="json"),
            "tasks": [task.model_dump(mode="json") for task in cell.suite.all],
            "split": cell.suite.split,
        }
        errand = self._errands[name] = Errand(self._cluster, hand, self._kept.folder / name, order, progress)
        self._attempts[asyncio.create_task(errand.run())] = name

    def _settle(self) -> None:
        """What became of the attempts that ended."""
        for task in [task for task in self._attempts if task.done()]:
            name = self._attempts.pop(task)
            errand = self._errands.pop(name)
            outcome = None if task.cancelled() else task.result()
            if outcome is None and self._board.lost(name):
                continue
            if outcome is not None:
                self._aside(errand.forget())
            if outcome is None:
                outcome = Outcome(None, "its worker was lost, time and again: is it what kills them?")
            elif outcome.code == "E-RUN-MISMATCH":
                self._board.unfit(name, outcome.error)
                continue
            elif outcome.error:
                errand.hand.doubted = True
            if outcome.error:
                self._board.failed(name)
            else:
                self._board.done(name)
            seconds = time.monotonic() - self._began.pop(name)
            self._ended(end_of(self._cells[name], outcome, seconds, errand.hand.name))

    def _aside(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._asides.add(task)
        task.add_done_callback(self._asides.discard)

    def _ended(self, end: CellEnd) -> None:
        self.ends[end.cell.name] = end
        self._kept.note(end)
        self._told.put_nowait(end)

    async def _tell(self) -> None:
        """Tell ends one after another: who is told writes reports, and no worker shall wait for these."""
        while True:
            end = await self._told.get()
            try:
                await asyncio.to_thread(self._watch.ended, end, self._numbers[end.cell.name], len(self._cells))
            finally:
                self._told.task_done()


def _need(cell: Cell) -> Need:
    both = cell.settings.animator, cell.settings.reflector
    return Need(frozenset(map(_key, both)), any(model.endpoint.kind == "embedded" for model in both))


def _key(model: ModelSettings) -> str:
    return f"{model.role} {model.alias}"
