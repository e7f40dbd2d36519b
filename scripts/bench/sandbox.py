"""The cost of the sandbox, in milliseconds of wall time.

One job runs a program that draws 24 frames of 96 pixels, takes its GIF and measures it: with a running keeper (warm),
with a new keeper (cold), and in two ways without a sandbox: in a plain subprocess that draws and measures, and in one
that only draws, while our own process measures. Then come the layers one by one, and two jobs at a time.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from localgif.gif import measure as measuring
from localgif.records import Measurements
from localgif.sandbox import keeper_client, probe
from localgif.sandbox.protocol import KILL, LANDLOCK, LAYERS, PRIVILEGES, RLIMITS, SECCOMP, WATCH
from localgif.sandbox.runner import measure_gif, run_program
from scripts.bench.figures import conditions, in_turns, seconds, spread
from tests.support.kit import program

PROGRAM = program(24)


def job(layers: frozenset[str] | None = None) -> None:
    """Run, take, measure."""
    result = run_program(PROGRAM, layers=layers)
    assert result.gif is not None, result
    assert isinstance(measure_gif(result.gif, measuring.__name__, layers=layers), Measurements)


def cold_job() -> None:
    """The same with a new keeper."""
    keeper_client.stop()
    job(LAYERS[probe.decide().level])


def subprocess_measures() -> None:
    """Without a sandbox: a subprocess draws and measures."""
    code = (
        f"{PROGRAM}\nimport sys\nfrom localgif.gif import measure\nmake_gif(sys.argv[1])\n"
        "assert measure.main(open(sys.argv[1], 'rb').read())['frames'] == 24\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-c", code, f"{folder}/out.gif"], check=True)


def we_measure() -> None:
    """Without a sandbox: a subprocess draws, our own process measures with Pillow already loaded."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "out.gif"
        subprocess.run([sys.executable, "-c", f"{PROGRAM}\nimport sys\nmake_gif(sys.argv[1])\n", path], check=True)
        assert measuring.main(path.read_bytes())["frames"] == 24


def milliseconds(action: Callable[[], object]) -> float:
    """The wall time of one call."""
    return 1000 * seconds(action)


def layer_costs(repeat: int) -> dict[str, float]:
    """Median milliseconds to run the program alone, with one more layer at each step."""
    steps = ("none", RLIMITS, PRIVILEGES, LANDLOCK, SECCOMP, WATCH, KILL)
    ways = {
        name: partial(milliseconds, partial(run_program, PROGRAM, layers=frozenset(steps[1 : number + 1])))
        for number, name in enumerate(steps)
    }
    return {name: round(statistics.median(values), 2) for name, values in in_turns(ways, repeat).items()}


def throughput(threads: int, jobs: int) -> float:
    """Jobs per second."""
    with ThreadPoolExecutor(threads) as pool:
        return round(jobs / seconds(lambda: list(pool.map(lambda _: job(), range(jobs)))), 1)


def keeper() -> psutil.Process:
    """The keeper's process."""
    pid = keeper_client.pid()
    assert pid is not None
    return psutil.Process(pid)


def measure(repeat: int = 50) -> dict[str, Any]:
    """All figures; each thing is timed `repeat` times."""
    found = conditions(repeat) | {"level": probe.decide().level}
    job()
    ways = {
        "warm": job,
        "cold": cold_job,
        "plain subprocess": subprocess_measures,
        "plain, measured by us": we_measure,
    }
    timed = in_turns({name: partial(milliseconds, way) for name, way in ways.items()}, repeat)
    medians = {name: statistics.median(values) for name, values in timed.items()}
    found |= {name: spread(values) for name, values in timed.items()}
    found |= {f"{name} / warm": round(medians[name] / medians["warm"], 1) for name in ways if name != "warm"}
    found["run alone, layers added"] = layer_costs(repeat)
    found["jobs per second, 1 thread"] = throughput(1, repeat)
    found["jobs per second, 2 threads"] = throughput(2, 2 * repeat)
    found["keeper, MB"] = round(keeper().memory_info().rss / 2**20, 1)
    keeper_client.stop()
    return found
