"""Answers phrase by phrase: what localgif writes, what it takes from the model, and servers that do not continue."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from localgif.agent import form, prompts
from localgif.agent.graph import Rendered, compile_animator
from localgif.agent.guide import Continue, Finished, guided
from localgif.records import Reply, Verdict
from localgif.search.assignments import first_scene
from localgif.tasks.outline import outline
from localgif.tasks.task import Targets, load_task

TARGETS = Targets(frames=24, loop_ms=1000, max_bytes=102400)
BRIEF = "a red light blinking at the top of a white background while a blue square moves left and right"


def prompt() -> str:
    examples = [
        prompts.Example(brief, form.program(first_scene(brief), brief, TARGETS))
        for brief in (load_task(name).brief for name in ("sliding-square", "pulsing-circle"))
    ]
    return prompts.render(TARGETS, prompts.Parts(examples=tuple(examples), others=True))


class Model:
    """Continues the answer so far with what it knows of the last phrase; counts its replies."""

    def __init__(self, *, continues: bool = True, talks: str = "") -> None:
        self.said: list[str] = []
        self._continues = continues
        self._talks = talks

    def __call__(self, messages: Sequence[tuple[str, str]], seed: int, finished: Callable[[str], str]) -> Reply:
        begun = messages[-1][1] if self._continues and messages[-1][0] == "assistant" else ""
        lines = form.program(first_scene(BRIEF), BRIEF, TARGETS, functions=False)
        whole = f"```python\n{lines.lstrip()}```\n"
        text = self._talks if begun else "\n"  # as the client marks an answer that begins anew
        # One letter after the other, as a stream has it: more would come if nobody said that it is enough.
        for letter in whole[len(begun) :]:
            if finished(begun + text):
                break
            text += letter
        self.said.append(text)
        return Reply(begun + text, "closed", None, len(text), 0.5)


def drawn(model: Model) -> list[str]:
    codes: list[str] = []

    def render(code: str) -> Rendered:
        codes.append(code)
        return Rendered(Verdict.OK, "", b"GIF", None, 0.0)

    tries = compile_animator(prompt(), BRIEF, model, render)(1)
    assert len(tries) == 1
    assert tries[0].written.output_tokens == sum(map(len, model.said))
    return codes


def test_the_model_writes_only_what_changes() -> None:
    model = Model()
    assert drawn(model) == [form.program(first_scene(BRIEF), BRIEF, TARGETS)]
    # A light has no shape that every reader knows.
    assert [text.strip().partition("=")[0] for text in model.said] == ["shape, color ", "color ", "x "]


def test_a_server_that_does_not_continue_is_asked_once() -> None:
    model = Model(continues=False)
    assert drawn(model) == [form.program(first_scene(BRIEF), BRIEF, TARGETS)]
    assert len(model.said) == 1


def test_lines_that_decide_nothing_are_left_out() -> None:
    [code] = drawn(Model(talks="        for k in range(3):\n            x = 1\n"))
    assert "for k in range(3)" not in code
    assert code.count(f"        {form.PAINT}") == 2


def go_on_with(line: str, asked: list[str] | None = None) -> Continue:
    """A model that answers every phrase with the same line; notes the phrases for which it is asked."""

    def go_on(text: str, finished: Finished, turn: int) -> Reply:
        if asked is not None:
            asked.append(text.rstrip().rpartition("\n")[2].strip(' #"'))
        return Reply(f"{text}        {line}\n", "stop", None, 1, 0.0)

    return go_on


def test_colours_that_pillow_does_not_know_get_a_name_that_it_knows() -> None:
    read, frame = outline("a fish"), form.frame(prompt())
    assert read is not None and frame is not None
    found = guided(read, frame, go_on_with('shape, color = CIRCLE, "light golden"'), lambda text: "").text
    assert 'shape, color = CIRCLE, "yellow"' in found and "golden" not in found


def test_what_things_do_in_turn_is_written_without_asking() -> None:
    read, frame = outline("three blue circles blinking one after another on white"), form.frame(prompt())
    assert read is not None and frame is not None
    asked: list[str] = []
    text = guided(read, frame, go_on_with("color = color if math.cos(t) > 0 else None", asked), lambda text: "").text
    assert asked == []
    assert [f"math.cos({time}) > 0.5 else None" in text for time in ("t", "t - 2.09", "t - 4.19")] == [True] * 3


def test_what_the_request_names_is_written_without_asking() -> None:
    brief = "a small red ring at the top of a white background above a long black bar at the bottom"
    read, frame = outline(brief), form.frame(prompt())
    assert read is not None and frame is not None
    asked: list[str] = []
    lines = [
        line.strip()
        for line in guided(read, frame, go_on_with("x = 1", asked), lambda text: "").text.splitlines()
        if line.strip()
    ]
    below = {line: lines[k + 1] for k, line in enumerate(lines) if line.startswith("#")}
    assert asked == []
    assert below == {
        '# "on a white background"': 'image, draw = canvas("white")',
        '# "a small red ring"': 'shape, color = RING, "red"',
        '# "small"': "width = height = SMALL",
        '# "at the top"': "y = TOP",
        '# "a long black bar"': 'shape, color = BAR, "black"',
        '# "long"': "width = height = LONG",
        '# "at the bottom"': "y = BOTTOM",
    }


def test_things_of_a_known_shape_get_a_colour_without_asking() -> None:
    read, frame = outline("four hexagons in the corners of a navy background"), form.frame(prompt())
    assert read is not None and frame is not None
    asked: list[str] = []
    text = guided(read, frame, go_on_with("x = 1", asked), str).text
    assert asked == [] and text.count('shape, color = HEXAGON, "white"') == len(read.things)


def test_small_things_in_a_row_stay_small() -> None:
    read, frame = outline("three small red rings"), form.frame(prompt())
    assert read is not None and frame is not None
    text = guided(read, frame, go_on_with("x = 1"), str).text
    assert text.count("width = height = SMALL") == 3 and "width = height = 57" not in text


@pytest.mark.parametrize(("brief", "ground"), [("a red ball", "white"), ("a pale blue ball", "black")])
def test_a_background_that_nobody_names_is_the_one_of_the_first_scene(brief: str, ground: str) -> None:
    read, frame = outline(brief), form.frame(prompt())
    assert read is not None and frame is not None
    asked: list[str] = []
    text = guided(read, frame, go_on_with('image, draw = canvas("navy")', asked), str).text
    assert f'image, draw = canvas("{ground}")' in text and "navy" not in text
    assert first_scene(brief).background == f'"{ground}"'
    assert '# "on' not in text, "the brief names none"


@pytest.mark.parametrize(
    ("brief", "phrase", "line", "kept"),
    [
        (
            "a ball that cycles through red, blue and green",
            "fades from red to blue to green and back",
            'color = fade(["red", "blue", "green", "white"], t)',
            'color = fade(["red", "blue", "green"], t)',
        ),
        (
            "a ball that cycles through red, blue and green",
            "fades from red to blue to green and back",
            'color = fade(["red", "blue", "green", "red"], t)',
            'color = fade(["red", "blue", "green", "red"], t)',
        ),
        (
            "a ball that switches from pink to cyan and back",
            "switches between pink and cyan",
            'color = ["cyan", "pink"][int(2 * t / (2 * math.pi))]',
            'color = ["hotpink", "cyan"][int(2 * t / (2 * math.pi))]',
        ),
        (
            "a bar that grows slowly from left to right and shrinks back quickly",
            "grows rightwards and shrinks quickly",
            "width = 60 + 20 * math.cos(t)",
            "width = SMALL + 24 * min(t, 5 * (2 * math.pi - t))\n        x = 30 + width / 2",
        ),
        ("a ball falling down", "falls", "x = -20 + 240 * t / (2 * math.pi)", "y = -20 + 240 * t / (2 * math.pi)"),
        ("a star spinning", "spins", "angle = 2 * t", "angle = 2 * t"),
        ("a red light blinking", "a red light", 'shape, color = RED, "red"', 'shape, color = CIRCLE, "red"'),
        ("a red light blinking", "a red light", 'shape, color = STAR, "red"', 'shape, color = STAR, "red"'),
        (
            "a ball moving left and right",
            "moves left and right",
            "x = 100 + 60 * math.cos(t)\n        y = 100 + 60 * math.sin(t)",
            "x = 100 + 60 * math.cos(t)\n        paint(draw, shape, x, y, width, height, angle, color)",
        ),
        ("a red light blinking", "a red light", "shape = STAR", 'shape, color = CIRCLE, "red"'),
        ("a bar swinging", "rocks, swings", "angle = t", "angle = 0.5 * math.sin(t)"),
        ("a star spinning anticlockwise", "spins anticlockwise", "angle = t", "angle = -t"),
        (
            "two stars swapping places",
            "swaps sides",
            "x, y = 1, math.cos(t)",
            "x, y = 100 + (x - 100) * math.cos(t), 100 + 0.8 * (x - 100) * math.sin(t)",
        ),
    ],
)
def test_what_a_phrase_does_not_decide_becomes_what_it_says(brief: str, phrase: str, line: str, kept: str) -> None:
    read, frame = outline(brief), form.frame(prompt())
    assert read is not None and frame is not None

    def go_on(text: str, finished: Finished, turn: int) -> Reply:
        below = line if text.endswith(f'# "{phrase}"\n') else "shape = CIRCLE"
        assert turn == 0 or below != line
        return Reply(f"{text}        {below}\n", "stop", None, 1, 0.0)

    assert f'# "{phrase}"\n        {kept}\n' in guided(read, frame, go_on, lambda text: "").text


def test_a_phrase_whose_answer_sets_nothing_is_asked_again_with_the_quantity_that_it_decides() -> None:
    brief = "a red ball bouncing up and down on a white background"
    read, frame = outline(brief), form.frame(prompt())
    assert read is not None and frame is not None
    turns: list[int] = []

    def go_on(text: str, finished: Finished, turn: int) -> Reply:
        turns.append(turn)
        if text.endswith('# "moves up and down"\n        y ='):
            return Reply(f"{text} 100 + 60 * math.cos(t)\n", "stop", 10, 3, 0.5)
        return Reply(f"{text}        angle = t\n", "stop", 10, 3, 0.5)

    whole = guided(read, frame, go_on, lambda text: "")
    assert turns == [0, 1]
    assert '# "moves up and down"\n        y = 100 + 60 * math.cos(t)\n' in whole.text and "angle = t" not in whole.text
    assert (whole.prompt_tokens, whole.output_tokens, whole.seconds) == (20, 6, 1.0)
