"""The control of every search: the seed prompt alone, sampled as often as the budget allows, and the best sample kept.

What a search may cost, this spends on luck (best of N). It finds no prompt: one GIF for each task is all there is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from localgif.config import Settings
from localgif.records import Sample, SearchEnd
from localgif.runs.store import RunStore
from localgif.search.evaluate import Evaluator
from localgif.task import Task


def sample_only(prompt: str, evaluator: Evaluator, settings: Settings, store: RunStore) -> str:
    """Spend the budget on samples of one prompt, task by task in turns.

    Returns:
        Why it ended: "target" (each task has a sample that reaches it), "budget" or "minutes".

    Raises:
        EndpointError: the animator could not be reached any more.
        SandboxError: our sandbox failed.
    """
    tasks = evaluator.suite.train
    asked = 0
    while True:
        end = store.record.search_end
        reason = _reason(evaluator, settings, store)
        if end is not None:  # a run that goes on stops where it did, whatever the clock says
            reason = end.reason if asked >= end.asked else ""
        elif reason:
            store.update(search_end=SearchEnd(reason=reason, asked=asked))
        if reason:
            return reason
        evaluator.more(prompt, tasks[asked % len(tasks)])
        asked += 1


def _reason(evaluator: Evaluator, settings: Settings, store: RunStore) -> str:
    if settings.target is not None:
        best = [best_sample(evaluator.samples, task) for task in evaluator.suite.train]
        if all(sample is not None and sample.score.total >= settings.target for sample in best):
            return "target"
    if evaluator.samples_left <= 0:
        return "budget"
    timed = settings.minutes is not None and not store.journal.left
    return "minutes" if timed and store.elapsed() >= 60 * (settings.minutes or 0) else ""


def best_sample(samples: Sequence[Sample], task: Task) -> Sample | None:
    """The best search sample of a task, of equal ones the first; None when it has none."""
    mine = [sample for sample in samples if sample.task == task.name and sample.purpose == "search"]
    return max(mine, key=lambda sample: sample.score.total, default=None)


def best_of(samples: Sequence[Sample], tasks: Sequence[Task]) -> dict[str, Any]:
    """The object "best_of" of a result (docs/json.md); tasks that were not reached have no row."""
    found = [best for best in (best_sample(samples, task) for task in tasks) if best is not None]
    rules = sorted({score.scorer for sample in found for score in sample.also})
    return {
        "samples": sum(sample.purpose == "search" for sample in samples),
        "tasks": [sample.task for sample in found],
        "scores": [sample.score.total for sample in found],
        "also": {
            rule: [next((s.total for s in sample.also if s.scorer == rule), 0.0) for sample in found] for rule in rules
        },
        "gifs": [sample.gif for sample in found],
    }
