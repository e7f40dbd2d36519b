"""The control without reflection: the best of all samples of the seed prompt."""

from __future__ import annotations

from collections.abc import Sequence

from localgif.records import BestOf, Sample
from localgif.search.evaluator import Evaluator
from localgif.tasks.task import Task


def sample_only(prompt: str, evaluator: Evaluator) -> str:
    """Spend the budget on samples of one prompt; the tasks take turns.

    Returns:
        Why it ended: "target" (each task has a sample that reaches it), "budget" or "minutes".

    Raises:
        EndpointError: The animator could no longer be reached.
        SandboxError: The sandbox failed.
    """
    tasks, store = evaluator.suite.train, evaluator.store
    asked = 0
    while True:
        if reason := store.search_end(asked, _reason(evaluator)):
            return reason
        evaluator.more(prompt, tasks[asked % len(tasks)])
        asked += 1


def _reason(evaluator: Evaluator) -> str:
    settings, store = evaluator.settings, evaluator.store
    if settings.target is not None:
        best = [best_sample(evaluator.samples, task) for task in evaluator.suite.train]
        if all(sample is not None and sample.score.total >= settings.target for sample in best):
            return "target"
    if evaluator.samples_left <= 0:
        return "budget"
    minutes = settings.minutes
    over = minutes is not None and not store.journal.left and store.elapsed() >= 60 * minutes
    return "minutes" if over else ""


def best_sample(samples: Sequence[Sample], task: Task) -> Sample | None:
    """The best search sample of a task, the first of equal ones; None without a sample."""
    mine = [sample for sample in samples if sample.task == task.name and sample.purpose == "search"]
    return max(mine, key=lambda sample: sample.score.total, default=None)


def best_of(samples: Sequence[Sample], tasks: Sequence[Task]) -> BestOf:
    """The best search sample of each task; a task without a sample has no entry."""
    found = [best for best in (best_sample(samples, task) for task in tasks) if best is not None]
    return BestOf(
        samples=sum(sample.purpose == "search" for sample in samples),
        tasks=tuple(sample.task for sample in found),
        scores=tuple(sample.score.total for sample in found),
        also=scores_by_rule(found),
        gifs=tuple(sample.gif for sample in found),
    )


def scores_by_rule(samples: Sequence[Sample]) -> dict[str, tuple[float, ...]]:
    """Name and version of each rule that the run did not optimise -> its scores; 0 for a sample without a GIF."""
    rules = sorted({score.scorer for sample in samples for score in sample.also})
    return {
        rule: tuple(next((s.total for s in sample.also if s.scorer == rule), 0.0) for sample in samples)
        for rule in rules
    }
