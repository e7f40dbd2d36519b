"""The front: which prompts it holds, and which answer it keeps."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from localgif.run.optimize import optimize
from localgif.run.resume import resume
from localgif.search.progress import FRONT_SIZE
from localgif.store.read import load_run
from tests.support.kills import models_file
from tests.support.kit import Notes, fenced, settings
from tests.support.scripted import Scripted, serving

STILL = fenced("def make_gif(path):\n    pass\n")


class Following(Scripted):
    """An animator that answers phrases once its prompt shows the form, and with nothing else before."""

    def next(self, path: str, body: dict[str, Any]) -> Any:
        said = super().next(path, body)
        if path != "/api/chat" or body["messages"][-1]["role"] != "assistant":
            return said
        phrase = body["messages"][-1]["content"].splitlines()[-1].strip(' #"')
        if phrase.endswith("background"):
            line = f'image, draw = canvas("{phrase.split()[-2]}")'
        elif phrase.startswith("a "):
            line = f'shape, color = {"SQUARE" if "square" in phrase else "CIRCLE"}, "{phrase.split()[1]}"'
        else:
            line = "y = 100 + 60 * math.cos(t)" if phrase == "moves up and down" else "angle = t"
        return f"        {line}\n        # "


@pytest.fixture(scope="module")
def general(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A general run on lists of tasks whose animator can bounce and spin, and no more."""
    folder = tmp_path_factory.mktemp("general")
    lists = {
        "train": "bouncing-ball,spinning-square,pulsing-circle",
        "val": "bouncing-square",
        "test": "breathing-triangle",
    }
    values = {"reflection": "grounded", "scorer": "strict", "form": True, "fresh": 1, "samples": 1, "mode": "general"}
    with serving(Following(animator=[STILL], reflector=["???"])) as script:
        chosen = settings(script.url, **values, metric_calls=12, split="own", task="split-own", target=0.97, **lists)
        whole = optimize(chosen, folder, "r", Notes()), load_run(folder / "r")
        asked = len(script.history)
        again = resume(cut(folder, samples=6), models_file(folder, script.url), Notes(), {})
        return *whole, script, again, asked


def cut(folder: Path, samples: int) -> Path:
    """A copy of the run that ended after some samples."""
    shutil.copytree(folder / "r", folder / "cut")
    record = json.loads((folder / "cut" / "run.json").read_text())
    (folder / "cut" / "run.json").write_text(json.dumps(record | {"status": "interrupted", "result": None}))
    log = folder / "cut" / "samples.jsonl"
    log.write_bytes(b"".join(line + b"\n" for line in log.read_bytes().splitlines()[:samples]))
    return folder / "cut"


def test_all_examples_are_earned_before_the_first_is_shown_and_no_reflector_is_asked(general: Any) -> None:
    result, stored, script, *_ = general
    assert result.best.search_scores == (1.0,)
    assert result.best.prompt.count("Example request:") == 3
    assert script.asked("/api/generate") == []
    assert {p.move for p in stored.proposals} <= {"tune", "order"}


def test_the_front_holds_other_orders_and_asks_them_where_the_best_falls_short(general: Any) -> None:
    result, stored, *_ = general
    front = result.front
    assert front is not None
    assert 2 <= len(front.prompts) <= FRONT_SIZE
    assert front.prompts[0].candidate == result.best.candidate
    assert len({prompt.candidate for prompt in front.prompts}) == len(front.prompts)
    assert front.answers == len(front.prompts), "the triangle cannot be drawn, so each prompt was asked"
    assert front.mean >= result.best.mean
    assert (stored.folder / "front.json").read_text().startswith("{")


def test_a_run_that_was_cut_off_comes_to_the_same_front(general: Any) -> None:
    result, _, script, again, asked = general
    assert (again.best.candidate, again.front) == (result.best.candidate, result.front)
    assert len(script.history) - asked < asked, "what was finished is not asked again"


def test_a_run_of_one_task_has_no_front(tmp_path: Path) -> None:
    with serving(Following(animator=[STILL], reflector=["???"])) as script:
        values = {"reflection": "grounded", "scorer": "strict", "form": True, "target": 0.97, "fresh": 1}
        result = optimize(settings(script.url, **values, task="spinning-square"), tmp_path, "r", Notes())
    assert result.front is None
    assert result.best.mean == 1.0
