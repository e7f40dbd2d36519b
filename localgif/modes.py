"""The three modes of optimize_anything, and what a run does in each where no flag says otherwise."""

from __future__ import annotations

from typing import Any, Literal

Mode = Literal["single", "multi", "general"]
"""One task; one prompt for several; learn from some tasks and be tested on others."""

#: What --task names for the split that ships (tasks/suite.py).
SHIPPED_SPLIT = "shipped-split"

#: Several tasks are witnesses enough: one sample of each tells more than two of half as many.
DEFAULTS: dict[str, dict[str, Any]] = {
    "single": {"task": "bouncing-ball", "metric_calls": 12, "samples": 2},
    "multi": {
        "task": "bouncing-ball,spinning-square,pulsing-square,sliding-square",
        "metric_calls": 40,
        "samples": 1,
    },
    "general": {"task": SHIPPED_SPLIT, "metric_calls": 60, "samples": 1},
}
