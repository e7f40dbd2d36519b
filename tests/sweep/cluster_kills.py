"""Sweeps on a cluster whose workers are killed at random moments: `python -m tests.sweep.cluster_kills 20`.

Two workers, a model server each; in each sweep one of them, by chance, is killed by SIGKILL at a random moment and
another one started in its place. Each sweep must come to what an undisturbed one does, line by line.
"""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from localgif.models.toml import load_models_file
from localgif.offline import pin_libraries
from localgif.sweep.conduct import run_on_cluster
from localgif.sweep.execute import run_sweep
from localgif.sweep.plan import parse_plan
from tests.scripted import serving
from tests.search.kills import Deterministic, end_of
from tests.sweep import cluster_kit as kit
from tests.sweep.test_execute import Told

CELLS = (
    "[settings]\nmetric_calls = 3\nsamples = 1\nfresh = 1\ntarget = 'none'\n"
    "[axes]\nreflection = ['plain', 'grounded']\nseed = [0, 1]\n"
)


class Workers:
    """Two workers; one that is killed has a successor of the same name."""

    def __init__(self, folder: Path, address: str) -> None:
        self._folder, self._address = folder, address
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        for name in ("box1", "box2"):
            self.start(name)

    def start(self, name: str) -> None:
        self.running[name] = kit.worker(self._folder, self._address, name)

    def end(self) -> None:
        for running in self.running.values():
            running.kill()
            running.wait()

    def kill(self, name: str) -> None:
        self.running[name].kill()
        self.running[name].wait()
        self.start(name)


def main(rounds: int) -> None:
    pin_libraries()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        servers = {name: stack.enter_context(serving(Deterministic())) for name in ("box1", "box2")}
        (folder / "models.toml").write_text(kit.models_text(servers["box1"].url))
        models = load_models_file(folder / "models.toml")
        plan = parse_plan(CELLS + kit.places(servers), "s", "s.toml", models)
        run_sweep(plan, models, folder / "undisturbed", plan.cells, Told())
        wanted = [end_of(folder / "undisturbed" / "s" / cell.name) for cell in plan.cells]
        address = stack.enter_context(kit.scheduler(folder))
        workers = Workers(folder, address)
        stack.callback(workers.end)
        run_on_cluster(plan, models, folder / "warm", plan.cells, Told(), address)
        began = time.monotonic()
        run_on_cluster(plan, models, folder / "measured", plan.cells, Told(), address)
        seconds, samples = time.monotonic() - began, sum(len(end.samples) for end in wanted)
        print(f"undisturbed: {seconds:.1f} s, {len(plan.cells)} cells, {samples} samples", flush=True)
        hit = 0
        for number in range(rounds):
            dice, told = random.Random(number), Told()
            timer = threading.Timer(dice.uniform(0, seconds), workers.kill, (dice.choice(("box1", "box2")),))
            timer.start()
            summary = run_on_cluster(plan, models, folder / f"r{number}", plan.cells, told, address)
            timer.join()
            assert (summary["done"], summary["failed"]) == (len(plan.cells), 0), summary
            for cell, end in zip(plan.cells, wanted, strict=True):
                assert end_of(folder / f"r{number}" / "s" / cell.name) == end, f"round {number}: other {cell.name}"
            hit += any("will go on" in note for note in told.notes)
            print(f"round {number}: equal", flush=True)
        print(f"{rounds} of {rounds} sweeps ended as the undisturbed one; in {hit} of them the worker had a cell")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
