"""Statistics compared with SciPy, with published examples, and with simulated sweeps of known truth."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from localgif.significance import (
    Floats,
    difference_interval,
    holm,
    permutation_p,
    pooled_deviation,
    power,
    runs_needed,
    sign_flip_p,
    smallest_p,
    spread,
)

#: Fisher (The Design of Experiments, 1935, section 21): Darwin's maize, crossed minus selfed, eighths of an inch.
MAIZE = (49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48)
#: Efron and Tibshirani (An Introduction to the Bootstrap, 1993, table 2.1): survival of mice, days.
TREATED, CONTROL = (94, 197, 16, 38, 99, 141, 23), (52, 104, 146, 10, 51, 30, 40, 27, 46)
#: Scores of real runs.
REAL = (0.0, 0.112, 0.5, 0.97, 1.0)
SIDE = st.lists(st.sampled_from(REAL) | st.floats(0, 1), min_size=1, max_size=5)


def test_fishers_own_example() -> None:
    # He counted 863 of 32,768 on one side: 2.634 %, twice that for both sides. localgif draws 20,000 of them.
    assert sign_flip_p(MAIZE) == pytest.approx(2 * 863 / 32_768, abs=0.005)


def test_the_mice_of_the_bootstrap_book() -> None:
    """The book draws 1,000 permutations and finds 0.132 on one side; all 11,440 are counted here."""
    assert permutation_p([(CONTROL, TREATED)]) == pytest.approx(2 * 0.132, abs=0.04)
    low, high = difference_interval([(CONTROL, TREATED)]) or (0.0, 0.0)
    assert low < 0 < 30.63 < high, "the book's difference, 30.63 days with a standard error of 28.93, is not shown"
    assert (high - low) / 2 == pytest.approx(28.93 * stats.t.ppf(0.975, 14), rel=0.2)


@given(SIDE, SIDE)
def test_with_one_stratum_it_is_the_share_of_splits_that_are_as_far(a: list[float], b: list[float]) -> None:
    observed = abs(np.mean(b) - np.mean(a))
    pooled = [*a, *b]
    far = []
    for places in itertools.combinations(range(len(pooled)), len(b)):
        chosen = [pooled[i] for i in places]
        rest = [pooled[i] for i in range(len(pooled)) if i not in places]
        far.append(abs(np.mean(chosen) - np.mean(rest)) >= observed - 1e-9)
    assert permutation_p([(a, b)]) == pytest.approx(np.mean(far))


@pytest.mark.parametrize(("size", "near"), [(5, 1e-9), (9, 0.01)])
def test_equal_sides_agree_with_scipy_counted_or_drawn(size: int, near: float) -> None:
    a, b = np.random.default_rng(3).choice(REAL, (2, size))
    theirs = stats.permutation_test(
        (a, b), lambda x, y, axis: y.mean(axis=axis) - x.mean(axis=axis), vectorized=True, n_resamples=np.inf
    )
    assert permutation_p([(a, b)]) == pytest.approx(theirs.pvalue, abs=near)


def test_a_drawn_p_is_never_0() -> None:
    far = permutation_p([(np.zeros(20), np.ones(20))])
    assert far == pytest.approx(1 / 20_001) == pytest.approx(smallest_p([(20, 20)]))


def test_strata_change_places_inside_themselves_only() -> None:
    """One task is easy. The tasks differ more than the groups, which must not hide the groups' difference."""
    easy = [0.9, 0.91, 0.92], [0.96, 0.97, 0.98]
    hard = [0.1, 0.11, 0.12], [0.16, 0.17, 0.18]
    assert permutation_p([easy, hard]) == pytest.approx(2 / 400)
    assert permutation_p([(easy[0] + hard[0], easy[1] + hard[1])]) > 0.5


@pytest.mark.parametrize("sizes", [[(4, 4)], [(3, 5)], [(1, 1)], [(2, 2), (2, 2)], [(1, 4), (2, 2)]])
def test_the_smallest_p_is_reached_by_groups_that_lie_apart(sizes: list[tuple[int, int]]) -> None:
    strata = [(np.arange(a) / 100, 10 + np.arange(b) / 100) for a, b in sizes]
    assert permutation_p(strata) == pytest.approx(smallest_p(sizes))


def test_holm_on_a_textbook_example() -> None:
    # Holm, worked in R's p.adjust: 0.01 0.02 0.03 0.04 0.05 -> 0.05 0.08 0.09 0.09 0.09.
    assert holm([0.01, 0.02, 0.03, 0.04, 0.05]) == pytest.approx([0.05, 0.08, 0.09, 0.09, 0.09])
    assert holm([0.03, 0.001]) == pytest.approx([0.03, 0.002])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_rejects_what_its_definition_rejects(ps: list[float]) -> None:
    adjusted = holm(ps)
    rejected = set()
    for rank, i in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        if ps[i] * (len(ps) - rank) > 0.05:
            break
        rejected.add(i)
    assert {i for i, p in enumerate(adjusted) if p <= 0.05} == rejected
    assert all(p <= q <= 1 for p, q in zip(ps, adjusted, strict=True))


@pytest.mark.parametrize(
    ("runs", "effect", "cohens"), [(64, 0.5, 0.80), (26, 0.8, 0.81), (17, 1.0, 0.80), (30, 0.5, 0.47)]
)
def test_the_power_is_that_of_cohens_tables(runs: int, effect: float, cohens: float) -> None:
    """Cohen (Statistical Power Analysis, 1988, tables 2.3.5 and 2.4.1), two-sided, 0.05."""
    assert power(runs, effect, 1.0) == pytest.approx(cohens, abs=0.01)


def test_where_nothing_can_be_shown_the_power_is_nothing() -> None:
    assert power(3, 10.0, 0.1) == 0
    assert power(4, 10.0, 0.1) == 1
    assert power(4, 10.0, 0.1, comparisons=6) == 0
    assert power(5, 10.0, 0.1, comparisons=6) == 1


@pytest.mark.parametrize("comparisons", [1, 6])
@pytest.mark.parametrize("deviation", [0.05, 0.2, 0.6])
def test_the_runs_needed_are_the_fewest_that_do(deviation: float, comparisons: int) -> None:
    needed = runs_needed(0.2, deviation, comparisons)
    assert needed is not None
    assert power(needed, 0.2, deviation, comparisons) >= 0.8 > power(needed - 1, 0.2, deviation, comparisons)
    assert runs_needed(-0.2, deviation, comparisons) == needed


def test_a_difference_that_nobody_can_find() -> None:
    assert runs_needed(0.001, 0.5) is None


def called(groups: Floats) -> NDArray[np.bool_]:
    """Whether each pair of groups is called different: (groups, sweeps, runs) -> (pairs, sweeps) of booleans."""
    pairs = list(itertools.combinations(range(len(groups)), 2))
    ps = [[permutation_p([(sweep[i], sweep[j])]) for i, j in pairs] for sweep in groups.swapaxes(0, 1)]
    return np.array([holm(sweep) for sweep in ps]).T <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize(("groups", "runs", "sweeps"), [(2, 4, 1_000), (2, 7, 1_000), (4, 5, 1_000), (4, 6, 1_000)])
def test_identical_groups_are_rarely_called_different(groups: int, runs: int, sweeps: int) -> None:
    """A run's score is the mean of 4 fresh samples of a prompt whose luck is drawn anew for each run. Two groups of 7
    are tested at 5 % nearly to the full, so that one thousand may show a little more."""
    dice = np.random.default_rng(groups + runs)
    chances = dice.dirichlet(np.full(len(REAL), 0.3), size=(groups, sweeps, runs))
    drawn = (dice.random((groups, sweeps, runs, 4, 1)) > chances.cumsum(axis=-1)[..., None, :]).sum(axis=-1)
    scores = np.array(REAL)[np.minimum(drawn, len(REAL) - 1)].mean(axis=-1)
    wrong = called(scores).any(axis=0).mean()
    full = stats.binom.ppf(0.99, sweeps, 0.05) / sweeps
    assert wrong <= (full if (groups, runs) == (2, 7) else 0.05)
    assert wrong > 0, "it never says anything, so it says nothing here either"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("groups", "runs", "deviation"), [(2, 4, 0.1), (2, 6, 0.15), (2, 9, 0.15), (2, 15, 0.25), (3, 8, 0.12)]
)
def test_a_true_difference_is_found_as_often_as_the_plan_says(groups: int, runs: int, deviation: float) -> None:
    dice = np.random.default_rng(runs)
    scores = dice.normal(0.4, deviation, (groups, 1_000, runs))
    scores[-1] += 0.2
    found = called(scores)[-1].mean()  # the last pair of groups: the other one, and the last before it
    assert found == pytest.approx(power(runs, 0.2, deviation, math.comb(groups, 2)), abs=0.05)


@pytest.mark.slow
def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    dice = np.random.default_rng(8)
    covered = 0
    for _ in range(150):
        a, b = dice.normal(0, 0.3, 6), dice.normal(0.2, 0.3, 6)
        low, high = difference_interval([(a, b)]) or (0.0, 0.0)
        covered += low <= 0.2 <= high
    assert 0.90 <= covered / 150 <= 0.99


def test_a_single_run_has_no_interval() -> None:
    assert difference_interval([([0.1], [0.2, 0.3])]) is None


def test_variance_inside_runs_and_between_them() -> None:
    """Simulated: runs differ by 0.2, samples of one prompt by 0.1, four samples a run."""
    dice = np.random.default_rng(2)
    runs = [[list(m + dice.normal(0, 0.1, 4))] for m in dice.normal(0.5, 0.2, 400)]
    found = spread(runs)
    assert found.within == pytest.approx(0.1, rel=0.1)
    assert found.noise == pytest.approx(0.05, rel=0.1)
    assert found.between == pytest.approx(0.2, rel=0.1)
    assert found.total == pytest.approx(math.hypot(0.2, 0.05), rel=0.1)


def test_spread_where_little_is_known() -> None:
    assert spread([[[0.5]]]) == (None, None, None, None)
    assert spread([[[0.5, 0.7]]])[2:] == (None, None)
    assert spread([[[0.5]], [[0.7]]])[2] is None
    same = spread([[[0.5, 0.5]], [[0.5, 0.5]]])
    assert (same.within, same.between, same.total) == (0, 0, 0)


def test_deviation_pooled_over_groups() -> None:
    assert pooled_deviation([[0.1]]) is None
    found = pooled_deviation([[0.0, 1.0], [5.0, 7.0], [3.0]])
    assert found is not None
    assert found == pytest.approx((math.sqrt((0.5 + 2.0) / 2), 2))
