"""The strict score: its range, what must not matter, what must, and the corpus of ways to cheat."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localgif.gif import measure
from localgif.gif import score as score_module
from localgif.gif.score import SCORERS, no_gif
from localgif.records import Looks, Measurements, Piece, ScorePart
from localgif.tasks.task import COLOURS, Task, load_task, task_names
from scripts.generate import scoring_table
from tests.tasks.cheats import BALL as SMALL_BALL
from tests.tasks.cheats import CHEATS, FOLDER
from tests.tasks.references import REFERENCES
from tests.tasks.scenes import Scene, bounce, gif

BALL = load_task("bouncing-ball")
ROOT = Path(__file__).parent.parent.parent


def measured(scene: Scene) -> Measurements:
    return Measurements.model_validate(measure.main(gif(scene)))


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
    score = score_module.strict(m, load_task(name))
    assert 0 <= score.total <= 1
    assert score.total == score_module.total(score.parts)
    assert all(part.explanation and 0 <= part.value <= 1 for part in score.parts)
    assert [part.name for part in score.parts] == [
        n for n in score_module.WEIGHTS if n in {p.name for p in score.parts}
    ]


@given(anything(), st.sampled_from(task_names()))
def test_the_gate_dominates(m: Measurements, name: str) -> None:
    closed = m.model_copy(update={"distinct_frames": 1})
    assert score_module.strict(closed, load_task(name)).total == 0


parts = st.lists(st.tuples(shares, st.floats(0, 1)), min_size=1, max_size=12)


@given(parts, st.data())
def test_worse_in_one_part_is_never_better_in_all(values: list[tuple[float, float]], data: st.DataObject) -> None:
    made = tuple(ScorePart(name=str(i), value=v, weight=w, explanation="") for i, (v, w) in enumerate(values))
    number = data.draw(st.integers(0, len(made) - 1))
    lower = data.draw(st.floats(0, made[number].value))
    worse = (*made[:number], made[number].model_copy(update={"value": lower}), *made[number + 1 :])
    assert score_module.total(worse) <= score_module.total(made)


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
    m, task = measured(REFERENCES[name]), load_task(name)
    totals = {score_module.strict(rotated(m, by), task).total for by in range(24)}
    assert totals == {1.0}


@pytest.mark.parametrize("name", ["bouncing-ball", "spinning-star", "sun-and-planet", "fading-square"])
@pytest.mark.parametrize("side", [96, 150, 400, 500])
def test_the_size_of_the_canvas_hardly_matters(name: str, side: int) -> None:
    assert score_module.strict(measured(replace(REFERENCES[name], size=(side, side))), load_task(name)).total >= 0.95


@pytest.mark.parametrize("name", ["bouncing-ball", "diagonal-ball", "orbiting-ball"])
def test_an_oblong_canvas_and_hard_edges_do_not_matter(name: str) -> None:
    for changes in ({"size": (240, 160)}, {"size": (160, 240)}, {"smooth": False}):
        scene = replace(REFERENCES[name], **changes)
        assert score_module.strict(measured(scene), load_task(name)).total >= 0.95


@pytest.mark.parametrize("colours", [4, 8, 64])
def test_palettes_and_dithering_do_not_matter(colours: int) -> None:
    from tests.tasks.scenes import images, saved

    frames = [frame.quantize(colours) for frame in images(REFERENCES["bouncing-ball"])]
    m = Measurements.model_validate(measure.main(saved(frames, duration=40, loop=0)))
    assert score_module.strict(m, BALL).total >= 0.95


@pytest.mark.parametrize("bounces", [1, 2])
def test_a_ball_may_bounce_more_than_once(bounces: int) -> None:
    curve = bounce(0.82, 0.6)
    scene = REFERENCES["bouncing-ball"].with_thing(y=lambda t: curve(t * bounces % 1))
    assert score_module.strict(measured(scene), BALL).total >= 0.95


def test_the_corpus_is_what_its_makers_are_named() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.gif")) == sorted(CHEATS)
    assert len(CHEATS) >= 25


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.gif")), ids=lambda path: path.stem)
def test_no_cheat_scores_above_0_6(path: Path) -> None:
    m = Measurements.model_validate(measure.main(path.read_bytes()))
    assert score_module.strict(m, BALL).total <= 0.6


def test_what_the_cheats_are_measured_against_scores_full() -> None:
    assert score_module.strict(measured(SMALL_BALL), BALL).total == 1.0


def test_the_table_in_the_docs_is_the_one_of_this_version() -> None:
    assert scoring_table() in (ROOT / "docs" / "scoring.md").read_text(), "run: ./scripts/just fix"


def test_weights_and_ranges_in_the_docs_are_the_ones_of_this_version() -> None:
    text = (ROOT / "docs" / "scoring.md").read_text()
    for name, weight in score_module.WEIGHTS.items():
        assert f"| `{name}` | {weight:g} |" in text, name
    assert score_module.VERSIONS["strict"] in text


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
def test_what_is_no_animation_scores_0_and_says_why(changes: dict[str, object], said: str) -> None:
    m = measured(REFERENCES["bouncing-ball"]).model_copy(update=changes)
    score = score_module.strict(m, BALL)
    assert score.total == 0
    assert said in score.parts[0].explanation


def test_without_a_gif_the_score_is_0_by_the_gate() -> None:
    score = no_gif("strict", "the file is empty")
    assert (score.scorer, score.total, [p.name for p in score.parts]) == (
        score_module.VERSIONS["strict"],
        0.0,
        ["gate"],
    )
    assert score.parts[0].explanation == "the file is empty"


def test_numbers_of_a_version_that_did_not_look_are_refused() -> None:
    old = measured(REFERENCES["bouncing-ball"]).model_copy(update={"looks": None})
    with pytest.raises(ValueError, match="measure the GIF again"):
        SCORERS["strict"](old, BALL)


def test_a_task_without_subjects_is_judged_by_its_technique_alone() -> None:
    bare = Task(name="bare", brief="anything", targets=BALL.targets)
    assert {p.name for p in score_module.strict(measured(REFERENCES["spinning-bar"]), bare).parts} == {
        "gate",
        "frames",
        "loop",
        "play",
        "size",
    }
