"""A model that goes round in circles is seen, a program is not taken for one."""

from __future__ import annotations

import string
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from localgif.agent.graph import LONGEST, SHORTEST, enough, loops

BLOCK = st.text(string.ascii_letters + " \n.,", min_size=SHORTEST, max_size=LONGEST).filter(lambda t: len(set(t)) > 4)


@given(st.text(max_size=200), BLOCK)
def test_the_same_block_four_times_is_a_loop(start: str, block: str) -> None:
    assert loops(start + block * 4)


@given(BLOCK)
def test_three_times_is_none_yet(block: str) -> None:
    period = next(n for n in range(1, len(block) + 1) if len(block) % n == 0 and block == block[:n] * (len(block) // n))
    if period == len(block):  # a block that repeats itself inside may be a loop already
        assert not loops("x" + block[: SHORTEST - 1])


def test_a_row_of_blanks_or_signs_is_none() -> None:
    assert not loops("=" * 1000)
    assert not loops(" " * 1000)


def test_no_program_of_the_corpus_is_a_loop() -> None:
    for path in (Path(__file__).parent.parent / "corpus").rglob("*.py"):
        text = path.read_text(errors="replace")
        assert not any(loops(text[:end]) for end in range(0, len(text), 40)), path


def test_why_a_reply_is_enough() -> None:
    whole = "```python\ndef make_gif(path):\n    pass\n```\n"
    assert enough(whole) == "closed"
    assert enough(whole[:-5]) == ""
    assert enough("I will think about it once more, and then once again. \n" * 5) == "loop"
