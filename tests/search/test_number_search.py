"""Other numbers: what may be changed, what never is, and that a search only ever climbs."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence

import pytest

from localgif.agent.graph import Rendered
from localgif.files import content_hash
from localgif.records import Score, Verdict
from localgif.search.number_search import AT_ONCE, Change, changed, numbers, proposals, tune
from localgif.search.programs import Programs, Trial, canonical
from localgif.store.read import read_work
from localgif.store.write import RunStore
from localgif.tasks.task import load_task
from tests.support.kit import program, settings

BALL = load_task("bouncing-ball")
CODE = """
import math
from PIL import Image, ImageDraw
COUNT = 30
def make_gif(path):
    frames = []
    for i in range(COUNT):
        image = Image.new('RGB', (200, 150), (255, 255, 250))
        ImageDraw.Draw(image).ellipse((i * 12, 40, i * 12 + 20, 60), fill=(200, 0, 0))
        frames.append(image)
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=90, loop=0)
"""


def test_numbers_have_roles_and_colours_are_no_numbers() -> None:
    found = {(site.value, site.role) for site in numbers(CODE)}
    assert (30, "frames") in found
    assert (90, "delay") in found
    assert not {value for value, _ in found} & {255, 250, 0, 1}
    assert {200, 150, 12, 40, 20, 60} <= {value for value, _ in found}


def test_the_targets_are_tried_first_and_together_with_what_goes_with_them() -> None:
    tried = [changed(CODE, change) for change, _ in zip(proposals(CODE, BALL.targets), range(40), strict=False)]
    assert "duration=40" in tried[0]
    assert "COUNT = 24" in tried[1]
    assert any("COUNT = 24" in text and "i * 15" in text for text in tried), "12 degrees of 30 are 15 of 24"


def test_a_change_touches_numbers_and_nothing_else() -> None:
    def shape(code: str) -> str:
        tree = ast.parse(code)
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and type(node.value) in (int, float):
                node.value = 0
        return ast.dump(tree)

    for change in proposals(CODE, BALL.targets):
        assert shape(changed(CODE, change)) == shape(CODE)


def trial(code: str, total: float) -> Trial:
    return Trial(code, Rendered(Verdict.OK, "", b"", None, 0.0), Score(scorer="x", total=total, parts=()))


def climbing(value: Callable[[str], float]) -> tuple[Callable[[Sequence[str]], list[Trial]], list[str]]:
    ran: list[str] = []

    def measure(codes: Sequence[str]) -> list[Trial]:
        assert 1 <= len(codes) <= AT_ONCE
        ran.extend(codes)
        return [trial(code, value(code)) for code in codes]

    return measure, ran


def test_the_search_never_returns_worse_and_keeps_to_its_budget() -> None:
    measure, ran = climbing(lambda code: 0.1)
    start = trial(canonical(CODE) or "", 0.5)
    assert tune(start, measure, BALL.targets, 0.9, budget=13) is start
    assert len(ran) == 13 and len(set(ran)) == 13, "no program is run twice"


def test_the_search_climbs_and_stops_at_its_goal() -> None:
    measure, ran = climbing(lambda code: 0.9 if "duration=40" in code and "COUNT = 24" in code else 0.6)
    found = tune(trial(canonical(CODE) or "", 0.5), measure, BALL.targets, 0.9)
    assert "duration=40" in found.code and "COUNT = 24" in found.code
    assert found.code in ran[-AT_ONCE:]


def test_of_two_that_gain_the_likelier_one_counts() -> None:
    """However many are run at once, the search goes the way of the first in order that gains."""
    measure, ran = climbing(lambda code: 0.6 if len(ran) <= AT_ONCE else 0.1)
    found = tune(trial(canonical(CODE) or "", 0.5), measure, BALL.targets, 0.9, budget=10)
    assert found.code == ran[0]


@pytest.mark.parametrize(("frames", "delay"), [(20, 40), (24, 100), (36, 60)])
def test_a_real_program_with_wrong_numbers_is_put_right_in_the_sandbox(
    store: RunStore, frames: int, delay: int
) -> None:
    programs = Programs(store)

    start = programs.trial(canonical(program(frames, delay)) or "", BALL)
    found = programs.search(start, BALL, lambda start, measure: tune(start, measure, BALL.targets, 0.985))
    assert start.score.total < 0.98 <= found.score.total
    again = programs.run
    assert programs.trial(found.code, BALL) == found and programs.run == again, "what was run is remembered"
    (row,) = [run for run in read_work(store.folder).programs if run.start is not None]
    assert (row.code, row.tried) == (content_hash(found.code), again - 1)


def test_an_amplitude_of_0_turns_a_circle_into_a_line(store: RunStore) -> None:
    circle = program(24, 40).replace("rectangle", "ellipse").replace('"black"', '"red"')
    store.update(settings=settings("http://127.0.0.1:1", scorer="strict"))
    programs = Programs(store)

    start = programs.trial(canonical(circle) or "", BALL)
    assert start.score.total == 0.4
    found = programs.search(start, BALL, lambda start, measure: tune(start, measure, BALL.targets, 0.985))
    assert found.score.total == 1.0


def test_changes_of_nothing_are_the_program_itself() -> None:
    nothing: Change = {}
    assert changed(CODE, nothing) == canonical(CODE)


@pytest.mark.parametrize(
    ("number", "left"),
    [
        ("1" + "0" * 310, [12]),
        ("0x" + "f" * 3700, []),  # Python's own tools cannot write it
        ("1e400", [12]),
        ("2 ** 9", [2, 9, 12]),
        ("1_000_000_000_000", [12]),
    ],
)
def test_a_number_that_describes_no_picture_is_left_alone(number: str, left: list[int]) -> None:
    code = f"def make_gif(path):\n    a = {number}\n    b = 12\n"
    assert sorted(site.value for site in numbers(code)) == left
    changes = list(proposals(code, BALL.targets))
    assert bool(changes) == bool(left)
    for change in changes:
        assert "b = " in changed(code, change)
