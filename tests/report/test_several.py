"""What is made of a run of several tasks: each GIF says what it was asked to show, each task is checked as itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from localgif.report.export import best_of, export
from localgif.report.page import render
from localgif.report.story import verdict_sentence
from localgif.run.optimize import optimize
from localgif.store.read import load_run
from localgif.tasks.task import load_task
from tests.kit import Notes, fenced, program, settings
from tests.scripted import Scripted, serving

TASKS = ("bouncing-ball", "sliding-square")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("runs")
    values: dict[str, Any] = {"mode": "multi", "task": ",".join(TASKS), "metric_calls": 4, "samples": 1, "fresh": 1}
    with serving(Scripted(animator=[fenced(program(24))], reflector=["```\nDraw it.\n```"])) as server:
        optimize(settings(server.url, **values), place, "several", Notes())
    return place / "several"


def test_each_gif_of_the_report_says_what_was_asked(folder: Path) -> None:
    run = load_run(folder)
    assert run.record.result is not None
    page = render(run, "done", verdict_sentence(run.record.result))
    for name in TASKS:
        assert f"asked was: {load_task(name).brief}" in page
    assert ",".join(TASKS) in page, "the headline names them all"


def test_promptfoo_scores_each_task_as_itself(folder: Path) -> None:
    run = load_run(folder)
    assert run.record.result is not None
    best = best_of(run.record, run.record.result.best.prompt)
    tests = yaml.safe_load(export(best, "promptfoo"))["tests"]
    assert [test["vars"]["brief"] for test in tests] == [load_task(name).brief for name in TASKS]
    for name, test in zip(TASKS, tests, strict=True):
        assert f'"--task", {name!r}' in test["assert"][0]["value"]
    for form in ("md", "modelfile", "llm", "python"):
        assert json.dumps(best.run)[1:-1] in export(best, form) or form == "md"
