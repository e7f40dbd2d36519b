"""Word by word from one text to the next. Pure."""

from __future__ import annotations

import difflib
import re
from typing import Literal, NamedTuple

#: Words of both texts together beyond which nothing is compared: the time grows with their product.
MAX_WORDS = 6_000
#: Unchanged words that are shown on each side of a change.
CONTEXT = 12


class Word(NamedTuple):
    """A piece of text."""

    kind: Literal["same", "added", "removed", "left out"]
    text: str


def word_diff(before: str, after: str) -> list[Word]:
    """Pieces that make `before` out of same and removed ones, `after` out of same and added ones.

    Long unchanged stretches are replaced by one piece "left out" with their number of words; empty when the texts are
    equal or too long to compare.
    """
    old, new = _words(before), _words(after)
    if before == after or len(old) + len(new) > MAX_WORDS:
        return []
    pieces: list[Word] = []
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    codes = matcher.get_opcodes()
    for place, (code, a, b, c, d) in enumerate(codes):
        if code == "equal":
            pieces += _shortened(old[a:b], first=place == 0, last=place == len(codes) - 1)
            continue
        if b > a:
            pieces.append(Word("removed", "".join(old[a:b])))
        if d > c:
            pieces.append(Word("added", "".join(new[c:d])))
    return pieces


def _words(text: str) -> list[str]:
    """Words with the space after them, line breaks by themselves: joined they are the text again."""
    return re.findall(r"\n|[^\S\n]*[^\s]+[^\S\n]*|[^\S\n]+", text)


def _shortened(words: list[str], *, first: bool, last: bool) -> list[Word]:
    head, tail = (0 if first else CONTEXT), (0 if last else CONTEXT)
    if len(words) <= head + tail + CONTEXT:
        return [Word("same", "".join(words))]
    left = sum(word != "\n" for word in words[head : len(words) - tail])
    pieces = [
        Word("same", "".join(words[:head])),
        Word("left out", f"{left:,} unchanged words"),
        Word("same", "".join(words[len(words) - tail :])),
    ]
    return [piece for piece in pieces if piece.text]
