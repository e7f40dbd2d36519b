"""The verdict never claims more than the fresh samples show."""

from __future__ import annotations

import statistics
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localgif.records import RunVerdict, Unit
from localgif.run.result import Pairs, compare, counted, settled
from tests.support.kit import fenced, program

SCORES = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=5)
#: Scores of real runs: no program ran, one frame, half right, nearly right, right.
REAL = (0.0, 0.112, 0.5, 0.97, 1.0)


def one(seed: list[float], best: list[float]) -> RunVerdict:
    return compare({"task": Pairs(seed, best)})


def test_four_against_four_without_overlap_is_shown() -> None:
    result = one([0.1, 0.2, 0.3, 0.1], [0.9, 0.8, 0.9, 0.9])
    assert result.word == "better"
    assert result.p_value == pytest.approx(2 / 70)
    assert result.interval == pytest.approx((0.6, 0.8)), "with four pairs the interval is their range"
    assert (result.unit, result.pairs, result.tasks) == ("sample", 4, 1)


def test_the_same_scores_show_nothing() -> None:
    for scores in ([0.5, 0.5, 0.5, 0.5], [0.0, 0.2, 0.9, 1.0], [1.0]):
        result = one(scores, scores)
        assert (result.word, result.p_value, result.difference) == ("not shown", 1.0, 0.0)


def test_pairs_that_all_differ_by_the_same_have_an_interval_without_width() -> None:
    result = one([0.1, 0.1, 0.1, 0.1], [0.9, 0.9, 0.9, 0.9])
    assert result.word == "better"
    assert result.interval == pytest.approx((0.8, 0.8))


def test_one_pair_and_three_pairs_can_show_nothing() -> None:
    assert one([0], [1]).interval is None
    for n in (1, 2, 3):
        result = one([0.0] * n, [1.0] * n)
        assert result.smallest_possible_p_value > 0.05
        assert result.word == "not shown"
    assert one([0.0] * 4, [1.0] * 4).smallest_possible_p_value < 0.05


def test_a_verdict_needs_both_the_test_and_the_interval() -> None:
    # Good samples of the seed are paired with bad ones of the other: the pairs differ, the means do not.
    crossed = one([0.0, 0.0, 0.112, 0.5, 0.5, 0.97], [1.0, 1.0, 0.97, 0.97, 0.97, 0.5])
    assert crossed.interval is not None
    assert (crossed.p_value <= 0.05, crossed.interval[0] > 0, crossed.word) == (True, False, "not shown")


def test_many_samples_of_few_tasks_show_nothing_about_tasks() -> None:
    far = Pairs([0.0] * 8, [1.0] * 8)
    five = compare({str(task): far for task in range(5)})
    assert (five.word, five.unit, five.pairs, five.tasks) == ("not shown", "task", 40, 5)
    assert five.smallest_possible_p_value == pytest.approx(2 / 32)
    six = compare({str(task): far for task in range(6)})
    assert six.word == "better"
    assert six.p_value == pytest.approx(2 / 64)


def test_a_task_that_got_worse_counts_as_much_as_one_that_got_better() -> None:
    up, down = Pairs([0.0] * 4, [1.0] * 4), Pairs([1.0], [0.0])
    result = compare({"a": up, "b": down})
    assert result.difference == 0.0
    assert result.interval == pytest.approx((-1.0, 1.0))


def test_the_claim_about_these_very_tasks_resamples_inside_each() -> None:
    scores = {"easy": Pairs([0.9, 0.9], [1.0, 0.95]), "hard": Pairs([0.1, 0.0], [0.3, 0.4])}
    result = compare(scores, unit="sample")
    assert (result.unit, result.tasks, result.pairs) == ("sample", 2, 4)
    assert result.smallest_possible_p_value == pytest.approx(2 / 36)
    # 36 arrangements of the scores; only the observed one and its mirror image are this extreme.
    assert result.p_value == pytest.approx(2 / 36, abs=0.01)


def test_scores_that_do_not_pair_up_are_refused() -> None:
    for scores in ({}, {"t": Pairs([], [])}, {"t": Pairs([1.0], [1.0, 0.5])}):
        with pytest.raises(ValueError):
            compare(scores)


def test_four_pairs_settle_early_only_what_can_no_longer_be_shown() -> None:
    crossed = settled({"t": Pairs([0.0, 0.9], [0.5, 1.0])}, 4)
    assert crossed is not None
    assert (crossed.word, crossed.pairs, crossed.planned) == ("not shown", 2, 4)
    assert crossed.smallest_possible_p_value == pytest.approx(2 / 70), "four pairs would not have been too few"
    for made in (2, 3):
        assert settled({"t": Pairs([0.0] * made, [1.0] * made)}, 4) is None, "one bad sample would undo it"
    whole = settled({"t": Pairs([0.0] * 4, [1.0] * 4)}, 4)
    assert whole == one([0.0] * 4, [1.0] * 4)


def test_many_pairs_settle_a_clear_difference_early_and_claim_no_more_than_the_worst_rest_allows() -> None:
    made = Pairs([0.0] * 9, [1.0] * 9)
    early = settled({"t": made}, 10)
    worst = one([*made.seed, 1.0], [*made.best, 0.0])
    assert early is not None
    assert (early.word, early.pairs, early.planned, early.p_value) == ("better", 9, 10, worst.p_value)
    assert early.p_value > compare({"t": made}).p_value


@settings(max_examples=30)
@given(st.data())
def test_no_rest_changes_a_settled_word(data: st.DataObject) -> None:
    score = st.sampled_from(REAL) | st.floats(0, 1)
    made, left = data.draw(st.integers(2, 3)), data.draw(st.integers(1, 2))
    tasks = data.draw(st.integers(1, 2))
    unit: Unit = data.draw(st.sampled_from(("sample", "task")))

    def scores(count: int) -> dict[str, list[list[float]]]:
        some = st.lists(score, min_size=count, max_size=count)
        return {str(task): [data.draw(some), data.draw(some)] for task in range(tasks)}

    there = scores(made)
    early = settled({task: Pairs(*sides) for task, sides in there.items()}, made + left, unit)
    if early is not None:
        rest = scores(left)
        whole = {task: Pairs(*(a + b for a, b in zip(there[task], rest[task], strict=True))) for task in there}
        assert compare(whole, unit).word == early.word


@given(SCORES)
def test_turning_the_labels_round_turns_the_verdict_round(pairs: list[tuple[float, float]]) -> None:
    a, b = [list(each) for each in zip(*pairs, strict=True)]
    there, back = one(a, b), one(b, a)
    assert 0 < there.p_value <= 1
    assert there.p_value == pytest.approx(back.p_value)
    assert there.difference == pytest.approx(-back.difference)
    assert {there.word, back.word} in ({"not shown"}, {"better", "worse"})
    if there.interval is not None:
        assert there.interval[0] - 1e-9 <= there.difference <= there.interval[1] + 1e-9


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pairs", "tasks", "unit", "runs"),
    [(4, 1, None, 500), (6, 1, None, 500), (9, 1, None, 200), (2, 8, None, 500), (4, 2, "sample", 200)],
)
def test_a_prompt_against_itself_is_seldom_called_better(pairs: int, tasks: int, unit: Unit | None, runs: int) -> None:
    """Runs whose two prompts score alike, differently for each task: at most 5 % may have the verdict "better"."""
    draw = np.random.default_rng(20)
    words: Counter[str] = Counter()
    for _ in range(runs):
        scores = {}
        for task in range(tasks):
            chances = draw.dirichlet([0.6] * len(REAL))
            scores[str(task)] = Pairs(*(list(draw.choice(REAL, pairs, p=chances)) for _ in range(2)))
        words[compare(scores, unit).word] += 1
    assert words["better"] <= 0.05 * runs
    assert words["better"] + words["worse"] <= 0.06 * runs, "nor is a difference seen either way"


@pytest.mark.slow
def test_a_real_gain_is_found_as_soon_as_there_are_enough_samples() -> None:
    draw = np.random.default_rng(3)
    found = {
        n: statistics.mean(
            one(
                list(draw.choice(REAL, n, p=(0.3, 0.5, 0.2, 0, 0))),
                list(draw.choice(REAL, n, p=(0.1, 0.1, 0.1, 0.6, 0.1))),
            ).word
            == "better"
            for _ in range(200)
        )
        for n in (4, 8)
    }
    assert found[4] > 0.2
    assert found[8] > 0.8


def test_copies_are_counted_without_comments_and_layout() -> None:
    shown, other = program(24, 40), program(12, 100)
    again = "# drawn as told\n" + shown.replace(" = ", "  =  ")
    prompt = f"Draw.\n{fenced(shown)}\nOutput only code."
    assert again != shown
    assert counted(prompt, [shown, again, other]) == (2, 2)
    assert counted("Draw.", [shown, again]) == (0, 1), "without a program in the prompt nothing is a copy"
    assert counted(prompt, []) == (0, 0)
    assert counted(prompt, ["def make_gif(:", "def make_gif(:", "x ="]) == (0, 2), "what does not parse is its text"


def test_a_program_whose_functions_the_prompt_shows_once_is_a_copy() -> None:
    functions = "def canvas():\n    return 1\n"
    rest = "def make_gif(path):\n    canvas()\n"
    prompt = f"Every program begins with:\n{fenced(functions)}\nExample:\n{fenced(rest)}"
    assert counted(prompt, [functions + rest]) == (1, 1)
