"""Task files: what ships, a user's own by path, what is said about a mistake in one, and a task in sentences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localgif.errors import ConfigError
from localgif.gif.looks import NAMES
from localgif.gif.tracks import PATHS, SHAPES, SIZES
from localgif.records import ScorePart
from localgif.tasks.sentence import read
from localgif.tasks.task import (
    COLOURS,
    Colour,
    Subject,
    Targets,
    Task,
    families,
    load_task,
    missed,
    parse_task,
    phrase_of,
    sentence_of,
    task_names,
    technique_of,
    toml_of,
)

OWN = """
brief = "a green box that spins"
family = "boxes"
background = "white"

[targets]
frames = 12
loop_ms = 600
max_bytes = 50000

[[subjects]]
colour = "green"
shape = "square"
turn = "spin"
"""


def test_what_ships_covers_six_families_of_at_least_three() -> None:
    found = families()
    assert set(found) == {"bounce", "spin", "pulse", "travel", "colour", "compose"}
    assert all(len(names) >= 3 for names in found.values())
    assert len(task_names()) == sum(len(names) for names in found.values()) >= 18
    briefs = [load_task(name).brief for name in task_names()]
    assert len(set(briefs)) == len(briefs)
    assert all(load_task(name).subjects and load_task(name).background for name in task_names())


def test_the_shipped_tasks_share_their_targets_so_that_one_prompt_can_serve_them() -> None:
    assert len({load_task(name).targets for name in task_names()}) == 1


def test_a_file_of_ones_own_is_named_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "box.toml").write_text(OWN)
    task = load_task(str(tmp_path / "box.toml"))
    assert (task.name, task.family, task.targets.frames, task.targets.delay_ms) == ("box", "boxes", 12, 50)
    assert task.subjects == (Subject(colour="green", shape="square", turn="spin"),)


def test_every_word_of_the_vocabulary_is_measured() -> None:
    def words(field: str) -> set[str]:
        return set(Subject.model_json_schema()["properties"][field]["enum"]) - {"any"}

    assert words("path") == set(PATHS)
    assert words("size") == set(SIZES)
    assert words("shape") == set(SHAPES)
    assert COLOURS == NAMES


@pytest.mark.parametrize(
    ("old", "new", "said", "remedy"),
    [
        ('colour = "green"', 'color = "green"', "own.toml: unknown key subjects[1].color", 'did you mean "colour"?'),
        (
            'background = "white"',
            'backgroud = "white"',
            "own.toml: unknown key backgroud",
            'did you mean "background"?',
        ),
        ("frames = 12", "frame = 12", "own.toml: ", "frame"),
        ("frames = 12", "frames = 1", "own.toml: targets.frames = 1", "correct the value"),
        ("frames = 12", 'frames = "many"', "targets.frames = 'many'", "correct the value"),
        ('turn = "spin"', 'turn = "spins"', "subjects[1].turn = 'spins'", 'did you mean "spin"?'),
        ('turn = "spin"', 'path = "up-and-down"', "subjects[1].path = 'up-and-down'", 'did you mean "up-down"?'),
        ('colour = "green"', 'colour = "gren"', "subjects[1].colour = 'gren'", 'did you mean "green"?'),
        ('colour = "green"', "", "subjects[1] needs colour", "docs/tasks.md"),
        ('colour = "green"', 'colours = ["red"]', "needs colour", "docs/tasks.md"),
        ('colour = "green"', 'colour = "white"', 'two things are "white"', "docs/tasks.md"),
        ('shape = "square"', 'shape = "round"', "nobody can see a round thing turn", "docs/tasks.md"),
        ('turn = "spin"', 'path = "across"', "add inside = false", "docs/tasks.md"),
        ('turn = "spin"', "size_range = [0.4, 0.2]", "size_range = [0.4, 0.2]", "docs/tasks.md"),
        ('turn = "spin"', "size_range = [0.4]", "subjects[1].size_range", "docs/tasks.md"),
        ('turn = "spin"', 'around = "blue"', 'no path = "orbit"', "docs/tasks.md"),
        ('turn = "spin"', 'path = "orbit"\naround = "blue"', "no other subject has that colour", "docs/tasks.md"),
        ('turn = "spin"', 'path = "orbit"\naround = "green"', "no other subject has that colour", "docs/tasks.md"),
        ('turn = "spin"', 'below = "green"', "no other subject has that colour", "docs/tasks.md"),
        ('turn = "spin"', 'anchor = "left"', 'no size = "grow"', "docs/tasks.md"),
        ('turn = "spin"', "points = 5", 'no shape = "star"', "docs/tasks.md"),
        ('turn = "spin"', "side_by_side = true", "no count of at least 2", "docs/tasks.md"),
        ('turn = "spin"', 'change = "switch"', "but no colours", "docs/tasks.md"),
        ('turn = "spin"', 'place = "centre"', "subjects[1].place = 'centre'", "left, middle"),
        ('brief = "a green box that spins"', "", "brief is missing", "add it"),
        ("[targets]", "[targets", "own.toml is not valid TOML", "correct that line"),
        ('family = "boxes"', 'name = "boxes"', "unknown key name", "the name of its file"),
    ],
)
def test_a_mistake_names_file_key_and_remedy(old: str, new: str, said: str, remedy: str) -> None:
    assert old in OWN
    with pytest.raises(ConfigError) as caught:
        parse_task(OWN.replace(old, new), "own", "own.toml")
    assert said in caught.value.message
    assert remedy in caught.value.remedy + caught.value.message


@pytest.mark.parametrize(
    ("data", "said"), [(b"\xff\xfe", "is not UTF-8"), (b" " * 70_000, "larger than 64 KiB"), (None, "cannot be read")]
)
def test_a_file_that_is_not_a_task_is_refused(tmp_path: Path, data: bytes | None, said: str) -> None:
    path = tmp_path / "x.toml"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(ConfigError, match=said):
        load_task(str(path))


@given(st.text(max_size=200))
def test_any_text_is_a_task_or_a_clear_error(text: str) -> None:
    try:
        parse_task(text, "x", "x.toml")
    except ConfigError as error:
        assert "x.toml" in error.message and error.remedy


# --- briefs that cannot be met -----------------------------------------------------------------------------------


def test_what_ships_can_be_met() -> None:
    assert {name: load_task(name).doubts() for name in task_names()} == dict.fromkeys(task_names(), ())


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("loop_ms = 600", "loop_ms = 100", "12 frames of 20 ms"),
        ("frames = 12\nloop_ms = 600", "frames = 3\nloop_ms = 150", "too few to see the green thing move"),
        ('turn = "spin"', 'path = "still"\nsize = "constant"', "nothing in it moves or changes"),
        ("max_bytes = 50000", "max_bytes = 1024", ""),
        (
            "frames = 12\nloop_ms = 600\nmax_bytes = 50000",
            "frames = 50\nloop_ms = 1000\nmax_bytes = 1024",
            "too small for 50",
        ),
        ("a green box that spins", "a green box that blinks", "add still = true"),
    ],
)
def test_a_brief_that_no_gif_can_meet_has_its_doubts(old: str, new: str, said: str) -> None:
    assert old in OWN
    doubts = parse_task(OWN.replace(old, new), "own", "own.toml").doubts()
    assert len(doubts) == bool(said)
    assert said in "".join(doubts)


@pytest.mark.parametrize(
    ("change", "holds"),
    [("", False), ('shown = "blink"', False), ('shown = "blink"\npath = "still"', False), ("still = true", True)],
)
def test_a_picture_holds_still_on_purpose_only_if_nothing_in_it_moves(change: str, holds: bool) -> None:
    text = OWN.replace("family", "still = true\nfamily") if change.startswith("still") else OWN + change
    assert parse_task(text, "own", "own.toml").holds is holds
    assert parse_task(OWN.replace('turn = "spin"', 'shown = "blink"'), "own", "own.toml").holds


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
