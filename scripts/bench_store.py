"""What the run folder costs: storing, going on with a long run, its report. `just bench-store`.

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
from pathlib import Path

from localgif.runs.read import load_record, load_run
from localgif.runs.store import RunStore
from localgif.search.progress import Silent
from localgif.search.resume import resume
from localgif.search.run import optimize
from tests.report.big import make_run
from tests.scripted import serving
from tests.search.kills import Deterministic, chosen, models_file


def storing(run: Path, folder: Path, times: int) -> None:
    """Milliseconds to store a sample with its program and GIF, beside one bare write that is forced to the disk."""
    stored = load_run(run)
    sample = next(s for s in stored.samples if s.gif and s.code)
    gif, code = stored.data("gifs", str(sample.gif)), stored.text("code", str(sample.code))
    whole, bare = [], []
    with RunStore.create(folder, stored.record.model_copy(update={"name": "storing"})) as store:
        for number in range(times):
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
    print(f"storing a sample with program and GIF: median {statistics.median(whole):.2f} ms, ", end="")
    print(f"95th percentile {statistics.quantiles(whole, n=20)[18]:.2f} ms ({times} times); ", end="")
    print(f"one bare write with fsync: median {statistics.median(bare):.2f} ms")


class _FirstNew(Silent):
    """Notes when the stored work ends."""

    at = 0.0

    def replay(self, on: bool) -> None:
        if not on and not self.at:
            self.at = time.monotonic()


def going_on(folder: Path, samples: int) -> Path:
    """Seconds from the call of resume to the first new sample, of a run with so many samples."""
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
        print(f"a run of {len(lines)} samples, made in {made:.0f} s: goes on after {progress.at - began:.2f} s")
    return run


def reporting(folder: Path, samples: int) -> None:
    """Seconds and peak memory of `localgif report`."""
    run = make_run(folder, "big", samples=samples)
    code = (
        "import resource, sys; sys.argv = ['localgif', 'report', sys.argv[1]]; from localgif.cli import app\n"
        "try: app()\n"
        "finally: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code, str(run)], capture_output=True, text=True, check=True)
    seconds = time.monotonic() - began
    size = (run / "report.html").stat().st_size
    peak = int(done.stdout.split()[-1]) / 1024
    print(f"report of {samples} samples: {seconds:.1f} s with Python's start, {peak:.0f} MB, page {size / 1e6:.1f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=1000, help="samples of the long run (default 1000)")
    samples = parser.parse_args().samples
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = going_on(folder, samples)
        storing(run, folder, 300)
        reporting(folder, 300)


if __name__ == "__main__":
    main()
