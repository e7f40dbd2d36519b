"""Better, worse, or not shown: what the fresh samples of the seed and of the best candidate allow to say."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence
from typing import Literal, NamedTuple

ALPHA = 0.05
#: Up to this many arrangements all are counted; beyond, as many are drawn.
EXACT_ARRANGEMENTS = 20_000

Word = Literal["better", "worse", "not shown"]


class Comparison(NamedTuple):
    """The verdict and the numbers behind it."""

    word: Word
    difference: float
    """Mean of the best candidate minus mean of the seed."""
    p_value: float
    """Two-sided, permutation test of the difference of means."""


def permutation_p_value(first: Sequence[float], second: Sequence[float]) -> float:
    """Two-sided p-value of the permutation test for a difference of means, 0 < p <= 1.

    The share of all ways to split the pooled values into groups of these sizes whose difference of means is at least
    as large as the observed one (Fisher's randomisation test). Exact up to 20,000 splits, else estimated from as many
    random ones with the observed one counted in (Phipson and Smyth 2010), with a fixed seed.
    """
    pooled = [*first, *second]
    n, m = len(first), len(second)
    if n == 0 or m == 0:
        return 1.0
    total = math.fsum(pooled)
    observed = abs(math.fsum(first) / n - math.fsum(second) / m)

    def reaches(subset: Sequence[float]) -> bool:
        part = math.fsum(subset)
        # The tolerance keeps equal differences equal whatever order they were summed in.
        return abs(part / n - (total - part) / m) >= observed - 1e-12

    if math.comb(n + m, n) <= EXACT_ARRANGEMENTS:
        hits = [reaches(subset) for subset in itertools.combinations(pooled, n)]
        return sum(hits) / len(hits)
    draw = random.Random(0)
    hits_drawn = sum(reaches(draw.sample(pooled, n)) for _ in range(EXACT_ARRANGEMENTS))
    return (hits_drawn + 1) / (EXACT_ARRANGEMENTS + 1)


def compare(seed: Sequence[float], best: Sequence[float]) -> Comparison:
    """Compare fresh scores of the seed and of the best candidate."""
    difference = math.fsum(best) / len(best) - math.fsum(seed) / len(seed)
    p_value = permutation_p_value(best, seed)
    word: Word = "not shown"
    if p_value <= ALPHA:
        word = "better" if difference > 0 else "worse"
    return Comparison(word, difference, p_value)


def smallest_p_value(samples: int) -> float:
    """The smallest p-value that two groups of this size can reach; above ALPHA nothing can ever be shown."""
    return min(1.0, 2 / math.comb(2 * samples, samples))
