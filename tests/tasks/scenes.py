"""A small renderer for tests: scenes of moving things, so that a task's reference and its near misses are data.

Nothing of it ships: the search never sees how a brief is drawn.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from PIL import Image, ImageDraw

#: Of the time in the loop, 0 <= t < 1.
Curve = Callable[[float], float]

#: RGB of the names that tasks use.
RGB = {
    "white": (255, 255, 255),
    "black": (0, 0, 0),
    "grey": (128, 128, 128),
    "red": (220, 20, 30),
    "orange": (255, 150, 0),
    "yellow": (250, 220, 0),
    "green": (0, 160, 40),
    "blue": (30, 60, 230),
    "purple": (130, 20, 160),
}


def fixed(value: float) -> Curve:
    return lambda t: value


def wave(low: float, high: float, phase: float = 0.0) -> Curve:
    """There and back, slow at both ends."""
    return lambda t: low + (high - low) * (1 - math.cos(2 * math.pi * (t + phase))) / 2


def bounce(floor: float, height: float) -> Curve:
    """A thrown ball: fast at the floor, slow at the top."""
    return lambda t: floor - height * 4 * t * (1 - t)


def ring(centre: float, radius: float, phase: float = 0.0) -> Curve:
    """One coordinate of a circle; a quarter apart, two of them make it."""
    return lambda t: centre + radius * math.cos(2 * math.pi * (t + phase))


MIDDLE, USUAL, UPRIGHT = fixed(0.5), fixed(0.12), fixed(0.0)


@dataclass(frozen=True)
class Thing:
    """One thing of a scene; lengths are shares of the canvas."""

    colour: str | Callable[[float], str | tuple[int, int, int]]
    shape: str = "round"
    x: Curve = MIDDLE
    y: Curve = MIDDLE
    radius: Curve = USUAL
    angle: Curve = UPRIGHT
    """Degrees."""
    shown: Callable[[float], bool] = lambda t: True
    points: tuple[tuple[float, float], ...] = ()
    """Of a shape "own": corners in units of the radius."""


@dataclass(frozen=True)
class Scene:
    """What a GIF shows and how it is stored."""

    background: str | Callable[[float], str]
    things: tuple[Thing, ...]
    frames: int = 24
    size: tuple[int, int] = (200, 200)
    duration: int | tuple[int, ...] = 40
    loop: int | None = 0
    clears: bool = True
    """False: what was drawn stays, a trail."""
    stretch: float = 1.0
    """Share of the loop that the frames cover: below 1 the last frame does not lead back to the first."""
    smooth: bool = True
    """Drawn larger and reduced, so that edges are anti-aliased."""
    options: dict[str, object] = field(default_factory=dict)
    """More for Pillow's save."""

    def with_thing(self, number: int = 0, **changes: object) -> Scene:
        """The scene with one thing changed."""
        things = list(self.things)
        things[number] = replace(things[number], **changes)  # type: ignore[arg-type]
        return replace(self, things=tuple(things))


def rgb(colour: str | tuple[int, int, int]) -> tuple[int, int, int]:
    """A name's shade, or the shade itself."""
    return RGB[colour] if isinstance(colour, str) else colour


def fade(*colours: str) -> Callable[[float], tuple[int, int, int]]:
    """From each colour slowly to the next, and from the last to the first."""

    def curve(t: float) -> tuple[int, int, int]:
        place = t * len(colours)
        old, new = RGB[colours[int(place) % len(colours)]], RGB[colours[int(place + 1) % len(colours)]]
        share = place % 1
        return tuple(round(a + (b - a) * share) for a, b in zip(old, new, strict=True))  # type: ignore[return-value]

    return curve


def corners(thing: Thing, t: float, scale: tuple[float, float]) -> list[tuple[float, float]]:
    """The outline in pixels."""
    shapes: dict[str, list[tuple[float, float]]] = {
        "square": [(math.sqrt(2), 45 + 90 * k) for k in range(4)],
        "triangle": [(1.3, 30 + 120 * k) for k in range(3)],
        "star": [(1.3 if k % 2 == 0 else 0.5, 36 * k) for k in range(10)],
        "bar": [(1.8, 8), (1.8, 172), (1.8, 188), (1.8, 352)],
        "round": [(1.0, 5 * k) for k in range(72)],
    }
    polar = shapes.get(thing.shape) or [(math.hypot(x, y), math.degrees(math.atan2(y, x))) for x, y in thing.points]
    unit = thing.radius(t) * min(scale)
    turned = [(r * unit, math.radians(a + thing.angle(t))) for r, a in polar]
    return [(thing.x(t) * scale[0] + r * math.cos(a), thing.y(t) * scale[1] + r * math.sin(a)) for r, a in turned]


def images(scene: Scene) -> list[Image.Image]:
    """The frames."""
    more = 3 if scene.smooth else 1
    width, height = scene.size
    large = (width * more, height * more)
    canvas: Image.Image | None = None
    made = []
    for number in range(scene.frames):
        t = scene.stretch * number / scene.frames
        ground = scene.background if isinstance(scene.background, str) else scene.background(t)
        if canvas is None or scene.clears:
            canvas = Image.new("RGB", large, RGB[ground])
        draw = ImageDraw.Draw(canvas)
        for thing in scene.things:
            if thing.shown(t):
                colour = thing.colour if isinstance(thing.colour, str) else thing.colour(t)
                draw.polygon(corners(thing, t, (float(large[0]), float(large[1]))), fill=rgb(colour))
        made.append(canvas.resize(scene.size, Image.Resampling.BOX) if more > 1 else canvas.copy())
    return made


def saved(frames: list[Image.Image], **options: object) -> bytes:
    """The frames as a GIF."""
    file = io.BytesIO()
    frames[0].save(file, format="GIF", save_all=True, append_images=frames[1:], **options)
    return file.getvalue()


def gif(scene: Scene) -> bytes:
    """A scene as a GIF."""
    options = dict(scene.options)
    if scene.loop is not None:
        options["loop"] = scene.loop
    duration = list(scene.duration) if isinstance(scene.duration, tuple) else scene.duration
    return saved(images(scene), duration=duration, **options)
