"""How a sweep on a Dask cluster scales from 1 endpoint to 4, and what it costs a cell over a local sweep.

`python -m scripts.bench_cluster [SECONDS] [CELLS]`: scripted model servers whose every answer takes SECONDS (2), CELLS
(3) for each endpoint. In one run: the cells of one endpoint in this process, then on a cluster of one worker, then
four times as many on four workers. All that is no waiting for a model shares the cores of this machine.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from localgif.models.toml import load_models_file
from localgif.offline import pin_libraries
from localgif.sweep.conduct import run_on_cluster
from localgif.sweep.execute import run_sweep
from localgif.sweep.plan import Plan, parse_plan
from tests.scripted import Entry, serving
from tests.search.kills import Deterministic
from tests.sweep import cluster_kit as kit
from tests.sweep.test_execute import Told

ENDPOINTS = 4


class Slow(Deterministic):
    """A model that takes its time, the same for each answer."""

    seconds = 0.0

    def next(self, path: str, body: dict[str, Any]) -> Entry:
        time.sleep(self.seconds)
        return super().next(path, body)


def main(seconds: float, cells: int) -> None:
    pin_libraries()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        servers = {f"box{number}": stack.enter_context(serving(Slow())) for number in range(1, ENDPOINTS + 1)}
        (folder / "models.toml").write_text(kit.models_text(servers["box1"].url))
        models = load_models_file(folder / "models.toml")

        def plan_of(count: int) -> Plan:
            # The same seeds for each endpoint, so that each has the same work to do.
            axes = f"[axes]\nminutes = {[60.0 + i for i in range(count)]}\nseed = {list(range(cells))}\n"
            return parse_plan(kit.TINY + axes + kit.places(servers), "s", "s.toml", models)

        def measured(name: str, count: int, sweep: Callable[[Plan, Path], dict[str, Any]]) -> float:
            plan, asked = plan_of(count), sum(len(server.history) for server in servers.values())
            began = time.monotonic()
            summary = sweep(plan, folder / name)
            took = time.monotonic() - began
            assert summary["done"] == len(plan.cells), summary
            asked = sum(len(server.history) for server in servers.values()) - asked
            print(f"{name:<12}{len(plan.cells):3} cells {asked:4} requests {took:7.1f} s", flush=True)
            return took

        def local(plan: Plan, runs_dir: Path) -> dict[str, Any]:
            return run_sweep(plan, models, runs_dir, plan.cells, Told())

        def clustered(plan: Plan, runs_dir: Path) -> dict[str, Any]:
            return run_on_cluster(plan, models, runs_dir, plan.cells, Told(), address)

        address = stack.enter_context(kit.scheduler(folder))
        stack.enter_context(kit.process(kit.worker(folder, address, "box1")))
        for name, sweep in (("warm here", local), ("warm 1", clustered)):
            measured(name, 1, sweep)
        for server in servers.values():
            server.seconds = seconds
        here, one = measured("here", 1, local), measured("1 endpoint", 1, clustered)
        for name in list(servers)[1:]:
            stack.enter_context(kit.process(kit.worker(folder, address, name)))
        for server in servers.values():
            server.seconds = 0.0
        rounds = 0
        while not all(server.history for server in servers.values()):  # workers come when they are up
            rounds += 1
            measured(f"warm 4, {rounds}", ENDPOINTS, clustered)
        for server in servers.values():
            server.seconds = seconds
        four = measured(f"{ENDPOINTS} endpoints", ENDPOINTS, clustered)
        over = (one - here) / cells
        print(f"{ENDPOINTS} endpoints: {one / four:.3f} of linear; a cell costs {over:+.2f} s more than a local one")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 2.0, int(sys.argv[2]) if len(sys.argv) > 2 else 3)
