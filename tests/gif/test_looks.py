"""Names of colours are the ones that people use, and pieces have the place, size, shape and angle that was drawn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image, ImageColor, ImageDraw

from localgif.gif.looks import LOOKED_SIDE, MAX_PIECES, NAMES, TRANSPARENT, codes, look, reduced, table
from localgif.records import Piece

# --- colours -----------------------------------------------------------------------------------------------------

CSS = {
    "white": "white snow ivory whitesmoke",
    "black": "black #101010",
    "grey": "grey dimgray silver darkgray slategray",
    "red": "red crimson firebrick darkred tomato maroon orangered",
    "orange": "orange darkorange",
    "yellow": "yellow gold",
    "green": "green lime forestgreen limegreen darkgreen seagreen",
    "cyan": "cyan turquoise teal",
    "blue": "blue navy royalblue dodgerblue deepskyblue skyblue steelblue lightblue",
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
def test_every_value_has_one_name_and_greys_have_no_hue(rgb: tuple[int, int, int]) -> None:
    assert named(rgb) in NAMES
    assert named((rgb[0],) * 3) in ("white", "grey", "black")


def test_the_table_has_every_name_and_no_other() -> None:
    assert set(np.unique(table())) == set(range(len(NAMES)))


def test_a_transparent_pixel_has_no_colour() -> None:
    picture = np.zeros((1, 3, 3), dtype=np.uint8)
    assert codes(picture, np.array([[0, 127, 128]], dtype=np.uint8)).tolist() == [[TRANSPARENT, TRANSPARENT, 1]]


# --- pieces ------------------------------------------------------------------------------------------------------


def seen(image: Image.Image) -> tuple[str, float, list[Piece]]:
    rgb = np.asarray(image)
    found = look(codes(rgb, None), rgb)
    return found.background, found.cover, [Piece(*piece) for piece in found.pieces]


def polygon(corners: int, radius: float, angle: float, inner: float = 1.0) -> Image.Image:
    """A regular polygon in red on white; with `inner` below 1 a star."""
    image = Image.new("RGB", (200, 200), "white")
    count = corners * (2 if inner < 1 else 1)
    points = []
    for k in range(count):
        r = radius * (inner if inner < 1 and k % 2 else 1)
        a = math.radians(angle) + 2 * math.pi * k / count
        points.append((100 + r * math.cos(a), 100 + r * math.sin(a)))
    ImageDraw.Draw(image).polygon(points, fill="red")
    return image


def test_a_disc_is_where_it_was_drawn() -> None:
    image = Image.new("RGB", (200, 100), "white")
    ImageDraw.Draw(image).ellipse((40, 20, 80, 60), fill="blue")
    background, cover, (piece,) = seen(image)
    assert background == "white"
    assert cover == pytest.approx(1 - math.pi * 20.5**2 / 20_000, abs=0.002)
    assert (piece.colour, piece.fold) == ("blue", 0)
    assert piece.x == pytest.approx(60.5 / 200)
    assert piece.y == pytest.approx(40.5 / 100)
    assert (piece.left, piece.top, piece.right, piece.bottom) == (40 / 200, 20 / 100, 81 / 200, 61 / 100)
    assert piece.spread == pytest.approx(1, abs=0.05)
    assert piece.elongation == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(("corners", "spread"), [(3, 2.42), (4, 1.57)])
@pytest.mark.parametrize("angle", [0, 10, 33])
def test_a_polygon_shows_its_corners_and_its_angle(corners: int, spread: float, angle: float) -> None:
    _, _, (piece,) = seen(polygon(corners, 60, angle))
    assert piece.fold == corners
    whole = 360 / corners
    assert (piece.angle - angle + whole / 2) % whole - whole / 2 == pytest.approx(0, abs=1.5)
    assert piece.spread == pytest.approx(spread, abs=0.12)


def test_a_star_has_five_points_and_a_bar_two_ends() -> None:
    _, _, (star,) = seen(polygon(5, 60, 15, inner=0.4))
    assert star.fold == 5
    image = Image.new("RGB", (200, 200), "white")
    ImageDraw.Draw(image).rectangle((40, 90, 160, 110), fill="red")
    _, _, (bar,) = seen(image)
    assert bar.fold == 2
    assert bar.elongation == pytest.approx(121 / 21, rel=0.02)
    assert bar.angle % 180 == pytest.approx(0, abs=0.5) or bar.angle % 180 == pytest.approx(180, abs=0.5)


@given(st.tuples(*[st.integers(0, 255)] * 3), st.tuples(*[st.integers(0, 255)] * 3))
def test_a_piece_and_the_background_have_the_shade_that_was_drawn(
    ground: tuple[int, int, int], fill: tuple[int, int, int]
) -> None:
    assume(named(ground) != named(fill))
    image = Image.new("RGB", (90, 60), ground)
    ImageDraw.Draw(image).rectangle((20, 10, 50, 40), fill=fill)
    rgb = np.asarray(image)
    found = look(codes(rgb, None), rgb)
    assert found.ground == ground
    assert Piece(*found.pieces[0]).rgb == fill


def test_holes_and_arms_spread_a_piece_away_from_its_middle() -> None:
    _, _, (square,) = seen(polygon(4, 60, 10))
    _, _, (triangle,) = seen(polygon(3, 60, 10))
    image = Image.new("RGB", (200, 200), "white")
    ImageDraw.Draw(image).rectangle((40, 90, 160, 110), fill="red")
    ImageDraw.Draw(image).rectangle((90, 40, 110, 160), fill="red")
    _, _, (plus,) = seen(image)
    image = Image.new("RGB", (200, 200), "white")
    ImageDraw.Draw(image).ellipse((40, 40, 160, 160), fill="red")
    _, _, (disc,) = seen(image)
    ImageDraw.Draw(image).ellipse((70, 70, 130, 130), fill="white")
    _, _, (ring,) = seen(image)
    assert disc.inertia == pytest.approx(1, abs=0.01)
    assert square.inertia == pytest.approx(math.pi / 3, abs=0.01)
    assert triangle.inertia == pytest.approx(2 * math.pi / 3**1.5, abs=0.01)
    assert plus.inertia > 1.3
    assert ring.inertia == pytest.approx(5 / 3, abs=0.05)


def test_a_small_disc_points_nowhere() -> None:
    for radius in (3, 4, 6, 9, 14):
        image = Image.new("RGB", (200, 200), "white")
        ImageDraw.Draw(image).ellipse((100 - radius, 100 - radius, 100 + radius, 100 + radius), fill="red")
        _, _, (piece,) = seen(image)
        assert piece.fold == 0, radius


def test_things_of_one_colour_are_told_apart_and_the_largest_come_first() -> None:
    image = Image.new("RGB", (200, 200), "black")
    draw = ImageDraw.Draw(image)
    for k in range(15):
        draw.rectangle((12 * k, 20, 12 * k + 4 + k // 4, 30), fill="yellow")
    _, _, pieces = seen(image)
    assert len(pieces) == MAX_PIECES
    assert [p.area for p in pieces] == sorted((p.area for p in pieces), reverse=True)


def test_a_transparent_thing_is_a_piece() -> None:
    image = np.full((50, 50, 3), 255, dtype=np.uint8)
    alpha = np.full((50, 50), 255, dtype=np.uint8)
    alpha[20:30, 20:30] = 0
    found = look(codes(image, alpha), image)
    assert (found.background, [p[0] for p in found.pieces]) == ("white", ["transparent"])


@given(st.binary(min_size=3 * 64, max_size=3 * 64), st.integers(1, 5))
def test_any_picture_gives_pieces_within_their_ranges(data: bytes, scale: int) -> None:
    small = np.frombuffer(data, dtype=np.uint8).reshape(8, 8, 3)
    image = Image.fromarray(small.repeat(scale, axis=0).repeat(scale, axis=1))
    background, cover, pieces = seen(image)
    assert background in NAMES
    assert 0 <= cover <= 1
    assert sum(p.area for p in pieces) <= 1 - cover + 1e-3
    for p in pieces:
        assert 0 <= p.left < p.right <= 1 and 0 <= p.top < p.bottom <= 1
        assert p.left <= p.x <= p.right and p.top <= p.y <= p.bottom
        assert p.elongation >= 1 and p.spread > 0.7 and math.isfinite(p.angle)
        assert p.fold in (0, 2, 3, 4, 5, 6)


def test_large_pictures_are_looked_at_in_part() -> None:
    assert [reduced(side) for side in (1, 256, 257, 512, 513, 1024)] == [1, 1, 2, 2, 3, 4]
    assert LOOKED_SIDE == 256


@pytest.mark.parametrize(("hole", "round_again"), [("red", True), ("white", False)])
def test_what_lies_on_a_thing_hides_it_and_is_no_hole_in_it(hole: str, round_again: bool) -> None:
    picture = Image.new("RGB", (100, 100), "white")
    draw = ImageDraw.Draw(picture)
    draw.ellipse((20, 20, 80, 80), fill="blue")
    draw.ellipse((35, 35, 65, 65), fill=hole)
    rgb = np.asarray(picture)
    blue = next(piece for piece in look(codes(rgb, None), rgb).pieces if piece[0] == "blue")
    assert (blue[1] > 0.27) is round_again, "the area"
    assert (blue[-1] < 1.08) is round_again, "the inertia"
