"""What a comparison reads from stored runs: scores, costs, settings, and the reason for each run that is left out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from localgif.errors import ConfigError, RunCorrupt
from localgif.records import SCHEMA_VERSION
from localgif.sweep.compare import group
from localgif.sweep.read import SWEEP, Finished, Left, SweepRecord, find_runs, read_run
from tests.support.sweeps import stored


def sweep_of(runs_dir: Path, cells: list[str], **failures: str) -> None:
    record = SweepRecord(
        name="s", started="x", axes={"reflection": ("plain",)}, cells={c: {} for c in cells}, failures=failures
    )
    (runs_dir / "s").mkdir(exist_ok=True)
    (runs_dir / "s" / SWEEP).write_text(record.model_dump_json())


def test_a_sweep_names_all_that_is_missing(tmp_path: Path) -> None:
    for name in ("a", "old", "broken", "begun"):
        stored(tmp_path / "s", name, [0.1] * 4, [0.9] * 4)
    (tmp_path / "s" / "broken" / "run.json").write_text("{")
    begun = tmp_path / "s" / "begun" / "run.json"
    failed = {"status": "failed", "error": "the server died", "result": None}
    begun.write_text(json.dumps(json.loads(begun.read_text()) | failed))
    sweep_of(tmp_path, ["a", "begun", "broken", "never", "lost"], lost="no weights")
    found = find_runs(tmp_path, ["s"])
    assert [run.name for run in found.runs] == ["a"]
    left = {run.name: run.why for run in found.left}
    assert left.keys() == {"old", "begun", "broken", "never", "lost"}
    assert (left["begun"], left["never"], left["lost"]) == ("failed: the server died", "not started", "no weights")
    assert "no longer has this cell" in left["old"]
    assert "not a JSON object" in left["broken"]
    assert (found.title, found.folder, found.axes) == ("sweep s", tmp_path / "s", ("reflection",))


def test_a_run_that_is_named_twice_counts_once(tmp_path: Path) -> None:
    stored(tmp_path / "s", "a", [0.1] * 4, [0.9] * 4)
    sweep_of(tmp_path, ["a"])
    assert len(find_runs(tmp_path, ["s", "s/a", str(tmp_path / "s" / "a")]).runs) == 1


def test_rules_are_not_mixed(tmp_path: Path) -> None:
    stored(tmp_path, "a", [0.1] * 4, [0.9] * 4)
    stored(tmp_path, "b", [0.1] * 4, [0.6] * 4, scorer="article-1")
    with pytest.raises(ConfigError, match="article-1, strict-3"):
        find_runs(tmp_path, ["a", "b"])
    strict, article = (find_runs(tmp_path, ["a", "b"], rule) for rule in ("strict", "article"))
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
        find_runs(tmp_path, ["nothing"])
    sweep_of(tmp_path, ["a"])
    with pytest.raises(ConfigError, match=r"none of these runs can be compared \(a: not started\)"):
        find_runs(tmp_path, ["s"])


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
        find_runs(tmp_path, ["s"])


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
    found = group(find_runs(tmp_path, ["a", "b", "c"]).runs)
    assert found.axes == ("animator.digest",)
    assert [[run.name for run in g.runs] for g in found.groups] == [["a", "b"], ["c"]]
