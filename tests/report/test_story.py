"""The verdict as a sentence."""

from __future__ import annotations

from typing import Any

from localgif.records import RunResult, RunVerdict
from localgif.report.story import verdict_sentence
from tests.support.kit import run_result


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
    assert "3 tasks are too few to show a difference; at least 6 are needed." in several
