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
# Then every control character but tab and newline, and the ones that reorder text on screen.
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """A model's or a program's text without escape sequences, lone surrogates and controls; tab and newline stay."""
    text = text.encode("utf-8", "ignore").decode("utf-8").replace("\r\n", "\n")
    return CONTROLS.sub("", _SEQUENCES.sub("", text))


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
