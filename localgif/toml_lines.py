"""On which line of a TOML text a key stands: tomllib tells values, not places. Pure.

For text that tomllib has read; of any other nothing is promised.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_left
from collections.abc import Mapping

#: Keys from the top, e.g. ("models", "small", "num_ctx"); a number is a place in an array.
Location = tuple[str | int, ...]

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
#: A quote inside a long string is one that does not begin three of them; up to two more may stand before the end.
_STRINGS = (
    ('"""', re.compile(r'"""(?:\\.|[^"\\]|"(?!""))*"""(?:"{0,2})', re.DOTALL)),
    ("'''", re.compile(r"'''(?:[^']|'(?!''))*'''(?:'{0,2})", re.DOTALL)),
    ('"', re.compile(r'"(?:\\.|[^"\\])*"')),
    ("'", re.compile(r"'[^']*'")),
)
_SCALAR = re.compile(r"[^,\]}#\r\n]*")


def key_lines(text: str) -> dict[Location, int]:
    """The line (from 1) where each table, key and array element stands first, by its location."""
    scanner = _Scanner(text)
    scanner.scan()
    return scanner.lines


def line_of(lines: Mapping[Location, int], location: Location) -> int | None:
    """The line of a key, else of the nearest table around it; None when that is the whole file."""
    for length in range(len(location), 0, -1):
        if location[:length] in lines:
            return lines[location[:length]]
    return None


class _Scanner:
    def __init__(self, text: str) -> None:
        self.lines: dict[Location, int] = {}
        self._text = text
        self._at = 0
        self._breaks = [match.start() for match in re.finditer("\n", text)]

    def scan(self) -> None:
        table: Location = ()
        while self._skip(_BLANK):
            start = self._at
            if self._text[start] == "[":
                brackets = 2 if self._text.startswith("[[", start) else 1
                self._at += brackets
                table = self._key((), start)
                self._at += brackets
            else:
                self._pair(table)

    def _skip(self, pattern: re.Pattern[str]) -> bool:
        """Go behind what matches here; whether anything is left."""
        found = pattern.match(self._text, self._at)
        assert found is not None
        self._at = found.end()
        return self._at < len(self._text)

    def _note(self, location: Location, place: int) -> None:
        self.lines.setdefault(location, bisect_left(self._breaks, place) + 1)

    def _pair(self, table: Location) -> None:
        location = self._key(table, self._at)
        self._at += 1  # the equals sign
        self._skip(_SPACE)
        self._value(location)

    def _key(self, table: Location, place: int) -> Location:
        """Read a key, dotted or not, up to what follows it; each of its parts is noted at `place`."""
        location = table
        while True:
            self._skip(_SPACE)
            location = (*location, self._part())
            self._note(location, place)
            self._skip(_SPACE)
            if self._text[self._at] != ".":
                return location
            self._at += 1

    def _part(self) -> str:
        start = self._at
        if self._text[start] not in "\"'":
            self._skip(_BARE)
            return self._text[start : self._at]
        self._string()
        name = tomllib.loads(f"name = {self._text[start : self._at]}")["name"]
        assert isinstance(name, str)
        return name

    def _string(self) -> None:
        self._skip(next(pattern for quote, pattern in _STRINGS if self._text.startswith(quote, self._at)))

    def _value(self, location: Location) -> None:
        first = self._text[self._at]
        if first in "\"'":
            self._string()
        elif first in "[{":
            self._at += 1
            self._entries(location, "]" if first == "[" else "}")
        else:
            self._skip(_SCALAR)

    def _entries(self, location: Location, end: str) -> None:
        """What is between the brackets of an array or an inline table, and the closing one."""
        number = 0
        while self._skip(_BLANK) and self._text[self._at] != end:
            if end == "]":
                self._note((*location, number), self._at)
                self._value((*location, number))
            else:
                self._pair(location)
            number += 1
            self._skip(_BLANK)
            if self._text[self._at] == ",":
                self._at += 1
        self._at += 1
