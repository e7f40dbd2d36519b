"""Scenes of moving things as GIFs: for every shipped task one that shows it, and near misses with one thing wrong.

Nothing of it ships: the search never sees how a brief is drawn.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from PIL import Image, ImageDraw

from localgif.gif.measure import main as measure
from localgif.records import Measurements
from localgif.tasks.task import Subject, Task

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


MIDDLE, USUAL, UPRIGHT, PLAIN = fixed(0.5), fixed(0.12), fixed(0.0), fixed(1.0)


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
    stretch: Curve = PLAIN
    """Factor of its width."""


@dataclass(frozen=True)
class Scene:
    """What a GIF shows and how it is stored."""

    background: str | Callable[[float], str]
    things: tuple[Thing, ...]
    frames: int = 24
    size: tuple[int, int] = (128, 128)
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
    wide = thing.stretch(t)
    return [
        (thing.x(t) * scale[0] + wide * r * math.cos(a), thing.y(t) * scale[1] + r * math.sin(a)) for r, a in turned
    ]


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
    return saved([in_palette(image) for image in images(scene)], duration=duration, **options)


def in_palette(image: Image.Image) -> Image.Image:
    """The same picture with a palette of its own colours; Pillow's search for one takes three times as long."""
    packed = np.asarray(image, dtype=np.uint32) @ np.array([65536, 256, 1], dtype=np.uint32)
    colours, index = np.unique(packed, return_inverse=True)
    if colours.size > 256:
        return image
    found = Image.frombytes("P", image.size, index.astype(np.uint8).tobytes())
    found.putpalette(np.stack([colours >> 16, colours >> 8 & 255, colours & 255], axis=1).astype(np.uint8).tobytes())
    return found


def measured(scene: Scene) -> Measurements:
    """The measurements of a scene's GIF; it is our own, so this process decodes it."""
    return Measurements.model_validate(measure(gif(scene)))


# --- one scene per task: the proof that the task can be done -----------------------------------------------------


def in_turns(*colours: str) -> Callable[[float], str]:
    """The colours one after the other, each for the same time."""
    return lambda t: colours[int(t * len(colours)) % len(colours)]


def strobe(*colours: str) -> Callable[[float], str]:
    """Another colour in every frame."""
    return lambda t: colours[round(t * 24) % len(colours)]


def slow_then_quick(low: float, high: float) -> Callable[[float], float]:
    """Up in five sixths of the loop, down in the rest."""

    def curve(t: float) -> float:
        share = t * 6 / 5 if t < 5 / 6 else (1 - t) * 6
        return low + (high - low) * share

    return curve


#: Corners of a square that fills its radius.
BOX = ((-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0))

REFERENCES: dict[str, Scene] = {
    "bouncing-ball": Scene("white", (Thing("red", y=bounce(0.82, 0.6)),)),
    "bouncing-square": Scene("black", (Thing("green", "square", y=bounce(0.8, 0.55), radius=fixed(0.09)),)),
    "two-balls": Scene(
        "white",
        (
            Thing("blue", x=fixed(0.3), y=wave(0.2, 0.8), radius=fixed(0.1)),
            Thing("blue", x=fixed(0.7), y=wave(0.2, 0.8, 0.5), radius=fixed(0.1)),
        ),
    ),
    "spinning-square": Scene("white", (Thing("blue", "square", radius=fixed(0.2), angle=lambda t: 360 * t),)),
    "spinning-bar": Scene("yellow", (Thing("black", "bar", radius=fixed(0.2), angle=lambda t: 180 * t),)),
    "spinning-star": Scene("black", (Thing("yellow", "star", radius=fixed(0.25), angle=lambda t: 360 * t),)),
    "pulsing-circle": Scene("white", (Thing("red", radius=wave(0.1, 0.3)),)),
    "pulsing-square": Scene("yellow", (Thing("blue", "square", radius=wave(0.1, 0.25)),)),
    "breathing-triangle": Scene("black", (Thing("green", "triangle", radius=wave(0.12, 0.25), angle=fixed(60)),)),
    "filling-bar": Scene(
        "grey",
        (
            Thing(
                "green",
                "own",
                x=lambda t: 0.1 + slow_then_quick(0.04, 0.38)(t),
                points=BOX,
                radius=fixed(0.1),
                stretch=slow_then_quick(0.4, 3.8),
            ),
        ),
    ),
    "sliding-square": Scene("white", (Thing("red", "square", x=wave(0.2, 0.8)),)),
    "orbiting-ball": Scene("white", (Thing("blue", x=ring(0.5, 0.3), y=ring(0.5, 0.3, 0.25)),)),
    "diagonal-ball": Scene("black", (Thing("white", x=wave(0.15, 0.85), y=wave(0.15, 0.85)),)),
    "fading-circle": Scene("black", (Thing(fade("red", "yellow", "green", "yellow")),)),
    "fading-square": Scene("white", (Thing(fade("red", "blue", "green"), "square"),)),
    "moving-chameleon": Scene("white", (Thing(fade("red", "blue"), x=wave(0.2, 0.8)),)),
    "sun-and-planet": Scene(
        "black",
        (
            Thing("yellow", radius=fixed(0.15)),
            Thing("blue", x=ring(0.5, 0.35), y=ring(0.5, 0.35, 0.25), radius=fixed(0.06)),
        ),
    ),
    "ball-over-bar": Scene(
        "white",
        (
            Thing("red", y=bounce(0.75, 0.5), radius=fixed(0.1)),
            Thing(
                "black", "own", y=fixed(0.93), points=((-4, -0.4), (4, -0.4), (4, 0.4), (-4, 0.4)), radius=fixed(0.1)
            ),
        ),
    ),
    "blinking-light": Scene(
        "white",
        (
            Thing("red", y=fixed(0.2), radius=fixed(0.08), shown=lambda t: t < 0.5),
            Thing("blue", "square", x=wave(0.2, 0.8), y=fixed(0.7), radius=fixed(0.08)),
        ),
    ),
}

# --- near misses -------------------------------------------------------------------------------------------------

#: Another path for each path, which keeps the thing in the picture.
OTHER_PATH = {
    "still": {"x": wave(0.35, 0.65)},
    "up-down": {"x": wave(0.25, 0.75), "y": fixed(0.5)},
    "left-right": {"x": fixed(0.5), "y": wave(0.25, 0.75)},
    "diagonal-down": {"x": wave(0.15, 0.85), "y": wave(0.85, 0.15)},
    "orbit": {"x": wave(0.2, 0.8), "y": fixed(0.5)},
}
OTHER_SHAPE = {"round": "square", "square": "round", "triangle": "round", "star": "round", "bar": "square"}


#: Where nothing is asked to be.
ELSEWHERE = {"middle": (0.2, 0.2), "top": (0.5, 0.8), "bottom": (0.5, 0.2)}


def near_misses(task: Task, scene: Scene) -> Iterator[tuple[str, Scene, str]]:
    """Name, scene, and the part that must be lower than the reference's."""
    unused = [c for c in ("orange", "purple", "green", "blue") if not _asked(task, c)]
    yield "wrong background", replace(scene, background=unused[0]), "background"
    yield (
        "background flickers",
        replace(scene, background=lambda t: unused[0] if t * 24 % 2 < 1 else task.background or ""),
        "background",
    )
    yield "20 frames", replace(scene, frames=20, duration=50), "frames"
    yield "too slow", replace(scene, duration=100), "play"
    yield "plays once", replace(scene, loop=None), "play"
    yield "stops at the end", replace(scene, duration=(*(10,) * 23, 730)), "play"
    if scene.things[-1].shown(0.99) and task.family != "colour":
        yield "half a loop", replace(scene, stretch=0.45), "loop"
    yield "an extra thing", replace(scene, things=(*scene.things, _extra(scene, unused[1]))), "subject"
    for number, subject in enumerate(_per_thing(task, scene)):
        thing = scene.things[number]
        yield f"wrong colour of thing {number + 1}", scene.with_thing(number, colour=unused[0]), _colour_part(subject)
        yield from _misses_of(number, subject, thing, scene)


def _asked(task: Task, colour: str) -> bool:
    return colour == task.background or any(colour in s.hues for s in task.subjects)


def _colour_part(subject: Subject) -> str:
    return "cycle" if subject.colours else "subject"


def _per_thing(task: Task, scene: Scene) -> list[Subject]:
    """The subject of each thing of the scene; the references draw them in the task's order."""
    return [subject for subject in task.subjects for _ in range(subject.count)]


def _extra(scene: Scene, colour: str) -> Thing:
    first = scene.things[0]
    return Thing(colour, x=fixed(0.12), y=fixed(0.12), radius=lambda t: min(0.1, first.radius(t)))


def _misses_of(number: int, subject: Subject, thing: Thing, scene: Scene) -> Iterator[tuple[str, Scene, str]]:
    label = f"thing {number + 1}"
    yield f"{label} is a speck", scene.with_thing(number, radius=lambda t: 0.2 * thing.radius(t)), "visible"
    yield f"{label} is faint", scene.with_thing(number, colour=_faint(thing, scene)), "visible"
    if subject.place != "any":
        x, y = ELSEWHERE[subject.place]
        yield f"{label} is elsewhere", scene.with_thing(number, x=fixed(x), y=fixed(y)), "place"
    if subject.around is not None:
        yield f"{label} goes round nothing", _beside(number, scene), "path"
    if subject.anchor == "left":
        yield f"{label} grows to both sides", scene.with_thing(number, x=MIDDLE), "scale"
    if subject.colours:
        yield f"{label} is a strobe", scene.with_thing(number, colour=strobe(*subject.colours)), "cycle"
        yield f"{label} switches", scene.with_thing(number, colour=in_turns(*subject.colours)), "cycle"
    if subject.shape != "any":
        other = OTHER_SHAPE[subject.shape]
        yield f"{label} is {other}", scene.with_thing(number, shape=other), "shape"
    if subject.path == "diagonal-down":
        yield f"{label} circles", scene.with_thing(number, x=ring(0.5, 0.3), y=ring(0.5, 0.3, 0.25)), "path"
    if subject.path != "any":
        yield f"{label} moves otherwise", scene.with_thing(number, **OTHER_PATH[subject.path]), "path"
    if subject.path not in ("any", "still"):
        yield f"{label} hardly moves", _shortened(number, thing, scene), "path"
        yield f"{label} jumps", scene.with_thing(number, x=_jumping(thing.x), y=_jumping(thing.y)), "path"
        yield f"{label} leaves the picture", scene.with_thing(number, x=lambda t: thing.x(t) + 0.45), "inside"
    if subject.size == "constant":
        yield f"{label} changes its size", scene.with_thing(number, radius=wave(0.05, 0.14)), "scale"
    elif subject.size in ("pulse", "grow"):
        yield f"{label} keeps its size", _same_size(number, scene), "scale"
    if subject.turn == "spin":
        yield f"{label} does not turn", scene.with_thing(number, angle=fixed(20), x=wave(0.49, 0.51)), "turn"
        yield f"{label} whirls", scene.with_thing(number, angle=_whirl(subject)), "turn"
        yield f"{label} rocks", scene.with_thing(number, angle=wave(0, 30)), "turn"
    if subject.shown == "blink":
        yield f"{label} does not blink", scene.with_thing(number, shown=lambda t: True), "blink"


def _jumping(curve: object) -> object:
    """The same places in a wild order: every seventh step of 24."""
    assert callable(curve)
    return lambda t: curve(round(t * 24) * 7 % 24 / 24)


def _faint(thing: Thing, scene: Scene) -> Callable[[float], tuple[int, int, int]]:
    """The thing's colour, mixed with much of the background's: its name is the same, but nobody sees it."""

    def curve(t: float) -> tuple[int, int, int]:
        ground = scene.background if isinstance(scene.background, str) else scene.background(t)
        own = rgb(thing.colour if isinstance(thing.colour, str) else thing.colour(t))
        return tuple(round(g + 0.14 * (o - g)) for g, o in zip(RGB[ground], own, strict=True))  # type: ignore[return-value]

    return curve


def _same_size(number: int, scene: Scene) -> Scene:
    return scene.with_thing(number, radius=fixed(0.15), stretch=PLAIN, angle=lambda t: 360 * t)


def _shortened(number: int, thing: Thing, scene: Scene) -> Scene:
    """A fifth of the way, about the same middle."""
    x, y = ((min(c(t / 24) for t in range(24)) + max(c(t / 24) for t in range(24))) / 2 for c in (thing.x, thing.y))
    return scene.with_thing(number, x=lambda t: x + 0.2 * (thing.x(t) - x), y=lambda t: y + 0.2 * (thing.y(t) - y))


def _beside(number: int, scene: Scene) -> Scene:
    """An orbit in a corner, away from what it should go round."""
    return scene.with_thing(number, x=ring(0.22, 0.15), y=ring(0.22, 0.15, 0.25))


def _whirl(subject: Subject) -> Curve:
    """So fast that nobody sees which way it turns."""
    whole = 180 if subject.shape == "bar" else 72 if subject.shape == "star" else 90
    return lambda t: round(24 * t) * 0.42 * whole
