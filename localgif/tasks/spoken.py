"""A task as people read it: in a sentence, in a phrase, and as a TOML file. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from localgif.records import ScorePart
from localgif.tasks.task import PLACE_PHRASES, Subject, Targets, Task

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight")
#: Value of a property -> what one thing does, and what several do.
_PATHS = {
    "still": ("stays where it is", "stay where they are"),
    "up-down": ("moves up and down", "move up and down"),
    "left-right": ("moves left and right", "move left and right"),
    "diagonal": ("moves along a diagonal", "move along a diagonal"),
    "diagonal-down": (
        "moves between the top left and the bottom right",
        "move between the top left and the bottom right",
    ),
    "diagonal-up": (
        "moves between the bottom left and the top right",
        "move between the bottom left and the top right",
    ),
    "orbit": ("goes round in a circle", "go round in a circle"),
    "across": ("crosses the picture", "cross the picture"),
}
_SIZES = {
    "constant": ("keeps its size", "keep their size"),
    "pulse": ("grows and shrinks", "grow and shrink"),
    "grow": ("grows", "grow"),
}

_USUAL = Subject(colour="red")


def sentence_of(task: Task) -> str:
    """Everything that a task checks about the picture: "black background; one green triangle; it stays where it is,
    keeps its size, and spins"; "" if it checks nothing about the picture."""
    parts = [f"{task.background} background"] if task.background is not None else []
    for subject in task.subjects:
        many = subject.count > 1
        place = f" {PLACE_PHRASES[subject.place]}" if subject.place != "any" else ""
        parts.append(f"{_NUMBERS[subject.count]} {_noun(subject)}{place}")
        if does := [*_changes(subject), *_rest(subject)]:
            # What stays the same comes first: "it stays where it is, keeps its size, and spins".
            does.sort(key=lambda text: text not in (_PATHS["still"][many], _SIZES["constant"][many]))
            parts.append(f"{'they' if many else 'it'} {_listed(does)}")
    if task.still:
        parts.append("the picture may hold still for a while")
    return "; ".join(parts)


def phrase_of(task: Task) -> str:
    """What a task asks for in a few words: "a green triangle that spins on black"; "" if it asks for nothing."""
    things = []
    for subject in task.subjects:
        noun = _noun(subject)
        first = _NUMBERS[subject.count] if subject.count > 1 else "an" if noun[0] in "aeiou" else "a"
        does = list(_changes(subject)) or [_PATHS["still"][subject.count > 1]] * (subject.path == "still")
        things.append(f"{first} {noun}" + (f" that {_listed(does)}" if does else ""))
    if not things:
        return f"a {task.background} background" if task.background is not None else ""
    return _listed(things) + (f" on {task.background}" if task.background is not None else "")


def missed(task: Task, part: ScorePart) -> str:
    """Say what is wrong with a picture, from a part of its score that fell short: "it does not spin"."""
    if part.name == "loop":
        return "it does not close"
    verb = _verb(task.subjects[0], part.name) if len(task.subjects) == 1 else ""
    if not verb:
        return part.explanation
    does = "they do" if task.subjects[0].count > 1 else "it does"
    return f"{does} not {verb}" + (" as asked" if part.value >= 0.5 else "")


def _verb(subject: Subject, part: str) -> str:
    """What a part of the score asks of a thing, as a verb; "" if no verb says it."""
    if part == "path" and subject.path != "any":
        verb = _PATHS[subject.path][1]
    elif part == "scale" and subject.size != "any":
        verb = _SIZES[subject.size][1]
    elif part == "turn" and subject.turn == "spin":
        verb = "spin"
    elif part == "blink" and subject.shown == "blink":
        verb = "blink"
    elif part == "cycle" and subject.colours:
        how = "switch" if subject.change == "switch" else "change their colour"
        verb = f"{how} between {_listed(subject.colours)}"
    elif part == "shape" and subject.shape != "any":
        verb = "look round" if subject.shape == "round" else f"look like a {subject.shape}"
    else:
        return ""
    return verb if subject.count > 1 else verb.replace("they are", "it is").replace("their", "its")


def technique_of(targets: Targets) -> str:
    """The numbers that a GIF must reach: "24 frames, 1 s, closes, under 100 KB"."""
    return f"{targets.frames} frames, {targets.loop_ms / 1000:g} s, closes, under {targets.max_bytes / 1024:.4g} KB"


def toml_of(task: Task) -> str:
    """The task as a TOML file that `tasks.task.parse_task` reads back; default values are left out."""
    data = task.model_dump(mode="json", exclude_defaults=True, exclude={"name"})
    targets, subjects = data.pop("targets", {}), data.pop("subjects", ())
    blocks = [_table(data), *([f"[targets]\n{_table(targets)}"] if targets else [])]
    return "\n".join([*blocks, *(f"[[subjects]]\n{_table(subject)}" for subject in subjects)])


def _table(values: dict[str, Any]) -> str:
    width = max(map(len, values), default=0)
    # JSON's strings, numbers, booleans and lists are TOML's too, except that TOML wants DEL escaped.
    lines = (f"{key:<{width}} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in values.items())
    return "".join(lines).replace("\x7f", "\\u007f")


def _noun(subject: Subject) -> str:
    """The thing without its number: "green triangle", "round red things"."""
    named = subject.shape not in ("any", "round")
    points = f"{_NUMBERS[subject.points]}-pointed" if subject.points is not None else ""
    words = [
        points,
        "round" if subject.shape == "round" else "",
        subject.colour or "",
        subject.shape if named else "thing",
    ]
    return " ".join(filter(None, words)) + ("s" if subject.count > 1 else "")


def _changes(subject: Subject) -> Iterator[str]:
    """What changes in it, one item per property."""
    many = subject.count > 1
    if subject.colours:
        how = ("switches", "switch") if subject.change == "switch" else ("changes its colour", "change their colour")
        yield f"{how[many]} between {_listed(subject.colours)}"
    if subject.path not in ("any", "still"):
        centre = f" round the {subject.around} thing" if subject.around is not None else ""
        far = " from edge to edge" if subject.reach > _USUAL.reach else ""
        yield f"{'go' if many else 'goes'}{centre}" if centre else _PATHS[subject.path][many] + far
    if subject.size in ("pulse", "grow"):
        anchor = f" from {'the ' + subject.anchor}" if subject.anchor != "any" else ""
        yield _SIZES[subject.size][many] + anchor
    if subject.turn == "spin":
        yield "spin" if many else "spins"
    if subject.shown == "blink":
        yield "blink" if many else "blinks"


def _rest(subject: Subject) -> Iterator[str]:
    """What stays the same, and where it is."""
    many = subject.count > 1
    if subject.path == "still":
        yield _PATHS["still"][many]
    for key, word in (("below", "below"), ("above", "over")):
        if getattr(subject, key) is not None:
            yield f"{'stay' if many else 'stays'} {word} the {getattr(subject, key)} thing"
    if subject.side_by_side:
        yield "stand side by side"
    if subject.size == "constant":
        yield _SIZES["constant"][many]
    if subject.size_range != _USUAL.size_range:
        low, high = (f"{100 * size:.0f} %" for size in subject.size_range)
        yield f"{'are' if many else 'is'} {low} to {high} of the picture's shorter side in size"
    if not subject.inside and subject.path != "across":
        yield "may touch or leave the edge"


def _listed(parts: Iterable[str]) -> str:
    """ "a", "a and b", or "a, b, and c"."""
    items = list(parts)
    if len(items) < 3:
        return " and ".join(items)
    return f"{', '.join(items[:-1])}, and {items[-1]}"
