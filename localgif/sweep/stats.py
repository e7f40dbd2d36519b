"""What numbers of many runs allow to say. Pure; a number here is one run's, never one sample's of a run.

The test that decides hands the runs' labels out anew (Fisher's randomisation test): it asks for nothing but that they
could have been handed out otherwise, so it holds for few runs and for scores full of ties. Runs of different strata
(say tasks) only change places within their own. The test takes many sweeps at a time: the leading axes of an array.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from localgif.run.result import ALPHA, ARRANGEMENTS, RESAMPLES, TOLERANCE

if TYPE_CHECKING:
    from numpy.random import Generator

Floats = NDArray[np.float64]
Strata = Sequence[tuple[Floats, Floats]]

#: Numbers that are held in memory at once.
_CHUNK = 4_000_000
#: Sweeps that are simulated where no formula is near enough.
_SIMULATED = 4_000
#: A question counts as decidable when a true difference is found so often.
WANTED_POWER = 0.8
#: More runs than anyone makes.
MOST_RUNS = 1_000


def permutation_p(strata: Strata) -> Floats:
    """Two-sided p of the difference of means b - a, averaged over the strata; 0 < p <= 1.

    Exact when there are at most 20,000 ways to hand the labels out, else from as many random ones, with the observed
    one counted in (Phipson and Smyth 2010) and a fixed seed.

    Args:
        strata: (a, b) of each, shapes (..., runs); every stratum has the same leading axes. A single sweep has none,
            and the result then is an array without axes.
    """
    pooled = [np.concatenate([a, b], axis=-1) for a, b in strata]
    sizes = [(a.shape[-1], b.shape[-1]) for a, b in strata]
    lead = pooled[0].shape[:-1]
    flat = [part.reshape(-1, part.shape[-1]) for part in pooled]
    exact = ways(sizes) <= ARRANGEMENTS
    drawn = None if exact else [_drawn(*each, np.random.default_rng(i)) for i, each in enumerate(sizes)]
    step = max(1, _CHUNK // min(ways(sizes), ARRANGEMENTS))
    parts: list[Floats] = []
    for start in range(0, len(flat[0]), step):
        rows = [part[start : start + step] for part in flat]
        observed = np.abs(_summed([_differences(r, _first(*s), s) for r, s in zip(rows, sizes, strict=True)]))
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


def ways(sizes: Sequence[tuple[int, int]]) -> int:
    """In how many ways labels can be handed out, by the numbers of runs (a, b) of each stratum."""
    return math.prod(math.comb(a + b, b) for a, b in sizes)


def smallest_p(sizes: Sequence[tuple[int, int]]) -> float:
    """The smallest p that so many runs can reach."""
    if (count := ways(sizes)) > ARRANGEMENTS:
        return 1 / (ARRANGEMENTS + 1)
    # With equal numbers the mirror image is as extreme.
    return min(1.0, (2 if all(a == b for a, b in sizes) else 1) / count)


def _differences(pooled: Floats, chosen: Floats, size: tuple[int, int]) -> Floats:
    """Mean of the chosen minus mean of the rest: (sweeps, runs), (ways, runs) -> (sweeps, ways)."""
    a, b = size
    total: Floats = pooled @ chosen.T * (1 / a + 1 / b) - pooled.sum(axis=1, keepdims=True) / a
    return total


def _summed(parts: Sequence[Floats]) -> Floats:
    total: Floats = np.sum(parts, axis=0)
    return total


def _first(a: int, b: int) -> Floats:
    """The arrangement that was observed: the last b are b's."""
    return np.array([[0.0] * a + [1.0] * b])


@functools.lru_cache(maxsize=32)
def _all(a: int, b: int) -> Floats:
    places = np.array(list(itertools.combinations(range(a + b), b)), dtype=np.intp).reshape(-1, b)
    masks = np.zeros((len(places), a + b))
    np.put_along_axis(masks, places, 1.0, axis=1)
    return masks


def _drawn(a: int, b: int, dice: Generator) -> Floats:
    return dice.permuted(np.tile(_first(a, b), (ARRANGEMENTS, 1)), axis=1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's correction: p values that may each be held against 0.05, with at most 5 % of such families holding an
    error of the first kind, whatever the tests have to do with each other."""
    adjusted, worst = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        worst = max(worst, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = worst
    return adjusted


def difference_interval(strata: Strata) -> tuple[float, float] | None:
    """95 % bootstrap interval of the mean over strata of mean(b) - mean(a); None where a side has a single run.

    Percentiles, each side resampled for itself, widened for few runs as run/result.py does.
    """
    fewest = min(len(side) for both in strata for side in both)
    if fewest < 2:
        return None
    from scipy import stats

    dice = np.random.default_rng(0)
    total = np.zeros(RESAMPLES)
    for a, b in strata:
        for sign, side in ((-1, a), (1, b)):
            total += sign * side[dice.integers(len(side), size=(RESAMPLES, len(side)))].mean(axis=1)
    freedom = sum(len(a) + len(b) - 2 for a, b in strata)
    wide = stats.norm.sf(math.sqrt(fewest / (fewest - 1)) * stats.t.ppf(1 - ALPHA / 2, freedom))
    low, high = np.quantile(total / len(strata), (wide, 1 - wide))
    return float(low), float(high)


@functools.lru_cache(maxsize=4096)
def power(runs: int, difference: float, deviation: float, comparisons: int = 1) -> float:
    """How often `permutation_p` of two groups finds a true difference, 0 to 1.

    Args:
        runs: Of each group.
        difference: Of the groups' true means.
        deviation: Standard deviation between runs of one group, more than 0.
        comparisons: Of the sweep: Holm's strictest step is asked for, so with several this is a lower bound.

    Up to six runs by simulation (few arrangements make steps that no formula has), beyond by the t test's formula.
    Scores are taken for normal, which real ones are not: a guide for planning, no promise.
    """
    level = ALPHA / comparisons
    if runs < 2 or smallest_p([(runs, runs)]) > level:
        return 0.0
    if runs <= 6:
        dice = np.random.default_rng(0)
        a, b = dice.normal(0, deviation, (2, _SIMULATED, runs))
        return float(np.mean(permutation_p([(a, b + difference)]) <= level + TOLERANCE))
    from scipy import stats

    shift, freedom = difference / deviation / math.sqrt(2 / runs), 2 * runs - 2
    edge = stats.t.isf(level / 2, freedom)
    return float(stats.nct.sf(edge, freedom, shift) + stats.nct.cdf(-edge, freedom, shift))


def runs_needed(difference: float, deviation: float, comparisons: int = 1) -> int | None:
    """Runs of each group that find a true difference in 80 % of such sweeps; None when 1,000 do not."""

    def enough(runs: int) -> bool:
        return power(runs, abs(difference), deviation, comparisons) >= WANTED_POWER

    low, high = 1, 2
    while not enough(high):
        if high >= MOST_RUNS:
            return None
        low, high = high, min(2 * high, MOST_RUNS)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


class Spread(NamedTuple):
    """Where the differences between scores of one group come from; standard deviations."""

    within: float | None
    """Of single samples of one prompt and task; None when no prompt has two."""
    noise: float | None
    """What that makes of a run's mean."""
    between: float | None
    """Of runs beyond that noise: what another seed of the search changes. None with a single run."""
    total: float | None
    """Of the runs' means as they are."""


def spread(runs: Sequence[Sequence[Sequence[float]]]) -> Spread:
    """Variance inside runs against variance between them.

    Args:
        runs: Of one group and stratum: for each run, for each task, its fresh scores.
    """
    variances, noises = [], []
    for tasks in runs:
        own = [float(np.var(scores, ddof=1)) for scores in tasks if len(scores) > 1]
        variances += own
        if len(own) == len(tasks):
            noises.append(math.fsum(v / len(s) for v, s in zip(own, tasks, strict=True)) / len(tasks) ** 2)
    within = math.sqrt(math.fsum(variances) / len(variances)) if variances else None
    noise = math.fsum(noises) / len(noises) if noises else None
    if len(runs) < 2:
        return Spread(within, None if noise is None else math.sqrt(noise), None, None)
    means = [math.fsum(math.fsum(s) / len(s) for s in tasks) / len(tasks) for tasks in runs]
    total = float(np.var(means, ddof=1))
    between = None if noise is None else math.sqrt(max(0.0, total - noise))
    return Spread(within, None if noise is None else math.sqrt(noise), between, math.sqrt(total))


def pooled_deviation(groups: Sequence[Sequence[float]]) -> tuple[float, int] | None:
    """Standard deviation inside groups and its degrees of freedom; None when no group has two runs."""
    freedom = sum(len(group) - 1 for group in groups)
    if not freedom:
        return None
    squares = math.fsum(float(np.var(group)) * len(group) for group in groups)
    return math.sqrt(squares / freedom), freedom
