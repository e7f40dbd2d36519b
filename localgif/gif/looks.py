"""One frame -> its background and its pieces, each with a colour name, in a confined process."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

#: Colour names in the order of their codes: the same as task.COLOURS, which a test compares.
NAMES = ("white", "black", "grey", "red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink", "brown")

#: Code of a transparent pixel.
TRANSPARENT = len(NAMES)

#: Pictures larger than this are reduced to every second, third ... pixel, so that this is the longest side.
LOOKED_SIDE = 256

#: look() keeps at most this many pieces of a frame, the largest ones.
MAX_PIECES = 12

#: A piece has at least this many pixels, and this share of the picture.
_MIN_PIXELS, _MIN_SHARE = 4, 0.0004

#: Rotational symmetries to look for.
_FOLDS = (2, 3, 4, 5, 6)
#: A weaker symmetry does not say which way a piece points. A square has 0.43, a triangle 0.75, a disc of 7 pixels 0.17
#: from its pixels alone.
_POINTS = 0.2
#: Of several symmetries the lowest one with this share of the strongest counts: a triangle has the sixfold one too.
_LOWEST = 0.6

#: Bits of each channel that count.
_BITS = 5

#: Hue from (degrees, inclusive) -> name, for colours that are not grey, pale or dark.
_HUES = (
    (0, "red"),
    (19, "orange"),
    (46, "yellow"),
    (70, "green"),
    (165, "cyan"),
    (187, "blue"),
    (258, "purple"),
    (316, "pink"),
    (344, "red"),
)

#: A middle shade is the median of about this many pixels.
_SHADES = 15

#: What touches: pixels of a piece also at a corner, pixels of a hole only at a side.
_NEIGHBOURS = np.ones((3, 3), dtype=bool)
_SIDES = ndimage.generate_binary_structure(2, 1)

#: The fields of records.Piece in their order, first those about its shape.
_Shape = tuple[str, float, float, float, float, float, float, float, float, float, int, float]
Piece = tuple[*_Shape, tuple[int, int, int], float]

# --- colours -----------------------------------------------------------------------------------------------------


def codes(rgb: npt.NDArray[np.uint8], alpha: npt.NDArray[np.uint8] | None) -> npt.NDArray[np.uint8]:
    """Code of each pixel, (height, width).

    Args:
        rgb: (height, width, 3), 0-255.
        alpha: (height, width), 0-255; below 128 a pixel is transparent. None: all are opaque.
    """
    steps = rgb >> (8 - _BITS)
    index = steps[..., 0].astype(np.uint16)
    for channel in (1, 2):
        index <<= _BITS
        index |= steps[..., channel]
    found: npt.NDArray[np.uint8] = table().take(index)
    if alpha is not None:
        found[alpha < 128] = TRANSPARENT
    return found


@functools.cache
def table() -> npt.NDArray[np.uint8]:
    """Code of every colour, (32768,): index = red // 8 * 1024 + green // 8 * 32 + blue // 8."""
    code = {name: number for number, name in enumerate(NAMES)}
    levels = np.linspace(0, 1, 2**_BITS)
    red, green, blue = (c.ravel() for c in np.meshgrid(levels, levels, levels, indexing="ij"))
    value = np.maximum(np.maximum(red, green), blue)
    chroma = value - np.minimum(np.minimum(red, green), blue)
    # Hue in degrees, 0 to 360, of the hexagonal model (HSV); 0 for greys.
    safe = np.where(chroma > 0, chroma, 1)
    others = np.where(value == green, (blue - red) / safe + 2, (red - green) / safe + 4)
    hue = np.where(chroma > 0, 60 * np.where(value == red, ((green - blue) / safe) % 6, others), 0.0)
    starts = np.array([start for start, _ in _HUES])
    names = np.array([code[name] for _, name in _HUES], dtype=np.uint8)
    found = names[np.searchsorted(starts, hue, side="right") - 1]
    saturation = chroma / np.maximum(value, 1e-9)
    reddish = found == code["red"]
    found[reddish & (saturation < 0.5) & (value > 0.7)] = code["pink"]
    found[(found == code["orange"]) & (value < 0.66)] = code["brown"]
    found[(found == code["yellow"]) & (value < 0.45)] = code["green"]
    plain = chroma < 0.13
    found[plain] = code["grey"]
    found[plain & (value > 0.85)] = code["white"]
    found[(value < 0.19) | (plain & (value < 0.27))] = code["black"]
    return found


# --- pieces ------------------------------------------------------------------------------------------------------


def reduced(side: int) -> int:
    """The n for which every n-th pixel of a picture with this longest side is looked at."""
    return -(-side // LOOKED_SIDE)


class Look(NamedTuple):
    """What one frame shows."""

    background: str
    """Colour name."""
    cover: float
    """Share of the picture that has this colour."""
    ground: tuple[int, int, int]
    """The median of its shade at the border, 0-255."""
    pieces: list[Piece]
    """Largest first."""


def look(code: npt.NDArray[np.uint8], rgb: npt.NDArray[np.uint8]) -> Look:
    """Background and pieces, from the colour code (height, width) and the colour (height, width, 3) of each pixel."""
    border = _border(code)
    background = int(np.bincount(border).argmax())
    every = max(code.shape) // _SHADES + 1
    if not (same := _border(code, every) == background).any():
        every, same = 1, border == background
    ground = _shade(_border(rgb, every)[same])
    # Thirteen comparisons take half as long as Pillow's histogram, and np.bincount would widen each byte to 64 bits.
    masks = [code == number for number in range(TRANSPARENT + 1)]
    counts = [int(np.count_nonzero(mask)) for mask in masks]
    least = max(_MIN_PIXELS, int(_MIN_SHARE * code.size))
    pieces: list[Piece] = []
    for number, mask in enumerate(masks):
        if counts[number] >= least and number != background:
            pieces += _pieces(mask, rgb, _name(number), least, masks[background])
    pieces.sort(key=lambda piece: -piece[1])
    cover = round(counts[background] / code.size, 4)
    return Look(_name(background), cover, ground, pieces[:MAX_PIECES])


def _border(values: npt.NDArray[np.uint8], every: int = 1) -> npt.NDArray[np.uint8]:
    """Every `every`-th pixel of the outermost rows and columns, in one array."""
    return np.concatenate((values[0, ::every], values[-1, ::every], values[::every, 0], values[::every, -1]))


def _shade(colours: npt.NDArray[np.uint8]) -> tuple[int, int, int]:
    """The median of each channel over an even selection of pixels; `colours` is (number of pixels, 3)."""
    some = np.sort(colours[:: len(colours) // _SHADES + 1], axis=0)
    red, green, blue = some[len(some) // 2].tolist()
    return red, green, blue


def _name(code: int) -> str:
    return "transparent" if code == TRANSPARENT else NAMES[code]


def _pieces(
    mask: npt.NDArray[np.bool_],
    rgb: npt.NDArray[np.uint8],
    name: str,
    least: int,
    background: npt.NDArray[np.bool_],
) -> list[Piece]:
    """The pieces of one colour that are large enough; what lies on a piece hides it and is no hole in it."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, left = int(rows[0]), int(columns[0])
    part = mask[top : rows[-1] + 1, left : columns[-1] + 1]
    labels, _ = ndimage.label(part, structure=_NEIGHBOURS)
    sizes = np.bincount(labels.ravel())[1:]
    boxes = ndimage.find_objects(labels)
    found = []
    for index in np.argsort(-sizes, kind="stable")[:MAX_PIECES]:
        if sizes[index] < least:
            break
        rows_, columns_ = boxes[index]
        own = labels[boxes[index]] == index + 1
        behind = background[rows[0] : rows[-1] + 1, left : columns[-1] + 1][boxes[index]]
        box = left + columns_.start, top + rows_.start, left + columns_.stop, top + rows_.stop
        y, x = np.nonzero(own)
        every = x.size // _SHADES + 1
        shade = _shade(rgb[y[::every] + box[1], x[::every] + box[0]])
        if not (own | behind).all() and (hidden := _inside(own, behind)) is not None:
            y, x = np.nonzero(own | hidden)
        shape, inertia = _described(name, x + box[0], y + box[1], box, mask.shape)
        found.append((*shape, shade, inertia))
    return found


def _inside(own: npt.NDArray[np.bool_], behind: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_] | None:
    """The pixels inside a piece that belong to other things, without holes that show the background.

    None if there are none, or more than its own: then the piece is the fringe of the thing inside it.
    """
    labels, count = ndimage.label(~own, structure=_SIDES)
    inside = np.ones(count + 1, dtype=bool)
    inside[0] = False
    for outside in (labels[0], labels[-1], labels[:, 0], labels[:, -1], labels[behind]):
        inside[outside] = False
    if not inside.any():
        return None
    hidden: npt.NDArray[np.bool_] = inside[labels]
    return hidden if np.count_nonzero(hidden) < np.count_nonzero(own) else None


def _described(
    name: str,
    x: npt.NDArray[np.intp],
    y: npt.NDArray[np.intp],
    box: tuple[int, int, int, int],
    shape: tuple[int, ...],
) -> tuple[_Shape, float]:
    """The fields about a piece's shape, and its inertia.

    Args:
        x, y: Its pixels.
        box: Its left, top, right and bottom edge, pixels; the last two are behind its last pixel.
        shape: Height and width of the frame.
    """
    height, width = shape
    count = x.size
    # A sum divided by the count is a mean, without the checks that np.mean makes for every piece.
    cx, cy = x.sum() / count, y.sum() / count
    dx, dy = x - cx, y - cy
    # A pixel is a square, not a point: 1/12 is its own variance.
    dx2, dy2 = dx * dx, dy * dy
    xx, yy, xy = dx2.sum() / count + 1 / 12, dy2.sum() / count + 1 / 12, (dx * dy).sum() / count
    root = math.sqrt(((xx - yy) / 2) ** 2 + xy * xy)
    middle = (xx + yy) / 2
    squared = dx2 + dy2
    spread = math.pi * (math.sqrt(squared.max()) + 0.25) ** 2 / count
    fold, angle = _pointing(dx + 1j * dy, squared)
    numbers = (
        count / (width * height),
        (cx + 0.5) / width,
        (cy + 0.5) / height,
        box[0] / width,
        box[1] / height,
        box[2] / width,
        box[3] / height,
        spread,
        math.sqrt((middle + root) / (middle - root)),
    )
    inertia = round(float(4 * math.pi * middle / count), 3)
    area, cx, cy, left, top, right, bottom, wide, long = (round(float(n), 4) for n in numbers)
    return (name, area, cx, cy, left, top, right, bottom, wide, long, fold, angle), inertia


def _pointing(z: npt.NDArray[np.complex128], squared: npt.NDArray[np.float64]) -> tuple[int, float]:
    """The rotational symmetry of a piece (0: too weak), and its angle in degrees.

    The n-th moment sum(r**4 * exp(i n phi)) / sum(r**4) turns n times as fast as the piece. Far pixels, the corners,
    count most.
    """
    weight = squared * squared
    total = weight.sum()
    if total == 0:
        return 0, 0.0
    unit = z / np.maximum(np.sqrt(squared), 1e-9)
    turning = weight * unit
    moments = {}
    for fold in _FOLDS:  # one power more each time
        turning *= unit
        moments[fold] = complex(turning.sum() / total)
    strongest = max(abs(m) for m in moments.values())
    if strongest < _POINTS:
        return 0, 0.0
    fold = next(n for n in _FOLDS if abs(moments[n]) >= _LOWEST * strongest)
    return fold, round(float(np.degrees(np.angle(moments[fold])) / fold), 2)
