"""Several tasks in one run, against a scripted server: what is asked, what crosses from task to task, what is said."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from localgif.errors import ConfigError
from localgif.report.story import verdict_sentence
from localgif.run.optimize import optimize
from localgif.run.rescore import rescore
from localgif.store.read import StoredRun, load_run
from localgif.tasks.task import load_task
from tests.support.kit import Notes, fenced, settings
from tests.support.scripted import Scripted, serving

PROGRAM = """import math
from PIL import Image, ImageDraw
def make_gif(path):
    frames = []
    for i in range(24):
        t = math.cos(2 * math.pi * i / 24)
        picture = Image.new("RGB", (120, 120), "{background}")
        x, y, r = {x}, {y}, {r}
        ImageDraw.Draw(picture).{shape}((x - r, y - r, x + r, y + r), fill="{colour}")
        frames.append(picture)
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=40, loop=0)
"""
USUAL = {"background": "white", "x": "60", "y": "60", "r": "12", "shape": "ellipse", "colour": "red"}
#: Programs that were right for their task, written for these tests.
RIGHT = {
    "bouncing-ball": {"y": "60 + 40 * t"},
    "bouncing-square": {"background": "black", "colour": "lime", "shape": "rectangle", "y": "60 + 40 * t"},
    "sliding-square": {"shape": "rectangle", "x": "60 + 40 * t"},
    "diagonal-ball": {"background": "black", "colour": "white", "x": "60 + 40 * t", "y": "60 + 40 * t"},
    "pulsing-circle": {"r": "24 + 12 * t"},
    "pulsing-square": {"background": "yellow", "colour": "blue", "shape": "rectangle", "r": "24 + 12 * t"},
}
CODE = {load_task(name).brief: PROGRAM.format(**{**USUAL, **changes}) for name, changes in RIGHT.items()}
STILL = PROGRAM.format(**USUAL)
BOTH = "bouncing-ball,sliding-square"


class Able(Scripted):
    """A reflector that writes what it is asked for; an animator that gives the answer of an example, if its request
    is in the prompt, and with `transfers` finds out the rest once any example is there."""

    transfers = False

    def next(self, path: str, body: dict[str, Any]) -> Any:
        said = super().next(path, body)
        if not isinstance(said, str):
            return said
        if path != "/api/chat":
            brief = re.findall(r"^Animation: (.+)\.$", body["prompt"], re.MULTILINE)
            return fenced(CODE[brief[-1]]) if brief and said == "able" else said
        system, request = body["messages"][0]["content"], body["messages"][1]["content"]
        brief = request.partition("Animation: ")[2]
        shown = f"Example request: {request}" in system or (self.transfers and "Example request" in system)
        return fenced(CODE[brief] if shown else STILL)


class Transferring(Able):
    transfers = True


def run(tmp_path: Path, server: type[Scripted] = Able, reflector: str = "able", **changes: Any) -> Any:
    values = {
        "mode": "multi",
        "task": BOTH,
        "reflection": "grounded",
        "scorer": "strict",
        "target": 0.98,
        "metric_calls": 14,
        "samples": 1,
        "fresh": 2,
    }
    notes = Notes()
    with serving(server(animator=["?"], reflector=[reflector])) as script:
        result = optimize(settings(script.url, **{**values, **changes}), tmp_path, "r", notes)
    return result, load_run(tmp_path / "r"), script, notes


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run of two tasks, each with a program that is right for it."""
    return run(tmp_path_factory.mktemp("both"))


def of(run: StoredRun, purpose: str) -> set[str]:
    return {s.task for s in run.samples if s.purpose == purpose}


def test_one_prompt_comes_to_hold_an_example_for_each_task(both: Any) -> None:
    result, stored, _, notes = both
    prompt = result.best.prompt
    assert result.ended_by == "target"
    assert all(load_task(name).brief in prompt for name in BOTH.split(","))
    assert [(row.task, row.best_mean) for row in result.tasks] == [(name, 1.0) for name in BOTH.split(",")]
    assert all(row.seed_mean < 0.5 for row in result.tasks)
    assert (result.mode, result.task, result.split) == ("multi", BOTH, None)
    assert of(stored, "search") == of(stored, "retest") == of(stored, "fresh") == set(BOTH.split(","))
    assert {p.task for p in stored.proposals} == set(BOTH.split(","))
    assert [task.name for task in stored.record.tasks] == BOTH.split(",") and stored.record.task is None
    assert any(line.startswith("tasks ") for line in notes.lines)


def test_what_is_good_for_one_task_is_the_model_for_another(both: Any) -> None:
    _, _, script, _ = both
    first, second = (body["prompt"] for body in script.asked("/api/generate"))
    assert "another animation" not in first
    assert "This program draws another animation" in second and "math.cos" in second


def test_a_measured_candidate_costs_nothing_when_it_is_looked_at_again(both: Any) -> None:
    _, stored, _, _ = both
    search = [(s.candidate, s.task) for s in stored.samples if s.purpose == "search"]
    assert len(search) == len(set(search))


def test_the_reflector_sees_which_tasks_a_candidate_wins_and_loses(tmp_path: Path) -> None:
    _, _, script, _ = run(tmp_path, reflection="instruction-only", reflector="Rule: Move it a little in each frame.")
    asked = script.asked("/api/generate")[0]["prompt"]
    for name in BOTH.split(","):
        assert re.search(rf"- {re.escape(load_task(name).brief)}: 0\.\d\d of 1", asked)
    assert "right for every animation" in asked


def test_the_verdict_of_several_tasks_is_about_these(tmp_path: Path) -> None:
    result, _, _, _ = run(tmp_path, fresh=4)
    verdict = result.verdict
    assert (verdict.word, verdict.unit, verdict.tasks, verdict.pairs) == ("better", "sample", 2, 8)
    assert "2 tasks, pairs within each task resampled" in verdict_sentence(result)


SMALL_SPLIT = {
    "train": ("diagonal-ball", "pulsing-circle"),
    "val": ("bouncing-ball",),
    "held-out": ("bouncing-square", "sliding-square", "pulsing-square"),
}


GENERAL: dict[str, Any] = {"mode": "general", "split": "own"}
GENERAL |= {name: ",".join(tasks) for name, tasks in zip(("train", "val", "test"), SMALL_SPLIT.values(), strict=True)}


def test_held_out_tasks_are_seen_by_nobody_before_the_end(tmp_path: Path) -> None:
    result, stored, script, _ = run(tmp_path, Transferring, **GENERAL)
    held_out = set(SMALL_SPLIT["held-out"])
    assert of(stored, "search") <= {*SMALL_SPLIT["train"], *SMALL_SPLIT["val"]}
    assert of(stored, "retest") == set(SMALL_SPLIT["val"])
    assert of(stored, "fresh") == held_out == {row.task for row in result.tasks}
    briefs = [load_task(name).brief for name in held_out]
    assert not any(brief in body["prompt"] for body in script.asked("/api/generate") for brief in briefs)
    assert not any(brief in result.best.prompt for brief in briefs)
    assert result.split == SMALL_SPLIT
    assert stored.record.split == SMALL_SPLIT

    # The headline is about the held-out tasks.
    assert result.best.mean == 1.0 > 0.5 > result.seed.mean
    assert len(result.best.scores) == 2 * len(SMALL_SPLIT["held-out"])
    assert (result.verdict.unit, result.verdict.tasks) == ("task", 3)
    assert result.verdict.word == "not shown", "three tasks are too few to speak for others"


def test_an_example_that_helps_its_own_task_alone_does_not_win(tmp_path: Path) -> None:
    result, stored, _, _ = run(tmp_path, Able, **GENERAL)
    assert any(p.child for p in stored.proposals), "programs were found"
    assert result.best.search_scores == result.seed.search_scores, "and none helped the task that decides"


def test_plain_reflection_takes_several_tasks_too(tmp_path: Path) -> None:
    result, stored, _, _ = run(tmp_path, reflection="plain", reflector="```\nDraw it well.\n```", target=None)
    assert {s.task for s in stored.samples if s.purpose == "search"} == set(BOTH.split(","))
    assert result.metric_calls == 14


def test_a_run_of_several_tasks_is_rescored_task_by_task(both: Any) -> None:
    folder = both[1].folder
    again = rescore(folder, "strict", None)
    assert all(row["old_mean"] == row["mean"] for row in again["rows"])
    assert again["task"] == BOTH
    other = rescore(folder, "strict", load_task("spinning-bar"))
    assert any(row["old_mean"] > row["mean"] for row in other["rows"])


def test_a_budget_that_only_measures_the_seed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--metric-calls 2 is too low for 2 tasks"):
        run(tmp_path, metric_calls=2)


@pytest.mark.parametrize(
    ("changes", "dataset", "valset", "merges"),
    [
        ({"mode": "single", "task": "bouncing-ball"}, None, None, False),
        ({"mode": "multi", "task": BOTH}, BOTH.split(","), None, True),
        (GENERAL, list(SMALL_SPLIT["train"]), list(SMALL_SPLIT["val"]), True),
    ],
)
def test_gepa_is_asked_in_the_mode(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    dataset: object,
    valset: object,
    merges: bool,
) -> None:
    import gepa.optimize_anything as api

    asked: dict[str, Any] = {}
    real = api.optimize_anything

    def noting(**arguments: Any) -> Any:
        asked.update(arguments)
        return real(**arguments)

    monkeypatch.setattr(api, "optimize_anything", noting)
    run(tmp_path, metric_calls=6, fresh=1, **changes)
    assert (asked.get("dataset"), asked.get("valset")) == (dataset, valset)
    assert (asked["config"].merge is not None) is merges
