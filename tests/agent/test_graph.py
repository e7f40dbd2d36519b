"""generate -> run -> repair: the order of events, the requests, the end; and replies that repeat themselves."""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from pathlib import Path

from hypothesis import assume, given
from hypothesis import strategies as st

from localgif.agent.graph import LONGEST, MAX_ATTEMPTS, SHORTEST, Rendered, compile_animator, enough, loops
from localgif.records import Reply, Verdict

CODE = "def make_gif(path):\n    {}\n"


class Model:
    def __init__(self, *replies: str) -> None:
        self.replies = list(replies)
        self.done_reason = "stop"
        self.asked: list[tuple[list[tuple[str, str]], int]] = []

    def __call__(self, messages: Sequence[tuple[str, str]], seed: int, finished: Callable[[str], str]) -> Reply:
        self.asked.append((list(messages), seed))
        return Reply(self.replies[len(self.asked) - 1], self.done_reason, None, 3, 0.0)


def render(code: str) -> Rendered:
    if "good" in code:
        return Rendered(Verdict.OK, "", b"GIF", None, 0.0)
    return Rendered(Verdict.ERROR, "NameError: name 'bad' is not defined", None, None, 0.0)


def fenced(word: str) -> str:
    return f"```python\n{CODE.format(word)}```"


def test_a_program_that_runs_ends_the_sample() -> None:
    model = Model(fenced("good"))
    tries = compile_animator("SYSTEM", "a ball", model, render)(7)
    assert [t.rendered.verdict for t in tries] == [Verdict.OK]
    messages, seed = model.asked[0]
    assert messages == [("system", "SYSTEM"), ("user", "Write the function. Animation: a ball")]
    assert seed == 7


def test_a_failed_program_goes_back_with_its_code_and_error() -> None:
    model = Model(fenced("bad"), fenced("good"))
    tries = compile_animator("SYSTEM", "a ball", model, render)(7)
    assert [t.rendered.verdict for t in tries] == [Verdict.ERROR, Verdict.OK]
    messages, seed = model.asked[1]
    assert [role for role, _ in messages] == ["system", "user", "assistant", "user"]
    assert CODE.format("bad") in messages[2][1]
    assert "NameError: name 'bad' is not defined" in messages[3][1]
    assert seed == 8, "the same seed would repeat a reply that ignores the error"


def test_a_reply_that_ended_with_its_program_goes_back_word_by_word() -> None:
    model = Model("Sure:\n" + fenced("bad"), fenced("good"))
    model.done_reason = "closed"
    compile_animator("SYSTEM", "a ball", model, render)(7)
    assert model.asked[1][0][2] == ("assistant", "Sure:\n" + fenced("bad"))


def test_there_are_at_most_three_attempts_and_only_the_latest_error_is_sent() -> None:
    model = Model(fenced("bad"), fenced("bad2"), fenced("bad3"), fenced("good"))
    tries = compile_animator("SYSTEM", "a ball", model, render)(0)
    assert len(tries) == len(model.asked) == MAX_ATTEMPTS == 3
    messages, _ = model.asked[2]
    assert len(messages) == 4 and "bad2" in messages[2][1]


def test_a_reply_without_a_program_is_a_verdict_and_is_repaired() -> None:
    model = Model("I would rather not.", fenced("good"))
    tries = compile_animator("SYSTEM", "a ball", model, render)(0)
    assert [t.rendered.verdict for t in tries] == [Verdict.NO_CODE, Verdict.OK]
    assert tries[0].code is None
    assert "held no Python program" in model.asked[1][0][3][1]


def test_a_cut_reply_is_named_as_the_cause() -> None:
    model = Model(fenced("bad"), fenced("good"))
    model.done_reason = "length"
    tries = compile_animator("SYSTEM", "a ball", model, render)(0)
    assert "cut off after 3 tokens" in tries[0].rendered.reason
    assert tries[1].rendered.reason == ""


# --- replies that repeat themselves ------------------------------------------------------------------------------

BLOCK = st.text(string.ascii_letters + " \n.,", min_size=SHORTEST, max_size=LONGEST).filter(lambda t: len(set(t)) > 4)


@given(st.text(max_size=200), BLOCK)
def test_the_same_block_four_times_is_a_loop(start: str, block: str) -> None:
    assert loops(start + block * 4)


@given(st.text(string.ascii_letters + " \n.,", min_size=SHORTEST, max_size=3 * SHORTEST))
def test_three_times_is_none_yet(block: str) -> None:
    # Up to this size, a block that is not itself a repetition cannot hide a shorter one that repeats (Fine and Wilf).
    assume((block * 2).find(block, 1) == len(block))
    assert not loops(block * 3)


def test_a_comment_that_counts_the_frames_hides_no_loop() -> None:
    counted = ("first", "second", "third", "fourth")
    frame = "  # The {} frame\n  draw.rectangle([x, 90, x + 9, 99], fill=blue)\n\n  # Keep it\n  frames.append(image)\n"
    assert loops("".join(frame.format(word) for word in counted))
    assert not loops("".join(frame.format(word) for word in counted[1:]))
    moving = "    # Draw it\n    draw.rectangle([{}, 100, x + 100, 200], fill=blue)\n    frames.append(image)\n"
    assert not loops("".join(moving.format(number) for number in range(9)))


def test_a_row_of_blanks_or_signs_is_not_a_loop() -> None:
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
