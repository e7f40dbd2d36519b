"""All checks in their order, the estimate of a run's duration, and the table."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localgif.doctor.exam import animator_exam, reflector_exam
from localgif.doctor.models import ATTEMPTS, Measured, Minutes, Pace, minutes, remember
from localgif.errors import LocalGifError
from localgif.models.find import places_for
from localgif.offline import is_here, weights_environment
from localgif.run.checks import Check
from localgif.run.preflight import cheap_checks, different, digest
from localgif.run.roles import Roles, open_roles
from localgif.search.progress import Progress
from localgif.settings import ModelSettings, Settings
from localgif.tasks.suite import Suite, load_suite

#: The usual request to the reflector is for a program: tokens that it reads beyond its cache, and writes.
REFLECTION_READ, REFLECTION_WRITTEN = 600, 200

#: The same for one attempt of the animator, used if its exam was not finished.
ATTEMPT_READ, ATTEMPT_WRITTEN = 150, 230


@dataclass(frozen=True)
class Found:
    """Everything that doctor found."""

    checks: tuple[Check, ...]
    minutes: Minutes | None
    """Of a run; None if nothing was measured."""
    cheap_seconds: float
    """Duration of the checks without a model."""
    seconds: float
    """Duration of all checks."""

    @property
    def failed(self) -> bool:
        """Whether any check failed."""
        return any(check.status == "FAIL" for check in self.checks)


def examine(settings: Settings, runs_dir: Path, progress: Progress, offline: bool = False) -> Found:
    """Make all checks.

    Args:
        settings: Of a usual run with the models of models.toml.
        runs_dir: Where runs are kept.
        progress: Receives what is being checked.
        offline: Connect only to loopback.
    """
    started = time.monotonic()
    checks: list[Check] = []
    for check in cheap_checks(settings, runs_dir, offline):
        checks.append(check)
        progress.activity(f"{check.name}: {check.status}")
    cheap = time.monotonic() - started
    if not _obstacle(checks, settings, offline):
        progress.activity("checking the sha256 of the weights")
        places = places_for(*weights_environment())
        # A run would download weights whose bytes are wrong; doctor never downloads.
        checks += [digest(model, places) for model in different(settings) if model.endpoint.kind == "embedded"]
    why = _obstacle(checks, settings, offline)
    if why:
        names = [f"{what} {model.model}" for model in different(settings) for what in ("endpoint", "speed", "canary")]
        checks += [Check.skipped(name, why) for name in (*names, "reflector", "animator", "estimate")]
        return Found(tuple(checks), None, cheap, time.monotonic() - started)
    costly = _Costly(settings, load_suite(settings.mode, settings.task), progress)
    checks += costly.checks()
    return Found(tuple(checks), costly.minutes, cheap, time.monotonic() - started)


def _obstacle(checks: list[Check], settings: Settings, offline: bool) -> str:
    """Why the models are not asked; "" if they can be."""
    failed = [check.name for check in checks if check.status == "FAIL"]
    if failed:
        return f"not tried, because of the failures above: {', '.join(failed)}"
    absent = [check.name for check in checks if check.status == "WARN" and check.name.startswith("weights ")]
    if absent:
        return f"not tried, because these are not here: {', '.join(absent)}"
    far = [m.endpoint.name for m in different(settings) if m.endpoint.url and not is_here(m.endpoint.url)]
    return f"not tried, because --offline asks no other machine: {', '.join(far)}" if far and offline else ""


class _Costly:
    """The checks that ask the models; afterwards `minutes` is known if enough could be measured."""

    def __init__(self, settings: Settings, suite: Suite, progress: Progress) -> None:
        self.minutes: Minutes | None = None
        self._settings = settings
        self._suite = suite
        self._progress = progress
        self._paces: dict[tuple[str, str], Pace | None] = {}

    def checks(self) -> Iterator[Check]:
        try:
            with open_roles(self._settings, self._progress) as roles:
                yield from self._with(roles)
        except LocalGifError as error:
            yield Check.raised("start", error)

    def _with(self, roles: Roles) -> Iterator[Check]:
        settings, urls = self._settings, {"animator": roles.animator_url, "reflector": roles.reflector_url}
        answers = True
        for model in different(settings):
            measured = Measured(model, urls[model.role], self._progress)
            yield from measured.checks()
            self._paces[model.endpoint.name, model.model] = measured.pace
            answers = answers and measured.answers
        if not answers:
            yield from (Check.skipped(n, "the endpoint failed before") for n in ("reflector", "animator", "estimate"))
            return
        yield reflector_exam(settings, self._suite, roles.reflector_url, self._progress)
        sampled = animator_exam(settings, self._suite, roles.animator_url, self._progress)
        yield sampled.check
        attempt = sampled.seconds_per_attempt or attempt_seconds(self._pace(settings.animator))
        reflection = reflection_seconds(self._pace(settings.reflector))
        if attempt is not None and reflection is not None:
            remember(places_for(*weights_environment()).cache, settings, attempt, reflection)
        last, self.minutes = estimate(settings, self._suite, attempt, reflection)
        yield last

    def _pace(self, model: ModelSettings) -> Pace | None:
        return self._paces.get((model.endpoint.name, model.model))


# --- the estimate ----------------------------------------------------------------------------------------------------


def attempt_seconds(pace: Pace | None) -> float | None:
    """Seconds of one attempt of the animator at this speed."""
    return _seconds(pace, ATTEMPT_READ, ATTEMPT_WRITTEN)


def reflection_seconds(pace: Pace | None) -> float | None:
    """Seconds of one request to the reflector at this speed."""
    return _seconds(pace, REFLECTION_READ, REFLECTION_WRITTEN)


def _seconds(pace: Pace | None, read: int, written: int) -> float | None:
    if pace is None or pace.read <= 0 or pace.write <= 0:
        return None
    return read / pace.read + written / pace.write


def estimate(
    settings: Settings, suite: Suite, attempt: float | None, reflection: float | None
) -> tuple[Check, Minutes | None]:
    """The last row: the duration of a run; skipped if nothing was measured.

    Args:
        settings: With the budget.
        suite: The tasks of the run.
        attempt: Seconds of one attempt of the animator.
        reflection: Seconds of one request to the reflector.
    """
    if attempt is None or reflection is None:
        return Check.skipped("estimate", "the models were not measured"), None
    found = minutes(settings, suite, attempt, reflection)
    budget = f"{settings.metric_calls} metric calls x {settings.samples} samples, then 2 x {settings.fresh} fresh ones"
    words = (
        f"{max(1, round(found.least))} to {max(1, round(found.most))} minutes for the budget of localgif optimize: "
        f"{budget}; an attempt takes {attempt:.0f} s, a sample needs 1 to {ATTEMPTS} attempts"
    )
    if settings.target is not None:
        words += f"; the run ends earlier if a re-test reaches {settings.target:g}"
    return Check.passed("estimate", words), found


# --- output ----------------------------------------------------------------------------------------------------------


def table(checks: Sequence[Check]) -> str:
    """One row per check (status, name, evidence); below it, behind an arrow, its remedy. The last line sums up."""
    width = max((len(check.name) for check in checks), default=0)
    margin = " " * (6 + width + 2)
    lines = []
    for check in checks:
        first, *more = check.evidence.splitlines() or [""]
        lines.append(f"{check.status:<6}{check.name:<{width}}  {first}".rstrip())
        lines += [f"{margin}{line}" for line in more]
        lines += [f"{margin}{'   ' if n else '-> '}{line}" for n, line in enumerate(check.remedy.splitlines())]
    return "\n".join([*lines, "", _summary(checks)])


def _summary(checks: Sequence[Check]) -> str:
    failures = [check.name for check in checks if check.status == "FAIL"]
    warnings = [check.name for check in checks if check.status == "WARN"]
    skipped = sum(check.status == "SKIP" for check in checks)
    said = [f"{sum(check.status == 'PASS' for check in checks)} of {len(checks)} checks passed"]
    said += [f"{len(warnings)} warnings ({', '.join(warnings)})"] if warnings else []
    said += [f"{skipped} skipped"] if skipped else []
    said += [f"{len(failures)} FAILED ({', '.join(failures)})"] if failures else []
    return ", ".join(said)


def as_object(found: Found) -> dict[str, Any]:
    """The object that `--json` prints; seconds and minutes are rounded."""
    run = found.minutes
    return {
        "ok": not found.failed,
        "checks": [check.model_dump(mode="json") for check in found.checks],
        "minutes": None if run is None else {"least": round(run.least, 1), "most": round(run.most, 1)},
        "seconds": {"cheap": round(found.cheap_seconds, 2), "whole": round(found.seconds, 2)},
    }
