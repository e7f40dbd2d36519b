"""Better, worse, or not shown: what the fresh samples of the seed and of the best candidate allow to say.

Samples come in pairs: the same task and the same index, so the same seed of the model. What is resampled depends on
what the word is to hold for:

- one task (unit "sample"): the pairs. The word is about these two prompts on this task.
- several tasks (unit "task"): whole tasks, each with all its pairs. The samples of one task share its brief, so they
  are no independent witnesses of how the prompts do on a task that nobody tried; five samples of two tasks are two
  observations, not ten. With fewer than six tasks nothing can be shown this way.
- several tasks, unit "sample" by request: pairs inside each task. The word is about these very tasks and no other.

The rule: "better" when the permutation test's p is at most 0.05 *and* the bootstrap interval lies above 0; "worse"
likewise below; else "not shown". The test alone bounds false alarms at any number of samples and with any ties, because
it asks for nothing but that the labels could have been swapped; the interval says how much, and may only veto.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

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
