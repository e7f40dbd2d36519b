"""Both scores: their range, their formula, what must not matter and what must, and the corpus of ways to cheat."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localgif.errors import ConfigError
from localgif.gif.measure import main as measure
from localgif.gif.score import (
    ARTICLE_WEIGHTS,
    RULES,
    SCORERS,
    VERSIONS,
    WEIGHTS,
    article,
    no_gif,
    of,
    strict,
    total,
    version_of,
)
from localgif.records import Looks, Measurements, Piece, ScorePart
from localgif.tasks.task import COLOURS, Task, load_task, parse_task, task_names
from scripts.generate import scoring_table
from tests.support.corpus import FOLDER
from tests.support.kit import numbers
from tests.support.scenes import REFERENCES, Scene, Thing, bounce, fixed, images, measured, saved, wave

BALL = load_task("bouncing-ball")
ROOT = Path(__file__).parent.parent.parent

# --- strict ------------------------------------------------------------------------------------------------------

shares = st.floats(0, 1)
shades = st.tuples(*[st.integers(0, 255)] * 3)


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
        rgb=draw(shades),
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
                    "ground": each(shades),
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
    looks = {key: turn(getattr(m.looks, key)) for key in ("background", "cover", "pieces", "ground")}
    changes = {"delays_ms": turn(m.delays_ms), "colour_steps": turn(m.colour_steps), "looks": Looks(**looks)}
    return m.model_copy(update=changes)


@pytest.mark.slow
@pytest.mark.parametrize("name", task_names())
def test_where_a_closed_loop_begins_does_not_matter(name: str) -> None:
    m, task = measured(replace(REFERENCES[name], size=(200, 200))), load_task(name)
    totals = {strict(rotated(m, by), task).total for by in range(24)}
    assert totals == {1.0}


@pytest.mark.slow
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


DOT = """
brief = "a red dot that blinks in the middle of a white background"
background = "white"

[targets]
frames = 24
loop_ms = 1000
max_bytes = 50000

[[subjects]]
colour = "red"
shape = "round"
path = "still"
size = "constant"
shown = "blink"
"""

#: GIFs that look like what a task asks for, but are not. Each is named after its trick; a task's name and a dot come
#: first if it is no bouncing ball.
CHEATS = sorted((FOLDER / "gifs").glob("*.gif"))


@pytest.mark.slow
def test_no_cheat_scores_above_0_6_and_the_docs_list_each() -> None:
    table = scoring_table()
    assert table in (ROOT / "docs" / "scoring.md").read_text(), "run: ./scripts/just fix"
    rows = [row.split("|") for row in table.splitlines()[2:]]
    assert len(rows) == len(CHEATS)
    assert [(cheat, strict) for _, cheat, _, _, strict, *_ in rows if float(strict) > 0.6] == []


def test_an_honest_gif_of_the_cheats_size_scores_full() -> None:
    assert len(CHEATS) >= 71
    honest = Scene("white", (Thing("red", y=bounce(0.82, 0.6)),), size=(120, 120))
    assert strict(measured(honest), BALL).total == 1.0


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


@pytest.mark.parametrize("missing", ["looks", "shades"])
def test_numbers_of_a_version_that_measured_less_are_refused(missing: str) -> None:
    new = measured(REFERENCES["bouncing-ball"])
    assert new.complete and new.looks is not None
    looks = None if missing == "looks" else new.looks.model_copy(update={"ground": ()})
    old = new.model_copy(update={"looks": looks})
    assert not old.complete
    with pytest.raises(ValueError, match="measure the GIF again"):
        SCORERS["strict"](old, BALL)


# --- what a person sees ------------------------------------------------------------------------------------------


def lost(scene: Scene, task: Task) -> tuple[float, dict[str, str]]:
    """Total, and name -> explanation of the parts that are not whole."""
    score = strict(measured(scene), task)
    return score.total, {part.name: part.explanation for part in score.parts if part.value < 1}


def test_the_last_version_still_scores_as_it_did() -> None:
    dot = REFERENCES["bouncing-ball"].with_thing(radius=fixed(0.025))
    m = measured(replace(dot, size=(200, 200), smooth=False))
    assert RULES["strict-3"](m, BALL).total == 1.0, "what a search found in November"
    assert strict(m, BALL).total <= 0.6
    assert of("strict-3", m, BALL).scorer == no_gif("strict-3").scorer == "strict-3"
    with pytest.raises(ConfigError, match='no rule "strict-2"'):
        version_of("strict-2")


@pytest.mark.parametrize(
    ("diameter", "least", "most"), [(0.06, 0.6, 0.61), (0.11, 0.75, 0.85), (0.15, 0.95, 1), (0.65, 1, 1), (0.9, 0, 0.8)]
)
def test_a_thing_is_as_large_as_a_person_wants_it(diameter: float, least: float, most: float) -> None:
    reach = 0.8 * (1 - diameter)
    scene = Scene("white", (Thing("red", y=wave(0.5 - reach / 2, 0.5 + reach / 2), radius=fixed(diameter / 2)),))
    total, parts = lost(replace(scene, size=(240, 240)), BALL)
    assert least <= total <= most, parts


def test_a_task_may_ask_for_another_size() -> None:
    small = BALL.model_copy(update={"subjects": (BALL.subjects[0].model_copy(update={"size_range": (0.04, 0.1)}),)})
    scene = replace(REFERENCES["bouncing-ball"].with_thing(radius=fixed(0.04)), size=(240, 240))
    assert lost(scene, small) == (1.0, {})
    total, parts = lost(REFERENCES["bouncing-ball"], small)
    assert total < 1 and "make it smaller" in parts["visible"]


@pytest.mark.parametrize("blinks", [1, 2])
@pytest.mark.parametrize("duration", [40, (480, 520)])
def test_what_blinks_is_judged_by_time_and_not_by_stored_frames(blinks: int, duration: int | tuple[int, ...]) -> None:
    task = parse_task(DOT, "dot", "dot.toml")
    assert task.holds
    frames = 24 if duration == 40 else 2 * blinks
    dot = Thing("red", shown=lambda t: t * blinks % 1 < 0.5)
    scene = Scene("white", (dot,), frames=frames, duration=duration if blinks == 1 else 40 if frames == 24 else 250)
    honest = measured(scene)
    assert honest.frames == 2 * blinks, "Pillow merged the equal frames"
    assert strict(honest, task).total >= 0.97
    pixel = Thing("black", x=fixed(0.01), y=fixed(0.01), radius=fixed(0.005), shown=lambda t: round(24 * t) % 2 == 0)
    padded = measured(replace(scene, things=(dot, pixel), frames=24, duration=40))
    assert padded.frames == 24
    assert strict(padded, task).total <= strict(honest, task).total


def test_a_flip_in_every_frame_is_not_a_blink() -> None:
    scene = Scene("white", (Thing("red", shown=lambda t: round(24 * t) % 2 == 0),))
    total, parts = lost(scene, parse_task(DOT, "dot", "dot.toml"))
    assert total <= 0.4 and "flickers" in parts["blink"]


def test_a_brief_may_let_its_picture_rest() -> None:
    rest = REFERENCES["bouncing-ball"].with_thing(y=lambda t: bounce(0.82, 0.6)(min(1.0, 2 * t)))
    assert lost(rest, BALL)[0] < 0.9
    assert lost(rest, BALL.model_copy(update={"still": True}))[0] >= 0.97


def test_a_last_frame_that_repeats_the_first_costs_a_little_and_is_named() -> None:
    orbit = REFERENCES["orbiting-ball"]
    total, parts = lost(replace(orbit, stretch=24 / 23), load_task("orbiting-ball"))
    assert 0.95 <= total <= 0.98
    assert "divide by the number of frames, not by one less" in parts["loop"]


def test_invisible_changes_do_not_hide_that_the_picture_stands_still() -> None:
    rest = REFERENCES["bouncing-ball"].with_thing(y=lambda t: bounce(0.82, 0.6)(min(1.0, 2 * t)))
    pixel = Thing("black", x=fixed(0.01), y=fixed(0.01), radius=fixed(0.01), shown=lambda t: round(24 * t) % 2 == 0)
    total, parts = lost(replace(rest, things=(*rest.things, pixel), smooth=False, size=(200, 200)), BALL)
    assert total < 0.9 and "nothing visible changes" in parts["play"]


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
