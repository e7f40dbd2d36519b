"""The article's score: its formula, its range, and the direction in which each number pulls."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localgif.gif.score import ARTICLE_WEIGHTS, SCORERS, article, no_gif
from localgif.records import Measurements
from localgif.tasks.task import load_task


def numbers(**changes: object) -> Measurements:
    """A perfect GIF but for the changes."""
    frames = changes.pop("frames", 24)
    delay = changes.pop("delay", 40)
    assert isinstance(frames, int) and isinstance(delay, int)
    base = {
        "frames": frames,
        "width": 200,
        "height": 200,
        "size": 10_000,
        "delays_ms": (delay,) * frames,
        "loop": 0,
        "motion": 50_000.0,
        "gap": 50_000.0,
        "colours": 2,
        "distinct_frames": frames,
    }
    return Measurements.model_validate({**base, **changes})


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


def part(m: Measurements, name: str) -> float:
    return next(part.value for part in article(m).parts if part.name == name)


@given(any_numbers())
def test_the_score_is_the_formula_and_lies_between_0_and_1(m: Measurements) -> None:
    score = article(m)
    assert 0 <= score.total <= 1
    assert score.total == pytest.approx(recomputed(m), abs=0.00051)
    assert score.total == round(score.total, 3)
    assert [(p.name, p.weight) for p in score.parts] == list(ARTICLE_WEIGHTS.items())


@pytest.mark.parametrize(
    ("changes", "total"),
    [
        ({}, 0.992),
        ({"frames": 23}, 0.972),
        ({"frames": 25}, 0.988),
        ({"frames": 1, "delay": 0, "motion": 0.0, "gap": 0.0}, 0.113),
        ({"gap": 200_004.0}, 0.792),
        ({"gap": 0.0}, 0.992),
        ({"size": 102_400}, 0.892),
        ({"size": 102_399}, 0.992),
        ({"motion": 5000.0}, 0.592),
        ({"delay": 100}, 0.8),
    ],
)
def test_known_scores(changes: dict[str, object], total: float) -> None:
    assert article(numbers(**changes)).total == pytest.approx(total, abs=0.0011)


def test_mixed_delays_are_read_as_the_article_reads_them() -> None:
    # 1,000 ms exactly, but the last frame's delay stands for all: the article's own slip, kept.
    mixed = numbers(delays_ms=(40,) * 16 + (50,) * 7 + (10,))
    assert sum(mixed.delays_ms) == 1000
    assert part(mixed, "play") == pytest.approx(0.24)


@given(any_numbers(), st.integers(1, 24))
def test_more_frames_up_to_the_target_never_cost_points_for_frames(m: Measurements, frames: int) -> None:
    fewer = numbers(frames=frames)
    assert part(fewer, "frames") < part(numbers(frames=24), "frames") or frames == 24
    assert (
        part(numbers(frames=24 + frames), "frames") == pytest.approx(part(numbers(frames=24 - frames or 1), "frames"))
        or frames >= 23
    )


@given(any_numbers(), st.floats(0, 1e8))
def test_a_larger_gap_never_scores_more(m: Measurements, more: float) -> None:
    assert article(m.model_copy(update={"gap": m.gap + more})).total <= article(m).total


@given(any_numbers(), st.integers(0, 2**22))
def test_a_larger_file_never_scores_more(m: Measurements, more: int) -> None:
    assert article(m.model_copy(update={"size": m.size + more})).total <= article(m).total


@given(any_numbers())
def test_a_picture_that_stands_still_has_no_loop(m: Measurements) -> None:
    still = m.model_copy(update={"motion": 5000.0})
    assert (part(still, "moving"), part(still, "loop")) == (0, 0)


def test_the_parts_say_what_they_count() -> None:
    said = {p.name: p.explanation for p in article(numbers(frames=23, gap=155_003.1)).parts}
    assert said["frames"] == "23 frames, target 24"
    assert "3.1 times a normal step" in said["loop"]
    assert said["play"] == "23 x 40 ms = 920 ms, target 1,000 ms"
    assert said["size"] == "10,000 bytes, must be under 102,400"


def test_without_a_gif_the_score_is_0_with_the_same_parts() -> None:
    score = no_gif("article")
    assert (score.scorer, score.total) == ("article-1", 0.0)
    assert [p.name for p in score.parts] == [p.name for p in article(numbers()).parts]


def test_the_weights_add_up_and_the_name_is_known() -> None:
    assert sum(ARTICLE_WEIGHTS.values()) == pytest.approx(1)
    assert SCORERS["article"](numbers(), load_task("bouncing-ball")).scorer == "article-1"
