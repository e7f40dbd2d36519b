"""All checks in their order, the estimate of a run's duration, and the table."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from localgif.doctor.models import ATTEMPTS, Measured, Minutes, Pace, animator_exam, minutes, reflector_exam, remember
from localgif.errors import LocalGifError
from localgif.models.find import places_for
from localgif.offline import is_here, weights_environment
from localgif.run.checks import Check, Status
from localgif.run.preflight import cheap_checks, different, digest
from localgif.run.roles import Roles, open_roles
from localgif.search.progress import Progress, counted
from localgif.settings import Settings
from localgif.tasks.suite import chosen_suite

#: Tokens of a usual request to the reflector, which asks for a program: read beyond its cache, and written.
_REFLECTION_TOKENS = 600, 200
#: The same for one attempt of the animator, used if its exam was not finished.
_ATTEMPT_TOKENS = 150, 230
_LAST = ("reflector", "animator", "estimate")


@dataclass(frozen=True)
class Found:
    """Everything that doctor found."""

    checks: tuple[Check, ...]
    minutes: Minutes | None
    """Of a run; None if nothing was measured."""
    cheap_seconds: float
    """Duration of the checks that ask no model; `seconds` is the duration of all checks."""
    seconds: float

    @property
    def failed(self) -> bool:
        """Whether any check failed."""
        return any(check.status == "FAIL" for check in self.checks)


def examine(settings: Settings, runs_dir: Path, progress: Progress, offline: bool = False) -> Found:
    """Make all checks for a run with these settings; with `offline`, connect only to loopback."""
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
    run: Minutes | None = None
    if why:
        names = [f"{what} {model.model}" for model in different(settings) for what in ("endpoint", "speed", "canary")]
        checks += [Check.skipped(name, why) for name in (*names, *_LAST)]
    else:
        try:
            with open_roles(settings, progress) as roles:
                run = _ask_models(settings, roles, progress, checks)
        except LocalGifError as error:
            checks.append(Check.raised("start", error))
    return Found(tuple(checks), run, cheap, time.monotonic() - started)


def _obstacle(checks: list[Check], settings: Settings, offline: bool) -> str:
    """Why the models are not asked; "" if they can be."""
    failed = [check.name for check in checks if check.status == "FAIL"]
    if failed:
        return f"not tried, because of the failures above: {', '.join(failed)}"
    absent = [check.name for check in checks if check.status == "WARN" and check.name.startswith("weights ")]
    if absent:
        return f"not tried, because these are missing: {', '.join(absent)}"
    far = [m.endpoint.name for m in different(settings) if m.endpoint.url and not is_here(m.endpoint.url)]
    return f"not tried, because --offline connects only to this machine: {', '.join(far)}" if far and offline else ""


def _ask_models(settings: Settings, roles: Roles, progress: Progress, checks: list[Check]) -> Minutes | None:
    """Add the checks that ask the models; returns the estimate, or None if too little could be measured."""
    suite = chosen_suite(settings)
    urls = {"animator": roles.animator_url, "reflector": roles.reflector_url}
    paces: dict[tuple[str, str], Pace] = {}
    models = different(settings)
    for model in models:
        measured = Measured(model, urls[model.role], progress)
        checks += measured.checks()
        if measured.answers and measured.pace:
            paces[model.endpoint.name, model.model] = measured.pace
    if len(paces) < len(models):
        checks += [Check.skipped(name, "the endpoint failed before") for name in _LAST]
        return None
    animator, reflector = (paces[m.endpoint.name, m.model] for m in (settings.animator, settings.reflector))
    checks.append(reflector_exam(settings, suite, roles.reflector_url, progress))
    exam, attempt = animator_exam(settings, suite, roles.animator_url, progress)
    checks.append(exam)
    attempt = attempt or animator.seconds(*_ATTEMPT_TOKENS)
    reflection = reflector.seconds(*_REFLECTION_TOKENS)
    if attempt is None or reflection is None:
        checks.append(Check.skipped("estimate", "the speed of the models could not be measured"))
        return None
    remember(places_for(*weights_environment()).cache, settings, attempt, reflection)
    found = minutes(settings, suite, attempt, reflection)
    checks.append(estimate(settings, found, attempt))
    return found


def estimate(settings: Settings, run: Minutes, attempt_seconds: float) -> Check:
    """The last row: the duration of a usual run."""
    budget = (
        f"{counted(settings.metric_calls, 'metric call')} x {counted(settings.samples, 'sample')}, "
        f"then 2 x {counted(settings.fresh, 'fresh sample')}"
    )
    words = (
        f"{max(1, round(run.least))} to {max(1, round(run.most))} minutes for the budget of localgif optimize: "
        f"{budget}; an attempt takes {attempt_seconds:.0f} s, a sample needs 1 to {ATTEMPTS} attempts"
    )
    if settings.target is not None:
        words += f"; the run ends earlier if a re-test reaches {settings.target:g}"
    return Check.passed("estimate", words)


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
    names = {word: [check.name for check in checks if check.status == word] for word in get_args(Status)}
    said = [f"{len(names['PASS'])} of {counted(len(checks), 'check')} passed"]
    said += [f"{counted(len(names['WARN']), 'warning')} ({', '.join(names['WARN'])})"] if names["WARN"] else []
    said += [f"{len(names['SKIP'])} skipped"] if names["SKIP"] else []
    said += [f"{len(names['FAIL'])} FAILED ({', '.join(names['FAIL'])})"] if names["FAIL"] else []
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
