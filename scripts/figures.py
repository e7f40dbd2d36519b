"""What every benchmark says in the same way: the conditions it ran under, and its figures as text or as JSON.

The figures are one object: name -> number, text, list, or an object of them (one row). `just bench` makes the tables of
docs/lab/benchmarks.md from it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

#: Names of conditions: they stand above a table, not in it.
CONDITIONS = ("model", "cores", "repeat", "load average")


def conditions(repeat: int, **others: str) -> dict[str, Any]:
    """The machine as it is now, before anything is measured.

    Args:
        repeat: How often each thing is measured.
        others: More conditions.
    """
    usable = len(os.sched_getaffinity(0))
    return {**others, "cores": usable, "repeat": repeat, "load average": [round(each, 2) for each in os.getloadavg()]}


def show(found: Mapping[str, Any], *, as_json: bool) -> None:
    """Print the figures."""
    if as_json:
        print(json.dumps(found, indent=2))
        return
    for name, value in found.items():
        print(f"{name:<42} {'  '.join(f'{k}: {v}' for k, v in value.items()) if isinstance(value, Mapping) else value}")
