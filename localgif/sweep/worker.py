"""What runs on a worker of a Dask cluster: one cell, in a guarded child process.

The child, `python -m localgif.sweep.worker`, guards what it connects to and can be interrupted alone. It gets the cell
on stdin, pickled; the end of stdin interrupts the run, so nothing goes on after the worker is gone. It writes a JSON
array per line: ["activity", ...] and ["metric_call", ...] as the run reports them, and ["end", ...] at the end.
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

#: How often a worker checks whether the cell is still wanted.
_BEAT_SECONDS = 0.5
#: For a run to end after its interruption.
_STOP_SECONDS = 10.0


class CellFailed(Exception):
    """A cell failed: (worker, outcome, run folder). Dask tries it once more, then the command reports it."""

    args: tuple[str, Outcome, Archive | None]

    def __str__(self) -> str:
        return self.args[1].error

    __repr__ = __str__  # Dask logs it, and an archive is large


def ignore_ctrl_c() -> None:
    """For workers at the terminal of the command: Ctrl-C is for the command, which stops them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def run_on_worker(
    cell: Cell, models: ModelsFile, here: Mapping[str, str], archive: Archive | None, topic: str
) -> tuple[str, Archive]:
    """Run a cell on this worker, as a task of Dask; returns the worker's name and the run folder.

    Args:
        here: The command's `identity`.
        archive: The run folder, if the cell was begun before.
        topic: Topic of events for the command: ["begins", "refused" or a kind of the child's lines, cell, worker, ...].

    Raises:
        CellFailed: the cell failed here.
        Reschedule: this machine cannot start it (a missing model, other packages). The worker leaves the cluster, so
            that it does not fail one cell after another, and Dask places the cell elsewhere.
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
        # A session of its own: Ctrl-C at the worker's terminal is for the worker.
        command, pipe = offline.our_python("localgif.sweep.worker"), subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=log, start_new_session=True) as child:
            assert child.stdin is not None and child.stdout is not None
            with contextlib.suppress(BrokenPipeError):  # it died; its exit code says how
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
            error = f"the process that ran the cell ended with code {child.returncode} (below 0: killed by that signal)"
            outcome = Outcome(None, error, trace=log.read().decode("utf-8", "replace")[-4096:])
    return outcome


def _watch(child: subprocess.Popen[bytes], wanted: Callable[[], bool]) -> None:
    while child.poll() is None and wanted():
        time.sleep(_BEAT_SECONDS)
    with contextlib.suppress(OSError):
        child.stdin.close()  # type: ignore[union-attr]


# --- in the child -----------------------------------------------------------------------------------------------------


class _Telling(Silent):
    """What a run reports, as lines on stdout."""

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
    # What a library prints must not be taken for an answer.
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
        pass  # the worker is gone, or the cell is not wanted any more
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        jobs.stop()
        os._exit(0)  # libraries keep threads for which the interpreter would wait


def _interrupt_at_the_end() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(_STOP_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    main()
