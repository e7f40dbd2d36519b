"""Names for colours: every RGB value has exactly one, by hue, saturation and brightness.

Anti-aliased edges and dithering make values that nobody asked for; a name is wide enough to hold the shades that people
call by it (CSS names were the guide: crimson and tomato are red, gold is yellow, sky blue is blue, navy too).
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

#: In the order of their codes; the same names as task.COLOURS, which a test compares.
NAMES = ("white", "black", "grey", "red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink", "brown")
#: Code of a pixel that is not drawn at all.
TRANSPARENT = len(NAMES)
#: A channel is looked at in steps of 8.
_BITS = 5

#: Hue from (degrees, inclusive) -> name, for colours that are neither grey nor pale nor dark.
_HUES = (
    (0, "red"),
    (19, "orange"),
    (46, "yellow"),
    (70, "green"),
    (165, "cyan"),
    (194, "blue"),
    (258, "purple"),
    (316, "pink"),
    (344, "red"),
)


@functools.cache
def table() -> npt.NDArray[np.uint8]:
    """Code of every colour, (32768,): index = red // 8 * 1024 + green // 8 * 32 + blue // 8."""
    code = {name: number for number, name in enumerate(NAMES)}
    levels = np.linspace(0, 1, 2**_BITS)
    red, green, blue = (c.ravel() for c in np.meshgrid(levels, levels, levels, indexing="ij"))
    value = np.maximum(np.maximum(red, green), blue)
    chroma = value - np.minimum(np.minimum(red, green), blue)
    hue = _hue(red, green, blue, value, chroma)
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


def _hue(
    red: npt.NDArray[np.float64],
    green: npt.NDArray[np.float64],
    blue: npt.NDArray[np.float64],
    value: npt.NDArray[np.float64],
    chroma: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """Hue in degrees, 0 to 360, of the hexagonal model (HSV); 0 for greys."""
    safe = np.where(chroma > 0, chroma, 1)
    by_red = ((green - blue) / safe) % 6
    by_green = (blue - red) / safe + 2
    by_blue = (red - green) / safe + 4
    sector = np.where(value == red, by_red, np.where(value == green, by_green, by_blue))
    return np.where(chroma > 0, 60 * sector, 0.0)


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
