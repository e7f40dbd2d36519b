"""A sentence -> a task, by rules that invent nothing: a property that no word names stays open. Pure.

What follows from a word is listed in docs/tasks.md ("From a sentence").
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from localgif.errors import ConfigError
from localgif.files import is_file
from localgif.tasks.drafts import CORNERS, MOVING, Doubt, Draft
from localgif.tasks.grammar import HAND, Grammar
from localgif.tasks.task import PLACE_PHRASES, Colour, Shown, Subject, Targets, Task, brief_error, load_task, task_names
from localgif.tasks.words import Word, is_english, normalised, numbers, words

#: Longest sentence, characters: the longest brief of a task.
LONGEST = 400
#: Most kinds of things (tasks/task.py).
_SUBJECTS = 6
#: Size word -> smallest and largest diameter, shares of the picture's shorter side; a word is vaguer than a number.
_SCALES = {"small": (0.06, 0.3), "large": (0.25, 0.9)}
#: Smallest and largest length of a bar: it may reach from edge to edge.
_BAR = (0.3, 1.0)
#: Reach of a path from edge to edge, or from corner to corner.
_FAR = 0.75
#: Place where a one-way motion begins -> its direction.
_HALVES = {"top": "down", "bottom": "up"}
#: Paths that nothing measures.
_UNMEASURED = frozenset({"?", "arc", "eight", "edges", "swing", "meet", "swap"})
#: What is so nearly round that no measurement sees it turn (gif/looks.py).
_ROUNDISH = re.compile(r"\b(?:hexa|octa)gons?\b")
#: Path -> the places at its ends.
_ENDS: dict[str, tuple[str, ...]] = {
    "left-right": ("left", "right"),
    "across": ("left", "right"),
    "up-down": ("top", "bottom"),
    "diagonal": CORNERS,
    "diagonal-down": CORNERS,
    "diagonal-up": CORNERS,
}
#: Words that a task's name leaves out.
_SMALL = frozenset(
    {"a", "an", "the", "on", "of", "in", "and", "that", "its", "is", "to", "it", "with", "own", "up", "down"}
)


@dataclass(frozen=True)
class Reading:
    """A task, and what to tell the user about the sentence that it came from."""

    task: Task
    unchecked: tuple[str, ...] = ()
    """Words of the sentence that no check covers, in their order, some with the reason."""
    doubts: tuple[Doubt, ...] = ()
    """Words that can be read in two ways."""

    @property
    def checkable(self) -> bool:
        """Whether the task asks for a thing to see, and not only for frames, time, size, loop and background."""
        return bool(self.task.subjects)


def is_sentence(text: str) -> bool:
    """Whether a text is a sentence, and neither names of shipped tasks nor the path of a file."""
    if text.strip().endswith(".toml") or ("/" in text and is_file(Path(text))):
        return False
    return not text.strip() or any(len(part.split()) > 1 for part in text.split(","))


def find(text: str) -> Reading:
    """The task of a shipped name, of a TOML file's path, or of a sentence.

    Raises:
        ConfigError: There is no such task, or the file or the sentence is invalid.
    """
    return read(text) if is_sentence(text) else Reading(load_task(text))


def read(text: str, name: str = "") -> Reading:
    """The task that an English sentence asks for.

    Args:
        text: One or a few sentences, at most 400 characters.
        name: The task's name; "" to make one from the sentence.

    Raises:
        ConfigError: It is empty, too long, not English, contradicts itself, or asks for more than can be told apart.
    """
    brief = " ".join(text.split()).rstrip(" .")
    if not re.search(r"\w", brief):
        raise brief_error(
            "the sentence is empty", 'say what to draw: "a green triangle spinning on a black background"'
        )
    if len(brief) > LONGEST:
        raise brief_error(
            f"the sentence has {len(brief):,} characters; a brief has at most {LONGEST}",
            "name the background, and for each thing its colour, its shape and what it does",
        )
    grammar, targets, corrected = parsed(brief)
    things = Things(grammar)
    subjects = things.subjects()
    try:
        task = Task(
            name=name or name_of(brief),
            brief=brief,
            targets=Targets(**targets),
            background=grammar.background,
            subjects=subjects,
            still=grammar.pauses or any(subject.shown == "any" for subject in subjects),
        )
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(str(part) for part in problem["loc"])
        raise brief_error(
            f'"{brief[:60]}": {key} = {problem["input"]!r}: {problem["msg"]}', "see docs/tasks.md"
        ) from None
    doubts = [Doubt(here, f'"{meant}"', "correct the spelling if that is wrong") for here, meant in corrected]
    return Reading(task, things.unchecked(), (*doubts, *grammar.doubts))


def parsed(brief: str) -> tuple[Grammar, dict[str, int], list[tuple[str, str]]]:
    """The grammar of a brief, the targets that it states, and the misspelled words with their corrections.

    Raises:
        ConfigError: It is not English, or asks for more of a kind than a task can have.
    """
    plain, targets = numbers(normalised(brief))
    found, corrected = words(plain)
    if not is_english(plain, found):
        raise brief_error(f'"{brief[:60]}" is not English that localgif can read', "write the sentence in English")
    grammar = Grammar(found)
    grammar.go()
    return grammar, targets, corrected


def name_of(brief: str) -> str:
    """A task's name: the first words of its sentence that say something, never the name of a shipped task."""
    said = [word for word in re.findall(r"[a-z0-9]+", brief.lower()) if word not in _SMALL]
    name = "-".join(said[:5])[:48].strip("-") or "drawing"
    return f"{name}-too" if name in task_names() else name


def differences(task: Task) -> tuple[str, ...]:
    """The contradictions between a task's brief and its keys, one sentence each."""
    try:
        said = read(task.brief).task
    except ConfigError:
        return ()
    found = []
    if said.background not in (None, task.background):
        found.append(f"the brief names a {said.background} background, but background is {task.background}")
    by_hues = {frozenset(subject.hues): subject for subject in said.subjects}
    for number, subject in enumerate(task.subjects, 1):
        named = by_hues.pop(frozenset(subject.hues), None)
        for key in ("count", "shape", "path", "size", "turn", "shown", "place") if named is not None else ():
            one, other = getattr(named, key), getattr(subject, key)
            if "any" not in (one, other) and one != other:
                found.append(f"the brief reads as {key} = {one}, but subjects[{number}].{key} is {other}")
    found += [f"the brief names a {subject.name}, but no subject has its colour" for subject in by_hues.values()]
    return tuple(found)


class Things:
    """Turns what the grammar found into the subjects of a task."""

    def __init__(self, grammar: Grammar) -> None:
        self._grammar = grammar
        self._notes = list(grammar.notes)
        self._others: dict[tuple[Colour, ...], dict[str, Draft]] = {}
        """Colours of a thing -> key -> the other thing that the key names by its colour."""

    def _note(self, text: str) -> None:
        self._notes.append((len(self._grammar.words), text))

    def _note_words(self, found: Sequence[Word]) -> None:
        words = self._grammar.words
        self._notes += [(words.index(word), word.text) for word in found if word in words]

    def subjects(self) -> tuple[Subject, ...]:
        """The things that can be checked.

        Raises:
            ConfigError: They contradict each other or themselves, or there are too many.
        """
        behind = self._grammar.background
        read = [self._seen(draft) for draft in self._grammar.drafts]
        made = _merged([subject for subject in read if subject is not None])
        if len(made) > _SUBJECTS:
            raise brief_error(
                f"the sentence names {len(made)} things; a task has at most {_SUBJECTS}", "leave some of them out"
            )
        if any(behind in subject.hues for subject in made):
            raise brief_error(
                f"a {behind} thing is on a {behind} background, but localgif cannot tell shades of one colour apart",
                "give one of them another colour",
            )
        return tuple(self._related(subject, made) for subject in made)

    def _seen(self, draft: Draft) -> Subject | None:
        """The subject without what can be drawn, but not measured."""
        subject = self.subject(draft)
        if subject is None:
            return None
        if draft.is_hidden:
            self._note(
                f"{draft.label}: something hides it at times, so its shape, its size and its way are not checked"
            )
            self._others.pop(subject.hues)
            kept = subject.model_dump(include={"colour", "colours", "change", "count", "size_range"})
            return Subject(**kept, shown="any", inside=False)
        if draft.around is not None and draft.around.kinds(*MOVING) and subject.path == "orbit":
            self._note(f"{draft.label}: what it goes round moves, too")
            self._others.pop(subject.hues)
            subject = subject.model_copy(update={"path": "any"})
        if subject.turn != "any" and _ROUNDISH.search(draft.called):
            self._note(f"{draft.kinds('turn')[-1].text}: localgif cannot measure how a {draft.called} turns")
            subject = subject.model_copy(update={"turn": "any"})
        return subject

    def _related(self, subject: Subject, made: Sequence[Subject]) -> Subject:
        """A subject with what depends on other things: beside, around, above or below which it is."""
        found: dict[str, Any] = {}
        alike = [draft for draft in self._grammar.drafts if set(draft.hues) & set(subject.hues)]
        if subject.count > 1 and all(draft.abreast for draft in alike):
            found["side_by_side"] = True
        for key, other in self._others.get(subject.hues, {}).items():
            hue = next(iter(other.hues), None)
            if key == "above" and other.shape != "bar":  # the measurement also wants it between the other's ends
                self._note(f"above the {other.label}")
            elif hue is not None and hue not in subject.hues and any(each.colour == hue for each in made):
                found[key] = hue
        return subject.model_copy(update=found)

    def subject(self, draft: Draft) -> Subject | None:
        """The subject, or None with a note if nothing tells it from other things."""
        _consistent(draft)
        hues = tuple(dict.fromkeys([*draft.hues, *draft.cycle]))
        changes = bool(draft.kinds("cycle")) and not (draft.kinds("vanish") and len(hues) < 2)
        if draft.motley or not hues or (changes and len(hues) < 2):
            why = "it has several colours at once" if draft.motley else "name its colour"
            self._note(f"{draft.label}: {'name the colours that it takes' if changes else why}")
            return None
        if draft.in_turn and draft.count > 1 and (draft.kinds("blink") or "equalizer" in draft.traits):
            self._note(f"{draft.label}: things of one colour that appear or grow in turn")
            return None
        self._notes += draft.said
        size = _size(draft, " ".join(text for _, text in self._notes))
        path, inside = self._path(draft, size)
        if path == "diagonal" and "-" in draft.place:
            path = "diagonal-down" if draft.place in ("top-left", "bottom-right") else "diagonal-up"
        values: dict[str, Any] = {"count": draft.count, **({"colours": hues} if changes else {"colour": hues[0]})}
        values |= self._sight(draft, size) | self._rest(draft, path, size)
        values["inside"] = inside and not (draft.shape == "bar" and draft.place not in ("", "middle"))
        place = draft.place if draft.place != "corners" else ""
        if draft.count > 1 and place == "middle":
            place = ""  # not each of them is
        place = place or ("middle" if _round_middle(draft) else "any")
        ends = _ENDS.get(path, _ENDS["up-down"] if draft.kinds("half") else ())
        for end in ends:  # an end of its path; a task's place is the path's middle
            if end in (place, *place.split("-")):
                self._note(PLACE_PHRASES[end])
                place = place.replace(end, "").strip("-") or "any"
        values["place"] = place
        if place == "middle" and values["path"] == "any" and draft.kinds("loose", "path", "move"):
            values["place"] = "any"  # it leaves its place to and fro
        if changes and any(word.value == "switch" for word in draft.kinds("cycle")):
            values["change"] = "switch"
        if path.startswith(("diagonal", "left-right", "up-down")) and _far(draft):
            values["reach"] = _FAR
        others = {"around": draft.around if path == "orbit" else None, "below": draft.below, "above": draft.above}
        self._others[hues] = {key: other for key, other in others.items() if other is not None}
        return Subject(**values)

    def _sight(self, draft: Draft, size: str) -> dict[str, Any]:
        """Shape, size in the picture, turn, and whether it blinks."""
        values: dict[str, Any] = {}
        if turns := draft.kinds("turn"):
            if draft.shape == "round":
                self._note(f"{turns[-1].text}: nobody can see a round thing turn")
            else:
                values["turn"] = "spin"
        elif draft.rolls and draft.shape not in ("", "round"):
            self._note(f"{draft.label}: how it turns as it rolls")
        if blinks := draft.kinds("blink"):
            values["shown"] = "blink"
            if blinks[-1].value == "?":
                instead = 'leave it out, or write "blinks"'
                self._grammar.doubts.append(Doubt(blinks[-1].text, "disappearing for a moment", instead))
        if vanishes := draft.kinds("vanish"):
            values["shown"] = "fade"
            if vanishes[-1].value == "?":
                self._grammar.doubts.append(Doubt(vanishes[-1].text, "fading away", 'if it is sudden, write "blinks"'))
        if any(word.value == "away" for word in draft.kinds("shrink")) and size not in ("pulse", "grow"):
            values["shown"] = "any"
        sides = draft.kinds("side", "one-way") if size in ("pulse", "grow") else []
        morphs = any(
            word.value == "shape" or (word.value == "size" and draft.shape != "bar") for word in draft.kinds("loose")
        )
        # What fills up is short at first.
        if draft.shape and not morphs and not (draft.shape == "bar" and (size == "grow" or sides)):
            values["shape"] = draft.shape
            if draft.shape == "bar":
                values["size_range"] = _BAR
            if draft.shape == "star":
                values["points"] = draft.points
        if draft.scale and (size in ("pulse", "grow") or draft.shape == "bar"):
            self._note(draft.scale)
        elif draft.scale:
            values["size_range"] = _SCALES[draft.scale]
        if sides:
            values["anchor"] = sides[0].value
        return values

    def _rest(self, draft: Draft, path: str, size: str) -> dict[str, Any]:
        """Path and size. What the sentence does not name follows from the rest: what turns stays in place."""
        loose = bool(draft.kinds("loose"))
        changes = draft.kinds("turn", "cycle", "blink", "vanish", "grow", "shrink", "pulse")
        settles = bool(draft.kinds("still", "rests"))
        moves = bool(path)
        hand = HAND.search(draft.called) or any(word.value == "hand" for word in draft.kinds("turn"))
        if draft.kinds("turn") and hand and not settles:
            changes = []
        if not path and (settles or (changes and not loose)):
            # The centre of what grows from one side moves.
            centred = draft.shape != "bar" and not draft.kinds("one-way", "side")
            path = "still" if settles or centred or size not in ("pulse", "grow") else "any"
        swells = any(word.value == "size" for word in draft.kinds("loose"))
        if not size and not swells and (moves or ((settles or changes) and not loose)):
            if draft.kinds("shrink"):
                self._note_words(draft.kinds("shrink"))
            else:
                size = "constant"
        return {"path": "any" if path in ("", "?") else path, "size": size or "any"}

    def _path(self, draft: Draft, size: str) -> tuple[str, bool]:
        """The path ("?" if it cannot be measured, "" if none is named), and whether it stays inside the picture."""
        named = {"?" if word.value in _UNMEASURED else word.value for word in draft.kinds("path")}
        leans = {word.value for word in draft.kinds("leans")}
        halves = {word.value for word in draft.kinds("half")}
        ways, crosses = draft.kinds("one-way"), draft.kinds("across")
        one_way = [word for word in ways if word.value not in _HALVES]
        if size not in ("pulse", "grow"):
            halves |= {_HALVES[word.value] for word in ways if word.value in _HALVES}
        leaves = bool(draft.kinds("exit"))
        if len(halves) == 2 or (halves and (draft.in_turn or draft.kinds("back") or "up-down" in leans)):
            named.add("up-down")
        if any(word.value in ("swing", "edges", "arc") for word in draft.kinds("path")):
            named = {"?"}  # "swings left and right like a pendulum", "along the edges, round and round"
        if len(named) > 1:
            named.discard("?")
        if {"diagonal-down", "diagonal-up"} & named:
            named.discard("diagonal")
        if not named:
            if halves:
                named, leaves = {"?"}, True
            elif draft.kinds("exit") and size not in ("pulse", "grow"):
                named = {"across"}
            elif draft.in_turn:  # "one after the other from left to right"
                named = leans
            elif one_way and size != "grow" and not (size == "pulse" and draft.shape == "bar"):
                named = {"left-right"} if draft.kinds("back") else {"across"}
                if named == {"across"} and not crosses:
                    said, instead = one_way[0].text, 'if it returns, write "and back"'
                    self._grammar.doubts.append(Doubt(said, "crossing the picture", instead))
            elif crosses:
                named = leans | {"across"}
            else:
                named = leans
        path = next(iter(named)) if len(named) == 1 else "?" if named or draft.kinds("move") else ""
        if size not in ("pulse", "grow"):
            self._note_words(draft.kinds("side"))
        if path == "?":
            self._note_words(draft.kinds("path", "one-way", "half", "across", "leans") or draft.kinds("move"))
        return path, not leaves and "across" not in named

    def unchecked(self) -> tuple[str, ...]:
        """The words that no check covers; neighbours are joined."""
        found: list[str] = []
        last = -2
        for at, text in sorted(set(self._notes)):
            plain = re.sub(r" of$", "", text)
            if at == last + 1 and at < len(self._grammar.words):
                found[-1] += f" {plain}"
            else:
                found.append(plain)
            last = at
        return tuple(dict.fromkeys(found))


def _round_middle(draft: Draft) -> bool:
    """Whether it goes round the middle of the picture."""
    return any(word.value == "orbit" and re.search("centre|center|middle", word.text) for word in draft.kinds("path"))


def _far(draft: Draft) -> bool:
    """Whether its path is named from edge to edge, or from corner to corner."""
    ends = re.compile("corner|edge|(?:left|right|top|bottom) side")
    return any(ends.search(word.text) for word in draft.kinds("path"))


def _size(draft: Draft, notes: str) -> str:
    """The size that the words name; "" if they name none."""
    if draft.kinds("pulse"):
        return "pulse"
    grows, shrinks = draft.kinds("grow"), draft.kinds("shrink")
    if draft.in_turn and (grows or shrinks):
        return "pulse"
    if grows and shrinks:
        # "grows slowly and shrinks back quickly" grows for most of the loop.
        sudden = re.search(r"quick|fast|sudden|at once|rapid", notes)
        uneven = sudden and ("slow" in notes or any(word.text.endswith("back") for word in shrinks))
        return "grow" if uneven else "pulse"
    if grows:
        return "grow"
    return "constant" if draft.kinds("keep") else ""


def _consistent(draft: Draft) -> None:
    """Raise if the sentence contradicts itself about a thing."""
    pairs = (
        ("still", ("path", "leans", "one-way", "half", "exit"), "stays where it is"),
        ("keep", ("grow", "shrink", "pulse"), "keeps its size"),
    )
    for rest, motion, meaning in pairs:
        one, other = draft.kinds(rest), draft.kinds(*motion)
        if one and other:
            message = f'the {draft.label} {meaning} ("{one[0].text}") and does not ("{other[0].text}")'
            raise brief_error(message, "leave one of them out")


def _merged(subjects: Sequence[Subject]) -> list[Subject]:
    """The subjects, with those of one colour merged into one that keeps what they have in common."""
    made: list[Subject] = []
    for subject in subjects:
        twin = next((each for each in made if set(each.hues) & set(subject.hues)), None)
        if twin is None:
            made.append(subject)
            continue
        count = twin.count + subject.count
        if twin.hues != subject.hues or count > 8:
            shared = ", ".join(sorted(set(twin.hues) & set(subject.hues)))
            message = f"too many things are {shared}: localgif tells things apart by colour"
            raise brief_error(message, "give each thing a colour of its own; at most 8 can have the same one")
        kept = ("shape", "path", "size", "turn", "place", "size_range")
        same = {key: getattr(twin, key) for key in kept if getattr(twin, key) == getattr(subject, key)}
        shown: Shown = twin.shown if twin.shown == subject.shown else "any"
        same |= {"count": count, "inside": twin.inside and subject.inside, "shown": shown}
        made[made.index(twin)] = Subject(colour=twin.colour, colours=twin.colours, **same)
    return made
