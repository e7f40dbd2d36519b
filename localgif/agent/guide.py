"""Answers phrase by phrase: localgif writes what the request names, and the model writes what changes over time.

A small model that writes a whole program skips phrases, adds phrases of its examples, paints a thing before it has a
colour, and moves a thing that should stay in place. So localgif writes the comments, the calls, and what the request
names: background, shapes, colours, sizes and places. It also writes what the phrasebook does not list, because no model
can know that. The model writes the assignments below all other phrases. localgif discards an assignment that the phrase
cannot decide.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from localgif.agent.extract import parsed
from localgif.agent.form import BASE, PAINT, SHAPES, Frame, quoted
from localgif.agent.phrasebook import (
    NAMED,
    beginning,
    color_of,
    faded,
    formula_of,
    is_unlisted,
    is_wave,
    known,
    named_shape,
    shape_of,
    targets,
    wide_of,
)
from localgif.records import Reply
from localgif.tasks.outline import Outline

#: Role and text.
Message = tuple[str, str]
_INDENT = " " * 8


def _sets(*names: str) -> re.Pattern[str]:
    either = f"(?:{'|'.join(names)})"
    return re.compile(rf"^{either}(?: *[,=] *{either})* *= *[^=\s].*$")


#: What the model may set below a thing's noun, and below a phrase, by the phrase's aspect.
_NOUN = _sets("shape", "color", "x", "y", "width", "height", "angle")
_BELOW = {
    "color": _sets("color"),
    "path": _sets("x", "y"),
    "scale": _sets("width", "height", "x", "y"),
    "turn": _sets("angle"),
    "shown": _sets("color"),
}
#: Aspects of which a phrase names the numbers itself.
_NAMES_NUMBERS = frozenset({"size", "place"})
#: A colour: an assignment contains no other strings.
_QUOTED = re.compile(r"""["']([^"']*)["']""")


#: A name in capitals, and the names that every program has: a small model writes `shape = RED`, too.
_CAPITALS = re.compile(r"\b[A-Z][A-Z_]+\b")
_KNOWN = {*SHAPES, *NAMED}

#: Receives the text so far; returns "" to continue, or why the text is enough.
Finished = Callable[[str], str]
#: (text so far, finished, turn) -> the reply, which begins with the text if the server continues it. `turn` counts the
#: earlier requests for the same phrase, so that each request gets another seed.
Continue = Callable[[str, Finished, int], Reply]
#: At most this many requests for one phrase, while no reply sets what the phrase decides.
_TURNS = 3


class _Slot(NamedTuple):
    """A place where the model writes."""

    given: Sequence[str]
    """The lines in front of it."""
    wanted: re.Pattern[str]
    most: int
    """At most this many lines; with 0 the known lines stand without asking."""
    known: Sequence[str] = ()
    """The lines to use if the model writes none that is wanted."""
    beginning: str = ""
    """How the first line begins: the quantities that the phrase decides; "" if any may."""
    waves: bool | None = None
    """Whether a line must, or must not, go there and back smoothly; None if both will do."""
    colours: Sequence[str] = ()
    """The colours that a line must name, in the order of their first use; empty allows any."""


def _slots(read: Outline) -> Iterator[_Slot]:
    grounds = [color_of(colour) for colour in (read.background, *read.later)]
    behind = faded(grounds) if read.later else f'"{grounds[0]}"'
    yield _Slot(quoted(read.ground), _NOUN, 0, [f"image, draw = canvas({behind})"])
    for number, thing in enumerate(read.things):
        plain = f'shape, color = {shape_of(thing)}, "{color_of(read.ink_of(thing))}"'
        given = [*([PAINT] if number else []), BASE, *quoted(thing.noun)]
        yield _Slot(given, _NOUN, 0 if named_shape(thing) else 1, [plain], "shape, color =")
        for phrase in thing.says:
            set_to = known(phrase, thing.colours, wide_of(thing))
            formula = formula_of(phrase)
            most = len(set_to or formula.splitlines()) or 2  # a second line would set what the phrase does not
            yield _Slot(
                quoted(phrase.text),
                _BELOW.get(phrase.aspect, _NOUN),
                0 if phrase.aspect in _NAMES_NUMBERS or is_unlisted(phrase) else most,
                set_to,
                beginning(phrase) or targets("".join(set_to[:1])),
                waves=is_wave(formula) if formula else None,
                colours=_QUOTED.findall("".join(set_to)),
            )


def guided(read: Outline, frame: Frame, go_on: Continue, finished: Finished) -> Reply:
    """The whole answer, phrase by phrase; the model's own if the server does not continue a begun answer.

    Args:
        finished: Decides when an answer that the model writes alone is complete.
    """
    whole = Reply(frame.beginning, "closed", None, 0, 0.0)
    for slot in _slots(read):
        whole = _with(whole, slot.given)
        lines: Sequence[str] | None = ()
        for reply, lines in _replies(slot, whole.text, go_on, finished) if slot.most else ():
            if lines is None:
                return reply
            whole = replace(
                whole,
                prompt_tokens=_sum(whole.prompt_tokens, reply.prompt_tokens),
                cached_tokens=_sum(whole.cached_tokens, reply.cached_tokens),
                output_tokens=whole.output_tokens + reply.output_tokens,
                seconds=whole.seconds + reply.seconds,
            )
        whole = _with(whole, lines or slot.known)
    whole = _with(whole, [PAINT])
    return replace(whole, text=whole.text + frame.end)


def _replies(
    slot: _Slot, so_far: str, go_on: Continue, finished: Finished
) -> Iterator[tuple[Reply, Sequence[str] | None]]:
    """Ask until a reply sets what is wanted; yields each reply with its lines (None if the server did not continue)."""
    for turn in range(_TURNS):
        # A model that set another quantity would do so again, so localgif begins the line with the right one.
        begun = so_far + (_INDENT + slot.beginning if turn and slot.beginning else "")

        def enough(text: str, begun: str = begun) -> str:
            if not text.startswith(begun):
                return finished(text)
            return "closed" if _taken(text[len(so_far) :], slot)[1] else ""

        reply = go_on(begun, enough, turn)
        continued = reply.text.startswith(begun)
        lines = _taken(reply.text[len(so_far) :] + "\n", slot)[0] if continued else None
        yield reply, lines
        if lines is None or lines or slot.known:
            return


def _sum(before: int | None, more: int | None) -> int | None:
    return before if more is None else (before or 0) + more


def _with(answer: Reply, lines: Sequence[str]) -> Reply:
    return replace(answer, text=answer.text + "".join(f"{_INDENT}{line}\n" for line in lines))


def _decides(line: str, slot: _Slot) -> bool:
    """Whether the first line below a phrase sets what the phrase decides, in the way that it says."""
    return (not slot.beginning or targets(line) == slot.beginning) and slot.waves in (None, is_wave(line))


def _taken(text: str, slot: _Slot) -> tuple[list[str], bool]:
    """The lines of a continuation that belong to a slot, and whether the slot is complete."""
    taken: list[str] = []
    *whole, last = text.split("\n")
    for line in map(str.strip, whole):
        if not line:
            continue
        if len(taken) == slot.most or slot.wanted.match(line) is None or parsed(line) is None:
            return taken, True
        if (not taken and not _decides(line, slot)) or set(_CAPITALS.findall(_QUOTED.sub("", line))) - _KNOWN:
            return taken, True
        line = _QUOTED.sub(lambda found: f'"{color_of(found[1])}"', line)
        if slot.colours and list(dict.fromkeys(_QUOTED.findall(line))) != list(slot.colours):
            return taken, True
        taken.append(line)
    other = last.strip().startswith(("#", "paint", "frames", "`", "image, draw"))
    return taken, len(taken) == slot.most or other
