"""The result of a run: the object that `--json` prints, from what was measured. See docs/json.md."""

from __future__ import annotations

import math
import resource
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from localgif.config import Settings
from localgif.records import Attempt, PromptResult, Proposal, RunRecord, Sample
from localgif.runs.files import content_hash
from localgif.search.baseline import best_of
from localgif.search.evaluate import Evaluator
from localgif.search.programs import Programs
from localgif.search.roles import Roles
from localgif.search.verdict import Comparison, Pairs, compare
from localgif.task import Task
from localgif.tasks.suite import Suite


class Prompted(NamedTuple):
    """A prompt and its fresh samples, task by task in the order of suite.tested."""

    prompt: str
    samples: list[Sample]


class Outcome(NamedTuple):
    """What a run came to."""

    seed: Prompted
    best: Prompted
    ended_by: str
    """ "target", "budget", "minutes" or "idle"."""
    seconds: float
    """From the start of the command."""


def result_of(
    settings: Settings,
    suite: Suite,
    record: RunRecord,
    roles: Roles,
    evaluator: Evaluator,
    proposals: Sequence[Proposal],
    programs: Programs,
    outcome: Outcome,
) -> dict[str, Any]:
    """The whole object."""
    seed, best = (prompt_result(*each) for each in (outcome.seed, outcome.best))
    return {
        "run": record.name,
        "folder": str(evaluator.folder),
        "status": "done",
        "mode": settings.mode,
        "task": settings.task,
        "scorer": settings.scorer,
        "reflection": settings.reflection,
        "seed": _summary(seed, evaluator),
        "best": {**_summary(best, evaluator), "is_seed": outcome.best.prompt == outcome.seed.prompt},
        "best_of": best_of(evaluator.samples, suite.train) if settings.reflection == "none" else None,
        "tasks": [_row(task, outcome) for task in suite.tested],
        "split": suite.split,
        "verdict": comparison(suite, outcome).as_json(),
        "ended_by": outcome.ended_by,
        "metric_calls": evaluator.spent,
        **_costs(evaluator.samples, proposals),
        "programs_run": programs.run,
        "seconds": {
            "total": round(outcome.seconds, 1),
            "weights": round(roles.seconds_weights, 1),
            "load": round(roles.seconds_load, 1),
            **_seconds(evaluator.samples, proposals),
            "sandbox": round(programs.seconds, 1),
        },
        "memory": {
            "localgif": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024),
            "endpoint": roles.embedded.peak_memory() if roles.embedded is not None else None,
        },
        "animator": _identity(roles, "animator"),
        "reflector": _identity(roles, "reflector"),
        "sandbox": record.sandbox,
    }


def comparison(suite: Suite, outcome: Outcome) -> Comparison:
    """What may be said of the two prompts.

    Of held-out tasks it is said of tasks that nobody tried, so tasks are the unit; with several trained ones, of these.
    """
    pairs = {
        task.name: Pairs(*([s.score.total for s in _of(each, task)] for each in (outcome.seed, outcome.best)))
        for task in suite.tested
    }
    return compare(pairs, "task" if suite.mode == "general" else "sample")


def _of(prompted: Prompted, task: Task) -> list[Sample]:
    return [sample for sample in prompted.samples if sample.task == task.name]


def _row(task: Task, outcome: Outcome) -> dict[str, Any]:
    """One task's fresh scores by both prompts."""
    seed, best = ([s.score.total for s in _of(each, task)] for each in (outcome.seed, outcome.best))
    means = [math.fsum(scores) / len(scores) for scores in (seed, best)]
    return {
        "task": task.name,
        "brief": task.brief,
        "family": task.family,
        "seed_scores": seed,
        "best_scores": best,
        "seed_mean": round(means[0], 4),
        "best_mean": round(means[1], 4),
        "difference": round(means[1] - means[0], 4),
    }


def _attempts(samples: Sequence[Sample]) -> list[Attempt]:
    return [attempt for sample in samples for attempt in sample.attempts]


def _costs(samples: Sequence[Sample], proposals: Sequence[Proposal]) -> dict[str, Any]:
    """Calls and tokens by role; a search over a program's numbers is no call."""
    asked = [proposal for proposal in proposals if proposal.move != "tune"]
    by_move: dict[str, int] = {}
    for proposal in asked:
        by_move[proposal.move] = by_move.get(proposal.move, 0) + proposal.output_tokens
    attempts = _attempts(samples)
    return {
        "llm_calls": len(attempts) + len(asked),
        "proposals": len(asked),
        "output_tokens": {
            "animator": sum(a.output_tokens for a in attempts),
            "reflector": sum(p.output_tokens for p in asked),
        },
        "reflector_tokens_by_move": by_move,
    }


def _seconds(samples: Sequence[Sample], proposals: Sequence[Proposal]) -> dict[str, float]:
    animator = sum(a.llm_seconds for a in _attempts(samples))
    reflector = sum(p.llm_seconds for p in proposals)
    return {
        "llm": round(animator + reflector, 1),
        "animator": round(animator, 1),
        "reflector": round(reflector, 1),
    }


def _identity(roles: Roles, role: str) -> dict[str, Any]:
    return next(i.model_dump(mode="json") for i in roles.identities if i.role == role)


def prompt_result(prompt: str, samples: Sequence[Sample]) -> PromptResult:
    """A prompt's fresh samples as one record."""
    scores = tuple(s.score.total for s in samples)
    measured = [s.measurements for s in samples]
    return PromptResult(
        candidate=content_hash(prompt),
        prompt=prompt,
        scores=scores,
        mean=round(math.fsum(scores) / len(scores), 4),
        also=_also(samples),
        frames=tuple(m.frames if m else None for m in measured),
        loop_ratios=tuple(round(m.gap / m.motion, 3) if m and m.motion > 0 else None for m in measured),
        verdicts=tuple(s.verdict for s in samples),
    )


def _also(samples: Sequence[Sample]) -> dict[str, tuple[float, ...]]:
    """The other rules' scores; a sample without a GIF has 0 by every rule."""
    rules = sorted({score.scorer for sample in samples for score in sample.also})
    return {
        rule: tuple(next((s.total for s in sample.also if s.scorer == rule), 0.0) for sample in samples)
        for rule in rules
    }


def _summary(result: PromptResult, evaluator: Evaluator) -> dict[str, Any]:
    """A prompt's fresh samples, and what the search and the re-test had said of it."""
    deciding = {task.name for task in evaluator.suite.val}
    mine = [s for s in evaluator.samples if s.candidate == result.candidate and s.task in deciding]
    return {
        "search_scores": [s.score.total for s in mine if s.purpose == "search"],
        "retest_scores": [s.score.total for s in mine if s.purpose == "retest"],
        **result.model_dump(mode="json", exclude={"prompt", "candidate"}),
        "prompt": result.prompt,
        "candidate": result.candidate,
    }
