"""Thoughts that a server leaves in the text, `<think>...</think>` at its beginning, taken out as they stream. Pure.

llama.cpp and a vLLM with --reasoning-parser send them apart; other servers, and vLLM without it, do not.
"""

from __future__ import annotations

_OPEN, _CLOSE = "<think>", "</think>"


class Thoughts:
    """Splits one answer; what was fed in comes out once, in order, whatever the pieces are."""

    def __init__(self) -> None:
        self._held = ""
        self._feed = self._begin

    def feed(self, piece: str) -> tuple[str, str]:
        """(content, thinking) that are certain with this piece of the text."""
        self._held += piece
        return self._feed()

    def end(self) -> tuple[str, str]:
        """(content, thinking) that were held back when the text ended."""
        rest, self._held = self._held, ""
        return ("", rest) if self._feed == self._think else (rest, "")

    def _begin(self) -> tuple[str, str]:
        start = self._held.lstrip()
        if start.startswith(_OPEN):
            self._held, self._feed = start[len(_OPEN) :], self._think
            return self._think()
        if _OPEN.startswith(start):  # also when there is nothing but white space yet
            return "", ""
        self._feed = self._speak
        return self._speak()

    def _think(self) -> tuple[str, str]:
        thought, closed, rest = self._held.partition(_CLOSE)
        if closed:
            self._held, self._feed = rest, self._pause
            return self._pause()[0], thought
        # The end may be the beginning of the closing tag.
        keep = next((n for n in range(len(_CLOSE) - 1, 0, -1) if thought.endswith(_CLOSE[:n])), 0)
        self._held = thought[len(thought) - keep :]
        return "", thought[: len(thought) - keep]

    def _pause(self) -> tuple[str, str]:
        self._held = self._held.lstrip()
        if not self._held:
            return "", ""
        self._feed = self._speak
        return self._speak()

    def _speak(self) -> tuple[str, str]:
        said, self._held = self._held, ""
        return said, ""
