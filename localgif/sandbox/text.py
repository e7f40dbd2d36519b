"""Program output made safe to show: in a terminal, in a prompt, in a report. Pure."""

from __future__ import annotations

import re

# Whole escape sequences first (CSI, OSC with its end, two-character ones), so that no "[31m" stays behind. Nothing
# inside a sequence can begin another one, and the matching never backtracks (*+): 64 KB of beginnings take linear time.
_SEQUENCES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*+[ -/]*+[@-~]"
    r"|(?:\x1b\]|\x9d)[^\x07\x1b\x9c\x9d]*+(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[@-Z\\^_]"
)
# Every control character but tab and newline, and the ones that reorder text on screen.
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
# Then every character that is not ASCII, one by one.
_OTHERS = re.compile("[^\t\n -~]")
# Characters that Unicode counts as visible and no font shows: a joiner, fillers, selectors of variants.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
_SPACE = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")

# What differs from run to run in the output of the same program: the address of an object, also as a decimal number
# (id, a thread's), and the names of temporary files.
_CHANGING = re.compile(
    r"\bat 0x[0-9a-fA-F]{4,16}\b|\b0x[0-9a-fA-F]{9,16}\b|\b1[34]\d{13}\b|(?<=\btmp)[a-z0-9_]{8}(?![a-z0-9_])"
)


def _visible(match: re.Match[str]) -> str:
    character = match[0]
    if _SPACE.match(character):
        return " "
    return character if character.isprintable() and not _INVISIBLE.match(character) else ""


def printable(text: str) -> str:
    """A model's or a program's text as it looks on screen.

    Escape sequences, lone surrogates, controls, and characters that reorder text or are invisible (a text can hide in
    them) are removed; tab and newline stay.
    """
    text = text.encode("utf-8", "ignore").decode("utf-8").replace("\r\n", "\n")
    return _OTHERS.sub(_visible, _SEQUENCES.sub("", text))


def stable(text: str, directory: str = "") -> str:
    """A program's output without addresses and names of temporary files and of its scratch directory: the same on
    every run."""
    text = text.replace(directory, ".") if directory else text
    return _CHANGING.sub(lambda match: f"{match[0].partition('0x')[0]}0x..." if "0x" in match[0] else "...", text)


def clean(data: bytes) -> str:
    """The printable text of some bytes, without invalid UTF-8."""
    return printable(data.decode("utf-8", errors="ignore"))


def capped(text: str, limit: int) -> str:
    """At most `limit` characters; "..." at the end marks a cut."""
    return text if len(text) <= limit else text[: limit - 3] + "..."


class Tail:
    """Keeps the last `limit` bytes that it is fed, and never holds more than twice that."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._data = bytearray()

    def feed(self, chunk: bytes) -> None:
        self._data += chunk[-self._limit :] if self._limit else b""
        if len(self._data) > 2 * self._limit:
            del self._data[: -self._limit]

    def get(self) -> bytes:
        return bytes(self._data[-self._limit :]) if self._limit else b""
