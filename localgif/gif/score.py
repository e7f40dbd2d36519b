"""Measurements -> score from 0 to 1 with named parts: the strict rule, its previous version, and the article's.

The texts of the parts reach the reflector.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence

from localgif.errors import ConfigError, nearest
from localgif.gif.brief import PARTS, background, judge
from localgif.gif.brief import WEIGHTS as BRIEF_WEIGHTS
from localgif.gif.eye import Eye
from localgif.gif.tracks import Judged, Seen, Track, follow, pairs, ramp
from localgif.records import Measurements, Score, ScorePart
from localgif.tasks.task import Targets, Task

#: Name on the command line -> stored name and version. Raise the version when the same GIF would get another score.
VERSIONS = {"strict": "strict-4", "article": "article-1"}


def version_of(scorer: str) -> str:
    """Name and version of a rule, by its name on the command line or by name and version, as old runs store it.

    Raises:
        ConfigError: There is no such rule, or this version of localgif no longer knows it.
    """
    version = VERSIONS.get(scorer, scorer)
    if version not in RULES:
        raise ConfigError(f'--scorer {scorer}: there is no rule "{scorer}"', nearest(scorer, (*VERSIONS, *RULES)))
    return version


def of(scorer: str, measurements: Measurements | None, task: Task) -> Score:
    """The score of a GIF by a rule, see version_of(), or of a sample without a GIF."""
    return no_gif(scorer) if measurements is None else RULES[version_of(scorer)](measurements, task)


def no_gif(scorer: str, reason: str = "no GIF") -> Score:
    """The score 0 of a sample without a GIF, with the parts of the rule that would have scored it."""
    version = version_of(scorer)
    weights = {"gate": WEIGHTS["gate"]} if version.startswith("strict") else ARTICLE_WEIGHTS
    return Score(scorer=version, total=0.0, parts=_parts(dict.fromkeys(weights, (0.0, reason)), weights))


def _parts(judged: dict[str, Judged], weights: dict[str, float]) -> tuple[ScorePart, ...]:
    return tuple(
        ScorePart(name=name, value=value, weight=weights[name], explanation=text)
        for name, (value, text) in judged.items()
    )


# --- strict ------------------------------------------------------------------------------------------------------

#: Part -> what the total loses, of 1, if the part is 0.
WEIGHTS = {"gate": 1.0, "frames": 0.5, "loop": 0.5, "play": 0.5, "size": 0.5, **BRIEF_WEIGHTS}

#: Smallest width and height, pixels.
_MIN_SIDE = 16
#: A GIF moves if some step changes at least this share of the picture (mean over pixels and channels), and at least
#: what this many pixels can change.
_MOVES_SHARE, _MOVES_PIXELS = 1e-4, 4
#: A wrong number of frames gets at most this value.
_NEARLY = 0.75
#: The seam, divided by the largest step inside: up to the first it is seamless, from the second on it is not a loop.
_SEAM = (1.3, 2.6)
#: The seam of a thing counts if its centre moves at least this far in one step, share of the picture.
_FAR = 0.04
#: How sharply a thing turns back at the seam, except where it turns anyway, divided by its largest step or turn inside.
_TURN = (1.1, 1.5)
#: Playback time: full marks within this share of the target, and 0 when it is off by this much more.
_PLAY_FULL, _PLAY_RANGE = 0.05, 0.5
#: A frame that is shown this many times longer than the usual one is a stop.
_STOP = 3
#: Share of the playback time in stops: full marks at the first, 0 from the second on.
_STANDS = (0.0, 0.5)


#: The factor for a loop whose last frame repeats its first one.
_PAUSE = 0.93
#: A step that changes less than this share of the largest one stands still, like one step of a ball at its highest
#: point.
_LIVELY = 0.03
#: Share of the playback time in which nothing visible changes: full marks up to the first, 0 from the second on.
_HOLDS = (0.15, 0.5)


def strict(m: Measurements, task: Task) -> Score:
    """How well a person sees in a GIF what the task asks for, 0 to 1, three decimals.

    Raises:
        ValueError: The measurements come from a version that measured less.
    """
    if m.looks is None or not m.complete:
        raise ValueError("these measurements hold no shades: measure the GIF again")
    seen = follow(m.looks, task, m.width / m.height)
    eye = Eye(m, m.looks, task, seen)
    judged = {
        "gate": _gate(m),
        "frames": _slots(m, task.targets) if task.holds else _frames(m, task.targets),
        "loop": _loop(m, seen) if task.holds else _seamless(m, *_loop(m, seen)),
        "play": _play(m, task.targets, stops=False) if task.holds else _lively(m, *_play(m, task.targets)),
        "size": _size(m, task.targets),
        **({"background": eye.background()} if task.background is not None else {}),
        **judge(seen, eye.parts()),
    }
    return _strict("strict-4", judged)


def strict_3(m: Measurements, task: Task) -> Score:
    """The rule of runs until November 2026: how well a GIF meets its task, whether or not a person could see it.

    Raises:
        ValueError: The measurements come from a version that measured no looks.
    """
    if m.looks is None:
        raise ValueError("these measurements hold no looks: measure the GIF again")
    seen = follow(m.looks, task, m.width / m.height)
    judged = {
        "gate": _gate(m),
        "frames": _frames(m, task.targets),
        "loop": _loop(m, seen),
        "play": _play(m, task.targets),
        "size": _size(m, task.targets),
        **({"background": background(m.looks, task)} if task.background is not None else {}),
        **judge(seen, PARTS),
    }
    return _strict("strict-3", judged)


def _strict(version: str, judged: dict[str, Judged]) -> Score:
    parts = _parts({name: (round(value, 4), text) for name, (value, text) in judged.items()}, WEIGHTS)
    return Score(scorer=version, total=total(parts), parts=parts)


def total(parts: tuple[ScorePart, ...]) -> float:
    """The product over all parts of 1 - weight * (1 - value), three decimals."""
    product = 1.0
    for part in parts:
        product *= 1 - part.weight * (1 - part.value)
    return round(product, 3)


def _gate(m: Measurements) -> Judged:
    """1 for an animation, 0 for anything else."""
    least = _least_step(m)
    if min(m.width, m.height) < _MIN_SIDE:
        return 0.0, f"{m.width} x {m.height} pixels are too few to see anything, at least {_MIN_SIDE} x {_MIN_SIDE}"
    if m.distinct_frames < 2:
        return 0.0, "one picture, no animation" if m.frames == 1 else f"all {m.frames} frames are equal"
    if sum(m.delays_ms) == 0:
        return 0.0, "no frame has a delay, so nothing says how fast it plays"
    if max(m.colour_steps) < least:
        return 0.0, f"nothing that can be seen moves ({100 * max(m.colour_steps):.4f} % of the picture changes)"
    return 1.0, "it moves"


def _least_step(m: Measurements) -> float:
    """The smallest change from frame to frame that can be seen, as in `colour_steps`."""
    return max(_MOVES_SHARE, _MOVES_PIXELS / (m.width * m.height))


def _lively_step(m: Measurements) -> float:
    """The smallest change that keeps a picture moving: a few pixels that flicker in a corner do not."""
    return max(_least_step(m), _LIVELY * max(m.colour_steps))


def _frames(m: Measurements, targets: Targets) -> Judged:
    off = abs(m.frames - targets.frames)
    return _off_by(off, targets), f"{m.frames} frames, target {targets.frames}"


def _off_by(off: int, targets: Targets) -> float:
    return 1.0 if off == 0 else _NEARLY * max(0.0, 1 - off / targets.frames)


def _slots(m: Measurements, targets: Targets) -> Judged:
    """The number of frames before equal neighbours were merged: the time, divided by the delay, which GIF rounds."""
    played = sum(m.delays_ms)
    most, least = round(played / targets.delay_ms), round(played / (targets.loop_ms / targets.frames))
    least, most = min(least, most), max(least, most)
    off = min(abs(m.frames - targets.frames), max(least - targets.frames, targets.frames - most, 0))
    return _off_by(off, targets), f"{m.frames} stored frames that last as long as {most}, target {targets.frames}"


def _loop(m: Measurements, seen: list[Seen]) -> Judged:
    # The largest step inside, without the seam. A loop may begin anywhere, so its seam may be any of its steps: a ball
    # that bounces is fast at the floor, a light that blinks changes twice and stands still in between. A jump inside
    # the loop counts for the path.
    largest = max(m.colour_steps[:-1], default=0.0)
    if largest == 0:
        return 0.0, "nothing moves from frame to frame, so nothing loops"
    tracks = [track for each in seen if each.subject.inside for track in each.tracks]
    whole = [track for track in tracks if len(track.pieces) == m.frames]
    ratio = max(m.colour_steps[-1] / largest, *map(_seam, whole), 0.0)
    text = (
        f"the step from the last frame to the first is {ratio:.1f} times the largest step inside, up to {_SEAM[0]:g} "
        "it is seamless"
    )
    turn = ramp(max(map(_turn, whole), default=0.0), *_TURN[::-1])
    if turn < 1:
        text += ", but there the motion turns back half-way: the frames are no whole number of swings"
    return ramp(ratio, *_SEAM[::-1]) * turn, text


def _seamless(m: Measurements, value: float, text: str) -> Judged:
    """A loop whose last frame repeats its first one pauses there for a frame."""
    least = _lively_step(m)
    if m.colour_steps[-1] >= least or sum(step >= least for step in m.colour_steps) < 0.5 * m.frames:
        return value, text
    return _PAUSE * value, (
        f"{text}, but the last frame repeats the first one, so the loop stands still for a frame: divide by the number "
        "of frames, not by one less"
    )


def _seam(track: Track) -> float:
    """How far a thing goes from the last frame to the first, divided by its largest step; 0 if it hardly moves.

    All pixels of a small thing change at every step, so pixels do not show how far it jumps.
    """
    steps = [math.hypot(b.x - a.x, b.y - a.y) for a, b in pairs(track.pieces)]
    return steps[-1] / max(*steps[:-1], _FAR / 10) if max(steps) >= _FAR else 0.0


def _turn(track: Track) -> float:
    """How sharply place or size of a thing turns back at the seam; 0 if they hardly change, or for under 4 frames."""
    series = (track.x, track.y, track.side) if len(track.pieces) >= 4 else ()
    return max((_turned_back(values) for values in series if max(values) - min(values) >= _FAR), default=0.0)


def _turned_back(values: Sequence[float]) -> float:
    """How sharply a place or a size turns back at the seam, divided by the largest step or turn inside.

    After two and two thirds swings a thing is back near where it began, and the seam is a step like any other; but the
    thing turns back half-way. At an end of the swing a turn does not count, because there it turns anyway.
    """
    steps = [b - a for a, b in pairs(values)]
    turns = [abs(b - a) for a, b in pairs(steps)]  # turns[k] is at the value after step k
    largest = max(abs(step) for step in steps)
    low, high = min(values) + largest / 2, max(values) - largest / 2
    seam = [turns[k] for k in (-2, -1) if low < values[(k + 1) % len(values)] < high]
    return max(seam, default=0.0) / max(*turns[:-2], largest)


def _lively(m: Measurements, value: float, text: str) -> Judged:
    """A picture in which nothing changes stands still, however many frames it is stored in."""
    least = _lively_step(m)
    still = sum(d for d, step in zip(m.delays_ms, m.colour_steps, strict=True) if step < least)
    share = still / (sum(m.delays_ms) or 1)
    if share <= _HOLDS[0]:
        return value, text
    return value * ramp(share, *_HOLDS[::-1]), f"{text}; in {100 * share:.0f} % of that time nothing visible changes"


def _play(m: Measurements, targets: Targets, *, stops: bool = True) -> Judged:
    """`stops`: whether frames that last much longer than the others cost points."""
    played, usual = sum(m.delays_ms), statistics.median(m.delays_ms)
    off = abs(played - targets.loop_ms) / targets.loop_ms
    value = ramp(off, _PLAY_FULL + _PLAY_RANGE, _PLAY_FULL)
    text = f"one loop plays {played:,} ms, target {targets.loop_ms:,} ms"
    long = [delay for delay in m.delays_ms if delay > _STOP * usual]
    if stops and long:
        value *= ramp(sum(long) / played, *_STANDS[::-1])
        text += f", of which {sum(long):,} ms are {len(long)} frames that stand still"
    if m.loop != 0:
        value = 0.0
        text += ", but it does not repeat for ever: " + (
            "the loop flag is missing" if m.loop is None else f"the loop count is {m.loop}"
        )
    return value, text


def _size(m: Measurements, targets: Targets) -> Judged:
    value = 1.0 if m.size < targets.max_bytes else ramp(m.size / targets.max_bytes, 2.0, 1.0) * _NEARLY
    text = f"{m.size:,} bytes, must be under {targets.max_bytes:,}"
    side = max(m.width, m.height)
    if side > targets.max_side:
        value *= _NEARLY * ramp(side / targets.max_side, 2.0, 1.0)
        text += f"; {m.width} x {m.height} pixels, at most {targets.max_side} a side"
    return value, text


# --- the article's (docs/glossary.md names it) -----------------------------------------------------------------------

#: Part -> weight; the weights add up to 1.
ARTICLE_WEIGHTS = {"moving": 0.20, "frames": 0.30, "loop": 0.20, "play": 0.20, "size": 0.10}

_TARGET_FRAMES, _TARGET_PLAY_MS = 24, 1000
#: The file must be smaller, bytes.
_TARGET_SIZE = 100 * 1024
#: Above this much motion, summed grey levels per step, something moves.
_MOVING = 5000
#: A gap this many normal steps larger than one gets 0.
_LOOP_RANGE = 3


def article(m: Measurements, task: Task | None = None) -> Score:
    """The article's score, 0 to 1, three decimals. It ignores the task: its targets are the article's."""
    moving = float(m.motion > _MOVING)
    delay = m.delays_ms[-1]
    play = m.frames * delay
    ratio = m.gap / (m.motion + 1)
    loop_text = f"the step from the last frame to the first is {ratio:.1f} times a normal step, about 1 is seamless"
    judged: dict[str, Judged] = {
        "moving": (
            moving,
            f"mean change from frame to frame {m.motion:,.0f} grey levels, more than {_MOVING:,} counts as moving",
        ),
        "frames": (
            max(0.0, 1 - abs(m.frames - _TARGET_FRAMES) / _TARGET_FRAMES),
            f"{m.frames} frames, target {_TARGET_FRAMES}",
        ),
        "loop": (
            moving * max(0.0, 1 - max(0.0, ratio - 1) / _LOOP_RANGE),
            loop_text if moving else "nothing moves, so nothing loops",
        ),
        "play": (
            max(0.0, 1 - abs(play - _TARGET_PLAY_MS) / _TARGET_PLAY_MS),
            f"{m.frames} x {delay} ms = {play:,} ms, target {_TARGET_PLAY_MS:,} ms",
        ),
        "size": (float(m.size < _TARGET_SIZE), f"{m.size:,} bytes, must be under {_TARGET_SIZE:,}"),
    }
    points = sum(ARTICLE_WEIGHTS[name] * value for name, (value, _) in judged.items())
    return Score(scorer=VERSIONS["article"], total=round(points, 3), parts=_parts(judged, ARTICLE_WEIGHTS))


#: Name and version -> rule. Versions stay, so that the GIFs of old runs can be scored as they were.
RULES: dict[str, Callable[[Measurements, Task], Score]] = {
    "strict-4": strict,
    "strict-3": strict_3,
    "article-1": article,
}
#: Name on the command line -> rule.
SCORERS = {name: RULES[version] for name, version in VERSIONS.items()}
