"""What a sentence says about one thing, and what can be read in two ways. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from localgif.tasks.task import Colour
from localgif.tasks.words import Word


class Doubt(NamedTuple):
    """A word that can be read in two ways."""

    said: str
    """The words."""
    read: str
    """How they were read."""
    instead: str
    """What to write to mean the other thing."""

    def __str__(self) -> str:
        return f'"{self.said}" was read as {self.read}; {self.instead}'


#: The places of things "in each corner".
CORNERS = ("top-left", "top-right", "bottom-left", "bottom-right")
#: Kinds of words for a motion.
MOVING = ("move", "path", "leans", "one-way", "half", "across")


@dataclass(eq=False)
class Draft:
    """A thing while its sentence is read."""

    hues: list[Colour] = field(default_factory=list)
    count: int = 1
    shape: str = ""
    called: str = ""
    """Its noun in the sentence."""
    names: frozenset[str] = frozenset()
    """The words that refer to it later."""
    found: list[Word] = field(default_factory=list)
    """The words about what it does."""
    cycle: list[Colour] = field(default_factory=list)
    """Colours that it takes later."""
    motley: bool = False
    """Whether it has several colours at once."""
    vague: bool = False
    """Whether the sentence does not say how many."""
    several: bool = False
    """Whether the sentence may distinguish them later: "two stars, one yellow and one red"."""
    said: list[tuple[int, str]] = field(default_factory=list)
    """Its noun, each word with its place, if it is not a shape: nothing checks it."""
    words: str = ""
    """Its noun with number, size and colour, as the sentence has them: "two light blue balls"."""
    paint: str = ""
    """Its colour as the sentence has it: "light blue"; "" if the colour is not beside the noun."""
    place: str = ""
    around: Draft | None = None
    """The thing that it goes round."""
    below: Draft | None = None
    above: Draft | None = None
    scale: str = ""
    """ "small", "large", or ""."""
    points: int | None = None
    """How many points a star has."""
    abreast: bool = False
    """Whether several stand side by side."""
    stacked: bool = False
    """Whether several stand below each other."""
    upright: bool = False
    """Whether it is a bar that stands."""
    inside: Draft | None = None
    """The thing that it is inside of."""
    holds: bool = False
    """Whether another thing is inside of it."""
    carries: bool = False
    """Whether another thing is on it, or moves up and down over it."""
    behind: Draft | None = None
    """The thing that may hide it: it is painted first."""
    traits: frozenset[str] = frozenset()
    """Words of the kind "trait" that hold for it."""
    in_turn: bool = False
    """Whether it does what others do too, but after them or in the opposite direction."""

    @property
    def is_hidden(self) -> bool:
        """Whether it passes behind another thing, or that one passes in front of it."""
        return self.behind is not None and bool(self.kinds(*MOVING) or self.behind.kinds(*MOVING))

    @property
    def rolls(self) -> bool:
        """Whether it turns as it moves."""
        return any(word.text.startswith("roll") for word in self.found)

    @property
    def is_name(self) -> bool:
        """Whether nothing says yet how to draw it."""
        return not self.hues and not self.shape

    @property
    def label(self) -> str:
        """Its name in a message."""
        return " ".join([*self.hues[:1], self.called]).strip() or "thing"

    def kinds(self, *kinds: str) -> list[Word]:
        """The words of these kinds about what it does."""
        return [word for word in self.found if word.kind in kinds]
