"""The search against a scripted server: several tasks, the front that is left, and a run without a reflector."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from localgif.errors import ConfigError, EndpointError
from localgif.models.toml import make_settings
from localgif.report.story import verdict_sentence
from localgif.run.optimize import optimize
from localgif.run.rescore import rescore
from localgif.run.resume import resume
from localgif.search.progress import FRONT_SIZE
from localgif.store.read import StoredRun, load_run
from localgif.sweep.read import Finished, read_run
from localgif.tasks.task import load_task
from tests.support.kills import models_file
from tests.support.kit import Notes, fenced, program, settings
from tests.support.scripted import Scripted, serving

pytestmark = pytest.mark.slow  # whole runs

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


# --- the front --------------------------------------------------------------------------------------------------------

NOTHING = fenced("def make_gif(path):\n    pass\n")


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
            known = {"moves up and down": "y = 100 + 60 * math.cos(t)", "spins": "angle = t"}
            line = known.get(phrase, "width = height = 60 + 2 * math.cos(t)")
        return f"        {line}\n        # "


@pytest.fixture(scope="module")
def general(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A general run on lists of tasks whose animator can bounce and spin, and no more."""
    folder = tmp_path_factory.mktemp("general")
    lists = {
        "train": "bouncing-ball,spinning-square,pulsing-circle,spinning-star,two-balls",
        "val": "bouncing-square",
        "test": "breathing-triangle",
    }
    values = {"reflection": "grounded", "scorer": "strict", "form": True, "fresh": 1, "samples": 1, "mode": "general"}
    with serving(Following(animator=[NOTHING], reflector=["???"])) as script:
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
    assert result.best.prompt.count("Example request:") == 4, "all five would take longer to read"
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
    with serving(Following(animator=[NOTHING], reflector=["???"])) as script:
        values = {"reflection": "grounded", "scorer": "strict", "form": True, "target": 0.97, "fresh": 1}
        result = optimize(settings(script.url, **values, task="spinning-square"), tmp_path, "r", Notes())
    assert result.front is None
    assert result.best.mean == 1.0


# --- the control without reflection -----------------------------------------------------------------------------------

GOOD, HALF, POOR = (fenced(program(n, delay)) for n, delay in ((24, 40), (24, 100), (12, 100)))


def test_the_budget_goes_into_samples_of_the_seed_prompt_and_the_best_one_counts(tmp_path: Path) -> None:
    script = [POOR, HALF, POOR, GOOD, POOR, HALF, POOR]
    with serving(Scripted(animator=script)) as server:
        wanted = settings(server.url, reflection="none", metric_calls=3, samples=2, fresh=1)
        result = optimize(wanted, tmp_path, "luck", Notes())
    assert server.asked("/api/generate") == [], "no reflector is asked"
    run = load_run(tmp_path / "luck")
    search = [s for s in run.samples if s.purpose == "search"]
    assert [s.index for s in search] == [0, 1, 2, 3, 4, 5]
    assert len({s.seed for s in search}) == 6 and len({s.candidate for s in run.samples}) == 1
    best = max(search, key=lambda s: s.score.total)
    assert best.index == 3
    found = result.best_of
    assert found is not None
    assert (found.samples, found.scores, found.gifs) == (6, (best.score.total,), (best.gif,))
    assert result.ended_by == "budget" and result.metric_calls == 3
    assert result.best.is_seed and result.best.scores == result.seed.scores != found.scores
    assert f"{best.score.total:.3f}" in verdict_sentence(result) and "6 samples" in verdict_sentence(result)

    counted = read_run(tmp_path / "luck")
    assert isinstance(counted, Finished)
    assert counted.score == best.score.total > counted.start == result.seed.mean
    strict = read_run(tmp_path / "luck", "strict")
    assert isinstance(strict, Finished) and strict.best == (tuple(found.also[strict.rule]),)


def test_it_ends_when_a_sample_reaches_the_target(tmp_path: Path) -> None:
    with serving(Scripted(animator=[POOR, GOOD, POOR])) as server:
        wanted = settings(server.url, reflection="none", metric_calls=9, samples=1, fresh=1, target=0.95)
        result = optimize(wanted, tmp_path, None, Notes())
    assert (result.ended_by, result.metric_calls) == ("target", 2)
    assert result.best_of is not None and result.best_of.samples == 2


def test_several_tasks_take_turns_and_each_keeps_its_own_best(tmp_path: Path) -> None:
    with serving(Scripted(animator=[HALF, GOOD, POOR, HALF, POOR])) as server:
        wanted = settings(
            server.url, reflection="none", mode="multi", task="bouncing-ball,sliding-square", metric_calls=4, samples=1,
            fresh=1,
        )  # fmt: skip
        result = optimize(wanted, tmp_path, "two", Notes())
    search = [s for s in load_run(tmp_path / "two").samples if s.purpose == "search"]
    assert [s.task for s in search] == ["bouncing-ball", "sliding-square"] * 2
    assert result.best_of is not None and result.best_of.tasks == ("bouncing-ball", "sliding-square")
    assert result.best_of.scores == (search[2].score.total, search[1].score.total)
    counted = read_run(tmp_path / "two")
    assert isinstance(counted, Finished) and len(counted.best) == 2


def test_a_run_that_was_cut_off_goes_on_to_the_same_end(tmp_path: Path) -> None:
    results, samples = [], []
    lost = "what the interrupted call would have said"
    for name, script, fail_at in (
        ("cut", [POOR, HALF, POOR, lost, GOOD, HALF, POOR], 4),
        ("whole", [POOR, HALF, POOR, GOOD, HALF, POOR], None),
    ):
        with serving(Scripted(animator=script, fail_at=fail_at)) as server:
            file = models_file(tmp_path, server.url)
            wanted = make_settings(
                file, reflection="none", metric_calls=5, samples=1, fresh=1, scorer="article", target=None
            )
            if fail_at is None:
                results.append(optimize(wanted, tmp_path, name, Notes()))
            else:
                with pytest.raises(EndpointError):
                    optimize(wanted, tmp_path, name, Notes())
                assert len(load_run(tmp_path / name).samples) == 3
                results.append(resume(tmp_path / name, file, Notes(), {}))
                assert len(server.asked("/api/chat")) == 7, "nothing that was finished is asked again"
        samples.append([(s.purpose, s.index, s.score.total) for s in load_run(tmp_path / name).samples])
    assert samples[0] == samples[1]
    assert results[0].best_of == results[1].best_of


def test_a_split_has_nothing_to_keep_the_best_of(tmp_path: Path) -> None:
    wanted = settings("http://127.0.0.1:9", reflection="none", mode="general", split="briefs", metric_calls=9)
    with pytest.raises(ConfigError, match="held-out"):
        optimize(wanted, tmp_path, None, Notes())
    assert not any(tmp_path.iterdir())


def test_a_run_without_time_ends_before_its_first_sample(tmp_path: Path) -> None:
    with serving(Scripted(animator=[POOR])) as server:
        wanted = settings(server.url, reflection="none", metric_calls=2, samples=1, fresh=1, minutes=1e-9)
        result = optimize(wanted, tmp_path, "late", Notes())
    assert (result.ended_by, result.metric_calls) == ("minutes", 0)
    assert result.best_of is not None and result.best_of.samples == 0
