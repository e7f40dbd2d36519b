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
from localgif.tasks.colours import inks_on, seen_beside
from localgif.tasks.drafts import CORNERS, MOVING, Draft
from localgif.tasks.grammar import HAND, HANDS, Grammar
from localgif.tasks.sentence import Things, parsed
from localgif.tasks.task import PLACE_PHRASES, Colour, Subject
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
    """Its first colour; one on which all things are seen if the brief names none."""
    things: tuple[Thing, ...]
    later: tuple[str, ...]
    """The colours that the background takes after its first."""
    inks: tuple[str, ...]
    """Colours for things for which the brief names none: one for each noun."""

    def ink_of(self, thing: Thing) -> str:
        """The colour that a thing has at first, in the brief's own words where it has any."""
        plain = dict.fromkeys(each.noun for each in self.things if not each.colours)
        return thing.colours[0] if thing.colours else dict(zip(plain, self.inks, strict=False))[thing.noun]


def outline(brief: str) -> Outline | None:
    """The outline of a brief; None if localgif cannot read it, or if it names nothing to draw."""
    try:
        grammar, _, _ = parsed(" ".join(brief.split()).rstrip(" ."))
        reader = Things(grammar)
        _prepare(grammar)
        drafts = _layers(grammar.drafts)
        colour = grammar.ground or grammar.background or ""
        hues = [pair for draft in drafts for pair in _hues(draft)]
        later = tuple(grammar.ground_cycle)
        behind = colour or seen_beside([*hues, *((hue, hue) for hue in later)], ("white", "black", "grey", "blue"))
        every = [(draft, number) for draft in drafts for number in range(1, draft.count + 1)]
        each = [_thing(draft, reader, number, behind) for draft, number in every]
        found = _in_turn(_nested(each, every), every)
    except ConfigError:
        return None
    ground = f"on {_article(colour)} background" if colour else ""
    if later:
        ground = f"on a background that fades from {behind} to {' to '.join(later)} and back"
    inks: list[str] = []
    for _ in {thing.noun for thing in found if not thing.colours}:
        used = [(behind, grammar.background or behind), *hues, *((ink, ink) for ink in inks)]
        inks.append(seen_beside(used, inks_on(behind)))
    stacked = any(draft.stacked for draft in grammar.drafts)
    things = _apart(found[:_MOST], stacked)
    return Outline(ground, behind, things, later, tuple(inks)) if found else None


def _prepare(grammar: Grammar) -> None:
    """Decide what depends on other things: colours that the brief leaves open, and what stands below or behind."""
    for draft in grammar.drafts:
        if any(word.value == "rainbow" for word in draft.kinds("cycle")) and len({*draft.hues, *draft.cycle}) < 2:
            used = (grammar.background, *draft.hues, *draft.cycle)
            draft.cycle += [colour for colour in _RAINBOW if colour not in used]
        in_row = draft.abreast or "one of several" in draft.traits
        in_row &= not draft.stacked
        draft.upright |= in_row and draft.shape == "bar" and not draft.kinds(*MOVING)
        if draft.above is not None and (draft.kinds("leans") or any(w.value == "up-down" for w in draft.kinds("path"))):
            draft.above.carries = True
            draft.traits |= set() if _BAR.search(draft.above.called) else {"over"}
        if draft.behind is not None:
            for one, other in ((draft, draft.behind), (draft.behind, draft)):
                if one.kinds(*MOVING) and not other.kinds(*MOVING):
                    front = one is draft.behind
                    one.traits |= {"passes"}
                    other.traits |= {"crossed", "hidden"} if front else {"crossed"}


#: Colours that a rainbow has.
_RAINBOW: tuple[Colour, ...] = ("red", "yellow", "green", "blue", "purple")


def _layers(drafts: Sequence[Draft]) -> list[Draft]:
    """The drafts in the order in which they are painted."""
    made = sorted(drafts, key=lambda draft: draft.inside is not None)
    pairs = [(draft, draft.behind) for draft in drafts if draft.behind is not None]
    pairs += [(draft.around, draft) for draft in drafts if draft.around is not None and draft.around.kinds("turn")]
    for below, above in pairs:
        if below in made and above in made:
            made.remove(below)
            made.insert(made.index(above), below)
    return made


def _hues(draft: Draft) -> Iterator[tuple[str, str]]:
    """The colours of a draft: each as the brief has it, and its name."""
    yield from ((draft.paint or hue, hue) for hue in draft.hues[:1])
    yield from ((hue, hue) for hue in draft.cycle)


def _in_turn(things: Sequence[Thing], drafts: Sequence[tuple[Draft, int]]) -> list[Thing]:
    """The things; those that do something in turn get their number in its phrase."""
    turns = [k for k, (draft, _) in enumerate(drafts) if draft.in_turn and _motion(things[k]) is not None]
    made = list(things)
    for number, k in enumerate(turns if len(turns) > 1 else [], 1):
        motion, where = _motion(made[k]), f"number {number} of {len(turns)}"
        assert motion is not None
        told = motion._replace(value=f"{motion.value} {where}", text=f"{motion.text}, {where}")
        made[k] = made[k]._replace(says=tuple(told if phrase is motion else phrase for phrase in made[k].says))
    spins = [k for k, (draft, _) in enumerate(drafts) if "opposite" in draft.traits]
    for k in spins[1::2]:
        made[k] = made[k]._replace(says=tuple(_BACKWARDS.get(each.value, each) for each in made[k].says))
    return made


def _nested(things: Sequence[Thing], drafts: Sequence[tuple[Draft, int]]) -> list[Thing]:
    """The things; of those that have the same middle each fits into the hole of the one before."""
    made, side = list(things), 130.0
    for k, (draft, _) in enumerate(drafts):
        if "concentric" in draft.traits:
            says = [_RIPPLES if p.value == "grow" else p for p in made[k].says if p.aspect not in ("size", "place")]
            size = Phrase("size", f"{side:.0f}", f"{side:.0f} wide")
            says += [size, Phrase("place", "middle", PLACE_PHRASES["middle"])]
            made[k], side = made[k]._replace(says=_ordered(says)), side * 0.55
    return made


def _motion(thing: Thing) -> Phrase | None:
    """What a thing does that others can do later."""
    return next((phrase for phrase in thing.says if phrase.value in _SHIFTED), None)


#: Values of phrases whose formula can begin at another time.
_SHIFTED = frozenset({"up-down", "left-right", "pulse", "blink", "tall", "wide", "stretch"})


#: At most this many things; small models cannot follow the phrases of more.
_MOST = 12


def _thing(draft: Draft, reader: Things, number: int, ground: str) -> Thing:
    """One thing of a draft, which may stand for several."""
    colours = tuple(dict.fromkeys([*([draft.paint] if draft.paint else draft.hues), *draft.cycle]))
    seen = _subject(draft, reader)
    says = [_repeated(phrase, draft) for phrase in _says(draft, seen)]
    if not colours and "varied" in draft.traits:
        colours = (_RAINBOW[number % len(_RAINBOW) - 1],)
    if seen.shown == "fade" and len(colours) < 2:
        colours = colours or (seen_beside([(ground, ground)], inks_on(ground)),)
        colours = (*colours, ground)
        says.append(Phrase("color", "fade", f"fades from {colours[0]} to {ground} and back"))
    if draft.count == 2 and "amid" in draft.traits:
        says = [*says, _numbered("number", 2 * number, 5)]
    elif draft.count > 1 and draft.place == "corners":
        corner = CORNERS[(number - 1) % len(CORNERS)]
        says = [phrase for phrase in says if phrase.aspect != "place"]
        says.append(Phrase("place", corner, PLACE_PHRASES[corner]))
    elif draft.count > 1 and seen.path != "orbit":
        along = (seen.path in ("left-right", "across") and not draft.abreast) or draft.stacked
        says = [
            *(phrase for phrase in says if phrase.value != "middle"),
            _numbered("row" if along else "number", number, draft.count),
        ]
    if _is_column(draft, seen):
        noun = _article(" ".join([*colours[:1], "square"]))
        return Thing(noun, "square", colours, _ordered(phrase for phrase in says if phrase.aspect != "size"))
    return Thing(_named(draft), "bar" if _is_bar(draft, seen) else seen.shape, colours, _ordered(says))


def _is_bar(draft: Draft, seen: Subject) -> bool:
    return "bar" in (seen.shape, draft.shape) or (seen.shape == "any" and _BAR.search(draft.called) is not None)


_BAR = re.compile(rf"\b(?:bar|line|beam|rectangle|stripe|stick|rod|pole|floor|table|shelf|platform|road|{HANDS})s?\b")


def _is_column(draft: Draft, seen: Subject) -> bool:
    """Whether it is a bar that grows from its bottom or its top: programs draw it as a box."""
    return _is_bar(draft, seen) and seen.size in ("grow", "pulse") and seen.anchor in ("top", "bottom")


#: The order in which a program sets properties: a motion starts from the place.
_ORDER = ("size", "place", "color", "path", "scale", "turn", "shown", "")


def _ordered(says: Iterable[Phrase]) -> tuple[Phrase, ...]:
    return tuple(sorted(says, key=lambda phrase: _ORDER.index(phrase.aspect)))


def _numbered(word: str, number: int, count: int) -> Phrase:
    text = f"{word} {number} of {count}"
    return Phrase("place", text, text)


def _apart(things: Sequence[Thing], stacked: bool) -> tuple[Thing, ...]:
    """The things, with places for those that would overlap: "number 1 of 2", "row 1 of 2"."""
    values = [{phrase.value for phrase in thing.says} for thing in things]
    free = [not v & {"orbit", "orbit back", "up-down above", "above", "below"} for v in values]
    along = [stacked or bool(v & {"left-right", "across", "across right"}) for v in values]
    placed = [any(phrase.aspect == "place" for phrase in thing.says) for thing in things]
    rows = [k for k in range(len(things)) if free[k] and along[k] and not placed[k]]
    stand = [k for k in range(len(things)) if free[k] and not along[k] and not placed[k]]
    more: dict[int, Phrase] = {}
    if len(stand) > 1:
        more |= {k: _numbered("number", n, len(stand)) for n, k in enumerate(stand, 1)}
    if len(rows) > 1:
        more |= {k: _numbered("row", n, len(rows)) for n, k in enumerate(rows, 1)}
    said = [(*thing.says, more[k]) if k in more else thing.says for k, thing in enumerate(things)]
    rings = [k for k in range(len(things)) if values[k] & {"orbit", "orbit back"}]
    for number, k in enumerate(rings if len(rings) > 1 else [], 1):
        where = f"number {number} of {len(rings)}"
        said[k] = tuple(
            p._replace(value=f"{p.value} {where}", text=f"{p.text}, {where}") if p.value.startswith("orbit") else p
            for p in things[k].says
        )
    does: dict[str, set[str]] = {}
    for thing, each in zip(things, said, strict=True):
        own = {phrase.value.partition(" ")[0] for phrase in each}
        does.setdefault(thing.noun, set()).update(own if thing.shape == "square" else own - {"spin"})
    fitted = [_fitting(each, does[thing.noun]) for thing, each in zip(things, said, strict=True)]
    return tuple(thing._replace(says=_ordered(each)) for thing, each in zip(things, fitted, strict=True))


def _fitting(says: Sequence[Phrase], does: set[str]) -> Iterable[Phrase]:
    """The phrases; what stands beside others is not long, unless it is upright, and has room for what they do."""
    columns = [int(phrase.value.split()[-1]) for phrase in says if phrase.value.startswith("number ")]
    if not columns:
        return says
    if _UPRIGHT in says:  # its thickness is 0.3 of its length, and some of the column stays free
        side = str(430 // columns[0])
        return [
            Phrase("size", side, f"{side} wide") if phrase.value == "long" and columns[0] > 3 else phrase
            for phrase in says
        ]
    kept = [_GROWS_BESIDE if phrase.value == "grow" else phrase for phrase in says if phrase.value != "long"]
    if columns[0] > 2 and {"pulse", "shrink", "spin"} & does:
        room = 130 // columns[0] if "spin" in does else min(40, 200 // columns[0] - 24)
        side = str(max(22, room))  # with room to turn or to grow
        kept = [Phrase("size", side, f"{side} wide"), *(phrase for phrase in kept if phrase.aspect != "size")]
    return kept


def _article(noun: str) -> str:
    return f"an {noun}" if noun[:1] in "aeio" else f"a {noun}"


def _named(draft: Draft) -> str:
    """The noun phrase: the brief's own words for a single thing, otherwise made from its properties."""
    if draft.count == 1 and draft.words and not draft.words.split()[-1].endswith("s"):
        *before, last = draft.words.split()
        said = " ".join([*before[before[:1] in (["a"], ["an"]) :], _plain(last)])
        return said if before[:1] and before[0] in ("the", "one", "my", "your", "our") else _article(said)
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
    found = reader.subject(replace(draft, hues=hues, found=kept, motley=False, count=1))
    assert found is not None  # it has a colour
    return found


def _says(draft: Draft, seen: Subject) -> Iterator[Phrase]:
    bar = _is_bar(draft, seen)
    bar = bar and not _is_wide(draft, seen)
    size = "long" if bar or any(word in draft.words.split() for word in ("long", "wide", "tall")) else draft.scale
    size = size or ("large" if draft.holds or "hidden" in draft.traits else "small" if _is_small(draft) else "")
    size = size or ("46" if draft.around is not None else "")
    size = size or ("40" if draft.inside is not None or {"over", "passes"} & draft.traits else "")
    size = size or ("40" if draft.rolls and seen.shape != "round" else "")  # with room to turn
    if size and seen.size != "grow" and (bar or draft.holds or seen.size != "pulse"):
        yield Phrase("size", size, f"{size} wide" if size.isdigit() else size)
    yield from _where(draft, seen)
    if seen.colours:
        first, *rest = seen.colours
        if seen.change == "switch":
            yield Phrase("shown", "switch", f"switches between {' and '.join(seen.colours)}")
        else:
            yield Phrase("color", "fade", f"fades from {first} to {' to '.join(rest)} and back")
    if "pendulum" in draft.called and draft.kinds(*MOVING, "loose"):
        yield Phrase("turn", "hang", "swings to and fro below the top")
        return
    if HAND.search(draft.called) and draft.kinds("turn"):
        yield Phrase("turn", "hand", "turns like a hand of a clock")
        return
    if seen.path in _PATHS:
        value, text = _PATHS[seen.path]
        if seen.path == "across" and any(word.value == "right" for word in draft.kinds("one-way", "side")):
            value, text = "across right", "crosses the picture leftwards"
        if seen.path == "up-down" and draft.above is not None:
            value, text = "up-down above", f"moves up and down in the top half, over the {draft.above.label}"
        elif draft.around is not None:
            text = f"goes in a circle around the {draft.around.label}"
        yield _turned(Phrase("path", value, text), draft)
    # What stretches is left to _loosely(), which names the side that changes.
    if not any(_STRETCHING.match(word.text) for word in draft.kinds("loose")):
        yield from _growing(seen, "left" if bar else "around" if draft.holds else "")
        if seen.size == "any" and draft.kinds("shrink"):
            yield Phrase("scale", "shrink", "shrinks and starts anew")
    if seen.turn == "spin" or (draft.rolls and seen.shape != "round"):
        yield _turned(Phrase("turn", "spin", "spins"), draft)
    elif "flipped" in draft.traits:
        yield Phrase("turn", "flipped", "upside down")
    elif draft.upright and bar and not _is_column(draft, seen):
        yield _UPRIGHT
    if seen.shown == "blink":
        yield Phrase("shown", "blink", "blinks")
    yield from _loosely(draft, seen)


def _turned(phrase: Phrase, draft: Draft) -> Phrase:
    """A phrase, in the other direction if the brief says anticlockwise."""
    return _BACKWARDS.get(phrase.value, phrase) if "reverse" in draft.traits else phrase


def _repeated(phrase: Phrase, draft: Draft) -> Phrase:
    """A phrase, with how often it happens in a loop if the brief says so."""
    often = next((word for word in ("twice", "thrice") if word in draft.traits), "")
    if not often or phrase.value not in _REPEATED:
        return phrase
    said = "three times" if often == "thrice" else often
    return phrase._replace(value=f"{phrase.value} {often}", text=f"{phrase.text} {said}")


#: Values of phrases for what can happen several times in a loop.
_REPEATED = frozenset({"up-down", "left-right", "pulse", "blink", "orbit"})


def _growing(seen: Subject, usual: str) -> Iterator[Phrase]:
    if seen.size == "pulse" and seen.anchor == "any":
        yield Phrase("scale", "pulse", "grows and shrinks")
    elif seen.size in ("grow", "pulse"):
        side = seen.anchor if seen.anchor != "any" else usual
        yield Phrase("scale", f"grow {side}".strip(), f"grows {_AWAY[side]}and shrinks quickly")


def _loosely(draft: Draft, seen: Subject) -> Iterator[Phrase]:
    """What it does that nothing measures."""
    loose = [word.text for word in draft.kinds("loose")]
    if seen.path == "any" and seen.size not in ("grow", "pulse"):
        unknown = draft.kinds("path", "move", "half", "one-way")
        said = " ".join(dict.fromkeys(word.text for word in unknown))
        ways = {word.value for word in unknown}
        guess = next((phrase for way, phrase in _GUESSES.items() if way in ways), None)
        guess = _WEAVES if "weaves" in draft.traits else guess
        if guess is None and draft.kinds("across"):
            guess = Phrase("path", *_PATHS["across"])
        if guess is None or (guess.value == "left-right" and (draft.kinds("path") or _ROCKING.match(said))):
            loose.append(said)
        else:
            beside = guess.value == "left-right" and ("left" in draft.place or "right" in draft.place)
            yield _SHAKES if beside else guess
    stretched = False
    for text in filter(None, loose):
        if " into " in text:
            yield Phrase("", "", text)
        elif text.startswith("flip"):
            yield _FLIPS
        elif _STRETCHING.match(text):
            width = re.search(r"wide|narrow|horizont|sideways", text) is not None
            height = re.search(r"\btall|short|vertical|thick", text) is not None
            if stretched:
                continue
            stretched = True
            if _TALLER.search(text) and _is_bar(draft, seen):
                yield from [_UPRIGHT] if "tall" in text and not draft.upright else []
                yield _LONGER
            else:
                yield _STRETCHES["wide" if width and not height else "tall" if height and not width else "stretch"]
        elif _ROCKING.search(text) and not _SHAKING.match(text):
            swings = "sw" in text or "pendulum" in text
            # nobody can see a round thing turn
            yield _ROCKS if seen.shape != "round" else _SWINGS if swings else Phrase("path", *_MOVES)
        elif _SHAKING.match(text):
            if seen.path == "any":
                yield _SHAKES if _QUIVERING.match(text) else Phrase("path", *_MOVES)
        else:
            yield Phrase("", "", text)


def _is_wide(draft: Draft, seen: Subject) -> bool:
    """Whether a long bar would touch the left or the right edge."""
    beside = seen.path in ("left-right", "across", "orbit") or "left" in draft.place or "right" in draft.place
    return beside and not draft.upright


def _is_small(draft: Draft) -> bool:
    """Whether it is small without being called so: a dot, and what goes round a large thing, or between others."""
    tight = draft.around is not None and (draft.around.scale == "large" or draft.around.holds)
    return tight or "weaves" in draft.traits or draft.called.removesuffix("s") in ("dot", "spot")


def _where(draft: Draft, seen: Subject) -> Iterator[Phrase]:
    if seen.path == "orbit" and seen.place == "middle":
        return
    vertical = seen.path in ("up-down", "orbit", "diagonal", "diagonal-down", "diagonal-up")
    if seen.place in PLACE_PHRASES:
        yield Phrase("place", seen.place, PLACE_PHRASES[seen.place])
    elif draft.inside is not None and seen.path in ("any", "still"):
        place = draft.inside.place if draft.inside.place in PLACE_PHRASES else "middle"
        yield Phrase("place", place, PLACE_PHRASES[place])
    elif (draft.holds and seen.path in ("any", "still")) or "crossed" in draft.traits:
        yield Phrase("place", "middle", PLACE_PHRASES["middle"])
    elif draft.carries:
        yield Phrase("place", "bottom", PLACE_PHRASES["bottom"])
    elif draft.above is not None and not vertical:
        yield Phrase("place", "above", f"above the {draft.above.label}")
    elif draft.below is not None and not vertical:
        yield Phrase("place", "below", f"below the {draft.below.label}")
    elif (
        seen.path == "still"
        and not seen.moves
        and seen.shown != "blink"
        and not draft.traits & {"one of several", "beside"}
    ):
        yield Phrase("place", "middle", "stays where it is")


#: Verbs for turning a little, there and back, which nothing measures.
_ROCKING = re.compile("rotat|turn|spin|rock|tilt|wobbl|sway|swing|swung|pendulum")
_ROCKS = Phrase("turn", "rock", "rocks, swings")
_SWINGS = Phrase("path", "swing", "swings like a pendulum")
#: Verbs for a change of one side.
_STRETCHING = re.compile(
    "stretch|squash|squeez|(?:get|got|becom|becam|grow|grew).*(?:wide|narrow|tall|short|thick|thin|long)"
)
_GROWS_BESIDE = Phrase("scale", "grow beside", "grows and shrinks quickly")
_FLIPS = Phrase("scale", "flip", "flips upside down and back")
_STRETCHES = {
    "stretch": Phrase("scale", "stretch", "stretches and flattens"),
    "wide": Phrase("scale", "wide", "gets wider and narrower"),
    "tall": Phrase("scale", "tall", "gets taller and shorter"),
}
_TALLER = re.compile(r"\b(?:tall|short|long)")
#: What a bar is that gets taller: its longer side stands.
_UPRIGHT = Phrase("turn", "upright", "upright")
_LONGER = Phrase("scale", "wide", "gets longer and shorter")
_WEAVES = Phrase("path", "eight around", "moves in a figure eight around them")
_RIPPLES = Phrase("scale", "ripple", "expands")
_SHAKES = Phrase("path", "shake", "moves a little left and right")
_QUIVERING = re.compile("shak|trembl|jitter|vibrat|wiggl|flutter")
#: Value of a motion -> the same in the other direction.
_BACKWARDS = {
    "spin": Phrase("turn", "spin back", "spins anticlockwise"),
    "orbit": Phrase("path", "orbit back", "goes anticlockwise in a circle"),
}
#: Verbs for a small motion there and back.
_SHAKING = re.compile(
    "shak|trembl|jitter|vibrat|wiggl|danc|wav|flutter|(?:wobbl|sway)\\w* (?:left|right|from side|to the)"
)

#: The edge that stays -> the direction in which a thing grows. Models would read the edge's name as a place.
_AWAY = {"": "", "around": "", "left": "rightwards ", "right": "leftwards ", "bottom": "upwards ", "top": "downwards "}
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
_EIGHT, _EDGES = ("eight", "moves in a figure eight"), ("edges", "moves along the edges")
_MEETS = ("meet", "moves to the middle and back")
_GUESSES = {
    value: Phrase("path", *said)
    for value, said in {
        "eight": _EIGHT,
        "edges": _EDGES,
        "meet": _MEETS,
        "arc": ("arc", "jumps in an arc from side to side"),
        "swap": ("swap", "swaps sides"),
        **dict.fromkeys(("down", "top"), _FALLS),
        **dict.fromkeys(("up", "bottom"), _RISES),
        "": _MOVES,
    }.items()
}
