"""How long a run will take, from what was measured. Pure."""

from __future__ import annotations

from typing import NamedTuple

from localgif.checks.result import Check
from localgif.config import Settings
from localgif.doctor.measure import Pace
from localgif.tasks.suite import Suite

#: A request for a program, which is what grounded reflection asks most: tokens read beside what the cache has, written.
REFLECTION_READ, REFLECTION_WRITTEN = 600, 200
#: The same for an attempt of the animator, where its exam did not tell.
ATTEMPT_READ, ATTEMPT_WRITTEN = 150, 230
ATTEMPTS = 3


class Minutes(NamedTuple):
    """Of the whole budget."""

    least: float
    most: float
    samples: int


def minutes(settings: Settings, suite: Suite, attempt_seconds: float, reflection_seconds: float) -> Minutes:
    """Minutes of a run that spends its whole budget.

    Args:
        settings: With the budget.
        suite: What is drawn.
        attempt_seconds: Of one attempt of the animator, sandbox included.
        reflection_seconds: Of one request to the reflector.
    """
    samples = settings.metric_calls * settings.samples + 2 * settings.fresh * len(suite.tested)
    least = samples * attempt_seconds
    most = ATTEMPTS * least + settings.metric_calls * reflection_seconds
    return Minutes(least / 60, most / 60, samples)


def estimate(
    settings: Settings, suite: Suite, attempt_seconds: float | None, animator: Pace | None, reflector: Pace | None
) -> tuple[Check, Minutes | None]:
    """The estimate as the last row; skipped when nothing was measured."""
    attempt = attempt_seconds or _seconds(animator, ATTEMPT_READ, ATTEMPT_WRITTEN)
    reflection = _seconds(reflector, REFLECTION_READ, REFLECTION_WRITTEN)
    if attempt is None or reflection is None:
        return Check(name="estimate", status="SKIP", evidence="the models were not measured"), None
    found = minutes(settings, suite, attempt, reflection)
    budget = f"{settings.metric_calls} metric calls x {settings.samples} samples, then 2 x {settings.fresh} fresh ones"
    words = (
        f"{max(1, round(found.least))} to {max(1, round(found.most))} minutes for the budget of localgif optimize: "
        f"{budget}; an attempt takes {attempt:.0f} s, a sample has 1 to {ATTEMPTS}"
    )
    if settings.target is not None:
        words += f"; it ends earlier when a re-test holds {settings.target:g}"
    return Check(name="estimate", status="PASS", evidence=words), found


def _seconds(pace: Pace | None, read: int, written: int) -> float | None:
    if pace is None or pace.read <= 0 or pace.write <= 0:
        return None
    return read / pace.read + written / pace.write
