"""Measurements -> score from 0 to 1 with named parts: the strict rule and the article's."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence

from localgif.gif.brief import WEIGHTS as BRIEF_WEIGHTS
from localgif.gif.brief import judge
from localgif.gif.tracks import Judged, follow, pairs, ramp
from localgif.records import Measurements, Score, ScorePart
from localgif.tasks.task import Targets, Task

VERSION = "strict-3"

#: Part -> what the total loses, of 1, when it is 0.
WEIGHTS = {"gate": 1.0, "frames": 0.5, "loop": 0.5, "play": 0.5, "size": 0.5, **BRIEF_WEIGHTS}

#: Smallest width and height, pixels.
MIN_SIDE = 16

#: A GIF moves when some step changes at least this share of the picture (mean over pixels and channels), and at least
#: what so many pixels can change.
MOVES_SHARE, MOVES_PIXELS = 1e-4, 4

#: A wrong number of frames has at most this value.
NEARLY = 0.75

#: The seam by the largest step inside the GIF: up to the first seamless, from the second on no loop.
SEAM = (1.3, 2.6)

#: A thing whose centre goes so far in one step, share of the picture, is one whose seam is looked at.
FAR = 0.04

#: How sharply it turns back at the seam, away from where it turns otherwise, by its largest step or turn inside.
TURN = (1.1, 1.5)

#: Playback time: full marks within this share of the target; what it may be off beyond that until it counts nothing.
PLAY_FULL, PLAY_RANGE = 0.05, 0.5

#: A frame that is shown so many times longer than the usual one is a stop.
STOP = 3

#: Share of the playback time in stops: at the first full marks, from the second on none.
STANDS = (0.0, 0.5)


def strict(m: Measurements, task: Task) -> Score:
    """How much a GIF is what the task asks for, 0 to 1, three decimals.

    Args:
        m: The measurements, with looks.
        task: Its targets, background and subjects say what is wanted.

    Raises:
        ValueError: The measurements are of a version that did not look.
    """
    if m.looks is None:
        raise ValueError("these measurements hold no looks: measure the GIF again")
    judged = {
        "gate": gate(m),
        "frames": _frames(m, task.targets),
        "loop": _loop(m, task),
        "play": _play(m, task.targets),
        "size": _size(m, task.targets),
        **judge(m.looks, task, m.width / m.height),
    }
    parts = tuple(
        ScorePart(name=name, value=round(value, 4), weight=WEIGHTS[name], explanation=text)
        for name, (value, text) in judged.items()
    )
    return Score(scorer=VERSION, total=total(parts), parts=parts)


def total(parts: tuple[ScorePart, ...]) -> float:
    """The formula of this module's docstring, three decimals."""
    product = 1.0
    for part in parts:
        product *= 1 - part.weight * (1 - part.value)
    return round(product, 3)


def largest_step(m: Measurements) -> float:
    """The largest step inside the GIF, the seam left out.

    A loop may begin anywhere, so its seam may be any of its steps: a ball that bounces is fast at the floor, a light
    that blinks changes twice and stands still in between. A jump inside the loop is the affair of the path.
    """
    return max(m.colour_steps[:-1], default=0.0)


def gate(m: Measurements) -> Judged:
    """1 for an animation, 0 for what is none."""
    least = max(MOVES_SHARE, MOVES_PIXELS / (m.width * m.height))
    if min(m.width, m.height) < MIN_SIDE:
        return 0.0, f"{m.width} x {m.height} pixels are too few to see anything, at least {MIN_SIDE} x {MIN_SIDE}"
    if m.distinct_frames < 2:
        return 0.0, "one picture, no animation" if m.frames == 1 else f"all {m.frames} frames are equal"
    if sum(m.delays_ms) == 0:
        return 0.0, "no frame has a delay, so nothing says how fast it plays"
    if max(m.colour_steps) < least:
        return 0.0, f"nothing that can be seen moves ({100 * max(m.colour_steps):.4f} % of the picture changes)"
    return 1.0, "it moves"


def _frames(m: Measurements, targets: Targets) -> Judged:
    off = abs(m.frames - targets.frames)
    value = 1.0 if off == 0 else NEARLY * max(0.0, 1 - off / targets.frames)
    return value, f"{m.frames} frames, target {targets.frames}"


def _seams(m: Measurements, task: Task) -> list[float]:
    """For each thing that moves: how far it goes from the last frame to the first, by its largest step inside.

    The pixels of a small thing all change at every step, so that they do not show how far it jumps.
    """
    assert m.looks is not None
    found = []
    for seen in follow(m.looks, task):
        for track in seen.tracks:
            if len(track.pieces) != m.frames or seen.subject.path == "across":
                continue
            steps = [math.hypot(b.x - a.x, b.y - a.y) for a, b in pairs(track.pieces)]
            if max(steps) >= FAR:
                found.append(steps[-1] / max(*steps[:-1], FAR / 10))
    return found


def turned_back(values: Sequence[float]) -> float:
    """How sharply a place or a size turns back at the seam, by the largest step or turn inside; 0 for no such turn.

    Two and two thirds of a swing come back near to where they began, with steps like any other, but half-way and the
    other way round. A swing may well begin at one of its ends: there it turns anyway.
    """
    steps = [b - a for a, b in pairs(values)]
    turns = [abs(b - a) for a, b in pairs(steps)]  # turns[k] is at the value after step k
    largest = max(abs(step) for step in steps)
    low, high = min(values) + largest / 2, max(values) - largest / 2
    seam = [turns[k] for k in (-2, -1) if low < values[(k + 1) % len(values)] < high]
    return max(seam, default=0.0) / max(*turns[:-2], largest)


def _turns(m: Measurements, task: Task) -> float:
    """The sharpest turn back at the seam of anything that moves or changes its size."""
    assert m.looks is not None
    found = [0.0]
    for seen in follow(m.looks, task):
        for track in seen.tracks:
            if 4 <= len(track.pieces) == m.frames and seen.subject.path != "across":
                series = (track.x, track.y, track.side)
                found += [turned_back(values) for values in series if max(values) - min(values) >= FAR]
    return max(found)


def _loop(m: Measurements, task: Task) -> Judged:
    largest = largest_step(m)
    if largest == 0:
        return 0.0, "nothing moves from frame to frame, so nothing loops"
    ratio = max(m.colour_steps[-1] / largest, *_seams(m, task), 0.0)
    value, text = (
        ramp(ratio, *SEAM[::-1]),
        f"the step from the last frame to the first is {ratio:.1f} times the largest step inside, up to {SEAM[0]:g} "
        "it is seamless",
    )
    turn = ramp(_turns(m, task), *TURN[::-1])
    if turn < 1:
        text += ", but there the motion turns back half-way: the frames are no whole number of swings"
    return value * turn, text


def _play(m: Measurements, targets: Targets) -> Judged:
    played, usual = sum(m.delays_ms), statistics.median(m.delays_ms)
    off = abs(played - targets.loop_ms) / targets.loop_ms
    value = ramp(off, PLAY_FULL + PLAY_RANGE, PLAY_FULL)
    text = f"one loop plays {played:,} ms, target {targets.loop_ms:,} ms"
    stops = [delay for delay in m.delays_ms if delay > STOP * usual]
    if stops:
        value *= ramp(sum(stops) / played, *STANDS[::-1])
        text += f", of which {sum(stops):,} ms are {len(stops)} frames that stand still"
    if m.loop != 0:
        value = 0.0
        text += ", but it does not repeat for ever: " + (
            "the loop flag is missing" if m.loop is None else f"the loop count is {m.loop}"
        )
    return value, text


def _size(m: Measurements, targets: Targets) -> Judged:
    value = 1.0 if m.size < targets.max_bytes else ramp(m.size / targets.max_bytes, 2.0, 1.0) * NEARLY
    text = f"{m.size:,} bytes, must be under {targets.max_bytes:,}"
    side = max(m.width, m.height)
    if side > targets.max_side:
        value *= NEARLY * ramp(side / targets.max_side, 2.0, 1.0)
        text += f"; {m.width} x {m.height} pixels, at most {targets.max_side} a side"
    return value, text


TARGET_FRAMES = 24

TARGET_PLAY_MS = 1000

#: The file must be smaller, bytes.
TARGET_SIZE = 100 * 1024

#: Above this much motion, summed grey levels per step, something moves.
MOVING = 5000

#: A gap of this many steps more than one is no loop at all.
LOOP_RANGE = 3

#: Part -> weight; the weights add up to 1.
ARTICLE_WEIGHTS = {"moving": 0.20, "frames": 0.30, "loop": 0.20, "play": 0.20, "size": 0.10}


def article(m: Measurements, task: Task | None = None) -> Score:
    """The article's score, 0 to 1, three decimals. It asks nothing of the task: its targets are the article's."""
    moving = float(m.motion > MOVING)
    delay = m.delays_ms[-1]
    play = m.frames * delay
    ratio = m.gap / (m.motion + 1)
    values = {
        "moving": moving,
        "frames": max(0.0, 1 - abs(m.frames - TARGET_FRAMES) / TARGET_FRAMES),
        "loop": moving * max(0.0, 1 - max(0.0, ratio - 1) / LOOP_RANGE),
        "play": max(0.0, 1 - abs(play - TARGET_PLAY_MS) / TARGET_PLAY_MS),
        "size": float(m.size < TARGET_SIZE),
    }
    texts = {
        "moving": f"mean change from frame to frame {m.motion:,.0f} grey levels, more than {MOVING:,} counts as moving",
        "frames": f"{m.frames} frames, target {TARGET_FRAMES}",
        "loop": f"the step from the last frame to the first is {ratio:.1f} times a normal step, about 1 is seamless"
        if moving
        else "nothing moves, so nothing loops",
        "play": f"{m.frames} x {delay} ms = {play:,} ms, target {TARGET_PLAY_MS:,} ms",
        "size": f"{m.size:,} bytes, must be under {TARGET_SIZE:,}",
    }
    return _score(VERSIONS["article"], values, texts)


def no_gif(scorer: str, reason: str = "no GIF") -> Score:
    """The score 0 of a sample without a GIF, under the name of the scorer that would have scored it.

    Args:
        scorer: Name on the command line.
        reason: Why there is none.
    """
    weights = {"gate": WEIGHTS["gate"]} if scorer == "strict" else ARTICLE_WEIGHTS
    parts = tuple(ScorePart(name=n, value=0.0, weight=w, explanation=reason) for n, w in weights.items())
    return Score(scorer=VERSIONS[scorer], total=0.0, parts=parts)


def of(scorer: str, measurements: Measurements | None, task: Task) -> Score:
    """The score of a GIF, or of none.

    Args:
        scorer: Name on the command line.
        measurements: Of the GIF; None when there is none.
        task: What was asked for.
    """
    return no_gif(scorer) if measurements is None else SCORERS[scorer](measurements, task)


def _score(scorer: str, values: dict[str, float], texts: dict[str, str]) -> Score:
    parts = tuple(
        ScorePart(name=name, value=values[name], weight=weight, explanation=texts[name])
        for name, weight in ARTICLE_WEIGHTS.items()
    )
    return Score(scorer=scorer, total=round(sum(part.weight * part.value for part in parts), 3), parts=parts)


#: Name on the command line -> name and version that is stored: raised when the same GIF would score otherwise.
VERSIONS = {"strict": VERSION, "article": "article-1"}

#: Name on the command line -> rule.
SCORERS: dict[str, Callable[[Measurements, Task], Score]] = {"strict": strict, "article": article}
