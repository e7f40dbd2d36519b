"""A noun phrase of a brief, read word by word: its number, size, colours, shape, nouns and verbs. Pure.

Titles and comparisons have nouns, too, but name nothing to draw.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

from localgif.tasks.task import Colour, brief_error
from localgif.tasks.words import STOP, Word

#: Words that are true of every bar.
LONG = frozenset({"long", "thin", "tall", "narrow", "slim", "slender", "flat"})

#: Kinds of words that say what a thing does.
VERBS = frozenset(
    {"path", "one-way", "side", "half", "across", "exit", "leans", "move", "turn", "still", "rests", "keep", "grow"}
    | {"shrink", "pulse", "blink", "vanish", "cycle", "loose", "own", "back"}
)
#: Kinds of words that name a thing.
NOUNS = frozenset({"shape", "unknown"})
#: Kinds of words in a noun phrase that say what a thing looks like, unlike "slowly spinning".
_LOOKS = frozenset({"det", "the", "shade", *NOUNS})
#: Shapes that say what another noun looks like: "a round red weight".
_SHAPED = frozenset({"round", "circular", "spherical", "triangular"})
#: What may stand between a verb and its noun: "a slowly spinning bright green star".
_BETWEEN = (VERBS - {"path", "own", "back"}) | {"shade", "note", "and", "colour-word"}


def shaded(words: Sequence[Word], at: int, start: int = 0) -> str:
    """The colour at a place, with its shade if that stands before it and not before `start`: "light blue"."""
    shades = at > start and words[at - 1].kind == "shade" and not words[at].text.startswith("#")
    shade = f"{words[at - 1].text} " if shades else ""
    return shade + words[at].text


@dataclass
class Noun:
    """A noun phrase. It begins at `start`; read() finds its end."""

    words: list[Word]
    start: int
    end: int
    article: str = ""
    """ "a", "the", "count", or ""."""
    count: int | None = None
    vague: str = ""
    hues: list[Colour] = field(default_factory=list)
    joined: bool = False
    """Whether "and" stands between its colours."""
    shape: str = ""
    nouns: list[tuple[int, Word]] = field(default_factory=list)
    notes: list[tuple[int, str]] = field(default_factory=list)
    verbs: list[Word] = field(default_factory=list)
    ground: bool = False
    scale: str = ""
    """ "small", "large", or ""."""
    points: int | None = None
    traits: frozenset[str] = frozenset()
    """Its words of the kind "trait"."""
    upright: bool = False
    """Whether it is a bar that stands: "a vertical bar"."""

    @property
    def before(self) -> Word:
        """The word in front of it."""
        return self.words[self.start - 1] if self.start else STOP

    @property
    def head(self) -> str:
        """Its last word."""
        return self.nouns[-1][1].text if self.nouns else ""

    @property
    def text(self) -> str:
        """Its words, without what it does: "two light blue balls"."""
        said = [word for word in self.words[self.start : self.end] if word.kind != "trait"]
        return " ".join(word.text for word in said if word.kind in _LOOKS or word.value or word.text in LONG)

    @property
    def paint(self) -> str:
        """Its first colour with its shade: "light blue"; "" without one."""
        at = next((k for k in range(self.start, self.end) if self.words[k].kind == "colour"), None)
        if at is None:
            return ""
        return shaded(self.words, at, self.start)

    @property
    def plural(self) -> bool:
        """Whether it names more than one thing."""
        return self.article != "a" and self.head.endswith("s") and not self.head.endswith(("ss", "us"))

    @property
    def is_one(self) -> bool:
        """Whether it is a noun phrase, and not only a word that could begin one."""
        on = self.before.kind in ("on", "place") and bool(self.hues)
        return bool(self.nouns or self.ground or (self.hues and self.article) or on)

    def read(self) -> None:
        """Take all words that belong to it."""
        while self.end < len(self.words) and not self.ground and self._takes(self.words[self.end]):
            self.end += 1
        if self.head in ("rectangle", "rectangles") and any(text in LONG for _, text in self.notes):
            self.shape = "bar"
        if self.shape == "bar" or self.head in ("rectangle", "rectangles"):
            # "a vertical bar" does not move vertically
            self.upright = any(word.text == "vertical" for word in self.verbs) or any(
                text in ("tall", "upright") for _, text in self.notes
            )
            self.verbs = [word for word in self.verbs if word.text not in ("vertical", "horizontal")]

    def _ahead(self) -> Word:
        return self.words[self.end + 1] if self.end + 1 < len(self.words) else STOP

    def _takes(self, word: Word) -> bool:
        """Take a word if it belongs to the noun phrase; returns whether it does."""
        if word.kind in ("det", "the", "count", "vague"):
            return self._number(word)
        if word.kind == "other" and self.end == self.start and self._ahead().kind in ("colour", "shade"):
            self.article, self.count = "count", 1  # "one green and the other yellow"
            return True
        if word.kind == "colour":
            return self._colour(word)
        if word.kind in NOUNS:
            return self._name(word)
        if word.kind == "ground":
            return self._behind(word)
        if self.nouns:
            return False
        if word.kind == "shade" and self._ahead().kind not in ("colour", "ground", "shade", *NOUNS):
            self.nouns.append((self.end, word))  # "a light"
        elif word.kind == "points":
            self.points = int(word.value)
        elif word.kind == "note" and word.value and not self.scale:
            self.scale = word.value
        elif word.kind in ("note", "trait"):
            self.traits |= {word.value} if word.kind == "trait" else set()
            self.notes.append((self.end, word.text))
        elif word.kind in VERBS and self._premodifies(word):
            self.verbs.append(word)
        elif word.kind in ("and", ",") and self.hues and self._ahead().kind in ("colour", "shade") and self._joins():
            self.joined = True
        elif not (word.kind == "and" and self.verbs and self._ahead().kind in VERBS and self._ahead().doing):
            return word.kind in ("shade", "colour-word")
        return True

    def _number(self, word: Word) -> bool:
        if self.nouns or self.hues or (self.end > self.start and word.kind in ("det", "the")):
            return False
        self.article = self.article or {"det": "a", "the": "the"}.get(word.kind, "count")
        self.count = int(word.value) if word.kind == "count" else self.count
        self.vague = word.text if word.kind == "vague" else self.vague
        return True

    def _colour(self, word: Word) -> bool:
        if self.nouns and self.head not in _SHAPED and (self.hues or self.shape or not self.article):
            return False
        self.notes += [(at, each.text) for at, each in self.nouns]  # "a bouncy red ball"
        self.nouns = []
        if word.value not in self.hues:
            self.hues.append(cast(Colour, word.value))
        return True

    def _name(self, word: Word) -> bool:
        if word.text == "round" and self.end == self.start and self.before.kind in VERBS:
            return False  # "goes round"
        if word.text == "circles" and self.nouns and self.article in ("a", "the", ""):
            self.words[self.end] = Word("leans", "orbit", word.text)  # "a ball circles a star"
            return False
        if self._is_verb(word):
            self.words[self.end] = Word("loose", "", word.text)
            return False
        if word.kind == "shape" and self.shape not in ("", word.value):
            raise brief_error(f'"{self.head} {word.text}" has two shapes', "name one of them")
        self.shape = word.value if word.kind == "shape" else self.shape
        self.nouns.append((self.end, word))
        return True

    def _is_verb(self, word: Word) -> bool:
        """Whether an unknown word that could be a plural is a verb: "a green ball hits the wall"."""
        if word.kind != "unknown" or not self.nouns or not re.fullmatch(r"[a-z]+[^su]s", word.text):
            return False
        one = self.nouns[-1][1]
        single = not one.text.endswith("s") and (self.count or 1) == 1 and not self.vague
        sure = self.article == "a" or one.kind == "shape" or self._ahead().kind in ("det", "the", "it", "not")
        return single and sure

    def _behind(self, word: Word) -> bool:
        if self.nouns and (not self.hues or word.text.startswith("behind")):
            return False
        if word.value == "perhaps" and self._ahead().kind in NOUNS:  # "a white paper boat"
            self.nouns.append((self.end, word))
        else:
            self.ground = True
        return True

    def _premodifies(self, word: Word) -> bool:
        """Whether a verb stands before its noun, as in "a spinning star"."""
        rainbow = (word.kind, word.value) == ("cycle", "rainbow")
        if word.kind in ("back", "own") or not (word.doing or rainbow or word.kind in ("still", "path")):
            return False
        starts = (".", ",", "and", "while", "near", "filler", "which")
        if self.end == self.start and self.before.kind not in starts:
            return False
        following = next((each.kind for each in self.words[self.end + 1 :] if each.kind not in _BETWEEN), "")
        return following in ("colour", "ground", *NOUNS)

    def _joins(self) -> bool:
        """Whether "and" or a comma between two colours leads to one noun: "red, green and blue balls"."""
        rest = self.words[self.end :]
        end = next((n for n, each in enumerate(rest) if each.kind not in ("colour", "shade", "and", ",")), len(rest))
        return end < len(rest) and rest[end].kind in NOUNS and any(each.kind == "and" for each in rest[:end])


# --- titles and comparisons -------------------------------------------------------------------------------------------

#: Kinds of words that say something about the picture, so that no title has one.
_TELLING = frozenset({"colour", "ground", "place", "count", "vague", "they", ".", *VERBS})
#: Kinds of words that may join the nouns of a comparison: "like a leaf in the wind".
_JOINING = ("near", "on")


def without_asides(words: Sequence[Word]) -> list[Word]:
    """The words; those of a title or a comparison become notes, so that no check covers them."""
    made = list(words)
    _note(made, 0, _title(made))
    for at, word in enumerate(words):
        if word.kind == "like":
            _note(made, at, _clause(made, at + 1) if word.value == "clause" else _likeness(made, at + 1))
    return made


def _note(words: list[Word], start: int, end: int) -> None:
    """Make notes of the words between two places, except of what a thing does: "like a bouncing ball"."""
    for at in range(start, end):
        if words[at].kind not in ("filler", ",", *VERBS):
            words[at] = Word("note", "", words[at].text)


def _title(words: Sequence[Word]) -> int:
    """Where the title ends that only names the picture: "traffic light: a red circle above a green circle"."""
    end = next((at for at, word in enumerate(words) if word.text == ":"), 0)
    noun = _noun(words, end + 1)
    told = _TELLING & {word.kind for word in words[:end]}
    return end if not told and noun.nouns and (noun.hues or noun.article) else 0


def _clause(words: list[Word], at: int) -> int:
    """Where the clause ends that begins here: "as if somebody kicked it"."""
    while at < len(words) and words[at].kind not in (",", ".") and not _grounds(words, at):
        words[at] = Word("note", "", words[at].text)
        at += 1
    return at


def _likeness(words: Sequence[Word], at: int) -> int:
    """Where the nouns end that begin here: "like a leaf in the wind"."""
    end = at
    while (noun := _noun(words, at)).nouns and not _grounds(words, at - 1):
        end = noun.end
        if end == len(words) or words[end].kind not in _JOINING:
            break
        at = end + 1
    return end


def _grounds(words: Sequence[Word], at: int) -> bool:
    """Whether a background begins here: "on black", "against a white wall"."""
    noun = _noun(words, at + 1)
    return words[at].kind == "on" and (noun.ground or (bool(noun.hues) and not noun.nouns))


def _noun(words: Sequence[Word], start: int) -> Noun:
    noun = Noun(list(words), start, start)
    noun.read()
    return noun
