"""Candidates read as one prompt; racing decides who gets another sample, and who beats whom."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localgif.agent.graph import Write
from localgif.agent.guide import Message
from localgif.agent.prompts import contract
from localgif.errors import EndpointError
from localgif.records import Reply, SandboxRecord
from localgif.search.evaluator import (
    INSTRUCTIONS,
    Ask,
    Evaluator,
    beats,
    goes_on,
    prompt_of,
    rules_of,
    sample_seed,
    seed_of,
    slot,
    with_rules,
)
from localgif.store.read import RunRecord, load_run
from localgif.store.write import RunStore
from localgif.tasks.suite import load_suite
from tests.support import SOON
from tests.support.kit import Notes, settings

SCORE = st.floats(0, 1)
SCORES = st.dictionaries(st.integers(0, 7), SCORE, max_size=8)


@pytest.mark.parametrize(
    ("scores", "rivals", "more"),
    [
        ([0.0], {}, False),
        ([0.9], {}, True),
        ([0.9], {0: 0.95}, True),
        ([0.5], {0: 0.9}, False),
        ([0.2], {0: 0.1}, True),
        ([0.2], {0: 0.2}, False),
        ([0.9, 0.1], {0: 0.9, 1: 0.9}, False),
        ([0.9], {5: 0.2}, True),
    ],
)
def test_a_bad_first_sample_gets_no_second(scores: list[float], rivals: dict[int, float], more: bool) -> None:
    assert goes_on(scores, rivals) is more


@given(st.lists(SCORE, min_size=1, max_size=6), SCORES)
def test_a_better_sample_never_ends_the_race_earlier(scores: list[float], rivals: dict[int, float]) -> None:
    higher = [*scores[:-1], 1.0]
    assert not goes_on(scores, rivals) or goes_on(higher, rivals)


@given(SCORES, SCORES)
def test_only_one_of_two_beats_the_other_and_none_itself(first: dict[int, float], second: dict[int, float]) -> None:
    assert not (beats(first, second) and beats(second, first))
    assert not beats(first, first)


@given(SCORES, SCORES, st.integers(8, 20), SCORE)
def test_indices_that_only_one_has_do_not_count(
    first: dict[int, float], second: dict[int, float], index: int, score: float
) -> None:
    assert beats({**first, index: score}, second) == beats(first, second)


ALONE = load_suite("single", "bouncing-ball")
BOTH = load_suite("multi", "bouncing-ball,spinning-square")
(BALL,) = ALONE.train
LINES = st.lists(st.text(min_size=1).filter(lambda t: t.strip() and t.splitlines() == [t]), max_size=5)


@given(LINES, st.text())
def test_a_candidate_keeps_its_rules_and_reads_as_one_prompt(rules: list[str], example: str) -> None:
    candidate = {INSTRUCTIONS: with_rules(tuple(rules)), slot(BALL): example}
    assert rules_of(candidate) == tuple(rules)
    prompt = prompt_of(candidate, ALONE)
    assert all(f"- {rule}" in prompt for rule in rules)
    assert example.strip() in prompt


def test_the_seed_is_the_contract_alone() -> None:
    assert prompt_of(seed_of(ALONE), ALONE) == contract(BALL.targets)
    assert prompt_of(seed_of(BOTH), BOTH) == contract(BALL.targets)


def test_a_bare_text_is_its_own_prompt() -> None:
    assert prompt_of("draw", ALONE) == "draw"


def test_of_several_tasks_each_example_follows_its_own_request() -> None:
    ball, square = BOTH.train
    candidate = {**seed_of(BOTH), slot(square): "def make_gif(path): spin()"}
    prompt = prompt_of(candidate, BOTH)
    assert square.brief in prompt and ball.brief not in prompt
    both = prompt_of({**candidate, slot(ball): "def make_gif(path): bounce()"}, BOTH)
    assert both.index(ball.brief) < both.index("bounce()") < both.index(square.brief) < both.index("spin()")
    assert both.endswith("change what is drawn and how it moves.")
    assert both.count("Answer in this form") == 1


def test_with_a_single_task_the_example_ends_with_the_order_to_repeat_it() -> None:
    candidate = {**seed_of(ALONE), slot(BALL): "def make_gif(path): bounce()"}
    assert prompt_of(candidate, ALONE).endswith("To the same request give the same answer.")


# --- several samples at a time ---------------------------------------------------------------------------------------

Asked = Callable[[int, Callable[[str], str]], str]


@pytest.fixture
def gathering(tmp_path: Path) -> Iterator[Callable[[Asked, int], Evaluator]]:
    """Makes an evaluator with three slots whose model answers the sample with an index by a function."""
    chosen = settings("http://x", seed=7)
    numbers = {sample_seed(7, index): index for index in range(9)}
    record = RunRecord(
        name="r", status="started", started="2026-01-01T00:00:00Z", settings=chosen, versions={},
        sandbox=SandboxRecord(), scorer="article-1", task=load_suite("single", "bouncing-ball").train[0],
    )  # fmt: skip
    with RunStore.create(tmp_path, record) as store:

        def made(answer: Asked, slots: int = 3) -> Evaluator:
            def write(messages: Sequence[Message], seed: int, finished: Callable[[str], str]) -> Reply:
                return Reply(answer(numbers[seed], finished), "stop", 7, 2, 0.1)

            ask: Write = write
            return Evaluator(load_suite("single", "bouncing-ball"), ask, store, Notes(), lambda _: slots)

        yield made


def asks(count: int) -> list[Ask]:
    task = load_suite("single", "bouncing-ball").train[0]
    return [Ask("Draw.", task, index, "fresh", f"sample {index}", attempts=1) for index in range(count)]


def test_samples_are_asked_for_together_and_stored_in_order(
    gathering: Callable[[Asked, int], Evaluator], tmp_path: Path
) -> None:
    together, last = threading.Barrier(3), threading.Event()

    def answer(index: int, finished: Callable[[str], str]) -> str:
        if index < 3:
            together.wait(SOON)
        if index == 2:
            last.set()
        assert last.wait(SOON), "the first one ends last"
        return f"no program {index}"

    evaluator = gathering(answer, 3)
    made = evaluator.gather(asks(4))
    assert [sample.attempts[0].reply for sample in made] == [f"no program {index}" for index in range(4)]
    assert evaluator.samples == made == list(load_run(tmp_path / "r").samples)


def test_a_failure_gives_up_what_has_begun_and_keeps_what_came_before(
    gathering: Callable[[Asked, int], Evaluator], tmp_path: Path
) -> None:
    begun = threading.Event()

    def answer(index: int, finished: Callable[[str], str]) -> str:
        if index == 1:
            assert begun.wait(SOON)
            raise EndpointError("gone", "start it again")
        while index == 2:
            begun.set()
            finished("on and on")
        return "no program"

    with pytest.raises(EndpointError, match="gone"):
        gathering(answer, 3).gather(asks(3))
    assert [sample.index for sample in load_run(tmp_path / "r").samples] == [0]


def test_with_one_slot_nothing_is_asked_before_its_turn(gathering: Callable[[Asked, int], Evaluator]) -> None:
    asked: list[int] = []

    def answer(index: int, finished: Callable[[str], str]) -> str:
        asked.append(index)
        if index == 1:
            raise EndpointError("gone", "start it again")
        return "no program"

    with pytest.raises(EndpointError):
        gathering(answer, 1).gather(asks(3))
    assert asked == [0, 1]


def test_the_seed_prompts_first_samples_of_all_tasks_are_drawn_together(tmp_path: Path) -> None:
    together = threading.Barrier(2)

    def write(messages: Sequence[Message], seed: int, finished: Callable[[str], str]) -> Reply:
        together.wait(SOON)
        return Reply("no program", "stop", 7, 2, 0.1)

    chosen = settings("http://x", reflection="grounded", mode="multi", task=",".join(task.name for task in BOTH.train))
    record = RunRecord(
        name="r", status="started", started="2026-01-01T00:00:00Z", settings=chosen, versions={},
        sandbox=SandboxRecord(), scorer="strict-4", task=None,
    )  # fmt: skip
    with RunStore.create(tmp_path, record) as store:
        evaluator = Evaluator(BOTH, write, store, Notes(), lambda prompt: 2 if prompt == "seed" else 1)
        for number, task in enumerate(BOTH.train, 1):
            assert evaluator.metric_call("seed", task)[0] == 0.0
            assert len(evaluator.samples) == 2, "both are there from the first call on"
            assert (evaluator.spent, evaluator.samples[number - 1].metric_call) == (number, number)
        assert evaluator.metric_call("seed", BALL)[0] == 0.0, "asked again, it keeps its result"
        assert [(sample.task, sample.index) for sample in evaluator.samples] == [(task.name, 0) for task in BOTH.train]
