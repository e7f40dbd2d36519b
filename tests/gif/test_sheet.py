"""Contact sheets of GIFs of our own, decoded right here: what they show, and that they stay small."""

from __future__ import annotations

import base64
import io
import itertools
import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from localgif.gif.sheet import CELL, MAX_BYTES, MAX_SHOWN, choice, main
from localgif.sandbox import intake
from localgif.sandbox.intake import check_png
from tests.support.scenes import saved

RED, GROUND = (255, 0, 0), (160, 160, 160)


def png_of(data: bytes) -> bytes:
    found: Any = main(data)["png"]
    return base64.b64decode(found, validate=True)


def sheet_of(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png_of(data))).convert("RGB")


def cells(sheet: Image.Image) -> list[Image.Image]:
    """The cells of a sheet whose frames are CELL pixels wide and high."""
    columns, rows = (sheet.width - 4) // (CELL + 4), (sheet.height - 4) // (CELL + 15)
    return [
        sheet.crop((4 + column * (CELL + 4), 15 + row * (CELL + 15), 4 + column * (CELL + 4) + CELL, 111 + row * 111))
        for row in range(rows)
        for column in range(columns)
    ]


def dots(places: list[tuple[int, int]], size: int = CELL, radius: int = 15) -> bytes:
    frames = []
    for x, y in places:
        frame = Image.new("RGB", (size, size), "white")
        ImageDraw.Draw(frame).ellipse((x - radius, y - radius, x + radius, y + radius), fill=RED)
        frames.append(frame)
    return saved(frames, duration=40, loop=0)


def circle(steps: int) -> list[tuple[int, int]]:
    angles = [2 * math.pi * step / steps for step in range(steps)]
    return [(round(48 + 30 * math.cos(angle)), round(48 + 30 * math.sin(angle))) for angle in angles]


def empty(cell: Image.Image) -> bool:
    return cell.getcolors() == [(CELL * CELL, GROUND)]


@given(st.integers(1, 200))
def test_the_choice_is_even_and_has_both_ends(frames: int) -> None:
    chosen = choice(frames)
    assert (chosen[0], chosen[-1]) == (0, frames - 1)
    assert len(chosen) == min(frames, MAX_SHOWN)
    gaps = {b - a for a, b in itertools.pairwise(chosen)}
    assert all(gap > 0 for gap in gaps) and (not gaps or max(gaps) - min(gaps) <= 1)


def test_the_cells_are_the_frames_of_the_choice() -> None:
    places = circle(24)
    found = cells(sheet_of(dots(places)))
    for number, cell in zip(choice(24), found, strict=False):
        assert cell.getpixel(places[number]) == RED
    assert empty(found[MAX_SHOWN]), "a loop that closes has no seam"
    assert not empty(found[MAX_SHOWN - 1])


def test_the_number_stands_above_its_frame() -> None:
    sheet = sheet_of(dots(circle(3)))
    one, two = (sheet.crop((4 + 100 * place, 4, 28 + 100 * place, 15)) for place in (0, 1))
    assert (0, 0, 0) in {colour for _, colour in one.getcolors() or ()}
    assert one.tobytes() != two.tobytes()


@pytest.mark.parametrize("radius", [15, 1], ids=["large", "small"])
def test_a_jump_is_shown_in_the_seam(radius: int) -> None:
    data = dots([(18 + 3 * step, 48) for step in range(20)], radius=radius)
    seam = cells(sheet_of(data))[MAX_SHOWN]
    assert seam.getpixel((18, 48)) == seam.getpixel((75, 48)) == (0, 255, 255), "white against red"
    assert seam.getpixel((48, 10)) == (0, 0, 0)


@pytest.mark.parametrize("places", [[(48, 48)], [(48, 48), (48, 20)], [(20, 20), (60, 60), (20, 20)]])
def test_no_seam_where_nothing_jumps(places: list[tuple[int, int]]) -> None:
    assert len(cells(sheet_of(dots(places)))) == len(places)


def test_transparent_pixels_show_the_ground() -> None:
    frames = [Image.new("RGBA", (CELL, CELL), (0, 0, 0, 0)) for _ in range(2)]
    for number, frame in enumerate(frames):
        ImageDraw.Draw(frame).rectangle((30 + number * 8, 4, 40 + number * 8, 50), fill=(*RED, 255))
    first, second = cells(sheet_of(saved(frames, duration=50, disposal=2)))
    assert (first.getpixel((32, 20)), first.getpixel((2, 2))) == (RED, GROUND)
    assert (second.getpixel((45, 20)), second.getpixel((32, 20))) == (RED, GROUND)


@pytest.mark.slow
def test_noise_becomes_a_smaller_sheet() -> None:
    dice = random.Random(1)
    frames = [Image.frombytes("RGB", (100, 100), dice.randbytes(30_000)) for _ in range(13)]
    assert 10_000 < len(png_of(saved(frames, duration=40))) <= MAX_BYTES


@pytest.mark.slow
@pytest.mark.parametrize("colours", [2, 16, 256])
def test_the_largest_noise_is_small_enough(colours: int) -> None:
    """Twelve frames and a seam of noise at the last size, at most four bits a pixel."""
    dice = random.Random(colours)
    still = Image.frombytes("P", (96, 96), bytes(dice.randrange(colours) for _ in range(96 * 96)))
    still.putpalette([value * 255 // colours for value in range(colours) for _ in range(3)])
    frames = [still.transpose(Image.Transpose(number % 5)) for number in range(12)]
    assert len(png_of(saved(frames, duration=40))) <= MAX_BYTES < intake.PNG_MAX_BYTES


@pytest.mark.slow
@given(
    st.integers(1, 200),
    st.sampled_from([1, 2, 7, 95, 96, 97, 300, 1024]),
    st.sampled_from([1, 2, 7, 95, 96, 97, 300, 1024]),
    st.sampled_from(["L", "P", "RGB", "RGBA"]),
)
def test_any_gif_gives_a_png_within_bounds(count: int, width: int, height: int, mode: str) -> None:
    if count * width * height > 600_000:
        count = max(1, 600_000 // (width * height))
    # A pixel that wanders: equal neighbours would be merged.
    frames = [Image.new(mode, (width, height)) for _ in range(count)]
    for number, frame in enumerate(frames):
        frame.putpixel((number % width, number // width % height), (number % 255 + 1,) * len(frame.getbands()))
    data = saved(frames, duration=20, loop=0)
    png = png_of(data)
    check_png(png)
    assert len(png) <= MAX_BYTES
    sheet = Image.open(io.BytesIO(png))
    sheet.load()
    assert sheet.width <= 5 * (CELL + 4) + 4 and sheet.height <= 3 * (CELL + 15) + 4
    assert png_of(data) == png
