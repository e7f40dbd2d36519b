"""Separates a model's thoughts from its answer, whatever tags enclose them, in a stream or in a whole text."""

from __future__ import annotations

import re
from typing import NamedTuple

#: A tag encloses thoughts if its name contains one of these. `unused94` is MedGemma's, `inner_prefix` Apertus'.
_STEM = r"(?:think|thought|reason|reflect|scratchpad|analy[sz]|monologue|deliberat|inner_prefix)"
_NAME = rf"[\w:.-]{{0,20}}{_STEM}[\w:.-]{{0,20}}"

#: Start tags of thoughts. `xml`, `square` and `wedge` end at the same name after a slash, the others as in `_ENDS`.
_OPEN = re.compile(
    rf"<(?P<xml>{_NAME})(?: [^<>\n]{{0,80}})?>|\[(?P<square>{_NAME})\]|◁(?P<wedge>{_NAME})▷"
    rf"|(?P<harmony><\|channel\|>(?!final)[^<\[◁\n]{{1,80}}<\|message\|>)|(?P<gemma><\|channel>[^<\[◁\n]{{0,20}}\n)"
    rf"|<\|(?!/|end)(?P<pipe>{_NAME})\|>|(?P<unused><unused94>)",
    re.IGNORECASE,
)
_ENDS = {
    "harmony": re.compile(r"<\|channel\|>final[^<\n]{0,80}<\|message\|>"),
    "gemma": re.compile(r"<channel\|>"),
    "pipe": re.compile(r"<\|(?:/|end)[\w:.-]{0,40}\|>|<\|[\w:.-]{0,40}(?:end|suffix)\|>", re.IGNORECASE),
    "unused": re.compile(r"<unused95>"),
}
#: The header of an answer without a thought before it.
_HEADER = re.compile(r"<\|channel\|>final[^<\n]{0,80}<\|message\|>")
#: The end tag of a thought whose start tag was in the chat template.
_CLOSE = re.compile(
    rf"</{_NAME}>|\[/{_NAME}\]|◁/{_NAME}▷|<\|(?:/|end)[\w:.-]{{0,20}}{_STEM}[\w:.-]{{0,20}}\|>|<unused95>",
    re.IGNORECASE,
)

#: At the very start of an answer, any tag encloses thoughts if text follows its end, except for the names in `_SPEECH`.
_UNKNOWN = re.compile(
    r"<(?!/)(?P<xml>[A-Za-z][\w:.-]{0,40})(?: [^<>\n]{0,80})?>|\[(?P<square>[A-Z][A-Z_ ]{1,40})\]"
    r"|<\|(?P<pipe>[\w:.-]{1,40})\|>"
)
_SPEECH = re.compile(
    r"answer|code|python|program|solution|final|output|response|result|rule|prompt|instructions?|text|html|pre|div|svg|p"
    r"|channel",
    re.IGNORECASE,
)
#: Forms without tags, also only at the start: gpt-oss without its special tokens, Apriel, Ollama's command line.
_PLAIN = {
    "analysis": re.compile(r"assistantfinal"),
    "Here are my reasoning steps:": re.compile(r"\[BEGIN FINAL RESPONSE\]"),
    "Thinking...\n": re.compile(r"\.\.\.done thinking\.\n?"),
}
#: Longest tag, and the text handled in one step; characters.
_LONGEST, _BLOCK = 160, 4096
#: The end of a text that may be the start of a tag.
_PARTIAL = re.compile(r"(?:<\|channel\|?>[^<\[◁\n]{0,80}|[<\[◁][^\s<>\[\]◁▷]{0,80})(?:<[^<>\s]{0,20})?\Z")
_PARTIAL_FIRST = re.compile(r"[<\[◁][^<>\[\]◁▷\n]{0,140}\Z")


class _Thought(NamedTuple):
    """A thought whose start tag was read."""

    end: re.Pattern[str]
    sure: bool
    """False: it belongs to the answer unless it ends and more text follows."""


class Thoughts:
    """Separates thoughts from an answer that arrives in pieces.

    llama.cpp, and vLLM with --reasoning-parser, send thoughts in a field of their own. Other servers leave them in the
    text. All text comes out once and in order, without the tags, wherever the pieces are cut.
    """

    def __init__(self) -> None:
        self._held = ""
        self._inside: _Thought | None = None
        self._first = True
        """Whether all text so far was white space."""
        self._trim = False
        """Whether to drop white space, because a thought has just ended."""
        self._searched = 0
        """Up to here the held text was searched for the end of the thought."""

    def feed(self, piece: str) -> tuple[str, str]:
        """The (content, thinking) that is certain after this piece."""
        content: list[str] = []
        thinking: list[str] = []
        for start in range(0, len(piece), _BLOCK):  # each step copies what is held
            self._held += piece[start : start + _BLOCK]
            while self._step(content, thinking):
                pass
        return "".join(content), "".join(thinking)

    def end(self) -> tuple[str, str]:
        """The (content, thinking) that was still held back when the text ended."""
        rest, self._held = self._held, ""
        inside, self._inside, self._searched = self._inside, None, 0
        return ("", rest) if inside is not None and inside.sure else (rest, "")

    def _step(self, content: list[str], thinking: list[str]) -> bool:
        """Move what is certain out of the held text; returns whether there may be more."""
        if self._inside is not None:
            return self._think(self._inside, thinking)
        if self._trim:
            self._held = self._held.lstrip()
            self._trim = not self._held
        if self._first and self._begin():
            return self._inside is not None
        found = _OPEN.search(self._held)
        header = _HEADER.search(self._held, 0, found.start() if found else len(self._held))
        if (tag := header or found) is not None:
            self._say(self._held[: tag.start()], content)
            if header is not None:
                self._held = self._held[header.end() :]
            else:
                self._open(tag, sure=True)
            return True
        partial = _PARTIAL.search(self._held, max(0, len(self._held) - _LONGEST))
        keep = partial.start() if partial else len(self._held)
        self._say(self._held[:keep], content)
        self._held = self._held[keep:]
        return False

    def _say(self, text: str, content: list[str]) -> None:
        if text:
            content.append(text)
            self._first = self._first and not text.strip()

    def _begin(self) -> bool:
        """Look for the forms that count only at the start; returns whether the text matches one, or still could."""
        start = self._held.lstrip()
        if len(self._held) - len(start) >= _BLOCK:  # stop holding back white space, wherever the pieces are cut
            self._first = False
            return False
        if not start:
            return True
        for word, end in _PLAIN.items():
            if start.startswith(word):
                self._held, self._inside = start, _Thought(end, sure=False)
                return True
            if word.startswith(start):
                return True
        tag = _UNKNOWN.match(start)
        if _OPEN.match(start):
            self._held = start
        elif tag is not None:
            name = tag["xml"] or tag["square"] or tag["pipe"]
            if not _SPEECH.fullmatch(name):
                self._held = start
                self._open(tag, sure=False)
                return True
        if _PARTIAL.match(start) or (tag is None and _PARTIAL_FIRST.match(start)):
            return True
        self._first = False
        return False

    def _open(self, tag: re.Match[str], *, sure: bool) -> None:
        kind, name = tag.lastgroup or "", tag[tag.lastgroup or 0]
        slashed = {"xml": rf"</{re.escape(name)}>", "square": rf"\[/{re.escape(name)}\]"}
        slashed["wedge"] = f"◁/{re.escape(name)}▷"
        end = _ENDS[kind] if kind in _ENDS else re.compile(slashed[kind], re.IGNORECASE)
        # A thought that may turn out to be the answer keeps its tag.
        self._held = self._held[tag.end() if sure else tag.start() :]
        self._inside, self._searched, self._first = _Thought(end, sure), 0, False

    def _think(self, inside: _Thought, thinking: list[str]) -> bool:
        closed = inside.end.search(self._held, self._searched)
        if closed is not None and (inside.sure or self._held[closed.end() :].strip()):
            thinking.append(self._held[: closed.start()])
            self._held, self._inside, self._searched = self._held[closed.end() :], None, 0
            self._trim = True
            return True
        if inside.sure:  # all but a possible start of its end tag
            tail = max(0, len(self._held) - _LONGEST)
            partial = re.search(r"[<\[◁]", self._held[tail:])
            safe = tail + partial.start() if partial else len(self._held)
            thinking.append(self._held[:safe])
            self._held = self._held[safe:]
        elif closed is None:
            self._searched = max(0, len(self._held) - _LONGEST)
        return False


def spoken(text: str) -> str:
    """A whole answer without thoughts. Text before a lone end tag is a thought too: the chat template started it."""
    ends = list(_CLOSE.finditer(text))
    if ends and _OPEN.search(text, 0, ends[-1].start()) is None:
        text = text[ends[-1].end() :]
    thoughts = Thoughts()
    return thoughts.feed(text)[0] + thoughts.end()[0]
