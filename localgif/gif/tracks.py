"""From what is seen in each frame to what each subject of a task does. Pure.

Everything is cyclic: the frame after the last is the first, so turning the order of a closed loop changes nothing.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from localgif.records import Looks, Piece
from localgif.task import Subject, Task

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
