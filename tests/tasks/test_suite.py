"""Which tasks a run works on: what may be named, what is refused, and that each split holds out what it says."""

from __future__ import annotations

import hashlib
import re
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localgif.errors import ConfigError
from localgif.models.toml import ModelsFile, load_models_file, make_settings
from localgif.settings import FIELDS, Mode, Settings
from localgif.sweep.plan import parse_plan
from localgif.tasks import suite as module
from localgif.tasks.suite import Suite, brief_split, chosen_suite, family_split, folds, load_suite, suite_of, task_texts
from localgif.tasks.task import families, load_task, task_names
from scripts.generate import splits_table

ROOT = Path(__file__).parent.parent.parent
OWN = """
brief = "{brief}"
[targets]
frames = {frames}
loop_ms = 1000
max_bytes = 102400
"""
LISTS = {"train": "two-balls,spinning-bar", "val": "pulsing-square", "test": "bouncing-ball"}
FOLDS = range(1, len(folds()) + 1)


@pytest.fixture(scope="module")
def models() -> ModelsFile:
    return load_models_file(ROOT / "models.toml")


@pytest.fixture(scope="module")
def choose(models: ModelsFile) -> Any:
    """Settings of mode general."""

    def make(**values: Any) -> Settings:
        return make_settings(models, mode="general", **values)

    return make


def by_sha256(*names: str) -> list[str]:
    return sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())


def test_one_task_is_reflected_on_decides_and_is_tested() -> None:
    suite = load_suite("single", "spinning-bar")
    assert [t.name for t in suite.all] == ["spinning-bar"]
    assert suite.train == suite.val == suite.tested
    assert suite.split is None
    assert suite.objective == suite.train[0].objective


@given(st.lists(st.sampled_from(task_names()), min_size=2, unique=True))
def test_several_tasks_share_a_prompt(names: list[str]) -> None:
    suite = load_suite("multi", " , ".join(names))
    assert [t.name for t in suite.train] == names
    assert suite.train == suite.val == suite.tested
    assert all(suite.task(name).name == name for name in names)
    assert all(t.brief in suite.objective for t in suite.train)


def test_each_part_has_tasks_of_its_own_and_each_shipped_task_has_a_part() -> None:
    for parts in (brief_split(), *map(family_split, FOLDS)):
        assert not any(set(a) & set(b) for a, b in combinations(parts.values(), 2))
        assert sorted(name for names in parts.values() for name in names) == list(task_names())
        assert len({load_task(name).family for name in parts["val"]}) == len(parts["val"]) >= 4, "val can tell"
        assert list(parts) == ["train", "val", "held-out"]


def test_new_briefs_are_of_families_that_were_trained_on() -> None:
    parts = brief_split()
    trained, tested = ({load_task(name).family for name in parts[part]} for part in ("train", "held-out"))
    assert trained == tested == set(families())
    assert [len(names) for names in parts.values()] == [9, 4, 6]
    for names in families().values():
        first, second, *_ = by_sha256(*names)
        assert first in parts["held-out"] and second in parts["train"]
    further = [name for family in sorted(families()) for name in by_sha256(*families()[family])[2:]]
    assert parts["val"] == tuple(further[::2])


def test_each_family_is_held_out_once_and_whole() -> None:
    found = [family_split(fold) for fold in FOLDS]
    assert [set(parts["held-out"]) for parts in found] == [set(families()[name]) for name in sorted(families())]
    for family, parts in zip(folds(), found, strict=True):
        assert family not in {load_task(name).family for name in (*parts["train"], *parts["val"])}
        assert set(parts["val"]) == {by_sha256(*names)[0] for other, names in families().items() if other != family}


def test_the_only_task_of_a_family_is_for_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "families", lambda: {"b": ("lone",), "a": ("one", "two")})
    first, second = by_sha256("one", "two")
    assert brief_split() == {"train": (second, "lone"), "val": (), "held-out": (first,)}
    assert family_split(1) == {"train": ("lone",), "val": (), "held-out": (first, second)}
    assert family_split(2) == {"train": (second,), "val": (first,), "held-out": ("lone",)}


def test_the_split_of_the_settings_is_loaded(choose: Any) -> None:
    assert chosen_suite(choose()).split == chosen_suite(choose(split="briefs")).split == brief_split()
    assert chosen_suite(choose(split="families")).split == family_split(1)
    suite = chosen_suite(choose(split="families", fold=3))
    assert suite.split == family_split(3)
    assert all(t.brief not in suite.objective for t in suite.tested)


def test_a_split_of_your_own_takes_names_paths_and_sentences(choose: Any, tmp_path: Path) -> None:
    (tmp_path / "rests.toml").write_text(OWN.format(frames=24, brief="a red ball that rests"))
    sentence = "a green star spinning on a black background"
    settings = choose(**{**LISTS, "val": sentence, "test": f" bouncing-ball, {tmp_path}/rests.toml,"})
    suite = chosen_suite(settings)
    assert task_texts(settings) == ("two-balls", "spinning-bar", sentence, "bouncing-ball", f"{tmp_path}/rests.toml")
    assert task_texts(choose()) == ()
    assert suite.val[0].brief == sentence
    assert suite.split == {
        "train": ("two-balls", "spinning-bar"),
        "val": (suite.val[0].name,),
        "held-out": ("bouncing-ball", "rests"),
    }


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"val": "two-balls"}, "--val and --train name two-balls"),
        ({"test": "pulsing-square"}, "--test and --val name pulsing-square"),
        ({"train": "two-balls,two-balls"}, "--train names two tasks called two-balls"),
        ({"test": " , "}, "--test names no task"),
        ({"val": ""}, "--val names no task"),
        ({"test": "bouncing-bal"}, 'no task "bouncing-bal"'),
        ({"test": "{path}/copy.toml"}, "--test names copy, which has the same brief as two-balls in --train"),
        ({"val": "{path}/rests.toml"}, "targets.frames is 30 in rests and 24 in two-balls"),
    ],
)
def test_lists_that_do_not_make_a_split_are_refused(
    choose: Any, tmp_path: Path, values: dict[str, str], said: str
) -> None:
    (tmp_path / "rests.toml").write_text(OWN.format(frames=30, brief="a red ball that rests"))
    copy = OWN.format(frames=24, brief=load_task("two-balls").brief.upper())
    (tmp_path / "copy.toml").write_text(copy)
    given = {name: text.format(path=tmp_path) for name, text in {**LISTS, **values}.items()}
    with pytest.raises(ConfigError, match=re.escape(said)) as refused:
        chosen_suite(choose(**given))
    assert refused.value.remedy


def test_a_fold_that_no_family_has_is_refused(choose: Any) -> None:
    with pytest.raises(ConfigError, match="--fold 7") as refused:
        chosen_suite(choose(split="families", fold=7))
    assert refused.value.remedy == "give 1 to 6 (1 bounce, 2 colour, 3 compose, 4 pulse, 5 spin, 6 travel)"


def test_a_stored_split_is_read_as_it_was_and_cannot_be_started_again(choose: Any) -> None:
    """Earlier versions had one split, in which compose had no part."""
    stored = {"train": ("pulsing-circle",), "val": ("bouncing-ball",), "held-out": ("spinning-bar", "spinning-star")}
    tasks = [load_task(name).model_dump() for names in stored.values() for name in names]
    found = suite_of("general", tasks, stored)
    assert isinstance(found, Suite) and found.split == stored
    assert [t.name for t in found.tested] == ["spinning-bar", "spinning-star"]
    with pytest.raises(ConfigError, match=r"--task shipped-split.*only be resumed or forked"):
        chosen_suite(choose(task="shipped-split"))


@pytest.mark.parametrize(
    ("mode", "text", "said"),
    [
        ("single", "bouncing-ball,two-balls", "names 2 tasks"),
        ("single", " , ", "names 0 tasks"),
        ("multi", "bouncing-ball", "needs at least two"),
        ("multi", "bouncing-ball,bouncing-ball", "two tasks called bouncing-ball"),
        ("multi", "bouncing-ball,bouncing-bal", 'no task "bouncing-bal"'),
    ],
)
def test_what_does_not_fit_the_mode_is_refused(mode: Literal["single", "multi"], text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        load_suite(mode, text)
    assert refused.value.remedy


def test_tasks_with_other_targets_cannot_share_a_prompt(tmp_path: Path) -> None:
    for frames in (24, 30):
        (tmp_path / f"rests-{frames}.toml").write_text(OWN.format(frames=frames, brief="a red ball that rests"))
    load_suite("multi", f"bouncing-ball,{tmp_path}/rests-24.toml")
    with pytest.raises(ConfigError, match=r"targets\.frames is 30 in rests-30 and 24 in bouncing-ball"):
        load_suite("multi", f"bouncing-ball,{tmp_path}/rests-30.toml")


@pytest.mark.parametrize("mode", FIELDS["mode"].choices)
def test_the_defaults_of_a_mode_can_be_run(models: ModelsFile, mode: Mode) -> None:
    default = make_settings(models, mode=mode)
    assert default.metric_calls * default.samples >= 4 * len(chosen_suite(default).val)


def test_the_docs_list_every_split_and_their_sweep_runs_every_fold(models: ModelsFile) -> None:
    page = (ROOT / "docs" / "modes.md").read_text()
    assert splits_table() in page, "run: ./scripts/just fix"
    sweep = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    plan = parse_plan(sweep[0], "s", "s.toml", models)
    assert {cell.settings.task for cell in plan.cells} == {f"split-families-{fold}" for fold in FOLDS}
    assert all(cell.suite.split == family_split(cell.values["fold"]) for cell in plan.cells)


def test_a_task_can_be_a_sentence_with_commas_of_its_own_only_where_it_is_alone() -> None:
    alone = load_suite("single", "a red ball, bouncing up and down, on white").train
    assert [task.name for task in alone] == ["red-ball-bouncing-white"]
    both = load_suite("multi", "two-balls, a green triangle spinning on black").train
    assert [task.name for task in both] == ["two-balls", "green-triangle-spinning-black"]
    with pytest.raises(ConfigError, match="a red thing is on a red background"):
        load_suite("multi", "two-balls, a red ball on red")


@pytest.mark.parametrize("name", task_names())
def test_the_neighbours_of_a_task_are_one_of_its_family_and_one_of_another(models: ModelsFile, name: str) -> None:
    suite = chosen_suite(make_settings(models, task=name))
    same, other = suite.neighbours
    assert same.family == suite.train[0].family != other.family
    assert same.name != name
    assert same.targets == other.targets == suite.targets
    assert not {same, other} & set(suite.all), "the search never sees them"


def test_only_a_run_of_one_task_has_neighbours(models: ModelsFile, tmp_path: Path) -> None:
    for values in ({"transfer": False}, {"mode": "multi"}, {"mode": "general"}):
        assert chosen_suite(make_settings(models, **values)).neighbours == ()
    first, second = chosen_suite(make_settings(models, task="a red star that spins on white")).neighbours
    assert first.family != second.family
    (tmp_path / "slow.toml").write_text(OWN.format(brief="a red ball that bounces", frames=30))
    odd = chosen_suite(make_settings(models, task=str(tmp_path / "slow.toml")))
    assert odd.neighbours == (), "no shipped task has these targets, and a prompt states one set of them"
