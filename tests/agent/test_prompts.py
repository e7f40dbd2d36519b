"""The contract stands in every prompt, whatever the search puts below it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from localgif.agent.prompts import SEED_PROMPT, Parts, contract, render
from localgif.search.candidate import EXAMPLE, INSTRUCTIONS, SEED, prompt_of, rules_of, with_rules
from localgif.task import Targets
from localgif.tasks.load import load_task

BALL = load_task("bouncing-ball")
LINES = st.lists(st.text(min_size=1).filter(lambda t: t.strip() and t.splitlines() == [t]), max_size=5)


def test_the_contract_has_the_targets_in_words() -> None:
    text = contract(Targets(frames=30, loop_ms=1500, max_bytes=50 * 1024))
    assert text.startswith(SEED_PROMPT)
    for words in ("make_gif(path)", "Exactly 30 frames", "about 1.5 s", "duration=50", "under 50 KB", "Pillow"):
        assert words in text


@given(LINES, st.text())
def test_no_rule_and_no_example_can_drop_the_contract(rules: list[str], example: str) -> None:
    prompt = render(BALL.targets, Parts(tuple(rules), example, BALL.brief))
    assert prompt.startswith(contract(BALL.targets))


@given(LINES, st.text())
def test_a_candidate_keeps_its_rules_and_reads_as_one_prompt(rules: list[str], example: str) -> None:
    candidate = {INSTRUCTIONS: with_rules(tuple(rules)), EXAMPLE: example}
    assert rules_of(candidate) == tuple(rules)
    prompt = prompt_of(candidate, BALL)
    assert all(f"- {rule}" in prompt for rule in rules)
    assert example.strip() in prompt


def test_the_seed_is_the_contract_alone() -> None:
    assert prompt_of(SEED, BALL) == contract(BALL.targets)


def test_a_bare_text_is_its_own_prompt() -> None:
    assert prompt_of("draw", BALL) == "draw"
