"""A sweep on a Dask cluster: a cell is a task that Dask places, retries and moves; its run folder comes back whole."""

from __future__ import annotations

import contextlib
import logging
import queue
import re
import secrets
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from localgif.errors import ConfigError, EndpointError, LocalGifError, PreflightError, RunCorrupt
from localgif.files import replace_file
from localgif.models.toml import ModelsFile
from localgif.offline import scheduler_url
from localgif.records import RunResult
from localgif.search.progress import Progress, Standing
from localgif.store.read import load_record
from localgif.sweep import worker
from localgif.sweep.execute import (
    Archive,
    CellEnd,
    Outcome,
    SweepFolder,
    Watch,
    end_of,
    is_done,
    known_end,
    open_sweep,
    pack,
    unpack,
)
from localgif.sweep.plan import Cell, Plan

#: For the scheduler to answer.
SCHEDULER_SECONDS = 30.0
#: For another worker to join when none that is there can take any cell that is left.
GRACE_SECONDS = 15.0
_BEAT_SECONDS = 1.0


def local_workers(scheduler: str) -> int | None:
    """The number in "local:4"; None for an address.

    Raises:
        ConfigError: it is neither.
    """
    local = re.fullmatch(r"local:([1-9][0-9]{0,3})", scheduler)
    if local is not None:
        return int(local[1])
    try:
        scheduler_url(scheduler)
    except ValueError as error:
        raise ConfigError(f"--scheduler {scheduler} {error}", "or local:N for N workers on this machine") from None
    return None


def run_on_cluster(
    plan: Plan,
    models: ModelsFile,
    runs_dir: Path,
    cells: Sequence[Cell],
    watch: Watch,
    scheduler: str,
    minutes: float | None = None,
) -> dict[str, Any]:
    """As `execute.run_sweep`, with the cells on the workers of a Dask cluster.

    Args:
        scheduler: Address of a Dask scheduler, or "local:N" for N workers on this machine.

    Raises:
        ConfigError: `scheduler` is neither, or N embedded engines would share this machine.
        PreflightError: no Dask, no scheduler, or no worker that can take a cell.
        EndpointError: the scheduler was lost during the sweep.
        KeyboardInterrupt: Ctrl-C or SIGTERM. The workers stop; finished cells are kept.
        LocalGifError: as `execute.open_sweep`.
    """
    count = local_workers(scheduler)
    embedded = any(m.endpoint.kind == "embedded" for c in cells for m in (c.settings.animator, c.settings.reflector))
    if count is not None and count > 1 and embedded:
        raise ConfigError(
            f"--scheduler {scheduler} would start the embedded engine {count} times; one takes all cores",
            "leave --scheduler out, or use models of a server (docs/sweeps.md)",
        )
    deadline = None if minutes is None else time.monotonic() + 60 * minutes
    aliases = {alias for cell in cells for alias in _needs(cell)}
    with open_sweep(plan, runs_dir, cells) as folder, _connected(scheduler, count, aliases) as client:
        sweep = _Sweep(plan, cells, folder, watch, client, scheduler)
        sweep.run(models, deadline)
        return folder.summary([sweep.ends[cell.name] for cell in cells])


@contextlib.contextmanager
def _connected(scheduler: str, count: int | None, aliases: set[str]) -> Iterator[Any]:
    """A client of the scheduler; with a count, of as many workers on this machine, which are stopped at the end.

    Raises:
        PreflightError: Dask is not installed, or no scheduler answers.
        EndpointError: the scheduler is lost inside the block.
    """
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise PreflightError(
            f"--scheduler needs Dask, which is not installed here ({error})",
            "in a checkout: ./scripts/env true\nelsewhere: pip install 'localgif[cluster]'",
            code="E-CLUSTER",
        ) from None
    for name in ("distributed", "distributed.client"):  # a lost scheduler is reported below, without tracebacks
        logging.getLogger(name).setLevel(logging.CRITICAL)
    # The folder of a cell that was begun before travels as an argument of its task.
    dask.config.set({"distributed.admin.large-graph-warning-threshold": "4 GiB"})
    with contextlib.ExitStack() as stack:
        place: Any = scheduler
        if count is not None:
            place = stack.enter_context(
                LocalCluster(  # type: ignore[no-untyped-call]
                    n_workers=count,
                    threads_per_worker=1,
                    resources=dict.fromkeys(aliases, 1),
                    host="127.0.0.1",
                    dashboard_address="127.0.0.1:0",  # any other would be open to the network, or taken
                    worker_dashboard_address="127.0.0.1:0",
                    silence_logs=logging.ERROR,
                )
            )
        try:
            client = stack.enter_context(Client(place, timeout=SCHEDULER_SECONDS))  # type: ignore[no-untyped-call]
        except (OSError, TypeError, ValueError) as error:  # the last two from certificates that are missing or wrong
            certificates = scheduler.startswith("tls:") and isinstance(
                error, FileNotFoundError | TypeError | ValueError
            )
            raise PreflightError(
                f"no Dask scheduler can be asked at {scheduler} ({error})",
                "set DASK_DISTRIBUTED__COMM__TLS__CA_FILE, DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT and "
                "DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY to files (docs/sweeps.md)"
                if certificates
                else "start one with `dask scheduler`, or correct --scheduler",
                code="E-CERTIFICATES" if certificates else "E-SCHEDULER",
            ) from None
        try:
            if count is not None:
                client.run(worker.ignore_ctrl_c)
            yield client
        except LocalGifError:
            raise
        except Exception as error:
            if client.status == "running" and not isinstance(error, OSError):
                raise
            raise _lost(scheduler) from error


def _lost(scheduler: str) -> EndpointError:
    return EndpointError(
        f"the scheduler at {scheduler} is gone",
        "start the scheduler again, then repeat the same command: it goes on, and finished cells are kept",
        code="E-SCHEDULER-LOST",
    )


class _Sweep:
    """One call of a sweep: hands all cells to Dask, then follows what comes back until every cell has an end."""

    def __init__(
        self, plan: Plan, cells: Sequence[Cell], folder: SweepFolder, watch: Watch, client: Any, scheduler: str
    ) -> None:
        self.ends: dict[str, CellEnd] = {}
        self._plan, self._folder, self._watch = plan, folder, watch
        self._client, self._scheduler = client, scheduler
        self._cells = {cell.name: (number, cell) for number, cell in enumerate(cells, 1)}
        self._futures: dict[str, Any] = {}
        """Of the cells that have no end yet."""
        self._events: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
        """(cell, future) that ended, and (time, message) of what workers tell."""
        self._running: dict[str, tuple[str, float, Progress]] = {}
        """Cell -> name of its worker, when it began there, and who watches it."""
        self._workers: set[str] = set()
        self._refusals: dict[str, str] = {}
        """Worker that left -> why it could not start a cell."""
        self._moved = time.monotonic()
        """When a cell last began or ended."""

    def run(self, models: ModelsFile, deadline: float | None) -> None:
        """Until every cell has an end."""
        for name, (_, cell) in self._cells.items():
            if is_done(home := self._folder.folder / name):
                self._end(known_end(cell, home))
        self._check_workers()
        if deadline is None or time.monotonic() < deadline:
            self._submit(models)
        while self._futures:
            with contextlib.suppress(queue.Empty):
                self._receive(*self._events.get(timeout=_BEAT_SECONDS))
            if deadline is not None and time.monotonic() >= deadline:
                for name in self._futures.keys() - self._running.keys():
                    self._futures.pop(name).cancel()
            self._look()
        for name, (_, cell) in self._cells.items():
            self.ends.setdefault(name, CellEnd(cell, "left"))

    def _check_workers(self) -> None:
        """check before anything starts that workers have this localgif. Those that join later check it themselves."""
        problems = []
        for address, theirs in self._client.run(worker.identity, on_error="return").items():
            broken = isinstance(theirs, Exception)
            why = f"it cannot run localgif: {theirs}" if broken else worker.differing(theirs, worker.identity())
            problems += [f"worker {address}: {why}"] if why else []
        if problems:
            raise PreflightError(
                "\n".join(problems),
                "use the same checkout and packages for the scheduler, its workers and this command",
                code="E-WORKERS",
            )

    def _submit(self, models: ModelsFile) -> None:
        topic = f"localgif-{secrets.token_hex(8)}"
        self._client.subscribe_topic(topic, lambda event: self._events.put(event))
        for name, (number, cell) in self._cells.items():
            if name in self.ends:
                continue
            order = {
                "name": name,
                "identity": worker.identity(),
                "settings": cell.settings.model_dump(mode="json"),
                "tasks": [task.model_dump(mode="json") for task in cell.suite.all],
                "split": cell.suite.split,
                "models_path": str(models.path),
                "models_text": models.text,
            }
            future = self._client.submit(
                worker.run_on_worker,
                order,
                pack(self._folder.folder / name),
                topic,
                key=f"{self._plan.name}/{name}-{topic}",
                resources=dict.fromkeys(_needs(cell), 1),
                priority=-number,
                retries=1,
                pure=False,
            )
            self._futures[name] = future
            future.add_done_callback(lambda ended, name=name: self._events.put((name, ended)))

    def _receive(self, first: Any, second: Any) -> None:
        if isinstance(first, str):
            if first in self._futures:
                self._settle(first, second)
            return
        kind, name, where, *rest = second
        if kind == "refused":
            self._running.pop(name, None)
            self._refusals[where] = rest[0]
            self._watch.note(f"worker {where} leaves, because it cannot start {name}: {rest[0]}")
        elif kind == "begins" and name in self._futures:
            self._moved = time.monotonic()
            number, cell = self._cells[name]
            self._running[name] = where, self._moved, self._watch.begins(cell, number, len(self._cells))
        elif kind == "activity" and name in self._running:
            self._running[name][2].activity(*rest)
        elif kind == "metric_call" and name in self._running:
            *call, standing = rest
            call.append(Standing(*standing) if standing is not None else None)
            self._running[name][2].metric_call(*call)

    def _settle(self, name: str, future: Any) -> None:
        """Take the end of a cell: its run folder goes into its place."""
        if future.status == "cancelled":  # not by us: Dask does that when it loses the scheduler
            raise _lost(self._scheduler)
        home, number_and_cell = self._folder.folder / name, self._cells[name]
        where, began, _ = self._running.get(name, ("", self._moved, None))
        try:
            if future.status == "finished":
                where, archive = future.result()
                outcome = Outcome(_brought(archive, home))
            elif isinstance(failed := future.exception(), worker.CellFailed):
                where, outcome = failed.worker, failed.outcome
                if failed.archive is not None:
                    unpack(failed.archive, home)
            else:
                outcome = Outcome(None, f"Dask gave the cell up: {failed}")
        except LocalGifError as error:
            outcome = Outcome(None, str(error), error.code)
        del self._futures[name]
        self._end(end_of(number_and_cell[1], outcome, time.monotonic() - began, where))

    def _end(self, end: CellEnd) -> None:
        self._running.pop(end.cell.name, None)
        self._moved = time.monotonic()
        self.ends[end.cell.name] = end
        self._folder.note(end)
        self._watch.ended(end, self._cells[end.cell.name][0], len(self._cells))

    def _look(self) -> None:
        """Notice lost workers; give up when none that is there can take what is left.

        Raises:
            PreflightError: of all cells, before one was done.
        """
        present = {
            str(w["name"]): w["resources"] for w in self._client.scheduler_info(n_workers=-1)["workers"].values()
        }
        for gone in self._workers - present.keys():
            cells = [name for name, (where, _, _) in self._running.items() if where == gone]
            for name in cells:
                del self._running[name]
            if gone not in self._refusals:
                self._watch.note(f"worker {gone} is gone" + (f"; {', '.join(cells)} starts again" if cells else ""))
        self._workers = set(present)
        fits = any(_needs(self._cells[name][1]) <= named.keys() for name in self._futures for named in present.values())
        waited = time.monotonic() - self._moved
        if fits or self._running or not self._futures or waited < GRACE_SECONDS:
            return
        if not present and not self._refusals:
            self._moved = time.monotonic()
            self._watch.note(f"waiting for workers at {self._scheduler}")
            return
        aliases = sorted({alias for name in self._futures for alias in _needs(self._cells[name][1])})
        lines = {**self._refusals, **dict.fromkeys(present, f"it does not name the models {', '.join(aliases)}")}
        why = "\n".join(f"worker {name}: {said}" for name, said in lines.items())
        if all(end.known for end in self.ends.values()):
            resources = " ".join(f"{alias}=1" for alias in aliases)
            raise PreflightError(
                f"no worker at {self._scheduler} can take a cell:\n{why}",
                f"start workers that name their models: dask worker ADDRESS --resources '{resources}' (docs/sweeps.md)",
                code="E-WORKERS",
            )
        for name in list(self._futures):
            self._futures.pop(name).cancel()
            self._end(CellEnd(self._cells[name][1], "failed", error=f"no worker can take it:\n{why}"))


def _needs(cell: Cell) -> set[str]:
    """The models of a cell, by the names under which workers have them."""
    return {cell.settings.animator.alias, cell.settings.reflector.alias}


def _brought(archive: Archive, home: Path) -> RunResult:
    """put a finished run in its place; returns its result, which then names that folder"""
    unpack(archive, home)
    record = load_record(home)
    if record.result is None:
        raise RunCorrupt(f"{home} came back without a result", "check the worker")
    result = record.result.model_copy(update={"folder": str(home)})
    record = record.model_copy(update={"result": result})
    replace_file(home / "run.json", record.model_dump_json(indent=2).encode() + b"\n")
    return result
