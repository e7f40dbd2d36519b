"""A candidate keeps its rules and examples, and reads as one prompt."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from localgif.agent.prompts import contract
from localgif.search.evaluator import INSTRUCTIONS, prompt_of, rules_of, seed_of, slot, with_rules
from localgif.tasks.suite import load_suite

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
