"""Names of colours: the shades that people call by a name have it, and every value has one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ImageColor

from localgif.gif.looks import NAMES, TRANSPARENT, codes, table

CSS = {
    "white": "white snow ivory whitesmoke",
    "black": "black #101010",
    "grey": "grey dimgray silver darkgray slategray",
    "red": "red crimson firebrick darkred tomato maroon orangered",
    "orange": "orange darkorange",
    "yellow": "yellow gold",
    "green": "green lime forestgreen limegreen darkgreen seagreen",
    "cyan": "cyan turquoise teal",
    "blue": "blue navy royalblue dodgerblue deepskyblue skyblue steelblue",
    "purple": "purple indigo blueviolet darkorchid",
    "pink": "pink hotpink deeppink",
    "brown": "saddlebrown sienna",
}


def named(rgb: tuple[int, ...]) -> str:
    return NAMES[int(codes(np.array([[rgb]], dtype=np.uint8), None)[0, 0])]


@pytest.mark.parametrize(("name", "shades"), CSS.items())
def test_shades_have_the_name_that_people_use(name: str, shades: str) -> None:
    assert {shade: named(ImageColor.getrgb(shade)) for shade in shades.split()} == dict.fromkeys(shades.split(), name)


@given(st.tuples(*[st.integers(0, 255)] * 3))
def test_every_value_has_one_name_and_greys_are_no_hue(rgb: tuple[int, int, int]) -> None:
    assert named(rgb) in NAMES
    assert named((rgb[0],) * 3) in ("white", "grey", "black")


def test_the_table_has_every_name_and_no_other() -> None:
    assert set(np.unique(table())) == set(range(len(NAMES)))


def test_what_is_not_drawn_has_no_colour() -> None:
    picture = np.zeros((1, 3, 3), dtype=np.uint8)
    assert codes(picture, np.array([[0, 127, 128]], dtype=np.uint8)).tolist() == [[TRANSPARENT, TRANSPARENT, 1]]
