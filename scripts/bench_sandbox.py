"""What the sandbox costs: `just bench-sandbox [--repeat 50] [--programs 1000] [--json]`.

One job is: run a program that draws 24 frames of 128 pixels, take its GIF, measure it. It is timed with a keeper that
runs (warm), with one that has to be started (cold), and against two ways without a sandbox: a plain subprocess that
draws and measures, and one that draws only while Pillow measures in our own process. Then the layers one by one, two
jobs at a time, the kill of a tree of daemons, and what 1,000 programs leave behind. Wall times in milliseconds; run it
on an idle machine, the load average is printed.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil

from localgif.gif import measure
from localgif.records import Limits, Measurements, Verdict
from localgif.sandbox import keeper_client, probe
from localgif.sandbox.protocol import KILL, LANDLOCK, LAYERS, LIMITS_ONLY, PRIVILEGES, RLIMITS, SECCOMP, WATCH
from localgif.sandbox.runner import measure_gif, run_program
from scripts.figures import conditions, show

PROGRAM = """
from PIL import Image, ImageDraw

def make_gif(path):
    frames = []
    for i in range(24):
        frame = Image.new("RGB", (128, 128), (20, 24, 32))
        draw = ImageDraw.Draw(frame)
        y = 100 - abs(12 - i) * 7
        draw.line((0, 112, 127, 112), fill=(200, 200, 200), width=2)
        draw.ellipse((54, y - 10, 74, y + 10), fill=(230, 80, 60))
        frames.append(frame)
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=40, loop=0)
"""
SMALL_PROGRAM = """
import os
def make_gif(path):
    open("scratch.txt", "w").write("x" * 1000)
    open(path, "wb").write(b"no GIF")
"""
#: Ten daemons in sessions of their own, and one that forks anew every few milliseconds; then the time, and out.
DAEMONS = """
import os, sys, time
def make_gif(path):
    for _ in range(10):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                time.sleep(60)
            os._exit(0)
    if os.fork() == 0:
        os.setsid()
        for _ in range(2000):
            if os.fork():
                os._exit(0)
            time.sleep(0.003)
        os._exit(0)
    time.sleep(0.05)
    sys.stdout.write(f"{time.monotonic()}\\n")
    sys.stdout.flush()
    os._exit(0)
"""

#: Layers as they are added, for the cost of each.
STEPS = (("none", None), *((name, name) for name in (RLIMITS, PRIVILEGES, LANDLOCK, SECCOMP, WATCH, KILL)))


def job(layers: frozenset[str] | None = None) -> None:
    """Run, take, measure."""
    result = run_program(PROGRAM, layers=layers)
    assert result.gif is not None, result
    assert isinstance(measure_gif(result.gif, measure.__name__, layers=layers), Measurements)


def plain_job() -> None:
    """Without a sandbox: a subprocess draws, Pillow measures in our own process, which has loaded it already."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "out.gif"
        code = f"{PROGRAM}\nimport sys\nmake_gif(sys.argv[1])\n"
        subprocess.run([sys.executable, "-c", code, str(path)], check=True)
        assert measure.main(path.read_bytes())["frames"] == 24


def plain_subprocess() -> None:
    """Without a sandbox: a subprocess draws and measures."""
    with tempfile.TemporaryDirectory() as folder:
        code = f"""{PROGRAM}
import sys
sys.path.insert(0, sys.argv[2])
from localgif.gif import measure
make_gif(sys.argv[1])
assert measure.main(open(sys.argv[1], "rb").read())["frames"] == 24
"""
        place = str(Path(measure.__file__).parent.parent.parent)
        subprocess.run([sys.executable, "-c", code, f"{folder}/out.gif", place], check=True)


def cold_job() -> None:
    keeper_client.stop()
    job(LAYERS[probe.decide().level])


def times(action: Callable[[], object], repeat: int) -> list[float]:
    """Milliseconds of each call."""
    found = []
    for _ in range(repeat):
        started = time.perf_counter()
        action()
        found.append(1000 * (time.perf_counter() - started))
    return found


def spread(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        "p50": round(statistics.median(ordered), 1),
        "p95": round(ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))], 1),
        "min": round(ordered[0], 1),
    }


def layer_costs(repeat: int) -> dict[str, float]:
    """Median of running the program alone, with one more layer at each step, in turns so that load is shared."""
    sets: dict[str, frozenset[str]] = {}
    chosen: frozenset[str] = frozenset()
    for label, name in STEPS:
        chosen |= {name} if name else frozenset()
        sets[label] = chosen
    found: dict[str, list[float]] = {label: [] for label in sets}
    for _ in range(repeat):
        for label, layers in sets.items():
            found[label] += times(lambda layers=layers: run_program(PROGRAM, layers=layers), 1)
    return {label: round(statistics.median(values), 2) for label, values in found.items()}


def throughput(workers: int, jobs: int) -> float:
    """Jobs per second with so many threads."""
    started = time.perf_counter()
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(lambda _: job(), range(jobs)))
    return round(jobs / (time.perf_counter() - started), 1)


def kill_times(repeat: int) -> list[float]:
    """Milliseconds from the moment the program's first process ends until nothing is left and the result is back."""
    limits = Limits(processes=100, threads=100)
    found = []
    for _ in range(repeat):
        result = run_program(DAEMONS, limits, layers=LAYERS[LIMITS_ONLY] - {RLIMITS})
        returned = time.monotonic()
        assert result.verdict is Verdict.OUTPUT_MISSING, result
        assert not below_keeper()
        found.append(1000 * (returned - float(result.output.split()[0])))
    return found


def below_keeper() -> list[psutil.Process]:
    return keeper_process().children(recursive=True)


def keeper_process() -> psutil.Process:
    pid = keeper_client.pid()
    assert pid is not None
    return psutil.Process(pid)


def state() -> dict[str, int]:
    """What must not grow."""
    return {
        "processes": len(psutil.Process().children(recursive=True)),
        "our descriptors": psutil.Process().num_fds(),
        "keeper's descriptors": keeper_process().num_fds(),
        "files": len(list(Path(tempfile.gettempdir()).iterdir())),
    }


def leftovers(programs: int) -> dict[str, Any]:
    """Differences in what exists before and after many programs."""
    run_program(SMALL_PROGRAM)
    before, rss = state(), keeper_process().memory_info().rss
    started = time.perf_counter()
    for _ in range(programs):
        assert run_program(SMALL_PROGRAM).verdict is Verdict.OUTPUT_BAD
    seconds = time.perf_counter() - started
    return {
        "programs": programs,
        "ms per program": round(1000 * seconds / max(1, programs), 1),
        "left": {name: count - before[name] for name, count in state().items()},
        "keeper grew by bytes": keeper_process().memory_info().rss - rss,
    }


def measure_all(repeat: int, programs: int) -> dict[str, Any]:
    machine = conditions(repeat)
    level = probe.decide().level
    job()
    ways = {
        "warm": job,
        "cold": cold_job,
        "plain subprocess": plain_subprocess,
        "plain, measured by us": plain_job,
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeat):  # in turns: all meet the same load
        for name, action in ways.items():
            found[name] += times(action, 1)
    medians = {name: statistics.median(values) for name, values in found.items()}
    return {
        **machine,
        "level": level,
        **{name: spread(values) for name, values in found.items()},
        **{f"{name} / warm": round(medians[name] / medians["warm"], 1) for name in ways if name != "warm"},
        "run alone, layers added": layer_costs(repeat),
        "jobs per second, 1 thread": throughput(1, repeat),
        "jobs per second, 2 threads": throughput(2, 2 * repeat),
        "kill of daemons": spread(kill_times(min(repeat, 20))),
        "keeper rss MB": round(keeper_process().memory_info().rss / 2**20, 1),
        "leftovers": leftovers(programs),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=50, help="how often each thing is timed")
    parser.add_argument("--programs", type=int, default=1000, help="how many programs must leave nothing")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        tempfile.tempdir = folder  # nobody else's files are counted
        found = measure_all(max(1, arguments.repeat), arguments.programs)
        keeper_client.stop()
    show(found, as_json=arguments.json)


if __name__ == "__main__":
    main()
