"""Runs one cell on a worker of a Dask cluster, in a guarded child process.

The child, `python -m localgif.sweep.worker`, has its own connection guard and can be interrupted alone. It reads the
pickled cell from stdin. The end of stdin interrupts the run, so it does not outlive the worker. The child writes one
JSON array per line: ["activity", ...] and ["metric_call", ...] during the run, ["end", ...] at the end.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from localgif import offline
from localgif.models.toml import ModelsFile
from localgif.sandbox import jobs
from localgif.search.progress import Silent, Standing
from localgif.sweep.execute import Archive, Outcome, differing, identity, pack, run_cell, unpack
from localgif.sweep.plan import Cell

#: Time between two checks whether the cell is still wanted.
_BEAT_SECONDS = 0.5
#: How long an interrupted run may take to end.
_STOP_SECONDS = 10.0


class CellFailed(Exception):
    """A cell failed: (worker, outcome, run folder). Dask retries it once, then the command reports it."""

    args: tuple[str, Outcome, Archive | None]

    def __str__(self) -> str:
        return self.args[1].error

    __repr__ = __str__  # Dask logs it, and an archive is large


def ignore_ctrl_c() -> None:
    """Make this worker ignore Ctrl-C at the command's terminal: the command gets it too, and stops its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def run_on_worker(
    cell: Cell, models: ModelsFile, here: Mapping[str, str], archive: Archive | None, topic: str
) -> tuple[str, Archive]:
    """Run a cell on this worker, as a Dask task; returns the worker's name and the run folder.

    Args:
        here: The command's `identity`.
        archive: The run folder of an unfinished cell.
        topic: Topic of events for the command: ["begins", "refused" or a kind of the child's lines, cell, worker, ...].

    Raises:
        CellFailed: The cell failed.
        Reschedule: This machine cannot start it (a missing model, other packages). The worker leaves the cluster, so
            that it does not fail one cell after another, and Dask moves the cell to another worker.
    """
    from distributed import Reschedule, get_worker

    worker = get_worker()
    key, name = worker.get_current_task(), str(worker.name)

    def wanted() -> bool:
        task = worker.state.tasks.get(key)
        return worker.status.name in ("running", "paused") and task is not None and task.state != "cancelled"

    def tell(kind: str, *rest: Any) -> None:
        worker.log_event(topic, [kind, cell.name, name, *rest])

    tell("begins")
    home = Path(tempfile.mkdtemp(prefix="localgif-cell-", dir=worker.local_directory)) / cell.name
    try:
        refusal = differing(identity(), here)
        if not refusal:
            if archive is not None:
                unpack(archive, home)
            outcome = _in_child(pickle.dumps((home, cell, models)), tell, wanted)
            refusal = outcome.error if outcome.exit_code in (2, 3) else ""
        if not refusal:
            packed = pack(home)
            if outcome.error or packed is None:
                raise CellFailed(name, outcome, packed)
            return name, packed
    finally:
        shutil.rmtree(home.parent, ignore_errors=True)
    tell("refused", refusal)
    worker.loop.add_callback(worker.close_gracefully)
    raise Reschedule


def _in_child(cell: bytes, tell: Callable[..., None], wanted: Callable[[], bool]) -> Outcome:
    """Run a cell in a child process; `tell` receives its lines."""
    outcome: Outcome | None = None
    with tempfile.TemporaryFile() as log:
        # A new session, so that Ctrl-C at the worker's terminal reaches only the worker.
        command, pipe = offline.our_python("localgif.sweep.worker"), subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=log, start_new_session=True) as child:
            assert child.stdin is not None and child.stdout is not None
            with contextlib.suppress(BrokenPipeError):  # the child died; its exit code is reported below
                child.stdin.write(cell)
                child.stdin.flush()
            threading.Thread(target=_watch, args=(child, wanted), daemon=True).start()
            for kind, *said in map(json.loads, child.stdout):
                if kind == "end":
                    outcome = Outcome(None, *said)
                else:
                    tell(kind, *said)
        if outcome is None:
            log.seek(0)
            error = f"the process of the cell ended with exit code {child.returncode} (negative: killed by this signal)"
            outcome = Outcome(None, error, trace=log.read().decode("utf-8", "replace")[-4096:])
    return outcome


def _watch(child: subprocess.Popen[bytes], wanted: Callable[[], bool]) -> None:
    while child.poll() is None and wanted():
        time.sleep(_BEAT_SECONDS)
    with contextlib.suppress(OSError):
        child.stdin.close()  # type: ignore[union-attr]


# --- in the child -----------------------------------------------------------------------------------------------------


class _Telling(Silent):
    """Sends the progress of a run as lines on stdout."""

    def __init__(self, say: Callable[..., None]) -> None:
        self._say = say

    def activity(self, text: str) -> None:
        self._say("activity", text)

    def metric_call(self, number: int, mean: float, what: str, task: str, standing: Standing | None) -> None:
        self._say("metric_call", number, mean, what, task, standing)


def main() -> None:
    """Run the cell on stdin."""
    offline.own_process()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Keep stdout for our lines: libraries that print go to stderr.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(*line: Any) -> None:
        out.write(json.dumps(line) + "\n")
        out.flush()

    try:
        home, cell, models = pickle.load(sys.stdin.buffer)
        threading.Thread(target=_interrupt_at_the_end, daemon=True).start()
        if models.offline is False:
            offline.release()
        else:
            offline.guard(models.elsewhere, fetch=models.offline is None)
        outcome = run_cell(home, cell.settings, cell.suite, models, _Telling(say))
        say("end", *outcome[1:])  # the result is in the run folder
    except (KeyboardInterrupt, BrokenPipeError):
        pass  # the worker is gone, or the cell is no longer wanted
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        jobs.stop()
        os._exit(0)  # a normal exit would wait for the threads of libraries


def _interrupt_at_the_end() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(_STOP_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    main()
