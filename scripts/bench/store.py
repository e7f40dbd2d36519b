"""The cost of the run folder: storing a sample, resuming a long run, writing its report.

The long run is a real one with GEPA's own reflection, against a model server that answers at once.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from localgif.run.optimize import optimize
from localgif.run.resume import resume
from localgif.search.progress import Silent
from localgif.store.read import load_record, load_run
from localgif.store.write import RunStore
from scripts.bench.figures import conditions, in_turns, seconds, spread
from tests.support.kills import Deterministic, chosen, models_file
from tests.support.reports import make_run
from tests.support.scripted import serving

#: Samples to store, and samples of the run for the report.
STORED = 300


def storing(run: Path, folder: Path) -> dict[str, Any]:
    """Milliseconds to store a sample with its program and GIF, and for one bare write with fsync."""
    stored = load_run(run)
    sample = next(s for s in stored.samples if s.gif and s.code)
    gif, code = stored.data("gifs", str(sample.gif)), stored.text("code", str(sample.code))
    numbers = iter(range(STORED))
    with RunStore.create(folder, stored.record.model_copy(update={"name": "storing"})) as store:

        def whole() -> None:
            number = next(numbers)
            store.put("code", f"{code}\n# {number}")
            store.put("gifs", gif + number.to_bytes(4, "big"))
            store.append(sample)

        def bare() -> None:
            with (folder / "bare").open("ab") as file:
                file.write(b"x" * 4000)
                file.flush()
                os.fsync(file.fileno())

        ways = {
            f"storing a sample with program and GIF, {STORED} times, ms": lambda: 1000 * seconds(whole),
            f"one write with fsync, {STORED} times, ms": lambda: 1000 * seconds(bare),
        }
        return {name: spread(values) for name, values in in_turns(ways, STORED).items()}


class FirstNew(Silent):
    """Records the time at which the stored work ends."""

    at = 0.0

    def replay(self, on: bool) -> None:
        if not on and not self.at:
            self.at = time.perf_counter()


def resuming(folder: Path, samples: int) -> tuple[Path, dict[str, Any]]:
    """A run of this many samples, and the seconds from the call of resume to its first new sample."""
    with serving(Deterministic()) as server:
        settings = chosen(server.url, reflection="plain", target=None, metric_calls=samples // 2, fresh=4)
        made = seconds(lambda: optimize(settings, folder, "long", Silent()))
        run = folder / "long"
        lines = (run / "samples.jsonl").read_bytes().splitlines(keepends=True)
        (run / "samples.jsonl").write_bytes(b"".join(lines[:-1]))
        record = load_record(run).model_copy(update={"status": "failed", "result": None})
        (run / "run.json").write_text(record.model_dump_json())
        progress, began = FirstNew(), time.perf_counter()
        resume(run, models_file(folder, server.url), progress, {})
    return run, {f"a run of {len(lines)} samples, s": round(made), "it resumes after, s": round(progress.at - began, 2)}


def reporting(folder: Path) -> dict[str, Any]:
    """Seconds and peak memory of `localgif report`."""
    run = make_run(folder, "big", samples=STORED)
    code = (
        "import resource, sys; from localgif.cli.app import app; sys.argv = ['localgif', 'report', sys.argv[1]]\n"
        "try: app()\n"
        "finally: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code, str(run)], capture_output=True, text=True, check=True)
    return {
        f"the report of {STORED} samples, with the start of Python, s": round(time.perf_counter() - began, 1),
        "its peak memory, MB": round(int(done.stdout.split()[-1]) / 1024),
        "its page, MB": round((run / "report.html").stat().st_size / 1e6, 1),
    }


def measure(samples: int = 1000) -> dict[str, Any]:
    """All figures; the long run has `samples` samples."""
    found = conditions(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run, figures = resuming(folder, samples)
        return found | figures | storing(run, folder) | reporting(folder)
