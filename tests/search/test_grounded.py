"""Grounded reflection in the whole loop, against a scripted server: what is asked, tried, paid, kept and stored."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from localgif.agent.prompts import contract
from localgif.errors import ConfigError, LocalGifError, RunError, SandboxError
from localgif.files import content_hash
from localgif.run.optimize import optimize
from localgif.search.evaluator import prompt_of, seed_of
from localgif.search.moves import ATTEMPTS
from localgif.store.read import load_run
from localgif.store.write import RunStore
from localgif.tasks.suite import load_suite
from localgif.tasks.task import load_task
from tests.support.kit import Notes, fenced, program, settings
from tests.support.scripted import Scripted, cut_off, serving

pytestmark = pytest.mark.slow  # whole runs

BALL = load_task("bouncing-ball")
ALONE = load_suite("single", "bouncing-ball")
SEED_TEXT = prompt_of(seed_of(ALONE), ALONE)
STILL = fenced(
    "from PIL import Image\n\ndef make_gif(path):\n"
    "    frames = [Image.new('RGB', (90, 90), 'white') for _ in range(24)]\n"
    "    frames[0].save(path, save_all=True, append_images=frames[1:], duration=40, loop=0)\n"
)
CRASHING = fenced("def make_gif(path):\n    image.save(path)\n")
GOOD = fenced(program(24, 40))
WRONG_NUMBERS = fenced(program(30, 90))
RULE = "Rule: Draw the shape at a new place in every frame."
NOISE = ("???", "```\n\n```", "Okay, let me think about it.")


class Copying(Scripted):
    """An animator that copies the worked example when there is one, and draws nothing that moves otherwise."""

    follows = True

    def next(self, path: str, body: dict[str, Any]) -> Any:
        said = super().next(path, body)
        if path != "/api/chat" or not isinstance(said, str):
            return said
        system = body["messages"][0]["content"]
        if self.follows and "```python" in system:
            return fenced(system.split("```python\n")[1].split("```")[0])
        return said


def run(tmp_path: Path, reflector: Sequence[Any], server: type[Scripted] = Copying, **changes: Any) -> Any:
    values = {"reflection": "grounded", "target": 0.98, "metric_calls": 6, "fresh": 2, **changes}
    with serving(server(animator=[STILL], reflector=reflector)) as script:
        result = optimize(settings(script.url, **values), tmp_path, "r", Notes())
    return result, load_run(tmp_path / "r"), script


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run whose reflector writes a good program at once."""
    return run(tmp_path_factory.mktemp("good"), [GOOD], fresh=4)


def test_a_measured_program_enters_the_prompt_and_the_run_ends_at_its_target(good: Any) -> None:
    result, stored, script = good
    assert result.ended_by == "target"
    assert result.best.mean > 0.98 > 0.5 > result.seed.mean
    assert result.best.prompt.startswith(contract(BALL.targets))
    assert "math.cos" in result.best.prompt, "the model's program, not ours"
    assert result.best.search_scores and result.best.retest_scores
    assert [p.outcome for p in stored.proposals] == ["measured"]
    assert stored.proposals[0].child == result.best.candidate
    assert stored.text("candidates", result.best.candidate) == result.best.prompt
    assert len(script.asked("/api/generate")) == 1
    assert (stored.folder / "best_prompt.md").read_text().startswith(contract(BALL.targets))


def test_every_prompt_that_the_animator_reads_begins_with_the_contract(tmp_path: Path) -> None:
    _, _, script = run(tmp_path, [RULE, GOOD, *NOISE], target=None)
    systems = {body["messages"][0]["content"] for body in script.asked("/api/chat")}
    assert len(systems) > 1
    assert all(system.startswith(contract(BALL.targets)) for system in systems)


def test_wrong_numbers_are_put_right_without_asking_the_model_again(tmp_path: Path) -> None:
    result, stored, script = run(tmp_path, [WRONG_NUMBERS])
    assert result.best.mean > 0.98
    assert [p.move for p in stored.proposals] == ["example", "tune"]
    assert stored.proposals[1].output_tokens == 0
    assert len(script.asked("/api/generate")) == 1
    assert result.proposals == 1, "a search over numbers is no call"


def test_the_animators_own_programs_are_material(tmp_path: Path) -> None:
    class Nearly(Copying):
        def next(self, path: str, body: dict[str, Any]) -> Any:
            said = super().next(path, body)
            return WRONG_NUMBERS if said == STILL else said

    result, stored, script = run(tmp_path, ["???"], server=Nearly)
    assert result.best.mean > 0.98
    assert [p.move for p in stored.proposals] == ["tune"]
    assert script.asked("/api/generate") == []


def test_a_crash_is_given_back_with_its_error_and_the_repair_is_used(tmp_path: Path) -> None:
    result, stored, script = run(tmp_path, [CRASHING, GOOD])
    first, second = [body["prompt"] for body in script.asked("/api/generate")]
    assert "NameError" not in first
    assert "NameError" in second and "image.save(path)" in second
    assert [p.score for p in stored.proposals] == [0.0, pytest.approx(result.best.mean)]


@pytest.mark.parametrize("noise", NOISE)
def test_noise_costs_no_metric_call_and_keeps_the_seed(tmp_path: Path, noise: str) -> None:
    result, stored, _ = run(tmp_path, [noise], fresh=1)
    assert result.best.is_seed is True
    assert result.ended_by == "idle"
    assert result.metric_calls == 1
    assert {p.outcome for p in stored.proposals} == {"rejected"}
    assert all(p.reason and p.child is None for p in stored.proposals)
    assert all(s.candidate == content_hash(SEED_TEXT) for s in stored.samples)


def test_a_reply_that_was_cut_is_rejected_and_never_measured(tmp_path: Path) -> None:
    half = cut_off(GOOD.split("frames.append")[0])
    result, stored, _ = run(tmp_path, [half], fresh=1)
    assert {p.reason for p in stored.proposals} <= {"cut_off", "syntax"}
    assert result.metric_calls == 1


def test_a_worse_program_never_enters_the_prompt(tmp_path: Path) -> None:
    result, stored, _ = run(tmp_path, [STILL, CRASHING], fresh=1)
    assert result.best.is_seed is True
    assert all(p.child is None for p in stored.proposals)


def test_a_rule_is_one_line_more_and_the_retry_says_what_was_wrong(tmp_path: Path) -> None:
    code = "def make_gif(path):\n    pass"
    result, stored, script = run(
        tmp_path, [code, RULE, *NOISE], reflection="instruction-only", metric_calls=2, samples=1, fresh=1
    )
    assert [(p.outcome, p.reason) for p in stored.proposals][:2] == [
        ("rejected", "function_for_rule"),
        ("evaluated", ""),
    ]
    assert "was code" in script.asked("/api/generate")[1]["prompt"]
    child = stored.text("candidates", stored.proposals[1].child or "")
    assert child == f"{SEED_TEXT}\n\nRules:\n- Draw the shape at a new place in every frame."
    assert result.reflector_tokens_by_move.keys() == {"instruction"}


def test_a_good_example_that_is_not_followed_gets_a_rule(tmp_path: Path) -> None:
    class Talking(Copying):
        """Follows its example only when it is told how to answer."""

        def next(self, path: str, body: dict[str, Any]) -> Any:
            self.follows = path == "/api/chat" and "Rules:" in body["messages"][0]["content"]
            return super().next(path, body)

    result, stored, _ = run(tmp_path, [GOOD, RULE], server=Talking)
    assert result.best.mean > 0.98
    assert [p.move for p in stored.proposals] == ["example", "instruction"]
    assert "Rules:\n- Draw the shape" in result.best.prompt and "math.cos" in result.best.prompt


def test_example_only_never_asks_for_a_rule(tmp_path: Path) -> None:
    _, stored, _ = run(tmp_path, ["???"], reflection="example-only", fresh=1)
    assert {p.move for p in stored.proposals} == {"example"}
    assert len(stored.proposals) % ATTEMPTS == 0


def test_without_facts_the_requests_hold_none(tmp_path: Path) -> None:
    with_facts, without = (
        run(tmp_path / str(facts), [GOOD], facts=facts, fresh=1)[2].asked("/api/generate")[0]["prompt"]
        for facts in (True, False)
    )
    assert "Pillow keeps a frame" in with_facts
    assert "Pillow keeps a frame" not in without
    assert BALL.brief in without


def test_a_candidate_that_fails_badly_gets_no_second_sample(tmp_path: Path) -> None:
    class Crashing(Copying):
        def next(self, path: str, body: dict[str, Any]) -> Any:
            said = super().next(path, body)
            return CRASHING if path == "/api/chat" and said == STILL else said

    _, stored, _ = run(tmp_path, ["???"], server=Crashing, samples=3, fresh=1)
    assert len([s for s in stored.samples if s.purpose == "search"]) == 1


def test_the_same_program_is_run_once(good: Any) -> None:
    result, stored, _ = good
    programs = {a.code for s in stored.samples for a in s.attempts}
    written = sum(len(s.attempts) for s in stored.samples)
    assert result.programs_run <= 2 * len(programs) < written


def test_a_target_that_is_not_held_again_does_not_end_the_run(tmp_path: Path) -> None:
    class Lucky(Copying):
        """Good on the seeds of the search, poor on those of the re-test."""

        def next(self, path: str, body: dict[str, Any]) -> Any:
            said = super().next(path, body)
            searched = {b["options"]["seed"] for p, b in self.history if p == "/api/chat"}
            return WRONG_NUMBERS if path == "/api/chat" and said != STILL and len(searched) > 2 else said

    result, _, _ = run(tmp_path, [GOOD], server=Lucky, metric_calls=4, fresh=1)
    assert result.ended_by != "target"


@pytest.mark.parametrize("failure", [SandboxError("a process survived", "reboot"), RunError("the disk is full", "")])
@pytest.mark.parametrize("reflection", ["grounded", "plain"])
def test_our_own_failure_inside_a_reflection_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: LocalGifError, reflection: str
) -> None:
    """GEPA swallows what a reflection raises; a run that went on would say that nothing better was found."""

    def failing(*_: Any) -> None:
        raise failure

    monkeypatch.setattr(RunStore, "append_proposal", failing)
    with pytest.raises(type(failure)) as raised:
        run(tmp_path, [GOOD], reflection=reflection)
    assert raised.value.message == failure.message
    stored = load_run(tmp_path / "r")
    assert (stored.record.status, stored.record.error) == ("failed", failure.message)
    assert stored.samples, "what was measured is kept"


def test_a_prompt_that_is_copied_is_called_that_and_other_tasks_show_what_carries_over(tmp_path: Path) -> None:
    result, stored, script = run(tmp_path, [GOOD], fresh=4, transfer=True)
    assert (result.best.copies, result.best.programs, result.verdict.by_copying) == (4, 1, True)
    assert (result.seed.copies, result.seed.programs) == (0, 1)
    assert [row.family == BALL.family for row in result.transfer] == [True, False]
    assert all(len(row.seed_scores) == len(row.best_scores) == 1 for row in result.transfer)
    carried = [sample for sample in stored.samples if sample.purpose == "transfer"]
    assert [sample.task for sample in carried] == [row.task for row in result.transfer] * 2
    assert all(len(sample.attempts) == 1 for sample in carried), "no answer is repaired"
    briefs = {task.brief for task in stored.record.neighbours}
    asked = [any(brief in body["messages"][1]["content"] for brief in briefs) for body in script.asked("/api/chat")]
    assert asked.index(True) == len(asked) - asked.count(True), "the search and the verdict came first"
    assert len(result.best.scores) == 4 and result.tasks[0].task == BALL.name


def test_examples_of_an_earlier_run_are_shown_before_the_own_one(tmp_path: Path) -> None:
    form = {"form": True, "scorer": "strict", "metric_calls": 3, "samples": 1, "fresh": 1}
    with serving(Scripted(animator=[STILL], reflector=[*NOISE])) as script:
        several = "spinning-square,sliding-square"
        made = {**form, "reflection": "example-only", "metric_calls": 4}
        optimize(settings(script.url, mode="multi", task=several, **made), tmp_path, "earlier")
        with pytest.raises(ConfigError, match="earlier found no example that this run could show"):
            optimize(
                settings(script.url, mode="multi", task=several, examples_from="earlier", **made), tmp_path, "same"
            )
        with pytest.raises(ConfigError, match="only where a run looks for examples in the form"):
            optimize(settings(script.url, examples_from="earlier"), tmp_path, "plain")
    with serving(Scripted(animator=[STILL], reflector=[*NOISE])) as script:
        later = {**form, "reflection": "example-only", "task": "bouncing-square", "examples_from": "earlier"}
        optimize(settings(script.url, **later), tmp_path, "later")
        read = [body["messages"][0]["content"] for body in script.asked("/api/chat")]
    record = load_run(tmp_path / "later").record
    assert sorted(example.task.name for example in record.given) == ["sliding-square", "spinning-square"]
    briefs = [load_task(name).brief for name in ("spinning-square", "sliding-square", "bouncing-square")]
    shown = [[text.find(brief) for brief in briefs] for text in read]
    assert max(shown[0]) == -1, "the seed prompt shows none"
    assert any(min(places) > 0 and places[2] == max(places) for places in shown), "the own example comes last"
