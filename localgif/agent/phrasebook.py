"""What phrases decide: the formulas, places, sizes, colours and shapes of programs in the form.

A prompt lists them as its phrasebook. They draw nothing by themselves.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from PIL import ImageColor

from localgif.tasks.outline import Outline, Phrase, Thing
from localgif.tasks.task import PLACE_PHRASES
from localgif.tasks.words import normalised, words

#: The numbers that FUNCTIONS names. A small model looks up a name, but copies a number from its last example.
NAMED = {"SMALL": 34.0, "LARGE": 90.0, "LONG": 120.0, "LEFT": 45.0, "RIGHT": 155.0}
NAMED |= {"TOP": 45.0, "BOTTOM": 155.0, "ABOVE": 60.0, "BELOW": 140.0}

Aspect = Literal["path", "scale", "turn", "shown"]
ASPECTS: tuple[Aspect, ...] = ("path", "scale", "turn", "shown")


class Formula(NamedTuple):
    """One way in which a quantity can depend on time."""

    value: str
    """The value of the phrase that asks for it (tasks/outline.py); "" for a formula that no phrase names."""
    text: str
    """The statements; {x}, {y}, {w} and {h} stand for the figure's own numbers. Empty if nothing changes."""
    said: str = ""
    """The phrase in a prompt's phrasebook; empty for a formula that the phrasebook does not list."""


#: The paths. Their amplitudes keep a figure of usual size inside a picture of 200 x 200 pixels, and a small figure
#: clear of the large one that it goes round.
_PATHS = (
    Formula("", ""),
    Formula("up-down", "y = {y} + 60 * math.cos(t)", "moves up and down"),
    Formula("left-right", "x = {x} + 60 * math.cos(t)", "moves left and right"),
    Formula("orbit", "x, y = {x} + 68 * math.cos(t), {y} + 68 * math.sin(t)", "goes in a circle"),
    Formula(
        "diagonal-down",
        "x, y = {x} - 60 * math.cos(t), {y} - 60 * math.cos(t)",
        "moves from the top left to the bottom right and back",
    ),
    Formula(
        "diagonal-up",
        "x, y = {x} - 60 * math.cos(t), {y} + 60 * math.cos(t)",
        "moves from the bottom left to the top right and back",
    ),
    Formula("up-down above", "y = 70 + 36 * math.cos(t)", "moves up and down in the top half, over the grey star"),
    Formula("across", "x = -20 + 240 * t / (2 * math.pi)", "crosses the picture"),
    Formula("across right", "x = 220 - 240 * t / (2 * math.pi)", "crosses the picture leftwards"),
    Formula("down", "y = -20 + 240 * t / (2 * math.pi)", "falls"),
    Formula("up", "y = 220 - 240 * t / (2 * math.pi)", "rises"),
    Formula("swing", "x, y = {x} + 60 * math.cos(t), {y} - 24 * math.cos(t) ** 2", "swings like a pendulum"),
    Formula("meet", "x = {x} + 0.15 * (100 - {x}) * (1 - math.cos(t))", "moves to the middle and back"),
    Formula("eight", "x, y = {x} + 60 * math.cos(t), {y} + 36 * math.sin(2 * t)", "moves in a figure eight"),
    Formula(
        "edges",
        "x, y = min(165, max(35, {x} + 110 * math.cos(t))), min(165, max(35, {y} + 110 * math.sin(t)))",
        "moves along the edges",
    ),
    Formula("orbit back", "x, y = {x} + 68 * math.cos(t), {y} - 68 * math.sin(t)"),
    Formula("arc", "x, y = {x} + 60 * math.cos(t), {y} + 30 - 70 * math.sin(t) ** 2"),
    Formula("swap", "x, y = 100 + ({x} - 100) * math.cos(t), 100 + 0.8 * ({x} - 100) * math.sin(t)"),
    Formula("eight around", "x, y = {x} + 76 * math.cos(t), {y} + 46 * math.sin(2 * t)"),
    Formula("shake", "x += 20 * math.cos(2 * t)"),
    Formula("up-down", "y = {y} + 30 - 90 * abs(math.sin(t / 2))"),
)
_SCALES = (
    Formula("", ""),
    Formula("pulse", "width = height = {w} + 20 * math.cos(t)", "grows and shrinks"),
    Formula(
        "grow left",
        "width = SMALL + 24 * min(t, 5 * (2 * math.pi - t))\nx = 30 + width / 2",
        "grows rightwards and shrinks quickly",
    ),
    Formula(
        "grow bottom",
        "height = SMALL + 24 * min(t, 5 * (2 * math.pi - t))\ny = 170 - height / 2",
        "grows upwards and shrinks quickly",
    ),
    Formula("grow right", "width = SMALL + 24 * min(t, 5 * (2 * math.pi - t))\nx = 170 - width / 2"),
    Formula("grow top", "height = SMALL + 24 * min(t, 5 * (2 * math.pi - t))\ny = 30 + height / 2"),
    Formula("grow", "width = height = SMALL + 17 * min(t, 5 * (2 * math.pi - t))", "grows and shrinks quickly"),
    Formula("grow beside", "width = height = 20 + 11 * min(t, 5 * (2 * math.pi - t))"),
    Formula("grow around", "width = height = 60 + 18 * min(t, 5 * (2 * math.pi - t))"),
    Formula("wide", "width = {w} * (1 + 0.5 * math.cos(t))", "gets wider and narrower"),
    Formula("tall", "height = {h} * (1 + 0.5 * math.cos(t))", "gets taller and shorter"),
    Formula(
        "stretch",
        "width, height = {w} * (1 - 0.4 * math.cos(t)), {h} * (1 + 0.4 * math.cos(t))",
        "stretches and flattens",
    ),
    Formula("flip", "height = {h} * math.cos(t)"),
    Formula("shrink", "width = height = {w} * (0.1 + 0.22 * ((3 - t) % (2 * math.pi)))"),
    Formula("ripple", "width = height = width * 1.82 ** (t / (2 * math.pi))"),
)
_TURNS = (
    Formula("", ""),
    Formula("spin", "angle = t", "spins"),
    Formula("rock", "angle = 0.5 * math.sin(t)", "rocks, swings"),
    Formula("spin back", "angle = -t"),
    Formula(
        "hang",
        "angle = math.pi / 2 + 0.6 * math.sin(t)\nx, y = 100 + 60 * math.cos(angle), 30 + 60 * math.sin(angle)",
    ),
    Formula("hand", "angle = t\nx, y = 100 + 30 * math.cos(angle), 100 + 30 * math.sin(angle)"),
    Formula("flipped", "angle = math.pi"),
    Formula("upright", "angle = math.pi / 2", "upright"),
)
_SHOWN = (
    Formula("", ""),
    Formula("blink", "color = color if math.cos(t) > 0 else None", "blinks"),
    Formula("blink", "color = color if math.cos(2 * t) > 0 else None"),
)
#: Aspect -> its formulas. The search over formulas tries these and no others.
FORMULAS: dict[Aspect, tuple[Formula, ...]] = {"path": _PATHS, "scale": _SCALES, "turn": _TURNS, "shown": _SHOWN}

#: Value of a place -> x and y; None leaves the coordinate as it is.
PLACES: dict[str, tuple[float | None, float | None]] = {
    "middle": (100, 100),
    "top": (None, NAMED["TOP"]),
    "bottom": (None, NAMED["BOTTOM"]),
    "left": (NAMED["LEFT"], None),
    "right": (NAMED["RIGHT"], None),
    "above": (None, NAMED["ABOVE"]),
    "below": (None, NAMED["BELOW"]),
    "top-left": (NAMED["LEFT"], NAMED["TOP"]),
    "top-right": (NAMED["RIGHT"], NAMED["TOP"]),
    "bottom-left": (NAMED["LEFT"], NAMED["BOTTOM"]),
    "bottom-right": (NAMED["RIGHT"], NAMED["BOTTOM"]),
}
#: Corners that a prompt does not list: two are enough to show how one is written.
_UNLISTED = ("top-right", "bottom-left")
#: Word for a size -> side, pixels; the picture has 200. Bars are long.
SIDES = {"": 60.0, "small": NAMED["SMALL"], "large": NAMED["LARGE"], "long": NAMED["LONG"]}


def formula_of(phrase: Phrase) -> str:
    """The statements that a phrase asks for, with placeholders for the figure's numbers; "" without a formula."""
    said = re.fullmatch(r"(.+?)(?: (twice|thrice)| number (\d+) of (\d+))?", phrase.value)
    formulas = FORMULAS.get(phrase.aspect, ())  # type: ignore[call-overload]
    found: str = next((f.text for f in formulas if said and f.value == said[1]), "")
    if said is not None and said[2]:
        return re.sub(r"\bt\b", f"{2 if said[2] == 'twice' else 3} * t", found)
    if said is None or not said[3]:
        return found
    number, count = int(said[3]), int(said[4])
    later = 2 * math.pi * (number - 1) / count
    found = found.replace("(t)", f"(t - {later:.2f})") if later else found
    # Of two things, each is seen for half of the loop, of three for a third.
    return found.replace("> 0 ", f"> {math.cos(math.pi / count):.1f} ") if count > 2 else found


def is_unlisted(phrase: Phrase) -> bool:
    """Whether a phrase has a formula that the phrasebook does not list, so that no model knows it.

    That includes what several things do in turn: a model drops the numbers that make each begin at its own time.
    """
    return bool(formula_of(phrase)) and not any(_entries_of(phrase))


def wide_of(thing: Thing) -> float:
    """The width that a thing's phrase about its size gives it."""
    named = next((phrase.value for phrase in thing.says if phrase.aspect == "size"), "")
    return SIDES.get(named) or float(named)


def beginning(phrase: Phrase) -> str:
    """The left side of the assignment that a phrase asks for ("x, y ="); "" without a formula."""
    return targets("color = None" if phrase.aspect == "color" else formula_of(phrase))


def targets(line: str) -> str:
    """The left side of an assignment, with its "=": "x, y =", "width = height ="; "" without one."""
    found = re.match(r"[a-z, ]+=(?: *[a-z]+ *=(?!=))*", line)
    return " ".join(re.findall("[a-z]+|[,=]", found[0])).replace(" ,", ",") if found else ""


def is_wave(statements: str) -> bool:
    """Whether statements go there and back smoothly."""
    return re.search(r"\b(?:cos|sin)\(", statements) is not None


def place_of(value: str) -> tuple[float | None, float | None, float | None]:
    """x, y and the largest side at a place; None for what the place leaves open. "number 2 of 3" is a column."""
    ordinal = re.fullmatch(r"(number|row) (\d+) of (\d+)", value)
    if ordinal is None:
        return (*PLACES.get(value, (None, None)), None)
    gap = 200 / int(ordinal[3])
    at, side = round(gap * (int(ordinal[2]) - 0.5)), float(min(60, max(round(0.85 * gap), min(30, gap))))
    return (at, None, side) if ordinal[1] == "number" else (None, at, side)


def faded(colours: Sequence[str]) -> str:
    """The expression of a colour that changes slowly."""
    return "fade([" + ", ".join(f'"{colour}"' for colour in colours) + "], t)"


def switched(colours: Sequence[str]) -> str:
    """The expression of a colour that changes at once."""
    names = ", ".join(f'"{colour}"' for colour in colours)
    return f"[{names}][int({len(colours)} * t / (2 * math.pi))]"


def known(phrase: Phrase, colours: Sequence[str] = (), wide: float = SIDES[""]) -> list[str]:
    """The statements of a phrase that names its numbers or colours itself, or that is unlisted; else empty.

    Args:
        colours: The colours of a thing that changes its colour, in the brief's own words.
        wide: The width that the thing has so far.
    """
    if phrase.aspect == "size":
        return [f"width = height = {phrase.value.upper()}"]
    if phrase.aspect == "color" or phrase.value == "switch":
        of = faded if phrase.aspect == "color" else switched
        return [f"color = {of([color_of(colour) for colour in colours])}"]
    if phrase.aspect in FORMULAS and ("{" not in (formula := formula_of(phrase)) or is_unlisted(phrase)):
        return formula.format(x="x", y="y", w="width", h="height").splitlines()
    x, y, side = place_of(phrase.value) if phrase.aspect == "place" else (None, None, None)
    set_to = {name: number(at, name) for name, at in (("x", x), ("y", y)) if at is not None}
    where = [f"{', '.join(set_to)} = {', '.join(set_to.values())}"] if set_to else []
    return where if side is None or side >= wide else [*where, f"width = height = {side:g}"]


_FADES, _SWITCHES = "fades from pink to cyan and back", "switches between pink and cyan"


def listing() -> str:
    """The phrasebook of a prompt: each phrase as a comment, and below it its assignment."""
    usual = {"x": 100, "y": 100, "w": 60, "h": 60}
    numbers = [Phrase("size", word, word) for word in SIDES if word]
    numbers += [Phrase("place", value, said) for value, said in PLACE_PHRASES.items() if value not in _UNLISTED]
    numbers += [Phrase("place", value, f"{value} the grey star") for value in ("above", "below")]
    numbers += [
        Phrase("place", value, value) for value in ("number 1 of 2", "number 2 of 2", "row 2 of 2", "number 2 of 4")
    ]
    book = [("a pink bar", 'shape, color = BAR, "pink"')]
    book += [(phrase.text, "\n".join(known(phrase))) for phrase in numbers]
    book += [(_FADES, f"color = {faded(['pink', 'cyan'])}"), (_SWITCHES, f"color = {switched(['pink', 'cyan'])}")]
    aside = {"meet": {**usual, "x": 50}}  # what is in the middle already would not move
    listed = [formula for formulas in FORMULAS.values() for formula in formulas if formula.said]
    book += [(formula.said, formula.text.format(**aside.get(formula.value, usual))) for formula in listed]
    return "\n".join(f'# "{said}"\n{text}' for said, text in book)


_ENTRY = re.compile(r'^# "(.*)"\n((?:[^#\n].*\n)+)', re.MULTILINE)


def looked_up(book: str, read: Outline) -> str:
    """The lines of a phrasebook for what changes in an outline; all lines if it has a phrase that localgif cannot tell.

    Args:
        book: The phrasebook of a prompt, which may be of an earlier version, or "".
    """
    says = [phrase for thing in read.things for phrase in thing.says]
    if any(not phrase.value for phrase in says):
        return book.rstrip("\n")
    wanted = {said for phrase in says for said in _entries_of(phrase)}
    return "\n".join(found[0].rstrip("\n") for found in _ENTRY.finditer(book) if found[1] in wanted)


def _entries_of(phrase: Phrase) -> Iterator[str]:
    """What the phrasebook calls a phrase that changes something."""
    if phrase.aspect == "color":
        yield _FADES
    elif phrase.value == "switch":
        yield _SWITCHES
    for formula in FORMULAS.get(phrase.aspect, ()):  # type: ignore[call-overload]
        if formula.said and formula.value == phrase.value:
            yield formula.said


#: Quantity -> the names of its numbers.
_NAMES_OF = {
    "x": ("LEFT", "RIGHT"),
    "y": ("TOP", "BOTTOM", "ABOVE", "BELOW"),
    "size": ("SMALL", "LARGE", "LONG"),
}


def number(value: float, quantity: str = "") -> str:
    """A number as programs write it: by its name if it has one for this quantity."""
    names = _NAMES_OF.get(quantity, ())
    return next((name for name in names if NAMED[name] == value), f"{value:g}")


def names_of(colour: str) -> tuple[str, ...]:
    """The names under which Pillow may know a colour of a brief."""
    return (colour.lower(), colour.lower().replace(" ", ""), *colour.lower().split()[-1:])


#: Names whose colours are too pale or look like another colour -> a name that looks like the word.
_CLEARER = {"brown": "saddlebrown", "pink": "hotpink", "lightblue": "lightskyblue", "lightgrey": "silver"}
#: Pillow's "darkgray" is lighter than its "gray".
_CLEARER |= {"lightgray": "silver", "darkgrey": "dimgray", "darkgray": "dimgray", "lightyellow": "khaki"}
_CLEARER |= {"lightcyan": "paleturquoise", "orange": "darkorange", "peach": "sandybrown"}


def color_of(colour: str) -> str:
    """The name by which Pillow knows a colour of a brief: "light blue" is "lightblue", "deep blue" is "blue"."""
    if colour.startswith("#"):
        return colour
    meant = (word.value for word in words(normalised(colour))[0] if word.kind == "colour")
    own, *others = names_of(colour)
    pale = re.sub(r"^(?:pale|pastel|baby|powder) ", "light", own)
    named = next((name for name in (own, others[0], pale, *others[1:], *meant) if name in ImageColor.colormap), "black")
    return _CLEARER.get(named, named)


#: Shapes that a brief names -> name of SHAPES.
_SHAPE_OF = {"round": "CIRCLE", "square": "SQUARE", "triangle": "TRIANGLE", "star": "STAR", "bar": "BAR"}


#: Nouns of shapes that nothing measures -> name of SHAPES.
_NAMED_SHAPES = {"ring": "RING", "hoop": "RING", "heart": "HEART", "cross": "CROSS", "plus": "CROSS"}
_NAMED_SHAPES |= {"diamond": "DIAMOND", "rhombus": "DIAMOND", "hexagon": "HEXAGON", "pentagon": "PENTAGON"}
_NAMED_SHAPES |= {"octagon": "OCTAGON", "ellipse": "ELLIPSE", "oval": "ELLIPSE", "egg": "ELLIPSE", "arrow": "ARROW"}
_NAMED_SHAPES |= {"crescent": "CRESCENT", "wheel": "RING", "tyre": "RING"}


def named_shape(thing: Thing) -> str:
    """The shape that the brief names for a thing; "" if it names none."""
    if thing.shape in _SHAPE_OF:
        return _SHAPE_OF[thing.shape]
    return next((_NAMED_SHAPES[word] for word in thing.noun.split() if word in _NAMED_SHAPES), "")


def shape_of(thing: Thing) -> str:
    """The shape that the brief names for a thing; otherwise one that shows what the thing does."""
    if named := named_shape(thing):
        return named
    return "STAR" if any(phrase.value.startswith("spin") for phrase in thing.says) else "CIRCLE"
