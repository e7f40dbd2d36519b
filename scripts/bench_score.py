"""How long measuring and scoring a GIF takes, in this process and in the sandbox: `just bench-score`.

Medians. The baseline in the same run is decoding alone, with Pillow: every frame loaded and converted to RGB, nothing
measured. What the search pays for each sample is the time in the sandbox of a GIF like the first.
"""

from __future__ import annotations

import argparse
import io
import math
import statistics
import time
from collections.abc import Callable
from typing import Any

from PIL import Image, ImageDraw

from localgif.gif import measure
from localgif.gif.score import strict
from localgif.records import Limits, Measurements
from localgif.sandbox.runner import measure_gif
from localgif.tasks.task import load_task
from scripts.figures import conditions, show

SIZES = ((24, 200), (24, 512), (100, 512), (200, 1024))


def moving_ball(frames: int, side: int) -> bytes:
    """A GIF of that many frames in which a ball goes up and down, in front of a pattern that is different each time."""
    made = []
    for k in range(frames):
        image = Image.new("RGB", (side, side), "white")
        draw = ImageDraw.Draw(image)
        draw.line((0, k % side, side, (7 * k) % side), fill="grey", width=2)
        y = side * (0.5 + 0.3 * math.cos(2 * math.pi * k / frames))
        draw.ellipse((side * 0.4, y - side * 0.1, side * 0.6, y + side * 0.1), fill="red")
        made.append(image)
    file = io.BytesIO()
    made[0].save(file, format="GIF", save_all=True, append_images=made[1:], duration=40, loop=0)
    return file.getvalue()


def decoded(data: bytes) -> None:
    """The baseline."""
    with Image.open(io.BytesIO(data)) as image:
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            image.convert("RGB")


def median_ms(what: Callable[[], object], times: int) -> float:
    """Median of several calls, after one that is not counted, in milliseconds."""
    what()
    found = []
    for _ in range(times):
        started = time.perf_counter()
        what()
        found.append(time.perf_counter() - started)
    return 1000 * statistics.median(found)


def measured(frames: int, side: int, times: int) -> dict[str, Any]:
    """One size: medians, and each as a multiple of decoding alone."""
    task = load_task("bouncing-ball")
    data = moving_ball(frames, side)
    numbers = Measurements.model_validate(measure.main(data))
    decode = median_ms(lambda: decoded(data), times)
    ours = median_ms(lambda: measure.main(data), times)
    scored = median_ms(lambda: strict(numbers, task), times)
    answer = measure_gif(data, measure.__name__, Limits())
    confined = median_ms(lambda: measure_gif(data, measure.__name__, Limits()), times)
    done = isinstance(answer, Measurements)  # a slow machine may run into the limits: then that is the figure
    return {
        "KB": round(len(data) / 1000),
        "decoding, ms": round(decode, 1),
        "measuring, ms": round(ours, 1),
        "by decoding": round(ours / decode, 1),
        "scoring, ms": round(scored, 1),
        "in the sandbox, ms": round(confined, 1) if done else str(answer),
        "sandbox by decoding": round(confined / decode, 1) if done else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=7, help="calls per median (default 7)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    repeat = max(1, arguments.repeat)
    found = conditions(repeat)
    for frames, side in SIZES:
        found[f"{frames} frames of {side} x {side}"] = measured(frames, side, repeat)
    show(found, as_json=arguments.json)


if __name__ == "__main__":
    main()
