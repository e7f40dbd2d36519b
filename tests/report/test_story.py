"""What a run did: the verdict as a sentence, and the changes of each prompt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from localgif.records import RunResult, RunVerdict
from localgif.report.story import candidates_of, marked, steps_of, verdict_sentence
from localgif.store.read import load_run
from localgif.store.write import RunStore
from tests.support.kit import run_result
from tests.support.reports import Maker, record


def result(word: str, fresh: int = 4, smallest: float = 0.03, **more: Any) -> RunResult:
    numbers = {"difference": 0.1, "interval": None, "p_value": 0.4, "smallest_possible_p_value": smallest}
    verdict = RunVerdict.model_validate({"word": word, **numbers, **more})
    return run_result(verdict, seed={"scores": (0.0,) * fresh})


def test_the_verdict_is_a_sentence_that_claims_what_was_shown() -> None:
    assert "the evolved prompt is better" in verdict_sentence(result("better"))
    assert "no difference was shown" in verdict_sentence(result("not shown"))
    assert "1 fresh sample per prompt is too few" in verdict_sentence(result("not shown", 1, 1.0))
    assert "keeps the seed prompt" in verdict_sentence(run_result(best={"is_seed": True}))


def test_the_verdict_says_the_interval_and_what_was_resampled() -> None:
    one: dict[str, Any] = {"unit": "sample", "pairs": 4, "tasks": 1}
    assert "95 % interval -0.020 to +0.300, p = 0.400, 4 pairs" in verdict_sentence(
        result("not shown", interval=(-0.02, 0.3), **one)
    )
    assert "the same in each pair" in verdict_sentence(result("better", interval=(0.1, 0.1), **one))
    assert "interval" not in verdict_sentence(result("not shown", 1, 1.0, **one))
    several = verdict_sentence(result("not shown", 2, 0.25, interval=(0, 1), unit="task", pairs=6, tasks=3))
    assert "6 pairs of fresh samples of 3 tasks, tasks resampled" in several
    assert "3 tasks are too few to show a difference; it takes at least 6." in several


def test_a_gain_by_copying_is_called_that() -> None:
    best = {"scores": (1.0,) * 4, "copies": 4, "programs": 1}
    numbers: dict[str, Any] = {"difference": 1.0, "p_value": 0.029, "smallest_possible_p_value": 0.029}
    copied = RunVerdict(word="better", by_copying=True, **numbers)
    said = verdict_sentence(run_result(copied, best=best))
    assert "copy a program that draws the task (4 of 4 samples). The gain comes from copying: +1.000" in said
    assert said.endswith("Its 4 samples ran one program.")
    assert "is better" not in said
    several = verdict_sentence(run_result(copied, best=best | {"copies": 3, "programs": 2}, mode="multi"))
    assert "copy programs from the prompt (3 of 4 samples)" in several
    assert several.endswith("Its 4 samples ran 2 different programs.")
    few = verdict_sentence(run_result(RunVerdict(word="better", **numbers), best=best | {"copies": 1, "programs": 4}))
    assert "the evolved prompt is better" in few
    assert "Copies of a program in the evolved prompt: 1 of 4 samples." in few


def test_an_old_run_says_nothing_about_copies() -> None:
    assert "samples ran" not in verdict_sentence(run_result())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"move": "example", "score": 0.9, "outcome": "measured"},
            "Adds a worked example, written by the reflector, because that program scored 0.900, seed only 0.",
        ),
        (
            {"move": "tune", "score": 0.9, "outcome": "measured", "reply": ""},
            "Adds a worked example, searched by localgif without a model, because that program scored 0.900",
        ),
        (
            {"reply": "Rule: Close the loop.\nAnd so on."},
            'Adds the rule "Close the loop.", because of the worst sample',
        ),
        ({"prompt": "dropped the rule: Be bold.", "reply": ""}, 'Drops the rule "Be bold.", to make room for another.'),
        ({"move": "order", "reply": ""}, "Shows other examples, or the same ones in another order, because"),
        ({"move": "prompt"}, "A whole new prompt, which the reflector wrote after reading the samples of seed."),
    ],
)
def test_each_candidate_says_what_it_changes_and_why(tmp_path: Path, change: dict[str, Any], sentence: str) -> None:
    with RunStore.create(tmp_path, record("r")) as store:
        maker = Maker(store)
        maker.sample("Draw.", 0, "search", 1, 24, 1)
        maker.proposal(1, "Draw.", "Draw it well.", **change)
        run = load_run(store.folder)
    candidates = candidates_of(run, {name: run.text("candidates", name) for name in (run.proposals[0].parent,)})
    steps_of(run, candidates)
    assert [c.change[: len(sentence)] for c in candidates.values()] == ["", sentence]


def test_the_pieces_of_a_prompt_give_it_back() -> None:
    text = "One.\n```python\na\n```\nTwo ```x``` three.\n```\nb\n```"
    assert "".join(piece for _, piece in marked(text)) == text
    assert [piece for example, piece in marked(text) if example] == ["```python\na\n```\n", "```\nb\n```"]
    assert marked("") == [] and marked("```never closed") == [(False, "```never closed")]
