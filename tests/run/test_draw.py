"""A drawing: the prompts in their order, the search, and the line about the picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from localgif.agent import form
from localgif.agent.form import Figure, Scene
from localgif.errors import ConfigError, EndpointError
from localgif.run.draw import Drawn, draw
from localgif.settings import ENOUGH
from localgif.tasks.task import Targets
from tests.support.kit import Notes, fenced, settings
from tests.support.scripted import ILL, Scripted, serving

BRIEF = "a green triangle spinning on a black background"
NO_CODE = "I cannot draw.\n"
CRASH = fenced("def make_gif(path):\n    nonsense\n")


def triangle(**changes: Any) -> str:
    """An answer with a green triangle on black, with changes to the figure."""
    scene = Scene('"black"', (Figure("TRIANGLE", '"green"', **changes),))
    return fenced(form.program(scene, BRIEF, Targets()))


RIGHT, STILL = triangle(turn="angle = t"), triangle()


def drawn(
    answers: list[Any], brief: str = BRIEF, prompts: tuple[str, ...] = ("one",), **more: Any
) -> tuple[Drawn, Scripted]:
    with serving(Scripted(animator=answers, reflector=[""])) as script:
        return draw(settings(script.url), prompts, brief, **more), script


def asked(script: Scripted) -> list[tuple[str, float, int]]:
    """Prompt, temperature and seed of each request."""
    bodies = script.asked("/api/chat")
    return [(b["messages"][0]["content"], b["options"]["temperature"], b["options"]["seed"]) for b in bodies]


def test_a_right_answer_ends_the_drawing_and_the_line_says_what_was_checked() -> None:
    notes = Notes()
    made, script = drawn([RIGHT], prompts=("one", "two"), progress=notes)
    assert made.outcome == "checked"
    assert made.line == "checked: 24 frames, closes, 0.96 s, a green triangle that spins on black"
    assert made.gif is not None and made.gif.startswith(b"GIF8")
    assert (len(made.answers), made.searched, made.programs) == (1, False, 0)
    assert made.score is not None and made.score.total >= ENOUGH
    assert [prompt for prompt, *_ in asked(script)] == ["one"]


def test_each_prompt_is_asked_once_and_then_again_warmer_with_other_seeds() -> None:
    made, script = drawn([NO_CODE, NO_CODE, NO_CODE, RIGHT], prompts=("one", "two"))
    questions = asked(script)
    assert [(prompt, round(warm, 2)) for prompt, warm, _ in questions] == [
        ("one", 0.2),
        ("two", 0.2),
        ("one", 0.5),
        ("two", 0.5),
    ]
    assert len({seed for *_, seed in questions}) == 4
    assert (made.outcome, made.searched) == ("checked", False)
    assert [answer.verdict for answer in made.answers] == ["no_code", "no_code", "no_code", "ok"]


def test_no_more_answers_are_asked_for_than_there_are_tries() -> None:
    made, script = drawn([CRASH], tries=2)
    assert len(asked(script)) == len(made.answers) == 2
    # If no answer draws anything, the search starts from the phrases of the brief.
    assert (made.outcome, made.searched) == ("checked", True) and 1 <= made.programs <= 3


def test_a_brief_that_cannot_be_checked_and_no_answer_that_runs_give_no_gif() -> None:
    made, _ = drawn([CRASH], brief="a paper boat on waves", tries=2)
    assert (made.outcome, made.gif, made.searched) == ("no GIF", None, False)
    assert made.line.startswith("no GIF in 2 tries: error, NameError")


def test_a_search_finds_what_the_answers_lack_and_the_line_says_so() -> None:
    made, _ = drawn([STILL], tries=1)
    assert made.outcome == "checked" and made.searched and made.programs > 0
    assert made.line.startswith("checked: 24 frames, closes, 0.96 s, a green triangle that spins on black; found by")
    assert f"({made.programs} programs)" in made.line
    assert made.answers[0].total is not None and made.answers[0].total < ENOUGH


def test_a_picture_that_falls_short_is_searched_before_another_prompt_is_asked() -> None:
    made, script = drawn([STILL, RIGHT], prompts=("one", "two"))
    assert (made.outcome, made.searched) == ("checked", True)
    assert [prompt for prompt, *_ in asked(script)] == ["one"]


def test_a_search_that_fails_leaves_the_other_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localgif.run.draw.finder", lambda *_: lambda start, measure: start)
    monkeypatch.setattr("localgif.run.draw.first_scene", lambda _: Scene('"black"', (Figure("TRIANGLE", '"green"'),)))
    made, script = drawn([STILL, RIGHT], prompts=("one", "two"))
    assert (made.outcome, made.searched, len(asked(script))) == ("checked", False, 2)


def test_the_progress_counts_tries_tokens_and_tokens_per_second() -> None:
    notes = Notes()
    drawn([NO_CODE, RIGHT], progress=notes, tries=3)
    said = [text for text in notes.notes if text.startswith("try ")]
    assert said[0].startswith("try 1 of 3: 1 tokens, ") and "tokens/s; no_code, " in said[0]
    assert said[1].startswith("try 2 of 3: ") and "checked: 24 frames" in said[1]


def test_what_falls_short_is_named_with_a_score_that_is_rounded_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localgif.run.draw.finder", lambda *_: lambda start, measure: start)
    monkeypatch.setattr("localgif.run.draw.first_scene", lambda _: Scene('"black"', (Figure("TRIANGLE", '"green"'),)))
    made, _ = drawn([triangle(turn="angle = 0.5 * math.sin(t)")], tries=1)
    assert made.outcome == "not right yet" and made.score is not None
    assert made.line == f"not right yet: it does not spin ({int(100 * made.score.total) / 100:.2f})"
    assert made.gif is not None and not made.searched


def test_a_brief_that_cannot_be_checked_gets_no_score_and_no_search() -> None:
    made, _ = drawn([RIGHT], brief="a paper boat on waves")
    assert (made.outcome, made.score, made.searched, made.answers[0].total) == ("unchecked", None, False, None)
    assert made.line.startswith("unchecked, localgif cannot check anything in this brief: 24 frames, closes, 0.96 s")


def test_words_that_no_check_covers_are_named() -> None:
    made, _ = drawn([RIGHT], brief="a shiny green triangle spinning on a black background")
    assert made.outcome == "checked"
    assert made.line.endswith("not checked: 'shiny'")


def test_a_server_that_fails_is_an_error_and_no_verdict() -> None:
    with pytest.raises(EndpointError):
        drawn([ILL])


@pytest.mark.parametrize(("brief", "prompts"), [(BRIEF, ()), ("", ("one",)), ("x" * 500, ("one",))])
def test_what_cannot_be_drawn_asks_no_model(brief: str, prompts: tuple[str, ...]) -> None:
    with serving(Scripted(animator=[RIGHT], reflector=[""])) as script:
        with pytest.raises(ConfigError):
            draw(settings(script.url), prompts, brief)
        assert script.asked("/api/chat") == []


def test_a_task_file_can_be_drawn(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(f'brief = "{BRIEF}"\n[[subjects]]\ncolour = "green"\nturn = "spin"\n')
    made, _ = drawn([RIGHT], brief=str(file))
    assert made.outcome == "checked" and made.brief == BRIEF
