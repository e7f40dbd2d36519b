"""The form of programs that generalise: drawing functions, quantities, and the request phrase by phrase.

A program in the form begins with the same drawing functions. Then it goes through the request: it quotes each phrase in
a comment and writes the one assignment that the phrase decides. A model that sees programs in this form learns which
words decide which quantity, and draws requests that no example shows. The functions draw nothing by themselves.
"""

from __future__ import annotations

import ast
import re
from typing import Literal, NamedTuple, TypeGuard

from localgif.syntax import parsed
from localgif.tasks.task import Targets

#: What every program in the form begins with. Shapes are corners around the origin, one unit wide.
FUNCTIONS = """\
import math
from PIL import Image, ImageColor, ImageDraw

CIRCLE = [(math.cos(k * math.pi / 18) / 2, math.sin(k * math.pi / 18) / 2) for k in range(36)]
SQUARE = [(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)]
TRIANGLE = [(0, -0.58), (0.5, 0.29), (-0.5, 0.29)]
STAR = [((0.6, 0.24)[k % 2], k * math.pi / 5) for k in range(10)]
STAR = [(r * math.sin(a), -r * math.cos(a)) for r, a in STAR]
BAR = [(-0.5, -0.15), (0.5, -0.15), (0.5, 0.15), (-0.5, 0.15)]


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
SHAPES = ("CIRCLE", "SQUARE", "TRIANGLE", "STAR", "BAR")

Aspect = Literal["path", "scale", "turn", "shown"]
ASPECTS: tuple[Aspect, ...] = ("path", "scale", "turn", "shown")


# --- formulas -----------------------------------------------------------------------------------------------------


class Formula(NamedTuple):
    """One way in which a quantity can depend on time."""

    words: str
    """A regular expression: a phrase in which it is found makes this formula likely."""
    text: str
    """The statements; {x}, {y}, {w} and {h} stand for the figure's own numbers. Empty if nothing changes."""
    said: str = ""
    """The words for the phrasebook of a prompt; empty for a formula that it does not list."""


#: What a path may be. The amplitudes keep a figure of usual size inside a picture of 200 x 200 pixels.
_PATHS = (
    Formula(r"still|stay|rest", ""),
    Formula(r"up and down|bounc|hop|jump|ris|fall", "y = {y} + 60 * math.cos(t)", "bounces, moves up and down"),
    Formula(r"left|right|side to side|slid|swing", "x = {x} + 60 * math.cos(t)", "moves from left to right and back"),
    Formula(
        r"circle|round|orbit|circling",
        "x, y = {x} + 60 * math.cos(t), {y} + 60 * math.sin(t)",
        "goes round, in a circle",
    ),
    Formula(
        r"top left|bottom right|diagonal|corner",
        "x, y = {x} - 60 * math.cos(t), {y} - 60 * math.cos(t)",
        "moves from corner to corner",
    ),
    Formula(r"top right|bottom left", "x, y = {x} + 60 * math.cos(t), {y} - 60 * math.cos(t)"),
    Formula(r"bounc|hop|jump", "y = {y} + 30 - 90 * abs(math.sin(t / 2))"),
    Formula(r"across|from left|into|enter", "x = -40 + 280 * t / (2 * math.pi)", "flies across and comes in again"),
    Formula(r"from right|right to left", "x = 240 - 280 * t / (2 * math.pi)"),
)
_SCALES = (
    Formula(r"", ""),
    Formula(
        r"grow|shrink|puls|breath|swell|beat", "width = height = {w} + 20 * math.cos(t)", "grows and shrinks, pulses"
    ),
    Formula(
        r"fill|grow|shrink|quick",
        "width = 30 + 26 * min(t, 5 * (2 * math.pi - t))\nx = 30 + width / 2",
        "grows slowly from the left and shrinks back quickly",
    ),
    Formula(r"fill|rise", "height = 30 + 26 * min(t, 5 * (2 * math.pi - t))\ny = 170 - height / 2"),
    Formula(r"quick|grow", "width = height = 30 + 18 * min(t, 5 * (2 * math.pi - t))"),
    Formula(r"wide|stretch", "width = {w} + 20 * math.cos(t)"),
    Formula(r"tall|stretch", "height = {h} + 20 * math.cos(t)"),
)
_TURNS = (
    Formula(r"", ""),
    Formula(r"spin|turn|rotat|twirl|whirl|revolv", "angle = t", "spins, turns, rotates"),
    Formula(r"swing|wobbl|rock", "angle = 0.5 * math.sin(t)", "swings, rocks"),
)
_SHOWN = (
    Formula(r"", ""),
    Formula(r"blink|flash|flicker", "color = color if math.cos(t) > 0 else None", "blinks, flashes"),
    Formula(r"twice", "color = color if math.cos(2 * t) > 0 else None"),
)
#: Aspect -> what its quantities may be. What is not here cannot be found by the search over formulas.
FORMULAS: dict[Aspect, tuple[Formula, ...]] = {"path": _PATHS, "scale": _SCALES, "turn": _TURNS, "shown": _SHOWN}


def phrasebook() -> str:
    """What phrases decide, one line per formula, for a prompt."""
    usual = {"x": 100, "y": 100, "w": 60, "h": 60}
    lines = [
        f"- {formula.said}: {'; '.join(formula.text.format(**usual).splitlines())}"
        for formulas in FORMULAS.values()
        for formula in formulas
        if formula.said
    ]
    return "\n".join([*lines, "- changes or fades from one color to another: color = fade([...], t)"])


class Figure(NamedTuple):
    """One thing that a program paints."""

    shape: str
    """A name of SHAPES."""
    color: str
    """An expression: a quoted name, or a call of fade()."""
    x: float = 100
    y: float = 100
    """Where it stands when nothing moves it, pixels of 200."""
    width: float = 60
    height: float = 60
    path: str = ""
    """Statements that set x or y, one per line; empty if it stays."""
    scale: str = ""
    """Statements that set width or height, and x or y where an edge stays."""
    turn: str = ""
    """The statement that sets the angle."""
    shown: str = ""
    """The statement that takes the colour away for a part of the loop."""


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
    """The program of a scene, written phrase by phrase for a brief; whole with the drawing functions."""
    body = "".join(f"        {line}\n" for line in steps(scene, brief))
    head, tail = _HEAD.format(frames=targets.frames), _TAIL.format(delay=targets.delay_ms)
    return (FUNCTIONS if functions else "") + head + body + tail


def steps(scene: Scene, brief: str) -> list[str]:
    """The lines inside the loop: each phrase of the brief as a comment, and below it what it decides."""
    spoken = phrases(brief)
    ground = next((p for p in spoken if "background" in p.casefold()), "")
    lines = [*_quoted(ground), f"image, draw = canvas({scene.background})"]
    for figure, own in zip(scene.figures, shares(scene, brief), strict=True):
        lines += _figure_lines(figure, own)
    return lines


def _quoted(phrase: str) -> list[str]:
    shown = "".join(letter for letter in phrase if letter.isprintable())
    return [f'# "{shown}"'] if shown else []


def _number(value: float) -> str:
    return f"{value:g}"


def _figure_lines(figure: Figure, spoken: list[str]) -> list[str]:
    noun = spoken[0] if spoken else ""
    texts: dict[str, list[str]] = {aspect: getattr(figure, aspect).splitlines() for aspect in ASPECTS}
    fades = figure.color.startswith("fade(")
    texts["color"] = [f"color = {figure.color}"] if fades else []
    owners = {aspect: _owner(aspect, spoken) for aspect, text in texts.items() if text}
    texts["place"] = _place(figure)
    if texts["place"]:
        unowned = [p for p in spoken[1:] if p not in owners.values()]
        owner = _owner("place", [noun, *unowned])
        if owner != noun or figure.x != 100 or figure.y != 100:
            owners["place"] = owner
    # The noun phrase always sets both, so that every program has this line; a later phrase may change the colour.
    usual = re.search(r'"[^"]*"', figure.color) if fades else None
    lines = [BASE, *_quoted(noun), f"shape, color = {figure.shape}, {usual[0] if usual else figure.color}"]
    if figure.width == figure.height != 60:
        lines.append(f"width = height = {_number(figure.width)}")
    elif figure.width != figure.height:
        lines.append(f"width, height = {_number(figure.width)}, {_number(figure.height)}")
    for phrase in spoken or [""]:
        own = [line for aspect in _IN_ORDER if owners.get(aspect) == phrase for line in texts[aspect]]
        if own:
            lines += [*([] if phrase == noun else _quoted(phrase)), *own]
    return [*lines, PAINT]


def _place(figure: Figure) -> list[str]:
    """The statement that says where a figure stands, as far as nothing moves it."""
    moved = f"{figure.path}\n{figure.scale}"
    if not moved.strip() or not (_sets("x", moved) or _sets("y", moved)):
        return [f"x, y = {_number(figure.x)}, {_number(figure.y)}"]
    free = [(n, v) for n, v in (("x", figure.x), ("y", figure.y)) if v != 100 and not _sets(n, moved)]
    return [f"{name} = {_number(value)}" for name, value in free]


#: What is set first, where one phrase decides several aspects.
_IN_ORDER = ("place", "color", "path", "scale", "turn", "shown")


def _sets(name: str, statements: str) -> bool:
    """Whether statements assign to a name."""
    return re.search(rf"\b{name}\b[^=+*/-]*=", statements) is not None


#: Beginnings of words -> the aspect that a phrase with them decides. The first that matches counts.
_STEMS: dict[str, str] = {
    "color": r"colou?r|fad|chang|blend|shift",
    "shown": r"blink|flash|flicker|wink|appear|disappear|vanish|on and off",
    "turn": r"spin|spun|turn|rotat|twirl|whirl|revolv|twist",
    "scale": r"grow|shrink|puls|breath|swell|expand|contract|beat|fill|stretch|inflat|bigger|smaller|larger",
    "path": r"bounc|mov|slid|travel|go(es|ing)?\b|fly|drift|swing|jump|hop|orbit|circl(es|ing)|cross|roll|glid|run|ris|"
    r"fall|swim|float|left to right|right to left|up and down|round",
    "place": r"middle|centre|center|top|bottom|above|below|under|beside|side|left|right|corner|stay|still|rest",
}
_FALLS_BACK = {"path": ("place",)}


def _owner(aspect: str, spoken: list[str]) -> str:
    """The phrase that decides an aspect of a figure: the one that speaks of it, else the noun phrase."""
    for wanted in (aspect, *_FALLS_BACK.get(aspect, ())):
        for phrase in spoken[1:]:
            if re.search(rf"\b(?:{_STEMS[wanted]})", phrase.casefold()):
                return phrase
    return spoken[0] if spoken else ""


def shares(scene: Scene, brief: str) -> list[list[str]]:
    """The phrases of each figure: its noun phrase, and what follows until the next figure's."""
    spoken = [p for p in phrases(brief) if "background" not in p.casefold()]
    starts: list[int] = []
    for figure in scene.figures:
        names = re.findall(r'"([^"]+)"', figure.color)
        hits = [k for k, p in enumerate(spoken) if is_noun(p) and any(n in _words(p) for n in names)]
        hits = hits or [k for k, p in enumerate(spoken) if is_noun(p)]
        twin = next((k for other, k in zip(scene.figures, starts, strict=False) if other.color == figure.color), None)
        new = [k for k in hits if k not in starts]
        starts.append((new or hits or [0])[0] if twin is None else twin)
    found = []
    for start in starts:
        end = min((other for other in starts if other > start), default=len(spoken))
        found.append(spoken[start:end])
    return found


# --- the conversation ---------------------------------------------------------------------------------------------

_HEAD_OF = re.compile(r"^def make_gif\(path\):\n(?:    .*\n)*?        t = .*\n", re.MULTILINE)


def in_order(brief: str) -> list[str]:
    """The phrases of a brief in the order of a program: the background first."""
    spoken = phrases(brief)
    return sorted(spoken, key=lambda phrase: "background" not in phrase.casefold())


def beginning(system_prompt: str, brief: str) -> str:
    """The answer's beginning: drawing functions, loop and first phrase, as the prompt's examples have them.

    Empty if the prompt is not in the form. A model that continues it writes 400 tokens less.
    """
    head = _HEAD_OF.search(system_prompt)
    if head is None or not uses(system_prompt):
        return ""
    return f'```python\n{FUNCTIONS}\n\n{head[0]}        # "{in_order(brief)[0]}"\n'


def mended(code: str, brief: str) -> str:
    """A program in the form, put right where a rule can do it; any other program as it is.

    A small model goes on with the phrases of an example that began like its request: phrases that the brief does not
    hold are taken out. And it sets a quantity after the call that paints: the last call moves to the end.
    """
    spoken = {"".join(_words(phrase)) for phrase in phrases(brief)}
    lines, keep = [], True
    for line in code.splitlines():
        quoted = re.match(r'^ +# "(.*)"$', line)
        if quoted:
            said = "".join(_words(quoted[1]))
            keep = any(said in phrase or phrase in said for phrase in spoken)
        elif not re.match(r"^ +(?:x|y|width|height|angle|color)\b[^=]*=(?!=)", line):
            keep = True
        if keep:
            lines.append(line)
    late = [k for k, line in enumerate(lines) if line.strip().startswith("paint(")][-1:]
    end = next((k for k, line in enumerate(lines) if line.strip().startswith("frames.append(")), 0)
    if late and end > late[0] + 1:
        lines.insert(end - 1, lines.pop(late[0]))
    text = "\n".join(lines) + "\n"
    return text if text != code and uses(code) and read(text) is not None else code


# --- phrases ------------------------------------------------------------------------------------------------------

_ARTICLES = {"a", "an", "the", "one", "two", "three", "four", "five", "six"}
_JOINS = {"while", "that", "which", "who", "as", "whose"}
_PLACES = {"on", "in", "at", "above", "below", "under", "beneath", "over", "beside", "against", "near", "of", "across"}
_VERBS = "|".join(_STEMS[aspect] for aspect in ("shown", "turn", "scale", "path"))
_VERB = re.compile(rf"(?:{_VERBS}|fad|chang|stay)\w*$|\b\w{{3,}}ing$")


def _words(phrase: str) -> list[str]:
    return re.findall(r"[\w'-]+", phrase.casefold())


def is_noun(phrase: str) -> bool:
    """Whether a phrase names a thing: an article or a number near its beginning, and neither a verb nor a side."""
    words = _words(phrase)
    start = next((k for k, word in enumerate(words[:3]) if word in _ARTICLES), None)
    return start is not None and not any(_VERB.match(w) or w in _SIDES for w in words[start + 1 : start + 5])


def phrases(brief: str) -> list[str]:
    """The brief in its phrases, in order: things, what they do, where they are, the background."""
    found: list[list[str]] = [[]]
    words = brief.split()
    for k, word in enumerate(words):
        if found[-1] and _begins(words, k, found[-1]):
            found.append([])
        found[-1].append(word)
        if word.endswith((",", ";", ".")):
            found.append([])
    return [" ".join(each).rstrip(",;.") for each in found if each]


def _begins(words: list[str], k: int, now: list[str]) -> bool:
    """Whether a new phrase begins at word k; `now` is the phrase so far."""
    word, rest = words[k].casefold(), [w.casefold().rstrip(",;.") for w in words[k + 1 :]]
    bare = all(w.casefold() in _JOINS | _PLACES | {"and"} for w in now)
    if bare:
        return False
    if word in _JOINS:
        return True
    if word == "and":
        return bool(rest) and rest[0] in _ARTICLES
    if word in _PLACES:
        if word == "of":
            return "background" in rest[:4]
        after = rest[1:2] if rest and rest[0] in _ARTICLES else []
        return after not in (["circle"], ["line"], ["loop"], ["square"]) and not (
            word == "in" and rest[:1] == ["turns"]
        )
    if word in _ARTICLES:
        following = rest[: next((n for n, w in enumerate(rest) if w in _PLACES or _VERB.match(w)), len(rest))]
        return len(following) >= 2 and now[-1].casefold() not in {"from", "to", "the"} and following[0] not in _SIDES
    if now[0].casefold() in _JOINS and not any(w.casefold() in _ARTICLES for w in now):
        return False
    return _VERB.match(word) is not None and not any(_VERB.match(w.casefold()) for w in now)


_SIDES = {"top", "bottom", "left", "right", "middle", "centre", "center", "other"}


# --- a program as a scene -----------------------------------------------------------------------------------------

_NAMES = ("x", "y", "width", "height", "angle")
_ASPECT_OF: dict[str, Aspect] = {"x": "path", "y": "path", "width": "scale", "height": "scale"}
_ASPECT_OF |= {"angle": "turn", "color": "shown"}
_CAPTIONS = re.compile(r"^ *# .*\n", re.MULTILINE)


def uses(text: str) -> bool:
    """Whether a prompt or a program holds the drawing functions."""
    return _bare(FUNCTIONS) in _bare(text)


def _bare(text: str) -> str:
    return "".join(_CAPTIONS.sub("", text).split())


def read(code: str) -> Scene | None:
    """The scene of a program in the form; None for any other program.

    The drawing functions themselves may differ or be missing: their names count, and ours take their place.
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
        """Takes one assignment.

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
        """The figure that is painted now.

        Raises:
            _Foreign: It has no known shape or no colour.
        """
        shape, color = self.fixed.pop("shape", ""), self.fixed.pop("color", "None")
        if shape not in SHAPES or color == "None":
            raise _Foreign
        texts = {aspect: "\n".join(lines) for aspect, lines in self.moving.items()}
        if re.search(r"\b(width|height)\b", texts["path"]):  # an edge that stays
            texts["scale"], texts["path"] = f"{texts['scale']}\n{texts['path']}".strip(), ""
        angle = self.fixed.pop("angle", "0")
        if angle != "0" and not texts["turn"]:
            texts["turn"] = f"angle = {angle}"
        return Figure(shape, color, **{name: float(value) for name, value in self.fixed.items()}, **texts)  # type: ignore[arg-type]


def _constant(name: str, value: ast.expr) -> bool:
    """Whether a quantity gets a constant. A fade counts as one: it is a colour like any other."""
    if name == "shape":
        return True
    if name == "color":
        return isinstance(value, ast.Constant | ast.Tuple) or _calls(value, "fade")
    try:
        return isinstance(ast.literal_eval(value), int | float)
    except (ValueError, TypeError):  # TypeError: a list as a key
        return False


def _calls(node: ast.AST | None, name: str) -> TypeGuard[ast.Call]:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name


def _parts(statement: ast.Assign | ast.AugAssign) -> dict[str, ast.expr]:
    """Name -> value of an assignment, with pairs taken apart.

    Raises:
        _Foreign: A target is no name, or a pair has no pair of values.
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
    """The source of a node, with double quotes, pairs without brackets, and t for what the loop calls t."""
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
    painted[-1] += now  # set after the last call that paints: too late to be seen, so it was meant for it
    return Scene(background, tuple(map(_figure, painted)))


def _figure(statements: list[ast.Assign | ast.AugAssign]) -> Figure:
    draft = _Draft()
    for statement in statements:
        draft.take(statement)
    return draft.figure()


def _ground(statement: ast.Assign | ast.AugAssign) -> str | None:
    """The colour of a new picture, "" for another line that every program has, None for any other assignment."""
    value = statement.value
    if _calls(value, "canvas") and value.args:
        return _text(value.args[0])
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute):
        if value.func.attr == "new" and len(value.args) == 3:
            return _text(value.args[2])
        return "" if value.func.attr == "Draw" else None
    return "" if isinstance(statement, ast.Assign) and _text(statement.targets[0]) == "t" else None
