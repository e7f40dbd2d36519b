"""Racing: who gets another sample, and who beats whom, from paired scores."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localgif.search.evaluator import BADLY, HOPELESS, beats, goes_on

SCORE = st.floats(0, 1)
SCORES = st.dictionaries(st.integers(0, 7), SCORE, max_size=8)


@pytest.mark.parametrize(
    ("scores", "rivals", "more"),
    [
        ([0.0], {}, False),
        ([0.9], {}, True),
        ([0.9], {0: 0.95}, True),
        ([0.5], {0: 0.9}, False),
        ([0.2], {0: 0.1}, True),
        ([0.2], {0: 0.2}, False),
        ([0.9, 0.1], {0: 0.9, 1: 0.9}, False),
        ([0.9], {5: 0.2}, True),
    ],
)
def test_a_bad_first_sample_gets_no_second(scores: list[float], rivals: dict[int, float], more: bool) -> None:
    assert goes_on(scores, rivals) is more


@given(st.lists(SCORE, min_size=1, max_size=6), SCORES)
def test_a_better_sample_never_ends_the_race_earlier(scores: list[float], rivals: dict[int, float]) -> None:
    higher = [*scores[:-1], 1.0]
    assert not goes_on(scores, rivals) or goes_on(higher, rivals)


@given(SCORES, SCORES)
def test_only_one_of_two_beats_the_other_and_none_itself(first: dict[int, float], second: dict[int, float]) -> None:
    assert not (beats(first, second) and beats(second, first))
    assert not beats(first, first)


@given(SCORES, SCORES, st.integers(8, 20), SCORE)
def test_indices_that_only_one_has_do_not_count(
    first: dict[int, float], second: dict[int, float], index: int, score: float
) -> None:
    assert beats({**first, index: score}, second) == beats(first, second)


def test_thresholds_are_ordered() -> None:
    assert 0 < BADLY < HOPELESS < 1
