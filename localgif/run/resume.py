"""Resumes a run that ended early, or forks one: starts another run that reuses its work."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from localgif.errors import ConfigError, RunCorrupt, RunMismatch
from localgif.files import check_free, is_name
from localgif.models.toml import ModelsFile, changed_settings
from localgif.records import SCHEMA_VERSION, Limits, ModelIdentity, RunResult
from localgif.run.optimize import check_budget, ready, record_of, versions, work
from localgif.sandbox.protocol import is_weaker
from localgif.search.progress import Progress, Silent
from localgif.settings import Level, Settings
from localgif.store.log import RunLog
from localgif.store.read import RunRecord, load_record, load_run, read_work, refuse_demo
from localgif.store.write import RunStore, Shared
from localgif.tasks.suite import Suite, neighbours, suite_of

#: A program's GIF and measurements depend on these.
_DRAWING = ("python", "pillow", "numpy", "scipy")
#: Largest stored limit of programs, in multiples of the default.
_MOST_LIMIT = 8


def resume(
    folder: Path,
    models: ModelsFile,
    progress: Progress | None = None,
    changes: Mapping[str, Any] | None = None,
    *,
    fork: bool = False,
    name: str | None = None,
) -> RunResult:
    """Continue a run where it stopped, without repeating finished work; it ends as it would have without the stop.

    Args:
        models: models.toml as it is now.
        changes: Setting -> new value, for a fork; for a role the name of another model. Without a fork only
            `sandbox_level` may change, because it depends on the machine.
        fork: Start a new run with today's settings that reuses the work that is still valid.
        name: Name of the new run; None for the old name and "-fork".

    Returns:
        The result; the stored one if the run is done.

    Raises:
        RunMismatch: Without `fork`: settings, models or versions differ from the stored ones.
        RunLocked, RunCorrupt, RunError: The run folder is in use, damaged or not writable.
        LocalGifError: As for optimize.
    """
    progress, changes = progress or Silent(), dict(changes or {})
    clock = time.monotonic()
    record = load_record(folder)
    refuse_demo(record)
    _check_limits(record.settings.limits)
    level = changes.pop("sandbox_level", None) or _own_level(record.settings.sandbox_level, progress)
    settings = changed_settings(record.settings, models, changes)
    suite = _stored_suite(record, settings)
    here = settings.model_copy(update={"sandbox_level": level})
    if fork:
        return _fork(folder, record, here, suite, name or f"{folder.resolve().name}-fork", progress, clock)
    if record.status == "done" and record.result is not None and not changes:
        return record.result.model_copy(update={"folder": str(folder)})
    differing = list(differences(record.settings.model_dump(mode="json"), settings.model_dump(mode="json")))
    if record.schema_version < SCHEMA_VERSION:
        differing.append(f"the run folder has version {record.schema_version}, which lacks data to resume from")
    # Kernel and distribution do not change results.
    differing += [line for line in differences(record.versions, versions()) if not line.startswith("platform:")]
    _refuse(record, differing)
    check_free(folder)  # fail before loading models
    with ready(here, folder.parent, progress) as roles:
        _refuse(record, list(_other_models(record, roles.identities)))
        with RunStore.reopen(folder, _shared_with_parent(folder, record)) as store:
            return work(suite, roles, store, progress, clock)


def _check_limits(stored: Limits) -> None:
    """Refuse limits far above the defaults: a run folder from a stranger could exhaust this machine."""
    usual = Limits().model_dump()
    for name, value in stored.model_dump().items():
        if value > _MOST_LIMIT * usual[name]:
            raise RunCorrupt(f"run.json: settings.limits.{name} = {value} is far above the default {usual[name]}")


def _own_level(stored: Level, progress: Progress) -> Level:
    """The weakest sandbox level to accept. A stored level can be stronger than the default, but not weaker: the run
    folder may come from a stranger."""
    usual: Level = Settings.model_fields["sandbox_level"].default
    if not is_weaker(stored, usual):
        return stored
    progress.note(
        f"run.json accepts the sandbox level {stored}, which is weaker than {usual}; localgif requires {usual} "
        f"(to accept {stored}: --sandbox-level {stored})"
    )
    return usual


def _fork(
    folder: Path, record: RunRecord, settings: Settings, suite: Suite, name: str, progress: Progress, clock: float
) -> RunResult:
    check_budget(settings, suite)
    suite = suite._replace(neighbours=neighbours(suite, settings))
    with ready(settings, folder.parent, progress) as roles:
        child = record_of(settings, suite, roles, name).model_copy(update={"parent": record.name})
        shared = Shared(folder, shareable(read_work(folder), record, child))
        with RunStore.create(folder.parent, child, shared) as store:
            return work(suite, roles, store, progress, clock)


def differences(stored: Mapping[str, Any], present: Mapping[str, Any], place: str = "") -> Iterator[str]:
    """The differences of two nested tables, one line per value: "animator.num_ctx: 8192, now 4096"."""
    for key in {**stored, **present}:
        old, new = stored.get(key), present.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from differences(old, new, f"{place}{key}.")
        elif old != new:
            yield f"{place}{key}: {old}, now {new}"


def _other_models(record: RunRecord, identities: tuple[ModelIdentity, ...]) -> Iterator[str]:
    present = {identity.role: identity for identity in identities}
    for stored in record.models:
        now = present[stored.role]
        yield from differences(stored.model_dump(mode="json"), now.model_dump(mode="json"), f"{stored.role}: ")


def _refuse(record: RunRecord, differing: list[str]) -> None:
    if differing:
        lines = "".join(f"\n  {line}" for line in differing)
        raise RunMismatch(
            f"the run {record.name} cannot be resumed, because these values have changed since its start:{lines}",
            f"restore them, or start a new run that reuses its samples: localgif resume {record.name} --fork",
        )


def _stored_suite(record: RunRecord, settings: Settings) -> Suite:
    """The tasks as stored; their files may have changed since."""
    try:
        suite = suite_of(settings.mode, record.drawn, record.split)
        return suite._replace(neighbours=record.neighbours, given=record.given)
    except (ConfigError, KeyError) as error:
        raise RunCorrupt(f"run.json of {record.name} does not contain its tasks ({error})") from None


def _shared_with_parent(folder: Path, record: RunRecord) -> Shared | None:
    """The parent's work that a forked run may reuse; None without a parent, or if it is gone."""
    if record.parent is None or not is_name(record.parent):
        return None
    parent = folder.parent / record.parent
    try:
        return Shared(parent, shareable(read_work(parent), load_run(parent).record, record))
    except RunCorrupt:
        return None


def shareable(work: RunLog, parent: RunRecord, child: RunRecord) -> RunLog:
    """The part of a parent's work that is valid for a child. The child scores samples itself.

    Programs need the same limits and library versions; samples also need the same animator, seed and brief; answers
    need the same reflector.
    """
    same_limits = parent.settings.limits == child.settings.limits
    same_drawing = same_limits and all(parent.versions.get(p) == child.versions.get(p) for p in _DRAWING)
    who = [{i.role: i.model_copy(update={"server": "", "alias": ""}) for i in run.models} for run in (parent, child)]
    same_seed = parent.settings.seed == child.settings.seed
    briefs = [{task.name: task.brief for task in (*run.drawn, *run.neighbours)} for run in (parent, child)]
    same_animator = who[0].get("animator") == who[1].get("animator")
    same_reflector = who[0].get("reflector") == who[1].get("reflector")
    return RunLog(
        samples=tuple(s for s in work.samples if briefs[0].get(s.task) == briefs[1].get(s.task))
        if same_drawing and same_seed and same_animator
        else (),
        answers=work.answers if same_reflector else (),
        # The result of a number search depends on the rule, because it follows scores.
        programs=tuple(run for run in work.programs if run.start is None or parent.scorer == child.scorer)
        if same_drawing
        else (),
    )
