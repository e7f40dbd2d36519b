"""What a person would notice, or would not: each with the part that says so, and what the part says."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localgif.gif.score import strict
from localgif.tasks.task import Subject, Task, load_task
from tests.support.scenes import (
    PLAIN,
    REFERENCES,
    Curve,
    Scene,
    Thing,
    bounce,
    fade,
    fixed,
    in_turns,
    measured,
    ring,
    wave,
)

BALL, HOP = load_task("bouncing-ball"), REFERENCES["bouncing-ball"]


def part(name: str, scene: Scene, task: Task | str = BALL) -> tuple[float, str]:
    """Value and explanation of one part."""
    wanted = load_task(task) if isinstance(task, str) else task
    score = strict(measured(replace(scene, size=(100, 100), smooth=False)), wanted)
    return next((p.value, p.explanation) for p in score.parts if p.name == name)


def beside(*things: Thing) -> Scene:
    return replace(HOP, things=(*HOP.things, *things))


def with_task(name: str, **changes: object) -> Task:
    """A shipped task with other values in its last subject."""
    task = load_task(name)
    return task.model_copy(update={"subjects": (*task.subjects[:-1], task.subjects[-1].model_copy(update=changes))})


def dots(x: float, y: Curve, *colours: str) -> list[Thing]:
    """Small things, one below the other."""

    def lower(by: float) -> Curve:
        return lambda t: y(t) + by

    return [Thing(c, x=fixed(x), y=lower(0.1 * k), radius=fixed(0.035)) for k, c in enumerate(colours)]


# --- what is there -----------------------------------------------------------------------------------------------


def test_eyes_and_a_shadow_belong_to_a_ball_and_a_fly_may_pass() -> None:
    y = HOP.things[0].y
    eyes = [Thing("black", x=fixed(0.5 + d), y=lambda t: y(t) - 0.04, radius=fixed(0.02)) for d in (-0.04, 0.04)]
    assert part("subject", beside(*eyes))[0] == 1
    assert part("subject", beside(*dots(0.1, fixed(0.5), "blue")))[0] > 0.85


@pytest.mark.parametrize("colours", [("blue", "green", "orange", "purple"), ("red", "red", "red", "red")])
def test_confetti_does_not_belong_to_a_ball(colours: tuple[str, ...]) -> None:
    value, text = part("subject", beside(*dots(0.12, wave(0.2, 0.5), *colours)))
    assert value < 0.6
    assert "things beside it that nobody asked for" in text


@pytest.mark.parametrize(
    ("colour", "least", "most"),
    [
        (lambda t: (220, 20, 30), 1, 1),
        (lambda t: (200 + round(40 * t), 20, 30), 1, 1),
        (lambda t: (255, 0, 0) if t < 0.5 else (255, 125, 125), 0.2, 0.5),
        (lambda t: (255, 0, 0) if round(24 * t) % 2 else (110, 0, 0), 0, 0),
    ],
)
def test_one_colour_is_one_shade(colour: object, least: float, most: float) -> None:
    value, text = part("subject", HOP.with_thing(colour=colour))
    assert least <= value <= most
    assert ("its shade changes by" in text) == (most < 1)


def test_a_background_is_one_shade() -> None:
    quiet = replace(HOP, things=(Thing("red", y=wave(0.2, 0.8)),), background="white")
    assert part("background", quiet)[0] == 1
    lamp = Thing(lambda t: (255, 255, 255) if round(24 * t) % 2 else (222, 222, 222), radius=fixed(2))
    value, text = part("background", replace(quiet, things=(lamp, *quiet.things)))
    assert value < 1 and "its shade changes by" in text


@pytest.mark.parametrize(
    ("shade", "seen"), [((30, 60, 230), 1), ((0, 0, 128), 1), ((160, 160, 255), 1), ((205, 205, 255), 0)]
)
def test_a_thing_differs_from_its_background(shade: tuple[int, int, int], seen: int) -> None:
    value, text = part("visible", REFERENCES["orbiting-ball"].with_thing(colour=lambda t: shade), "orbiting-ball")
    assert round(value) == seen
    assert ("differs from the background" in text) == (value < 1)


# --- shapes ------------------------------------------------------------------------------------------------------


def star(points: int) -> tuple[tuple[float, float], ...]:
    radii = [(1.3 if k % 2 == 0 else 0.5, math.pi * k / points) for k in range(2 * points)]
    return tuple((r * math.cos(a), r * math.sin(a)) for r, a in radii)


def test_a_star_has_the_points_that_its_task_counts() -> None:
    scene = REFERENCES["spinning-star"]
    four = scene.with_thing(shape="own", points=star(4))
    assert part("shape", scene.with_thing(shape="own", points=star(5)), "spinning-star")[0] == 1
    value, text = part("shape", four, "spinning-star")
    assert value == 0 and "no star of 5 points" in text
    assert part("shape", four, with_task("spinning-star", points=None))[0] == 1


PLUS = tuple((x, y) for x, y in ((1, 0.3), (0.3, 0.3), (0.3, 1), (-0.3, 1), (-0.3, 0.3), (-1, 0.3)))
PLUS += tuple((-x, -y) for x, y in PLUS)


def test_a_plus_sign_is_neither_a_square_nor_a_bar() -> None:
    plus: dict[str, Any] = {"shape": "own", "points": PLUS, "radius": fixed(0.3)}
    assert part("shape", REFERENCES["spinning-square"].with_thing(**plus), "spinning-square")[0] <= 0.2
    long = REFERENCES["spinning-bar"].with_thing(**plus, stretch=fixed(1.8))
    assert part("shape", long, "spinning-bar")[0] <= 0.2


@pytest.mark.parametrize(("width", "value"), [(1.2, 0), (6, 1)])
def test_a_bar_is_long(width: float, value: float) -> None:
    box = ((-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0))
    bar: dict[str, Any] = {
        "shape": "own",
        "points": box,
        "radius": fixed(0.06),
        "stretch": fixed(width),
        "angle": fixed(0),
    }
    assert part("shape", REFERENCES["spinning-bar"].with_thing(**bar), "spinning-bar")[0] == value


# --- motion ------------------------------------------------------------------------------------------------------


@given(st.floats(0.05, 1))
def test_a_way_counts_by_the_way_that_a_thing_has(share: float) -> None:
    free = 1 - 0.24
    scene = HOP.with_thing(y=wave(0.5 - share * free / 2, 0.5 + share * free / 2))
    value, text = part("path", scene)
    assert (value == 1) == (share >= 0.34) or 0.3 < share < 0.36
    assert ("of the way that it has" in text) == (share < 0.33) or 0.3 < share < 0.36 or share < 0.1


def test_a_task_may_want_more_of_the_way() -> None:
    half = REFERENCES["diagonal-ball"].with_thing(x=wave(0.3, 0.7), y=wave(0.3, 0.7))
    assert part("path", half, "diagonal-ball")[0] < 1
    assert part("path", half, with_task("diagonal-ball", reach=0.33))[0] == 1


@pytest.mark.parametrize(("by", "fine"), [(0.004, True), (0.04, False)])
def test_a_thing_that_shakes_is_seen_to(by: float, fine: bool) -> None:
    shaken = HOP.with_thing(x=lambda t: 0.5 + (by if round(24 * t) % 2 else -by))
    value, text = part("path", shaken)
    assert (value == 1) == fine
    assert ("trembles" in text) != fine


def test_an_orbit_goes_round_the_thing_that_its_task_names() -> None:
    scene = REFERENCES["sun-and-planet"]
    assert part("path", scene, "sun-and-planet") == (1, part("path", scene, "sun-and-planet")[1])
    value, text = part("path", scene.with_thing(1, x=ring(0.2, 0.12), y=ring(0.2, 0.12, 0.25)), "sun-and-planet")
    assert value == 0 and "not round the yellow thing" in text
    value, text = part("path", scene.with_thing(1, x=ring(0.5, 0.16), y=ring(0.5, 0.16, 0.25)), "sun-and-planet")
    assert 0 < value < 1 and "cover each other" in text
    value, text = part("path", scene.with_thing(0, colour="purple"), "sun-and-planet")
    assert value == 0


def test_things_side_by_side_are_not_one_above_the_other() -> None:
    stacked = (Thing("blue", y=wave(a, b), radius=fixed(0.09)) for a, b in ((0.12, 0.4), (0.6, 0.88)))
    value, text = part("place", replace(REFERENCES["two-balls"], things=tuple(stacked)), "two-balls")
    assert value == 0 and "asked is side by side" in text
    assert part("place", REFERENCES["two-balls"], "two-balls")[0] == 1


@pytest.mark.parametrize("place", ["top-left", "top-right", "bottom-left", "bottom-right"])
def test_a_corner_is_not_an_edge_and_not_another_corner(place: str) -> None:
    for x, y, there in (
        (0.2, 0.2, "top-left"),
        (0.8, 0.2, "top-right"),
        (0.2, 0.8, "bottom-left"),
        (0.8, 0.8, "bottom-right"),
        (0.5, 0.2, "top"),
        (0.2, 0.5, "left"),
    ):
        scene = REFERENCES["pulsing-circle"].with_thing(x=fixed(x), y=fixed(y), radius=wave(0.08, 0.15))
        value, text = part("place", scene, with_task("pulsing-circle", place=place))
        assert value == pytest.approx(float(there == place), abs=0.01)
        assert (f"asked is the {place.replace('-', ' ')}" in text) == (value < 1)


@pytest.mark.parametrize("place", ["top", "bottom", "left", "right", "middle"])
def test_a_place_is_told_from_the_others(place: str) -> None:
    there = {"top": (0.5, 0.2), "bottom": (0.5, 0.8), "left": (0.2, 0.5), "right": (0.8, 0.5), "middle": (0.5, 0.5)}
    for other, (x, y) in there.items():
        scene = REFERENCES["pulsing-circle"].with_thing(x=fixed(x), y=fixed(y), radius=wave(0.08, 0.15))
        value, text = part("place", scene, with_task("pulsing-circle", place=place))
        assert value == pytest.approx(float(other == place), abs=0.01)
        assert ("asked is" in text) == (value < 1)


@pytest.mark.parametrize(("y", "value"), [(0.7, 1), (0.5, 1), (0.15, 0)])
def test_a_thing_below_another_begins_where_that_one_ends(y: float, value: float) -> None:
    scene = REFERENCES["blinking-light"].with_thing(1, y=fixed(y))
    assert part("place", scene, "blinking-light")[0] == value


@pytest.mark.parametrize(
    ("x", "low", "value"), [(0.5, 0.75, 1), (0.2, 0.75, 1), (0.5, 1.1, 0), (0.05, 0.75, 0)], ids=str
)
def test_a_thing_above_another_is_over_it_and_does_not_fall_through(x: float, low: float, value: float) -> None:
    scene = REFERENCES["ball-over-bar"].with_thing(0, x=fixed(x), y=bounce(low, 0.5))
    scene = scene.with_thing(1, stretch=fixed(0.8))
    assert part("place", scene, "ball-over-bar")[0] == pytest.approx(value, abs=0.01)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"x": fixed(0.5)}, "its left edge moves"),
        ({"shape": "round"}, "it fills 78 %"),
        ({"y": wave(0.3, 0.7)}, "one edge moves alone"),
        ({"x": lambda t: 0.1 + 0.1 * (1 + 3 * t), "stretch": PLAIN, "radius": lambda t: 0.05 + 0.3 * t}, "edge"),
    ],
)
def test_a_bar_grows_away_from_the_edge_that_stays(changes: dict[str, Any], said: str) -> None:
    assert part("scale", REFERENCES["filling-bar"], "filling-bar")[0] == 1
    value, text = part("scale", REFERENCES["filling-bar"].with_thing(**changes), "filling-bar")
    assert value < 0.5 and said in text


# --- colours -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("change", "switched"), [("fade", 0.5), ("switch", 1.0)])
def test_colours_change_gradually_unless_the_task_lets_them_switch(change: str, switched: float) -> None:
    scene, task = REFERENCES["moving-chameleon"], with_task("moving-chameleon", change=change)
    assert part("cycle", scene.with_thing(colour=fade("red", "blue")), task)[0] == 1
    value, text = part("cycle", scene.with_thing(colour=in_turns("red", "blue")), task)
    assert value == switched
    assert ("mix the colours" in text) == (change == "fade")
    flicker = scene.with_thing(colour=lambda t: ("red", "blue")[round(24 * t) % 2])
    assert part("cycle", flicker, task)[0] == 0


def test_one_colour_alone_is_not_a_change() -> None:
    assert part("cycle", REFERENCES["moving-chameleon"].with_thing(colour="red"), "moving-chameleon")[0] == 0


# --- fading into the background ------------------------------------------------------------------------------------

STAR = Task(
    name="fading-star",
    brief="a red ball that fades in and out on a white background",
    background="white",
    subjects=(Subject(colour="red", shape="round", path="still", size="constant", shown="fade"),),
)


def fading(least: float, most: float = 1.0, steps: int = 24) -> Scene:
    """A red ball that mixes with the white background; `least` and `most` are shares of its own colour."""
    mixed = wave(least, most)

    def colour(t: float) -> tuple[int, int, int]:
        share = mixed(round(t * steps) / steps)
        return (round(255 - share * 35), round(255 - share * 235), round(255 - share * 225))

    return replace(HOP, things=(Thing(colour, x=fixed(0.5), y=fixed(0.5), radius=fixed(0.15)),))


def test_a_thing_that_fades_into_the_background_and_back_has_full_marks() -> None:
    scene = fading(0.0)
    assert part("fade", scene, STAR)[0] == 1
    assert strict(measured(replace(scene, size=(100, 100), smooth=False)), STAR).total > 0.97


@pytest.mark.parametrize(("scene", "most"), [(fading(0.9), 0.0), (fading(0.6), 0.4), (fading(0.0, steps=2), 0.0)])
def test_a_thing_that_hardly_fades_or_blinks_does_not_fade(scene: Scene, most: float) -> None:
    assert part("fade", scene, STAR)[0] <= most
