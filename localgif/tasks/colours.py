"""What a colour of a brief is to the eye: the name of hex digits, and the background on which things are seen. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from localgif.tasks.task import COLOURS, Colour

#: Hex digits of a colour, as a brief writes them.
HEX = "#(?:[0-9a-f]{6}|[0-9a-f]{3})(?![0-9a-f])"

#: Hue from (degrees, inclusive) -> name, for colours that are not grey, pale or dark, as in gif/looks.py.
_HUES: tuple[tuple[int, Colour], ...] = (
    (344, "red"),
    (316, "pink"),
    (258, "purple"),
    (187, "blue"),
    (165, "cyan"),
    (70, "green"),
    (46, "yellow"),
    (19, "orange"),
    (0, "red"),
)


def name_of_hex(text: str) -> Colour:
    """The name that gif/looks.py gives to a colour in hex digits: "#ff6b35" is orange."""
    red, green, blue = ((level >> 3) * (1 / 31) for level in _levels(text))
    value, least = max(red, green, blue), min(red, green, blue)
    chroma = value - least
    if value < 0.19 or (chroma < 0.13 and value < 0.27):
        return "black"
    if chroma < 0.13:
        return "white" if value > 0.85 else "grey"
    if value == red:
        sector = (green - blue) / chroma % 6
    else:
        sector = (blue - red) / chroma + 2 if value == green else (red - green) / chroma + 4
    named = next(name for start, name in _HUES if 60 * sector >= start)
    if named == "red" and chroma < 0.5 * value and value > 0.7:
        return "pink"
    if named == "orange" and value < 0.66:
        return "brown"
    return "green" if named == "yellow" and value < 0.45 else named


def _levels(text: str) -> tuple[int, ...]:
    digits = text.removeprefix("#")
    whole = digits if len(digits) == 6 else "".join(2 * digit for digit in digits)
    return tuple(bytes.fromhex(whole))


#: Colours that are hardly seen on white or on black, unless their shade says otherwise.
_LIGHT, _DARK = frozenset({"white", "yellow", "cyan"}), frozenset({"black"})
#: A colour in words that is light or dark, whatever its name.
_PALE = re.compile(r"\b(?:light|pale|pastel|baby|ice|off|silver|silvery)\b")
_DEEP = re.compile(r"\b(?:dark|deep|night|navy|midnight|maroon|teal|turquoise|gold|golden|mustard)\b")


def _tone(paint: str, name: str) -> str:
    """ "light", "dark", or "" for a colour that is seen on white and on black."""
    if paint.startswith("#"):
        red, green, blue = _levels(paint)
        light = (0.3 * red + 0.59 * green + 0.11 * blue) / 255
        return "light" if light > 0.7 else "dark" if light < 0.2 else ""
    if _PALE.search(paint):
        return "light"
    if _DEEP.search(paint):
        return "" if name in _LIGHT else "dark"
    return "light" if name in _LIGHT else "dark" if name in _DARK else ""


def inks_on(ground: str) -> tuple[str, ...]:
    """The colours to draw in on a background, the clearest one first."""
    return ("black", "white", "grey") if _tone(ground, ground) == "light" else ("white", "black", "grey")


def seen_beside(others: Iterable[tuple[str, str]], wanted: Iterable[str]) -> str:
    """The first of the wanted colours that can be told from the others, or else any colour that can.

    Args:
        others: Each as the brief has it, and its name: ("pale blue", "blue").
        wanted: Colours by their names.
    """
    used = [(name, _tone(paint, name)) for paint, name in others]
    tones = {tone for _, tone in used if tone}
    names = {name for name, _ in used}
    free = [name for name in dict.fromkeys((*wanted, *COLOURS)) if name not in names]
    return next((name for name in free if _tone(name, name) not in tones), (free or ["white"])[0])
