"""How long a run takes: what doctor measured of the models on this machine, kept for the plan of a sweep."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from localgif.config import ModelSettings, Settings
from localgif.models.verify import write_atomically
from localgif.tasks.suite import Suite

#: Answers of the animator to one sample, at most.
ATTEMPTS = 3
_NAME = "paces.json"
_VERSION = 1


class Minutes(NamedTuple):
    """Of the whole budget."""

    least: float
    most: float
    samples: int


class Measured(NamedTuple):
    """What a run with two models takes here."""

    attempt: float
    """Seconds of one attempt of the animator, sandbox included."""
    reflection: float
    """Seconds of one request to the reflector."""
    at: str
    """The day of the older of both measurements, e.g. "2026-11-28"."""


def minutes(settings: Settings, suite: Suite, attempt_seconds: float, reflection_seconds: float) -> Minutes:
    """Minutes of a run that spends its whole budget: at the least with one attempt for each sample, at most with three.

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


def remember(cache: Path, settings: Settings, attempt_seconds: float, reflection_seconds: float) -> None:
    """Keep a measurement. Losing it costs a guess, so a folder that cannot be written is none of the user's business.

    Args:
        cache: Folder of this machine, made when it is not there.
        settings: With the models that were measured.
        attempt_seconds: Of one attempt of the animator, sandbox included.
        reflection_seconds: Of one request to the reflector.
    """
    models = _load(cache)
    today = f"{datetime.now(UTC).astimezone():%Y-%m-%d}"
    for model, seconds in ((settings.animator, attempt_seconds), (settings.reflector, reflection_seconds)):
        models[_key(model)] = {"seconds": round(seconds, 3), "at": today}
    with suppress(OSError):
        cache.mkdir(parents=True, exist_ok=True)
        write_atomically(cache / _NAME, json.dumps({"version": _VERSION, "models": models}, indent=1))


def recall(cache: Path, settings: Settings) -> Measured | None:
    """What was measured of both models of a run; None when one of them was not."""
    models = _load(cache)
    animator, reflector = (models.get(_key(model)) for model in (settings.animator, settings.reflector))
    if animator is None or reflector is None:
        return None
    return Measured(animator["seconds"], reflector["seconds"], min(animator["at"], reflector["at"]))


def _key(model: ModelSettings) -> str:
    return " ".join((model.role, model.endpoint.url or model.endpoint.kind, model.model))


def _load(cache: Path) -> dict[str, Mapping[str, Any]]:
    try:
        stored = json.loads((cache / _NAME).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(stored, dict) or stored.get("version") != _VERSION or not isinstance(stored.get("models"), dict):
        return {}
    return {key: entry for key, entry in stored["models"].items() if _is_entry(entry)}


def _is_entry(entry: object) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("at"), str):
        return False
    seconds = entry.get("seconds")
    return isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 < seconds < 1e6
