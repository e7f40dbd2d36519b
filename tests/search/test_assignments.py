"""The search over formulas: what it starts from, what it finds in the sandbox, and that it keeps its budget."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from localgif.agent.form import Figure, Scene, read
from localgif.agent.form import program as form_program
from localgif.agent.graph import Rendered
from localgif.gif import score
from localgif.gif.score import no_gif
from localgif.records import Limits, Verdict
from localgif.search.assignments import colours_of, finder, first_scene, glimpse, search
from localgif.search.number_search import BUDGET
from localgif.search.programs import Trial, render
from localgif.tasks.sentence import read as read_sentence
from localgif.tasks.task import Task, load_task
from tests.support.kit import program

pytestmark = pytest.mark.slow  # whole searches


class Measured:
    """Runs and scores programs, and counts them."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.count = 0

    def __call__(self, codes: Sequence[str]) -> list[Trial]:
        self.count += len(codes)
        rendered = [render(code, Limits()) for code in codes]
        return [
            Trial(code, each, score.of("strict", each.measurements, self.task))
            for code, each in zip(codes, rendered, strict=True)
        ]


@pytest.mark.parametrize("name", ["diagonal-ball", "sun-and-planet", "two-balls", "filling-bar", "moving-chameleon"])
def test_what_a_brief_names_is_nearly_right_at_once(name: str) -> None:
    measured = Measured(load_task(name))
    found, scene, count = search(first_scene(measured.task.brief), measured.task, measured, 0.99)
    assert found.score.total >= 0.99
    assert count == measured.count <= 3
    assert read(found.code) == scene


SENTENCES = [
    line
    for line in (Path(__file__).parent.parent / "corpus" / "sentences.txt").read_text().splitlines()
    if not line.startswith("#")
]


@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.full), 10])
def test_most_sentences_of_other_people_are_drawn_right_without_a_model(step: int) -> None:
    """On 2026-11-30: 245 of 262 at 0.97 or more. The others name what nothing measures, or were read wrong."""
    reached = []
    for sentence in SENTENCES[::step]:
        task = read_sentence(sentence).task
        if task.subjects:
            drawn = render(form_program(first_scene(sentence), sentence, task.targets), Limits())
            reached.append(
                drawn.measurements is not None and score.of("strict", drawn.measurements, task).total >= 0.97
            )
    assert sum(reached) >= 0.85 * len(reached)


def test_several_things_on_one_ring_keep_their_distance() -> None:
    scene = first_scene("a red ball and a blue ball orbiting a yellow ball on black")
    paths = [figure.path for figure in scene.figures if figure.path]
    assert len(set(paths)) == 2 and "math.cos(t - 3.14)" in paths[1]


def test_a_wrong_draft_is_put_right_one_quantity_after_the_other() -> None:
    measured = Measured(load_task("orbiting-ball"))
    draft = Scene('"black"', (Figure("SQUARE", '"blue"', turn="angle = t"),))
    found, scene, count = search(draft, measured.task, measured, 0.99)
    assert found.score.total >= 0.99
    assert scene.figures[0].shape == "CIRCLE"
    assert count <= BUDGET


def test_the_budget_is_kept_and_the_best_returned() -> None:
    measured = Measured(load_task("spinning-star"))
    draft = Scene('"white"', (Figure("CIRCLE", '"red"'),))
    found, _, count = search(draft, measured.task, measured, 0.99, budget=5)
    assert measured.count == count <= 5
    assert found.score.total >= 0


def test_numbers_come_after_formulas_and_phrases_stay() -> None:
    """No formula has the size that counts as right here, but half of a number is; the program keeps its phrases."""
    task = load_task("pulsing-circle")
    scene = first_scene(task.brief)
    huge = scene._replace(figures=(scene.figures[0]._replace(scale="width = height = 190 + 80 * math.cos(t)"),))

    def measure(codes: Sequence[str]) -> list[Trial]:
        nothing, poor = Rendered(Verdict.OK, "", None, None, 0.0), no_gif("strict")
        right = poor.model_copy(update={"total": 1.0})
        return [Trial(code, nothing, right if "95 + 80" in code else poor) for code in codes]

    found = finder(huge, task, 0.99)(measure([""])[0], measure)
    assert found.score.total == 1.0
    assert '# "grows and shrinks"' in found.code


def test_colours_and_background_are_read_from_the_brief() -> None:
    assert colours_of("a gray ball on a White background") == ["grey", "white"]
    assert first_scene("a red ball on a deep blue background").background == '"blue"'
    assert first_scene("a red ball").background == '"white"'
    assert first_scene("a #ff6b35 ball on teal (#008080)") == Scene('"#008080"', (Figure("CIRCLE", '"#ff6b35"'),))
    assert first_scene("#") == Scene('"white"', (Figure("CIRCLE", '"black"'),))


@pytest.mark.parametrize(
    ("brief", "colours"),
    [
        ("a star twinkling on navy", ("white",)),
        ("a circle hides behind a square", ("black", "grey")),
        ("a white ball and a square", ("grey",)),
    ],
)
def test_a_thing_without_a_colour_is_seen_on_its_background(brief: str, colours: Sequence[str]) -> None:
    free = [figure.color.strip('"') for figure in first_scene(brief).figures]
    assert [colour for colour in free if colour not in brief.split()] == list(colours)


def test_things_of_another_program_are_glimpsed() -> None:
    task = load_task("bouncing-ball")
    assert glimpse(program(24), task) == Scene('"white"', (Figure("SQUARE", '"black"'),))
    assert glimpse("def make_gif(path):\n    pass\n", task) is None
    assert glimpse("def (", task) is None
