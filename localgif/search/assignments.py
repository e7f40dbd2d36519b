"""Which formula each quantity gets: a search over programs in the form, without a model.

A scene in the form (agent/form.py) has a few quantities per figure. Small models choose things and colours well, but
forget or confuse motions. So this search keeps the draft and tries one formula after the other for each quantity.
localgif runs and measures each program, and the parts of the score tell which quantity is wrong.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import islice, product
from typing import Any

from localgif.agent.extract import parsed
from localgif.agent.form import SHAPES, Figure, Scene, matched, program, read
from localgif.agent.phrasebook import (
    FORMULAS,
    PLACES,
    SIDES,
    Aspect,
    color_of,
    faded,
    formula_of,
    place_of,
    shape_of,
    switched,
    wide_of,
)
from localgif.search.number_search import AT_ONCE, BUDGET, GAIN, tune
from localgif.search.programs import Find, Measure, Trial
from localgif.tasks.outline import Thing, outline
from localgif.tasks.task import PLACE_PHRASES, Task
from localgif.tasks.words import normalised, words

#: Where a figure may stand, the most usual place first: value of the place, x, y.
SPOTS = (
    *((value, PLACES[value][0] or 100, PLACES[value][1] or 100) for value in (*PLACE_PHRASES, "below")),
    ("bottom", 100, 180),
)


def colours_of(brief: str) -> list[str]:
    """The colours that a brief names, in order, each once, by names that the measurement sees as that colour."""
    found = (word for word in words(normalised(brief))[0] if word.kind == "colour")
    named = (word.text if word.text.startswith("#") else word.value for word in found)
    return list(dict.fromkeys(map(color_of, named)))


def first_scene(brief: str) -> Scene:
    """A scene of what the brief names, each quantity as its phrase says: where a search without a draft starts."""
    read = outline(brief)
    if read is None:
        return Scene('"white"', (Figure("CIRCLE", '"black"'),))
    ground = color_of(read.background)
    behind = faded([ground, *map(color_of, read.later)]) if read.later else f'"{ground}"'
    return Scene(behind, tuple(_dressed(thing, color_of(read.ink_of(thing))) for thing in read.things))


def _dressed(thing: Thing, ink: str) -> Figure:
    """A figure as its phrases say; in a colour for things for which the brief names none."""
    colours = [color_of(colour) for colour in thing.colours] or [ink]
    figure = Figure(shape_of(thing), f'"{colours[0]}"')
    for phrase in thing.says:
        if phrase.aspect == "size":
            side = wide_of(thing)
            figure = figure._replace(width=side, height=side)
        elif phrase.aspect == "place":
            x, y, most = place_of(phrase.value)
            standing = any(each.value == "upright" for each in thing.says)
            side = min(figure.width, (most or 200) / (0.3 if standing else 1))  # a bar is as thick as 0.3 of its length
            figure = figure._replace(x=figure.x if x is None else x, y=figure.y if y is None else y)
            figure = figure._replace(width=side, height=side)
        elif phrase.aspect == "color":
            figure = figure._replace(color=faded(colours))
        elif phrase.value == "switch":
            figure = figure._replace(shown=f"color = {switched(colours)}")
        elif text := formula_of(phrase):
            figure = _with_formula(figure, phrase.aspect, text)
    return figure


def glimpse(code: str, task: Task) -> Scene | None:
    """The things and colours that a program outside the form draws, without motion; None if it names no colour."""
    tree = parsed(code)
    if tree is None:
        return None
    ground = first_scene(task.brief).background.strip('"')
    figures: list[Figure] = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        fills = [k.value.value for k in node.keywords if k.arg == "fill" and isinstance(k.value, ast.Constant)]
        if node.func.attr in _DRAWN and fills and isinstance(fills[0], str) and fills[0] != ground:
            figures.append(Figure(_DRAWN[node.func.attr], f'"{fills[0]}"'))
    found = list(dict.fromkeys(figures))
    return Scene(f'"{ground}"', tuple(found[:6])) if found else None


#: Pillow's functions -> the shape that they usually draw.
_DRAWN = {"ellipse": "CIRCLE", "rectangle": "SQUARE", "polygon": "TRIANGLE", "line": "BAR", "circle": "CIRCLE"}


def _with_formula(figure: Figure, name: str, text: str) -> Figure:
    """The figure with other statements for a quantity, its own numbers filled in."""
    numbers = {"x": figure.x, "y": figure.y, "w": figure.width, "h": figure.height}
    changed: Any = {name: text.format(**{key: f"{value:g}" for key, value in numbers.items()})}
    return figure._replace(**changed)


def finder(scene: Scene, task: Task, goal: float) -> Find:
    """The search from a scene: first over formulas, then over numbers if the goal is not reached."""

    def find(start: Trial, measure: Measure) -> Trial:
        best, _, _ = search(scene, task, measure, goal)
        if best.score.total < goal:
            tuned = tune(best, measure, task.targets, goal)
            phrased = read(tuned.code)
            if tuned is not best and phrased is not None:
                # The number search drops comments; without the phrases the program would be no example.
                again = measure([program(phrased, task.brief, task.targets)])[0]
                best = max(best, again, key=lambda trial: trial.score.total)
        return best

    return find


def search(
    start: Scene,
    task: Task,
    measure: Measure,
    goal: float,
    budget: int = BUDGET,
) -> tuple[Trial, Scene, int]:
    """The best scene found by changing one quantity after the other.

    Args:
        start: The draft.
        task: What to draw.
        measure: Gets at most AT_ONCE programs at a time; the best one that gains wins, of equal ones the first.
        goal: The search ends at this score.
        budget: At most this many programs run.

    Returns:
        The best program, its scene, and how many programs ran.
    """
    left = budget
    known: dict[str, Trial] = {}

    def trials(scenes: Sequence[Scene]) -> list[tuple[Trial, Scene]]:
        nonlocal left
        codes = {scene: program(scene, task.brief, task.targets) for scene in scenes}
        new = [code for code in dict.fromkeys(codes.values()) if code not in known][: max(0, left)]
        left -= len(new)
        known.update({trial.code: trial for trial in measure(new)})
        return [(known[code], scene) for scene, code in codes.items() if code in known]

    best, scene = trials([start])[0]

    def climb(options: Iterator[Scene], first: bool) -> bool:
        """Keep the options that gain, or only the first that does; returns whether any did."""
        nonlocal best, scene
        gained = False
        while left > 0 and best.score.total < goal and not (gained and first):
            batch = list(islice(options, AT_ONCE))
            if not batch:
                break
            found, other = max(trials(batch) or [(best, scene)], key=lambda each: _worth(each[0]))
            if _worth(found) >= _worth(best) + GAIN:
                best, scene, gained = found, other, True
        return gained

    while left > 0 and best.score.total < goal:
        gains = [climb(iter(list(_KINDS[kind](scene, task))), first=False) for kind in _order(best)]
        # Two quantities at once: an earlier change may be in the way (a pulse that only made it move).
        if not any(gains) and not climb(iter(list(_pairs(scene, task))), first=True):
            break
    for k in reversed(range(len(scene.figures))):
        if len(scene.figures) > 1 and left > 0:  # a figure that hides behind another one costs no score
            found, other = trials([_with(scene, k)])[0]
            if found.score.total >= best.score.total:
                best, scene = found, other
    return best, scene, budget - left


def _worth(trial: Trial) -> float:
    """The score, plus a little for the parts, because many totals are 0."""
    weights = sum(part.weight for part in trial.score.parts) or 1.0
    return trial.score.total + 0.2 * sum(p.weight * p.value for p in trial.score.parts) / weights


#: Part of the score -> the quantities that can be wrong.
_BLAMED = {
    "gate": ("path", "scale", "turn", "color", "shown"),
    "background": ("background",),
    "subject": ("color", "figures", "spot", "shape"),
    "shape": ("shape", "side"),
    "path": ("path", "figures", "spot"),
    "scale": ("scale", "side"),
    "turn": ("turn",),
    "blink": ("shown",),
    "cycle": ("color",),
    "inside": ("spot", "side", "path"),
    "visible": ("side", "path"),
    "place": ("spot",),
    "loop": ("path", "scale"),
}


def _order(trial: Trial) -> list[str]:
    """The quantities to try, those that cost most first."""
    costly = sorted(trial.score.parts, key=lambda part: part.weight * (part.value - 1))
    blamed = [kind for part in costly if part.value < 1 for kind in _BLAMED.get(part.name, ())]
    return list(dict.fromkeys([*blamed, *_KINDS]))


def _each(scene: Scene, brief: str, change: Callable[[Figure, Thing], Iterator[Figure]]) -> Iterator[Scene]:
    """The scene with one figure changed, and with all figures of one colour changed alike.

    Args:
        change: Gets a figure and what the brief says of it; returns the changed ones, the likely ones first.
    """
    said = matched(scene, outline(brief))
    changed = [list(change(figure, own)) for figure, own in zip(scene.figures, said, strict=True)]
    for column in range(max(map(len, changed), default=0)):
        for k, figure in enumerate(scene.figures):
            twins = [n for n, other in enumerate(scene.figures) if other.color == figure.color]
            if column >= len(changed[k]) or twins[0] != k:
                continue
            figures = list(scene.figures)
            for n in twins:
                if column < len(changed[n]):
                    figures[n] = changed[n][column]
            yield scene._replace(figures=tuple(figures))
            if len(twins) > 1:
                yield _with(scene, k, changed[k][column])


def _asked(thing: Thing, aspect: str) -> set[str]:
    """The values that a brief asks for in one property of a thing."""
    return {phrase.value for phrase in thing.says if phrase.aspect == aspect}


def _with(scene: Scene, k: int, *figures: Figure) -> Scene:
    """The scene with these figures in place of figure k."""
    return scene._replace(figures=(*scene.figures[:k], *figures, *scene.figures[k + 1 :]))


def _aspect(name: Aspect) -> Callable[[Scene, Task], Iterator[Scene]]:
    def scenes(scene: Scene, task: Task) -> Iterator[Scene]:
        def change(figure: Figure, thing: Thing) -> Iterator[Figure]:
            asked = _asked(thing, name) or {""}
            for formula in sorted(FORMULAS[name], key=lambda formula: formula.value not in asked):
                yield _with_formula(figure, name, formula.text)

        return _each(scene, task.brief, change)

    return scenes


def _pairs(scene: Scene, task: Task) -> Iterator[Scene]:
    """Take a formula away from one quantity of a figure, and give another quantity one."""
    for k, figure in enumerate(scene.figures):
        for taken, given in product(FORMULAS, FORMULAS):
            if taken != given and getattr(figure, taken):
                for formula in FORMULAS[given]:
                    if formula.text:
                        yield _with(scene, k, _with_formula(_with_formula(figure, taken, ""), given, formula.text))


def _backgrounds(scene: Scene, task: Task) -> Iterator[Scene]:
    named = (f'"{colour}"' for colour in (*colours_of(task.brief), "white", "black"))
    for ground in dict.fromkeys((first_scene(task.brief).background, *named)):
        yield scene._replace(background=ground)


def _colors(scene: Scene, task: Task) -> Iterator[Scene]:
    inks = [colour for colour in colours_of(task.brief) if f'"{colour}"' != scene.background]
    texts = [f'"{ink}"' for ink in inks]
    if len(inks) > 1:
        texts.append(faded(inks))
    if len(inks) > 2:
        texts.append(faded([*inks, *inks[-2:0:-1]]))
    for text, k in product(texts, range(len(scene.figures))):
        yield _with(scene, k, scene.figures[k]._replace(color=text))


def _shapes(scene: Scene, task: Task) -> Iterator[Scene]:
    def change(figure: Figure, thing: Thing) -> Iterator[Figure]:
        for shape in dict.fromkeys((shape_of(thing), *SHAPES[:5])):  # nothing measures the others
            yield figure._replace(shape=shape)

    return _each(scene, task.brief, change)


def _spots(scene: Scene, task: Task) -> Iterator[Scene]:
    def change(figure: Figure, thing: Thing) -> Iterator[Figure]:
        for _, x, y in sorted(SPOTS, key=lambda spot: spot[0] not in _asked(thing, "place")):
            yield _moved(figure, x, y)

    return _each(scene, task.brief, change)


def _moved(figure: Figure, x: float, y: float) -> Figure:
    """The figure at another place, its path with it."""
    path = figure.path
    for name, old, new in (("x", figure.x, x), ("y", figure.y, y)):
        if old != new:
            path = re.sub(rf"(?<![\w.]){old:g}(?= [-+] 60)", f"{new:g}", path, count=1) if name in path else path
    return figure._replace(x=x, y=y, path=path)


def _sides(scene: Scene, task: Task) -> Iterator[Scene]:
    def change(figure: Figure, thing: Thing) -> Iterator[Figure]:
        for word in sorted(SIDES, key=lambda word: word not in _asked(thing, "size")):
            yield figure._replace(width=SIDES[word], height=SIDES[word])

    return _each(scene, task.brief, change)


def _figures(scene: Scene, task: Task) -> Iterator[Scene]:
    """One figure more (in a colour that nothing has yet), several in place of one (side by side), or one less."""
    used = " ".join([scene.background, *(figure.color for figure in scene.figures)])
    for colour in colours_of(task.brief):
        if f'"{colour}"' not in used:
            named = [f for f in first_scene(task.brief).figures if f'"{colour}"' in f.color][:1]
            spots = [Figure("CIRCLE", f'"{colour}"', x, y) for _, x, y in SPOTS[1:]]
            for figure in (*named, *spots):
                yield scene._replace(figures=(*scene.figures, figure))
    asked = len(first_scene(task.brief).figures)
    for k, figure in enumerate(scene.figures):
        if sum(other.color == figure.color for other in scene.figures) == 1:
            for count in sorted({2, 3, asked} - {1}, key=lambda count: count != asked):
                yield _row(scene, k, count)
    if len(scene.figures) > 1:
        for k in range(len(scene.figures)):
            yield _with(scene, k)


def _row(scene: Scene, k: int, count: int) -> Scene:
    """The scene with `count` of figure k side by side."""
    figure = scene.figures[k]
    gap = 200 / count
    side = min(figure.width, round(0.7 * gap))
    row = [
        _moved(figure, round(gap * (n + 0.5)), figure.y)._replace(width=side, height=min(figure.height, side))
        for n in range(count)
    ]
    return _with(scene, k, *row)


_KINDS: dict[str, Callable[[Scene, Task], Iterator[Scene]]] = {
    "background": _backgrounds,
    "color": _colors,
    "figures": _figures,
    "shape": _shapes,
    "path": _aspect("path"),
    "scale": _aspect("scale"),
    "turn": _aspect("turn"),
    "shown": _aspect("shown"),
    "spot": _spots,
    "side": _sides,
}
