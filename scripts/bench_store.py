"""What the run folder costs: storing, going on with a long run, its report. `just bench-store [--samples N] [--json]`.

The long run is a real one, against a model server that answers at once, with GEPA's own reflection.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from localgif.run.optimize import optimize
from localgif.run.resume import resume
from localgif.search.progress import Silent
from localgif.store.read import load_record, load_run
from localgif.store.write import RunStore
from scripts.figures import conditions, show
from tests.report.big import make_run
from tests.scripted import serving
from tests.search.kills import Deterministic, chosen, models_file

STORED = 300
"""Samples that are stored, and samples of the run whose report is written."""


def storing(run: Path, folder: Path) -> dict[str, Any]:
    """Milliseconds to store a sample with its program and GIF, beside one bare write that is forced to the disk."""
    stored = load_run(run)
    sample = next(s for s in stored.samples if s.gif and s.code)
    gif, code = stored.data("gifs", str(sample.gif)), stored.text("code", str(sample.code))
    whole, bare = [], []
    with RunStore.create(folder, stored.record.model_copy(update={"name": "storing"})) as store:
        for number in range(STORED):
            began = time.perf_counter()
            store.put_code(f"{code}\n# {number}")
            store.put_gif(gif + number.to_bytes(4, "big"))
            store.append_sample(sample)
            whole.append(1000 * (time.perf_counter() - began))
            began = time.perf_counter()
            with (folder / "bare").open("ab") as file:
                file.write(b"x" * 4000)
                file.flush()
                os.fsync(file.fileno())
            bare.append(1000 * (time.perf_counter() - began))
    return {
        f"storing a sample with program and GIF, {STORED} times": _spread(whole),
        f"one bare write with fsync, {STORED} times": _spread(bare),
    }


def _spread(milliseconds: Sequence[float]) -> dict[str, float]:
    return {
        "median, ms": round(statistics.median(milliseconds), 2),
        "95 %, ms": round(statistics.quantiles(milliseconds, n=20)[18], 2),
    }


class _FirstNew(Silent):
    """Notes when the stored work ends."""

    at = 0.0

    def replay(self, on: bool) -> None:
        if not on and not self.at:
            self.at = time.monotonic()


def going_on(folder: Path, samples: int) -> tuple[Path, dict[str, Any]]:
    """Seconds from the call of resume to the first new sample, of a run with so many samples; and the run."""
    with serving(Deterministic()) as server:
        settings = chosen(server.url, reflection="plain", target=None, metric_calls=samples // 2, fresh=4)
        began = time.monotonic()
        optimize(settings, folder, "long", Silent())
        made = time.monotonic() - began
        run = folder / "long"
        lines = (run / "samples.jsonl").read_bytes().splitlines(keepends=True)
        (run / "samples.jsonl").write_bytes(b"".join(lines[:-1]))
        record = load_record(run).model_copy(update={"status": "failed", "result": None})
        (run / "run.json").write_text(record.model_dump_json())
        progress = _FirstNew()
        began = time.monotonic()
        resume(run, models_file(folder, server.url), progress, {})
    return run, {
        f"a run of {len(lines)} samples was made in, s": round(made),
        "it goes on after, s": round(progress.at - began, 2),
    }


def reporting(folder: Path) -> dict[str, Any]:
    """Seconds and peak memory of `localgif report`."""
    run = make_run(folder, "big", samples=STORED)
    code = (
        "import resource, sys; sys.argv = ['localgif', 'report', sys.argv[1]]; from localgif.cli.app import app\n"
        "try: app()\n"
        "finally: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code, str(run)], capture_output=True, text=True, check=True)
    return {
        f"the report of {STORED} samples with Python's start, s": round(time.monotonic() - began, 1),
        "its peak memory, MB": round(int(done.stdout.split()[-1]) / 1024),
        "its page, MB": round((run / "report.html").stat().st_size / 1e6, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=1000, help="samples of the long run (default 1000)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    found = conditions(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run, figures = going_on(folder, arguments.samples)
        found |= figures | storing(run, folder) | reporting(folder)
    show(found, as_json=arguments.json)


if __name__ == "__main__":
    main()
