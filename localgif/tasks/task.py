"""A task: one brief, its targets, and what the GIF must show; read from TOML, and told in sentences."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, Field, ValidationError, model_validator

from localgif.errors import ConfigError, nearest
from localgif.files import parse_toml, read_input_text
from localgif.records import Record, ScorePart

Colour = Literal[
    "white", "black", "grey", "red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink", "brown"
]
#: The colours that a task can name, in the order of their codes (gif/looks.py).
COLOURS: tuple[Colour, ...] = get_args(Colour)

Shape = Literal["any", "round", "square", "triangle", "star", "bar"]
MotionPath = Literal[
    "any", "still", "up-down", "left-right", "diagonal", "diagonal-down", "diagonal-up", "orbit", "across"
]
Size = Literal["any", "constant", "pulse", "grow"]
Turn = Literal["any", "spin"]
Shown = Literal["always", "any", "blink", "fade"]
Change = Literal["fade", "switch"]
Place = Literal[
    "any", "middle", "top", "bottom", "left", "right", "top-left", "top-right", "bottom-left", "bottom-right"
]
Side = Literal["any", "left", "right", "top", "bottom"]
#: Place of a subject -> its phrase.
PLACE_PHRASES: dict[str, str] = {
    "middle": "in the middle",
    "top": "at the top",
    "bottom": "at the bottom",
    "left": "on the left",
    "right": "on the right",
    "top-left": "in the top left corner",
    "top-right": "in the top right corner",
    "bottom-left": "in the bottom left corner",
    "bottom-right": "in the bottom right corner",
}

#: Largest task file, bytes.
_MAX_BYTES = 64 * 1024

#: With fewer frames nobody sees a motion, and gif/tracks.py counts it as a jump.
_LEAST_FRAMES = 4
#: A frame of a small picture takes at least this many bytes.
_FRAME_BYTES = 60
#: Words of briefs in which something holds still for a while.
_WAITING = (" blink", " flash", " pause", " rests ", " waits ", " stops ", " holds ")


class Targets(Record):
    """The numbers that a GIF of the task should reach."""

    frames: int = Field(24, ge=2, le=200)
    loop_ms: int = Field(1000, ge=100, le=60_000)
    """Playback time of one loop, milliseconds."""
    max_bytes: int = Field(100 * 1024, ge=1024)
    """The file must be smaller than this."""
    max_side: int = Field(512, ge=16, le=1024)
    """Largest width and height, pixels."""

    @property
    def delay_ms(self) -> int:
        """Delay of one frame, milliseconds: the nearest to `loop_ms` in the 10 ms steps of GIF, at least 20."""
        return max(20, 10 * round(self.loop_ms / self.frames / 10))


class Subject(Record):
    """One kind of thing that the GIF must show; "any" leaves a property open."""

    colour: Colour | None = None
    """Its colour; None if it changes (`colours`)."""
    colours: tuple[Colour, ...] = ()
    """The colours that it takes in turn, at least two."""
    count: int = Field(1, ge=1, le=8)
    """How many the GIF shows at once."""
    shape: Shape = "any"
    path: MotionPath = "any"
    size: Size = "any"
    turn: Turn = "any"
    shown: Shown = "always"
    inside: bool = True
    """Whether every frame must show all of it inside the picture."""
    change: Change = "fade"
    """How it takes its `colours`: gradually, or from one frame to the next."""
    place: Place = "any"
    """Where the middle of its path is."""
    around: Colour | None = None
    """Colour of the subject that it goes round."""
    below: Colour | None = None
    """Colour of the subject that it stays below."""
    above: Colour | None = None
    """Colour of the subject that it stays above: higher, and not beside it."""
    anchor: Side = "any"
    """Its edge that stays in place while its size changes."""
    size_range: tuple[float, float] = (0.15, 0.7)
    """Smallest and largest diameter that get full marks, shares of the picture's shorter side."""
    reach: float = Field(0.33, gt=0, le=1)
    """The share of its free way that a path must cover for full marks, 0 to 1."""
    points: int | None = Field(None, ge=4, le=6)
    """How many points a star has; None leaves it open."""
    side_by_side: bool = False
    """Whether its things stand side by side in one row."""

    @model_validator(mode="after")
    def _one_or_many_colours(self) -> Subject:
        if self.colour is None and len(set(self.colours)) < 2:
            raise ValueError('needs colour = "..." or colours with at least two different ones')
        if self.colour is not None and self.colours:
            raise ValueError("has both colour and colours; leave one out")
        if self.turn == "spin" and self.shape == "round":
            raise ValueError('has shape = "round" and turn = "spin": nobody can see a round thing turn')
        if self.path == "across" and self.inside:
            raise ValueError('path = "across" leaves the picture; add inside = false')
        return self

    @model_validator(mode="after")
    def _consistent(self) -> Subject:
        low, high = self.size_range
        if not 0 < low < high <= 1:
            raise ValueError(f"has size_range = [{low:g}, {high:g}]; write [smallest, largest], both from 0 to 1")
        if self.around is not None and self.path != "orbit":
            raise ValueError('has around, but no path = "orbit"')
        if self.anchor != "any" and self.size not in ("pulse", "grow"):
            raise ValueError('has anchor, but no size = "grow" or "pulse"')
        if self.points is not None and self.shape != "star":
            raise ValueError('has points, but no shape = "star"')
        if self.side_by_side and self.count < 2:
            raise ValueError("has side_by_side, but no count of at least 2")
        if self.change == "switch" and not self.colours:
            raise ValueError('has change = "switch", but no colours')
        return self

    @property
    def hues(self) -> tuple[Colour, ...]:
        """Its colour, or all that it takes in turn."""
        return (self.colour,) if self.colour is not None else self.colours

    @property
    def name(self) -> str:
        """Its name in a sentence: "red thing", "3 blue things"."""
        hue = self.colour or "colour-changing"
        return f"{hue} thing" if self.count == 1 else f"{self.count} {hue} things"

    @property
    def jumps(self) -> bool:
        """Whether it must change from one frame to the next: it blinks, or switches its colour."""
        return self.shown == "blink" or (bool(self.colours) and self.change == "switch")

    @property
    def moves(self) -> bool | None:
        """Whether it must change gradually; None if the task leaves that open."""
        changes = (
            self.colours and not self.jumps,
            self.turn == "spin",
            self.shown == "fade",
            self.size in ("pulse", "grow"),
        )
        if any(changes) or self.path not in ("any", "still"):
            return True
        return None if self.path == "any" or self.size == "any" else False


class Task(Record):
    """One GIF brief with its targets and what the GIF must show."""

    name: str
    brief: str = Field(min_length=3, max_length=400)
    family: str = "own"
    """Tasks of one family ask for the same kind of motion."""
    targets: Targets = Targets()
    background: Colour | None = None
    """Colour of the background; None leaves it open."""
    subjects: tuple[Subject, ...] = Field((), max_length=6)
    """What the GIF must show, one entry per colour."""
    still: bool = False
    """Whether the picture holds still for a while on purpose."""

    @model_validator(mode="after")
    def _tellable_apart(self) -> Task:
        taken: list[str] = [] if self.background is None else [self.background]
        for subject in self.subjects:
            for hue in subject.hues:
                if hue in taken:
                    raise ValueError(f'two things are "{hue}": the measurement tells them apart by colour')
            taken += subject.hues
        for subject in self.subjects:
            for key, other in (("around", subject.around), ("below", subject.below), ("above", subject.above)):
                if other is not None and not any(other in one.hues for one in self.subjects if one is not subject):
                    raise ValueError(f'has {key} = "{other}", but no other subject has that colour')
        return self

    @property
    def holds(self) -> bool:
        """Whether the picture holds still on purpose. Then time counts, not stored frames, because GIF writers merge
        equal neighbours."""
        jumps = any(subject.jumps for subject in self.subjects)
        return self.still or (jumps and not any(subject.moves for subject in self.subjects))

    def doubts(self) -> tuple[str, ...]:
        """Reasons why no GIF can meet this brief, one sentence each; empty if none is known."""
        found = []
        t = self.targets
        if abs(t.delay_ms * t.frames - t.loop_ms) > 0.05 * t.loop_ms:
            found.append(
                f"{t.frames} frames of {t.delay_ms} ms (GIF delays are multiples of 10 ms, at least 20) play "
                f"{t.delay_ms * t.frames:,} ms, not {t.loop_ms:,} ms; change targets.frames or targets.loop_ms"
            )
        moving = [subject for subject in self.subjects if subject.moves]
        if moving and t.frames < _LEAST_FRAMES:
            found.append(
                f"targets.frames = {t.frames} is too few to see the {moving[0].name} move; use at least {_LEAST_FRAMES}"
            )
        changes = [subject.jumps or subject.moves in (True, None) for subject in self.subjects]
        if changes and not any(changes):
            found.append("nothing in it moves or changes, so its GIF is one picture; give a subject a path or a size")
        if t.max_bytes < _FRAME_BYTES * t.frames:
            found.append(
                f"targets.max_bytes = {t.max_bytes:,} is too small for {t.frames} frames of about {_FRAME_BYTES} bytes"
            )
        waits = any(word in f" {self.brief.lower()}" for word in _WAITING)
        if waits and not self.holds and not any(subject.jumps for subject in self.subjects):
            found.append(
                "its brief lets something wait or blink, but GIF writers merge equal neighbouring frames; add "
                'still = true, or shown = "blink" to a subject'
            )
        return tuple(found)

    @property
    def objective(self) -> str:
        """The aim that the reflector gets."""
        t = self.targets
        return (
            f"The component is the system prompt of a small model that writes Python code. Improve it so that the "
            f"program which the model writes draws this animation: {self.brief}. The saved GIF must have exactly "
            f"{t.frames} frames; the last frame must lead back to the first so that it loops without a jump; one loop "
            f"must play in about {t.loop_ms / 1000:g} s; the file must stay under {t.max_bytes // 1024} KB. The "
            "program may use only the Python standard library and Pillow."
        )


def task_names() -> tuple[str, ...]:
    """Names of the shipped tasks."""
    folder = resources.files(__package__)
    return tuple(sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml")))


def families() -> dict[str, tuple[str, ...]]:
    """Family -> names of its shipped tasks."""
    found: dict[str, tuple[str, ...]] = {}
    for name in task_names():
        family = load_task(name).family
        found[family] = (*found.get(family, ()), name)
    return found


def task_error(message: str, remedy: str) -> ConfigError:
    """An error in a task, or in the choice of tasks."""
    return ConfigError(message, remedy, code="E-TASK")


def brief_error(message: str, remedy: str) -> ConfigError:
    """An error in a sentence that should become a task."""
    return ConfigError(message, remedy, code="E-BRIEF")


def load_task(name: str) -> Task:
    """Load a shipped task by its name, or a TOML file by its path (with a slash in it, or ending in .toml).

    Raises:
        ConfigError: It does not exist, or the file is invalid; the message names file and key.
    """
    if "/" in name or name.endswith(".toml"):
        return parse_task(read_input_text(Path(name), _MAX_BYTES, "a task file", "E-TASK"), Path(name).stem, name)
    if name not in task_names():
        remedy = f"{nearest(name, task_names())}; or give a file, ./NAME.toml, or a sentence that says what to draw"
        raise task_error(f'there is no task "{name}"', remedy)
    text = resources.files(__package__).joinpath(f"{name}.toml").read_text(encoding="utf-8")
    return parse_task(text, name, f"{name}.toml")


def parse_task(text: str, name: str, place: str) -> Task:
    """The task that a TOML text describes.

    Args:
        text: The TOML.
        name: The task's name.
        place: The file, for error messages.

    Raises:
        ConfigError: Invalid TOML, an unknown key or word, a wrong type, a contradiction.
    """
    data = parse_toml(text, place, "E-TASK")
    if "name" in data:
        raise task_error(f"{place}: unknown key name", "a task has the name of its file; leave the key out")
    try:
        return Task.model_validate({**data, "name": name})
    except ValidationError as error:
        raise task_error(*_explain(place, error)) from None


def _explain(place: str, error: ValidationError) -> tuple[str, str]:
    """Message and remedy of the first problem, with the key's full name and the nearest known one."""
    problem = error.errors()[0]
    location = problem["loc"]
    key = _key(location)
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    table = _table(location)
    if problem["type"] == "extra_forbidden":
        return f"{place}: unknown key {key}{more}", nearest(str(location[-1]), set(table.model_fields) - {"name"})
    if problem["type"] == "missing":
        return f"{place}: {key} is missing{more}", f"add it; docs/tasks.md has an example of every key ({key})"
    if problem["type"] == "value_error":  # from a validator above, whose text says what to do
        return f"{place}: {key or 'the task'} {problem['msg'].removeprefix('Value error, ')}{more}", "see docs/tasks.md"
    expected: Any = problem.get("ctx", {}).get("expected", "")
    remedy = nearest(str(problem["input"]), _words(expected)) if expected else "correct the value; see docs/tasks.md"
    return f"{place}: {key} = {problem['input']!r}: {problem['msg']}{more}", remedy


def _key(location: tuple[str | int, ...]) -> str:
    """A key as people write it: subjects[2].colour, counted from 1."""
    text = ""
    for part in location:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _table(location: tuple[str | int, ...]) -> type[BaseModel]:
    if len(location) > 1 and location[0] == "subjects":
        return Subject
    return Targets if len(location) > 1 and location[0] == "targets" else Task


def _words(expected: str) -> list[str]:
    """The words that pydantic lists as 'a', 'b' or 'c'."""
    return expected.split("'")[1::2]


# --- as people read it ------------------------------------------------------------------------------------------------

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight")
#: Value of a property -> what one thing does, and what several do.
_PATHS = {
    "still": ("stays where it is", "stay where they are"),
    "up-down": ("moves up and down", "move up and down"),
    "left-right": ("moves left and right", "move left and right"),
    "diagonal": ("moves along a diagonal", "move along a diagonal"),
    "diagonal-down": (
        "moves between the top left and the bottom right",
        "move between the top left and the bottom right",
    ),
    "diagonal-up": (
        "moves between the bottom left and the top right",
        "move between the bottom left and the top right",
    ),
    "orbit": ("goes round in a circle", "go round in a circle"),
    "across": ("crosses the picture", "cross the picture"),
}
_SIZES = {
    "constant": ("keeps its size", "keep their size"),
    "pulse": ("grows and shrinks", "grow and shrink"),
    "grow": ("grows", "grow"),
}

_USUAL = Subject(colour="red")


def sentence_of(task: Task) -> str:
    """Everything that a task checks about the picture: "black background; one green triangle; it stays where it is,
    keeps its size, and spins"; "" if it checks nothing about the picture."""
    parts = [f"{task.background} background"] if task.background is not None else []
    for subject in task.subjects:
        many = subject.count > 1
        place = f" {PLACE_PHRASES[subject.place]}" if subject.place != "any" else ""
        parts.append(f"{_NUMBERS[subject.count]} {_noun(subject)}{place}")
        if does := [*_changes(subject), *_rest(subject)]:
            # What stays the same comes first: "it stays where it is, keeps its size, and spins".
            does.sort(key=lambda text: text not in (_PATHS["still"][many], _SIZES["constant"][many]))
            parts.append(f"{'they' if many else 'it'} {_listed(does)}")
    if task.still:
        parts.append("the picture may hold still for a while")
    return "; ".join(parts)


def phrase_of(task: Task) -> str:
    """What a task asks for in a few words: "a green triangle that spins on black"; "" if it asks for nothing."""
    things = []
    for subject in task.subjects:
        noun = _noun(subject)
        first = _NUMBERS[subject.count] if subject.count > 1 else "an" if noun[0] in "aeiou" else "a"
        does = list(_changes(subject)) or [_PATHS["still"][subject.count > 1]] * (subject.path == "still")
        things.append(f"{first} {noun}" + (f" that {_listed(does)}" if does else ""))
    if not things:
        return f"a {task.background} background" if task.background is not None else ""
    return _listed(things) + (f" on {task.background}" if task.background is not None else "")


def missed(task: Task, part: ScorePart) -> str:
    """Say what is wrong with a picture, from a part of its score that fell short: "it does not spin"."""
    if part.name == "loop":
        return "it does not close"
    verb = _verb(task.subjects[0], part.name) if len(task.subjects) == 1 else ""
    if not verb:
        return part.explanation
    does = "they do" if task.subjects[0].count > 1 else "it does"
    return f"{does} not {verb}" + (" as asked" if part.value >= 0.5 else "")


def _verb(subject: Subject, part: str) -> str:
    """What a part of the score asks of a thing, as a verb; "" if no verb says it."""
    if part == "path" and subject.path != "any":
        verb = _PATHS[subject.path][1]
    elif part == "scale" and subject.size != "any":
        verb = _SIZES[subject.size][1]
    elif part == "turn" and subject.turn == "spin":
        verb = "spin"
    elif part == "blink" and subject.shown == "blink":
        verb = "blink"
    elif part == "fade" and subject.shown == "fade":
        verb = "fade out and in"
    elif part == "cycle" and subject.colours:
        how = "switch" if subject.change == "switch" else "change their colour"
        verb = f"{how} between {_listed(subject.colours)}"
    elif part == "shape" and subject.shape != "any":
        verb = "look round" if subject.shape == "round" else f"look like a {subject.shape}"
    else:
        return ""
    return verb if subject.count > 1 else verb.replace("they are", "it is").replace("their", "its")


def technique_of(targets: Targets) -> str:
    """The numbers that a GIF must reach: "24 frames, 1 s, closes, under 100 KB"."""
    return f"{targets.frames} frames, {targets.loop_ms / 1000:g} s, closes, under {targets.max_bytes / 1024:.4g} KB"


def toml_of(task: Task) -> str:
    """The task as a TOML file that parse_task reads back; default values are left out."""
    data = task.model_dump(mode="json", exclude_defaults=True, exclude={"name"})
    targets, subjects = data.pop("targets", {}), data.pop("subjects", ())
    blocks = [_toml_table(data), *([f"[targets]\n{_toml_table(targets)}"] if targets else [])]
    return "\n".join([*blocks, *(f"[[subjects]]\n{_toml_table(subject)}" for subject in subjects)])


def _toml_table(values: dict[str, Any]) -> str:
    width = max(map(len, values), default=0)
    # JSON's strings, numbers, booleans and lists are TOML's too, except that TOML wants DEL escaped.
    lines = (f"{key:<{width}} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in values.items())
    return "".join(lines).replace("\x7f", "\\u007f")


def _noun(subject: Subject) -> str:
    """The thing without its number: "green triangle", "round red things"."""
    named = subject.shape not in ("any", "round")
    points = f"{_NUMBERS[subject.points]}-pointed" if subject.points is not None else ""
    words = [
        points,
        "round" if subject.shape == "round" else "",
        subject.colour or "",
        subject.shape if named else "thing",
    ]
    return " ".join(filter(None, words)) + ("s" if subject.count > 1 else "")


def _changes(subject: Subject) -> Iterator[str]:
    """What changes in it, one item per property."""
    many = subject.count > 1
    if subject.colours:
        how = ("switches", "switch") if subject.change == "switch" else ("changes its colour", "change their colour")
        yield f"{how[many]} between {_listed(subject.colours)}"
    if subject.path not in ("any", "still"):
        centre = f" round the {subject.around} thing" if subject.around is not None else ""
        far = " from edge to edge" if subject.reach > _USUAL.reach else ""
        yield f"{'go' if many else 'goes'}{centre}" if centre else _PATHS[subject.path][many] + far
    if subject.size in ("pulse", "grow"):
        anchor = f" from {'the ' + subject.anchor}" if subject.anchor != "any" else ""
        yield _SIZES[subject.size][many] + anchor
    if subject.turn == "spin":
        yield "spin" if many else "spins"
    if subject.shown == "blink":
        yield "blink" if many else "blinks"
    if subject.shown == "fade":
        yield "fade out and in" if many else "fades out and in"


def _rest(subject: Subject) -> Iterator[str]:
    """What stays the same, and where it is."""
    many = subject.count > 1
    if subject.path == "still":
        yield _PATHS["still"][many]
    for key, word in (("below", "below"), ("above", "over")):
        if getattr(subject, key) is not None:
            yield f"{'stay' if many else 'stays'} {word} the {getattr(subject, key)} thing"
    if subject.side_by_side:
        yield "stand side by side"
    if subject.size == "constant":
        yield _SIZES["constant"][many]
    if subject.size_range != _USUAL.size_range:
        low, high = (f"{100 * size:.0f} %" for size in subject.size_range)
        yield f"{'are' if many else 'is'} {low} to {high} of the picture's shorter side in size"
    if subject.shown == "any":
        yield "may be out of sight at times"
    if not subject.inside and subject.path != "across":
        yield "may touch or leave the edge"


def _listed(parts: Iterable[str]) -> str:
    """ "a", "a and b", or "a, b, and c"."""
    items = list(parts)
    if len(items) < 3:
        return " and ".join(items)
    return f"{', '.join(items[:-1])}, and {items[-1]}"
