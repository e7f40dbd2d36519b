"""The form: a scene as a program and back, and the frame of an answer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localgif.agent import form, phrasebook, prompts
from localgif.agent.form import Figure, Scene
from localgif.agent.phrasebook import FORMULAS, Formula
from localgif.search.assignments import first_scene
from localgif.tasks.outline import outline
from localgif.tasks.task import COLOURS, Targets, load_task, task_names

TARGETS = Targets(frames=24, loop_ms=1000, max_bytes=102400)
BRIEF = "a red ball bouncing up and down above a black bar that stays still at the bottom of a white background"


def texts(formulas: Sequence[Formula]) -> st.SearchStrategy[str]:
    return st.sampled_from([f.text.format(x=100, y=40, w=60, h=60) for f in formulas])


def colours() -> st.SearchStrategy[str]:
    named = st.sampled_from(COLOURS).map(lambda colour: f'"{colour}"')
    fades = st.lists(named, min_size=2, max_size=3).map(lambda each: f"fade([{', '.join(each)}], t)")
    return named | fades


FIGURES = st.builds(
    Figure,
    st.sampled_from(form.SHAPES),
    colours(),
    x=st.integers(0, 200),
    y=st.integers(0, 200),
    width=st.integers(1, 200),
    height=st.integers(1, 200),
    path=texts(FORMULAS["path"]),
    scale=st.just(""),
    turn=texts(FORMULAS["turn"]),
    shown=texts(FORMULAS["shown"]),
)
SCENES = st.builds(
    Scene, colours().filter(lambda c: "fade" not in c), st.lists(FIGURES, min_size=1, max_size=3).map(tuple)
)


@given(SCENES, st.sampled_from([load_task(name).brief for name in task_names()]) | st.text(max_size=80))
def test_a_scene_that_is_written_and_read_is_the_same(scene: Scene, brief: str) -> None:
    code = form.program(scene, brief.replace('"', "'"), TARGETS)
    found = form.read(code)
    assert found is not None
    # A number that a formula overwrites is not written.
    again = form.program(found, brief.replace('"', "'"), TARGETS)
    assert form.read(again) == found
    assert found.background == scene.background
    for a, b in zip(found.figures, scene.figures, strict=True):
        assert (a.shape, a.color, a.path, a.turn, a.shown) == (b.shape, b.color, b.path, b.turn, b.shown)


def test_an_edge_that_stays_belongs_to_the_scale() -> None:
    text = FORMULAS["scale"][2].text
    scene = Scene('"grey"', (Figure("BAR", '"green"', scale=text),))
    assert form.read(form.program(scene, "a green bar that grows", TARGETS)) == scene


@given(st.text(max_size=200))
def test_reading_refuses_what_is_no_program_of_the_form(text: str) -> None:
    assert form.read(text) is None


@pytest.mark.parametrize(
    "line",
    [
        "for k in range(3): paint(draw, shape, x, y, width, height, angle, color)",
        "paint(draw, HEART, x, y, width, height, angle, color)",
        "paint(draw, shape, x, y, width, height, angle, None)",
        "speed = 3",
    ],
)
def test_a_program_with_a_foreign_line_is_of_the_second_kind(line: str) -> None:
    code = form.program(first_scene("a red ball bouncing"), "a red ball bouncing", TARGETS)
    assert form.read(code) is not None
    lines = code.splitlines()
    place = next(k for k, each in enumerate(lines) if "frames.append" in each)
    assert form.read("\n".join([*lines[:place], "        " + line, *lines[place:]])) is None


def test_direct_arguments_of_paint_are_read_as_assignments() -> None:
    code = (
        form.FUNCTIONS + "\ndef make_gif(path):\n    frames = []\n    for i in range(24):\n"
        "        t = 2 * math.pi * i / 24\n        image, draw = canvas('white')\n"
        "        paint(draw, STAR, 50, 40, 60, 60, 2 * math.pi * i / 24, 'yellow')\n        frames.append(image)\n"
    )
    assert form.read(code) == Scene('"white"', (Figure("STAR", '"yellow"', x=50, y=40, turn="angle = t"),))


def test_every_phrase_stands_above_what_it_decides() -> None:
    lines = form.steps(first_scene(BRIEF), BRIEF)
    assert lines[lines.index('# "moves up and down in the top half, over the black bar"') + 1].startswith("y = ")
    assert lines[lines.index('# "a black bar"') + 1] == 'shape, color = BAR, "black"'
    assert lines.count(form.PAINT) == 2
    read = outline(BRIEF)
    assert read is not None
    phrases = [read.ground, *(said for each in read.things for said in (each.noun, *(p.text for p in each.says)))]
    assert [line for line in lines if line.startswith("#")] == [f'# "{phrase}"' for phrase in phrases]


def test_figures_find_their_phrases_by_colour_and_shape() -> None:
    ball, bar = first_scene(BRIEF).figures
    read = outline(BRIEF)
    assert read is not None
    found = form.matched(Scene('"white"', (bar, ball, ball)), read)
    assert [thing.noun for thing in found[:2]] == ["a black bar", "a red ball"]
    assert form.matched(Scene('"white"', (bar,)), None)[0].noun == ""


def test_colours_get_the_names_that_pillow_knows() -> None:
    asked = ("light blue", "dark grey", "deep blue", "navy", "mint green", "wood")
    assert [phrasebook.color_of(colour) for colour in asked] == [
        "lightskyblue",
        "dimgray",
        "blue",
        "navy",
        "green",
        "black",
    ]


def test_a_program_does_not_depend_on_the_programs_before_it() -> None:
    """Things side by side are smaller; the middle of the next picture must not become smaller with them."""
    star, row = "a large red star in the middle of a white background", "four red balls on a white background"
    before = form.program(first_scene(star), star, TARGETS)
    form.program(first_scene(row), row, TARGETS)
    assert form.program(first_scene(star), star, TARGETS) == before


def test_prompts_of_earlier_versions_still_count_as_prompts_in_the_form() -> None:
    task = load_task("sliding-square")
    code = form.program(first_scene(task.brief), task.brief, TARGETS)
    earlier = re.sub(r"^(RING|CROSS|HEART) = .*\n", "", code, flags=re.MULTILINE)
    assert earlier != code and form.uses(earlier)
    assert not form.uses(earlier.replace("def fade", "def mix"))


def test_the_frame_comes_from_the_prompts_own_examples() -> None:
    task = load_task("sliding-square")
    code = form.program(first_scene(task.brief), task.brief, TARGETS)
    found = form.frame(prompts.render(TARGETS, prompts.Parts(examples=(prompts.Example(task.brief, code),))))
    assert found is not None
    assert found.beginning.endswith("        t = 2 * math.pi * i / 24\n")
    assert "duration=42" in found.end or "duration=40" in found.end
    assert found.end.endswith("loop=0)\n```\n")
    assert form.frame(prompts.contract(TARGETS)) is None


def test_several_examples_share_the_functions_and_the_last_is_whole() -> None:
    examples = []
    for name in ("sliding-square", "pulsing-circle", "spinning-star"):
        brief = load_task(name).brief
        examples.append(prompts.Example(brief, form.program(first_scene(brief), brief, TARGETS)))
    prompt = prompts.render(TARGETS, prompts.Parts(examples=tuple(examples), others=True))
    assert prompt.count("def paint(") == 1
    assert prompt.count("def make_gif(path):\n") == 1
    assert prompt.index("a red square moving") < prompt.index("five-pointed star")
    assert form.frame(prompt) is not None


def test_what_is_set_after_painting_is_read_as_set_before() -> None:
    brief = "a ball moving from left to right and back while its colour changes from red to blue and back"
    right = form.program(first_scene(brief), brief, TARGETS)
    lines = right.splitlines()
    paint = next(k for k, line in enumerate(lines) if line.strip() == form.PAINT)
    wrong = "\n".join([*lines[: paint - 2], lines[paint], *lines[paint - 2 : paint], *lines[paint + 1 :]]) + "\n"
    assert wrong != right
    assert form.read(wrong) == form.read(right)


def test_a_fade_may_name_its_first_colour_again() -> None:
    names: dict[str, Any] = {}
    exec(form.FUNCTIONS, names)
    assert names["fade"](["red", "blue", "red"], 2) == names["fade"](["red", "blue"], 2)


def test_named_numbers_are_those_of_the_drawing_functions() -> None:
    names: dict[str, object] = {}
    exec(form.FUNCTIONS, names)  # our own constant
    assert {name: names[name] for name in phrasebook.NAMED} == phrasebook.NAMED
