"""How long measuring and scoring a GIF takes, in this process and in the sandbox: `just bench-score`.

The baseline in the same run is decoding alone, with Pillow: every frame loaded and converted to RGB, nothing measured.
"""

from __future__ import annotations

import argparse
import io
import math
import statistics
import time
from collections.abc import Callable

from PIL import Image, ImageDraw

from localgif.gif import measure
from localgif.gif.strict import strict
from localgif.records import Limits, Measurements
from localgif.sandbox.runner import measure_gif
from localgif.tasks.load import load_task

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


def main() -> None:
    """Prints one line a size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=7, help="calls per median (default 7)")
    times = parser.parse_args().times
    task = load_task("bouncing-ball")
    print(f"medians of {times}, milliseconds; in brackets: by the time of decoding alone")
    print(f"{'frames':>6} {'side':>5} {'KB':>7} {'decode':>8} {'measure':>15} {'score':>7} {'in the sandbox':>16}")
    for frames, side in SIZES:
        data = moving_ball(frames, side)
        # In the first of the four `measure` is what the search pays for each sample.
        decode = median_ms(lambda data=data: decoded(data), times)  # type: ignore[misc]
        numbers = Measurements.model_validate(measure.main(data))
        measured = median_ms(lambda data=data: measure.main(data), times)  # type: ignore[misc]
        scored = median_ms(lambda numbers=numbers: strict(numbers, task), times)  # type: ignore[misc]
        answer = measure_gif(data, measure.__name__, Limits())
        confined = median_ms(lambda data=data: measure_gif(data, measure.__name__, Limits()), times)  # type: ignore[misc]
        place = f"{confined:.0f} ({confined / decode:.2f})" if isinstance(answer, Measurements) else answer
        print(
            f"{frames:>6} {side:>5} {len(data) / 1000:>7.0f} {decode:>8.1f} "
            f"{f'{measured:.1f} ({measured / decode:.2f})':>15} {scored:>7.1f} {place:>16}"
        )


if __name__ == "__main__":
    main()
