"""Every prompt begins with the contract, whatever the search puts below it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from localgif.agent import form, phrasebook
from localgif.agent.prompts import SEED_PROMPT, Example, Parts, contract, render, shortened
from localgif.search.assignments import first_scene
from localgif.tasks.outline import outline
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


# --- what one request needs ----------------------------------------------------------------------------------------

SQUARE = load_task("sliding-square")
PROMPT = render(
    BALL.targets,
    Parts(
        ("Use few colours.",),
        (Example(SQUARE.brief, form.program(first_scene(SQUARE.brief), SQUARE.brief, BALL.targets)),),
        others=True,
    ),
)


def for_brief(brief: str, prompt: str = PROMPT) -> str:
    read = outline(brief)
    assert read is not None
    return shortened(prompt, read)


def test_a_request_gets_the_phrasebook_lines_of_what_changes_in_it() -> None:
    text = for_brief("a small white star that spins and moves up and down at the left of a black background")
    assert text.endswith(
        'decide:\n```python\n# "moves up and down"\ny = 100 + 60 * math.cos(t)\n# "spins"\nangle = t\n```\n'
    )
    assert "RING" in text and "def paint" not in text
    assert "Use few colours." in text and "Answer in this form" in text and "Example request: " in text
    assert "decide:" not in for_brief("a red ball on white"), "nothing changes"


def test_changes_of_colour_get_the_line_that_says_how() -> None:
    assert '# "switches between pink and cyan"' in for_brief("a ball that switches from red to blue and back")
    assert '# "fades from pink to cyan and back"' in for_brief("a ball that fades from red to blue and back")


def test_a_phrase_that_localgif_cannot_tell_gets_the_whole_phrasebook() -> None:
    assert phrasebook.listing() in for_brief("a red ball that melts")


@given(st.sampled_from(["a red ball bouncing", "a star that spins on blue", "a bar growing"]))
def test_requests_share_all_but_the_end_of_a_prompt(brief: str) -> None:
    shared = for_brief("a red ball on white")
    assert for_brief(brief).startswith(shared)


@given(st.text())
def test_a_prompt_without_form_stays_as_it_is(text: str) -> None:
    assert for_brief("a red ball bouncing", text) == text
