"""How a sweep on a Dask cluster scales from one worker to four, and what the cluster adds to a cell.

A scripted model server answers every request after a fixed delay. `localgif sweep` runs the cells in its own process,
then on a cluster of one worker, then four times as many cells on four workers. Everything except the delay shares the
cores of this machine.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from scripts.bench.figures import conditions, seconds
from tests.scripted import MODEL, Entry, serving
from tests.search.kills import MODELS, Deterministic
from tests.support.cluster import ROOT
from tests.support.sweeps import TINY

WORKERS = 4


class Slow(Deterministic):
    """A model that takes the same time for each answer."""

    def __init__(self, delay: float) -> None:
        super().__init__()
        self.delay = delay

    def next(self, path: str, body: dict[str, Any]) -> Entry:
        time.sleep(self.delay)
        return super().next(path, body)


def measure(delay: float = 2.0, cells: int = 3) -> dict[str, Any]:
    """The three sweeps, with `cells` cells per worker and answers after `delay` seconds."""
    found = conditions(1)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(serving(Slow(delay)))
        (folder / "models.toml").write_text(MODELS.format(url=server.url, model=MODEL))

        def sweep(name: str, workers: int, *arguments: str) -> float:
            # The same seeds for each worker, so that each has the same work to do.
            axes = f"[axes]\nminutes = {[60.0 + i for i in range(workers)]}\nseed = {list(range(cells))}\n"
            (folder / f"{name}.toml").write_text(TINY + axes)
            command = [sys.executable, "-m", "localgif", "sweep", f"{name}.toml", *arguments]
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            return seconds(
                lambda: subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
            )

        here, one = sweep("here", 1), sweep("one", 1, "--scheduler", "local:1")
        four = sweep("four", WORKERS, "--scheduler", f"local:{WORKERS}")
    found["without a cluster, s"] = round(here, 1)
    found["one worker, s"] = round(one, 1)
    found[f"{WORKERS} workers, {WORKERS} times as many cells, s"] = round(four, 1)
    found["part of linear"] = round(one / four, 3)
    found["added to a cell by the cluster, s"] = round((one - here) / cells, 2)
    return found
