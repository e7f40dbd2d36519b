"""Runs a sweep on a Dask cluster: Dask places, retries and moves cells; each returns its run folder as an archive."""

from __future__ import annotations

import contextlib
import logging
import queue
import secrets
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from localgif.errors import ConfigError, EndpointError, LocalGifError, PreflightError
from localgif.models.toml import ModelsFile
from localgif.search.progress import Progress, Standing
from localgif.sweep import execute, worker
from localgif.sweep.execute import CellEnd, Outcome, SweepFolder, Watch
from localgif.sweep.plan import Cell, Plan

#: How long to wait for an answer of the scheduler.
SCHEDULER_SECONDS = 30.0
#: How long to wait for another worker if none of the present ones can run a remaining cell.
GRACE_SECONDS = 15.0
_BEAT_SECONDS = 1.0


def run_on_cluster(
    plan: Plan,
    models: ModelsFile,
    runs_dir: Path,
    cells: Sequence[Cell],
    watch: Watch,
    scheduler: str | int,
    minutes: float | None = None,
) -> dict[str, Any]:
    """Like `execute.run_sweep`, but on the workers of a Dask scheduler.

    Args:
        scheduler: Its address, or how many workers to start on this machine.

    Raises:
        ConfigError: Several embedded engines would share this machine.
        PreflightError: Dask is not installed, no scheduler answers, or no worker can run a cell.
        EndpointError: The connection to the scheduler was lost during the sweep.
        KeyboardInterrupt: Ctrl-C or SIGTERM. The workers stop; finished cells are kept.
    """
    deadline = None if minutes is None else time.monotonic() + 60 * minutes
    with execute.open_sweep(plan, runs_dir, cells) as folder, _connected(scheduler, cells) as client:
        sweep = _Sweep(folder, cells, watch, client, scheduler)
        sweep.run(models, deadline)
        return folder.summary([sweep.ends[cell.name] for cell in cells])


@contextlib.contextmanager
def _connected(scheduler: str | int, cells: Sequence[Cell]) -> Iterator[Any]:
    """A client of the scheduler. Workers started for it stop at the end of the block."""
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise PreflightError(
            f"--scheduler needs Dask, which is not installed ({error})",
            "in a checkout: ./scripts/env true\nelsewhere: pip install 'localgif[cluster]'",
            code="E-CLUSTER",
        ) from None
    for name in ("distributed", "distributed.client"):  # the code below reports a lost scheduler
        logging.getLogger(name).setLevel(logging.CRITICAL)
    # The run folder of an unfinished cell is an argument of its task, and may be large.
    dask.config.set({"distributed.admin.large-graph-warning-threshold": "4 GiB"})
    place: Any = scheduler
    with contextlib.ExitStack() as stack:
        if isinstance(scheduler, int):
            models = [model for cell in cells for model in (cell.settings.animator, cell.settings.reflector)]
            if scheduler > 1 and any(model.endpoint.kind == "embedded" for model in models):
                raise ConfigError(
                    f"local:{scheduler} would start the embedded engine {scheduler} times, and each uses all cores",
                    "remove --scheduler, or use models of a server (docs/sweeps.md)",
                )
            place = LocalCluster(
                n_workers=scheduler,
                threads_per_worker=1,
                resources={model.alias: 1 for model in models},
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",  # the default is open to the network, and may be in use
                worker_dashboard_address="127.0.0.1:0",
                silence_logs=logging.ERROR,
            )
            stack.enter_context(place)
        try:
            client = stack.enter_context(Client(place, timeout=SCHEDULER_SECONDS))
        except (OSError, TypeError, ValueError) as error:  # the last two for missing or wrong certificates
            raise PreflightError(
                f"no Dask scheduler answers at {scheduler} ({error})",
                "start one with `dask scheduler`, or correct --scheduler; a tls:// address also needs "
                "DASK_DISTRIBUTED__COMM__TLS__CA_FILE, ..CLIENT__CERT and ..CLIENT__KEY (docs/sweeps.md)",
                code="E-SCHEDULER",
            ) from None
        try:
            if isinstance(scheduler, int):
                client.run(worker.ignore_ctrl_c)
            yield client
        except Exception as error:
            if isinstance(error, LocalGifError) or (not isinstance(error, OSError) and _answers(client)):
                raise
            raise EndpointError(
                f"the connection to the scheduler at {scheduler} was lost ({error})",
                "start the scheduler again, then repeat the command: it keeps finished cells and runs the others",
                code="E-SCHEDULER-LOST",
            ) from error


def _answers(client: Any) -> bool:
    """Whether the scheduler still answers. A client that is losing its connection may raise any exception."""
    try:
        client.sync(client.scheduler.identity, callback_timeout=_BEAT_SECONDS)
    except Exception:
        return False
    return bool(client.status == "running")


class _Sweep:
    """One call of a sweep: submits all cells to Dask, then handles events until every cell has ended."""

    def __init__(
        self, folder: SweepFolder, cells: Sequence[Cell], watch: Watch, client: Any, scheduler: str | int
    ) -> None:
        self.ends: dict[str, CellEnd] = {}
        self._folder, self._watch, self._client, self._scheduler = folder, watch, client, scheduler
        self._cells = {cell.name: (number, cell) for number, cell in enumerate(cells, 1)}
        self._futures: dict[str, Any] = {}  # cells that have not ended
        self._begun: dict[str, tuple[str, float, Progress]] = {}  # running cells: worker, start, progress
        # (cell, future) of a cell that ended, or (time, message) from a worker
        self._events: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
        self._refusals: dict[str, str] = {}  # worker that left -> why it could not start a cell
        self._moved = time.monotonic()  # when a cell last began or ended

    def run(self, models: ModelsFile, deadline: float | None) -> None:
        for name, (_, cell) in self._cells.items():
            if execute.is_done(home := self._folder.folder / name):
                self._end(execute.known_end(cell, home))
        self._check_workers()
        if deadline is None or time.monotonic() < deadline:
            self._submit(models)
        while self._futures:
            with contextlib.suppress(queue.Empty):
                self._receive(*self._events.get(timeout=_BEAT_SECONDS))
            self._look(deadline is not None and time.monotonic() >= deadline)
        for name, (_, cell) in self._cells.items():
            self.ends.setdefault(name, CellEnd(cell))

    def _check_workers(self) -> None:
        """Check that all workers have the same localgif. Workers that join later check it themselves."""
        answers = self._client.run(execute.identity, on_error="return")
        problems = {name: execute.differing(theirs, execute.identity()) for name, theirs in answers.items()}
        if any(problems.values()):
            raise PreflightError(
                "\n".join(f"worker {name}: {why}" for name, why in problems.items() if why),
                "use the same checkout and packages for the scheduler, its workers and this command",
                code="E-WORKERS",
            )

    def _submit(self, models: ModelsFile) -> None:
        if not self._resources():
            self._watch.note(f"waiting for workers at {self._scheduler}")
        topic = f"localgif-{secrets.token_hex(8)}"
        self._client.subscribe_topic(topic, lambda event: self._events.put(event))
        for name, (number, cell) in self._cells.items():
            if name in self.ends:
                continue
            self._futures[name] = future = self._client.submit(
                worker.run_on_worker,
                cell,
                models,
                execute.identity(),
                execute.pack(self._folder.folder / name),
                topic,
                key=f"{name}-{topic}",
                resources=dict.fromkeys(cell.models, 1),
                priority=-number,
                retries=1,
                pure=False,
            )
            future.add_done_callback(lambda ended, name=name: self._events.put((name, ended)))

    def _receive(self, first: Any, second: Any) -> None:
        if isinstance(first, str):
            if first in self._futures:
                self._settle(first, second)
            return
        kind, name, where, *rest = second
        if name not in self._futures:
            return
        if kind == "begins":
            if name in self._begun:
                self._watch.note(f"{name} starts again: it failed, or worker {self._begun[name][0]} was lost")
            self._moved = time.monotonic()
            number, cell = self._cells[name]
            self._begun[name] = where, self._moved, self._watch.begins(cell, number, len(self._cells))
        elif kind == "refused":
            self._refusals[where] = rest[0]
            self._watch.note(f"worker {where} leaves, because it cannot start {name}: {rest[0]}")
        elif kind == "activity":
            self._begun[name][2].activity(*rest)
        elif kind == "metric_call":
            *call, standing = rest
            call.append(Standing(*standing) if standing is not None else None)
            self._begun[name][2].metric_call(*call)

    def _settle(self, name: str, future: Any) -> None:
        """Handle the end of a cell, and store its run folder."""
        if future.status == "cancelled":  # by Dask, which does that when it loses the scheduler
            raise ConnectionError("Dask cancelled a cell")
        home = self._folder.folder / name
        where, began, _ = self._begun.get(name, ("", self._moved, None))
        try:
            if future.status == "finished":
                where, archive = future.result()
                outcome = Outcome(execute.bring_home(archive, home))
            elif isinstance(failed := future.exception(), worker.CellFailed):
                where, outcome, archive = failed.args
                if archive is not None:
                    execute.unpack(archive, home)
            else:
                outcome = Outcome(None, f"Dask gave the cell up: {failed}")
        except LocalGifError as error:
            outcome = Outcome(None, str(error))
        self._end(CellEnd(self._cells[name][1], outcome, time.monotonic() - began, worker=where))

    def _end(self, end: CellEnd) -> None:
        name = end.cell.name
        self._futures.pop(name, None)
        self._begun.pop(name, None)
        self._moved = time.monotonic()
        self.ends[name] = end
        self._folder.note(end)
        self._watch.ended(end, self._cells[name][0], len(self._cells))

    def _resources(self) -> dict[str, Any]:
        """Name of each worker -> the models that it offers."""
        workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        return {str(each["name"]): each["resources"] for each in workers}

    def _look(self, late: bool) -> None:
        """Cancel cells that have not begun if it is late; give up if no worker can run the remaining cells."""
        present = self._resources()
        idle = {name: self._cells[name][1] for name in self._futures if self._begun.get(name, [""])[0] not in present}
        if late:
            for name in idle:
                self._futures.pop(name).cancel()
            return
        placeable = any(has.keys() >= set(cell.models) for cell in idle.values() for has in present.values())
        alone = not present and not self._refusals  # keep waiting: workers may join at any time
        busy = len(idle) < len(self._futures) or time.monotonic() - self._moved < GRACE_SECONDS
        if idle and not (placeable or alone or busy):
            self._give_up(present, sorted({alias for cell in idle.values() for alias in cell.models}))

    def _give_up(self, present: dict[str, Any], aliases: list[str]) -> None:
        """End the remaining cells as failed; a PreflightError if this call ran none."""
        why = {**self._refusals, **dict.fromkeys(present, f"it does not offer the models {', '.join(aliases)}")}
        lines = "\n".join(f"worker {name}: {said}" for name, said in why.items())
        if all(end.known for end in self.ends.values()):
            resources = " ".join(f"{alias}=1" for alias in aliases)
            raise PreflightError(
                f"no worker at {self._scheduler} can run a cell:\n{lines}",
                f"start workers that offer the models: dask worker ADDRESS --resources '{resources}' (docs/sweeps.md)",
                code="E-WORKERS",
            )
        for name, future in list(self._futures.items()):
            future.cancel()
            self._end(CellEnd(self._cells[name][1], Outcome(error=f"no worker can run it:\n{lines}")))
