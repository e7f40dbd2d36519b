"""Sentences about a comparison: they claim what was tested, and say what would decide open questions."""

from __future__ import annotations

import re

import pytest

from localgif.sweep.compare import compare, group
from localgif.sweep.sentences import sentences
from tests.support.sweeps import finished, runs_of
from tests.sweep.test_compare import FAR, compared


def test_a_difference_and_the_gains() -> None:
    said = sentences(FAR)
    assert re.fullmatch(
        r"grounded scores higher than plain \(mean fresh score 0\.920 against 0\.180, difference \+0\.740, 95 % "
        r"interval \+0\.\d{3} to \+0\.\d{3}, p = 0\.008, paired p = 0\.062; 5 and 5 runs\)\.",
        said[0],
    )
    assert said[1].startswith("plain: no difference from the seed prompt was shown (0.100 before, 0.180 after, ")
    assert said[2].startswith(
        "grounded: the evolved prompts score higher than the seed prompt (0.100 before, 0.920 after, "
    )
    assert "corrected for 2 comparisons" in said[2]
    assert "5 runs, own verdicts: 5 better" in said[2]


def test_the_same_the_other_way_round_reads_the_same() -> None:
    turned = compared(runs_of("grounded", 0.9, 1.0, 0.8, 0.9, 1.0), runs_of("plain", 0.1, 0.2, 0.3, 0.2, 0.1))
    assert turned.versus[0].tested.word == "worse"
    cut = re.compile(r"95 % interval \S+ to \S+")
    assert cut.sub("", sentences(turned)[0]) == cut.sub("", sentences(FAR)[0])


def test_the_best_of_many_is_never_called_a_gain() -> None:
    said = sentences(compared(runs_of("none", *[0.5] * 5), runs_of("grounded", *[1.0] * 5)))
    (luck,) = [text for text in said if text.startswith("none: the best")]
    assert "0.500" in luck and "this is not a gain of a prompt" in luck
    assert any(text.startswith("grounded: the evolved prompts score higher") for text in said)


def test_an_open_question_says_how_many_runs_would_decide_it() -> None:
    result = compared(runs_of("plain", 0.2, 0.5, 0.8, 0.4, 0.6), runs_of("grounded", 0.5, 0.8, 0.9, 0.5, 0.8))
    (versus,) = result.versus
    assert versus.needed is not None and versus.needed > 5
    text = sentences(result)[0]
    assert text.startswith("No difference between grounded and plain was shown (")
    assert "This does not show that they are equal." in text
    assert f"{versus.needed} runs per group ({versus.needed - 5} more) would detect it 80 % of the time." in text


def test_with_three_runs_each_nothing_can_be_shown_and_it_says_so() -> None:
    text = sentences(compared(runs_of("plain", 0.0, 0.0, 0.1), runs_of("grounded", 1.0, 1.0, 0.9)))[0]
    assert "was shown" in text
    assert "With 3 runs in the smaller group no difference can be shown." in text
    assert "4 runs per group (1 more)" in text


def test_no_difference_at_all_asks_for_no_runs() -> None:
    said = sentences(compared(runs_of("plain", *[0.5] * 5), runs_of("grounded", *[0.5] * 5)))
    assert "If there is a difference, it is small." in said[0]
    assert "more)" not in said[0]
    assert "all runs scored the same" in said[-1]


def test_what_is_averaged_over_and_what_is_left_out_is_named() -> None:
    plain = [*runs_of("plain", *[0.1] * 4, task="a"), *runs_of("plain", *[0.9] * 4, task="b")]
    result = compare(group([*plain, *runs_of("grounded", *[0.2] * 4, task="a")], ("reflection",)))
    assert result.versus[0].tested.difference == pytest.approx(0.1)
    assert "compared within each task" in sentences(result)[0]
    assert "Left out, because only one of them has it: b." in sentences(result)[0]
    apart = [finished(0.1, reflection="plain", task="a"), finished(0.9, reflection="grounded", task="b")]
    both = [*runs_of("example-only", *[0.2] * 4, task="a"), *runs_of("example-only", *[0.2] * 4, task="b")]
    result = compare(group([*apart, *both], ("reflection",)))
    assert len(result.versus) == 2
    assert "plain and grounded cannot be compared: no combination of the other settings is in both." in sentences(
        result
    )
