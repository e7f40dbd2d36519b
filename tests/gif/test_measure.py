"""Measurements of GIFs whose numbers are known, against an independent reading of the same file.

The GIFs are our own, so they are decoded right here.
"""

from __future__ import annotations

import base64
import io
import itertools
import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageDraw, ImageSequence, ImageStat

from localgif.gif import sheet
from localgif.gif.measure import main
from localgif.gif.score import article
from localgif.records import Measurements
from localgif.sandbox.intake import check_png
from tests.support.scenes import saved


def measured(data: bytes) -> Measurements:
    return Measurements.model_validate(main(data))


def dot_frames(positions: list[tuple[int, int]]) -> list[Image.Image]:
    frames = []
    for x, y in positions:
        frame = Image.new("RGB", (120, 120), "white")
        ImageDraw.Draw(frame).ellipse((x - 15, y - 15, x + 15, y + 15), fill="red")
        frames.append(frame)
    return frames


def round_trip(steps: int) -> list[tuple[int, int]]:
    """Positions of a dot on a circle; the last is one step before the first."""
    angles = [2 * math.pi * (step + 0.3) / steps for step in range(steps)]
    return [(round(60 + 40 * math.cos(angle)), round(60 + 40 * math.sin(angle))) for angle in angles]


def independent(data: bytes) -> tuple[float, float]:
    """Motion and gap by Pillow's own arithmetic."""
    with Image.open(io.BytesIO(data)) as image:
        greys = [frame.convert("L") for frame in ImageSequence.Iterator(image)]
    steps = [ImageStat.Stat(ImageChops.difference(a, b)).sum[0] for a, b in itertools.pairwise(greys)]
    gap = ImageStat.Stat(ImageChops.difference(greys[-1], greys[0])).sum[0]
    return (sum(steps) / len(steps) if steps else 0.0), gap


def test_a_clean_loop_of_24_frames_scores_the_articles_ceiling() -> None:
    m = measured(saved(dot_frames(round_trip(24)), duration=40, loop=0))
    assert (m.frames, m.distinct_frames, m.delays_ms, m.loop) == (24, 24, (40,) * 24, 0)
    assert m.gap / m.motion == pytest.approx(1, abs=0.1)
    assert article(m).total == 0.992


def test_equal_neighbours_are_merged_and_score_what_the_article_published() -> None:
    positions = round_trip(23)
    m = measured(saved(dot_frames([positions[0], *positions]), duration=40, loop=0))
    assert (m.frames, m.delays_ms) == (23, (80,) + (40,) * 22)
    assert article(m).total == pytest.approx(0.972, abs=0.004)


def test_only_the_last_delay_is_read_as_in_the_article() -> None:
    positions = round_trip(23)
    m = measured(saved(dot_frames([*positions, positions[-1]]), duration=40, loop=0))
    assert (m.frames, m.delays_ms) == (23, (40,) * 22 + (80,))
    assert article(m).total == pytest.approx(0.972 - 0.2 * (0.92 - 0.16), abs=0.004)


def test_a_still_picture_scores_what_the_seed_prompt_scored() -> None:
    m = measured(saved(dot_frames([(60, 60)])))
    assert (m.frames, m.delays_ms, m.loop, m.motion, m.gap) == (1, (0,), None, 0.0, 0.0)
    assert article(m).total in {0.112, 0.113}


def test_a_motion_that_ends_elsewhere_is_not_a_loop() -> None:
    m = measured(saved(dot_frames([(20 + 3 * i, 60) for i in range(24)]), duration=40, loop=0))
    assert m.gap > 4 * m.motion
    assert {part.name: part.value for part in article(m).parts}["loop"] == 0


def test_transparent_frames_are_composited_as_pillow_does() -> None:
    frames = [Image.new("RGBA", (40, 40), (0, 0, 0, 0)) for _ in range(3)]
    for number, frame in enumerate(frames):
        ImageDraw.Draw(frame).rectangle((number * 8, 4, number * 8 + 6, 30), fill=(255, 0, 0, 255))
    for disposal in (0, 1, 2):
        data = saved(frames, duration=50, disposal=disposal)
        m = measured(data)
        assert (m.motion, m.gap) == independent(data)


@given(
    st.lists(st.tuples(st.integers(0, 120), st.integers(0, 120)), min_size=1, max_size=6),
    st.integers(2, 50).map(lambda tens: tens * 10),
)
def test_motion_and_gap_equal_an_independent_calculation(positions: list[tuple[int, int]], delay: int) -> None:
    data = saved(dot_frames(positions), duration=delay)
    m = measured(data)
    motion, gap = independent(data)
    assert m.motion == pytest.approx(motion)
    assert m.gap == gap
    assert (m.size, m.width, m.height) == (len(data), 120, 120)
    assert sum(m.delays_ms) == delay * len(positions) or m.frames == 1
    assert m.distinct_frames <= m.frames == len(m.delays_ms)


@pytest.mark.parametrize("read", [main, sheet.main])
@given(st.data())
def test_a_mutated_gif_is_read_or_refused_with_a_value_error(
    read: Callable[[bytes], dict[str, object]], choice: st.DataObject
) -> None:
    data = bytearray(saved(dot_frames([(20, 20), (60, 60)])))
    for _ in range(choice.draw(st.integers(1, 3))):
        # Behind the sizes in the screen descriptor: those the walk checks before anything is decoded.
        data[choice.draw(st.integers(10, len(data) - 1))] = choice.draw(st.integers(0, 255))
    try:
        found = read(bytes(data))
    except ValueError as error:
        assert str(error)
    else:
        if "png" in found:
            check_png(base64.b64decode(str(found["png"])))


@pytest.mark.parametrize("read", [main, sheet.main])
@pytest.mark.parametrize("data", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n" + bytes(50), b"<html>"])
def test_bytes_that_are_not_a_gif_are_a_value_error(read: Callable[[bytes], dict[str, object]], data: bytes) -> None:
    with pytest.raises(ValueError):
        read(data)
