"""All checks that cost no token: what `localgif doctor` begins with, and those of them that every run makes first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from localgif.checks.machine import disk, memory, this_memory, variables
from localgif.checks.models import load_of, server, weights
from localgif.checks.packages import these_packages, this_python
from localgif.checks.result import Check
from localgif.config import ModelSettings, Settings
from localgif.environment import variable_names, weights_environment
from localgif.errors import LocalGifError, PreflightError
from localgif.models.fetch import places_for
from localgif.sandbox import probe
from localgif.sandbox.layers import FULL


def make_sure(settings: Settings, runs_dir: Path) -> None:
    """What every run looks at before it starts anything, in silence: Python, packages, disk, memory.

    Sandbox, weights and servers are not among it: a run tries these itself, each with an error of its own. What is
    only a warning is doctor's to tell.

    Raises:
        PreflightError: one of them failed.
    """
    for check in (this_python(), these_packages(), disk(runs_dir), _room(settings)):
        if check.status == "FAIL":
            raise PreflightError(
                f"{check.name}: {check.evidence}",
                check.remedy,
                code="E-DISK" if check.name == "disk" else "E-MACHINE",
            )


def cheap_checks(settings: Settings, runs_dir: Path, offline: bool = False) -> Iterator[Check]:
    """Every check of the machine, the environment, the models and the sandbox, one after another, a second in all.

    Args:
        settings: Of the run that is to come.
        runs_dir: Where its folder will be.
        offline: Nothing but loopback is asked, and nothing could be fetched.
    """
    yield this_python()
    yield these_packages()
    yield variables(variable_names())
    yield disk(runs_dir)
    yield sandbox(settings.sandbox_level)
    places = places_for(*weights_environment())
    for model in different(settings):
        if model.endpoint.kind == "embedded":
            yield weights(model, places, offline)
    asked: set[Check] = set()
    for model in different(settings):
        found = server(model, offline)
        if found not in asked:  # one embedded server serves all embedded models
            yield found
        asked.add(found)
    yield _room(settings)


def _room(settings: Settings) -> Check:
    """Memory against what the embedded models take."""
    places = places_for(*weights_environment())
    embedded = [model for model in different(settings) if model.endpoint.kind == "embedded"]
    loads = [load for load in (load_of(model, places) for model in embedded) if load is not None]
    if embedded and not loads:
        return Check(name="memory", status="SKIP", evidence="the weights are not here")
    return memory(this_memory(), loads)


def different(settings: Settings) -> tuple[ModelSettings, ...]:
    """The models of the roles, each once: of one with two windows the larger, as a reflector when that one sees."""
    found: dict[tuple[str, str], ModelSettings] = {}
    for model in (settings.animator, settings.reflector):
        key = (model.endpoint.name, model.model)
        known = found.get(key, model)
        chosen = model if model.role == "reflector" and model.vision else known
        found[key] = chosen.model_copy(update={"num_ctx": max(known.num_ctx, model.num_ctx)})
    return tuple(found.values())


def sandbox(level: str) -> Check:
    """What the sandbox refuses here, tried; `level` is the weakest that a run accepts."""
    try:
        found = probe.decide(level)
    except LocalGifError as error:
        return Check(name="sandbox", status="FAIL", evidence=error.message, remedy=error.remedy)
    refused = sum(each.refused for each in found.probes)
    words = f"level {found.level}: {refused} of {len(found.probes)} attacks refused"
    if found.level == FULL:
        return Check(name="sandbox", status="PASS", evidence=words)
    possible = ", ".join(each.name for each in found.probes if not each.refused)
    return Check(
        name="sandbox",
        status="WARN",
        evidence="\n".join([f"{words}; possible: {possible}", *(f"not {line}" for line in found.missing)]),
        remedy="a kernel and a container that offer seccomp and Landlock (docs/security.md)",
    )
