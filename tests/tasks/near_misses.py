"""For a task's reference scene: the same scene with one thing wrong, and the part of the score that must see it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from localgif.tasks.task import Subject, Task
from tests.tasks.scenes import Scene, Thing, fixed, ring, wave

#: Another path for each path, which keeps the thing in the picture.
OTHER_PATH = {
    "still": {"x": wave(0.35, 0.65)},
    "up-down": {"x": wave(0.25, 0.75), "y": fixed(0.5)},
    "left-right": {"x": fixed(0.5), "y": wave(0.25, 0.75)},
    "diagonal": {"x": ring(0.5, 0.3), "y": ring(0.5, 0.3, 0.25)},
    "orbit": {"x": wave(0.2, 0.8), "y": fixed(0.5)},
}
OTHER_SHAPE = {"round": "square", "square": "round", "triangle": "round", "star": "round", "bar": "square"}


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
    if subject.shape != "any":
        other = OTHER_SHAPE[subject.shape]
        yield f"{label} is {other}", scene.with_thing(number, shape=other), "shape"
    if subject.path != "any":
        yield f"{label} moves otherwise", scene.with_thing(number, **OTHER_PATH[subject.path]), "path"
    if subject.path not in ("any", "still"):
        yield f"{label} jumps", scene.with_thing(number, x=_jumping(thing.x), y=_jumping(thing.y)), "path"
        yield f"{label} leaves the picture", scene.with_thing(number, x=lambda t: thing.x(t) + 0.45), "inside"
    if subject.size == "constant":
        yield f"{label} changes its size", scene.with_thing(number, radius=wave(0.05, 0.14)), "scale"
    elif subject.size in ("pulse", "grow"):
        yield f"{label} keeps its size", scene.with_thing(number, radius=fixed(0.15), angle=lambda t: 360 * t), "scale"
    if subject.turn == "spin":
        yield f"{label} does not turn", scene.with_thing(number, angle=fixed(20), x=wave(0.49, 0.51)), "turn"
        yield f"{label} rocks", scene.with_thing(number, angle=wave(0, 30)), "turn"
    if subject.shown == "blink":
        yield f"{label} does not blink", scene.with_thing(number, shown=lambda t: True), "blink"


def _jumping(curve: object) -> object:
    """The same places in a wild order: every seventh step of 24."""
    assert callable(curve)
    return lambda t: curve(round(t * 24) * 7 % 24 / 24)
