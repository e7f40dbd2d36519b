"""From measurements to a score. Pure; what counts and how much is read here and nowhere else.

"strict" asks whether a GIF is what its task asks for (strict.py, brief.py). "article-1" is the rule of the article's
script, kept exactly, with its weaknesses: it multiplies the last frame's delay by the number of frames where it means
the sum of all delays, a GIF with 40 ms frames can reach 0.992 at most, and what is drawn does not matter.
"""

from __future__ import annotations

from collections.abc import Callable

from localgif.gif import strict
from localgif.records import Measurements, Score, ScorePart
from localgif.task import Task

TARGET_FRAMES = 24
TARGET_PLAY_MS = 1000
#: The file must be smaller, bytes.
TARGET_SIZE = 100 * 1024
#: Above this much motion, summed grey levels per step, something moves.
MOVING = 5000
#: A gap of this many steps more than one is no loop at all.
LOOP_RANGE = 3

#: Part -> weight; the weights add up to 1.
WEIGHTS = {"moving": 0.20, "frames": 0.30, "loop": 0.20, "play": 0.20, "size": 0.10}


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
    weights = {"gate": strict.WEIGHTS["gate"]} if scorer == "strict" else WEIGHTS
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
        for name, weight in WEIGHTS.items()
    )
    return Score(scorer=scorer, total=round(sum(part.weight * part.value for part in parts), 3), parts=parts)


#: Name on the command line -> name and version that is stored: raised when the same GIF would score otherwise.
VERSIONS = {"strict": strict.VERSION, "article": "article-1"}
#: Name on the command line -> rule.
SCORERS: dict[str, Callable[[Measurements, Task], Score]] = {"strict": strict.strict, "article": article}
