"""Statistics on scores: permutation tests, bootstrap intervals, Holm's correction, power.

Fisher's randomisation test decides. It assumes only that the labels are exchangeable, so it is valid for few values and
for many ties. The interval shows the size of a difference; in a verdict it can only veto.

The caller chooses what one observation is. `run/result.py` compares samples of two prompts. `sweep/compare.py` compares
runs, one number per run, because samples of one run are not independent. Values are only exchanged within their own
stratum (for example a task).
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Values = Sequence[float] | Floats
Strata = Sequence[tuple[Values, Values]]

ALPHA = 0.05
#: Differences closer than this are equal: the order of summation changes the last bits.
TOLERANCE = 1e-12

#: Up to this many arrangements a test is exact; above, it draws this many at random.
_ARRANGEMENTS = 20_000
_RESAMPLES = 9_999
#: Simulated sweeps for `power` where no formula is accurate enough.
_SIMULATED = 4_000
#: Power at which a number of runs is enough.
_WANTED_POWER = 0.8
#: `runs_needed` stops searching at this many runs.
_MOST_RUNS = 1_000


# --- tests ------------------------------------------------------------------------------------------------------------


def permutation_p(strata: Strata) -> float:
    """Two-sided p of the difference of means b - a, averaged over the strata; 0 < p <= 1.

    Exact for at most 20,000 arrangements of the labels. Above, it uses 20,000 random ones with a fixed seed, and counts
    the observed one (Phipson and Smyth 2010). It permutes all values, not only within pairs: 4 pairs have only 16
    arrangements, too few to reach 0.05.
    """
    sizes = [(len(a), len(b)) for a, b in strata]
    exact = _arrangements(sizes) <= _ARRANGEMENTS
    observed, total = 0.0, np.zeros(1)
    for number, ((a, b), size) in enumerate(zip(strata, sizes, strict=True)):
        observed += float(np.mean(b) - np.mean(a))
        pooled = np.concatenate([a, b])
        own = (_all(*size) if exact else _drawn(*size, number)) @ pooled
        # Exact: combine every arrangement of this stratum with every one of the others.
        total = np.add.outer(total, own).ravel() if exact else total + own
    hits = int(np.sum(np.abs(total) >= abs(observed) - TOLERANCE * len(sizes)))
    return hits / len(total) if exact else (hits + 1) / (len(total) + 1)


def sign_flip_p(differences: Sequence[float]) -> float:
    """Two-sided p of the mean of paired differences by flipping their signs: all ways, or a sample; 0 < p <= 1."""
    values = np.array(differences, dtype=np.float64)
    edge = abs(math.fsum(differences)) - TOLERANCE
    if 2 ** len(values) <= _ARRANGEMENTS:
        signs = np.array(list(itertools.product((-1.0, 1.0), repeat=len(values))))
        return float(np.mean(np.abs(signs @ values) >= edge))
    signs = np.random.default_rng(0).choice((-1.0, 1.0), size=(_ARRANGEMENTS, len(values)))
    return float((int((np.abs(signs @ values) >= edge).sum()) + 1) / (_ARRANGEMENTS + 1))


def smallest_p(sizes: Sequence[tuple[int, int]]) -> float:
    """The smallest p that `permutation_p` can return for these numbers of values (a, b) per stratum."""
    if (count := _arrangements(sizes)) > _ARRANGEMENTS:
        return 1 / (_ARRANGEMENTS + 1)
    # With equal numbers the mirrored arrangement is as extreme.
    return min(1.0, (2 if all(a == b for a, b in sizes) else 1) / count)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's correction: adjusted p values, each of which can be compared with 0.05.

    At most 5 % of families of tests then contain a false positive, whether or not the tests are independent.
    """
    adjusted, worst = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        worst = max(worst, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = worst
    return adjusted


def _arrangements(sizes: Sequence[tuple[int, int]]) -> int:
    return math.prod(math.comb(a + b, b) for a, b in sizes)


@functools.lru_cache(maxsize=32)
def _all(a: int, b: int) -> Floats:
    """One row of weights per arrangement, the observed one last; row @ values = mean b - mean a."""
    chosen = np.array(list(itertools.combinations(range(a + b), b)))
    weights = np.full((len(chosen), a + b), -1 / a)
    np.put_along_axis(weights, chosen, 1 / b, axis=1)
    return weights


@functools.lru_cache(maxsize=8)
def _drawn(a: int, b: int, seed: int) -> Floats:
    """Rows of weights as from `_all`, for random arrangements."""
    observed = np.repeat([-1 / a, 1 / b], [a, b])
    return np.random.default_rng(seed).permuted(np.tile(observed, (_ARRANGEMENTS, 1)), axis=1)


# --- intervals --------------------------------------------------------------------------------------------------------


def mean_interval(groups: Sequence[Values]) -> tuple[float, float] | None:
    """95 % bootstrap interval of the mean of the groups' means; None if a group has only one value."""
    return _interval([(1 / len(groups), group) for group in groups])


def difference_interval(strata: Strata) -> tuple[float, float] | None:
    """95 % bootstrap interval of mean(b) - mean(a), averaged over strata; None if a side has only one value."""
    share = 1 / len(strata)
    return _interval([(weight, side) for a, b in strata for weight, side in ((-share, a), (share, b))])


def _interval(terms: Sequence[tuple[float, Values]]) -> tuple[float, float] | None:
    """Interval of the weighted sum of the means of some values, resampled within each term.

    The percentile bootstrap is too narrow for few values, so its level is widened (see `_tail`). BCa is not used: its
    skewness correction jumps with every tie and fails on equal values, and scores are full of both. With 4 values the
    result is their range.
    """
    fewest = min(len(values) for _, values in terms)
    if fewest < 2:
        return None
    dice = np.random.default_rng(0)
    means = [w * dice.choice(values, (_RESAMPLES, len(values))).mean(axis=1) for w, values in terms]
    tail = _tail(fewest, sum(len(values) - 1 for _, values in terms))
    low, high = np.quantile(np.sum(means, axis=0), (tail, 1 - tail))
    return float(low), float(high)


def _tail(fewest: int, freedom: int) -> float:
    """The share of resamples beyond each end of a 95 % interval, smaller for few values.

    Hesterberg's expanded percentile interval (2015): the plain one is too narrow by the factor sqrt((n - 1) / n), and
    because it uses normal quantiles instead of t quantiles.
    """
    from scipy import special  # the same numbers as scipy.stats, which takes a second to import

    quantile = special.stdtrit(freedom, 1 - ALPHA / 2)
    return float(special.ndtr(-math.sqrt(fewest / (fewest - 1)) * quantile))


# --- planning ---------------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=4096)
def power(runs: int, difference: float, deviation: float, comparisons: int = 1) -> float:
    """How often `permutation_p` detects a true difference between two groups of `runs` runs each, 0 to 1.

    Simulated for up to six runs, where few arrangements give p values in steps; above, the formula of the t test. Both
    assume normal scores, which real ones are not, so use it only for planning.

    Args:
        deviation: Standard deviation between runs of one group, greater than 0.
        comparisons: Pairs of groups in the sweep. With several the result is a lower bound: Holm's strictest step.
    """
    level = ALPHA / comparisons
    if runs < 2 or smallest_p([(runs, runs)]) > level:
        return 0.0
    if runs <= 6:
        a, b = np.random.default_rng(0).normal(0, deviation, (2, _SIMULATED, runs))
        found = np.abs(np.concatenate([a, b + difference], axis=1) @ _all(runs, runs).T)
        p_values = np.mean(found >= found[:, -1:] - TOLERANCE, axis=1)
        return float(np.mean(p_values <= level + TOLERANCE))
    from scipy import stats

    shift, freedom = difference / deviation / math.sqrt(2 / runs), 2 * runs - 2
    edge = stats.t.isf(level / 2, freedom)
    return float(stats.nct.sf(edge, freedom, shift) + stats.nct.cdf(-edge, freedom, shift))


def runs_needed(difference: float, deviation: float, comparisons: int = 1) -> int | None:
    """Runs per group that detect a true difference in 80 % of sweeps; None if 1,000 are too few."""

    def enough(runs: int) -> bool:
        return power(runs, abs(difference), deviation, comparisons) >= _WANTED_POWER

    # Search upwards: the formula has no value for far more runs than needed.
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
    """Standard deviations of the scores of one group, by source."""

    within: float | None
    """Of single samples of one prompt and task; None if no prompt has two."""
    noise: float | None
    """The part of a run's mean that comes from `within`."""
    between: float | None
    """Between runs, without `noise`: the effect of the search's seed. None with a single run."""
    total: float | None
    """Of the runs' means."""


def spread(runs: Sequence[Sequence[Sequence[float]]]) -> Spread:
    """Variation within runs and between them. `runs` has, for each run of one group and stratum, for each task, the
    fresh scores."""
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
    """Pooled standard deviation within groups and its degrees of freedom; None if no group has two values."""
    freedom = sum(len(group) - 1 for group in groups)
    if not freedom:
        return None
    squares = math.fsum(float(np.var(group)) * len(group) for group in groups)
    return math.sqrt(squares / freedom), freedom
