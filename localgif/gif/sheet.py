"""Draws the contact sheet of a GIF, one small picture for a model that can see, in a confined process.

It shows at most twelve frames, evenly chosen, with the first and the last, each with its number from 1. If the loop
jumps, a last cell "seam" shows the absolute difference of the last and the first frame, black where they are equal.
Transparent pixels show the grey of the sheet. The same GIF always gives the same bytes.
"""

from __future__ import annotations

import base64
import io
import math
from typing import NamedTuple

from PIL import GifImagePlugin, Image, ImageChops, ImageDraw, ImageFont, ImageStat, PngImagePlugin

from localgif.gif.measure import has_alpha, opened, positions, refusing

#: Most frames of a sheet, and longest side of each, pixels.
MAX_SHOWN, CELL = 12, 96
#: Largest sheet, bytes.
MAX_BYTES = 40 * 1024

#: Longest side of a cell and number of colours, tried in turn until the sheet is small enough. The last one always is:
#: at four bits a pixel its 264 x 196 pixels take 26 kB even if nothing can be compressed.
_SIZES = ((CELL, 256), (CELL, 64), (64, 32), (48, 16))
_COLUMNS = 5
_GAP = 4
#: Room for the longest label ("seam") in Pillow's bitmap font, pixels.
_LABEL = (24, 11)
_GROUND = (160, 160, 160)

#: A loop jumps if its seam changes this many times more, or reaches this many times further, than any step inside. The
#: reach matters for a small thing: all of its pixels change at every step, however far it goes.
_JUMPS = 1.3
#: A smaller change at the seam is not a jump; mean over pixels and channels, 0 to 1.
_LEAST = 1e-4
#: For the reach, differences up to this many grey levels count as equal: a dithered picture is noisy.
_NOISE = 8

# Loaded before the process is confined: otherwise Pillow would look for it when it writes the first sheet.
assert PngImagePlugin.PngImageFile.format == "PNG"


class _Step(NamedTuple):
    """How much two frames differ."""

    mean: float
    """Over pixels and channels, 0 to 1."""
    reach: float
    """Diagonal of the rectangle around what changed, pixels."""


def main(data: bytes) -> dict[str, object]:
    """The contact sheet of one GIF: {"png": the PNG in base64}, at most MAX_BYTES of PNG.

    Raises:
        ValueError: Pillow cannot decode the GIF; the message says why.
    """
    with opened(data) as image:
        cells = _cells(image)
    for side, colours in _SIZES:
        png = _written(_drawn(cells, side), colours)
        if len(png) <= MAX_BYTES:
            break
    return {"png": base64.b64encode(png).decode("ascii")}


def choice(frames: int) -> list[int]:
    """The frames that a sheet shows, from 0 and in order: all, or MAX_SHOWN of them with the first and the last."""
    if frames <= MAX_SHOWN:
        return list(range(frames))
    return [round(place * (frames - 1) / (MAX_SHOWN - 1)) for place in range(MAX_SHOWN)]


def _cells(image: GifImagePlugin.GifImageFile) -> list[tuple[str, Image.Image]]:
    """Label and picture (RGB, at most CELL a side) of each cell."""
    with refusing():
        shown = set(choice(image.n_frames))
    cells: list[tuple[str, Image.Image]] = []
    inside = _Step(0.0, 0.0)
    first = previous = None
    for number in positions(image):
        with refusing():
            if number in shown:
                way = Image.Resampling.NEAREST if max(image.size) <= CELL else Image.Resampling.BOX
                cells.append((str(number + 1), _on_ground(_with_alpha(image).resize(_size(image, CELL), way))))
            small = _on_ground(_with_alpha(image.resize(_size(image, CELL), Image.Resampling.NEAREST)))
        if previous is not None:
            step = _step(previous, small)
            inside = _Step(max(inside.mean, step.mean), max(inside.reach, step.reach))
        first, previous = first or small, small
    if len(cells) != len(shown) or first is None or previous is None:
        raise ValueError("the number of frames changes between two readings")
    seam = _step(previous, first)
    if seam.mean >= _LEAST and (seam.mean > _JUMPS * inside.mean or seam.reach > _JUMPS * inside.reach):
        cells.append(("seam", ImageChops.difference(cells[-1][1], cells[0][1])))
    return cells


def _step(one: Image.Image, other: Image.Image) -> _Step:
    difference = ImageChops.difference(one, other)
    box = difference.convert("L").point([0] * (_NOISE + 1) + [255] * (255 - _NOISE)).getbbox()
    reach = math.hypot(box[2] - box[0], box[3] - box[1]) if box else 0.0
    return _Step(sum(ImageStat.Stat(difference).mean) / (3 * 255), reach)


def _size(image: Image.Image, side: int) -> tuple[int, int]:
    """Width and height that fit into `side`: smaller in proportion, or the largest whole multiple."""
    longest = max(image.size)
    if longest <= side:
        return image.width * (side // longest), image.height * (side // longest)
    return max(1, image.width * side // longest), max(1, image.height * side // longest)


def _with_alpha(image: Image.Image) -> Image.Image:
    """RGBA, transparent where measure.py sees a transparent pixel too."""
    if has_alpha(image):
        return image.convert("RGBA")
    opaque = image.convert("RGB")
    opaque.putalpha(255)
    return opaque


def _on_ground(image: Image.Image) -> Image.Image:
    ground = Image.new("RGB", image.size, _GROUND)
    ground.paste(image, mask=image.getchannel("A"))
    return ground


def _drawn(cells: list[tuple[str, Image.Image]], side: int) -> Image.Image:
    """The sheet, RGB: rows of cells, each below its label."""
    if max(cells[0][1].size) > side:
        box = Image.Resampling.BOX
        cells = [(label, cell.resize(_size(cell, side), box)) for label, cell in cells]
    width = max(cells[0][1].width, _LABEL[0]) + _GAP
    height = cells[0][1].height + _LABEL[1] + _GAP
    columns = min(_COLUMNS, len(cells))
    rows = -(-len(cells) // columns)
    sheet = Image.new("RGB", (columns * width + _GAP, rows * height + _GAP), _GROUND)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default_imagefont()
    for place, (label, cell) in enumerate(cells):
        x, y = _GAP + place % columns * width, _GAP + place // columns * height
        draw.text((x, y), label, fill="black", font=font)
        sheet.paste(cell, (x, y + _LABEL[1]))
    return sheet


def _written(sheet: Image.Image, colours: int) -> bytes:
    """A palette PNG."""
    few = sheet.quantize(colours, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    file = io.BytesIO()
    few.save(file, format="PNG", optimize=True, bits=4 if colours <= 16 else 8)
    return file.getvalue()
