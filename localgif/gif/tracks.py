"""Pieces of frames -> tracks -> what each subject does: path, size, turn, shape.

Judges of a track return a value from 0 to 1 and a reason. Their texts reach the reflector.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from localgif.records import Looks, Piece
from localgif.tasks.task import Subject, Task

#: A value from 0 to 1, and the reason.
Judged = tuple[float, str]

#: A piece of the subject's colour with less than this share of the largest one's area is ignored as a splinter.
_SPLINTER = 0.2
#: Another thing counts from this share of the subject's area; a highlight or an eye is smaller.
_RIVAL = 0.15

#: A path must reach this share of the picture's side: below the first it is not a path, full marks from the second on.
_REACH = (0.04, 0.15)
#: Motion across a path, divided by its reach: up to the first it is straight, from the second on it is another path.
_STRAIGHT = (0.2, 0.6)
#: Largest single step, divided by the reach: up to the first it is smooth, from the second on it is a jump.
_JUMP = (0.4, 0.75)
#: Largest step, divided by the third largest: a fast motion has several large steps, a jump has one, or one there and
#: one back. Up to the first it is smooth, from the second on it jumps. Not used with fewer than this many frames.
_LEAP, _LEAP_FRAMES = (1.8, 2.6), 12
#: Changes of direction in one loop: up to the first a motion, from the second on a jitter.
_JITTER = (8, 14)
#: Movement of a thing that must stay in place, share of the side: up to the first it stays, from the second it moves.
_STILL = (0.03, 0.12)

_V = TypeVar("_V")


def ramp(value: float, bad: float, good: float) -> float:
    """0 at `bad`, 1 at `good`, linear in between; either may be the larger one."""
    return min(1.0, max(0.0, (value - bad) / (good - bad)))


def pairs(values: Sequence[_V]) -> list[tuple[_V, _V]]:
    """Each value with the next one, the last with the first."""
    return list(zip(values, [*values[1:], *values[:1]], strict=True))


# --- tracks ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Track:
    """One thing through all frames that show it, in order."""

    pieces: tuple[Piece, ...]
    aspect: float = 1.0
    """Width of the picture divided by its height; places are shares of each, so in a wide one sideways looks short."""

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
        """Degrees that it turns from frame to frame, with the step back to the first one.

        It leaves out frames that do not show the symmetry. A turn by more than half of 360 / fold looks like a turn the
        other way round.
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
    """How many things of similar size, in a colour that the task does not ask for, each frame shows."""
    tracks: tuple[Track, ...]
    """Of at most `subject.count` things. If fewer than half of the frames show its colour, they are of the largest
    other things."""
    stand_in: str
    """The colour that is there instead; empty if the requested one is there."""
    hues: tuple[str, ...]
    """Colour of the largest piece in each frame that has one."""
    total: int
    """Frames of the GIF."""

    @property
    def label(self) -> str:
        """The tracked thing in a sentence: the subject, or what is there instead."""
        return f"{self.stand_in} thing in place of the {self.subject.name}" if self.stand_in else self.subject.name


def follow(looks: Looks, task: Task, aspect: float = 1.0) -> list[Seen]:
    """What each subject of a task does; `aspect` is the picture's width by its height."""
    return [_seen(looks, subject, task, aspect) for subject in task.subjects]


def _seen(looks: Looks, subject: Subject, task: Task, aspect: float) -> Seen:
    asked = {hue for other in task.subjects for hue in other.hues}
    own = [_sorted_out([p for p in pieces if p.colour in subject.hues]) for pieces in looks.pieces]
    alien = [[p for p in pieces if p.colour not in asked and not thin(p)] for pieces in looks.pieces]
    if subject.colours or subject.shown == "fade":  # on its way from one colour to the next it passes through others
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
    """The pieces without splinters, largest first."""
    largest = max((p.area for p in pieces), default=0.0)
    return sorted((p for p in pieces if p.area >= _SPLINTER * largest), key=lambda p: -p.area)


def thin(piece: Piece) -> bool:
    """Whether it is a line, an outline or the fringe of another thing."""
    return piece.spread > 5 or piece.elongation > 6


def _rivals(own: list[Piece], strangers: list[Piece]) -> int:
    """How many strangers have at least the share _RIVAL of the subject's area."""
    return sum(p.area >= _RIVAL * own[0].area for p in strangers if p not in own) if own else 0


def _tracks(frames: Sequence[list[Piece]], count: int) -> tuple[tuple[Piece, ...], ...]:
    """Follows the `count` largest things from frame to frame, each to the nearest piece."""
    if count == 1:
        whole = tuple(pieces[0] for pieces in frames if pieces)
        return (whole,) if whole else ()
    tracks: list[list[Piece]] = []
    for pieces in frames:
        free = pieces[:count]
        waiting = list(range(len(tracks)))
        while free and waiting:
            near = {(t, p): math.hypot(tracks[t][-1].x - p.x, tracks[t][-1].y - p.y) for t in waiting for p in free}
            track, piece = min(near, key=lambda pair: near[pair])
            tracks[track].append(piece)
            waiting.remove(track)
            free.remove(piece)
        tracks += [[piece] for piece in free if len(tracks) < count]
        tracks = tracks[:count]
    return tuple(tuple(pieces) for pieces in tracks)


# --- paths -------------------------------------------------------------------------------------------------------


def span(values: Sequence[float]) -> float:
    """Largest minus smallest."""
    return max(values) - min(values)


def reversals(values: Sequence[float]) -> int:
    """How often a cyclic motion changes its direction, ignoring a trembling of less than a tenth of its reach."""
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
    """1 for a cyclic motion in small steps, 0 for one that jumps."""
    reach = span(values)
    if reach == 0 or len(values) < 4:
        return 0.0
    # With few frames each step is larger.
    allowed = 4 / len(values)
    steps = sorted((abs(b - a) for a, b in pairs(values)), reverse=True)
    largest = steps[0] / reach
    # Steps below a hundredth of the reach do not count: a thing that stands still except for one leap jumps.
    alone = steps[0] / max(steps[2], 0.01 * reach)
    even = ramp(alone, *_LEAP[::-1]) if len(values) >= _LEAP_FRAMES else 1.0
    short = ramp(largest, max(_JUMP[1], 1.6 * allowed), max(_JUMP[0], allowed))
    return even * short * ramp(reversals(values), *_JITTER[::-1])


def _there_and_back(along: Sequence[float], side: float, words: tuple[str, str]) -> Judged:
    """`side` is its reach in the other direction, in shares of the same side of the picture as `along`."""
    reach = span(along)
    if reach < _REACH[0] and side < _REACH[0]:
        return 0.0, f"it hardly moves ({percent(reach)} of the picture), asked is {words[0]}"
    straight = ramp(side / reach, _STRAIGHT[1], _STRAIGHT[0]) if reach else 0.0
    value = ramp(reach, *_REACH) * straight * smooth(along)
    text = f"it moves {percent(reach)} of the picture {words[0]} and {percent(side)} {words[1]}"
    if straight < 1:
        text += f", asked is {words[0]} alone"
    elif smooth(along) < 1:
        text += ", in jumps or with a trembling"
    return value, text


def _diagonal(track: Track, down: bool | None = None) -> Judged:
    """`down`: whether it must go from the top left to the bottom right; None for either diagonal."""
    reach = min(span(track.x), span(track.y))
    if reach < _REACH[0]:
        return 0.0, (
            f"it moves {percent(span(track.x))} of the picture sideways and {percent(span(track.y))} up and down, "
            "asked is a diagonal"
        )
    together = statistics.correlation(track.x, track.y)
    wrong = down is not None and (together > 0) != down
    value = 0.0 if wrong else ramp(reach, *_REACH) * ramp(abs(together), 0.7, 0.95) * smooth(track.x)
    text = f"it moves over {percent(reach)} of the picture, {abs(together):.2f} of 1 along a diagonal"
    if wrong:
        text += f", but asked is from the {'top' if down else 'bottom'} left to the {'bottom' if down else 'top'} right"
    return value, text


def _orbit(track: Track) -> Judged:
    width, height = span(track.x), span(track.y)
    if min(width, height) < _REACH[0]:
        return 0.0, (
            f"it moves {percent(width)} of the picture sideways and {percent(height)} up and down, asked is a circle"
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
    value = ramp(min(width, height), *_REACH) * ramp(turned, 180, 330) * ramp(steady, 0.6, 0.9) * even * oblong
    value *= ramp(largest, max(110, 1.6 * few), max(60, 1.2 * few))
    return value, f"it goes {turned:.0f} degrees round a centre, {percent(width)} of the picture wide"


def _turned(angles: Sequence[float]) -> tuple[float, float, float]:
    """For cyclic angles: degrees in all; 1 if they always turn the same way, 0 for to and fro; the largest step."""
    steps = [(b - a + 180) % 360 - 180 for a, b in pairs(angles)]
    way = sum(abs(step) for step in steps)
    return abs(sum(steps)), abs(sum(steps)) / way if way else 0.0, max(abs(step) for step in steps)


def _across(track: Track) -> Judged:
    steps = [b - a for a, b in pairs(track.x)]
    back = min(steps, key=lambda step: -abs(step))  # coming in again on the other side
    forward = [step for step in steps if step * back < 0]
    reach = span(track.x)
    largest = max((abs(step) for step in forward), default=1.0)
    straight = ramp(span(track.y) / track.aspect / reach, _STRAIGHT[1], _STRAIGHT[0]) if reach else 0.0
    value = ramp(reach, 0.3, 0.7) * ramp(len(forward) / len(steps), 0.6, 0.85) * straight
    value *= ramp(largest, 0.3, 0.15) if reach else 0.0
    return value, f"it crosses {percent(reach)} of the width, {len(forward)} of {len(steps)} steps the same way"


def _still(track: Track) -> Judged:
    moved = max(span(track.x), span(track.y))
    return ramp(moved, *_STILL[::-1]), f"its centre moves by {percent(moved)} of the picture, asked is to stay in place"


#: Path of a task -> its judge; the same for SIZES below.
PATHS: dict[str, Callable[[Track], Judged]] = {
    "still": _still,
    "up-down": lambda t: _there_and_back(t.y, span(t.x) * t.aspect, ("up and down", "sideways")),
    "left-right": lambda t: _there_and_back(t.x, span(t.y) / t.aspect, ("to the left and right", "up or down")),
    "diagonal": _diagonal,
    "diagonal-down": lambda t: _diagonal(t, down=True),
    "diagonal-up": lambda t: _diagonal(t, down=False),
    "orbit": _orbit,
    "across": _across,
}


# --- sizes, turns and shapes -------------------------------------------------------------------------------------


def _constant(track: Track) -> Judged:
    usual = statistics.median(track.side)
    change = span(track.side) / usual
    return ramp(change, 0.4, 0.12), f"its size changes by {percent(change)}, asked is a constant one"


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
    return value, f"it grows {ratio:.2f} times in width, in {percent(growing)} of the steps"


SIZES: dict[str, Callable[[Track], Judged]] = {"constant": _constant, "pulse": _pulse, "grow": _grow}


def spin(track: Track) -> Judged:
    """How well it turns about its own centre: always the same way, and at least until it looks the same again."""
    if not track.turns:
        return 0.0, "it shows no direction, so nobody sees it turn"
    turned, way = abs(sum(track.turns)), sum(abs(turn) for turn in track.turns)
    steady = turned / way if way else 0.0
    value = ramp(turned, 0.3 * 360 / track.fold, 0.9 * 360 / track.fold) * ramp(steady, 0.6, 0.9)
    return value, f"it turns by {turned:.0f} degrees in one loop" + (", to and fro" if way and steady < 0.9 else "")


def _spread(track: Track, bad: float, good: float) -> float:
    return ramp(statistics.median(piece.spread for piece in track.pieces), bad, good)


def _long(track: Track, bad: float, good: float) -> float:
    return ramp(statistics.median(piece.elongation for piece in track.pieces), bad, good)


def folds(track: Track, *folds: int) -> float:
    """0 to 1 by the share of the frames that show one of these symmetries; 1 from two thirds on."""
    return ramp(sum(p.fold in folds for p in track.pieces) / len(track.pieces), 0.2, 0.67)


#: Shape of a task -> how much a track has it, 0 to 1.
SHAPES: dict[str, Callable[[Track], float]] = {
    "round": lambda t: _spread(t, 1.5, 1.25) * _long(t, 1.5, 1.2),
    "square": lambda t: _spread(t, 1.25, 1.4) * _spread(t, 2.2, 1.85) * _long(t, 1.6, 1.25) * folds(t, 4, 2),
    "triangle": lambda t: _spread(t, 1.6, 1.9) * folds(t, 3) * _long(t, 2.2, 1.7),
    "star": lambda t: _spread(t, 1.9, 2.3) * folds(t, 5, 4, 6),
    "bar": lambda t: _long(t, 1.5, 2.0),
}


def shape_seen(track: Track) -> str:
    """The shape that it looks most like, or "no clear shape"."""
    best = max(SHAPES, key=lambda name: SHAPES[name](track))
    return best if SHAPES[best](track) >= 0.5 else "no clear shape"


def percent(share: float) -> str:
    return f"{100 * share:.0f} %"
