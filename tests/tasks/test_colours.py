"""Colours of a brief: the names of hex digits, and backgrounds on which things are seen."""

from __future__ import annotations

import pytest

from localgif.gif import looks
from localgif.tasks.colours import name_of_hex
from localgif.tasks.outline import outline
from localgif.tasks.sentence import read


def test_hex_digits_have_the_name_of_what_is_measured() -> None:
    table = looks.table()
    for index in range(0, len(table), 7):  # coprime to the 32 levels of each channel
        red, green, blue = (level << 3 for level in (index >> 10, index >> 5 & 31, index & 31))
        assert name_of_hex(f"#{red:02x}{green:02x}{blue:02x}") == looks.NAMES[table[index]]
    assert name_of_hex("#0f0") == name_of_hex("#00ff00") == "green"


@pytest.mark.parametrize(
    ("brief", "ground"),
    [
        ("a red ball bouncing", "white"),
        ("a white star spinning", "black"),
        ("a pale pink ball bouncing", "black"),
        ("a ball in #f0f0f0 bouncing", "black"),
        ("black and white squares spinning", "grey"),
        ("a black ball beside a yellow ball", "grey"),
        ("a white ball, a black ball and a grey ball bouncing", "blue"),
        ("a star that changes from red to white", "black"),
        ("a star spinning", "white"),
    ],
)
def test_a_background_that_nobody_names_shows_all_things_and_is_not_checked(brief: str, ground: str) -> None:
    found = outline(brief)
    assert found is not None and (found.ground, found.background) == ("", ground)
    assert read(brief).task.background is None


@pytest.mark.parametrize(
    ("brief", "ground", "paint", "colour"),
    [
        ("#FF6B35 square rotating, background #1A1A2E", "#1a1a2e", "#ff6b35", "red"),
        ("a flat teal (#008080) ball pulsing on off-white.", "off white", "#008080", "cyan"),
        ("a ball in #fff bouncing on #222", "#222", "#fff", "white"),
        ("a star, lime, spinning on a midnight blue background", "midnight blue", "lime", "green"),
        ("a ball bouncing, pale green on slate grey", "slate grey", "pale green", "green"),
    ],
)
def test_hex_digits_and_shades_are_colours_anywhere(brief: str, ground: str, paint: str, colour: str) -> None:
    found = outline(brief)
    assert found is not None and (found.background, found.things[0].colours) == (ground, (paint,))
    reading = read(brief)
    assert [subject.colour for subject in reading.task.subjects] == [colour] and not reading.doubts
