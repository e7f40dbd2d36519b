"""Reads stored runs and sweeps for a comparison: settings, fresh scores, costs, and why a run is left out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field

from localgif.errors import ConfigError, RunCorrupt
from localgif.files import is_file
from localgif.records import BestOf, PromptResult, Record, RunResult
from localgif.store.read import RunRecord, find_run, load_record, read_versioned, status_of

SWEEP = "sweep.json"
_SWEEP_VERSION = 1
_REWRITE = "remove it and repeat `localgif sweep` with the sweep file, which writes it again and keeps the runs"

Scores = tuple[tuple[float, ...], ...]


class SweepRecord(Record):
    """sweep.json: the cells of a sweep, written before the first run. The results are in the run folders."""

    schema_version: int = _SWEEP_VERSION
    name: str
    started: str
    axes: dict[str, tuple[Any, ...]]
    cells: dict[str, dict[str, Any]]
    """Name of a cell and of its folder -> its values by axis, in the order of the plan."""
    failures: dict[str, str] = Field(default_factory=dict)
    """Cell -> why its last attempt failed."""


class Finished(NamedTuple):
    """A run that is done."""

    name: str
    folder: Path
    facets: dict[str, Any]
    """Flattened settings, and digests of the weights: "reflection" -> "plain", "animator" -> an alias."""
    rule: str
    """Name and version of the rule of the scores."""
    seed: Scores
    """Fresh scores of the seed prompt, for each task."""
    best: Scores
    """Fresh scores of the evolved prompt, for each task; with reflection none the best sample of each task."""
    is_seed: bool
    """Whether no proposal beat the seed prompt."""
    word: str
    """The run's own verdict."""
    tokens: int
    """Written by both models."""
    minutes: float
    samples: int
    """Number of samples, about: those within the budget, and the fresh ones."""
    version: str
    """Version of localgif."""

    @property
    def score(self) -> float:
        """The one number of the run: the mean score in `best` of each task, averaged over tasks."""
        return _mean(self.best)

    @property
    def start(self) -> float:
        """The same for the seed prompt."""
        return _mean(self.seed)

    @property
    def gain(self) -> float:
        return self.score - self.start


class Left(NamedTuple):
    """A run that is left out of a comparison, and why."""

    name: str
    why: str


class Found(NamedTuple):
    """The runs to compare."""

    title: str
    runs: tuple[Finished, ...]
    left: tuple[Left, ...]
    axes: tuple[str, ...]
    """The axes of the sweeps."""
    folder: Path
    """The folder for the page."""


def find_runs(runs_dir: Path, names: Sequence[str], rule: str | None = None) -> Found:
    """The runs with these names or folders, and the runs of sweeps with these; `rule` as for read_run.

    Raises:
        ConfigError: A name is unknown, no run is done, or the runs are scored by different rules.
        RunCorrupt: A sweep.json cannot be read.
    """
    runs: list[Finished | Left] = []
    axes: dict[str, None] = {}
    sweeps: list[Path] = []
    seen: set[Path] = set()
    for name in names:
        folder = next((each for each in (runs_dir / name, Path(name)) if is_file(each / SWEEP)), None)
        if folder is None:
            folders = [find_run(runs_dir, name)]
        else:
            sweeps.append(folder)
            record = read_sweep_record(folder)
            axes.update(dict.fromkeys(record.axes))
            folders, left = _cells(folder, record)
            runs += left
        for each in folders:
            if each.resolve() not in seen:
                seen.add(each.resolve())
                runs.append(read_run(each, rule))
    found = tuple(run for run in runs if isinstance(run, Finished))
    missing = tuple(run for run in runs if isinstance(run, Left))
    if not found:
        why = "; ".join(f"{run.name}: {run.why}" for run in missing[:5])
        raise ConfigError(f"none of these runs can be compared ({why})", "name runs that are done: localgif runs")
    if len(rules := sorted({run.rule for run in found})) > 1:
        raise ConfigError(
            f"the runs are scored by different rules: {', '.join(rules)}",
            "choose a rule that all have: --scorer strict, or --scorer article",
        )
    single = len(names) == 1 and sweeps
    return Found(
        f"sweep {sweeps[0].name}" if single else f"{len(found)} runs",
        found,
        missing,
        tuple(axis for axis in axes if axis != "seed"),
        sweeps[0] if single else runs_dir,
    )


def read_sweep_record(folder: Path) -> SweepRecord:
    """The sweep.json of a folder. Raises RunCorrupt if it cannot be read, or a newer version wrote it."""
    path = folder / SWEEP
    record = read_versioned(path, SweepRecord, _SWEEP_VERSION, unreadable="check its permissions", damaged=_REWRITE)
    if any("/" in name or name.startswith(".") for name in record.cells):
        raise RunCorrupt(f"{path} has a cell whose name is not a valid folder name", _REWRITE)
    return record


def _cells(folder: Path, record: SweepRecord) -> tuple[list[Path], list[Left]]:
    """The folders of the cells that have a run, and the runs that are left out."""
    present = [folder / name for name in record.cells if is_file(folder / name / "run.json")]
    left = [
        Left(name, record.failures.get(name, "not started")) for name in record.cells if folder / name not in present
    ]
    others = sorted(path.parent.name for path in folder.glob("*/run.json") if path.parent.name not in record.cells)
    return present, [*left, *(Left(name, "the sweep file no longer has this cell") for name in others)]


def stored_runs(runs_dir: Path) -> list[Finished]:
    """All finished runs in a folder, including those of its sweeps."""
    folders = sorted({path.parent for pattern in ("*/run.json", "*/*/run.json") for path in runs_dir.glob(pattern)})
    return [run for run in map(read_run, folders) if isinstance(run, Finished)]


def read_run(folder: Path, rule: str | None = None) -> Finished | Left:
    """A run with its scores by a rule, "strict" or "article"; None means the rule that the run optimised. A run that
    cannot be compared is returned as Left, with the reason."""
    try:
        record = load_record(folder)
    except RunCorrupt as error:
        return Left(folder.name, error.message)
    if record.demo:
        return Left(folder.name, "a DEMO: recorded answers replaced the models")
    result = record.result
    if record.status != "done" or result is None:
        status = status_of(folder, record)
        return Left(folder.name, status + (f": {record.error}" if record.error else ""))
    try:
        return _finished(folder, record, result, rule)
    except (KeyError, ValueError, ZeroDivisionError) as error:
        return Left(folder.name, f"its result is incomplete ({type(error).__name__}: {error})")


def _finished(folder: Path, record: RunRecord, result: RunResult, rule: str | None) -> Finished | Left:
    version = record.scorer
    if rule is not None and not version.startswith(f"{rule}-"):
        known = [name for name in result.seed.also if name.startswith(f"{rule}-")]
        if not known:
            return Left(folder.name, f"it has no scores by {rule} (localgif rescore {folder.name} --scorer {rule})")
        version = known[0]

    def scores(prompt: PromptResult | BestOf) -> Scores:
        return _by_task(prompt.scores if version == record.scorer else prompt.also[version], len(result.tasks) or 1)

    seed = scores(result.seed)
    return Finished(
        name=folder.name,
        folder=folder,
        facets=facets_of(record.settings.model_dump(mode="json"), {i.role: i.digest for i in record.models}),
        rule=version,
        seed=seed,
        best=scores(result.best_of or result.best),
        is_seed=result.best.is_seed,
        word=result.verdict.word,
        tokens=result.output_tokens.total,
        minutes=result.seconds.total / 60,
        samples=result.metric_calls * record.settings.samples + sum(map(len, seed)) * (1 if result.best.is_seed else 2),
        version=record.versions.get("localgif", "unknown"),
    )


def _mean(tasks: Scores) -> float:
    return math.fsum(math.fsum(scores) / len(scores) for scores in tasks) / len(tasks)


def _by_task(scores: Sequence[float], tasks: int) -> Scores:
    """Split stored scores by task: they are in the order of tasks, with the same number for each."""
    each = len(scores) // tasks
    if not each or each * tasks != len(scores):
        raise ValueError(f"{len(scores)} scores of {tasks} tasks")
    return tuple(tuple(map(float, scores[i : i + each])) for i in range(0, len(scores), each))


#: Left out: the place of a model does not identify it, its digest does; and its alias is under the name of the role.
_WHERE = (".alias", ".role", ".path", ".endpoint.url", ".endpoint.api_key_env")


def facets_of(settings: Mapping[str, Any], digests: Mapping[str, str | None]) -> dict[str, Any]:
    """Settings as a flat table. A role's own key has the alias of its model; keys like "animator.num_ctx" the rest."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        if not isinstance(value, Mapping):
            found[key] = value
            continue
        if "alias" in value:
            found[key] = value["alias"]
        found.update({k: v for k, v in _flat(value, f"{key}.") if not k.endswith(_WHERE)})
    found.update({f"{role}.digest": digest for role, digest in digests.items() if digest is not None})
    return found


def _flat(table: Mapping[str, Any], place: str) -> Iterable[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{place}{key}.")
        else:
            yield f"{place}{key}", value
