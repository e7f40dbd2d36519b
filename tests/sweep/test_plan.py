"""A sweep file is read strictly: every mistake is reported with file, key and remedy."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localgif.doctor.models import recall, remember
from localgif.errors import ConfigError
from localgif.models.toml import ModelsFile, load_models_file
from localgif.settings import FIELDS
from localgif.sweep.plan import (
    DEFAULT_DEVIATION,
    DEFAULT_SECONDS,
    LONGEST_NAME,
    cell_name,
    estimate,
    plan_sentences,
    read_plan,
)
from localgif.sweep.read import stored_runs
from tests.support.kills import MODELS
from tests.support.scripted import MODEL
from tests.support.sweeps import TINY, TWO, plan_of, stored

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def models() -> ModelsFile:
    return load_models_file(ROOT / "models.toml")


def test_the_file_of_the_docs_is_a_sweep(models: ModelsFile) -> None:
    found = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "sweeps.md").read_text(), re.DOTALL)
    assert len(found) == 1
    plan = plan_of(found[0], models)
    assert len(plan.cells) == 24
    assert {cell.settings.target for cell in plan.cells} == {None}
    assert {cell.settings.metric_calls for cell in plan.cells} == {12}
    reflections = Counter(cell.settings.reflection for cell in plan.cells)
    assert reflections == dict.fromkeys(("grounded", "plain", "example-only", "instruction-only"), 6)


def test_a_cell_is_a_combination_with_the_defaults_of_its_mode(models: ModelsFile) -> None:
    plan = plan_of('[axes]\nmode = ["single", "multi"]\nfacts = [true, false]', models)
    assert [cell.name for cell in plan.cells] == [
        f"mode={mode}_facts={facts}" for mode in ("single", "multi") for facts in ("true", "false")
    ]
    single, *_, multi = plan.cells
    assert (single.settings.metric_calls, multi.settings.metric_calls) == (12, 40)
    assert (len(single.suite.tested), len(multi.suite.tested)) == (1, 4)
    assert (single.samples, multi.samples) == (12 * 2 + 2 * (4 + 2), 40 + 2 * 4 * 4)
    assert not multi.settings.facts


def test_models_are_swapped_as_seldom_as_can_be_and_seeds_come_in_turn(models: ModelsFile) -> None:
    plan = plan_of(
        '[axes]\nseed = [3, 1]\nreflection = ["plain", "grounded"]\nanimator = ["smollm2-135m", "qwen-coder-0.5b"]',
        models,
    )
    animators = [cell.settings.animator.alias for cell in plan.cells]
    assert [name for name, _ in itertools.groupby(animators)] == ["smollm2-135m", "qwen-coder-0.5b"]
    assert [cell.settings.seed for cell in plan.cells] == [3, 3, 1, 1, 3, 3, 1, 1]
    assert len({cell.name for cell in plan.cells}) == 8


@pytest.mark.parametrize(
    ("text", "message", "remedy"),
    [
        ("[axes", "s.toml is not valid TOML", "correct that line"),
        ("", "s.toml has no axis", "seed = [0, 1, 2, 3]"),
        ("[settings]\nseed = 1", "s.toml has no axis", "add [axes]"),
        (
            "[axes]\nseed = [1]\n[workers]",
            "s.toml: sweep files no longer have a table [workers]",
            "dask worker ADDRESS --resou",
        ),
        ("[axis]\nseed = [1]", "s.toml: unknown key axis", 'did you mean "axes"?'),
        ("seed = [1]", "s.toml: seed is outside a table", "[axes]"),
        ("axes = 3", "axes = 3 is not a table", "write [axes]"),
        ("[axes]\nsed = [1]", "unknown key axes.sed", 'did you mean "seed"?'),
        ("[axes]\nseed = [1]\n[settings]\nsample = 2", "unknown key settings.sample", 'did you mean "samples"?'),
        ("[axes]\nseed = 3", "axes.seed = 3 is not a list of values", "under [settings]"),
        ("[axes]\nseed = []", "axes.seed = [] is not a list of values", "seed = [...]"),
        ("[axes]\nseed = [1, 1]", "axes.seed has 1 twice", "remove one"),
        ("[axes]\nseed = [1]\n[settings]\nseed = 1", "seed is under [settings] and under [axes]", "remove one"),
        ('[axes]\nseed = ["1"]', 'axes.seed = "1" is not a whole number', "correct the value"),
        ("[axes]\nseed = [true]", "axes.seed = true is not a whole number", "correct"),
        ("[axes]\nseed = [1.5]", "axes.seed = 1.5 is not a whole number", "correct"),
        ("[axes]\nminutes = [nan]", "axes.minutes = NaN is not a number", "correct"),
        ("[axes]\nfacts = [1]", "axes.facts = 1 is not true or false", "correct"),
        ('[axes]\ntarget = ["non"]', 'axes.target = "non" is not a number, above 0, at most 1, or "none"', "correct"),
        ("[axes]\nseed = [1]\n[settings]\nfresh = [1, 2]", "settings.fresh = [1, 2] is not a whole number", "[axes]"),
        ("[axes]\nseed = [-1]", "s.toml: axes.seed -1 cannot be used", "at least 0"),
        ("[axes]\nseed = [1]\n[settings]\ntarget = 2", "s.toml: settings.target 2 cannot be used", "at most 1"),
        (
            '[axes]\nreflection = ["grounds"]',
            'axes.reflection grounds: there is no reflection "grounds"',
            '"grounded"?',
        ),
        ('[axes]\nanimator = ["qwen-coder"]', 'axes.animator names the model "qwen-coder"', "did you mean"),
        ('[axes]\ntask = ["bouncing-bal"]', 'there is no task "bouncing-bal"', 'did you mean "bouncing-ball"?'),
        (
            '[axes]\nmetric_calls = [3]\n[settings]\nmode = "multi"',
            "axes.metric_calls 3 is too low for 4 tasks",
            "at least 5",
        ),
        (
            "[axes]\nseed = [{}]\nfresh = [{}]".format(*2 * [", ".join(map(str, range(1, 102)))]),
            "10,201 cells",
            "remove an axis",
        ),
    ],
)
def test_what_cannot_be_meant_is_told(models: ModelsFile, text: str, message: str, remedy: str) -> None:
    with pytest.raises(ConfigError) as caught:
        plan_of(text, models)
    assert message in caught.value.message
    assert "s.toml" in caught.value.message
    assert remedy in caught.value.remedy


def test_a_file_that_is_none(models: ModelsFile, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read_plan(tmp_path / "no.toml", models)
    (tmp_path / "big.toml").write_bytes(b"#" * 300_000)
    with pytest.raises(ConfigError, match="larger than 256 KiB"):
        read_plan(tmp_path / "big.toml", models)
    (tmp_path / "latin.toml").write_bytes("[axes] # é".encode("latin-1"))
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_plan(tmp_path / "latin.toml", models)
    (tmp_path / "a b.toml").write_text("[axes]\nseed = [1]")
    with pytest.raises(ConfigError, match="is not a valid folder name"):
        read_plan(tmp_path / "a b.toml", models)


VALUES = st.text(max_size=150) | st.integers() | st.booleans() | st.floats(allow_nan=False)


@settings(max_examples=40)
@given(st.lists(st.dictionaries(st.sampled_from(sorted(FIELDS)), VALUES, min_size=1), min_size=1, max_size=4))
def test_a_name_is_a_folder_and_no_two_cells_share_one(cells: list[dict[str, Any]]) -> None:
    names: dict[str, tuple[tuple[str, str], ...]] = {}
    for values in cells:
        name = cell_name(values)
        assert re.fullmatch(r"[a-z][A-Za-z0-9_.=+-]*", name)
        assert len(name) <= LONGEST_NAME
        # A file holds one kind of value under a key, so 1, "1" and 1.0 don't meet.
        key = tuple(
            (axis, str(value).lower() if isinstance(value, bool) else str(value)) for axis, value in values.items()
        )
        assert names.setdefault(name, key) == key


# --- what a plan costs and can show -----------------------------------------------------------------------------------


@pytest.fixture
def scripted(tmp_path: Path) -> ModelsFile:
    missing = '\n[models.missing]\nendpoint = "ollama"\nmodel = "missing:1b"\nnum_ctx = 4096\n'
    (tmp_path / "models.toml").write_text(MODELS.format(url="http://127.0.0.1:1", model=MODEL) + missing)
    return load_models_file(tmp_path / "models.toml")


SEVERAL = TWO.replace("reflection = 'none'\n", "") + "reflection = [{}]"


def test_without_stored_runs_the_plan_says_that_it_guesses(scripted: ModelsFile) -> None:
    found = estimate(plan_of(TWO, scripted), [])
    assert (found.cells, found.metric_calls, found.samples) == (2, 4, 2 * 4)
    assert found.seconds == 8 * DEFAULT_SECONDS
    assert found.basis == "a default of 30 s per sample; localgif doctor measures it"
    assert plan_sentences(found)[1] == "There is only one group of runs, so there is nothing to compare."
    several = estimate(plan_of(SEVERAL.format('"plain", "grounded", "example-only"'), scripted), [])
    assert (several.groups, several.runs, several.comparisons, several.power) == (3, 2, 3, 0.0)
    said = plan_sentences(several)
    assert f"standard deviation of {DEFAULT_DEVIATION:.2f} (assumed" in said[1]
    assert said[2] == f"To detect it 80 % of the time takes {several.needed} runs per group."


def test_stored_runs_of_the_same_models_say_how_long_and_how_far_apart(scripted: ModelsFile, tmp_path: Path) -> None:
    for seed, score in enumerate((0.2, 0.4, 0.6, 0.8)):
        stored(tmp_path, f"r{seed}", [0.1] * 4, [score] * 4, seed=seed)  # two minutes, 12 x 2 + 8 samples
    runs = stored_runs(tmp_path)
    plan = plan_of(SEVERAL.format('"plain", "grounded"'), scripted)
    found = estimate(plan, runs)
    assert found.seconds == pytest.approx(4 * 4 * 120 / 32)
    assert found.basis == "from 4 stored runs of the same models"
    assert found.deviation == pytest.approx(0.2582, abs=1e-4)
    assert found.deviation_basis == "from 4 stored runs"
    assert estimate(plan, runs, {cell.name for cell in plan.cells}).seconds == 0
    half = estimate(plan_of(TINY + '[axes]\nanimator = ["scripted", "missing"]', scripted), runs)
    assert half.seconds == pytest.approx(4 * 120 / 32 + 4 * DEFAULT_SECONDS)
    assert "; for 1 cell a default" in half.basis


def test_what_doctor_measured_says_how_long_where_no_run_is_stored(scripted: ModelsFile, tmp_path: Path) -> None:
    plan = plan_of(TWO, scripted)
    remember(tmp_path / "new", plan.cells[0].settings, 10.0, 6.0)
    found = estimate(plan, [], measured=partial(recall, tmp_path / "new"))
    # Per cell two calls of one sample, and two fresh samples; three attempts per sample, one reflection per call.
    assert found.seconds == pytest.approx(2 * (3 * 4 * 10 + 2 * 6))
    kept = recall(tmp_path / "new", plan.cells[0].settings)
    assert kept is not None and found.basis == f"from what doctor measured on {kept.at}"
    stored(tmp_path, "r0", [0.1] * 4, [0.2] * 4, seed=9)
    assert "stored run" in estimate(plan, stored_runs(tmp_path), measured=partial(recall, tmp_path / "new")).basis
