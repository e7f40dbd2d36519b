"""How long measuring and scoring a GIF takes, in this process and in the sandbox; medians.

The baseline is decoding alone, with Pillow in the same run: it converts every frame to RGB and measures nothing. For
each sample a search pays the sandbox time of a GIF like the first.
"""

from __future__ import annotations

import io
import math
import statistics
from collections.abc import Callable
from typing import Any

from PIL import Image, ImageDraw

from localgif.gif import measure as measuring
from localgif.gif.score import strict
from localgif.records import Limits, Measurements
from localgif.sandbox.runner import measure_gif
from localgif.tasks.task import load_task
from scripts.bench.figures import conditions, seconds

SIZES = ((24, 200), (24, 512), (100, 512), (200, 1024))


def moving_ball(frames: int, side: int) -> bytes:
    """A GIF of a ball that moves up and down in front of a line that differs in each frame."""
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
    """Decode every frame: the baseline."""
    with Image.open(io.BytesIO(data)) as image:
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            image.convert("RGB")


def one_size(frames: int, side: int, repeat: int) -> dict[str, Any]:
    """Medians for one size, and each as a multiple of decoding alone."""

    def median_ms(what: Callable[[], object]) -> float:
        what()  # the first call is not counted
        return 1000 * statistics.median(seconds(what) for _ in range(repeat))

    task = load_task("bouncing-ball")
    data = moving_ball(frames, side)
    numbers = Measurements.model_validate(measuring.main(data))
    decode, ours = median_ms(lambda: decoded(data)), median_ms(lambda: measuring.main(data))
    answer = measure_gif(data, measuring.__name__, Limits())
    confined = median_ms(lambda: measure_gif(data, measuring.__name__, Limits()))
    done = isinstance(answer, Measurements)  # a slow machine may exceed the limits: then that is the figure
    return {
        "KB": round(len(data) / 1000),
        "decoding, ms": round(decode, 1),
        "measuring, ms": round(ours, 1),
        "by decoding": round(ours / decode, 1),
        "scoring, ms": round(median_ms(lambda: strict(numbers, task)), 1),
        "in the sandbox, ms": round(confined, 1) if done else str(answer),
        "sandbox by decoding": round(confined / decode, 1) if done else None,
    }


def measure(repeat: int = 7) -> dict[str, Any]:
    """All sizes."""
    found = conditions(repeat)
    return found | {f"{frames} frames of {side} x {side}": one_size(frames, side, repeat) for frames, side in SIZES}
