"""Thoughts are separated from an answer in every form that models use, wherever the answer is cut into pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localgif.endpoint.thoughts import Thoughts, spoken
from tests.support.kit import seconds

DRAFT = "```python\ndraft\n```"

FORMS = [
    f"<think>{DRAFT}</think>ok",
    f"\n<think>\n{DRAFT}</think>\n\nok",
    f"<thinking>{DRAFT}</thinking>ok",
    f"<thought>{DRAFT}</thought>ok",
    f"<seed:think>{DRAFT}</seed:think>ok",
    f"[THINK]{DRAFT}[/THINK]ok",
    f"<|channel|>analysis<|message|>{DRAFT}<|end|><|start|>assistant<|channel|>final<|message|>ok",
    f"<|channel>thought\n{DRAFT}<channel|>ok",
    f"analysisWe draw {DRAFT}assistantfinalok",
    f"◁think▷{DRAFT}◁/think▷ok",
    f"<|START_THINKING|>{DRAFT}<|END_THINKING|>ok",
    f"<|begin_of_thought|>{DRAFT}<|end_of_thought|>ok",
    f"<|inner_prefix|>{DRAFT}<|inner_suffix|>ok",
    f"<unused94>thought\n{DRAFT}<unused95>ok",
    f"Here are my reasoning steps:\n{DRAFT}[BEGIN FINAL RESPONSE]ok",
    f"Thinking...\n{DRAFT}\n...done thinking.\n\nok",
    f'<details type="reasoning" done="true">{DRAFT}</details>ok',
    f"<brainstorm>{DRAFT}</brainstorm>\nok",
    f"[PLAN]{DRAFT}[/PLAN]ok",
]


def split(pieces: list[str]) -> tuple[str, str]:
    thoughts = Thoughts()
    said = [*(thoughts.feed(piece) for piece in pieces), thoughts.end()]
    return "".join(content for content, _ in said), "".join(thinking for _, thinking in said)


@pytest.mark.parametrize("answer", FORMS)
def test_every_form_of_thought_is_taken_out(answer: str) -> None:
    content, thinking = split([answer])
    assert content.strip() == "ok" and "draft" in thinking
    assert split(list(answer)) == (content, thinking) and spoken(answer).strip() == "ok"


@pytest.mark.parametrize("answer", [f"<think>{DRAFT}", f"[THINK]{DRAFT}", f"<|channel|>analysis<|message|>{DRAFT}"])
def test_a_thought_that_never_ends_is_no_answer(answer: str) -> None:
    assert split([answer])[0] == spoken(answer) == ""


@pytest.mark.parametrize("answer", [f"hm {DRAFT}</think>ok", f"hm {DRAFT}[/THINK]ok", f"{DRAFT}<|END_THINKING|>ok"])
def test_a_thought_that_the_template_began_ends_at_its_tag(answer: str) -> None:
    assert spoken(answer) == "ok"


@pytest.mark.parametrize(
    "answer",
    [
        "plain", "", "  \n", "<thin", "analysis of a ball", f"<answer>{DRAFT}</answer>", f"<brainstorm>{DRAFT}",
        "<rule>Draw 24 frames.</rule>", f"[PLAN]{DRAFT}[/PLAN]", "a[i] < b and c[j] > d\n", f"```html\n{DRAFT}",
    ],
)  # fmt: skip
def test_what_is_no_thought_stays_word_for_word(answer: str) -> None:
    assert split([answer]) == (answer, "") == split(list(answer)) and spoken(answer) == answer


PARTS = [
    "<think>", "</think>", "[THINK]", "[/THINK]", "<|channel|>", "analysis", "<|message|>", "final", "<plan>",
    "</plan>", "<|channel>", "<channel|>", "◁think▷", "◁/think▷", "<", "[", "|", ">", " ", "\n", "a", "Thinking...\n",
]  # fmt: skip


@given(st.lists(st.sampled_from(PARTS), max_size=9).map("".join), st.data())
def test_how_a_text_is_cut_into_pieces_does_not_matter(text: str, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(text)))
    assert split([text]) == split(list(text)) == split([text[:place], text[place:]])


@pytest.mark.parametrize("blanks", [4000, 4096, 5000, 9000])
@pytest.mark.parametrize(
    "rest", ["<think>no</think>yes", "<plan>no</plan>yes", "analysis no assistantfinal yes", "yes"]
)
def test_so_much_white_space_before_an_answer_is_cut_anywhere(blanks: int, rest: str) -> None:
    text = "\n" * blanks + rest
    whole = split([text])
    assert all(split([text[:at], text[at:]]) == whole for at in (1, blanks // 2, blanks - 1, blanks + 3))


@pytest.mark.parametrize("part", [*PARTS, "<a", "</think><think>"])
def test_the_time_grows_with_the_text_and_no_faster(part: str) -> None:
    text = part * (100_000 // len(part))
    assert seconds(lambda: spoken(text)) < 2
    assert seconds(lambda: split([text[at : at + 40] for at in range(0, 50_000, 40)])) < 2
