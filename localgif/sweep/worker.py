"""What runs on a worker of a Dask cluster: one cell, in a guarded child process.

Dask calls `run_on_worker` in a thread of the worker. The run itself is a child, `python -m localgif.sweep.worker`: it
guards what it connects to, sets variables that other libraries read, and can be interrupted alone:

    stdin    a line of JSON, the cell; its end interrupts the run, so nothing goes on after the worker is gone
    stdout   a JSON array per line: ["started"], ["activity", ...] and ["metric_call", ...] as the run reports them, and
             ["end", ...] with what became of it
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
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

import localgif
from localgif import offline
from localgif.errors import RunMismatch
from localgif.models.toml import read_models
from localgif.run.optimize import versions
from localgif.sandbox import keeper_client
from localgif.search.progress import Silent, Standing
from localgif.settings import Settings
from localgif.sweep.execute import Archive, Outcome, pack, run_cell, unpack
from localgif.tasks.suite import suite_of

#: How often a worker checks whether the cell is still wanted.
_BEAT_SECONDS = 0.5
#: For a run to end after its interruption.
_STOP_SECONDS = 10.0


class CellFailed(Exception):
    """A cell failed on a worker. Dask tries it once more, then the command reports it."""

    def __init__(self, worker: str, outcome: Outcome, archive: Archive | None) -> None:
        super().__init__(worker, outcome, archive)
        self.worker, self.outcome, self.archive = worker, outcome, archive

    def __repr__(self) -> str:
        return f"CellFailed({self.outcome.error!r})"  # Dask logs it, without the bytes of the archive

    __str__ = __repr__


@functools.cache
def identity() -> dict[str, str]:
    """What must be equal on every machine of a sweep: versions, and a digest of localgif's source."""
    root = Path(localgif.__file__).parent
    source = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        source.update(f"{path.relative_to(root)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    # Kernel and distribution decide nothing that a run stores.
    return {key: value for key, value in versions().items() if key != "platform"} | {"source": source.hexdigest()[:12]}


def ignore_ctrl_c() -> None:
    """For workers at the terminal of the command: Ctrl-C is for the command, which stops them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def differing(there: Mapping[str, str], here: Mapping[str, str]) -> str:
    """How a worker's `identity` differs from the command's; "" when it does not."""
    names = {**there, **here}
    lines = [f"{n}: {there.get(n)} there, {here.get(n)} here" for n in names if there.get(n) != here.get(n)]
    return f"it has another localgif or other packages: {'; '.join(lines)}" if lines else ""


def run_on_worker(order: Mapping[str, Any], archive: Archive | None, topic: str) -> tuple[str, Archive]:
    """Run a cell on this worker, as a task of Dask; returns the worker's name and the run folder.

    Args:
        order: The cell: "name", "identity", "settings", "tasks", "split", "models_path", "models_text".
        archive: Its run folder, when it was begun before.
        topic: Of the events for the command: ["begins" or "refused" or a kind of the child's lines, cell, worker, ...].

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
        worker.log_event(topic, [kind, order["name"], name, *rest])

    home = Path(tempfile.mkdtemp(prefix="localgif-cell-", dir=worker.local_directory)) / str(order["name"])
    try:
        tell("begins")
        refusal = differing(identity(), order["identity"])
        if not refusal:
            if archive is not None:
                unpack(archive, home)
            outcome = _in_child({**order, "home": str(home)}, tell, wanted)
            refusal = outcome.error if outcome.exit_code in (2, 3) or outcome.code == RunMismatch.code else ""
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


def _in_child(order: Mapping[str, Any], tell: Callable[..., None], wanted: Callable[[], bool]) -> Outcome:
    """Run a cell in a child process; `tell` receives its lines."""
    command = [sys.executable, "-m", "localgif.sweep.worker"]
    outcome: Outcome | None = None
    with (
        tempfile.TemporaryFile() as log,
        # A session of its own: Ctrl-C at the worker's terminal is for the worker.
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True
        ) as child,
    ):
        assert child.stdin is not None and child.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it died; its exit code says how
            child.stdin.write(json.dumps(order).encode() + b"\n")
            child.stdin.flush()
        threading.Thread(target=_watch, args=(child, wanted), daemon=True).start()
        for kind, *said in map(json.loads, child.stdout):
            if kind == "end":
                outcome = Outcome(None, *said)
            else:
                tell(kind, *said)
        if outcome is None:
            log.seek(0)
            error = f"the process that ran the cell ended with code {child.wait()} (below 0: killed by that signal)"
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

    def started(self, *_: Any) -> None:
        self._say("started")

    def activity(self, text: str) -> None:
        self._say("activity", text)

    def metric_call(self, number: int, mean: float, what: str, task: str, standing: Standing | None) -> None:
        self._say("metric_call", number, mean, what, task, standing)


def main() -> None:
    """Run the cell on stdin."""
    offline.pin_libraries()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # What a library prints must not be taken for an answer.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(*line: Any) -> None:
        out.write(json.dumps(line) + "\n")
        out.flush()

    try:
        order = json.loads(sys.stdin.buffer.readline())
        threading.Thread(target=_interrupt_at_the_end, daemon=True).start()
        models = read_models(Path(order["models_path"]), order["models_text"])
        if models.offline is False:
            offline.release()
        else:
            offline.guard(models.elsewhere, fetch=models.offline is None)
        settings = Settings.model_validate(order["settings"])
        suite = suite_of(settings.mode, order["tasks"], order["split"])
        outcome = run_cell(Path(order["home"]), settings, suite, models, _Telling(say))
        # The result is in the run folder, which travels as an archive.
        say("end", outcome.error, outcome.code, outcome.trace, outcome.exit_code)
    except (KeyboardInterrupt, BrokenPipeError):
        pass  # the worker is gone, or the cell is not wanted any more
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        keeper_client.stop()
        os._exit(0)  # libraries keep threads for which the interpreter would wait


def _interrupt_at_the_end() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(_STOP_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    main()
