"""The table of settings: each row appears wherever people use settings, and errors name the wrong value."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from pydantic import Field
from typer.testing import CliRunner

from localgif.cli import run as cli_run
from localgif.errors import ConfigError
from localgif.models.toml import ModelsFile, changed_settings, load_models_file, make_settings
from localgif.report.page import render
from localgif.settings import FIELDS, EndpointSettings, Setting, Settings, fields_of, repeat_flags
from localgif.store.read import load_run
from localgif.sweep.compare import group
from localgif.sweep.plan import parse_plan
from scripts.generate import settings_table
from tests.support.sweeps import finished, stored

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def models() -> ModelsFile:
    return load_models_file(ROOT / "models.toml")


class More(Settings):
    """Settings with one more row in the table."""

    strokes: Annotated[int, Setting("Lines per picture.", {"multi": 7}, fork=True), Field(ge=2, le=9)] = 3


@pytest.fixture
def strokes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Setting]:
    row = fields_of(More)["strokes"]
    monkeypatch.setitem(FIELDS, "strokes", row)
    monkeypatch.setattr("localgif.settings.Settings", More)
    importlib.reload(cli_run)
    yield row
    monkeypatch.undo()
    importlib.reload(cli_run)


def test_a_setting_is_added_in_one_place(strokes: Setting, models: ModelsFile, tmp_path: Path) -> None:
    app = typer.Typer(rich_markup_mode=None)
    app.command()(cli_run.optimize)
    app.command()(cli_run.resume)
    for command in ("optimize", "resume"):
        said = " ".join(CliRunner().invoke(app, [command, "--help"]).output.split())
        assert "--strokes N Lines per picture." in said
        assert ("[default: 3; multi 7]" in said) == (command == "optimize")

    plan = parse_plan('[axes]\nstrokes = [2, 9]\nmode = ["single", "multi"]', "s", "s.toml", models)
    assert {cell.values["strokes"] for cell in plan.cells} == {2, 9}
    with pytest.raises(ConfigError, match=r"axes\.strokes 10 cannot be used"):
        parse_plan("[axes]\nstrokes = [10]", "s", "s.toml", models)
    made = make_settings(models, mode="multi")
    assert isinstance(made, More) and made.strokes == 7
    assert "strokes: 3" not in str(changed_settings(made, models, {"strokes": 5}))

    groups = group([finished(0.1, strokes=n, steps=n) for n in (2, 9)]).groups
    assert [each.name for each in groups] == ["strokes 2", "strokes 9"], "before what is not in the table"

    run = load_run(stored(tmp_path, "run", [0.1], [0.2]))
    settings = More(**dict(run.record.settings), strokes=4)
    record = run.record.model_copy(update={"settings": settings, "result": None, "status": "interrupted"})
    assert "--strokes 4" in render(run._replace(record=record), "interrupted", plotted=False)

    assert "| `--strokes` | a whole number, at least 2, at most 9 | 3; multi 7 | may change |" in settings_table()


def test_every_row_explains_itself() -> None:
    assert set(FIELDS) == set(Settings.model_fields) - {"limits"}
    for row in FIELDS.values():
        assert row.help.endswith("."), row.name
        assert set(row.by_mode) <= set(FIELDS["mode"].choices)


def test_the_table_of_the_docs_is_current() -> None:
    assert settings_table() in (ROOT / "docs" / "runs.md").read_text(), "run: ./scripts/just fix"


@pytest.mark.parametrize(
    ("values", "message", "remedy"),
    [
        ({"metric_calls": 0}, "--metric-calls 0 cannot be used", "at least 1, at most 10,000"),
        ({"samples": 1000}, "--samples 1000", "at most 64"),
        ({"seed": -1}, "--seed -1", "at least 0"),
        ({"minutes": 0.0}, "--minutes 0.0", "a number, above 0"),
        ({"target": 2.0}, "--target 2.0", 'or "none"'),
        ({"mode": "several"}, '--mode several: there is no mode "several"', "general"),
        ({"scorer": "artikel"}, "--scorer artikel", 'did you mean "article"?'),
        ({"reflection": "ground"}, "--reflection ground", 'did you mean "grounded"?'),
        ({"sandbox_level": "weaker"}, 'there is no sandbox level "weaker"', 'did you mean "weak"?'),
        ({"animator": "qwen-coder-15b"}, 'names the model "qwen-coder-15b"', 'mean "qwen-coder-1.5b"'),
        ({"sample": 3}, "there is no setting sample", 'did you mean "samples"?'),
        ({"mode": "general", "split": "brief"}, '--split brief: there is no split "brief"', 'did you mean "briefs"?'),
        ({"mode": "general", "split": "families", "fold": 0}, "--fold 0 cannot be used", "at least 1"),
        ({"mode": "general", "fold": 2}, "--fold 2 does not work with --split briefs", "--split families"),
        (
            {"mode": "general", "split": "own", "train": "a", "test": "b"},
            "--val is missing",
            "--train, --val and --test",
        ),
        ({"mode": "general", "train": "a"}, "--val is missing", "--train, --val and --test"),
        ({"mode": "general", "split": "briefs", "test": "a"}, "--test does not work with --split briefs", "remove one"),
        (
            {"mode": "general", "task": "two-balls"},
            "--task two-balls: --mode general takes its tasks from",
            "--mode multi",
        ),
        ({"mode": "multi", "split": "briefs"}, "--split works only with --mode general", "add --mode general"),
        ({"val": "two-balls"}, "--val works only with --mode general", "remove --val"),
    ],
)
def test_a_wrong_value_is_named(models: ModelsFile, values: dict[str, Any], message: str, remedy: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_settings(models, **values)
    assert message in caught.value.message
    assert remedy in caught.value.remedy


def test_what_is_left_out_gets_the_default_of_the_mode(models: ModelsFile) -> None:
    general = make_settings(models, mode="general", samples=None, fresh=2)
    assert (general.metric_calls, general.samples, general.fresh) == (60, 1, 2)
    assert make_settings(models, mode="general", samples=3).samples == 3
    assert make_settings(models).target == 0.985
    assert make_settings(models, target=None).target is None, "it never ends early"


@pytest.mark.parametrize(
    ("values", "task", "flags"),
    [
        ({}, "split-briefs", ["--split", "briefs"]),
        ({"split": "families"}, "split-families-1", ["--split", "families", "--fold", "1"]),
        ({"split": "families", "fold": 4}, "split-families-4", ["--split", "families", "--fold", "4"]),
        (
            {"train": "a,b", "val": "c", "test": "d"},
            "split-own",
            ["--split", "own", "--train", "a,b", "--val", "c", "--test", "d"],
        ),
    ],
)
def test_a_split_names_the_tasks_of_mode_general(
    models: ModelsFile, values: dict[str, Any], task: str, flags: list[str]
) -> None:
    made = make_settings(models, mode="general", **values)
    assert made.task == task
    words = repeat_flags(made)
    first = words.index("--split")
    assert words[first : first + len(flags)] == flags and "--task" not in words
    assert changed_settings(made, models, {"fresh": 9}) == made.model_copy(update={"fresh": 9})


def test_a_run_with_the_split_of_an_earlier_version_can_be_resumed(models: ModelsFile) -> None:
    made = make_settings(models, mode="general").model_dump(mode="json")
    old = {key: value for key, value in made.items() if key not in ("split", "fold", "train", "val", "test")}
    stored = Settings.model_validate({**old, "task": "shipped-split"})
    assert (stored.task, stored.split) == ("shipped-split", None)
    assert changed_settings(stored, models, {}) == stored


def test_a_fork_changes_what_its_samples_do_not_depend_on(models: ModelsFile) -> None:
    made = make_settings(models, seed=3, minutes=1.5)
    assert changed_settings(made, models, {}) == made
    assert changed_settings(made, models, {"fresh": 9, "target": None}).seed == 3
    with pytest.raises(ConfigError, match="--seed cannot change in a fork"):
        changed_settings(made, models, {"seed": 4})


def test_the_command_that_repeats_a_run_says_all_that_decides_it(models: ModelsFile) -> None:
    words = repeat_flags(make_settings(models, target=None, facts=False))
    assert words[:4] == ["--animator", "qwen-coder-1.5b", "--reflector", "qwen-coder-1.5b"]
    assert "--no-facts" in words and words[words.index("--target") + 1] == "none"
    assert "--minutes" not in words


def test_a_stored_endpoint_of_several_servers_is_still_read() -> None:
    stored = {"name": "both", "kind": "ollama", "url": "http://127.0.0.1:1", "urls": ["http://127.0.0.1:1"], "slots": 2}
    assert EndpointSettings.model_validate(stored).url == "http://127.0.0.1:1"
