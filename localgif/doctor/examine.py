"""The checks in their order: what costs no token first, then the models, which are loaded only when the rest holds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from localgif.addresses import is_here
from localgif.checks.cheap import cheap_checks, different
from localgif.checks.models import digest
from localgif.checks.paces import Minutes, remember
from localgif.checks.result import Check
from localgif.config import ModelSettings, Settings
from localgif.doctor.estimate import attempt_seconds, estimate, reflection_seconds
from localgif.doctor.exam import animator_exam, reflector_exam
from localgif.doctor.measure import Measured, Pace
from localgif.environment import weights_environment
from localgif.errors import LocalGifError
from localgif.models.fetch import places_for
from localgif.search.progress import Progress
from localgif.search.roles import Roles, open_roles
from localgif.tasks.suite import Suite, load_suite


@dataclass(frozen=True)
class Found:
    """Everything that doctor found.

    Attributes:
        checks: In their order.
        minutes: Of a run; None when nothing was measured.
        cheap_seconds: What the checks without a model took.
        seconds: What all of them took.
    """

    checks: tuple[Check, ...]
    minutes: Minutes | None
    cheap_seconds: float
    seconds: float

    @property
    def failed(self) -> bool:
        """Whether anything is as it must not be."""
        return any(check.status == "FAIL" for check in self.checks)


def examine(settings: Settings, runs_dir: Path, progress: Progress, offline: bool = False) -> Found:
    """Make all checks.

    Args:
        settings: Of a usual run with the models of models.toml.
        runs_dir: Where runs are kept.
        progress: Who is told what is going on.
        offline: Nothing but loopback is asked.
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
        checks += [Check(name=name, status="SKIP", evidence=why) for name in _costly(settings)]
        return Found(tuple(checks), None, cheap, time.monotonic() - started)
    run = _Costly(settings, load_suite(settings.mode, settings.task), progress)
    checks += run.checks()
    return Found(tuple(checks), run.minutes, cheap, time.monotonic() - started)


def _obstacle(checks: list[Check], settings: Settings, offline: bool) -> str:
    """Why the models are not asked; "" when they can be."""
    failed = [check.name for check in checks if check.status == "FAIL"]
    if failed:
        return f"not tried, because of the failures above: {', '.join(failed)}"
    absent = [check.name for check in checks if check.status == "WARN" and check.name.startswith("weights ")]
    if absent:
        return f"not tried, because these are not here: {', '.join(absent)}"
    far = [m.endpoint.name for m in different(settings) if m.endpoint.url and not is_here(m.endpoint.url)]
    return f"not tried, because --offline asks no other machine: {', '.join(far)}" if far and offline else ""


def _costly(settings: Settings) -> list[str]:
    """Names of the checks that ask the models."""
    each = [f"{what} {model.model}" for model in different(settings) for what in ("endpoint", "speed", "canary")]
    return [*each, "reflector", "animator", "estimate"]


class _Costly:
    """The checks that ask the models. `minutes` is there afterwards when enough could be measured."""

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
            yield Check(name="start", status="FAIL", evidence=error.message, remedy=error.remedy)

    def _with(self, roles: Roles) -> Iterator[Check]:
        settings, urls = self._settings, {"animator": roles.animator_url, "reflector": roles.reflector_url}
        answers = True
        for model in different(settings):
            measured = Measured(model, urls[model.role], self._progress)
            yield from measured.checks()
            self._paces[model.endpoint.name, model.model] = measured.pace
            answers = answers and measured.answers
        if not answers:
            for name in ("reflector", "animator", "estimate"):
                yield Check(name=name, status="SKIP", evidence="the endpoint failed before")
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
