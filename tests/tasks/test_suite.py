"""Which tasks a run works on: what may be named, what is refused, and that the split keeps families apart."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localgif.errors import ConfigError
from localgif.settings import FIELDS, SHIPPED_SPLIT, Mode
from localgif.tasks.suite import SPLIT, load_suite
from localgif.tasks.task import families, task_names

OWN = """
brief = "a red ball that rests"
[targets]
frames = {frames}
loop_ms = 1000
max_bytes = 102400
"""


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


def test_the_split_keeps_families_apart() -> None:
    suite = load_suite("general", SHIPPED_SPLIT)
    parts = [{t.family for t in tasks} for tasks in (suite.train, suite.val, suite.tested)]
    assert [len(tasks) for tasks in (suite.train, suite.val, suite.tested)] == [6, 3, 6]
    assert len(set.union(*parts)) == sum(map(len, parts))
    assert suite.split == SPLIT
    assert all(t.brief not in suite.objective for t in suite.tested)


def test_the_split_follows_from_the_names() -> None:
    """Families by the sha256 of their names, tasks by their names, but for those with a scale of their own."""
    order = sorted(families(), key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    shares = {"train": order[:2], "val": order[2:3], "held-out": order[3:5]}
    for part, names in SPLIT.items():
        wanted = [
            name for family in shares[part] for name in sorted(n for n in families()[family] if n != "filling-bar")[:3]
        ]
        assert sorted(names) == sorted(wanted), part


@pytest.mark.parametrize(
    ("mode", "text", "said"),
    [
        ("single", "bouncing-ball,two-balls", "names 2 tasks"),
        ("single", " , ", "names 0 tasks"),
        ("multi", "bouncing-ball", "needs at least two"),
        ("multi", "bouncing-ball,bouncing-ball", "two tasks called bouncing-ball"),
        ("multi", "bouncing-ball,bouncing-bal", 'no task "bouncing-bal"'),
        ("general", "bouncing-ball", "has a split of its own"),
    ],
)
def test_what_does_not_fit_the_mode_is_refused(mode: Mode, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        load_suite(mode, text)
    assert refused.value.remedy


def test_tasks_with_other_targets_cannot_share_a_prompt(tmp_path: Path) -> None:
    for frames in (24, 30):
        (tmp_path / f"rests-{frames}.toml").write_text(OWN.format(frames=frames))
    load_suite("multi", f"bouncing-ball,{tmp_path}/rests-24.toml")
    with pytest.raises(ConfigError, match=r"targets\.frames is 30 in rests-30 and 24 in bouncing-ball"):
        load_suite("multi", f"bouncing-ball,{tmp_path}/rests-30.toml")


@pytest.mark.parametrize("mode", FIELDS["mode"].choices)
def test_the_defaults_of_a_mode_can_be_run(mode: Mode) -> None:
    default = {name: row.by_mode.get(mode, row.default) for name, row in FIELDS.items()}
    suite = load_suite(mode, default["task"])
    assert default["metric_calls"] * default["samples"] >= 4 * len(suite.val)
