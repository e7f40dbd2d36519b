"""What the numbers show and what the program says about it: each finding appears with its cause and not without."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from localgif.gif import measure
from localgif.gif.feedback import likely, seen
from localgif.records import Measurements


def gif(boxes: Sequence[Sequence[tuple[int, int]]], delay: int = 40) -> Measurements:
    """A GIF of squares at the given places, measured; one sequence of places a frame."""
    frames = []
    for places in boxes:
        image = Image.new("RGB", (100, 100), "white")
        for x, y in places:
            ImageDraw.Draw(image).rectangle((x, y, x + 9, y + 9), fill="red")
        frames.append(image)
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=delay, loop=0)
    return Measurements.model_validate(measure.main(file.getvalue()) | {})


CLOSED = [[(10, 10)], [(30, 10)], [(50, 10)], [(30, 20)]]


def test_a_clean_loop_has_nothing_to_say() -> None:
    assert seen(gif(CLOSED)) == []


def test_merged_neighbours_are_seen_by_their_delay() -> None:
    findings = seen(gif([[(10, 10)], [(30, 10)], [(50, 10)], [(50, 10)], [(30, 20)]]))
    assert findings == [
        "frame 3 is shown for 80 ms, 2 times as long as the others: 2 neighbouring frames were equal and Pillow merged "
        "them into one."
    ]


def test_an_open_loop_is_seen() -> None:
    findings = seen(gif([[(x, 10)] for x in range(0, 90, 3)]))
    assert len(findings) == 1
    assert "times more than neighbouring frames do" in findings[0]


def test_a_trail_is_seen_and_its_canvas_named() -> None:
    trail = gif([[(x, 10) for x in range(0, 10 * n, 10)] for n in range(1, 9)])
    assert any("earlier frames are not cleared" in finding for finding in seen(trail))
    code = "image = Image.new('RGB', (100, 100))\nfor i in range(8):\n    draw(image, i)\n"
    assert likely(code, trail) == [
        "line 1 (image = Image.new('RGB', (100, 100))) makes one picture for all frames, outside the loop."
    ]
    inside = "for i in range(8):\n    image = Image.new('RGB', (100, 100))\n    draw(image, i)\n"
    assert likely(inside, trail) == []


def test_growing_things_are_no_trail_when_they_shrink_again() -> None:
    sizes = [1, 2, 3, 4, 3, 2]
    assert not any("cleared" in f for f in seen(gif([[(x, 10) for x in range(0, 10 * n, 10)] for n in sizes])))


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("for i in range(24):\n    draw.ellipse((1, 1, 9, 9))\n", "nothing in it depends on i"),
        ("a.save(path, append_images=b)\n", "it has no save_all=True"),
        ("a.save(path, save_all=True)\n", "it has no append_images"),
    ],
)
def test_a_still_picture_has_its_cause(code: str, said: str) -> None:
    still = gif([[(10, 10)]])
    assert said in " ".join(likely(code, still))


def test_a_loop_that_uses_its_variable_is_not_blamed() -> None:
    assert likely("for i in range(24):\n    draw.ellipse((i, 1, 9, 9))\n", gif([[(10, 10)]])) == []


@given(st.text(max_size=300))
def test_any_text_has_causes_without_an_exception(code: str) -> None:
    assert isinstance(likely(code, gif(CLOSED)), list)


def test_ink_and_steps_have_one_number_a_frame_and_a_step() -> None:
    m = gif(CLOSED)
    assert len(m.ink) == m.frames and len(m.steps) == m.frames - 1
    assert m.ink == pytest.approx([0.01] * 4)
    assert sum(m.steps) / len(m.steps) == pytest.approx(m.motion)
