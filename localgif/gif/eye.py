"""What a person must be able to see, beyond what brief.py measures: strict-4's parts about subjects. Pure.

A thing must be large enough and differ from its background, move far enough, change its colours gradually, and be where
the brief puts it. Blinking is judged by time, because GIF writers merge equal frames into one with a longer delay.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from localgif.gif import brief
from localgif.gif.tracks import (
    PATHS,
    SIZES,
    Judged,
    Seen,
    Track,
    folds,
    pairs,
    percent,
    ramp,
    reversals,
    span,
    spin,
    thin,
)
from localgif.records import Looks, Measurements, Piece
from localgif.tasks.task import Subject, Task

RGB = tuple[int, int, int]

#: About this many shades are compared with each other, of more only a selection.
_SOME = 50

#: How much the background's shade may change, 0 to 1: full marks up to the first, 0 from the second on.
_STEADY = (0.1, 0.3)
#: How much a thing of one colour may change its shade: full marks up to the first, half from the second on.
_SHADE = (0.15, 0.35)
#: Area of small things that nobody asked for, divided by the subject's: full marks up to the first, half from the
#: second on.
_STRAYS = (0.1, 0.3)
#: A thing within this share of another one's width or height belongs to it: an eye, a hat, a shadow.
_NEAR = 0.3

#: A thing of this share of its task's smallest size is too small to see; from the smallest size on it is large enough.
_TOO_SMALL = 0.43
#: The same for the share of the picture that it covers: in a very wide or tall picture, things are small.
_SPECK = (0.003, 0.01)
#: The smallest size for which _SPECK holds; a task that allows smaller things allows smaller specks.
_USUAL_SIZE = 0.15
#: A thing gets 0 if it exceeds its task's largest size by this share of the shorter side.
_TOO_LARGE = 0.3
#: Difference of a thing from its background, 0 to 1: too faint below the first, clear from the second on.
_CONTRAST = (0.15, 0.3)
#: A path shorter than this share of the reach that the task wants gets 0.
_NO_WAY = 0.3
#: Inertia of a shape without holes and arms: 0 at the first, full marks up to the second.
_FULL = {"round": (1.2, 1.08), "square": (1.19, 1.11), "triangle": (1.45, 1.3)}
#: Length of a bar divided by its width: 0 at the first, full marks from the second on. Its bulge, see _bulge(): full
#: marks up to the first, 0 from the second on.
_LONG, _BULGE = (1.6, 2.4), (1.15, 1.35)
#: A thing trembles if it moves at least this share of the picture and turns back more often than this in one loop; full
#: marks up to the first, 0 from the second on.
_TREMBLE, _TREMBLES = 0.02, (8, 14)
#: The same for its size, share of its usual width.
_SHIVER = 0.06
#: Distance of an orbit's centre from the thing that it goes round, divided by the orbit's radius: full marks up to the
#: first, 0 from the second on.
_OFF_CENTRE = (0.25, 0.6)
#: Radius of an orbit divided by the one at which both things touch: 0 at the first, full marks from the second on.
_CLEAR = (0.6, 0.95)
#: Distance of a path's middle from the picture's, share of each side: full marks up to the first, 0 from the second on.
_OFF_MIDDLE = (0.08, 0.25)
#: The same for the farthest that a thing without a path strays from the middle.
_WANDERS = (0.12, 0.25)
#: A thing this far beside another one is not above it, share of the width.
_BESIDE = 0.1
#: Distance from an edge, share of the side: full marks for "at the top" up to the first, 0 from the second on.
_AT_EDGE = (0.3, 0.5)
#: Motion of the edge that should stay, divided by the motion of the opposite one.
_ANCHORED = (0.15, 0.5)
#: Share of the box around it that a thing fills which grows from one edge: 0 at the first, full marks from the second
#: on.
_FILLED = (0.7, 0.88)
#: Largest turn in one step, divided by the angle at which the thing looks the same again: at half of that angle nobody
#: sees which way it turns.
_TURN_STEP = (0.3, 0.45)
#: Largest growth in one step, divided by the whole growth.
_GROWTH_STEP = (0.3, 0.6)
#: Largest change of colour in one step, divided by the largest between any two frames: gradual up to the first, a
#: switch from the second on.
_GRADUAL = (0.3, 0.7)
#: The factor for a change of colours that should be gradual but is a switch.
_SWITCHED = 0.5
#: Smallest contrast of a thing that fades out, divided by its largest: full marks up to the first, 0 at the second.
_FAINT = (0.35, 0.7)
#: Share of the frames that show it neither faintest nor clearest: 0 at the first, full marks from the second on.
_BETWEEN = (0.05, 0.15)
#: A thing that may leave the picture must be seen in this share of the frames.
_INSIDE = 0.5
#: Changes of colour in one loop, in units of the whole range: up to the first a change, from the second on a flicker.
_FLICKER = (8, 14)


@dataclass(frozen=True)
class Eye:
    """Judges what the subjects of one GIF look like to a person."""

    m: Measurements
    looks: Looks
    task: Task
    seen: list[Seen]

    def parts(self) -> dict[str, brief.Part]:
        """The parts about subjects, and how each judges one subject."""
        return {
            **brief.PARTS,
            "subject": self._subject,
            "visible": lambda seen: brief.each(seen, "size", 1, lambda track: self._visible(seen.subject, track)),
            "shape": lambda seen: brief.each(seen, "shape", 1, _shape(seen)),
            "path": lambda seen: brief.each(seen, "path", self._least(3), self._path(seen.subject)),
            "place": self._place,
            "scale": lambda seen: brief.each(seen, "size", self._least(2), self._scale(seen.subject)),
            "turn": lambda seen: brief.each(seen, "turn", 3, _turn if seen.subject.turn == "spin" else None),
            "blink": self._blink,
            "fade": self._fade,
            "cycle": self._cycle,
        }

    # --- what is there --------------------------------------------------------------------------------------------

    def background(self) -> Judged:
        """Whether the picture has the requested background in one shade."""
        value, text = brief.background(self.looks, self.task)
        changes = _largest(self.looks.ground)
        if changes > _STEADY[0]:
            text += f", but its shade changes by {percent(changes)}"
        return value * ramp(changes, *_STEADY[::-1]), text

    def _subject(self, seen: Seen) -> Iterator[Judged]:
        there = seen
        if not seen.subject.inside:  # what crosses the picture is outside of it for a while
            frames = [both for both in zip(seen.counts, seen.others, strict=True) if both[0]]
            if len(frames) >= _INSIDE * seen.total:
                there = replace(seen, counts=tuple(n for n, _ in frames), others=tuple(n for _, n in frames))
        for value, text in brief.subject(there):
            strays = self._strays(seen)
            if strays > _STRAYS[0]:
                value *= ramp(strays, 2 * _STRAYS[1] - _STRAYS[0], _STRAYS[0])
                text += f"; things beside it that nobody asked for cover {percent(strays)} of its area"
            shades, often = _changes(seen.tracks)
            if not seen.subject.colours and seen.subject.shown != "fade" and shades > _SHADE[0]:
                value *= ramp(shades, 2 * _SHADE[1] - _SHADE[0], _SHADE[0]) * ramp(often, *_FLICKER[::-1])
                text += f"; its shade changes by {percent(shades)}, wanted is one colour"
            yield value, text

    def _strays(self, seen: Seen) -> float:
        """Area of the small things beside all subjects, divided by this subject's area; the mean over its frames."""
        asked = {hue for subject in self.task.subjects for hue in subject.hues}
        shares = []
        for pieces in self.looks.pieces:
            largest = {hue: max((p.area for p in pieces if p.colour == hue), default=0.0) for hue in asked}
            own = max(largest[hue] for hue in seen.subject.hues)
            if own:
                whole = [p for p in pieces if p.colour in asked and p.area >= 0.5 * largest[p.colour]]
                small = [p for p in pieces if p not in whole and not thin(p)]
                shares.append(sum(p.area for p in small if not any(_touches(p, q) for q in whole)) / own)
        return statistics.mean(shares) if shares else 0.0

    # --- sizes ---------------------------------------------------------------------------------------------------

    @property
    def _sides(self) -> tuple[float, float]:
        """Width and height of the picture, divided by its shorter side."""
        shorter = min(self.m.width, self.m.height)
        return self.m.width / shorter, self.m.height / shorter

    def _diameter(self, piece: Piece) -> float:
        """Diameter of a disc with the piece's area, divided by the picture's shorter side."""
        width, height = self._sides
        return math.sqrt(4 * piece.area * width * height / math.pi)

    def _visible(self, subject: Subject, track: Track) -> Judged:
        low, high = subject.size_range
        diameters = [self._diameter(p) for p in track.pieces]
        # A bar is as large as it is long.
        length = statistics.median(d * math.sqrt(p.elongation) for d, p in zip(diameters, track.pieces, strict=True))
        usual, area = statistics.median(diameters), statistics.median(p.area for p in track.pieces)
        least = min(1.0, (low / _USUAL_SIZE) ** 2)
        small = min(ramp(length, _TOO_SMALL * low, low), ramp(area, _SPECK[0] * least, _SPECK[1] * least))
        large = ramp(usual, high + _TOO_LARGE, high)
        contrasts = self._contrasts(track)
        contrast = max(contrasts) if subject.shown == "fade" else statistics.median(contrasts)
        faint = ramp(contrast, *_CONTRAST)
        text = f"{percent(length)} of the picture's shorter side in size, {100 * area:.1f} % of its area"
        if small < 1 or large < 1:
            change = "larger" if small < 1 else "smaller"
            text += f"; wanted is a size of {percent(low)} to {percent(high)}: make it {change}"
        if faint < 1:
            text += f"; its shade differs from the background by {percent(contrast)} only"
        return small * large * faint, text

    def _contrasts(self, track: Track) -> list[float]:

        # Pieces do not know their frame, so a thing that some frames lack is compared with the first frames'
        # backgrounds. A background that changes costs points elsewhere.
        return [_difference(_rgb(piece), below) for piece, below in zip(track.pieces, self.looks.ground, strict=False)]

    def _least(self, usual: int) -> int:
        """In how many stored frames a thing must be seen; in a picture that holds still, one stands for all."""
        return 1 if self.task.holds else usual

    # --- motion --------------------------------------------------------------------------------------------------

    def _path(self, subject: Subject) -> Callable[[Track], Judged] | None:
        judge = PATHS.get(subject.path)
        if judge is None:
            return None

        def judged(track: Track) -> Judged:
            value, text = judge(track)
            turns = max((reversals(v) for v in (track.x, track.y) if span(v) > _TREMBLE), default=0)
            if turns > _TREMBLES[0]:
                value *= ramp(turns, *_TREMBLES[::-1])
                text += f", and it trembles: {turns} times in one loop it goes the other way"
            way = _way(subject, track) if subject.path not in ("still", "across") else 1.0
            if way < subject.reach:
                value *= ramp(way, _NO_WAY * subject.reach, subject.reach)
                text += f"; that is {percent(way)} of the way that it has, wanted is at least {percent(subject.reach)}"
            if subject.around is not None:
                factor, why = self._around(subject, track)
                return value * factor, text + why
            return value, text

        return judged

    def _place(self, seen: Seen) -> Iterator[Judged]:
        yield from brief.each(seen, "place", 1, _place(seen.subject))
        if seen.subject.side_by_side and len(seen.tracks) == seen.subject.count:
            yield self._side_by_side(seen)
        if seen.subject.below is not None:
            yield from brief.each(seen, "place", 1, lambda track: self._below(seen.subject, track))
        if seen.subject.above is not None:
            yield from brief.each(seen, "place", 1, lambda track: self._above(seen.subject, track))

    def _above(self, subject: Subject, track: Track) -> Judged:
        """Whether a thing stays over another one: never below its middle, and between its left and its right end."""
        other = self._other(subject.above)
        if other is None:
            return 0.0, f"there is no {subject.above} thing that it could be above"
        low = max(p.bottom for p in track.pieces)
        left, right = (statistics.median(getattr(p, edge) for p in other.pieces) for edge in ("left", "right"))
        top, bottom = (statistics.median(getattr(p, edge) for p in other.pieces) for edge in ("top", "bottom"))
        x = statistics.median(track.x)
        value = ramp(low, bottom, (top + bottom) / 2) * ramp(max(left - x, x - right), _BESIDE, 0.0)
        text = f"it goes down to {percent(low)} from the top, {percent(x)} from the left"
        if value < 1:
            text += (
                f", asked is above the {subject.above} thing, which begins at {percent(top)} from the top and goes "
                f"from {percent(left)} to {percent(right)}"
            )
        return value, text

    def _below(self, subject: Subject, track: Track) -> Judged:
        """Whether a thing's top is below the bottom of another one; 0 if it reaches that one's middle."""
        other = self._other(subject.below)
        if other is None:
            return 0.0, f"there is no {subject.below} thing that it could be below"
        top = statistics.median(p.top for p in track.pieces)
        middle, bottom = statistics.median(other.y), statistics.median(p.bottom for p in other.pieces)
        value = ramp(top, middle, bottom)
        text = f"its top is {percent(top)} from the top, the {subject.below} thing ends at {percent(bottom)}"
        return value, text + ("" if value == 1 else ", asked is below it")

    def _other(self, hue: str | None) -> Track | None:
        """The track of the first thing with a colour; None if it is not there."""
        for seen in self.seen:
            if hue in seen.subject.hues and seen.tracks and not seen.stand_in:
                return seen.tracks[0]
        return None

    def _side_by_side(self, seen: Seen) -> Judged:
        """Whether things stand next to each other: the smallest distance between two, in widths of a thing."""
        middles = sorted(statistics.mean(track.x) for track in seen.tracks)
        width = statistics.median(p.right - p.left for track in seen.tracks for p in track.pieces)
        apart = min(b - a for a, b in itertools.pairwise(middles)) / width
        heights = [(max(track.y) + min(track.y)) / 2 for track in seen.tracks]
        value = ramp(apart, 0.3, 0.9) * ramp(span(heights), *_OFF_MIDDLE[::-1])
        text = f"{seen.label}: {apart:.1f} widths apart from left to right"
        return value, text + ("" if value == 1 else ", asked is side by side, at the same height")

    def _around(self, subject: Subject, track: Track) -> Judged:
        """How well an orbit encloses the thing that it should go round."""
        centre, (width, height) = self._other(subject.around), self._sides
        if centre is None:
            return 0.0, f", but there is no {subject.around} thing to go round"
        dx = ((max(track.x) + min(track.x)) / 2 - statistics.median(centre.x)) * width
        dy = ((max(track.y) + min(track.y)) / 2 - statistics.median(centre.y)) * height
        radius = min(span(track.x) * width, span(track.y) * height) / 2
        off = math.hypot(dx, dy) / radius if radius else math.inf
        touching = sum(statistics.median(self._diameter(p) for p in each.pieces) / 2 for each in (centre, track))
        value = ramp(off, *_OFF_CENTRE[::-1]) * ramp(radius / touching, *_CLEAR)
        if value == 1:
            return 1.0, f", round the {subject.around} thing"
        if off <= _OFF_CENTRE[0]:
            return value, f", but so near to the {subject.around} thing that they cover each other"
        return value, (
            f", but not round the {subject.around} thing: the centre of its way is {percent(off)} of a radius off"
        )

    def _scale(self, subject: Subject) -> Callable[[Track], Judged] | None:
        judge = SIZES.get(subject.size)
        if judge is None:
            return None

        def judged(track: Track) -> Judged:
            if not subject.inside and subject.size == "constant":
                whole = tuple(p for p in track.pieces if not brief.touches_edge(p))
                track = replace(track, pieces=whole) if len(whole) >= 2 else track
            value, text = judge(track)
            turns = reversals(track.side) if span(track.side) > _SHIVER * statistics.median(track.side) else 0
            if turns > _TREMBLES[0]:
                value *= ramp(turns, *_TREMBLES[::-1])
                text += f", and {turns} times in one loop it turns from growing to shrinking or back"
            if subject.size == "grow":
                steps = [b - a for a, b in pairs(track.side)]
                largest = max(steps) / (span(track.side) or 1.0)
                value *= ramp(largest, *_GROWTH_STEP[::-1])
                if largest > _GROWTH_STEP[0]:
                    text += f", but {percent(largest)} of that in one step"
            if subject.anchor != "any":
                factor, why = self._anchored(subject, track)
                return value * factor, text + why
            return value, text

        return judged

    def _anchored(self, subject: Subject, track: Track) -> Judged:
        """Whether one edge stays, the opposite one moves, and the thing is upright and keeps its other two edges."""
        width, height = self._sides
        lefts, rights = [p.left * width for p in track.pieces], [p.right * width for p in track.pieces]
        tops, bottoms = [p.top * height for p in track.pieces], [p.bottom * height for p in track.pieces]
        edges = {"left": (lefts, rights), "right": (rights, lefts), "top": (tops, bottoms), "bottom": (bottoms, tops)}
        stays, goes = map(span, edges[subject.anchor])
        sides = (tops, bottoms) if subject.anchor in ("left", "right") else (lefts, rights)
        if goes == 0:
            return 0.0, f", but the edge opposite its {subject.anchor} one does not move"
        strays = max(map(span, sides)) / goes
        filled = statistics.median(p.area / ((p.right - p.left) * (p.bottom - p.top)) for p in track.pieces)
        value = ramp(stays / goes, *_ANCHORED[::-1]) * ramp(strays, *_ANCHORED[::-1]) * ramp(filled, *_FILLED)
        if value == 1:
            return 1.0, f", its {subject.anchor} edge in place"
        return value, (
            f", but its {subject.anchor} edge moves {percent(stays / goes)} as far as the opposite one, the others "
            f"{percent(strays)}, and it fills {percent(filled)} of the box around it; wanted is an upright box of "
            "which one edge moves alone"
        )

    # --- time and colours ----------------------------------------------------------------------------------------

    def _blink(self, seen: Seen) -> Iterator[Judged]:
        if seen.subject.shown != "blink":
            return
        there = [count > 0 for count in seen.counts]
        delays = self.m.delays_ms if sum(self.m.delays_ms) else (1,) * len(there)
        share = sum(d for d, shown in zip(delays, there, strict=True) if shown) / sum(delays)
        switches = sum(a != b for a, b in pairs(there))
        text = f"{seen.subject.name}: to be seen for {percent(share)} of the time, {switches // 2} times in one loop"
        if switches > 10:
            text += ", which flickers; at most 5 times is a blink"
        yield brief.blinking(share, switches), text

    def _fade(self, seen: Seen) -> Iterator[Judged]:
        """Whether a thing fades into the background and back, gradually."""
        if seen.subject.shown != "fade":
            return
        pieces = iter(self._contrasts(seen.tracks[0]) if seen.tracks else ())
        clear = [next(pieces, 0.0) if count else 0.0 for count in seen.counts]
        most, least = max(clear), min(clear)
        text = f"{seen.subject.name}: its shade differs from the background by {percent(least)} to {percent(most)}"
        if most == least:
            yield 0.0, text
            return
        steps = [abs(a - b) / (most - least) for a, b in pairs(clear)]
        value = ramp(least / most, *_FAINT[::-1]) * ramp(sum(steps), *_FLICKER[::-1])
        # Where its shade has the background's colour name, it is not seen as a thing; so steps to and from there are
        # large, and only shades in between tell a fade from a blink.
        between = sum(1.1 * least < shade < 0.9 * most for shade in clear) / len(clear)
        if between < _BETWEEN[1]:
            text += ", but suddenly; wanted is a gradual change"
        yield value * ramp(between, *_BETWEEN), text

    def _cycle(self, seen: Seen) -> Iterator[Judged]:
        for value, text in brief.cycle(seen):
            shades = [_rgb(piece) for piece in seen.tracks[0].pieces] if seen.tracks else []
            steps = [_difference(a, b) for a, b in pairs(shades)]
            reach = _largest(shades)
            if reach == 0:
                yield 0.0, text
                continue
            jump, often = max(steps) / reach, sum(steps) / reach
            value *= ramp(often, *_FLICKER[::-1])
            if often > _FLICKER[0]:
                text += f", but it flickers: it changes {often:.0f} times in one loop"
            gradual = max(_GRADUAL[0], 3 / self.task.targets.frames)  # with few frames each step is larger
            if seen.subject.change == "fade" and jump > gradual:
                value *= _SWITCHED + (1 - _SWITCHED) * ramp(jump, max(_GRADUAL[1], 1.2 * gradual), gradual)
                text += (
                    f", but the largest step makes {percent(jump)} of the change at once; wanted is a gradual change, "
                    f"at most {percent(gradual)} in a step: mix the colours by the frame's number"
                )
            yield value, text


def _touches(piece: Piece, other: Piece) -> bool:
    """Whether the middle of a piece lies in the box around another one, or close to it."""
    wide, high = _NEAR * (other.right - other.left), _NEAR * (other.bottom - other.top)
    inside = other.left - wide <= piece.x <= other.right + wide
    return inside and other.top - high <= piece.y <= other.bottom + high


def _way(subject: Subject, track: Track) -> float:
    """How much of its free way a thing goes, 0 to 1; the free way is the picture's side less the thing's own."""
    free_x = 1 - statistics.median(p.right - p.left for p in track.pieces)
    free_y = 1 - statistics.median(p.bottom - p.top for p in track.pieces)
    ways = []
    if subject.path != "up-down":
        ways.append(span(track.x) / max(free_x, 0.1))
    if subject.path != "left-right":
        ways.append(span(track.y) / max(free_y, 0.1))
    return min(1.0, *ways)


def _shape(seen: Seen) -> Callable[[Track], Judged] | None:
    judge, wanted, points = brief.shape(seen), seen.subject.shape, seen.subject.points
    if judge is None:
        return None

    def judged(track: Track) -> Judged:
        value, text = judge(track)
        full = 1.0
        if wanted == "bar":
            full = ramp(statistics.median(p.elongation for p in track.pieces), *_LONG)
            full *= ramp(statistics.median(map(_bulge, track.pieces)), *_BULGE[::-1])
        elif wanted in _FULL:
            full = ramp(statistics.median(p.inertia for p in track.pieces), *_FULL[wanted])
        if full < 1:
            text += f", but it has holes, arms or another outline, asked is {wanted}"
        right = folds(track, points) if points is not None else 1.0
        if right < 1:
            text += f", but most frames show no star of {points} points"
        return value * full * right, text

    return judged


def _bulge(piece: Piece) -> float:
    """Area of its enclosing circle, divided by that of a rectangle with its area and axes: ellipse 1.15, leaf 1.3."""
    return piece.spread / (math.pi / 4 * (piece.elongation + 1 / piece.elongation))


def _place(subject: Subject) -> Callable[[Track], Judged] | None:
    """The judge of where a thing is, by the middle of its path; None if the task leaves the place open."""
    wanted = subject.place
    if wanted == "any":
        return None

    def judged(track: Track) -> Judged:
        x, y = (max(track.x) + min(track.x)) / 2, (max(track.y) + min(track.y)) / 2
        if wanted == "middle":
            value = ramp(max(abs(x - 0.5), abs(y - 0.5)), *_OFF_MIDDLE[::-1])
            if subject.path in ("any", "still"):
                away = max(max(abs(p.x - 0.5), abs(p.y - 0.5)) for p in track.pieces)
                value *= ramp(away, *_WANDERS[::-1])
        else:
            ends = {"left": x, "right": 1 - x, "top": y, "bottom": 1 - y}
            value = ramp(max(ends[edge] for edge in wanted.split("-")), *_AT_EDGE[::-1])
        text = f"its middle is {percent(x)} from the left and {percent(y)} from the top"
        return value, text + ("" if value == 1 else f", asked is the {wanted.replace('-', ' ')}")

    return judged


def _turn(track: Track) -> Judged:
    value, text = spin(track)
    whole = 360 / track.fold if track.fold else 360.0
    largest = max(map(abs, track.turns), default=0.0) / whole
    if largest > _TURN_STEP[0]:
        value *= ramp(largest, *_TURN_STEP[::-1])
        text += (
            f", up to {largest * whole:.0f} degrees in one step, too fast to see: it looks the same every {whole:.0f}"
        )
    return value, text


# --- shades ------------------------------------------------------------------------------------------------------


def _rgb(piece: Piece) -> RGB:
    assert piece.rgb is not None, "strict() refuses measurements without shades"
    return piece.rgb


def _largest(shades: Sequence[RGB]) -> float:
    """The largest difference between any two shades, 0 to 1; of many shades, it compares a selection."""
    some = sorted(set(shades))
    return max((_difference(a, b) for a, b in itertools.combinations(some[:: len(some) // _SOME + 1], 2)), default=0.0)


def _changes(tracks: Sequence[Track]) -> tuple[float, float]:
    """How much things change or differ in their shade, 0 to 1, and how often one changes in a loop.

    Frames in which a thing is small do not count, because there its blurred edge decides its shade.
    """
    shades = []
    for track in tracks:
        largest = max(p.area for p in track.pieces)
        shades.append([_rgb(p) for p in track.pieces if p.area >= 0.25 * largest])
    reach = _largest([shade for each in shades for shade in each])
    ways = [sum(_difference(a, b) for a, b in pairs(each)) for each in shades]
    return reach, max(ways) / reach if reach else 0.0


def _difference(one: RGB, other: RGB) -> float:
    """How different two shades look, 0 to 1 (black and white): a distance in RGB, weighted by how red they are."""
    red = (one[0] + other[0]) / 512
    dr, dg, db = (a - b for a, b in zip(one, other, strict=True))
    return math.sqrt((2 + red) * dr * dr + 4 * dg * dg + (3 - red) * db * db) / 765
