"""Every prompt begins with the contract, whatever the search puts below it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from localgif.agent.prompts import SEED_PROMPT, Example, Parts, contract, render
from localgif.tasks.task import Targets, load_task

BALL = load_task("bouncing-ball")
LINES = st.lists(st.text(min_size=1).filter(lambda t: t.strip() and t.splitlines() == [t]), max_size=5)


def test_the_contract_has_the_targets_in_words() -> None:
    text = contract(Targets(frames=30, loop_ms=1500, max_bytes=50 * 1024))
    assert text.startswith(SEED_PROMPT)
    for words in ("make_gif(path)", "Exactly 30 frames", "about 1.5 s", "duration=50", "under 50 KB", "Pillow"):
        assert words in text


@given(LINES, st.text())
def test_no_rule_and_no_example_can_drop_the_contract(rules: list[str], example: str) -> None:
    prompt = render(BALL.targets, Parts(tuple(rules), (Example(BALL.brief, example),)))
    assert prompt.startswith(contract(BALL.targets))
