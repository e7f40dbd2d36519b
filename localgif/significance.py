"""What may be concluded from scores: permutation tests, bootstrap intervals, Holm's correction, power.

The test that decides is Fisher's randomisation test. It assumes only that the labels could have been swapped, so it
holds for few values and for scores full of ties. The interval says how large a difference is; a verdict uses it only as
a veto.

What counts as one observation is the caller's choice: `run/result.py` compares samples of two prompts,
`sweep/compare.py` compares runs, one number per run, because the samples of a run share its search. Values of different
strata (say tasks) only change places within their own stratum.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from numpy.random import Generator

Floats = NDArray[np.float64]
Strata = Sequence[tuple[ArrayLike, ArrayLike]]

ALPHA = 0.05
#: Equal differences stay equal in whatever order they are summed.
TOLERANCE = 1e-12

#: Up to this many arrangements all are counted; beyond, this many are drawn.
_ARRANGEMENTS = 20_000
_RESAMPLES = 9_999
#: Numbers held in memory at once.
_CHUNK = 4_000_000
#: Sweeps that are simulated where no formula is close enough.
_SIMULATED = 4_000
#: A question counts as decidable when a true difference is found this often.
_WANTED_POWER = 0.8
#: More runs than anyone makes.
_MOST_RUNS = 1_000


# --- tests ------------------------------------------------------------------------------------------------------------


def permutation_p(strata: Strata) -> Floats:
    """Two-sided p of the difference of means b - a, averaged over the strata; 0 < p <= 1.

    Exact for at most 20,000 arrangements of the labels, else from 20,000 random ones with the observed one counted in
    (Phipson and Smyth 2010) and a fixed seed. Whole values are rearranged, not only swapped within pairs: 4 pairs have
    16 arrangements, which never reach 0.05.

    Args:
        strata: (a, b) of each, shapes (..., values). Every stratum has the same leading axes, one entry per simulated
            sweep; a single comparison has none, and the result is then an array without axes.
    """
    sides = [(np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)) for a, b in strata]
    pooled = [np.concatenate(both, axis=-1) for both in sides]
    sizes = [(a.shape[-1], b.shape[-1]) for a, b in sides]
    lead = pooled[0].shape[:-1]
    flat = [part.reshape(-1, part.shape[-1]) for part in pooled]
    exact = _arrangements(sizes) <= _ARRANGEMENTS
    drawn = None if exact else [_drawn(*each, np.random.default_rng(i)) for i, each in enumerate(sizes)]
    step = max(1, _CHUNK // min(_arrangements(sizes), _ARRANGEMENTS))
    parts: list[Floats] = []
    for start in range(0, len(flat[0]), step):
        rows = [part[start : start + step] for part in flat]
        observed = np.abs(_summed([_differences(r, _observed(*s), s) for r, s in zip(rows, sizes, strict=True)]))
        if drawn is None:
            total = np.zeros((len(rows[0]), 1))
            for row, size in zip(rows, sizes, strict=True):
                own = _differences(row, _all(*size), size)
                total = (total[:, :, None] + own[:, None, :]).reshape(len(row), -1)
        else:
            total = _summed([_differences(r, d, s) for r, d, s in zip(rows, drawn, sizes, strict=True)])
        hits = (np.abs(total) >= observed - TOLERANCE * len(sizes)).sum(axis=1)
        parts.append(hits / total.shape[1] if exact else (hits + 1) / (total.shape[1] + 1))
    return np.concatenate(parts).reshape(lead)


def sign_flip_p(differences: Sequence[float]) -> float:
    """Two-sided p of a mean of paired differences, from all ways to flip their signs; 0 < p <= 1."""
    values = np.array(differences, dtype=np.float64)
    edge = abs(math.fsum(differences)) - TOLERANCE
    if 2 ** len(values) <= _ARRANGEMENTS:
        signs = np.array(list(itertools.product((-1.0, 1.0), repeat=len(values))))
        return float(np.mean(np.abs(signs @ values) >= edge))
    signs = np.random.default_rng(0).choice((-1.0, 1.0), size=(_ARRANGEMENTS, len(values)))
    return float((int((np.abs(signs @ values) >= edge).sum()) + 1) / (_ARRANGEMENTS + 1))


def smallest_p(sizes: Sequence[tuple[int, int]]) -> float:
    """The smallest p that `permutation_p` can reach, from the numbers of values (a, b) of each stratum."""
    if (count := _arrangements(sizes)) > _ARRANGEMENTS:
        return 1 / (_ARRANGEMENTS + 1)
    # With equal numbers the mirror image is as extreme.
    return min(1.0, (2 if all(a == b for a, b in sizes) else 1) / count)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's correction: p values that may each be held against 0.05.

    At most 5 % of such families then contain a false alarm, however the tests depend on each other.
    """
    adjusted, worst = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        worst = max(worst, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = worst
    return adjusted


def _arrangements(sizes: Sequence[tuple[int, int]]) -> int:
    return math.prod(math.comb(a + b, b) for a, b in sizes)


def _differences(pooled: Floats, chosen: Floats, size: tuple[int, int]) -> Floats:
    """Mean of the chosen minus mean of the rest: (sweeps, values), (arrangements, values) -> (sweeps, arrangements)."""
    a, b = size
    total: Floats = pooled @ chosen.T * (1 / a + 1 / b) - pooled.sum(axis=1, keepdims=True) / a
    return total


def _summed(parts: Sequence[Floats]) -> Floats:
    total: Floats = np.sum(parts, axis=0)
    return total


def _observed(a: int, b: int) -> Floats:
    """The arrangement that was observed: the last b values are b's."""
    return np.array([[0.0] * a + [1.0] * b])


@functools.lru_cache(maxsize=32)
def _all(a: int, b: int) -> Floats:
    chosen = np.array(list(itertools.combinations(range(a + b), b)), dtype=np.intp).reshape(-1, b)
    masks = np.zeros((len(chosen), a + b))
    np.put_along_axis(masks, chosen, 1.0, axis=1)
    return masks


def _drawn(a: int, b: int, dice: Generator) -> Floats:
    return dice.permuted(np.tile(_observed(a, b), (_ARRANGEMENTS, 1)), axis=1)


# --- intervals --------------------------------------------------------------------------------------------------------


def mean_interval(groups: Sequence[Sequence[float]]) -> tuple[float, float] | None:
    """95 % bootstrap interval of the mean over groups of their mean; None where a group has a single value.

    Values are resampled within their group. The percentile bootstrap is too narrow for few values, so its level is
    widened (see `_tail`). BCa is not used: its skewness correction jumps with every tie and fails on equal values, and
    scores are full of both. With 4 values the result is their range.
    """
    fewest = min(len(group) for group in groups)
    if fewest < 2:
        return None
    low, high = (sum(edge(group) for group in groups) / len(groups) for edge in (min, max))
    if high - low <= TOLERANCE:
        return low, high
    from scipy import stats

    found = stats.bootstrap(
        tuple(groups),
        lambda *parts, axis: sum(part.mean(axis=axis) for part in parts) / len(parts),
        n_resamples=_RESAMPLES,
        batch=_RESAMPLES,
        vectorized=True,
        paired=False,
        method="percentile",
        confidence_level=1 - 2 * _tail(fewest, sum(len(group) - 1 for group in groups)),
        rng=0,
    ).confidence_interval
    return float(found.low), float(found.high)


def difference_interval(strata: Strata) -> tuple[float, float] | None:
    """95 % bootstrap interval of the mean over strata of mean(b) - mean(a); None where a side has a single value.

    As `mean_interval`, with each side resampled by itself.
    """
    sides = [(np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)) for a, b in strata]
    fewest = min(len(side) for both in sides for side in both)
    if fewest < 2:
        return None
    dice = np.random.default_rng(0)
    total = np.zeros(_RESAMPLES)
    for a, b in sides:
        for sign, side in ((-1, a), (1, b)):
            total += sign * side[dice.integers(len(side), size=(_RESAMPLES, len(side)))].mean(axis=1)
    tail = _tail(fewest, sum(len(a) + len(b) - 2 for a, b in sides))
    low, high = np.quantile(total / len(sides), (tail, 1 - tail))
    return float(low), float(high)


def _tail(fewest: int, freedom: int) -> float:
    """The share of resamples beyond each end of a 95 % interval, smaller for few values.

    Hesterberg's expanded percentile (2015): the plain percentile is too narrow by the factor sqrt((n - 1) / n), and by
    taking normal for t quantiles.
    """
    from scipy import stats

    return float(stats.norm.sf(math.sqrt(fewest / (fewest - 1)) * stats.t.ppf(1 - ALPHA / 2, freedom)))


# --- planning ---------------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=4096)
def power(runs: int, difference: float, deviation: float, comparisons: int = 1) -> float:
    """How often `permutation_p` of two groups finds a true difference, 0 to 1.

    Up to six runs by simulation (few arrangements make steps that no formula has), beyond by the t test's formula. Both
    take scores for normal, which real ones are not: a guide for planning.

    Args:
        runs: Runs of each group.
        difference: Difference of the groups' true means.
        deviation: Standard deviation between runs of one group, more than 0.
        comparisons: Pairs of groups in the sweep. Holm's strictest step is applied: with several, a lower bound.
    """
    level = ALPHA / comparisons
    if runs < 2 or smallest_p([(runs, runs)]) > level:
        return 0.0
    if runs <= 6:
        a, b = np.random.default_rng(0).normal(0, deviation, (2, _SIMULATED, runs))
        return float(np.mean(permutation_p([(a, b + difference)]) <= level + TOLERANCE))
    from scipy import stats

    shift, freedom = difference / deviation / math.sqrt(2 / runs), 2 * runs - 2
    edge = stats.t.isf(level / 2, freedom)
    return float(stats.nct.sf(edge, freedom, shift) + stats.nct.cdf(-edge, freedom, shift))


def runs_needed(difference: float, deviation: float, comparisons: int = 1) -> int | None:
    """Runs of each group that find a true difference in 80 % of sweeps; None when 1,000 are too few."""

    def enough(runs: int) -> bool:
        return power(runs, abs(difference), deviation, comparisons) >= _WANTED_POWER

    low, high = 1, 2
    while not enough(high):
        if high >= _MOST_RUNS:
            return None
        low, high = high, min(2 * high, _MOST_RUNS)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


# --- spread -----------------------------------------------------------------------------------------------------------


class Spread(NamedTuple):
    """Where the differences between scores of one group come from; standard deviations."""

    within: float | None
    """Of single samples of one prompt and task; None when no prompt has two."""
    noise: float | None
    """What that adds to a run's mean."""
    between: float | None
    """Of runs beyond that noise: what another seed of the search changes. None with a single run."""
    total: float | None
    """Of the runs' means as they are."""


def spread(runs: Sequence[Sequence[Sequence[float]]]) -> Spread:
    """Variance inside runs against variance between them.

    Args:
        runs: Runs of one group and stratum: for each run, for each task, its fresh scores.
    """
    variances, noises = [], []
    for tasks in runs:
        own = [float(np.var(scores, ddof=1)) for scores in tasks if len(scores) > 1]
        variances += own
        if len(own) == len(tasks):
            noises.append(math.fsum(v / len(s) for v, s in zip(own, tasks, strict=True)) / len(tasks) ** 2)
    within = math.sqrt(math.fsum(variances) / len(variances)) if variances else None
    noise = math.fsum(noises) / len(noises) if noises else None
    root = None if noise is None else math.sqrt(noise)
    if len(runs) < 2:
        return Spread(within, root, None, None)
    means = [math.fsum(math.fsum(s) / len(s) for s in tasks) / len(tasks) for tasks in runs]
    total = float(np.var(means, ddof=1))
    return Spread(within, root, None if noise is None else math.sqrt(max(0.0, total - noise)), math.sqrt(total))


def pooled_deviation(groups: Sequence[Sequence[float]]) -> tuple[float, int] | None:
    """Standard deviation inside groups and its degrees of freedom; None when no group has two values."""
    freedom = sum(len(group) - 1 for group in groups)
    if not freedom:
        return None
    squares = math.fsum(float(np.var(group)) * len(group) for group in groups)
    return math.sqrt(squares / freedom), freedom
