"""Run folders as a comparison needs them: who ran, with what settings, what the fresh samples scored, what it cost."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from localgif.errors import RunCorrupt
from localgif.records import BestOf, PromptResult, RunResult
from localgif.store.read import RunRecord, load_record, status_of

Scores = tuple[tuple[float, ...], ...]


class Finished(NamedTuple):
    """A run that is done."""

    name: str
    folder: Path
    facets: dict[str, Any]
    """Settings, flat, and digests of the weights: "reflection" -> "plain", "animator" -> an alias."""
    rule: str
    """Of the scores, with its version."""
    seed: Scores
    """Fresh scores of the seed prompt, for each task."""
    best: Scores
    """The same of the evolved prompt; of a run with reflection none the best sample of each task."""
    is_seed: bool
    """Whether no proposal beat the seed prompt."""
    word: str
    """The run's own verdict."""
    tokens: int
    """Written by both models."""
    minutes: float
    samples: int
    """That the budget and the end took, about."""
    version: str
    """Of localgif."""

    @property
    def score(self) -> float:
        """Mean over tasks of the mean of each one's scores in `best`: the run's one number."""
        return mean_of(self.best)

    @property
    def start(self) -> float:
        """The same of the seed prompt."""
        return mean_of(self.seed)

    @property
    def gain(self) -> float:
        return self.score - self.start


class Left(NamedTuple):
    """A run that is left out of a comparison, and why."""

    name: str
    why: str


def mean_of(tasks: Scores) -> float:
    """Mean over tasks of the mean of each one's scores."""
    return math.fsum(math.fsum(scores) / len(scores) for scores in tasks) / len(tasks)


def read_run(folder: Path, rule: str | None = None) -> Finished | Left:
    """A run folder; what cannot be compared is told, never raised.

    Args:
        folder: The run's.
        rule: Whose scores to take, "strict" or "article"; by default those that the run optimised.
    """
    try:
        record = load_record(folder)
    except RunCorrupt as error:
        return Left(folder.name, error.message)
    result = record.result
    if record.status != "done" or result is None:
        status = status_of(folder, record)
        return Left(folder.name, status + (f": {record.error}" if record.error else ""))
    try:
        return _finished(folder, record, result, rule)
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        return Left(folder.name, f"its result does not say enough ({type(error).__name__}: {error})")


def _finished(folder: Path, record: RunRecord, result: RunResult, rule: str | None) -> Finished | Left:
    version = record.scorer
    if rule is not None and not version.startswith(f"{rule}-"):
        known = [name for name in result.seed.also if name.startswith(f"{rule}-")]
        if not known:
            return Left(folder.name, f"it has no scores by {rule} (localgif rescore {folder.name} --scorer {rule})")
        version = known[0]
    tasks = len(result.tasks) or 1
    seed, best = (_by_task(_scores(each, record.scorer, version), tasks) for each in (result.seed, result.best))
    if result.best_of is not None:
        best = _by_task(_scores(result.best_of, record.scorer, version), tasks)
    fresh = sum(map(len, seed)) * (1 if result.best.is_seed else 2)
    return Finished(
        name=folder.name,
        folder=folder,
        facets=facets_of(record.settings.model_dump(mode="json"), {i.role: i.digest for i in record.models}),
        rule=version,
        seed=seed,
        best=best,
        is_seed=result.best.is_seed,
        word=result.verdict.word,
        tokens=result.output_tokens.total,
        minutes=result.seconds.total / 60,
        samples=result.metric_calls * record.settings.samples + fresh,
        version=record.versions.get("localgif", "unknown"),
    )


def _scores(prompt: PromptResult | BestOf, own: str, rule: str) -> Sequence[float]:
    return prompt.scores if rule == own else prompt.also[rule]


def _by_task(scores: Sequence[float], tasks: int) -> Scores:
    """Stored task by task, as many of each."""
    each = len(scores) // tasks
    if not each or each * tasks != len(scores):
        raise ValueError(f"{len(scores)} scores of {tasks} tasks")
    return tuple(tuple(map(float, scores[i : i + each])) for i in range(0, len(scores), each))


#: Where a model lies says nothing about it; its digest does. The alias has a name of its own.
_WHERE = (".alias", ".role", ".path", ".endpoint.url", ".endpoint.api_key_env")


def facets_of(settings: Mapping[str, Any], digests: Mapping[str, str | None]) -> dict[str, Any]:
    """Settings as flat names; a model counts by its alias first, then by all else that is known of it."""
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


def stored_runs(runs_dir: Path) -> list[Finished]:
    """All runs that are done under a folder, those of its sweeps too."""
    folders = sorted({path.parent for pattern in ("*/run.json", "*/*/run.json") for path in runs_dir.glob(pattern)})
    return [run for run in map(read_run, folders) if isinstance(run, Finished)]
