"""The verdict claims no more than the fresh samples allow."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localgif.search.verdict import compare, permutation_p_value, smallest_p_value

SCORES = st.lists(st.floats(0, 1), min_size=1, max_size=5)


def test_four_against_four_without_overlap_is_shown() -> None:
    result = compare([0.1, 0.2, 0.3, 0.1], [0.9, 0.9, 0.9, 0.9])
    assert result.word == "better"
    assert result.p_value == pytest.approx(2 / 70)


def test_the_other_way_round_is_worse() -> None:
    assert compare([0.9, 0.9, 0.9, 0.9], [0.1, 0.2, 0.3, 0.1]).word == "worse"


def test_the_same_scores_show_nothing() -> None:
    result = compare([0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 0.5, 0.5])
    assert (result.word, result.p_value) == ("not shown", 1.0)


def test_three_against_three_can_show_nothing() -> None:
    assert smallest_p_value(3) > 0.05 > smallest_p_value(4)
    assert compare([0, 0, 0], [1, 1, 1]).word == "not shown"


@given(SCORES, SCORES)
def test_the_p_value_is_a_symmetric_probability(a: list[float], b: list[float]) -> None:
    p = permutation_p_value(a, b)
    assert 0 < p <= 1
    assert p == pytest.approx(permutation_p_value(b, a))


@given(st.lists(st.integers(0, 3), min_size=4, max_size=4), st.lists(st.integers(0, 3), min_size=4, max_size=4))
def test_the_exact_test_agrees_with_counting_by_hand(a: list[int], b: list[int]) -> None:
    pooled = a + b
    observed = abs(sum(a) - sum(b))
    hits = total = 0
    for chosen in itertools.combinations(range(8), 4):
        part = sum(pooled[i] for i in chosen)
        total += 1
        hits += abs(part - (sum(pooled) - part)) >= observed
    assert permutation_p_value([float(x) for x in a], [float(x) for x in b]) == pytest.approx(hits / total)


def test_large_groups_are_drawn_and_agree_with_the_exact_test() -> None:
    low = [i / 100 for i in range(12)]
    high = [x + 0.02 for x in low]
    drawn = permutation_p_value(low, high)
    assert 0.1 < drawn < 0.4  # a shift of half a standard deviation on 12 + 12
    assert permutation_p_value(low, high) == drawn, "the same numbers give the same verdict"
