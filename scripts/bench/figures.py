"""The figures of a benchmark: takes them, prints them, and writes them into docs/lab/benchmarks.md.

Figures are one object: name -> number, text, list, or an object of these.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

END = "<!-- end -->"


def conditions(repeat: int, **others: str) -> dict[str, Any]:
    """The state of the machine before a benchmark that measures each thing `repeat` times; `others` by name."""
    usable = len(os.sched_getaffinity(0))
    return {**others, "cores": usable, "repeat": repeat, "load average": [round(each, 2) for each in os.getloadavg()]}


def seconds(action: Callable[[], object]) -> float:
    """The wall time of one call."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def in_turns(ways: Mapping[str, Callable[[], float]], repeat: int) -> dict[str, list[float]]:
    """Call each way `repeat` times, in turns, so that all meet the same load; returns the results by name."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeat):
        for name, way in ways.items():
            found[name].append(way())
    return found


def spread(milliseconds: Sequence[float]) -> dict[str, float]:
    """Median, 95th percentile and minimum."""
    ordered = sorted(milliseconds)
    return {
        "p50": round(statistics.median(ordered), 2),
        "p95": round(ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))], 2),
        "min": round(ordered[0], 2),
    }


def text(found: Mapping[str, Any]) -> str:
    """The figures as lines."""
    return "\n".join(
        f"{name}: " + (", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, Mapping) else str(value))
        for name, value in found.items()
    )


def replaced(page: str, name: str, body: str) -> str:
    """The page with `body` in the section of a benchmark, between `<!-- bench: NAME -->` and `<!-- end -->`.

    Raises:
        ValueError: The page has no section of this name, or two.
    """
    before, *rest = page.split(f"<!-- bench: {name} -->\n")
    if len(rest) != 1 or END not in rest[0]:
        raise ValueError(f'the page needs one section that begins with "<!-- bench: {name} -->" and ends with "{END}"')
    return f"{before}<!-- bench: {name} -->\n{body}{END}{rest[0].split(END, 1)[1]}"
