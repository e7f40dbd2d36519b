"""Both scores: their range, their formula, what must not matter and what must, and the corpus of ways to cheat."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localgif.gif.measure import main as measure
from localgif.gif.score import ARTICLE_WEIGHTS, SCORERS, VERSIONS, WEIGHTS, article, no_gif, strict, total
from localgif.records import Looks, Measurements, Piece, ScorePart
from localgif.tasks.task import COLOURS, Task, load_task, task_names
from scripts.generate import scoring_table
from tests.support.corpus import FOLDER
from tests.support.kit import numbers
from tests.support.scenes import REFERENCES, Scene, Thing, bounce, images, measured, saved

BALL = load_task("bouncing-ball")
ROOT = Path(__file__).parent.parent.parent

# --- strict ------------------------------------------------------------------------------------------------------

shares = st.floats(0, 1)


@st.composite
def pieces(draw: st.DrawFn) -> Piece:
    left, right = sorted((draw(shares), draw(shares)))
    top, bottom = sorted((draw(shares), draw(shares)))
    return Piece(
        colour=draw(st.sampled_from([*COLOURS, "transparent"])),
        area=draw(st.floats(1e-5, 1)),
        x=(left + right) / 2,
        y=(top + bottom) / 2,
        left=left,
        top=top,
        right=right,
        bottom=bottom,
        spread=draw(st.floats(0.8, 50)),
        elongation=draw(st.floats(1, 50)),
        fold=draw(st.sampled_from([0, 2, 3, 4, 5, 6])),
        angle=draw(st.floats(-180, 180)),
    )


@st.composite
def anything(draw: st.DrawFn) -> Measurements:
    frames = draw(st.integers(1, 30))

    def each(of: st.SearchStrategy[object]) -> tuple[object, ...]:
        return tuple(draw(st.lists(of, min_size=frames, max_size=frames)))

    return Measurements.model_validate(
        {
            "frames": frames,
            "width": draw(st.integers(1, 1024)),
            "height": draw(st.integers(1, 1024)),
            "size": draw(st.integers(20, 10**6)),
            "delays_ms": each(st.integers(0, 65535).map(lambda tens: 10 * tens)),
            "loop": draw(st.sampled_from([None, 0, 1, 7])),
            "motion": 1.0,
            "gap": 1.0,
            "colours": 2,
            "distinct_frames": draw(st.integers(1, frames)),
            "colour_steps": each(shares),
            "looks": Looks.model_validate(
                {
                    "background": each(st.sampled_from([*COLOURS, "transparent"])),
                    "cover": each(shares),
                    "pieces": each(st.lists(pieces(), max_size=4)),
                }
            ),
        }
    )


@given(anything(), st.sampled_from(task_names()))
def test_any_numbers_give_a_score_between_0_and_1_with_a_reason_for_each_part(m: Measurements, name: str) -> None:
    score = strict(m, load_task(name))
    assert 0 <= score.total <= 1
    assert score.total == total(score.parts)
    assert all(part.explanation and 0 <= part.value <= 1 for part in score.parts)
    assert [part.name for part in score.parts] == [n for n in WEIGHTS if n in {p.name for p in score.parts}]
    still = m.model_copy(update={"distinct_frames": 1})
    assert strict(still, load_task(name)).total == 0, "the gate dominates"


parts = st.lists(st.tuples(shares, st.floats(0, 1)), min_size=1, max_size=12)


@given(parts, st.data())
def test_worse_in_one_part_is_never_better_in_all(values: list[tuple[float, float]], data: st.DataObject) -> None:
    made = tuple(ScorePart(name=str(i), value=v, weight=w, explanation="") for i, (v, w) in enumerate(values))
    number = data.draw(st.integers(0, len(made) - 1))
    lower = data.draw(st.floats(0, made[number].value))
    worse = (*made[:number], made[number].model_copy(update={"value": lower}), *made[number + 1 :])
    assert total(worse) <= total(made)


def rotated(m: Measurements, by: int) -> Measurements:
    """The same loop, begun elsewhere."""

    def turn(values: tuple[object, ...]) -> tuple[object, ...]:
        return (*values[by:], *values[:by])

    assert m.looks is not None
    looks = {key: turn(getattr(m.looks, key)) for key in ("background", "cover", "pieces")}
    changes = {"delays_ms": turn(m.delays_ms), "colour_steps": turn(m.colour_steps), "looks": Looks(**looks)}
    return m.model_copy(update=changes)


@pytest.mark.parametrize("name", task_names())
def test_where_a_closed_loop_begins_does_not_matter(name: str) -> None:
    m, task = measured(replace(REFERENCES[name], size=(200, 200))), load_task(name)
    totals = {strict(rotated(m, by), task).total for by in range(24)}
    assert totals == {1.0}


@pytest.mark.parametrize("name", ["bouncing-ball", "spinning-star", "sun-and-planet", "fading-square"])
@pytest.mark.parametrize("side", [96, 150, 400, 500])
def test_the_size_of_the_canvas_hardly_matters(name: str, side: int) -> None:
    scene = replace(REFERENCES[name], size=(side, side), smooth=side < 300)
    assert strict(measured(scene), load_task(name)).total >= 0.95


@pytest.mark.parametrize("name", ["bouncing-ball", "diagonal-ball", "orbiting-ball"])
def test_an_oblong_canvas_and_hard_edges_do_not_matter(name: str) -> None:
    for changes in ({"size": (240, 160)}, {"size": (160, 240)}, {"smooth": False}):
        scene = replace(REFERENCES[name], **changes)
        assert strict(measured(scene), load_task(name)).total >= 0.95


@pytest.mark.parametrize("colours", [4, 8, 64])
def test_palettes_and_dithering_do_not_matter(colours: int) -> None:
    frames = [frame.quantize(colours) for frame in images(REFERENCES["bouncing-ball"])]
    m = Measurements.model_validate(measure(saved(frames, duration=40, loop=0)))
    assert strict(m, BALL).total >= 0.95


@pytest.mark.parametrize("bounces", [1, 2])
def test_a_ball_may_bounce_more_than_once(bounces: int) -> None:
    curve = bounce(0.82, 0.6)
    scene = REFERENCES["bouncing-ball"].with_thing(y=lambda t: curve(t * bounces % 1))
    assert strict(measured(scene), BALL).total >= 0.95


#: GIFs that look like a red ball that bounces on white, but are not. Each is named after its trick.
CHEATS = sorted((FOLDER / "gifs").glob("*.gif"))


@pytest.mark.parametrize("path", CHEATS, ids=lambda path: path.stem)
def test_no_cheat_scores_above_0_6(path: Path) -> None:
    m = Measurements.model_validate(measure(path.read_bytes()))
    assert strict(m, BALL).total <= 0.6


def test_an_honest_gif_of_the_cheats_size_scores_full() -> None:
    assert len(CHEATS) >= 40
    honest = Scene("white", (Thing("red", y=bounce(0.82, 0.6)),), size=(120, 120))
    assert strict(measured(honest), BALL).total == 1.0


def test_the_table_in_the_docs_is_the_one_of_this_version() -> None:
    assert scoring_table() in (ROOT / "docs" / "scoring.md").read_text(), "run: ./scripts/just fix"


def test_weights_and_ranges_in_the_docs_are_the_ones_of_this_version() -> None:
    text = (ROOT / "docs" / "scoring.md").read_text()
    for name, weight in WEIGHTS.items():
        assert f"| `{name}` | {weight:g} |" in text, name
    assert VERSIONS["strict"] in text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"width": 1, "height": 1}, "too few to see anything"),
        ({"frames": 1, "distinct_frames": 1}, "one picture"),
        ({"distinct_frames": 1}, "all 24 frames are equal"),
        ({"delays_ms": (0,) * 24}, "no frame has a delay"),
        ({"colour_steps": (1e-6,) * 24}, "nothing that can be seen moves"),
    ],
)
def test_a_gif_that_is_not_an_animation_scores_0_and_says_why(changes: dict[str, object], said: str) -> None:
    m = measured(REFERENCES["bouncing-ball"]).model_copy(update=changes)
    score = strict(m, BALL)
    assert score.total == 0
    assert said in score.parts[0].explanation


@pytest.mark.parametrize(("scorer", "parts"), [("strict", ["gate"]), ("article", list(ARTICLE_WEIGHTS))])
def test_without_a_gif_the_score_is_0_with_the_parts_that_were_lost(scorer: str, parts: list[str]) -> None:
    score = no_gif(scorer, "the file is empty")
    assert (score.scorer, score.total, [p.name for p in score.parts]) == (VERSIONS[scorer], 0.0, parts)
    assert score.parts[0].explanation == "the file is empty"


def test_numbers_of_a_version_that_did_not_look_are_refused() -> None:
    old = measured(REFERENCES["bouncing-ball"]).model_copy(update={"looks": None})
    with pytest.raises(ValueError, match="measure the GIF again"):
        SCORERS["strict"](old, BALL)


def test_a_task_without_subjects_is_judged_by_its_technique_alone() -> None:
    bare = Task(name="bare", brief="anything", targets=BALL.targets)
    assert {p.name for p in strict(measured(REFERENCES["spinning-bar"]), bare).parts} == {
        "gate",
        "frames",
        "loop",
        "play",
        "size",
    }


# --- the article's -----------------------------------------------------------------------------------------------


@st.composite
def any_numbers(draw: st.DrawFn) -> Measurements:
    return numbers(
        frames=draw(st.integers(1, 200)),
        delay=draw(st.integers(0, 65535)) * 10,
        motion=draw(st.floats(0, 3e8)),
        gap=draw(st.floats(0, 3e8)),
        size=draw(st.integers(1, 2**22)),
    )


def recomputed(m: Measurements) -> float:
    """The formula a second time, written as the article's prose has it."""
    n, d = m.frames, m.delays_ms[-1]
    score = 0.30 * max(0.0, 1 - abs(n - 24) / 24) + 0.20 * max(0.0, 1 - abs(n * d - 1000) / 1000)
    if m.motion > 5000:
        distance = max(0.0, m.gap / (m.motion + 1) - 1)
        score += 0.20 + 0.20 * max(0.0, 1 - distance / 3)
    return score + (0.10 if m.size < 100 * 1024 else 0.0)


@given(any_numbers())
def test_the_score_is_the_formula_and_lies_between_0_and_1(m: Measurements) -> None:
    score = SCORERS["article"](m, BALL)
    assert 0 <= score.total <= 1
    assert score.total == pytest.approx(recomputed(m), abs=0.00051)
    assert score.total == round(score.total, 3)
    assert [(p.name, p.weight) for p in score.parts] == list(ARTICLE_WEIGHTS.items())


def test_the_parts_say_what_they_count() -> None:
    said = {p.name: p.explanation for p in article(numbers(frames=23, gap=155_003.1)).parts}
    assert said["frames"] == "23 frames, target 24"
    assert "3.1 times a normal step" in said["loop"]
    assert said["play"] == "23 x 40 ms = 920 ms, target 1,000 ms"
    assert said["size"] == "10,000 bytes, must be under 102,400"
