"""How long a run will take, from what was measured. Pure."""

from __future__ import annotations

from localgif.checks.paces import ATTEMPTS, Minutes, minutes
from localgif.checks.result import Check
from localgif.config import Settings
from localgif.doctor.measure import Pace
from localgif.tasks.suite import Suite

#: A request for a program, which is what grounded reflection asks most: tokens read beside what the cache has, written.
REFLECTION_READ, REFLECTION_WRITTEN = 600, 200
#: The same for an attempt of the animator, where its exam did not tell.
ATTEMPT_READ, ATTEMPT_WRITTEN = 150, 230


def attempt_seconds(pace: Pace | None) -> float | None:
    """Seconds of an attempt of the animator, from its speed."""
    return _seconds(pace, ATTEMPT_READ, ATTEMPT_WRITTEN)


def reflection_seconds(pace: Pace | None) -> float | None:
    """Seconds of a request to the reflector, from its speed."""
    return _seconds(pace, REFLECTION_READ, REFLECTION_WRITTEN)


def estimate(
    settings: Settings, suite: Suite, attempt: float | None, reflection: float | None
) -> tuple[Check, Minutes | None]:
    """The estimate as the last row; skipped when nothing was measured.

    Args:
        settings: With the budget.
        suite: What is drawn.
        attempt: Seconds of one attempt of the animator.
        reflection: Seconds of one request to the reflector.
    """
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
