"""A task as a sentence, as a phrase, and as a file that is read back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localgif.records import ScorePart
from localgif.tasks.sentence import read
from localgif.tasks.spoken import missed, phrase_of, sentence_of, technique_of, toml_of
from localgif.tasks.task import COLOURS, Colour, Subject, Targets, Task, load_task, parse_task, task_names


@pytest.mark.parametrize(
    ("brief", "sentence", "phrase"),
    [
        (
            "a green triangle spinning around its own centre on a black background",
            "black background; one green triangle; it stays where it is, keeps its size, and spins",
            "a green triangle that spins on black",
        ),
        (
            "two blue balls bouncing on white, and an orange bar at the bottom",
            "white background; two round blue things; they keep their size and move up and down; one orange bar at the "
            "bottom; it is 30 % to 100 % of the picture's shorter side in size and may touch or leave the edge",
            "two round blue things that move up and down and an orange bar on white",
        ),
        (
            "a square that switches between red and blue",
            "one square; it stays where it is, keeps its size, and switches between red and blue",
            "a square that switches between red and blue",
        ),
        ("anything on white", "white background", "a white background"),
    ],
)
def test_a_task_is_said_in_a_sentence_and_in_a_phrase(brief: str, sentence: str, phrase: str) -> None:
    task = read(brief).task
    assert sentence_of(task) == sentence
    assert phrase_of(task) == phrase


@pytest.mark.parametrize(
    ("brief", "part", "value", "text"),
    [
        ("a green triangle spinning on black", "turn", 0.0, "it does not spin"),
        ("a green triangle spinning on black", "path", 0.0, "it does not stay where it is"),
        ("a green triangle spinning on black", "scale", 0.0, "it does not keep its size"),
        ("a green triangle spinning on black", "shape", 0.2, "it does not look like a triangle"),
        ("a green triangle spinning on black", "loop", 0.9, "it does not close"),
        ("a green triangle spinning on black", "frames", 0.5, "WHY"),
        ("two blue balls bouncing on white", "path", 0.7, "they do not move up and down as asked"),
        ("two blue balls bouncing on white", "shape", 0.0, "they do not look round"),
        ("a red dot blinking on white", "blink", 0.0, "it does not blink"),
        ("a square that switches between red and blue", "cycle", 0.0, "it does not switch between red and blue"),
        ("two blue balls bouncing on white, and an orange bar at the bottom", "path", 0.0, "WHY"),
    ],
)
def test_what_a_part_of_the_score_misses_is_said(brief: str, part: str, value: float, text: str) -> None:
    scored = ScorePart(name=part, value=value, weight=0.5, explanation="WHY")
    assert missed(read(brief).task, scored) == text


def test_a_task_that_checks_nothing_says_nothing() -> None:
    bare = Task(name="bare", brief="a boat")
    assert (sentence_of(bare), phrase_of(bare)) == ("", "")
    assert technique_of(bare.targets) == "24 frames, 1 s, closes, under 100 KB"


def test_every_value_of_the_vocabulary_is_said() -> None:
    schema = Subject.model_json_schema()["properties"]
    base: dict[str, Any] = {"colours": ("red", "blue"), "inside": False}
    plain = sentence_of(Task(name="x", brief="abc", subjects=(Subject.model_validate(base),)))
    for key in ("shape", "path", "size", "turn", "shown", "change", "place", "anchor"):
        for value in set(schema[key]["enum"]) - {schema[key]["default"]}:
            extra = {"size": "grow"} if key == "anchor" else {}
            subject = Subject.model_validate({**base, **extra, key: value})
            assert sentence_of(Task(name="x", brief="abc", subjects=(subject,))) != plain, (key, value)


@pytest.mark.parametrize("name", task_names())
def test_what_ships_is_written_and_read_back(name: str) -> None:
    task = load_task(name)
    assert parse_task(toml_of(task), name, "x.toml") == task


@given(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=3, max_size=60),
    st.builds(Targets, frames=st.integers(2, 200), loop_ms=st.integers(100, 60_000)),
    st.sampled_from([None, *COLOURS]),
    st.booleans(),
)
def test_any_brief_is_written_and_read_back(
    brief: str, targets: Targets, background: Colour | None, inside: bool
) -> None:
    hue: Colour = "red" if background != "red" else "blue"
    subject = Subject(colour=hue, inside=inside, size_range=(0.1, 0.35), path="orbit")
    task = Task(name="x", brief=brief, targets=targets, background=background, subjects=(subject,))
    assert parse_task(toml_of(task), "x", "x.toml") == task
