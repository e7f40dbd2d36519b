"""A brief as an outline: the same few phrases for every wording, and places where things would overlap."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localgif.tasks.outline import outline
from localgif.tasks.task import load_task, task_names


def said(brief: str) -> str:
    read = outline(brief)
    assert read is not None
    things = (": ".join(filter(None, [t.noun, ", ".join(p.text for p in t.says)])) for t in read.things)
    return "; ".join([read.ground, *things])


@pytest.mark.parametrize(
    ("brief", "expected"),
    [
        (
            "a red ball bouncing up and down above a black bar that stays still at the bottom of a white background",
            "on a white background; a red ball: moves up and down in the top half, over the black bar; "
            "a black bar: long, at the bottom",
        ),
        (
            "a red light blinking at the top of a white background while a blue square moves from left to right and "
            "back below it",
            "on a white background; a red light: at the top, blinks; "
            "a blue square: below the red light, moves left and right",
        ),
        ("yellow star twirling on black", "on a black background; a yellow star: spins"),
        (
            "a square whose colour shifts between red and blue spins in the middle of a light blue background",
            "on a light blue background; a square: in the middle, fades from red to blue and back, spins",
        ),
        (
            "two blue balls side by side, bouncing on white",
            "on a white background; a blue ball: number 1 of 2, moves up and down; "
            "a blue ball: number 2 of 2, moves up and down",
        ),
        (
            "red ball + blue ball, both bouncing up and down on white",
            "on a white background; a red ball: number 1 of 2, moves up and down; "
            "a blue ball: number 2 of 2, moves up and down",
        ),
        (
            "a red box and a green box slide back and forth on a white background",
            "on a white background; a red square: row 1 of 2, moves left and right; "
            "a green square: row 2 of 2, moves left and right",
        ),
        ("a red ball swings like a pendulum on white", "on a white background; a red ball: swings like a pendulum"),
        ("a brown square rocking back and forth on green", "on a green background; a brown square: rocks, swings"),
        (
            "a cyan bar filling from bottom to top on black",
            "on a black background; a cyan square: grows upwards and shrinks quickly",
        ),
        ("an expanding red box on white", "on a white background; a red square: grows and shrinks quickly"),
        ("a ball bouncing", "; a ball: moves up and down"),
        (
            "a yellow star placed in the lower right corner of a blue background spins",
            "on a blue background; a yellow star: in the bottom right corner, spins",
        ),
        (
            "two small orange squares rotating around the centre of a black background",
            "on a black background; a small orange square: small, goes in a circle, number 1 of 2; "
            "a small orange square: small, goes in a circle, number 2 of 2",
        ),
        (
            "a large purple circle shrinking to a dot and growing again on yellow",
            "on a yellow background; a large purple circle: grows and shrinks",
        ),
        ("a ball bouncing off the left and right walls", "; a ball: moves left and right"),
        (
            "a white star fading in and out in the centre of a black background",
            "on a black background; a white star: in the middle, fades from white to black and back",
        ),
        (
            "a vertical blue bar moving from side to side on yellow",
            "on a yellow background; a vertical blue bar: long, moves left and right, upright",
        ),
        (
            "a white line rotating around the centre of a green background like a clock hand",
            "on a green background; a white bar: long, spins",
        ),
        (
            "two red balls, one in the left half and one in the right half, bouncing up and down on white",
            "on a white background; a red ball: number 1 of 2, moves up and down; "
            "a red ball: number 2 of 2, moves up and down",
        ),
        (
            "a red light and a green light lighting up in turn on black",
            "on a black background; a red light: number 1 of 2, blinks, number 1 of 2; "
            "a green light: number 2 of 2, blinks, number 2 of 2",
        ),
        (
            "a blue ball on the left goes up while a red ball on the right goes down, and then the other way round, "
            "on white",
            "on a white background; a blue ball: on the left, moves up and down, number 1 of 2; "
            "a red ball: on the right, moves up and down, number 2 of 2",
        ),
        (
            "a yellow star that grows from a tiny point to a large star and shrinks again on purple",
            "on a purple background; a yellow star: grows and shrinks",
        ),
        (
            "ball jumps three times, blue ball, white background",
            "on a white background; a ball: moves up and down three times",
        ),
        (
            "a background that changes from light blue to green and back while a white circle stays in the middle",
            "on a background that fades from light blue to green and back; a white circle: in the middle",
        ),
        (
            "a circle in the middle of a grey background that switches between yellow and green",
            "on a grey background; a circle: in the middle, switches between yellow and green",
        ),
        (
            "a pink ball hopping on a black line on a white background",
            "on a white background; a pink ball: moves up and down in the top half, over the black line; "
            "a black bar: long, at the bottom",
        ),
        (
            "grey circle that slowly disappears and comes back, background is orange",
            "on an orange background; a grey circle: fades from grey to orange and back",
        ),
        (
            "a magenta cross spinning in the middle while a thin grey ring around it stays still",
            "; a thin grey ring: large, in the middle; a magenta cross: 40 wide, in the middle, spins",
        ),
        (
            "two orange squares move toward each other and then apart",
            "; an orange square: number 1 of 2, moves to the "
            "middle and back; an orange square: number 2 of 2, moves to the middle and back",
        ),
        (
            "two green balls bouncing up and down, one rising while the other falls",
            "; a green ball: number 1 of 2, moves up and down, number 1 of 2; "
            "a green ball: number 2 of 2, moves up and down, number 2 of 2",
        ),
        ("a white ball goes back and forth", "; a white ball: moves left and right"),
        ("a blue rectangle in the upper left corner", "; a blue rectangle: in the top left corner"),
        ("a white bar that becomes thicker and then thinner", "; a white bar: long, gets taller and shorter"),
        ("a pink rectangle tilting back and forth around its centre", "; a pink rectangle: long, rocks, swings"),
        ("a green square moving along a square path", "; a green square: moves along the edges"),
        ("pls animate a red ball that doesnt move", "; a red ball: stays where it is"),
        ("a small black ball swinging like a pendulum", "; a small black ball: small, swings like a pendulum"),
        ("a white dot travelling in a figure eight", "; a white dot: small, moves in a figure eight"),
        ("an orange triangle moving from right to left", "; an orange triangle: crosses the picture leftwards"),
        (
            "a white square inside a larger blue square, the inner one spinning",
            "; a larger blue square: large, in the middle; a white square: 40 wide, in the middle, spins",
        ),
        (
            "four gold dots, one in each corner of a black background",
            "on a black background; a gold dot: small, in the top left corner; a gold dot: small, in the top right "
            "corner; a gold dot: small, in the bottom left corner; a gold dot: small, in the bottom right corner",
        ),
        ("a red ball drops from the top, bounces off the bottom and goes back up", "; a red ball: moves up and down"),
        ("a gray circle gets bigger, then smaller, twice per loop", "; a gray circle: grows and shrinks twice"),
        ("I'd like to see a green bar sway like a pendulum", "; a green bar: long, rocks, swings"),
        (
            "a white dot circles a big green dot, black behind it",
            "on a black background; a white dot: small, goes in a circle around the green dot; a big green dot: large",
        ),
        ("a red rectangle spinning", "; a red rectangle: long, spins"),
        (
            "a white ball at the top left moving from left to right and back on black",
            "on a black background; a white ball: at the top, moves left and right",
        ),
        (
            "a red ball starts in the bottom left corner and moves diagonally to the top right corner on white",
            "on a white background; a red ball: moves from the bottom left to the top right and back",
        ),
        (
            "Hi! Could I get a white star that spins, please? Thank you so much",
            "; a white star: spins",
        ),
        ("I want that my ball bounces", "; my ball: moves up and down"),
        ("Seen against beige, a red star spins like a leaf in the wind", "on a beige background; a red star: spins"),
        (
            "a green square bouncing as if somebody kicks a ball, on black",
            "on a black background; a green square: moves up and down",
        ),
        ("a square that moves like a bouncing ball on grey", "on a grey background; a square: moves up and down"),
        (
            "traffic light: red, yellow and green circles stacked vertically, only one lit at a time",
            "; a red circle: row 1 of 3, blinks, number 1 of 3; a yellow circle: row 2 of 3, blinks, number 2 of 3; "
            "a green circle: row 3 of 3, blinks, number 3 of 3",
        ),
        ("my dog is a brown circle that jumps", "; a brown circle: moves up and down"),
        ("diamond fades in, then out", "; a diamond: fades from black to white and back"),
        (
            "a rainbow star on red",
            "on a red background; a rainbow star: fades from yellow to green to blue to purple and back",
        ),
        ("a heart floating upwards and vanishing at the top", "; a heart: rises"),
        (
            "a green triangle hops over a brown square",
            "; a green triangle: 40 wide, moves up and down in the top half, over the brown square; "
            "a brown square: at the bottom",
        ),
        (
            "a red square and a blue circle swap places",
            "; a red square: number 1 of 2, swaps sides; a blue circle: number 2 of 2, swaps sides",
        ),
        ("make a star get teeny tiny and then big again", "; a star: grows and shrinks"),
        (
            "two stars spinning in opposite directions",
            "; a star: number 1 of 2, spins; a star: number 2 of 2, spins anticlockwise",
        ),
        (
            "a red ball orbiting a blue star counterclockwise",
            "; a red ball: 46 wide, goes anticlockwise in a circle; a blue star",
        ),
        (
            "one red square per corner, spinning",
            "; a red square: in the top left corner, spins; a red square: in the top right corner, spins; "
            "a red square: in the bottom left corner, spins; a red square: in the bottom right corner, spins",
        ),
        (
            "two bars getting taller and shorter alternately",
            "; a bar: long, number 1 of 2, gets longer and shorter, number 1 of 2, upright; "
            "a bar: long, number 2 of 2, gets longer and shorter, number 2 of 2, upright",
        ),
        (
            "a circle passing in front of a square",
            "; a square: large, in the middle; a circle: 40 wide, moves left and right",
        ),
        ("a circle hiding behind a square", "; a circle: 40 wide, moves left and right; a square: in the middle"),
        ("a bar sweeps around like the second hand of a clock", "; a bar: long, spins"),
        (
            "concentric rings, two of them, expanding like ripples in water",
            "; a ring: 130 wide, in the middle, expands; a ring: 72 wide, in the middle, expands",
        ),
        (
            "two blue bars spinning",
            "; a blue bar: number 1 of 2, spins; a blue bar: number 2 of 2, spins",
        ),
        (
            "the background flashes between red and white, with a black square in the middle",
            "on a background that fades from red to white and back; a black square: in the middle",
        ),
        ("a star grows, then pops", "; a star: grows and shrinks quickly"),
        ("my logo, a blue square, spins", "; a blue square: spins"),
        ("equalizer with one green bar that pulses", "; one green bar: long, grows and shrinks"),
        (
            "two stars, one black and one white, orbit each other",
            "; a black star: goes in a circle, number 1 of 2; a white star: goes in a circle, number 2 of 2",
        ),
        (
            "three red hearts beating",
            "; a red heart: 40 wide, number 1 of 3, grows and shrinks; a red heart: 40 wide, number 2 of 3, grows and "
            "shrinks; a red heart: 40 wide, number 3 of 3, grows and shrinks",
        ),
        ("a square rotating first clockwise and then counterclockwise", "; a square: rocks, swings"),
        (
            "red and yellow triangles alternate blinking",
            "; a red triangle: number 1 of 2, blinks, number 1 of 2; "
            "a yellow triangle: number 2 of 2, blinks, number 2 of 2",
        ),
        (
            "a small red star around a large blue square, and a small green dot around it",
            "; a small red star: small, goes in a circle around the blue square, number 1 of 2; a large blue square: "
            "large; a small green dot: small, goes in a circle around the blue square, number 2 of 2",
        ),
        (
            "a grey ring pulsing around a motionless star",
            "; a grey ring: large, in the middle, grows and shrinks; a star: 40 wide, in the middle",
        ),
        (
            "On the left, a blue triangle turns; on the right, a red circle blinks",
            "; a blue triangle: on the left, spins; a red circle: on the right, blinks",
        ),
        ("a star shrinking until it's gone", "; a star: stays where it is, shrinks and starts anew"),
        (
            "a cross tracing a figure eight around two yellow dots",
            "; a cross: small, moves in a figure eight around them; a yellow dot: small, number 2 of 5; "
            "a yellow dot: small, number 4 of 5",
        ),
        (
            "left: a red triangle bouncing, right: a blue circle pulsing",
            "; a red triangle: on the left, moves up and down; a blue circle: on the right, grows and shrinks",
        ),
        (
            "around a pink square a green ball orbits",
            "; a pink square; a green ball: 46 wide, goes in a circle around the pink square",
        ),
        ("a star with a ring around it", "; a ring: large, in the middle; a star: 40 wide, in the middle"),
        (
            "a red circle and a blue circle, the second one blinks",
            "; a red circle: number 1 of 2; a blue circle: number 2 of 2, blinks",
        ),
        (
            "a moon disappears behind a square",
            "; a moon: 40 wide, moves left and right; a square: in the middle",
        ),
        ("a ball strikes the left side and then the right side", "; a ball: moves left and right"),
        ("a ball making a figure 8", "; a ball: moves in a figure eight"),
        ("green ball hits the right wall, then comes back", "; a green ball: moves left and right"),
        ("a red robot waves", "; a red robot: moves left and right"),
        ("a red robot kicks the can", "; a red robot: kicks"),
        (
            "a ball bounces while the sky fades to purple",
            "on a background that fades from white to purple and back; a ball: moves up and down",
        ),
        ("a square rolling to the right", "; a square: 40 wide, crosses the picture, spins"),
        (
            "three black bars side by side, the middle one getting taller and shorter",
            "; a black bar: long, number 1 of 3, upright; a black bar: long, number 2 of 3, gets longer and shorter, "
            "upright; a black bar: long, number 3 of 3, upright",
        ),
        (
            "three red circles, the last one blinks and the others stay still",
            "; a red circle: number 1 of 3; a red circle: number 2 of 3; a red circle: number 3 of 3, blinks",
        ),
        (
            "three squares, the middle one red",
            "; a square: number 1 of 3; a red square: number 2 of 3; a square: number 3 of 3",
        ),
        (
            "three squares in a row, the left one spinning",
            "; a square: 43 wide, number 1 of 3, spins; a square: 43 wide, number 2 of 3; "
            "a square: 43 wide, number 3 of 3",
        ),
        ("a ball bumps into the wall and turns back", "; a ball: moves left and right"),
        (
            "a ring expanding around a dot",
            "; a ring: in the middle, grows and shrinks quickly; a dot: small, in the middle",
        ),
        ("a star with no fill and a white outline spinning", "; a star: spins"),
        (
            "a moon orbiting a planet that itself orbits a sun, all just plain circles",
            "; a moon: 46 wide, goes in a circle around the planet, number 1 of 2; a planet: 46 wide, goes in a circle "
            "around the sun, number 2 of 2; a sun",
        ),
        (
            "two stars and a ring spinning",
            "; a star: number 1 of 2, spins; a star: number 2 of 2, spins; a ring: spins",
        ),
        ("a square morphing into a circle", "; a square: morphing into a circle"),
        (
            "two white squares, one turning clockwise and the other counterclockwise",
            "; a white square: number 1 of 2, spins; a white square: number 2 of 2, spins anticlockwise",
        ),
        (
            "a red and a blue dot, one in each corner, blinking",
            "; a red dot: small, in the top left corner, blinks; a blue dot: small, in the top right corner, blinks",
        ),
        (
            "two circles, one red one blue, swapping places",
            "; a red circle: number 1 of 2, swaps sides; a blue circle: number 2 of 2, swaps sides",
        ),
        ("a gold star tracing a circular path", "; a gold star: goes in a circle"),
        ("a red ball moving along the edges, starting at the top left corner", "; a red ball: moves along the edges"),
        ("a black ring that expands until it leaves the picture", "; a black ring: grows and shrinks quickly"),
        (
            "two red bars going up and down like an equalizer",
            "; a red bar: long, number 1 of 2, gets longer and shorter, number 1 of 2, upright; "
            "a red bar: long, number 2 of 2, gets longer and shorter, number 2 of 2, upright",
        ),
        ("a black pendulum swinging", "; a black pendulum: long, swings to and fro below the top"),
        ("a clock hand going round", "; a clock hand: long, turns like a hand of a clock"),
        (
            "two red dots one after the other",
            "; a red dot: small, number 1 of 2, blinks, number 1 of 2; "
            "a red dot: small, number 2 of 2, blinks, number 2 of 2",
        ),
        ("a yellow triangle flips upside down and back", "; a yellow triangle: flips upside down and back"),
        ("a round red weight blinks twice per second", "; a round red weight: blinks twice"),
        (
            "an octagon, half as wide as the image, flashing between red and white",
            "; an octagon: stays where it is, switches between red and white",
        ),
        ("a black bar going from top to bottom and up again", "; a black bar: long, moves up and down"),
        ("a ball going left to right and then right to left", "; a ball: moves left and right"),
        ("bouncing up and down on white, a red ball", "on a white background; a red ball: moves up and down"),
        ("a red ball leaping in an arc from side to side", "; a red ball: jumps in an arc from side to side"),
        ("a green block moves up, right, down and left", "; a green square: moves along the edges"),
        (
            "two squares meet in the middle and move apart again",
            "; a square: number 1 of 2, moves to the middle and back; "
            "a square: number 2 of 2, moves to the middle and back",
        ),
        ("a skyblue ball pushed down to the bottom and floating up again", "; a sky blue ball: moves up and down"),
        ("a square stretching sideways into a wide bar", "; a square: gets wider and narrower"),
        (
            "a red circle growing beside a blue square that stays still",
            "; a red circle: number 1 of 2, grows and shrinks quickly; a blue square: number 2 of 2",
        ),
        (
            "a red and a blue circle take turns appearing, one on the left, the other on the right",
            "; a red circle: on the left, blinks, number 1 of 2; a blue circle: on the right, blinks, number 2 of 2",
        ),
        (
            "two green bars, one at the top and one at the bottom",
            "; a green bar: long, row 1 of 2; a green bar: long, row 2 of 2",
        ),
        ("the whole background is black, a red star spins", "on a black background; a red star: spins"),
        ("an upside down triangle shaking", "; a triangle: moves a little left and right, upside down"),
    ],
)
def test_every_wording_gives_the_same_few_phrases(brief: str, expected: str) -> None:
    assert said(brief) == expected


def test_several_things_in_different_colours_get_one_each() -> None:
    read = outline("four squares in four different colours")
    assert read is not None and len({thing.colours for thing in read.things}) == 4


def test_what_cannot_be_read_has_no_outline() -> None:
    assert outline("") is None
    assert outline("ein roter Ball springt auf und ab") is None
    assert outline("a still ball that bounces on white") is None


def test_every_shipped_brief_has_one() -> None:
    for name in task_names():
        task = load_task(name)
        read = outline(task.brief)
        assert read is not None and len(read.things) == sum(subject.count for subject in task.subjects)


@given(st.text(max_size=200))
def test_no_text_raises(text: str) -> None:
    outline(text)
