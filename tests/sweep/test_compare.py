"""A comparison and its sentences claim what the runs show, for every grouping; its page is one self-contained file."""

from __future__ import annotations

import itertools
import json
import math
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from localgif.errors import ConfigError
from localgif.sweep.compare import Compared, as_json, compare, group, render, sentences
from localgif.sweep.read import Finished, Left
from tests.support.reports import ALL
from tests.support.sweeps import finished, runs_of


def compared(*groups: list[Finished], by: tuple[str, ...] = ()) -> Compared:
    return compare(group([run for runs in groups for run in runs], by))


FAR = compared(runs_of("plain", 0.1, 0.2, 0.3, 0.2, 0.1), runs_of("grounded", 0.9, 1.0, 0.8, 0.9, 1.0))


def test_two_groups_that_lie_apart() -> None:
    (versus,) = FAR.versus
    assert (versus.first.name, versus.second.name) == ("plain", "grounded")
    tested = versus.tested
    assert tested.word == "better" and tested.difference == pytest.approx(0.74)
    assert tested.p_value == tested.adjusted_p_value == pytest.approx(2 / 252)
    assert tested.p_value == pytest.approx(tested.smallest_possible_p_value)
    assert tested.paired_p_value == pytest.approx(2 / 32), "five pairs can show nothing by their signs"
    assert tested.interval is not None
    assert 0.5 < tested.interval[0] < 0.74 < tested.interval[1] < 0.95
    assert versus.needed is None


def test_many_groups_are_corrected_for() -> None:
    groups = [runs_of(name, *(0.5 + 0.1 * i + 0.01 * s for s in range(5))) for i, name in enumerate("abcd")]
    result = compared(*groups)
    assert len(result.versus) == 6
    for versus in result.versus:
        assert versus.tested.p_value == pytest.approx(2 / 252)
        assert versus.tested.adjusted_p_value == pytest.approx(12 / 252)
        assert versus.tested.word == "better"
    fewer = compared(*[runs[:4] for runs in groups])
    assert {v.tested.word for v in fewer.versus} == {"not shown"}, "2/70 is not enough for the first of six"


def test_by_one_setting_runs_are_compared_within_each_of_the_others() -> None:
    """Two tasks, one easy and one hard; the reflections differ slightly, by the same amount on both."""
    runs = [
        finished(base + plus + 0.01 * seed, reflection=reflection, task=task, seed=seed)
        for task, base in (("easy", 0.8), ("hard", 0.1))
        for reflection, plus in (("plain", 0.0), ("grounded", 0.1))
        for seed in range(3)
    ]
    whole = compare(group(runs))
    assert {row.group.name for row in whole.rows} == {"plain, easy", "plain, hard", "grounded, easy", "grounded, hard"}
    one = compare(group(runs, ("reflection",)))
    (versus,) = one.versus
    assert one.grouping.over == ("task",)
    assert versus.tested.p_value == pytest.approx(2 / 400)
    assert versus.tested.difference == pytest.approx(0.1)
    assert (versus.tested.pairs, versus.sizes) == (6, (6, 6))
    assert one.deviation == pytest.approx(0.01)
    assert one.rows[0].spread.total == pytest.approx(0.01), "tasks differ by more than seeds do"


def test_by_what_does_not_differ() -> None:
    with pytest.raises(ConfigError, match="--by task: the runs do not differ in it") as caught:
        group(runs_of("plain", 0.1, 0.2) + runs_of("grounded", 0.1, 0.2), ("task",))
    assert "reflection" in caught.value.remedy


def test_what_follows_from_another_setting_is_a_note_and_no_axis() -> None:
    facets: dict[str, Any] = {"animator": "small", "animator.model": "s:1b", "metric_calls": 12}
    other: dict[str, Any] = {"animator": "large", "animator.model": "l:7b", "metric_calls": 24}
    found = group([*runs_of("plain", 0.1, 0.2, **facets), *runs_of("plain", 0.3, 0.4, **other)])
    assert found.axes == ("animator",)
    assert [g.name for g in found.groups] == ["animator small", "animator large"]
    assert found.notes == ("metric_calls differs together with animator",)


def test_weights_versions_and_kinds_of_values_tell_runs_apart() -> None:
    runs = [finished(0.1, seed=s, animator="a", **{"animator.digest": s % 2}) for s in range(4)]
    assert group(runs).axes == ("animator.digest",), "other weights under the same name make another group"
    first, second = runs_of("plain", 0.1, 0.2)
    assert "0.1.0, 0.2.0" in group([first, second._replace(version="0.2.0")]).notes[0]
    assert len(group([finished(0.1, facts=True, seed=0), finished(0.1, facts=1, seed=1)]).groups) == 2


@settings(max_examples=20)
@example([("a", "x", 0, 0.0), ("a", "x", 0, 1.192092896e-07), ("a", "y", 0, 0.0)])
@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from("xy"), st.integers(0, 3), st.floats(0, 1)),
        min_size=1,
        max_size=14,
    )
)
def test_every_run_is_in_one_group_and_all_that_is_said_is_finite(rows: list[tuple[str, str, int, float]]) -> None:
    runs = [finished(score, reflection=r, task=t, seed=s) for r, t, s, score in rows]
    for by in ((), ("reflection",)):
        try:
            grouping = group(runs, by)
        except ConfigError:
            assert len({run.facets["reflection"] for run in runs}) == 1
            continue
        assert sorted(id(run) for g in grouping.groups for run in g.runs) == sorted(map(id, runs))
        result = compare(grouping)
        assert len(result.versus) + len(result.apart) == math.comb(len(grouping.groups), 2)
        json.dumps(as_json(result), allow_nan=False)
        assert all(sentence and "nan" not in sentence for sentence in sentences(result))


# --- the page ------------------------------------------------------------------------------------------------------


def tags(page: str) -> list[str]:
    """The names of the page's tags, without those that the plot adds for each label."""
    found: list[str] = []

    class Tags(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            found.append(tag)

    Tags().feed(page)
    return [tag for tag in found if tag not in ("tspan", "text", "g")]


def test_the_page_holds_all_that_is_said_and_asks_for_nothing() -> None:
    said = sentences(FAR)
    page = render(FAR, "sweep s", said, [Left("lost", "no weights")])
    for text in (said[0], "lost (no weights)", "grounded minus plain", "+0.740", "0.008"):
        assert text in page
    assert "default-src 'none'" in page
    assert "<script" not in page
    assert not re.search(r"https?://|url\((?!#)|@import", page)
    assert page.count("<svg") == 1
    assert page == render(FAR, "sweep s", said, [Left("lost", "no weights")]), "the same runs give the same bytes"


def test_hostile_names_stay_text() -> None:
    quiet = compared(runs_of("plain", 0.1, 0.2), runs_of("x", 0.9, 1.0))
    loud = compared(runs_of("plain", 0.1, 0.2), runs_of(ALL, 0.9, 1.0))
    pages = [render(c, title, sentences(c), [Left(title, title)]) for c, title in ((quiet, "x"), (loud, ALL))]
    assert tags(pages[0]) == tags(pages[1])
    assert "\x1b" not in pages[1] and "\u202e" not in pages[1]


def test_more_groups_than_a_plot_holds_are_in_the_tables() -> None:
    groups = [runs_of(f"r{i}", 0.1, 0.1 * (i % 9)) for i in range(26)]
    page = render(compare(group(list(itertools.chain(*groups)))), "x", ["."], [])
    assert "Only the first 24 groups are plotted." in page
    assert page.count(">r25<") == 4, "in two tables, and with each of its two runs"
    assert page.count(">r3<") == 5, "and in the plot"


# --- in sentences -----------------------------------------------------------------------------------------------------


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
