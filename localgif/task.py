"""Tasks: what a GIF is asked to show, and the targets that it is measured against.

What must be seen is said in a small vocabulary (a background, and subjects with a colour, a shape, a path, a size, a
turn), so that a new task is a TOML file and needs no Python; docs/tasks.md explains each word.
"""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field, model_validator

from localgif.records import Record

Colour = Literal[
    "white", "black", "grey", "red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink", "brown"
]
#: The colours that a task can name, in the order of their codes (gif/colours.py).
COLOURS: tuple[Colour, ...] = get_args(Colour)

Shape = Literal["any", "round", "square", "triangle", "star", "bar"]
Path = Literal["any", "still", "up-down", "left-right", "diagonal", "orbit", "across"]
Size = Literal["any", "constant", "pulse", "grow"]
Turn = Literal["any", "spin"]
Shown = Literal["always", "blink"]


class Targets(Record):
    """What a GIF of the task is measured against."""

    frames: int = Field(ge=2, le=200)
    loop_ms: int = Field(ge=100, le=60_000)
    """Playback time of one loop, milliseconds."""
    max_bytes: int = Field(ge=1024)
    """The file must be smaller than this."""
    max_side: int = Field(512, ge=16, le=1024)
    """Largest width and height, pixels."""

    @property
    def delay_ms(self) -> int:
        """Delay of one frame, milliseconds: what comes nearest to `loop_ms` in the 10 ms steps of GIF, at least 20."""
        return max(20, 10 * round(self.loop_ms / self.frames / 10))


class Subject(Record):
    """One kind of thing that must be seen; "any" leaves a property open."""

    colour: Colour | None = None
    """Its colour; None when it changes (`colours`)."""
    colours: tuple[Colour, ...] = ()
    """The colours that it takes in turns, at least two."""
    count: int = Field(1, ge=1, le=8)
    """How many of it are seen at once."""
    shape: Shape = "any"
    path: Path = "any"
    size: Size = "any"
    turn: Turn = "any"
    shown: Shown = "always"
    inside: bool = True
    """Whether it must be whole inside the picture in every frame."""

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

    @property
    def hues(self) -> tuple[Colour, ...]:
        """All colours that it may have."""
        return (self.colour,) if self.colour is not None else self.colours

    @property
    def name(self) -> str:
        """In a sentence: "red thing", "3 blue things"."""
        hue = self.colour or "colour-changing"
        return f"{hue} thing" if self.count == 1 else f"{self.count} {hue} things"


class Task(Record):
    """One GIF brief with its targets and what must be seen."""

    name: str
    brief: str = Field(min_length=3, max_length=400)
    family: str = "own"
    """Tasks of one family ask for the same kind of motion."""
    targets: Targets
    background: Colour | None = None
    """Colour of the background; None leaves it open."""
    subjects: tuple[Subject, ...] = Field((), max_length=6)
    """What must be seen; of each colour one entry."""

    @model_validator(mode="after")
    def _tellable_apart(self) -> Task:
        taken: list[str] = [] if self.background is None else [self.background]
        for subject in self.subjects:
            for hue in subject.hues:
                if hue in taken:
                    raise ValueError(f'two things are "{hue}": the measurement tells them apart by colour')
            taken += subject.hues
        return self

    @property
    def objective(self) -> str:
        """What the reflector is told to aim at."""
        t = self.targets
        return (
            f"The component is the system prompt of a small model that writes Python code. Improve it so that the "
            f"program which the model writes draws this animation: {self.brief}. The saved GIF must have exactly "
            f"{t.frames} frames; the last frame must lead back to the first so that it loops without a jump; one loop "
            f"must play in about {t.loop_ms / 1000:g} s; the file must stay under {t.max_bytes // 1024} KB. The "
            "program may use only the Python standard library and Pillow."
        )
