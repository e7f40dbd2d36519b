"""A sentence becomes a task: the corpus, the shipped briefs, and what is said about a sentence that cannot be read."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ImageColor

from localgif.errors import ConfigError
from localgif.gif import looks
from localgif.tasks.sentence import differences, find, is_sentence, name_of, read
from localgif.tasks.task import COLOURS, Subject, Task, load_task, task_names
from localgif.tasks.words import normalised, words

CORPUS = Path(__file__).parent.parent / "corpus" / "briefs.toml"
BRIEFS: list[dict[str, Any]] = tomllib.loads(CORPUS.read_text())["briefs"]


def asked(brief: dict[str, Any]) -> Task:
    """The task that the corpus gives for a sentence."""
    keys = {key: brief[key] for key in ("background", "subjects", "targets") if key in brief}
    return Task.model_validate({"name": "asked", "brief": brief["text"], **keys})


def seen(task: Task) -> tuple[Any, ...]:
    """What a task asks for, whatever its name and the order of its subjects."""
    subjects = {(frozenset(each.hues), each.model_copy(update={"colours": ()})) for each in task.subjects}
    return task.targets, task.background, task.still, subjects


@pytest.mark.parametrize("text", ["a red ball / " + "x" * 300, "a/" * 3000 + " b", "a\0b/c d"])
def test_a_text_that_no_file_can_be_called_is_a_sentence(text: str) -> None:
    assert is_sentence(text)


def test_the_corpus_has_two_halves_of_sixty_sentences_and_more_in_two_styles() -> None:
    assert len({brief["text"] for brief in BRIEFS}) == len(BRIEFS) == 206
    assert [sum(brief["half"] == half for brief in BRIEFS) for half in ("tuned", "held-out")] == [60, 60]
    assert min(sum(brief["style"] == style for brief in BRIEFS) for style in ("terse", "told")) >= 50


@pytest.mark.parametrize("half", ["tuned", "held-out", "second", "third", "fourth"])
def test_the_corpus_is_read_right(half: str) -> None:
    chosen = [brief for brief in BRIEFS if brief["half"] == half]
    wrong = [brief["text"] for brief in chosen if seen(read(brief["text"]).task) != seen(asked(brief))]
    assert len(wrong) <= 0.03 * len(chosen), wrong


def test_nothing_is_invented() -> None:
    """Where the corpus leaves a property open, the reader leaves it open too."""
    for brief in BRIEFS:
        wanted = {frozenset(each.hues): each for each in asked(brief).subjects}
        for subject in read(brief["text"]).task.subjects:
            right = wanted[frozenset(subject.hues)]
            for key in ("shape", "path", "size", "turn", "place", "anchor", "around"):
                left_open = getattr(right, key) in ("any", None)
                assert not left_open or getattr(subject, key) in ("any", None), (brief["text"], key)


@pytest.mark.parametrize("name", task_names())
def test_the_briefs_that_ship_are_read_as_their_tasks_are_written(name: str) -> None:
    """Except for the numbers; and a property that a task leaves open on purpose may be read."""
    task, found = load_task(name), read(load_task(name).brief).task
    assert (found.background, found.targets) == (task.background, task.targets)
    assert differences(task) == ()
    ours = {frozenset(subject.hues): subject for subject in found.subjects}
    for subject in task.subjects:
        asked_for = subject.model_dump(exclude_defaults=True, exclude={"size_range", "reach", "colours"})
        assert asked_for.items() <= ours[frozenset(subject.hues)].model_dump().items(), name


def test_a_colour_means_what_is_measured_of_the_css_colour() -> None:
    """What a person calls navy is measured as blue, so the reader says blue."""
    checked = 0
    for name in ImageColor.colormap:
        found, corrected = words(name)
        if corrected or name in COLOURS or [word.kind for word in found] != ["colour"]:
            continue
        pixel = np.array([[ImageColor.getrgb(name)]], dtype=np.uint8)
        checked += 1
        assert looks.NAMES[int(looks.codes(pixel, None)[0, 0])] == found[0].value, name
    assert checked >= 19


@pytest.mark.parametrize(
    ("text", "said", "remedy"),
    [
        ("", "the sentence is empty", "say what to draw"),
        (" ... !", "the sentence is empty", "say what to draw"),
        ("a red ball on white. " * 100, "2,098 characters", "name the background"),
        ("ein roter Ball hüpft auf weißem Grund auf und ab", "not English", "in English"),
        ("un triangle vert qui tourne sur fond noir", "not English", "in English"),
        ("красный мяч прыгает", "not English", "in English"),
        ("a still ball that bounces", 'stays where it is ("still") and does not ("bounces")', "leave one"),
        ("a red square that keeps its size and grows", "keeps its size", "leave one"),
        ("a red square circle on white", '"square circle" has two shapes', "name one"),
        ("a red ball on a black background on white", "the background is black and white", "one colour"),
        ("a navy ball on a light blue background", "a blue thing is on a blue background", "another colour"),
        ("red, blue, green, pink, cyan, grey and brown balls on white", "names 7 things", "leave some"),
        ("a dozen red balls bouncing on white", "asks for 12", "at most 8"),
        ("a red ball in 1 frame", "frames = 1", "docs/tasks.md"),
    ],
)
def test_what_cannot_be_read_is_said_with_a_remedy(text: str, said: str, remedy: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert caught.value.code == "E-BRIEF"
    assert said in caught.value.message
    assert remedy in caught.value.remedy


@pytest.mark.parametrize(
    ("text", "unchecked"),
    [
        ("a shiny green triangle spinning on black", ("shiny",)),
        ("a spinning red ball on white", ("spinning: nobody can see a round thing turn",)),
        ("a ball bouncing on white", ("ball: name its colour",)),
        ("a red and blue ball bouncing on white", ("ball: it has several colours at once",)),
        ("a red ball that changes colour on white", ("red ball: name the colours that it takes",)),
        ("a black cat rolling slowly on white", ("cat rolling slowly",)),
        ("a red star spins like a leaf in the wind on black", ("like a leaf in the wind",)),
        ("Snow: two white stars pulsing", ("snow",)),
        ("a rainbow star spinning", ("star: name the colours that it takes",)),
        ("two red balls in different colours", ("in different colours",)),
        ("a green star spinning counterclockwise", ("counterclockwise",)),
        ("two red stars stacked", ("stacked",)),
        ("a red square morphing into a circle on white", ("morphing into a circle",)),
        ("a red square rolls to and fro on white", ("red square: how it turns as it rolls",)),
        (
            "a red ball orbiting a blue ball that orbits a green ball on white",
            ("red ball: what it goes round moves, too",),
        ),
        (
            "a red ball that moves left and right behind a blue square on white",
            ("red ball: something hides it at times, so its shape, its size and its way are not checked",),
        ),
        ("a red star falls and disappears on white", ("falls", "disappears")),
        ("a star bounces while the sky fades to purple", ("fades", "purple", "star: name its colour")),
        ("a red hexagon spinning", ("hexagon", "spinning: localgif cannot measure how a hexagon turns")),
    ],
)
def test_what_no_check_covers_is_named(text: str, unchecked: tuple[str, ...]) -> None:
    assert sorted(read(text).unchecked) == sorted(unchecked)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a red ball moving from left to right on white", '"from left to right" was read as crossing the picture'),
        ("several blue dots bouncing on white", '"several dots" was read as 3 of them'),
        ("a red light flickering on black", '"flickering" was read as disappearing for a moment'),
        ("a red star disappears", '"disappears" was read as fading away'),
        ("yelow star spinning on black", '"yelow" was read as "yellow"'),
        ("a red ball above a blue square bouncing on white", "was read as the red ball bouncing"),
        ("a green triangle rotating around the centre of a black background", "was read as going round in a circle"),
    ],
)
def test_a_word_that_can_mean_two_things_is_a_doubt(text: str, said: str) -> None:
    assert [str(doubt) for doubt in read(text).doubts if said in str(doubt)]


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("a red six-pointed star waxing and waning", {"shape": "star", "points": 6, "path": "still", "size": "pulse"}),
        ("three red balls in a row on white", {"shape": "round", "count": 3, "side_by_side": True}),
        ("a red ball moves along a wavy line on white", {"shape": "round", "size": "constant"}),
        ("a cherry red square bouncing on a trampoline", {"shape": "square", "path": "up-down", "size": "constant"}),
        (
            "a big red square, and inside it a small blue dot that pulses",
            {"shape": "square", "size_range": (0.25, 0.9)},
        ),
        ("a red bar that grows from the bottom", {"size": "grow", "anchor": "bottom"}),
        (
            "a red star pulsing in the top left corner",
            {"shape": "star", "path": "still", "size": "pulse", "place": "top-left"},
        ),
        (
            "a red ball bouncing in the bottom left corner",
            {"shape": "round", "path": "up-down", "size": "constant", "place": "left"},
        ),
        ("The red one of them spins", {"path": "still", "size": "constant", "turn": "spin"}),
        ("a red square rotates 45 degrees and back", {"shape": "square"}),
        ("a red square rocking from side to side", {"shape": "square"}),
        ("a red tank filling from bottom to top", {"size": "grow", "anchor": "bottom"}),
        ("a red tank grows downwards and shrinks again", {"size": "pulse", "anchor": "top"}),
        ("a red star floating up and vanishing at the top", {"shape": "star", "size": "constant", "inside": False}),
        (
            "a red star rises and fades away at the top",
            {"shape": "star", "size": "constant", "shown": "fade", "inside": False},
        ),
        ("a red star gets tiny and then big again", {"shape": "star", "path": "still", "size": "pulse"}),
        ("a red star fades", {"shape": "star", "path": "still", "size": "constant", "shown": "fade"}),
        ("a red star fades in, then out", {"shape": "star", "path": "still", "size": "constant", "shown": "fade"}),
        ("a red bar sweeping round like the hand of a clock", {"shape": "bar", "turn": "spin", "size_range": (0.3, 1)}),
        ("a blue square stands still, and a red ball passes behind it", {"shown": "any", "inside": False}),
        ("a red star shrinks away to nothing", {"shape": "star", "path": "still", "shown": "any"}),
        (
            "three red stars in a row, the left one blinking",
            {"shape": "star", "count": 3, "shown": "any", "side_by_side": True},
        ),
        (
            "a red square without spinning blinks",
            {"shape": "square", "path": "still", "size": "constant", "shown": "blink"},
        ),
    ],
)
def test_a_word_gives_its_keys_and_no_other(text: str, keys: dict[str, Any]) -> None:
    red = next(each for each in read(text).task.subjects if each.colour == "red")
    assert red.model_dump(exclude_defaults=True) == {"colour": "red", **keys}


@pytest.mark.parametrize("word", ["starts", "placed", "leaving", "pushing", "strong", "stairs", "winning", "slipping"])
def test_a_word_that_is_like_another_one_is_no_misspelling(word: str) -> None:
    assert not read(f"a red ball {word} at the top of a white background").doubts


def test_a_brief_in_which_something_waits_may_hold_still() -> None:
    assert read("a red ball bounces, pauses and bounces again on white").task.still
    assert not read("a red ball bounces on white").task.still


def test_things_of_one_colour_are_one_subject_with_what_they_share() -> None:
    task = read("a red ball and a red square bouncing on white").task
    assert task.subjects == (Subject(colour="red", count=2, path="up-down", size="constant"),)


def test_a_name_a_path_and_a_sentence_are_told_apart(tmp_path: Path) -> None:
    assert not is_sentence("bouncing-ball") and not is_sentence("a,b") and not is_sentence("bouncing-ball, two-balls")
    assert not is_sentence("./my task.toml")
    assert is_sentence("") and is_sentence("a red ball, bouncing / white background")
    assert find("bouncing-ball").task == load_task("bouncing-ball")
    assert find("a red ball bouncing on white").task.brief == "a red ball bouncing on white"
    assert name_of("Spinning square") != "spinning-square", "that one ships"


def test_a_brief_that_says_something_else_than_its_keys_is_found() -> None:
    task = Task(
        name="x", brief="a red ball going up and down on white", subjects=(Subject(colour="red", path="orbit"),)
    )
    said = "; ".join(differences(task))
    assert "path = up-down, but subjects[1].path is orbit" in said
    assert "names a white background, but background is None" in said
    other = Task(name="x", brief="a red ball going up and down", subjects=(Subject(colour="blue"),))
    assert "no subject has its colour" in "; ".join(differences(other))


VOCABULARY = sorted({word.text for brief in BRIEFS for word in words(normalised(brief["text"]))[0]} | {"which", "not"})


@given(st.lists(st.sampled_from(VOCABULARY), min_size=1, max_size=14).map(" ".join))
def test_any_row_of_its_words_is_a_task_or_a_clear_error(text: str) -> None:
    try:
        reading = read(text)
    except ConfigError as error:
        assert error.code == "E-BRIEF" and error.message and error.remedy
    else:
        assert all(reading.unchecked) and all(map(str, reading.doubts))


@given(st.text(max_size=80))
def test_any_text_is_a_task_or_a_clear_error(text: str) -> None:
    try:
        read(text)
    except ConfigError as error:
        assert error.code == "E-BRIEF" and error.remedy
