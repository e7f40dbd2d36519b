"""The words of a brief that name nothing to draw: a title, and comparisons. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from localgif.tasks.nouns import VERBS, Noun
from localgif.tasks.words import Word

#: Kinds of words that say something about the picture, so that no title has one.
_TELLING = frozenset({"colour", "ground", "count", "vague", "they", ".", *VERBS})
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
