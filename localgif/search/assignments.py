"""Which formula each quantity gets: a search over programs in the form, without a model.

A scene in the form (agent/form.py) is a few quantities per figure. Small models choose things and colours well, and
forget or confuse what moves. So this search keeps the draft and tries one formula after the other for each quantity;
localgif runs and measures each program, and the parts of the score tell which quantity is wrong.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import islice, product
from typing import Any, NamedTuple

from localgif.agent.form import (
    FORMULAS,
    SHAPES,
    Aspect,
    Figure,
    Formula,
    Scene,
    is_noun,
    phrases,
    program,
    read,
    shares,
)
from localgif.search.number_search import tune
from localgif.search.programs import Trial
from localgif.syntax import parsed
from localgif.tasks.task import Task
from localgif.tasks.words import words

#: At most this many programs run per search.
BUDGET = 150
#: Programs in parallel, the same on every machine. If several gain, the best one wins, of equal ones the first.
AT_ONCE = 2
#: A change is kept if it gains at least this much.
GAIN = 0.002

#: Runs and scores at most AT_ONCE programs; returns their trials in order.
Measure = Callable[[Sequence[str]], Sequence[Trial]]


#: Where a figure may stand, in the order of how usual it is: words, x, y.
SPOTS = (
    ("middle|centre|center", 100, 100),
    ("top|above", 100, 40),
    ("bottom|below|under", 100, 180),
    ("left", 45, 100),
    ("right", 155, 100),
)
#: Sides of a figure, pixels: words, size.
SIDES = (("", 60), ("small|little|tiny", 34), ("large|big|huge|long", 90))
#: Nouns -> shape; a noun that is missing here is found by trying.
_NOUNS = {
    "CIRCLE": "ball|circle|dot|disc|sun|moon|planet|light|round|bubble|coin",
    "SQUARE": "square|box|block|cube",
    "TRIANGLE": "triangle|arrow|pyramid",
    "STAR": "star",
    "BAR": "bar|line|stick|beam|rod|strip",
}
_COUNTS = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "pair": 2}


def likely(words: str, text: str) -> int:
    """How often the text holds one of the words, given as a regular expression; 0 for no words."""
    return len(re.findall(rf"\b(?:{words})", text.casefold())) if words else 0


def by_words(formulas: Sequence[Formula], words: str) -> list[Formula]:
    """The formulas, those first that the words name most often."""
    return sorted(formulas, key=lambda formula: -likely(formula.words, words))


def colours_of(brief: str) -> list[str]:
    """The colours that a brief names, in order, each once, by the names that the measurement knows."""
    return list(dict.fromkeys(word.value for word in words(brief.casefold())[0] if word.kind == "colour"))


def ground_of(brief: str, default: str = "white") -> str:
    """The last colour in the phrase of the background."""
    named = [colours_of(phrase) for phrase in phrases(brief) if "background" in phrase.casefold()]
    return named[0][-1] if named and named[0] else default


def first_scene(brief: str) -> Scene:
    """A scene of what the brief names, each quantity as its words suggest: where a search without a draft starts."""
    ground = ground_of(brief)
    figures: list[Figure] = []
    counts: list[int] = []
    spoken = [p for p in phrases(brief) if "background" not in p]
    nouns = [p for p in spoken if is_noun(p)]
    everything = [c for c in colours_of(brief) if c != ground]
    for noun in nouns or [brief]:
        own = [colour for colour in colours_of(noun) if colour != ground]
        free = [c for c in everything if not any(c in colours_of(other) for other in nouns)]
        if not own and not free:
            continue
        color = f'"{own[0]}"' if own else _fade(free) if len(free) > 1 else f'"{free[0]}"'
        figures.append(Figure(_noun_in(noun), color))
        counts.append(next((n for word, n in _COUNTS.items() if likely(word + r"(?![\w-])", noun)), 1))
    if not figures:
        figures, counts = [Figure(_noun_in(brief), '"black"' if ground != "black" else '"white"')], [1]
    scene = Scene(f'"{ground}"', tuple(figures))
    said = _words_of(scene, brief)
    scene = scene._replace(figures=tuple(_dressed(f, w) for f, w in zip(scene.figures, said, strict=True)))
    for k in reversed(range(len(counts))):
        if counts[k] > 1:
            scene = _row(scene, k, counts[k])
    return scene


class Words(NamedTuple):
    """What a brief says of one figure."""

    noun: str
    rest: str
    """What it does and where it is."""


def _words_of(scene: Scene, brief: str) -> list[Words]:
    return [Words(own[0] if own else "", " ".join(own[1:])) for own in shares(scene, brief)]


def glimpse(code: str, task: Task) -> Scene | None:
    """The things and colours of a program outside of the form, standing still; None if it draws none by name."""
    tree = parsed(code)
    if tree is None:
        return None
    ground = ground_of(task.brief)
    figures: list[Figure] = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        fills = [k.value.value for k in node.keywords if k.arg == "fill" and isinstance(k.value, ast.Constant)]
        if node.func.attr in _DRAWN and fills and isinstance(fills[0], str) and fills[0] != ground:
            figures.append(Figure(_DRAWN[node.func.attr], f'"{fills[0]}"'))
    found = list(dict.fromkeys(figures))
    return Scene(f'"{ground}"', tuple(found[:6])) if found else None


#: Pillow's functions -> the shape that they usually stand for.
_DRAWN = {"ellipse": "CIRCLE", "rectangle": "SQUARE", "polygon": "TRIANGLE", "line": "BAR", "circle": "CIRCLE"}


def _dressed(figure: Figure, words: Words) -> Figure:
    """The figure with the formula that its words suggest for each quantity."""
    side = next((side for each, side in SIDES if likely(each, words.noun)), figure.width)
    x, y = next(((x, y) for each, x, y in SPOTS if likely(each, _where(words))), (figure.x, figure.y))
    figure = figure._replace(x=x, y=y, width=side, height=side)
    for name, formulas in FORMULAS.items():
        first = by_words(formulas, words.rest)[0]
        text = first.text if likely(first.words, words.rest) else ""
        figure = _with_formula(figure, name, text)
    # An edge that stays decides the place, too.
    return figure._replace(path="") if "\n" in figure.scale else figure


def _where(words: Words) -> str:
    """The words that say where a figure stands: not those of a way, and the other way round behind "above a"."""
    kept = re.sub(
        r"\bfrom (?:the )?(?:\w+ ){1,3}to (?:the )?\w+(?: \w+ corner)?", "", f"{words.noun} {words.rest}".casefold()
    )
    turned = {"above": "below", "over": "below", "below": "above", "under": "above"}
    return re.sub(r"^(above|over|below|under)\b", lambda found: turned[found[1]], kept)


def _with_formula(figure: Figure, name: str, text: str) -> Figure:
    """The figure with other statements for a quantity, its own numbers filled in."""
    numbers = {"x": figure.x, "y": figure.y, "w": figure.width, "h": figure.height}
    changed: Any = {name: text.format(**{key: f"{value:g}" for key, value in numbers.items()})}
    return figure._replace(**changed)


def finder(scene: Scene, task: Task, goal: float) -> Callable[[Trial, Measure], Trial]:
    """The search from a scene, over formulas first and over numbers where these leave something to gain."""

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
        """Keep what gains, of all options or only the first of them; whether something did."""
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
        # Two quantities at once: what was found first may stand in the way (a pulse that only made it move).
        if not any(gains) and not climb(iter(list(_pairs(scene, task))), first=True):
            break
    for k in reversed(range(len(scene.figures))):
        if len(scene.figures) > 1 and left > 0:  # a figure that hides behind another one costs no score
            found, other = trials([scene._replace(figures=(*scene.figures[:k], *scene.figures[k + 1 :]))])[0]
            if found.score.total >= best.score.total:
                best, scene = found, other
    return best, scene, budget - left


def _worth(trial: Trial) -> float:
    """The score, and a little for the parts, because a total of 0 tells nothing."""
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


def _each(scene: Scene, brief: str, change: Callable[[Figure, Words], Iterator[Figure]]) -> Iterator[Scene]:
    """The scene with one figure changed, and with all figures of one colour changed alike.

    Args:
        change: Gets a figure and its words; returns the changed ones, the likely ones first.
    """
    said = _words_of(scene, brief)
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


def _with(scene: Scene, k: int, figure: Figure) -> Scene:
    return scene._replace(figures=(*scene.figures[:k], figure, *scene.figures[k + 1 :]))


def _aspect(name: Aspect) -> Callable[[Scene, Task], Iterator[Scene]]:
    def scenes(scene: Scene, task: Task) -> Iterator[Scene]:
        def change(figure: Figure, words: Words) -> Iterator[Figure]:
            for formula in by_words(FORMULAS[name], words.rest):
                yield _with_formula(figure, name, formula.text)

        return _each(scene, task.brief, change)

    return scenes


def _pairs(scene: Scene, task: Task) -> Iterator[Scene]:
    """One formula taken away from a figure, and another quantity given one."""
    for k, figure in enumerate(scene.figures):
        for taken, given in product(FORMULAS, FORMULAS):
            if taken != given and getattr(figure, taken):
                for formula in by_words(FORMULAS[given], task.brief):
                    if formula.text:
                        yield _with(scene, k, _with_formula(_with_formula(figure, taken, ""), given, formula.text))


def _backgrounds(scene: Scene, task: Task) -> Iterator[Scene]:
    for colour in dict.fromkeys((ground_of(task.brief), *colours_of(task.brief), "white", "black")):
        yield scene._replace(background=f'"{colour}"')


def _fade(colours: Sequence[str]) -> str:
    return "fade([" + ", ".join(f'"{colour}"' for colour in colours) + "], t)"


def _colors(scene: Scene, task: Task) -> Iterator[Scene]:
    inks = [colour for colour in colours_of(task.brief) if f'"{colour}"' != scene.background]
    texts = [f'"{ink}"' for ink in inks]
    if len(inks) > 1:
        texts.append(_fade(inks))
    if len(inks) > 2:
        texts.append(_fade([*inks, *inks[-2:0:-1]]))
    for text, k in product(texts, range(len(scene.figures))):
        yield _with(scene, k, scene.figures[k]._replace(color=text))


def _shapes(scene: Scene, task: Task) -> Iterator[Scene]:
    def change(figure: Figure, words: Words) -> Iterator[Figure]:
        for shape in sorted(SHAPES, key=lambda shape: not likely(_NOUNS[shape], words.noun)):
            yield figure._replace(shape=shape)

    return _each(scene, task.brief, change)


def _spots(scene: Scene, task: Task) -> Iterator[Scene]:
    def change(figure: Figure, words: Words) -> Iterator[Figure]:
        for _, x, y in sorted(SPOTS, key=lambda spot: not likely(spot[0], _where(words))):
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
    def change(figure: Figure, words: Words) -> Iterator[Figure]:
        for _, side in sorted(SIDES, key=lambda side: not likely(side[0], words.noun)):
            yield figure._replace(width=side, height=side)

    return _each(scene, task.brief, change)


def _figures(scene: Scene, task: Task) -> Iterator[Scene]:
    """One figure more or less: of a colour that nothing has yet, or the same ones side by side."""
    used = " ".join([scene.background, *(figure.color for figure in scene.figures)])
    for colour in colours_of(task.brief):
        if f'"{colour}"' not in used:
            for _, x, y in sorted(SPOTS[1:], key=lambda spot: not likely(spot[0], task.brief)):
                yield scene._replace(
                    figures=(*scene.figures, Figure(_noun_near(task.brief, colour), f'"{colour}"', x, y))
                )
    named = [count for word, count in _COUNTS.items() if likely(word + r"(?![\w-])", task.brief)]
    for k, figure in enumerate(scene.figures):
        if sum(other.color == figure.color for other in scene.figures) == 1:
            for count in dict.fromkeys([*named, 2, 3]):
                yield _row(scene, k, count)
    if len(scene.figures) > 1:
        for k in range(len(scene.figures)):
            yield scene._replace(figures=(*scene.figures[:k], *scene.figures[k + 1 :]))


def _row(scene: Scene, k: int, count: int) -> Scene:
    """The scene with `count` of figure k side by side."""
    figure = scene.figures[k]
    gap = 200 / count
    side = min(figure.width, round(0.7 * gap))
    row = [
        _moved(figure, round(gap * (n + 0.5)), figure.y)._replace(width=side, height=min(figure.height, side))
        for n in range(count)
    ]
    return scene._replace(figures=(*scene.figures[:k], *row, *scene.figures[k + 1 :]))


def _noun_near(brief: str, colour: str) -> str:
    """The shape of the noun that follows a colour in the brief."""
    return _noun_in(" ".join(brief.casefold().partition(colour)[2].split()[:3]))


def _noun_in(text: str) -> str:
    """The shape of the first noun that is known; a circle without one."""
    found = {s: m.start() for s, words in _NOUNS.items() if (m := re.search(rf"\b(?:{words})", text.casefold()))}
    return min(found, key=lambda shape: found[shape], default="CIRCLE")


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
