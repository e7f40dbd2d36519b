"""The form of programs that generalise: drawing functions, quantities, and the request phrase by phrase.

Every program in the form begins with the same drawing functions. Then it goes through the request: it quotes each
phrase in a comment and writes the one assignment that the phrase decides. From such programs a model learns which words
decide which quantity, and draws requests that no example shows. The functions draw nothing by themselves.
"""

from __future__ import annotations

import ast
import re
from typing import NamedTuple, TypeGuard

from localgif.agent.extract import parsed
from localgif.agent.phrasebook import ASPECTS, NAMED, SIDES, Aspect, names_of, number, place_of, shape_of
from localgif.tasks.outline import Outline, Thing, outline
from localgif.tasks.task import Targets

#: Every program in the form begins with this. A shape is a list of corners around the origin, one unit wide.
FUNCTIONS = """\
import math
from PIL import Image, ImageColor, ImageDraw

CIRCLE = [(math.cos(k * math.pi / 18) / 2, math.sin(k * math.pi / 18) / 2) for k in range(36)]
SQUARE = [(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)]
TRIANGLE = [(0, -0.58), (0.5, 0.29), (-0.5, 0.29)]
STAR = [((0.6, 0.24)[k % 2], k * math.pi / 5) for k in range(10)]
STAR = [(r * math.sin(a), -r * math.cos(a)) for r, a in STAR]
BAR = [(-0.5, -0.15), (0.5, -0.15), (0.5, 0.15), (-0.5, 0.15)]
DIAMOND = [(0, -0.5), (0.5, 0), (0, 0.5), (-0.5, 0)]
HEXAGON = [(math.cos(k * math.pi / 3) / 2, math.sin(k * math.pi / 3) / 2) for k in range(6)]
PENTAGON = [(math.sin(k * math.pi / 2.5) / 2, -math.cos(k * math.pi / 2.5) / 2) for k in range(5)]
OCTAGON = [(math.cos(k * math.pi / 4) / 2, math.sin(k * math.pi / 4) / 2) for k in range(8)]
ELLIPSE = [(a, 0.6 * b) for a, b in CIRCLE]
CRESCENT = [*CIRCLE[9:28], *((0.5 * a, b) for a, b in CIRCLE[27:8:-1])]
ARROW = [(0.5, 0), (0.1, -0.4), (0.1, -0.15), (-0.5, -0.15), (-0.5, 0.15), (0.1, 0.15), (0.1, 0.4)]
RING = [*CIRCLE, CIRCLE[0], *((0.6 * a, 0.6 * b) for a, b in [CIRCLE[0], *CIRCLE[::-1]])]
CROSS = [(0.5, -0.15), (0.5, 0.15), (0.15, 0.15)]
CROSS = [(a * c - b * s, a * s + b * c) for c, s in [(1, 0), (0, 1), (-1, 0), (0, -1)] for a, b in CROSS]
HEART = [k * math.pi / 18 for k in range(36)]
HEART = [(math.sin(a) ** 3 / 2, (5 * math.cos(2 * a) - 13 * math.cos(a) + 2 * math.cos(3 * a)) / 34) for a in HEART]
SMALL, LARGE, LONG = 34, 90, 120
LEFT, RIGHT, TOP, BOTTOM, ABOVE, BELOW = 45, 155, 45, 155, 60, 140


def canvas(color):
    image = Image.new("RGB", (200, 200), color)
    return image, ImageDraw.Draw(image)


# x, y: the centre, from 0 (left, top) to 200; angle: 0 is upright, t is one whole turn; color None: not to be seen
def paint(draw, shape, x, y, width, height, angle, color):
    c, s = math.cos(angle), math.sin(angle)
    corners = [(x + a * width * c - b * height * s, y + a * width * s + b * height * c) for a, b in shape]
    if color:
        draw.polygon(corners, fill=color)


# the color at time t of a thing that changes slowly from color to color and back to the first one
def fade(colors, t):
    n = len(colors) - (colors[0] == colors[-1])
    place = t / (2 * math.pi) * n
    old, new = (ImageColor.getrgb(colors[(int(place) + k) % n]) for k in (0, 1))
    return tuple(round(a + (b - a) * (place % 1)) for a, b in zip(old, new))
"""

#: The names that FUNCTIONS defines for shapes.
SHAPES = tuple(dict.fromkeys(re.findall(r"^([A-Z]+) = \[", FUNCTIONS, re.MULTILINE)))
#: FUNCTIONS in short, for an answer of which localgif writes the calls.
NAMES = f"""\
The picture has 200 x 200 pixels. x, y is the centre of a thing, angle 0 is upright, t goes from 0 to one whole turn.
A thing of color None is not to be seen; fade(colors, t) changes a color slowly. Shapes: {", ".join(SHAPES)}.
"""


class Figure(NamedTuple):
    """One thing that a program paints."""

    shape: str
    """A name of SHAPES."""
    color: str
    """An expression: a quoted name, or a call of fade()."""
    x: float = 100
    y: float = 100
    """Its centre when nothing moves it, pixels from 0 to 200."""
    width: float = 60
    height: float = 60
    path: str = ""
    """Statements that set x or y, one per line; empty if it stays in place."""
    scale: str = ""
    """Statements that set width or height, and also x or y if one edge stays in place."""
    turn: str = ""
    """Statements that set the angle, and also x and y if one end stays in place."""
    shown: str = ""
    """The statement that removes the colour for a part of the loop."""


class Scene(NamedTuple):
    """A program in the form, without its words."""

    background: str
    """An expression, usually a quoted name."""
    figures: tuple[Figure, ...]


# --- a scene as a program -----------------------------------------------------------------------------------------

_HEAD = """

def make_gif(path):
    frames = []
    for i in range({frames}):
        t = 2 * math.pi * i / {frames}
"""
_TAIL = """\
        frames.append(image)
    frames[0].save(path, save_all=True, append_images=frames[1:], duration={delay}, loop=0)
"""
BASE = "x, y, width, height, angle = 100, 100, 60, 60, 0"
PAINT = "paint(draw, shape, x, y, width, height, angle, color)"


def program(scene: Scene, brief: str, targets: Targets, *, functions: bool = True) -> str:
    """The program of a scene, phrase by phrase for a brief; with `functions` it includes the drawing functions."""
    body = "".join(f"        {line}\n" for line in steps(scene, brief))
    return (
        (FUNCTIONS if functions else "")
        + _HEAD.format(frames=targets.frames)
        + body
        + _TAIL.format(delay=targets.delay_ms)
    )


def steps(scene: Scene, brief: str) -> list[str]:
    """The lines inside the loop: each phrase of the brief as a comment, and below it what it decides."""
    read = outline(brief)
    lines = [*quoted(read.ground if read else ""), f"image, draw = canvas({scene.background})"]
    for figure, thing in zip(scene.figures, matched(scene, read), strict=True):
        lines += _figure_lines(figure, thing)
    return lines


def quoted(phrase: str) -> list[str]:
    """A phrase as a comment line; no line for an empty phrase."""
    shown = "".join(letter for letter in phrase if letter.isprintable() and letter != '"')
    return [f'# "{shown}"'] if shown else []


def matched(scene: Scene, read: Outline | None) -> list[Thing]:
    """The thing of the brief that each figure draws: in order if the numbers agree, else by colour and shape."""
    things = list(read.things) if read else []
    if len(things) == len(scene.figures):
        return things
    found = []
    for figure in scene.figures:
        best = max(things, key=lambda thing: _alike(figure, thing), default=_NOTHING)
        found.append(best)
        if len(things) > 1:
            things.remove(best)
    return found


_NOTHING = Thing("", "any", (), ())


def _alike(figure: Figure, thing: Thing) -> int:
    named = set(re.findall(r'"([^"]*)"', figure.color))
    return 2 * bool(named & {name for colour in thing.colours for name in names_of(colour)}) + (
        figure.shape == shape_of(thing)
    )


def _figure_lines(figure: Figure, thing: Thing) -> list[str]:
    texts: dict[str, list[str]] = {aspect: getattr(figure, aspect).splitlines() for aspect in ASPECTS}
    texts["place"] = _place(figure)
    changing = any(phrase.aspect == "color" for phrase in thing.says) and figure.color.startswith("fade(")
    texts["color"] = [f"color = {figure.color}"] if changing else []
    usual = re.search(r'"[^"]*"', figure.color) if changing else None
    # The noun always sets both, so that every program has this line; a later phrase may change the colour.
    lines = [BASE, *quoted(thing.noun), f"shape, color = {figure.shape}, {usual[0] if usual else figure.color}"]
    texts["size"] = _size(figure)
    said = {phrase.aspect for phrase in thing.says}
    if "size" not in said and any(place_of(phrase.value)[2] for phrase in thing.says if phrase.aspect == "place"):
        texts["place"] = [*texts["place"], *texts.pop("size")]  # side by side, things are smaller
    for aspect in _IN_ORDER:  # aspects that no phrase asks for
        lines += texts.get(aspect, []) if aspect not in said and texts.get(aspect) != _USUAL_PLACE else []
    for phrase in thing.says:
        own = texts.pop(phrase.aspect, [])
        lines += [*quoted(phrase.text), *own] if own else []
    return [*lines, PAINT]


_USUAL_PLACE = ["x, y = 100, 100"]


def _size(figure: Figure) -> list[str]:
    """The statement that sets a figure's size; none for the usual size."""
    if figure.width != figure.height:
        return [f"width, height = {number(figure.width)}, {number(figure.height)}"]
    return [f"width = height = {number(figure.width, 'size')}"] if figure.width != SIDES[""] else []


def _place(figure: Figure) -> list[str]:
    """The statement that sets a figure's place, without the coordinates that a motion sets."""
    moved = f"{figure.path}\n{figure.scale}\n{figure.turn}"
    free = [(n, v) for n, v in (("x", figure.x), ("y", figure.y)) if not _sets(n, moved)]
    if len(free) == 2 and figure.x == figure.y == 100:
        return _USUAL_PLACE
    shifted = [(name, value) for name, value in free if value != 100]
    if len(shifted) == 2:
        return [f"x, y = {number(figure.x, 'x')}, {number(figure.y, 'y')}"]
    return [f"{name} = {number(value, name)}" for name, value in shifted]


#: The order of the aspects that no phrase asks for.
_IN_ORDER = ("size", "place", "color", "path", "scale", "turn", "shown")


def _sets(name: str, statements: str) -> bool:
    """Whether statements assign to a name."""
    return re.search(rf"\b{name}\b[^=+*/-]*=", statements) is not None


# --- the conversation ---------------------------------------------------------------------------------------------

_HEAD_OF = re.compile(r"^def make_gif\(path\):\n(?:    .*\n)*?        t = .*\n", re.MULTILINE)
_TAIL_OF = re.compile(r"^        frames\.append\(image\)\n    frames\[0\]\.save\(.*\)\n", re.MULTILINE)


class Frame(NamedTuple):
    """The fixed text before and after the phrases of an answer."""

    beginning: str
    """An opening fence, the function and its loop. The drawing functions are left out: reading them again for every
    request would take longer than writing the whole answer."""
    end: str
    """The last lines, with the closing fence."""


def frame(system_prompt: str) -> Frame | None:
    """The frame of the examples in a prompt; None for a prompt that does not use the form."""
    head, tail = _HEAD_OF.search(system_prompt), _TAIL_OF.search(system_prompt)
    if head is None or tail is None or not uses(system_prompt):
        return None
    return Frame(f"```python\n{head[0]}", f"{tail[0]}```\n")


def whole(code: str) -> str:
    """The program, below the drawing functions if it uses them without defining them."""
    return f"{FUNCTIONS}\n\n{code}" if "paint(" in code and "def paint(" not in code else code


# --- a program as a scene -----------------------------------------------------------------------------------------

_NAMES = ("x", "y", "width", "height", "angle")
_ASPECT_OF: dict[str, Aspect] = {"x": "path", "y": "path", "width": "scale", "height": "scale"}
_ASPECT_OF |= {"angle": "turn", "color": "shown"}
_DEFINED = re.findall(r"^def .*", FUNCTIONS, re.MULTILINE)


def uses(text: str) -> bool:
    """Whether a prompt or a program defines the drawing functions, those of an earlier version included."""
    return all(line in text for line in _DEFINED)


def read(code: str) -> Scene | None:
    """The scene of a program in the form; None for any other program.

    Only the names of the drawing functions count: the program may define them in another way, or not at all.
    """
    tree = parsed(code)
    body = _loop_of(tree) if tree is not None else None
    try:
        return None if body is None else _scene(body)
    except (ValueError, RecursionError, _Foreign):
        return None


class _Foreign(Exception):
    """A statement that the form does not know."""


def _loop_of(tree: ast.Module) -> list[ast.stmt] | None:
    """The statements of the loop over frames."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == "make_gif":
            loops = [each for each in node.body if isinstance(each, ast.For)]
            return loops[0].body if len(loops) == 1 else None
    return None


class _Draft:
    """The quantities of one figure while its statements are read."""

    def __init__(self) -> None:
        self.fixed: dict[str, str] = {}
        """Quantity -> the expression of its constant."""
        self.moving: dict[str, list[str]] = {aspect: [] for aspect in ASPECTS}

    def take(self, statement: ast.Assign | ast.AugAssign) -> None:
        """Read one assignment.

        Raises:
            _Foreign: It sets something that the form does not know.
        """
        parts = _parts(statement)
        if not parts.keys() <= {*_ASPECT_OF, "shape", "color"}:
            raise _Foreign
        varying = {name for name, value in parts.items() if not _constant(name, value)}
        self.fixed.update({name: _text(value) for name, value in parts.items() if name not in varying})
        aspects = {_ASPECT_OF[name] for name in varying}
        if len(aspects) == 1 and varying == parts.keys():
            self.moving[aspects.pop()].append(_text(statement))
        else:
            for name in sorted(varying):
                self.moving[_ASPECT_OF[name]].append(f"{name} = {_text(parts[name])}")

    def figure(self) -> Figure:
        """The figure that the assignments so far describe.

        Raises:
            _Foreign: It has no known shape or no colour.
        """
        shape, color = self.fixed.pop("shape", ""), self.fixed.pop("color", "None")
        if shape not in SHAPES or color == "None":
            raise _Foreign
        moving = self.moving
        about_end = [line for line in moving["path"] if re.search(r"\bangle\b", line)]
        moving["turn"] += about_end
        moving["path"] = [line for line in moving["path"] if line not in about_end]
        texts = {aspect: "\n".join(lines) for aspect, lines in moving.items()}
        if re.search(r"\b(width|height)\b", texts["path"]):  # an edge that stays
            texts["scale"], texts["path"] = f"{texts['scale']}\n{texts['path']}".strip(), ""
        angle = self.fixed.pop("angle", "0")
        if angle != "0" and not texts["turn"]:
            texts["turn"] = f"angle = {angle}"
        numbers: dict[str, float] = {name: NAMED.get(value) or float(value) for name, value in self.fixed.items()}
        return Figure(shape, color, **numbers, **texts)  # type: ignore[arg-type]


def _constant(name: str, value: ast.expr) -> bool:
    """Whether a quantity gets a constant. A fade counts as one: it is a colour like any other."""
    if name == "shape":
        return True
    if name == "color":
        return isinstance(value, ast.Constant | ast.Tuple) or _calls(value, "fade")
    if _text(value) in NAMED:
        return True
    try:
        return isinstance(ast.literal_eval(value), int | float)
    except ValueError:
        return False


def _calls(node: ast.AST | None, name: str) -> TypeGuard[ast.Call]:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name


def _parts(statement: ast.Assign | ast.AugAssign) -> dict[str, ast.expr]:
    """Name -> value of an assignment; tuples are split.

    Raises:
        _Foreign: A target is not a name, or a tuple of targets has no tuple of as many values.
    """
    if isinstance(statement, ast.AugAssign):
        return {_named(statement.target): ast.BinOp(statement.target, statement.op, statement.value)}
    found: dict[str, ast.expr] = {}
    for target in statement.targets:
        if not isinstance(target, ast.Tuple):
            found[_named(target)] = statement.value
        elif isinstance(statement.value, ast.Tuple) and len(target.elts) == len(statement.value.elts):
            found.update(zip(map(_named, target.elts), statement.value.elts, strict=True))
        else:
            raise _Foreign
    return found


def _named(node: ast.expr) -> str:
    if not isinstance(node, ast.Name):
        raise _Foreign
    return node.id


def _text(node: ast.AST) -> str:
    """The source of a node, with double quotes, tuples without brackets, and t in place of the expression for it."""
    text = ast.unparse(node)
    if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple):
        values = ", ".join(map(ast.unparse, node.value.elts))
        text = f"{', '.join(ast.unparse(target) for target in node.targets)} = {values}"
        text = re.sub(r"^\(([\w, ]+)\) =", r"\1 =", text)
    text = re.sub(r"'([^'\"]*)'", r'"\1"', text)
    return re.sub(r"2 \* math\.pi \* i / \d+", "t", text)


def _scene(body: list[ast.stmt]) -> Scene:
    background = ""
    painted: list[list[ast.Assign | ast.AugAssign]] = []
    now: list[ast.Assign | ast.AugAssign] = []
    for statement in body:
        call = statement.value if isinstance(statement, ast.Expr) else None
        if _calls(call, "paint"):
            if len(call.args) != 8 or call.keywords:
                raise _Foreign
            for name, argument in zip(("shape", *_NAMES, "color"), call.args[1:], strict=True):
                if _text(argument) != name:
                    now.append(ast.Assign([ast.Name(name)], argument, lineno=0))
            painted.append(now)
            now = []
        elif isinstance(statement, ast.Assign | ast.AugAssign):
            ground = _ground(statement)
            background = background or ground or ""
            if ground is None:
                now.append(statement)
        elif not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "append"):
            raise _Foreign
    if not background or not painted:
        raise _Foreign
    painted[-1] += now  # too late to be seen, so it was meant for the last figure
    return Scene(background, tuple(map(_figure, painted)))


def _figure(statements: list[ast.Assign | ast.AugAssign]) -> Figure:
    draft = _Draft()
    for statement in statements:
        draft.take(statement)
    return draft.figure()


def _ground(statement: ast.Assign | ast.AugAssign) -> str | None:
    """The colour of a new picture; "" for another line that every program has; None for any other assignment."""
    value = statement.value
    if _calls(value, "canvas") and value.args:
        return _text(value.args[0])
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute):
        if value.func.attr == "new" and len(value.args) == 3:
            return _text(value.args[2])
        return "" if value.func.attr == "Draw" else None
    return "" if isinstance(statement, ast.Assign) and _text(statement.targets[0]) == "t" else None
