"""A brief as an outline: the background, and for each thing the phrases about its looks and its motion. Pure.

The animator draws phrase by phrase. Outlines use few phrases and always the same wording, whatever words the brief
uses. Only what localgif has no phrase for keeps the brief's words.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from localgif.errors import ConfigError
from localgif.tasks.grammar import Draft
from localgif.tasks.sentence import Things, parsed
from localgif.tasks.task import PLACE_PHRASES, Subject
from localgif.tasks.words import words


class Phrase(NamedTuple):
    """What a brief says about one property of a thing."""

    aspect: str
    """ "size", "place", "color", "path", "scale", "turn", "shown"; "" for what localgif cannot tell."""
    value: str
    """The value of the property, for instance "up-down"; "" for what localgif cannot tell."""
    text: str
    """The phrase as it is quoted."""


class Thing(NamedTuple):
    """One thing to draw; each of several of a kind is a thing of its own."""

    noun: str
    """ "a small red ball"."""
    shape: str
    """A shape of tasks.task.Subject, "any" if the brief names none."""
    colours: tuple[str, ...]
    """The colours that it takes, in the brief's own words where it has any; empty if it names none."""
    says: tuple[Phrase, ...]
    """What it does, in the order in which a program sets it."""


class Outline(NamedTuple):
    """What a brief asks for."""

    ground: str
    """The phrase of the background; "" if the brief names none."""
    background: str
    """Its colour, "" if the brief names none."""
    things: tuple[Thing, ...]


def outline(brief: str) -> Outline | None:
    """The outline of a brief; None if localgif cannot read it, or if it names nothing to draw."""
    try:
        grammar, _, _ = parsed(" ".join(brief.split()).rstrip(" ."))
        reader = Things(grammar)
        found = [_thing(draft, reader, number) for draft in grammar.drafts for number in range(1, draft.count + 1)]
    except ConfigError:
        return None
    colour = grammar.ground or grammar.background or ""
    ground = f"on {_article(colour)} background" if colour else ""
    return Outline(ground, colour, _apart(found[:_MOST])) if found else None


#: At most this many things; small models cannot follow the phrases of more.
_MOST = 12


def _thing(draft: Draft, reader: Things, number: int) -> Thing:
    """One thing of a draft, which may stand for several."""
    colours = tuple(dict.fromkeys([*([draft.paint] if draft.paint else draft.hues), *draft.cycle]))
    seen = _subject(draft, reader)
    says = list(_says(draft, seen))
    if draft.count > 1 and seen.path != "orbit":
        along = seen.path in ("left-right", "across") and not draft.abreast
        says = [
            *(phrase for phrase in says if phrase.value != "middle"),
            _numbered("row" if along else "number", number, draft.count),
        ]
    return Thing(_named(draft), "bar" if _is_bar(draft, seen) else seen.shape, colours, _ordered(says))


def _is_bar(draft: Draft, seen: Subject) -> bool:
    return "bar" in (seen.shape, draft.shape) or (
        seen.shape == "any"
        and re.search(r"\b(bar|line|beam|rectangle|stripe|stick|needle|rod|pole)\b", _named(draft)) is not None
    )


#: The order in which a program sets properties: a motion starts from the place.
_ORDER = ("size", "place", "color", "path", "scale", "turn", "shown", "")


def _ordered(says: Iterable[Phrase]) -> tuple[Phrase, ...]:
    return tuple(sorted(says, key=lambda phrase: _ORDER.index(phrase.aspect)))


def _numbered(word: str, number: int, count: int) -> Phrase:
    text = f"{word} {number} of {count}"
    return Phrase("place", text, text)


def _apart(things: Sequence[Thing]) -> tuple[Thing, ...]:
    """The things, with places for those that would overlap: "number 1 of 2", "row 1 of 2"."""
    values = [{phrase.value for phrase in thing.says} for thing in things]
    free = [not v & {"orbit", "up-down above", "above", "below"} for v in values]
    along = [bool(v & {"left-right", "across"}) for v in values]
    placed = [any(phrase.aspect == "place" for phrase in thing.says) for thing in things]
    rows = [k for k in range(len(things)) if free[k] and along[k] and not placed[k]]
    stand = [k for k in range(len(things)) if free[k] and not along[k] and not placed[k]]
    more: dict[int, Phrase] = {}
    if len(stand) > 1:
        more |= {k: _numbered("number", n, len(stand)) for n, k in enumerate(stand, 1)}
    if len(rows) > 1:
        more |= {k: _numbered("row", n, len(rows)) for n, k in enumerate(rows, 1)}
    said = [(*thing.says, more[k]) if k in more else thing.says for k, thing in enumerate(things)]
    rings = [k for k in range(len(things)) if "orbit" in values[k]]
    for number, k in enumerate(rings if len(rings) > 1 else [], 1):
        where = f"number {number} of {len(rings)}"
        said[k] = tuple(
            p._replace(value=f"orbit {where}", text=f"{p.text}, {where}") if p.value == "orbit" else p
            for p in things[k].says
        )
    return tuple(thing._replace(says=_ordered(each)) for thing, each in zip(things, said, strict=True))


def _article(noun: str) -> str:
    return f"an {noun}" if noun[:1] in "aeio" else f"a {noun}"


def _named(draft: Draft) -> str:
    """The noun phrase: the brief's own words for a single thing, otherwise made from its properties."""
    if draft.count == 1 and draft.words and not draft.words.split()[-1].endswith("s"):
        *before, last = draft.words.split()
        said = " ".join([*before[before[:1] in (["a"], ["an"]) :], _plain(last)])
        return said if before[:1] in (["the"], ["one"]) else _article(said)
    called = draft.called or "thing"
    if called.endswith("s") and not called.endswith("ss"):
        called = called[:-2] if called.endswith(("xes", "shes", "ches")) else called[:-1]
    points = f"{draft.points} pointed" if draft.points else ""
    colour = draft.paint or "".join(draft.hues[:1])
    return _article(" ".join(filter(None, [draft.scale, colour, points, _plain(called)])))


#: Words for shapes that small models know, and shape -> the word that replaces all other words for it.
_KNOWN_WELL = frozenset({"ball", "circle", "dot", "square", "triangle", "star", "bar"})
_SHAPES = {"round": "circle", "square": "square", "triangle": "triangle", "star": "star", "bar": "bar"}


def _plain(noun: str) -> str:
    """The plain word for a noun that is a rarer word for a shape: "box" is "square"."""
    found = words(noun)[0]
    shape = _SHAPES.get(found[0].value) if len(found) == 1 and found[0].kind == "shape" else None
    return noun if shape is None or noun in _KNOWN_WELL else shape


def _subject(draft: Draft, reader: Things) -> Subject:
    """What can be measured of a thing, even if the brief does not name its colour."""
    hues = draft.hues[:1]
    kept = [word for word in draft.found if word.kind != "cycle" or len({*hues, *draft.cycle}) > 1]
    if not hues and not (len(set(draft.cycle)) > 1 and draft.kinds("cycle")):
        hues = ["grey"]
    found = reader.subject(replace(draft, hues=hues, found=kept, motley=False))
    assert found is not None  # it has a colour
    return found


def _says(draft: Draft, seen: Subject) -> Iterator[Phrase]:
    bar = _is_bar(draft, seen)
    size = "long" if bar or any(word in draft.words.split() for word in ("long", "wide", "tall")) else draft.scale
    if size and seen.size != "grow" and (bar or seen.size != "pulse"):
        yield Phrase("size", size, size)
    yield from _where(draft, seen)
    if seen.colours:
        first, *rest = seen.colours
        if seen.change == "switch":
            yield Phrase("shown", "switch", f"switches between {' and '.join(seen.colours)}")
        else:
            yield Phrase("color", "fade", f"fades from {first} to {' to '.join(rest)} and back")
    if seen.path in _PATHS:
        value, text = _PATHS[seen.path]
        if seen.path == "up-down" and draft.above is not None:
            value, text = "up-down above", f"moves up and down in the top half, over the {draft.above.label}"
        elif draft.around is not None:
            text = f"goes in a circle around the {draft.around.label}"
        yield Phrase("path", value, text)
    if seen.size == "pulse" and seen.anchor == "any":
        yield Phrase("scale", "pulse", "grows and shrinks")
    elif seen.size in ("grow", "pulse"):
        side = seen.anchor if seen.anchor != "any" else "left" if bar else ""
        yield Phrase("scale", f"grow {side}".strip(), f"grows {_AWAY[side]}and shrinks quickly")
    if seen.turn == "spin":
        yield Phrase("turn", "spin", "spins")
    if seen.shown == "blink":
        yield Phrase("shown", "blink", "blinks")
    loose = [word.text for word in draft.kinds("loose")]
    if seen.path == "any" and seen.size not in ("grow", "pulse"):
        unknown = draft.kinds("path", "move", "half", "one-way")
        said = " ".join(dict.fromkeys(word.text for word in unknown))
        ways = {word.value for word in unknown}
        guess = next((phrase for way, phrase in _GUESSES.items() if way in ways), None)
        if guess is None or draft.kinds("path") or _ROCKING.match(said):
            loose.append(said)
        else:
            yield guess
    rocks = seen.shape != "round"  # nobody can see a round thing turn
    yield from (_ROCKS if rocks and _ROCKING.match(text) else Phrase("", "", text) for text in loose if text)


def _where(draft: Draft, seen: Subject) -> Iterator[Phrase]:
    vertical = seen.path in ("up-down", "orbit", "diagonal", "diagonal-down", "diagonal-up")
    if seen.place in PLACE_PHRASES:
        yield Phrase("place", seen.place, PLACE_PHRASES[seen.place])
    elif draft.above is not None and not vertical:
        yield Phrase("place", "above", f"above the {draft.above.label}")
    elif draft.below is not None and not vertical:
        yield Phrase("place", "below", f"below the {draft.below.label}")
    elif seen.path == "still" and not seen.moves and seen.shown != "blink":
        yield Phrase("place", "middle", "stays where it is")


#: Verbs for turning a little, there and back, which nothing measures.
_ROCKING = re.compile("rock|tilt|wobbl|swing|swung")
_ROCKS = Phrase("turn", "rock", "rocks, swings")

#: The edge that stays -> the direction in which a thing grows. Models would read the edge's name as a place.
_AWAY = {"": "", "left": "rightwards ", "right": "leftwards ", "bottom": "upwards ", "top": "downwards "}
#: Path of a subject -> value and words of its phrase.
_PATHS = {
    "up-down": ("up-down", "moves up and down"),
    "left-right": ("left-right", "moves left and right"),
    "diagonal": ("diagonal-down", "moves from corner to corner"),
    "diagonal-down": ("diagonal-down", "moves from the top left to the bottom right and back"),
    "diagonal-up": ("diagonal-up", "moves from the bottom left to the top right and back"),
    "orbit": ("orbit", "goes in a circle"),
    "across": ("across", "crosses the picture"),
}
_FALLS, _RISES, _MOVES = ("down", "falls"), ("up", "rises"), _PATHS["left-right"]
#: A direction, the place where a motion begins, or "" for any other motion -> what to draw.
_GUESSES = {
    value: Phrase("path", *said)
    for value, said in {"down": _FALLS, "top": _FALLS, "up": _RISES, "bottom": _RISES, "": _MOVES}.items()
}
