"""The front of a run: up to four prompts that are asked for the same drawing; the best measured answer is kept.

One prompt cannot be the best at everything. The first prompt of a front is the best one on average.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from localgif.files import content_hash
from localgif.records import FrontPrompt, FrontResult, Sample
from localgif.search.evaluator import Ask, Evaluator, prompt_of
from localgif.search.moves import OrderMove
from localgif.search.progress import FRONT_SIZE

#: A prompt joins the front if its mean is at most this far below the best one's; a worse one rarely helps.
WITHIN = 0.25


def front(evaluator: Evaluator, best: str) -> list[str]:
    """The best prompt, then those that add most to it: each raises the mean of the best scores per task most."""
    chosen = [best]
    left = [p for p in evaluator.ranking() if p != best and evaluator.mean_of(p) >= evaluator.mean_of(best) - WITHIN]
    while left and len(chosen) < FRONT_SIZE:
        # Of equal ones the better ranked; a prompt that adds nothing here may help with what was not measured.
        chosen.append(max(left, key=lambda prompt: _together(evaluator, [*chosen, prompt])))
        left.remove(chosen[-1])
    return chosen


def _together(evaluator: Evaluator, prompts: Sequence[str]) -> float:
    """Mean over validation tasks of the best mean of any of these prompts."""
    tasks = evaluator.suite.val
    return math.fsum(max(evaluator.mean_of(p, [task]) for p in prompts) for task in tasks) / len(tasks)


def widen(evaluator: Evaluator, best: str) -> None:
    """Measure other orders of the best prompt's examples, so that the front of a general run has several prompts.

    Raises:
        EndpointError, SandboxError, RunError: As for any metric call.
    """
    candidate = evaluator.candidates.get(best)
    moves = OrderMove(evaluator)
    while candidate is not None and len(front(evaluator, best)) < FRONT_SIZE and evaluator.samples_left > 0:
        new = moves.propose(candidate)
        if not new:
            return
        other = {**candidate, **new}
        prompt = prompt_of(other, evaluator.suite)
        evaluator.candidates[prompt] = other
        for task in evaluator.suite.val:
            evaluator.metric_call(prompt, task)


def front_result(evaluator: Evaluator, prompts: Sequence[str], fresh: Sequence[Sample], enough: float) -> FrontResult:
    """Measure the front on the tested tasks; asks the next prompt where the best score so far is below `enough`.

    Args:
        prompts: The front, the best prompt first.
        fresh: Fresh samples of the best prompt.
        enough: A score that needs no further answer.
    """
    kept = {(sample.task, sample.index): sample.score.total for sample in fresh}
    answers = len(fresh)
    for number, prompt in enumerate(prompts[1:], 2):
        for task, index in [key for key, score in kept.items() if score < enough]:
            label = f"fresh sample {task} of prompt {number} of the front"
            sample = evaluator.gather([Ask(prompt, evaluator.suite.task(task), index, "fresh", label)])[0]
            kept[task, index] = max(kept[task, index], sample.score.total)
            answers += 1
    scores = tuple(kept.values())
    return FrontResult(
        prompts=tuple(
            FrontPrompt(
                candidate=content_hash(prompt),
                tasks={task.name: round(evaluator.mean_of(prompt, [task]), 4) for task in evaluator.suite.val},
            )
            for prompt in prompts
        ),
        scores=scores,
        mean=round(math.fsum(scores) / len(scores), 4),
        answers=answers,
    )
