"""Paths and sizes from bare tracks: which motion is told from which, whatever phase, direction and number of frames."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from localgif.gif.tracks import PATHS, SIZES, Track, ramp, reversals, smooth, spin
from localgif.records import Piece


def piece(x: float = 0.5, y: float = 0.5, side: float = 0.1, fold: int = 0, angle: float = 0.0) -> Piece:
    half = side / 2
    return Piece("red", side * side, x, y, x - half, y - half, x + half, y + half, 1.0, 1.0, fold, angle)


MOTIONS: dict[str, Callable[[float], tuple[float, float]]] = {
    "still": lambda t: (0.5, 0.5),
    "up-down": lambda t: (0.5, 0.5 + 0.3 * math.cos(t)),
    "left-right": lambda t: (0.5 + 0.3 * math.cos(t), 0.5),
    "diagonal-down": lambda t: (0.5 + 0.3 * math.cos(t), 0.5 + 0.3 * math.cos(t)),
    "diagonal-up": lambda t: (0.5 + 0.3 * math.cos(t), 0.5 - 0.3 * math.cos(t)),
    "orbit": lambda t: (0.5 + 0.3 * math.cos(t), 0.5 + 0.3 * math.sin(t)),
    "across": lambda t: (t / (2 * math.pi) % 1, 0.5),
}


def track(name: str, frames: int, phase: float = 0.0, way: int = 1) -> Track:
    places = [MOTIONS[name](way * 2 * math.pi * (k + phase) / frames) for k in range(frames)]
    return Track(tuple(piece(x, y) for x, y in places))


@given(st.sampled_from(sorted(MOTIONS)), st.integers(8, 60), st.floats(0, 60), st.sampled_from([1, -1]))
def test_each_path_is_told_from_all_others(name: str, frames: int, phase: float, way: int) -> None:
    values = {path: judge(track(name, frames, phase, way))[0] for path, judge in PATHS.items()}
    assert values.pop(name) == 1
    assert values.pop("diagonal") == name.startswith("diagonal"), "either one"
    assert max(values.values()) <= 0.1


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.lists(st.floats(0, 1), min_size=40, max_size=40))
def test_any_track_is_judged_between_0_and_1_with_a_reason(xs: list[float], ys: list[float]) -> None:
    any_track = Track(tuple(piece(x, y, 0.05 + 0.1 * y, fold=3, angle=90 * x) for x, y in zip(xs, ys, strict=False)))
    assume(len(any_track.pieces) >= 3)
    for judge in (*PATHS.values(), *SIZES.values(), spin):
        value, text = judge(any_track)
        assert 0 <= value <= 1
        assert text


@given(st.lists(st.floats(0, 1), min_size=2, max_size=40), st.integers(0, 40))
def test_directions_change_an_even_number_of_times_wherever_the_loop_begins(values: list[float], by: int) -> None:
    turned = [*values[by % len(values) :], *values[: by % len(values)]]
    assert reversals(values) % 2 == 0
    assert reversals(turned) == reversals(values)
    assert smooth(turned) == pytest.approx(smooth(values))


def test_one_bounce_has_two_turns_and_two_have_four() -> None:
    for bounces in (1, 2, 3):
        values = [abs(math.sin(math.pi * bounces * k / 24)) for k in range(24)]
        assert reversals(values) == 2 * bounces


@pytest.mark.parametrize(("low", "high", "best"), [(0.1, 0.1, "constant"), (0.1, 0.25, "pulse")])
def test_sizes_are_told_apart(low: float, high: float, best: str) -> None:
    sides = [low + (high - low) * (1 - math.cos(2 * math.pi * k / 24)) / 2 for k in range(24)]
    values = {name: judge(Track(tuple(piece(side=s) for s in sides)))[0] for name, judge in SIZES.items()}
    assert values.pop(best) == 1
    assert max(values.values()) < 1


def test_growth_takes_most_of_the_loop() -> None:
    sides = [0.1 + 0.01 * k for k in range(20)] + [0.25, 0.2, 0.15, 0.12]
    values = {name: judge(Track(tuple(piece(side=s) for s in sides)))[0] for name, judge in SIZES.items()}
    assert values["grow"] == 1
    assert values["constant"] == 0


@pytest.mark.parametrize("fold", [2, 3, 4, 5])
def test_a_turn_counts_from_one_symmetric_look_to_the_next(fold: int) -> None:
    whole = 360 / fold
    full = Track(tuple(piece(fold=fold, angle=whole * k / 24) for k in range(24)))
    rocking = Track(tuple(piece(fold=fold, angle=whole / 4 * math.sin(2 * math.pi * k / 24)) for k in range(24)))
    assert spin(full)[0] == 1
    assert spin(rocking)[0] == 0
    assert spin(Track(tuple(piece(fold=0) for _ in range(24))))[0] == 0


@given(st.floats(-10, 10), st.floats(-1, 1), st.floats(-1, 1))
def test_a_ramp_goes_from_0_to_1(value: float, bad: float, good: float) -> None:
    assume(abs(good - bad) > 1e-6)
    assert 0 <= ramp(value, bad, good) <= 1
    assert (ramp(bad, bad, good), ramp(good, bad, good)) == (0, 1)
