"""The simulation against real runs: the same number of steps a second at 1, 2 and 4 endpoints?

The runs are whole ones of localgif, each a process, with a real sandbox and a real disk. Behind one address several
scripted servers answer, one request at a time each, after a delay as long as a model's. The run at one endpoint is
recorded, as any finished run can be, and that is all the simulation knows of this machine when it says what 2 and 4 do.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from localgif.endpoint.process import embedded_endpoint
from localgif.runs.lines import read_log
from localgif.runs.read import load_run
from localgif.runs.repair import ANSWERS
from localgif.runs.work import Answer
from localgif.search.progress import Silent
from localgif.search.run import optimize
from localgif.served import PooledServer, ServeConfig
from scripts.scale_model import Latencies, Place, simulate
from scripts.simulate_scale import recorded
from tests.scripted import DIGEST, MODEL, Entry, serving
from tests.search.kills import Deterministic, chosen

COUNTS = (1, 2, 4)
#: How far real runs may be from the simulation.
TOLERANCE = 0.10
#: Answers take from this part of the mean to as much more: a small model's replies differ as much in length.
SPREAD = 0.4


class Paced(Deterministic):
    """A server with one slot whose answers take their time, the same for the same request.

    Its first request waits until every server has one: so many runs begin together.
    """

    def __init__(self, delay: float, begin: threading.Barrier) -> None:
        super().__init__()
        self.delay = delay
        self.begin = begin
        self.slot = threading.Lock()

    def next(self, path: str, body: dict[str, Any]) -> Entry:
        entry = super().next(path, body)
        with self.slot:
            if len(self.history) == 1:
                self.begin.wait(120)
            asked = json.dumps([body.get("messages"), body.get("prompt"), body["options"]["seed"]], sort_keys=True)
            dice = random.Random(hashlib.sha256(asked.encode()).digest())
            time.sleep(self.delay * dice.uniform(1 - SPREAD, 1 + SPREAD))  # the model at work
        return entry


@contextlib.contextmanager
def endpoints(count: int, delay: float) -> Iterator[str]:
    """The address of so many servers, behind the gateway that `url = [...]` starts."""
    begin = threading.Barrier(count)
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(serving(Paced(delay, begin))) for _ in range(count)]
        pool = tuple(PooledServer(url=server.url, weights=((MODEL, DIGEST),)) for server in servers)
        yield stack.enter_context(embedded_endpoint(ServeConfig(servers=pool))).url


def real_runs(folder: Path, count: int, delay: float) -> list[Path]:
    """So many runs at so many endpoints, at the same time; their folders."""
    with endpoints(count, delay) as url:
        names = [f"at-{count}-{number}" for number in range(count)]
        started = [
            subprocess.Popen([sys.executable, "-m", "scripts.scale_check", url, str(folder), name, str(number)])
            for number, name in enumerate(names)
        ]
        for process in started:
            if process.wait() != 0:
                raise SystemExit(f"a run ended with exit code {process.returncode}")
    return [folder / name for name in names]


def rate(runs: list[Path]) -> float:
    """Steps a second of runs that went on at the same time: the sum of theirs, each from its first step to its last."""
    total = 0.0
    for folder in runs:
        made = [*load_run(folder).samples, *read_log(folder / ANSWERS, Answer).records]
        times = sorted(each.at or 0.0 for each in made)
        total += (len(times) - 1) / (times[-1] - times[0])
    return total


def check(delay: float) -> int:
    """Print what was simulated and what was real; 1 when they are further apart than `TOLERANCE`."""
    cores = len(os.sched_getaffinity(0))
    worst = 0.0
    with tempfile.TemporaryDirectory(prefix="scale-check-") as name:
        latencies: Latencies | None = None
        print(f"answers after {delay:g} s +- {100 * SPREAD:.0f} %, {cores} cores; steps a second")
        print(f"{'endpoints':>9} {'real':>8} {'simulated':>10} {'off by':>8}")
        for count in COUNTS:
            runs = real_runs(Path(name), count, delay)
            if latencies is None:
                # The first step holds what a run loads once, before the time that is compared begins.
                alone = recorded(runs[0])
                latencies = Latencies(
                    model=MODEL,
                    runs=(alone.model_copy(update={"steps": alone.steps[1:], "collect": 0.0}),),
                )
            real = rate(runs)
            simulated = simulate(latencies, Place(endpoints=count, cores=cores), 4000).rate
            worst = max(worst, abs(simulated / real - 1))
            print(f"{count:>9} {real:>8.3f} {simulated:>10.3f} {100 * (simulated / real - 1):>+7.1f} %", flush=True)
    print(f"at most {100 * worst:.1f} % apart, {100 * TOLERANCE:.0f} % are allowed")
    return int(worst > TOLERANCE)


def main() -> None:
    """One run, in a process of its own."""
    url, folder, name, seed = sys.argv[1:]
    optimize(chosen(url, seed=int(seed), target=None, metric_calls=10), Path(folder), name, Silent())


if __name__ == "__main__":
    main()
