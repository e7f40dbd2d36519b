"""Pieces of frames -> tracks -> what each subject does: path, size, turn, shape."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from localgif.records import Looks, Piece
from localgif.tasks.task import Subject, Task

V = TypeVar("V")

#: A piece of the subject's colour with less than this share of the largest one's area is a splinter of it.
SPLINTER = 0.2

#: A thing that nobody asked for counts from this share of the subject's area: a highlight or an eye is smaller.
RIVAL = 0.15


@dataclass(frozen=True)
class Track:
    """One thing through all frames in which it is seen, in order."""

    pieces: tuple[Piece, ...]
    aspect: float = 1.0
    """Width of the picture by its height: places are shares of each, so a wide one makes what goes sideways small."""

    @property
    def x(self) -> tuple[float, ...]:
        """Centres, shares of the width."""
        return tuple(p.x for p in self.pieces)

    @property
    def y(self) -> tuple[float, ...]:
        """Centres, shares of the height."""
        return tuple(p.y for p in self.pieces)

    @property
    def side(self) -> tuple[float, ...]:
        """Square roots of the areas: proportional to length."""
        return tuple(math.sqrt(p.area) for p in self.pieces)

    @property
    def fold(self) -> int:
        """The rotational symmetry that most frames show; 0 for none."""
        return statistics.mode(p.fold for p in self.pieces)

    @property
    def turns(self) -> tuple[float, ...]:
        """By how many degrees it turns from frame to frame, the step back to the first one included.

        Frames in which its symmetry does not show are left out; a turn by more than half of 360 / fold looks like one
        the other way round.
        """
        fold = self.fold
        angles = [p.angle for p in self.pieces if p.fold == fold]
        if not fold or len(angles) < 2:
            return ()
        whole = 360 / fold
        return tuple((b - a + whole / 2) % whole - whole / 2 for a, b in pairs(angles))


@dataclass(frozen=True)
class Seen:
    """A subject in a GIF."""

    subject: Subject
    counts: tuple[int, ...]
    """How many things of its colour each frame shows."""
    others: tuple[int, ...]
    """How many things of similar size and a colour that nobody asked for each frame shows."""
    tracks: tuple[Track, ...]
    """Of `subject.count` things, fewer when fewer are seen; when its colour is seen in under half of the frames, of the
    largest things that are there."""
    stand_in: str
    """The colour that is there instead; "" when the asked one is."""
    hues: tuple[str, ...]
    """Colour of the largest piece in each frame that has one."""
    total: int
    """Frames of the GIF."""

    @property
    def label(self) -> str:
        """What the tracks are of, in a sentence: the subject, or what is there instead."""
        return f"{self.stand_in} thing in place of the {self.subject.name}" if self.stand_in else self.subject.name


def pairs(values: Sequence[V]) -> list[tuple[V, V]]:
    """Each value with the next one, the last with the first."""
    return list(zip(values, [*values[1:], *values[:1]], strict=True))


def follow(looks: Looks, task: Task, aspect: float = 1.0) -> list[Seen]:
    """What became of each subject of a task in a picture of that width by height."""
    return [_seen(looks, subject, task, aspect) for subject in task.subjects]


def _seen(looks: Looks, subject: Subject, task: Task, aspect: float) -> Seen:
    asked = {hue for other in task.subjects for hue in other.hues}
    own = [_sorted_out([p for p in pieces if p.colour in subject.hues]) for pieces in looks.pieces]
    alien = [[p for p in pieces if p.colour not in asked and not _thin(p)] for pieces in looks.pieces]
    if subject.colours:  # on its way from one colour to the next it has others
        own = [pieces or _sorted_out(others)[: subject.count] for pieces, others in zip(own, alien, strict=True)]
    stand_in = ""
    shown = own
    present = sum(bool(pieces) for pieces in own)
    if present < 0.5 * len(own) and subject.shown == "always" and sum(map(bool, alien)) > present:
        shown = [_sorted_out(pieces) for pieces in alien]
        stand_in = statistics.mode(pieces[0].colour for pieces in shown if pieces)
    return Seen(
        subject=subject,
        counts=tuple(len(pieces) for pieces in own),
        others=tuple(_rivals(pieces, strangers) for pieces, strangers in zip(own, alien, strict=True)),
        tracks=tuple(Track(pieces, aspect) for pieces in _tracks(shown, subject.count)),
        stand_in=stand_in,
        hues=tuple(pieces[0].colour for pieces in own if pieces),
        total=len(own),
    )


def _sorted_out(pieces: list[Piece]) -> list[Piece]:
    """Without splinters, largest first."""
    largest = max((p.area for p in pieces), default=0.0)
    return sorted((p for p in pieces if p.area >= SPLINTER * largest), key=lambda p: -p.area)


def _thin(piece: Piece) -> bool:
    """Whether it is a line, an outline or the fringe of something else."""
    return piece.spread > 5 or piece.elongation > 6


def _rivals(own: list[Piece], strangers: list[Piece]) -> int:
    """How many strangers are about as large as the subject."""
    if not own:
        return 0
    return sum(p.area >= RIVAL * own[0].area for p in strangers if p not in own)


def _tracks(frames: Sequence[list[Piece]], count: int) -> tuple[tuple[Piece, ...], ...]:
    """Follow the `count` largest things from frame to frame, each to what lies nearest."""
    if count == 1:
        whole = tuple(pieces[0] for pieces in frames if pieces)
        return (whole,) if whole else ()
    tracks: list[list[Piece]] = []
    for pieces in frames:
        free = pieces[:count]
        waiting = list(range(len(tracks)))
        while free and waiting:
            track, piece = min(
                ((t, p) for t in waiting for p in free), key=lambda pair: _distance(tracks[pair[0]][-1], pair[1])
            )
            tracks[track].append(piece)
            waiting.remove(track)
            free.remove(piece)
        tracks += [[piece] for piece in free if len(tracks) < count]
        tracks = tracks[:count]
    return tuple(tuple(pieces) for pieces in tracks)


def _distance(one: Piece, other: Piece) -> float:
    return math.hypot(one.x - other.x, one.y - other.y)


Judged = tuple[float, str]

#: A path must reach this share of the picture's side; below the first it is none.
REACH = (0.04, 0.15)

#: Motion across a path, by its reach: up to the first it is straight, from the second on it is another path.
STRAIGHT = (0.2, 0.6)

#: Largest single step by the reach: up to the first it is smooth, from the second on it is a jump.
JUMP = (0.4, 0.75)

#: Largest step by the third largest: a fast motion has several large ones, a jump is alone (a single one, or one there
#: and one back). Up to the first it is smooth, from the second on it jumps; with fewer frames steps say little.
LEAP = (1.8, 2.6)

LEAP_FRAMES = 12

#: Changes of direction in one loop: up to the first a motion, from the second on a jitter.
JITTER = (8, 14)

#: Movement of a thing that must stay where it is, share of the side.
STILL = (0.03, 0.12)


def ramp(value: float, bad: float, good: float) -> float:
    """0 at `bad`, 1 at `good`, straight in between; either may be the larger one."""
    return min(1.0, max(0.0, (value - bad) / (good - bad)))


def span(values: Sequence[float]) -> float:
    """Largest minus smallest."""
    return max(values) - min(values)


def reversals(values: Sequence[float]) -> int:
    """How often a cyclic motion changes its direction; trembling by less than a tenth of its reach does not count."""
    least = 0.1 * span(values)
    if least == 0:
        return 0
    start = values.index(min(values))
    found, direction, extreme = 0, 1, values[start]
    for value in [*values[start + 1 :], *values[: start + 1]]:
        if direction * (value - extreme) >= 0:
            extreme = value
        elif direction * (extreme - value) > least:
            found, direction, extreme = found + 1, -direction, value
    return found + (direction < 0)


def smooth(values: Sequence[float]) -> float:
    """1 when a cyclic motion goes in small steps, 0 when it jumps."""
    reach = span(values)
    if reach == 0 or len(values) < 4:
        return 0.0
    # With few frames each step is larger.
    allowed = 4 / len(values)
    steps = sorted((abs(b - a) for a, b in pairs(values)), reverse=True)
    largest = steps[0] / reach
    # A step below a hundredth of the reach is none: what stands still but for one leap jumps.
    alone = steps[0] / max(steps[2], 0.01 * reach)
    even = ramp(alone, *LEAP[::-1]) if len(values) >= LEAP_FRAMES else 1.0
    short = ramp(largest, max(JUMP[1], 1.6 * allowed), max(JUMP[0], allowed))
    return even * short * ramp(reversals(values), *JITTER[::-1])


def _there_and_back(along: Sequence[float], side: float, words: tuple[str, str]) -> Judged:
    """`side` is how far it goes the other way, in shares of the same side of the picture as `along`."""
    reach = span(along)
    if reach < REACH[0] and side < REACH[0]:
        return 0.0, f"it hardly moves ({_percent(reach)} of the picture), asked is {words[0]}"
    straight = ramp(side / reach, STRAIGHT[1], STRAIGHT[0]) if reach else 0.0
    value = ramp(reach, *REACH) * straight * smooth(along)
    text = f"it moves {_percent(reach)} of the picture {words[0]} and {_percent(side)} {words[1]}"
    if straight < 1:
        text += f", asked is {words[0]} alone"
    elif smooth(along) < 1:
        text += ", in jumps or with a trembling"
    return value, text


def _up_down(track: Track) -> Judged:
    return _there_and_back(track.y, span(track.x) * track.aspect, ("up and down", "sideways"))


def _left_right(track: Track) -> Judged:
    return _there_and_back(track.x, span(track.y) / track.aspect, ("to the left and right", "up or down"))


def _diagonal(track: Track) -> Judged:
    reach = min(span(track.x), span(track.y))
    if reach < REACH[0]:
        return 0.0, (
            f"it moves {_percent(span(track.x))} of the picture sideways and {_percent(span(track.y))} up and down, "
            "asked is a diagonal"
        )
    together = abs(statistics.correlation(track.x, track.y))
    value = ramp(reach, *REACH) * ramp(together, 0.7, 0.95) * smooth(track.x)
    return value, f"it moves over {_percent(reach)} of the picture, {together:.2f} of 1 along a diagonal"


def _orbit(track: Track) -> Judged:
    width, height = span(track.x), span(track.y)
    if min(width, height) < REACH[0]:
        return 0.0, (
            f"it moves {_percent(width)} of the picture sideways and {_percent(height)} up and down, asked is a circle"
        )
    centre = (max(track.x) + min(track.x)) / 2, (max(track.y) + min(track.y)) / 2
    points = [
        (2 * (x - centre[0]) / width, 2 * (y - centre[1]) / height) for x, y in zip(track.x, track.y, strict=True)
    ]
    radii = [math.hypot(x, y) for x, y in points]
    turned, steady, largest = _turned([math.degrees(math.atan2(y, x)) for x, y in points])
    even = ramp(statistics.pstdev(radii), 0.35, 0.12)
    oblong = ramp(min(width * track.aspect, height) / max(width * track.aspect, height), 0.25, 0.6)
    few = 360 / len(points)  # with few frames each step is larger
    value = ramp(min(width, height), *REACH) * ramp(turned, 180, 330) * ramp(steady, 0.6, 0.9) * even * oblong
    value *= ramp(largest, max(110, 1.6 * few), max(60, 1.2 * few))
    return value, f"it goes {turned:.0f} degrees round a centre, {_percent(width)} of the picture wide"


def _turned(angles: Sequence[float]) -> tuple[float, float, float]:
    """Of cyclic angles: degrees that they turn in all; 1 when always the same way, 0 when to and fro; largest step."""
    steps = [(b - a + 180) % 360 - 180 for a, b in pairs(angles)]
    way = sum(abs(step) for step in steps)
    return abs(sum(steps)), abs(sum(steps)) / way if way else 0.0, max(abs(step) for step in steps)


def _across(track: Track) -> Judged:
    steps = [b - a for a, b in pairs(track.x)]
    back = min(steps, key=lambda step: -abs(step))  # coming in again on the other side
    forward = [step for step in steps if step * back < 0]
    reach = span(track.x)
    largest = max((abs(step) for step in forward), default=1.0)
    straight = ramp(span(track.y) / track.aspect / reach, STRAIGHT[1], STRAIGHT[0]) if reach else 0.0
    value = ramp(reach, 0.3, 0.7) * ramp(len(forward) / len(steps), 0.6, 0.85) * straight
    value *= ramp(largest, 0.3, 0.15) if reach else 0.0
    return value, f"it crosses {_percent(reach)} of the width, {len(forward)} of {len(steps)} steps the same way"


def _still(track: Track) -> Judged:
    moved = max(span(track.x), span(track.y))
    return ramp(moved, *STILL[::-1]), f"its centre moves by {_percent(moved)} of the picture, asked is to stay in place"


PATHS: dict[str, Callable[[Track], Judged]] = {
    "still": _still,
    "up-down": _up_down,
    "left-right": _left_right,
    "diagonal": _diagonal,
    "orbit": _orbit,
    "across": _across,
}


def _constant(track: Track) -> Judged:
    usual = statistics.median(track.side)
    change = span(track.side) / usual
    return ramp(change, 0.4, 0.12), f"its size changes by {_percent(change)}, asked is a constant one"


def _pulse(track: Track) -> Judged:
    ratio = max(track.side) / min(track.side)
    value = ramp(ratio, 1.08, 1.3) * smooth(track.side) if ratio > 1 else 0.0
    text = f"it is {ratio:.2f} times as wide when largest as when smallest"
    return value, text + ("" if value == 1 else ", asked is to grow and shrink smoothly")


def _grow(track: Track) -> Judged:
    ratio = max(track.side) / min(track.side)
    steps = [b - a for a, b in pairs(track.side)]
    growing = sum(step > 0 for step in steps) / len(steps)
    value = ramp(ratio, 1.1, 1.6) * ramp(growing, 0.4, 0.6)
    return value, f"it grows {ratio:.2f} times in width, in {_percent(growing)} of the steps"


SIZES: dict[str, Callable[[Track], Judged]] = {"constant": _constant, "pulse": _pulse, "grow": _grow}


def spin(track: Track) -> Judged:
    """How well it turns about its own centre: always the same way, at least until it looks the same again."""
    if not track.turns:
        return 0.0, "it shows no direction, so nobody sees it turn"
    turned, way = abs(sum(track.turns)), sum(abs(turn) for turn in track.turns)
    steady = turned / way if way else 0.0
    value = ramp(turned, 0.3 * 360 / track.fold, 0.9 * 360 / track.fold) * ramp(steady, 0.6, 0.9)
    return value, f"it turns by {turned:.0f} degrees in one loop" + (", to and fro" if way and steady < 0.9 else "")


def _median(track: Track, field: str) -> float:
    return float(statistics.median(getattr(piece, field) for piece in track.pieces))


def _round(track: Track) -> float:
    return ramp(_median(track, "spread"), 1.5, 1.25) * ramp(_median(track, "elongation"), 1.5, 1.2)


def _square(track: Track) -> float:
    spread = _median(track, "spread")
    return (ramp(spread, 1.25, 1.4) * ramp(spread, 2.2, 1.85) * ramp(_median(track, "elongation"), 1.6, 1.25)) * _folds(
        track, 4, 2
    )


def _triangle(track: Track) -> float:
    return ramp(_median(track, "spread"), 1.6, 1.9) * _folds(track, 3) * ramp(_median(track, "elongation"), 2.2, 1.7)


def _star(track: Track) -> float:
    return ramp(_median(track, "spread"), 1.9, 2.3) * _folds(track, 5, 4, 6)


def _bar(track: Track) -> float:
    return ramp(_median(track, "elongation"), 1.5, 2.0)


def _folds(track: Track, *folds: int) -> float:
    """Share of the frames in which it has one of these symmetries, full from two thirds on."""
    return ramp(sum(p.fold in folds for p in track.pieces) / len(track.pieces), 0.2, 0.67)


SHAPES: dict[str, Callable[[Track], float]] = {
    "round": _round,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "bar": _bar,
}


def shape_seen(track: Track) -> str:
    """The shape that it looks most like, or "no clear shape"."""
    best = max(SHAPES, key=lambda name: SHAPES[name](track))
    return best if SHAPES[best](track) >= 0.5 else "no clear shape"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
