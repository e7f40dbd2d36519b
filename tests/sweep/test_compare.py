"""A comparison says what the runs allow, names what it left out, and its page is one file of text."""

from __future__ import annotations

import itertools
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from localgif.errors import ConfigError, RunCorrupt
from localgif.records import SCHEMA_VERSION
from localgif.sweep.compare import Compared, as_json, compare
from localgif.sweep.gather import SWEEP, SweepRecord, gather
from localgif.sweep.groups import group
from localgif.sweep.page import render
from localgif.sweep.runs import Finished, Left, read_run
from localgif.sweep.words import sentences
from tests.support.reports import ALL
from tests.sweep.kit import finished, stored

SEEDS = range(5)


def runs_of(reflection: str, *scores: float, **facets: Any) -> list[Finished]:
    return [finished(score, reflection=reflection, seed=seed, **facets) for seed, score in enumerate(scores)]


def compared(*groups: list[Finished], by: tuple[str, ...] = ()) -> Compared:
    return compare(group([run for runs in groups for run in runs], by))


FAR = compared(runs_of("plain", 0.1, 0.2, 0.3, 0.2, 0.1), runs_of("grounded", 0.9, 1.0, 0.8, 0.9, 1.0))


def test_two_groups_that_lie_apart() -> None:
    (versus,) = FAR.versus
    assert (versus.first.name, versus.second.name) == ("plain", "grounded")
    assert versus.tested.word == "better"
    assert versus.tested.difference == pytest.approx(0.74)
    assert (
        versus.tested.p_value
        == pytest.approx(2 / 252)
        == versus.tested.adjusted
        == pytest.approx(versus.tested.smallest)
    )
    assert versus.tested.paired == pytest.approx(2 / 32), "five pairs can show nothing by their signs"
    assert versus.tested.interval is not None
    assert 0.5 < versus.tested.interval[0] < 0.74 < versus.tested.interval[1] < 0.95
    assert versus.needed is None


def test_the_best_of_many_is_never_called_a_gain() -> None:
    said = sentences(compared(runs_of("none", *[0.5] * 5), runs_of("grounded", *[1.0] * 5)))
    (luck,) = [text for text in said if text.startswith("none: the best")]
    assert "0.500" in luck and "no prompt gained anything" in luck
    assert any(text.startswith("grounded: the evolved prompts score higher") for text in said)


def test_its_sentences_can_be_quoted() -> None:
    said = sentences(FAR)
    assert re.fullmatch(
        r"grounded scores higher than plain \(mean fresh score 0\.920 against 0\.180, difference \+0\.740, 95 % "
        r"interval \+0\.\d{3} to \+0\.\d{3}, p = 0\.008, paired p = 0\.062; 5 and 5 runs\)\.",
        said[0],
    )
    assert said[1].startswith(
        "plain: that evolved prompts score other than the seed prompt is not shown (0.100 to 0.180, "
    )
    assert said[2].startswith("grounded: the evolved prompts score higher than the seed prompt (0.100 to 0.920, ")
    assert "corrected for 2 such questions" in said[2]
    assert "5 runs, by their own verdicts 5 better" in said[2]


def test_the_same_the_other_way_round_reads_the_same() -> None:
    turned = compared(runs_of("grounded", 0.9, 1.0, 0.8, 0.9, 1.0), runs_of("plain", 0.1, 0.2, 0.3, 0.2, 0.1))
    assert turned.versus[0].tested.word == "worse"
    cut = re.compile(r"95 % interval \S+ to \S+")
    assert cut.sub("", sentences(turned)[0]) == cut.sub("", sentences(FAR)[0])


def test_an_open_question_says_how_many_runs_would_decide_it() -> None:
    result = compared(runs_of("plain", 0.2, 0.5, 0.8, 0.4, 0.6), runs_of("grounded", 0.5, 0.8, 0.9, 0.5, 0.8))
    (versus,) = result.versus
    assert versus.tested.word == "not shown"
    assert versus.needed is not None and versus.needed > 5
    text = sentences(result)[0]
    assert text.startswith("A difference between grounded and plain is not shown (")
    assert "That does not say that they are equal." in text
    assert f"{versus.needed} runs of each ({versus.needed - 5} more) would show it four times in five." in text


def test_with_three_runs_each_nothing_can_be_shown_and_it_says_so() -> None:
    text = sentences(compared(runs_of("plain", 0.0, 0.0, 0.1), runs_of("grounded", 1.0, 1.0, 0.9)))[0]
    assert "not shown" in text
    assert "With 3 runs of the smaller group no difference could be shown." in text
    assert "4 runs of each (1 more)" in text


def test_no_difference_at_all_asks_for_no_runs() -> None:
    result = compared(runs_of("plain", *[0.5] * 5), runs_of("grounded", *[0.5] * 5))
    assert result.versus[0].tested.p_value == 1
    assert "If there is one, it is small." in sentences(result)[0]
    assert "more)" not in sentences(result)[0]
    assert "all runs came to the same" in sentences(result)[-1]


def test_many_groups_are_corrected_for() -> None:
    groups = [runs_of(name, *(0.5 + 0.1 * i + 0.01 * s for s in SEEDS)) for i, name in enumerate("abcd")]
    result = compared(*groups)
    assert len(result.versus) == 6
    for versus in result.versus:
        assert versus.tested.p_value == pytest.approx(2 / 252)
        assert versus.tested.adjusted == pytest.approx(12 / 252)
        assert versus.tested.word == "better"
    fewer = compared(*[runs[:4] for runs in groups])
    assert {v.tested.word for v in fewer.versus} == {"not shown"}, "2/70 is not enough for the first of six"
    assert "of the smaller group no difference could be shown" in sentences(fewer)[0]


def test_by_one_setting_runs_are_compared_within_each_of_the_others() -> None:
    """Two tasks, one easy and one hard: the reflections differ by little, everywhere by the same."""
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
    assert "compared within each task" in sentences(one)[0]
    assert one.deviation == pytest.approx(0.01)
    assert one.rows[0].spread.total == pytest.approx(0.01), "tasks differ by more than seeds do"


def test_a_stratum_that_one_group_lacks_is_left_out_and_named() -> None:
    runs = [*runs_of("plain", *[0.1] * 4, task="a"), *runs_of("plain", *[0.9] * 4, task="b")]
    runs += runs_of("grounded", *[0.2] * 4, task="a")
    result = compare(group(runs, ("reflection",)))
    assert result.versus[0].left_out == ("b",)
    assert result.versus[0].tested.difference == pytest.approx(0.1)
    assert "Left out, because only one of them has it: b." in sentences(result)[0]
    runs = [*runs_of("plain", *[0.1] * 4, task="a"), *runs_of("grounded", *[0.9] * 4, task="b")]
    both = [*runs_of("example-only", *[0.2] * 4, task="a"), *runs_of("example-only", *[0.2] * 4, task="b")]
    apart = compare(group([*runs, *both], ("reflection",)))
    assert len(apart.versus) == 2
    assert "plain and grounded have nothing in common that they could be compared on." in sentences(apart)


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
    assert found.notes == ("metric_calls differs along with animator",)


def test_other_weights_under_the_same_name_make_another_group() -> None:
    runs = [finished(0.1, seed=s, animator="a", **{"animator.digest": s % 2}) for s in range(4)]
    assert group(runs).axes == ("animator.digest",)


def test_other_versions_are_noted() -> None:
    runs = runs_of("plain", 0.1, 0.2)
    assert "0.1.0, 0.2.0" in group([runs[0], runs[1]._replace(version="0.2.0")]).notes[0]


def test_true_and_one_are_two_values() -> None:
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
        n = len(grouping.groups)
        assert len(result.versus) + len(result.apart) == math.comb(n, 2)
        json.dumps(as_json(result), allow_nan=False)
        assert all(sentence and "nan" not in sentence for sentence in sentences(result))


# --- folders -------------------------------------------------------------------------------------------------------


def sweep_of(runs_dir: Path, cells: list[str], **failures: str) -> None:
    record = SweepRecord(
        name="s", started="x", axes={"reflection": ("plain",)}, cells={c: {} for c in cells}, failures=failures
    )
    (runs_dir / "s").mkdir(exist_ok=True)
    (runs_dir / "s" / SWEEP).write_text(record.model_dump_json())


def test_a_sweep_names_all_that_is_missing(tmp_path: Path) -> None:
    stored(tmp_path / "s", "a", [0.1] * 4, [0.9] * 4)
    stored(tmp_path / "s", "old", [0.1] * 4, [0.9] * 4)
    broken = stored(tmp_path / "s", "broken", [0.1] * 4, [0.9] * 4)
    (broken / "run.json").write_text("{")
    begun = stored(tmp_path / "s", "begun", [0.1] * 4, [0.9] * 4)
    text = json.loads((begun / "run.json").read_text())
    (begun / "run.json").write_text(json.dumps(text | {"status": "failed", "error": "the server died", "result": None}))
    sweep_of(tmp_path, ["a", "begun", "broken", "never", "lost"], lost="no weights")
    found = gather(tmp_path, ["s"])
    assert [run.name for run in found.runs] == ["a"]
    left = {run.name: run.why for run in found.left}
    assert left.keys() == {"old", "begun", "broken", "never", "lost"}
    assert left["begun"] == "failed: the server died"
    assert left["never"] == "not started"
    assert left["lost"] == "no weights"
    assert "no such cell any more" in left["old"]
    assert "no JSON object" in left["broken"]
    assert (found.title, found.folder, found.axes) == ("sweep s", tmp_path / "s", ("reflection",))


def test_a_run_that_is_named_twice_counts_once(tmp_path: Path) -> None:
    stored(tmp_path / "s", "a", [0.1] * 4, [0.9] * 4)
    sweep_of(tmp_path, ["a"])
    assert len(gather(tmp_path, ["s", "s/a", str(tmp_path / "s" / "a")]).runs) == 1


def test_rules_are_not_mixed(tmp_path: Path) -> None:
    stored(tmp_path, "a", [0.1] * 4, [0.9] * 4)
    stored(tmp_path, "b", [0.1] * 4, [0.6] * 4, scorer="article-1")
    with pytest.raises(ConfigError, match="article-1, strict-3"):
        gather(tmp_path, ["a", "b"])
    strict, article = (gather(tmp_path, ["a", "b"], rule) for rule in ("strict", "article"))
    assert [run.score for run in strict.runs] == pytest.approx([0.9, 0.3])
    assert [run.score for run in article.runs] == pytest.approx([0.45, 0.6])


def test_several_tasks_count_alike(tmp_path: Path) -> None:
    folder = stored(tmp_path, "a", [0.1, 0.1, 0.5, 0.5], [0.2, 0.4, 1.0, 1.0])
    record = json.loads((folder / "run.json").read_text())
    record["result"]["tasks"] *= 2
    (folder / "run.json").write_text(json.dumps(record))
    run = read_run(folder)
    assert isinstance(run, Finished)
    assert (run.seed, run.best) == (((0.1, 0.1), (0.5, 0.5)), ((0.2, 0.4), (1.0, 1.0)))
    assert run.gain == pytest.approx(0.65 - 0.3)
    assert (run.tokens, run.minutes, run.samples) == (1_000, 2.0, 12 * 2 + 8)
    record["result"]["tasks"] = record["result"]["tasks"][:1] * 3
    (folder / "run.json").write_text(json.dumps(record))
    left = read_run(folder)
    assert isinstance(left, Left) and "4 scores of 3 tasks" in left.why


def test_nothing_to_compare(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no run nothing"):
        gather(tmp_path, ["nothing"])
    sweep_of(tmp_path, ["a"])
    with pytest.raises(ConfigError, match=r"none of these runs can be compared \(a: not started\)"):
        gather(tmp_path, ["s"])


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"schema_version": 99}',
        '{"name": 1}',
        '{"name": "s", "started": "x", "axes": {}, "cells": {"../x": {}}}',
    ],
)
def test_a_sweep_json_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / SWEEP).write_text(text)
    with pytest.raises(RunCorrupt, match=r"sweep\.json"):
        gather(tmp_path, ["s"])


def test_version_1_of_a_run_folder_can_be_compared() -> None:
    folder = Path(__file__).parent.parent / "runs" / "v1"
    assert json.loads((folder / "run.json").read_text())["schema_version"] < SCHEMA_VERSION
    run = read_run(folder)
    assert isinstance(run, Finished)
    assert (run.rule, run.is_seed, run.gain, run.tokens) == ("article-1", True, 0.0, 61)


def test_where_a_model_lies_tells_no_groups_apart_and_its_weights_do(tmp_path: Path) -> None:
    for seed, name in enumerate(("a", "b", "c")):
        folder = stored(tmp_path, name, [0.1] * 4, [0.9] * 4, seed=seed)
        record = json.loads((folder / "run.json").read_text())
        record["settings"]["animator"]["endpoint"]["url"] = f"http://127.0.0.1:{9000 + seed}"
        if name == "c":
            record["models"][0]["digest"] = "cd" * 32
        (folder / "run.json").write_text(json.dumps(record))
    found = group(gather(tmp_path, ["a", "b", "c"]).runs)
    assert found.axes == ("animator.digest",)
    assert [[run.name for run in g.runs] for g in found.groups] == [["a", "b"], ["c"]]


# --- the page ------------------------------------------------------------------------------------------------------


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def tags(page: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = Tags()
    parser.feed(page)
    return parser.found


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
    first, second = ([tag for tag in tags(page) if tag[0] not in ("tspan",)] for page in pages)
    assert [name for name, _ in first if name not in ("text", "g")] == [
        name for name, _ in second if name not in ("text", "g")
    ]
    assert "\x1b" not in pages[1] and "‮" not in pages[1]


def test_more_groups_than_a_plot_holds_are_in_the_tables() -> None:
    groups = [runs_of(f"r{i}", 0.1, 0.1 * (i % 9)) for i in range(26)]
    pairs = compare(group(list(itertools.chain(*groups))))
    page = render(pairs, "x", ["."], [])
    assert "The first 24 groups." in page
    assert page.count(">r25<") == 4, "in two tables, and with each of its two runs"
    assert page.count(">r3<") == 5, "and in the plot"
