"""The result of a run: its numbers, and whether the evolved prompt is better, worse, or not shown to differ."""

from __future__ import annotations

import functools
import itertools
import math
import resource
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from localgif.files import content_hash
from localgif.records import Attempt, PromptResult, Proposal, RunRecord, Sample
from localgif.run.roles import Roles
from localgif.search.controls import best_of
from localgif.search.evaluator import Evaluator
from localgif.search.programs import Programs
from localgif.settings import Settings
from localgif.tasks.suite import Suite
from localgif.tasks.task import Task

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


ALPHA = 0.05

CONFIDENCE = 1 - ALPHA

#: Up to this many arrangements all are counted; beyond, as many are drawn.
ARRANGEMENTS = 20_000

RESAMPLES = 9_999

#: Equal differences stay equal whatever order they were summed in.
TOLERANCE = 1e-12

Word = Literal["better", "worse", "not shown"]

Unit = Literal["sample", "task"]


class Pairs(NamedTuple):
    """Fresh scores of one task, 0 to 1; the same place is the same index, so the same seed of the model."""

    seed: Sequence[float]
    best: Sequence[float]


class Comparison(NamedTuple):
    """The verdict and the numbers behind it."""

    word: Word
    difference: float
    """Mean over tasks of the mean difference, best candidate minus seed."""
    interval: tuple[float, float] | None
    """95 % bootstrap interval of it; None with a single unit. As wide as nothing when all units differ by the same."""
    p_value: float
    """Two-sided, permutation test: swaps of labels inside each task, or of whole tasks."""
    smallest_p_value: float
    """The smallest p that this many units can reach; above 0.05 nothing can ever be shown."""
    unit: Unit
    """What was resampled."""
    pairs: int
    tasks: int

    def as_json(self) -> dict[str, object]:
        """The object "verdict" of a result (docs/json.md)."""
        interval = None if self.interval is None else [round(edge, 4) for edge in self.interval]
        return {
            "word": self.word,
            "difference": round(self.difference, 4),
            "interval": interval,
            "confidence": CONFIDENCE,
            "p_value": round(self.p_value, 4),
            "smallest_possible_p_value": round(self.smallest_p_value, 4),
            "unit": self.unit,
            "pairs": self.pairs,
            "tasks": self.tasks,
        }


def compare(scores: Mapping[str, Pairs], unit: Unit | None = None) -> Comparison:
    """Compare fresh scores of the seed and of the best candidate.

    Args:
        scores: task -> its pairs, at least one.
        unit: what is resampled; by default samples for one task, tasks for several (see the module).

    Raises:
        ValueError: no task, a task without pairs, or one whose scores do not pair up.
    """
    if not scores:
        raise ValueError("no task to compare")
    for task, pairs in scores.items():
        if len(pairs.seed) != len(pairs.best) or not pairs.seed:
            raise ValueError(f"{task}: {len(pairs.seed)} scores of the seed, {len(pairs.best)} of the best candidate")
    unit = unit or ("sample" if len(scores) == 1 else "task")
    by_task = [[b - s for s, b in zip(*pairs, strict=True)] for pairs in scores.values()]
    means = [math.fsum(differences) / len(differences) for differences in by_task]
    difference = math.fsum(means) / len(means)
    if unit == "task":
        p_value, interval, smallest = swapped_tasks(means), bootstrap([means]), min(1.0, 2 ** (1 - len(means)))
    else:
        groups = list(scores.values())
        p_value, interval = swapped_samples(groups), bootstrap(by_task)
        smallest = min(1.0, 2 / math.prod(math.comb(2 * len(group.seed), len(group.seed)) for group in groups))
    word: Word = "not shown"
    if p_value <= ALPHA and interval is not None:
        word = "better" if interval[0] > TOLERANCE else "worse" if interval[1] < -TOLERANCE else "not shown"
    return Comparison(word, difference, interval, p_value, smallest, unit, sum(len(d) for d in by_task), len(by_task))


def swapped_samples(groups: Sequence[Pairs]) -> float:
    """Two-sided p of the permutation test for a difference of means (mean over groups), 0 < p <= 1.

    The share of all ways to hand the scores of each group out to seed and best anew, in numbers as they were, whose
    difference is at least as large as the observed one (Fisher's randomisation test). Exact for one group of up to
    20,000 ways, else estimated from as many random ones with the observed one counted in (Phipson and Smyth 2010),
    with a fixed seed. Whole scores are handed out, not only swapped within pairs: 4 pairs can be swapped in 16 ways,
    which can never reach 0.05, and two prompts' answers to one seed have little in common. Where they have something
    in common the test only gets more careful.
    """
    import numpy as np

    pooled = [np.array([*group.best, *group.seed], dtype=np.float64) for group in groups]
    observed = abs(sum(_split(part, np.arange(len(part) // 2)[None, :])[0] for part in pooled)) / len(pooled)
    if len(pooled) == 1 and math.comb(len(pooled[0]), len(pooled[0]) // 2) <= ARRANGEMENTS:
        return float(np.mean(np.abs(_split(pooled[0], _halves(len(pooled[0])))) >= observed - TOLERANCE))
    draw = np.random.default_rng(0)
    total = np.zeros(ARRANGEMENTS)
    for part in pooled:
        order = draw.permuted(np.tile(np.arange(len(part)), (ARRANGEMENTS, 1)), axis=1)
        total += _split(part, order[:, : len(part) // 2])
    return _drawn(np.abs(total / len(pooled)) >= observed - TOLERANCE)


def swapped_tasks(means: Sequence[float]) -> float:
    """Two-sided p when the labels of whole tasks are swapped: all signs of the tasks' mean differences, 0 < p <= 1."""
    import numpy as np

    values = np.array(means, dtype=np.float64)
    observed = abs(math.fsum(means))
    if 2 ** len(means) <= ARRANGEMENTS:
        signs = np.array(list(itertools.product((-1.0, 1.0), repeat=len(means))))
        return float(np.mean(np.abs(signs @ values) >= observed - TOLERANCE))
    signs = np.random.default_rng(0).choice((-1.0, 1.0), size=(ARRANGEMENTS, len(means)))
    return _drawn(np.abs(signs @ values) >= observed - TOLERANCE)


def bootstrap(groups: Sequence[Sequence[float]]) -> tuple[float, float] | None:
    """95 % interval of the mean over groups of their mean difference; values of one group replace only each other.

    The percentile bootstrap, its level widened for few values as Hesterberg (2015, "expanded percentile") does: the
    plain one is too narrow by the factor sqrt((n - 1) / n) and by normal instead of t quantiles. BCa is not used: its
    skewness correction jumps with every tie and fails on equal values, and scores are full of both. With 4 pairs the
    result is their range. None where a group has a single value: nothing can be resampled.
    """
    fewest = min(len(group) for group in groups)
    if fewest < 2:
        return None
    low, high = (sum(edge(group) for group in groups) / len(groups) for edge in (min, max))
    if high - low <= TOLERANCE:
        return low, high
    from scipy import stats

    wide = math.sqrt(fewest / (fewest - 1)) * stats.t.ppf(1 - ALPHA / 2, sum(len(group) - 1 for group in groups))
    found = stats.bootstrap(
        tuple(groups),
        lambda *parts, axis: sum(part.mean(axis=axis) for part in parts) / len(parts),
        n_resamples=RESAMPLES,
        batch=RESAMPLES,
        vectorized=True,
        paired=False,
        method="percentile",
        confidence_level=1 - 2 * stats.norm.sf(wide),
        rng=0,
    ).confidence_interval
    return float(found.low), float(found.high)


def _split(pooled: Floats, chosen: NDArray[np.intp]) -> Floats:
    """Difference of means for each row of indices: the chosen half minus the rest."""
    part = pooled[chosen].sum(axis=1)
    rest: Floats = (2 * part - pooled.sum()) / chosen.shape[1]
    return rest


@functools.lru_cache(maxsize=8)
def _halves(size: int) -> NDArray[np.intp]:
    import numpy as np

    return np.array(list(itertools.combinations(range(size), size // 2)))


def _drawn(hits: NDArray[np.bool_]) -> float:
    return (int(hits.sum()) + 1) / (len(hits) + 1)


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
