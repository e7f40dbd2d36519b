"""`localgif rescore`: scores of a finished run's GIFs by another rule, without a model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from localgif.errors import ConfigError, RunCorrupt
from localgif.gif import score
from localgif.run.optimize import optimize
from localgif.run.rescore import rescore, task_of
from localgif.store.log import framed
from localgif.store.read import load_run
from localgif.tasks.task import load_task
from tests.support.kit import Notes, fenced, program, settings
from tests.support.scripted import Scripted, serving


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("runs")
    with serving(Scripted(animator=[fenced(program(24, 40)), "no program"] * 9, reflector=[""])) as server:
        optimize(settings(server.url, metric_calls=1, fresh=2), place, "r", Notes())
    return place / "r"


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "r"))


def test_every_sample_is_scored_again_and_the_run_stays_as_it_is(folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    result = rescore(folder, "strict", None)
    run = load_run(folder)
    lines = [json.loads(line) for line in Path(result["file"]).read_text().splitlines()]
    assert len(lines) == len(run.samples)
    for line, sample in zip(lines, run.samples, strict=True):
        assert (line["index"], line["gif"], line["score"]["scorer"]) == (
            sample.index,
            sample.gif,
            score.VERSIONS["strict"],
        )
        assert line["score"]["total"] == next((s.total for s in sample.also), 0.0), "stored beside the run's own"
    assert (result["old_scorer"], result["scorer"]) == ("article-1", score.VERSIONS["strict"])
    assert sum(row["samples"] for row in result["rows"]) == len(run.samples)
    assert {path: path.read_bytes() for path in before} == before


def test_the_runs_own_rule_gives_the_stored_scores(folder: Path) -> None:
    assert all(row["mean"] == row["old_mean"] for row in rescore(folder, "article", None)["rows"])


def test_an_earlier_version_of_a_rule_may_be_asked_for(folder: Path) -> None:
    old, new = rescore(folder, "strict-3", None), rescore(folder, "strict", None)
    assert (old["scorer"], new["scorer"]) == ("strict-3", score.VERSIONS["strict"])
    assert Path(old["file"]).name == "scores-strict-3.jsonl"
    parts = [
        {p["name"] for line in Path(each["file"]).read_text().splitlines() for p in json.loads(line)["score"]["parts"]}
        for each in (old, new)
    ]
    assert "visible" in parts[1] - parts[0]
    with pytest.raises(ConfigError, match='no rule "strict-1"'):
        rescore(folder, "strict-1", None)


def test_the_newest_rule_looks_at_a_shipped_task_as_it_ships_today(folder: Path) -> None:
    path = folder / "run.json"
    record = json.loads(path.read_text())
    assert record["task"]["name"] == "bouncing-ball"
    record["task"]["subjects"][0]["size_range"] = [0.9, 0.95]
    path.write_text(json.dumps(record))
    (row,) = [
        row for row in rescore(folder, "strict", None)["rows"] if row["label"] == "seed" and row["purpose"] == "fresh"
    ]
    record["task"]["brief"] += " as it was"
    path.write_text(json.dumps(record))
    (other,) = [
        row for row in rescore(folder, "strict", None)["rows"] if row["label"] == "seed" and row["purpose"] == "fresh"
    ]
    assert row["mean"] > other["mean"]


def test_another_task_may_be_asked_for(folder: Path) -> None:
    own = rescore(folder, "strict", None)["rows"][0]["mean"]
    other = rescore(folder, "strict", load_task("orbiting-ball"))
    assert other["task"] == "orbiting-ball"
    assert other["rows"][0]["mean"] > own, "the program draws something that goes round"


def test_a_gif_that_was_changed_is_named(folder: Path) -> None:
    path = next((folder / "gifs").glob("*.gif"))
    path.write_bytes(b"GIF89a")
    with pytest.raises(RunCorrupt, match=path.name):
        rescore(folder, "strict", None)


def test_a_run_without_samples_is_refused(folder: Path) -> None:
    (folder / "samples.jsonl").unlink()
    with pytest.raises(ConfigError, match="has no samples"):
        rescore(folder, "strict", None)


def test_a_gif_in_a_run_folder_is_of_the_task_that_it_was_drawn_for(folder: Path, tmp_path: Path) -> None:
    run = load_run(folder)
    gif = next(sample.gif for sample in run.samples if sample.gif is not None)
    assert task_of(folder / "gifs" / f"{gif}.gif") == task_of(folder / "best.gif") == load_task("bouncing-ball")
    several = {"task": None, "tasks": (load_task("spinning-star"), load_task("bouncing-ball"))}
    (folder / "run.json").write_text(run.record.model_copy(update=several).model_dump_json())
    assert task_of(folder / "gifs" / f"{gif}.gif") == load_task("bouncing-ball")
    assert task_of(folder / "best.gif") is None, "nothing says which of the two it shows"
    assert task_of(tmp_path / "elsewhere" / "x.gif") is None


def test_a_gif_of_a_neighbouring_task_is_scored_against_that_task(folder: Path) -> None:
    run = load_run(folder)
    first = next(sample for sample in run.samples if sample.gif is not None)
    star = load_task("spinning-star")
    (folder / "run.json").write_text(run.record.model_copy(update={"neighbours": (star,)}).model_dump_json())
    assert task_of(folder / "gifs" / f"{first.gif}.gif") == task_of(folder / "best.gif") == load_task("bouncing-ball")
    other = first.model_copy(update={"task": star.name, "purpose": "transfer"})
    (folder / "samples.jsonl").write_bytes(framed(other.model_dump_json().encode()))
    assert task_of(folder / "gifs" / f"{first.gif}.gif") == star
    assert [row["purpose"] for row in rescore(folder, "strict", None)["rows"]] == ["transfer"]
