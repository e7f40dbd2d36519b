"""A whole run with a scripted Ollama server: real clients, HTTP, GEPA and sandbox, fixed answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from localgif.agent.prompts import SEED_PROMPT
from localgif.errors import EndpointError, SandboxError, SandboxTooWeak
from localgif.files import content_hash
from localgif.records import Verdict
from localgif.report.story import verdict_sentence
from localgif.run.optimize import optimize
from localgif.sandbox import probe
from localgif.sandbox.protocol import LAYERS, NO_READ_CONFINEMENT, WEAK
from localgif.store.read import load_run
from tests.support.kit import Notes, fenced, program, settings
from tests.support.scripted import MODEL, TOO_LONG, Scripted, cut_off, refuse, serving

pytestmark = pytest.mark.slow  # whole runs

BETTER = "You are a Python animator. Write make_gif(path) with exactly 24 frames. Output only code."
BAD = fenced("def make_gif(path):\n    imige.save(path)\n")
POOR = fenced(program(12, 100))
GOOD = fenced(program(24, 40))


class Improving(Scripted):
    """An animator that follows the prompt: 24 frames if the prompt asks for them, else 12."""

    def next(self, path: str, body: dict[str, Any]) -> Any:
        said = super().next(path, body)
        if path == "/api/chat" and isinstance(said, str):
            return GOOD if "24 frames" in body["messages"][0]["content"] else POOR
        return said


def test_a_run_finds_the_better_prompt_and_leaves_the_whole_folder(tmp_path: Path) -> None:
    with serving(Improving(animator=[POOR], reflector=[f"```\n{BETTER}\n```"])) as server:
        result = optimize(settings(server.url, metric_calls=4, fresh=4), tmp_path, "first", Notes())
    assert result.best.prompt == BETTER
    assert result.best.frames == (24, 24, 24, 24)
    assert result.best.mean > 0.98
    assert result.seed.frames == (12, 12, 12, 12)
    assert result.verdict.word == "better"
    assert result.metric_calls == 4
    assert result.output_tokens.reflector > 0 < result.output_tokens.animator

    folder = tmp_path / "first"
    assert (folder / "best_prompt.md").read_text().strip() == BETTER
    run = load_run(folder)
    assert run.record.status == "done"
    assert run.record.result == result
    search = [s for s in run.samples if s.purpose == "search"]
    assert sorted(s.metric_call or 0 for s in search) == [1, 1, 2, 2, 3, 3, 4, 4]
    assert len(run.samples) == 8 + 8
    for sample in run.samples:
        assert sample.code is not None and sample.gif is not None
        assert "def make_gif" in run.text("code", sample.code)
        assert run.data("gifs", sample.gif).startswith(b"GIF8")
    assert run.text("candidates", content_hash(SEED_PROMPT)) == SEED_PROMPT


def test_a_comparison_that_can_show_nothing_any_more_ends_early(tmp_path: Path) -> None:
    class Unsteady(Improving):
        """Every second answer to the better prompt is as bad as the answers to the seed prompt."""

        def next(self, path: str, body: dict[str, Any]) -> Any:
            said = super().next(path, body)
            return POOR if said == GOOD and body["options"]["seed"] % 2 else said

    with serving(Unsteady(animator=[POOR], reflector=[f"```\n{BETTER}\n```"])) as server:
        result = optimize(settings(server.url, metric_calls=4, fresh=8, seed=8), tmp_path, "first", Notes())
    assert result.best.prompt == BETTER
    run = load_run(tmp_path / "first")
    fresh = [sample for sample in run.samples if sample.purpose == "fresh"]
    made = len(fresh) // 2
    assert result.verdict.word == "not shown"
    assert 2 <= made == result.verdict.pairs == len(result.seed.scores) == len(result.best.scores) < 8
    assert result.verdict.planned == 8
    assert f"{made} of 8 pairs of fresh samples" in verdict_sentence(result)
    names = {content_hash(SEED_PROMPT): "seed", content_hash(BETTER): "best"}
    order = [names[sample.candidate] for sample in fresh]
    assert order[:4] == ["seed", "seed", "best", "best"], "two pairs, each prompt read once"
    assert order[4:] == ["seed", "best"] * (made - 2), "then the prompts alternate"


def test_the_models_are_asked_as_the_article_asks_them(tmp_path: Path) -> None:
    with serving(Improving(animator=[POOR], reflector=[f"```\n{BETTER}\n```"])) as server:
        optimize(settings(server.url, metric_calls=2, fresh=1), tmp_path, None, Notes())
    chats, reflections = server.asked("/api/chat"), server.asked("/api/generate")
    assert [m["role"] for m in chats[0]["messages"]] == ["system", "user"]
    assert chats[0]["messages"][0]["content"] == SEED_PROMPT
    assert chats[0]["messages"][1]["content"].endswith("a red ball bouncing up and down on a white background")
    for body in [*chats, *reflections]:
        assert body["model"] == MODEL
        assert body["options"]["num_ctx"] == 4096, "a different window reloads the model at every switch"
        assert body["options"]["num_predict"] == 1024
        assert body["keep_alive"] == "30m"
    assert reflections[0]["truncate"] is False
    seeds = [body["options"]["seed"] for body in chats]
    assert len(set(seeds[:2])) == 2, "two samples of a candidate have two seeds"
    assert seeds[:2] == seeds[2:4], "the child meets the seeds that its parent met"
    assert not set(seeds[4:]) & set(seeds[:4]), "fresh samples have seeds that the search never used"
    prompt = reflections[0]["prompt"]
    assert SEED_PROMPT in prompt
    assert "exactly 24 frames" in prompt.replace("\n", " ")
    assert "12 " in prompt, "the measured frame count is what the reflector reads"


def test_a_failing_program_is_repaired_and_both_attempts_are_kept(tmp_path: Path) -> None:
    with serving(Scripted(animator=[BAD, GOOD], reflector=["```\nsame\n```"])) as server:
        result = optimize(settings(server.url, metric_calls=1, samples=1, fresh=1), tmp_path, "r", Notes())
    sample = load_run(tmp_path / "r").samples[0]
    assert [a.verdict for a in sample.attempts] == [Verdict.ERROR, Verdict.OK]
    assert "imige" in sample.attempts[0].reason
    assert result.llm_calls == 3
    repair = server.asked("/api/chat")[1]["messages"]
    assert "imige.save" in repair[2]["content"] and "NameError" in repair[3]["content"]


def test_a_program_that_never_runs_scores_zero_after_three_attempts(tmp_path: Path) -> None:
    with serving(Scripted(animator=[BAD], reflector=["```\nsame\n```"])) as server:
        result = optimize(settings(server.url, metric_calls=1, samples=1, fresh=1), tmp_path, "r", Notes())
    assert result.seed.scores == (0.0,)
    assert result.seed.frames == (None,)
    assert len(load_run(tmp_path / "r").samples[0].attempts) == 3


@pytest.mark.parametrize("budget", [1, 2, 5])
@pytest.mark.parametrize("reply", [f"```\n{BETTER}\n```", "```\nDraw it in blue.\n```"], ids=["accepted", "rejected"])
def test_the_budget_is_spent_exactly(tmp_path: Path, budget: int, reply: str) -> None:
    notes = Notes()
    with serving(Improving(animator=[POOR], reflector=[reply])) as server:
        result = optimize(settings(server.url, metric_calls=budget, samples=1, fresh=1), tmp_path, "r", notes)
    assert result.metric_calls == budget
    assert [number for number, _, _ in notes.calls] == list(range(1, budget + 1))
    assert sum(s.purpose == "search" for s in load_run(tmp_path / "r").samples) == budget


def test_a_reflector_that_only_emits_noise_keeps_the_seed_and_says_so(tmp_path: Path) -> None:
    with serving(Improving(animator=[POOR], reflector=["{}", "", "```\n```", "???"])) as server:
        result = optimize(settings(server.url, metric_calls=5, samples=1, fresh=1), tmp_path, "r", Notes())
    assert result.best.is_seed is True
    assert result.best.prompt == SEED_PROMPT
    assert result.metric_calls == 5
    assert "empty" in {p.outcome for p in load_run(tmp_path / "r").proposals}


def test_a_cut_reflection_is_marked(tmp_path: Path) -> None:
    notes = Notes()
    with serving(Improving(animator=[POOR], reflector=[cut_off("```\nhalf a pro")])) as server:
        optimize(settings(server.url, metric_calls=2, samples=1, fresh=1), tmp_path, "r", notes)
    assert [p.finish_reason for p in load_run(tmp_path / "r").proposals] == ["length"]
    assert any("cut off at num_predict" in note for note in notes.notes)


# 10 requests to the models: seed, then parent, reflection, child, once more for an accepted child, fresh samples.
CALLS = {"metric_calls": 4, "samples": 1, "fresh": 2}


DEAD = (501, "model runner has unexpectedly stopped")
FULL = (400, TOO_LONG)


# A sample of the seed (1), the parent again (2), the reflection (3), the child (4), a fresh sample (9).
@pytest.mark.parametrize(("at", "fault"), [*((at, DEAD) for at in (1, 2, 3, 4, 9)), (1, FULL), (3, FULL)])
def test_a_server_that_fails_at_any_call_ends_the_run_and_is_never_a_score(
    tmp_path: Path, at: int, fault: tuple[int, str]
) -> None:
    server = Improving(animator=[POOR], reflector=[f"```\n{BETTER}\n```"], fail_at=at, fault=refuse(*fault))
    with serving(server), pytest.raises(EndpointError) as caught:
        optimize(settings(server.url, **CALLS), tmp_path, "r", Notes())
    assert caught.value.exit_code == 4
    assert fault[1] in caught.value.message
    if "context size" in fault[1]:
        assert "num_ctx" in caught.value.remedy
    run = load_run(tmp_path / "r")
    assert run.record.status == "failed"
    assert run.record.error
    assert run.record.result is None
    assert all(s.verdict is Verdict.OK for s in run.samples), "what was measured before is kept, nothing is made up"
    assert len(server.history) == at, "nothing was asked after the failure, and nothing twice"


def test_a_failing_sandbox_ends_the_run_and_is_never_a_score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise SandboxError("a process survived", "reboot")

    with serving(Scripted(animator=[GOOD], reflector=["x"])) as server:
        monkeypatch.setattr("localgif.search.programs.measure_gif", broken)
        with pytest.raises(SandboxError):
            optimize(settings(server.url, metric_calls=2), tmp_path, "r", Notes())
    run = load_run(tmp_path / "r")
    assert (run.record.status, run.record.error, run.samples) == ("failed", "a process survived", ())


def test_the_same_seed_asks_the_same_questions(tmp_path: Path) -> None:
    asked = []
    for name in ("a", "b"):
        with serving(Improving(animator=[POOR], reflector=[f"```\n{BETTER}\n```"])) as server:
            optimize(settings(server.url, metric_calls=3, samples=1, fresh=1, seed=5), tmp_path, name, Notes())
        asked.append(json.dumps(server.history, sort_keys=True))
    assert asked[0] == asked[1]


@pytest.fixture
def weak_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "checked", probe.Check(WEAK, (), ("full: no seccomp",)))
    monkeypatch.setattr(probe, "accepted", NO_READ_CONFINEMENT)


@pytest.mark.usefixtures("weak_machine")
def test_nothing_is_started_on_a_machine_that_is_too_weak(tmp_path: Path) -> None:
    with pytest.raises(SandboxTooWeak) as caught:
        optimize(settings("http://127.0.0.1:9"), tmp_path / "runs", "r", Notes())
    assert caught.value.exit_code == 3
    assert "only at level weak, which is weaker than no-read-confinement" in caught.value.message
    assert "--sandbox-level weak" in caught.value.remedy
    assert not (tmp_path / "runs").exists()


@pytest.mark.usefixtures("weak_machine")
def test_a_weak_level_that_was_accepted_is_used_and_recorded(tmp_path: Path) -> None:
    with serving(Scripted(animator=[fenced(program(2))], reflector=["x"])) as server:
        chosen = settings(server.url, metric_calls=1, samples=1, fresh=1, sandbox_level=WEAK)
        optimize(chosen, tmp_path, "r", Notes())
    record = load_run(tmp_path / "r").record
    assert (record.settings.sandbox_level, record.sandbox.level) == (WEAK, WEAK)
    assert record.sandbox.layers == tuple(sorted(LAYERS[WEAK]))
    assert "full: no seccomp" in record.sandbox.notes
