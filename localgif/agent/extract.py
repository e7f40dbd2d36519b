"""The program in a model's reply, whatever the model put around it.

Small models forget the closing fence, talk before and after, repeat themselves, answer without any fence, or show a
`pip install` block first. This module only parses text and never executes it.
"""

from __future__ import annotations

import ast
import re
import textwrap
from typing import NamedTuple

FUNCTION = "make_gif"

_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})[ \t]*([\w+.#-]*)[^\n]*$")
_CODE_START = re.compile(r"^(import |from \w[\w.]* import |def |class |@|async def )")
_THINKING = re.compile(r"<think>.*?(</think>|\Z)", re.DOTALL)


class Block(NamedTuple):
    """A fenced block of a reply."""

    language: str
    text: str
    closed: bool


def blocks(reply: str) -> list[Block]:
    """The fenced blocks of a reply in order; a fence that is never closed runs to the end."""
    found: list[Block] = []
    fence, language = "", ""
    lines: list[str] = []
    for line in reply.splitlines():
        match = _FENCE.match(line)
        if not fence:
            if match:
                fence, language, lines = match[1], match[2].lower(), []
        elif match and match[1][0] == fence[0] and len(match[1]) >= len(fence) and not match[2]:
            found.append(Block(language, "\n".join(lines), closed=True))
            fence = ""
        else:
            lines.append(line)
    if fence:
        found.append(Block(language, "\n".join(lines), closed=False))
    return found


def complete(reply: str) -> bool:
    """Whether the reply already holds a closed block with the whole function, so that the rest does not matter."""
    return any(block.closed and FUNCTION in _functions(_clean(block.text)) for block in blocks(spoken(reply)))


def extract(reply: str) -> str | None:
    """The program of a reply, or None if nothing in it looks like one.

    In this order: the first block that parses and defines make_gif, with the imports and helpers of the blocks before
    it; the same after cutting an unfinished end; any other Python block that parses; unfenced code; a block that does
    not parse, so that the model can be told its syntax error.
    """
    reply = spoken(reply)
    fenced = [b for b in blocks(reply) if b.language in ("", "python", "py", "python3", "gif") and b.text.strip()]
    texts = [_clean(block.text) for block in fenced]
    for position, text in enumerate(texts):
        if FUNCTION in _functions(text):
            return _with_helpers(texts[:position], text)
    for text in texts:
        shortened = _longest_prefix(text)
        if shortened is not None and FUNCTION in _functions(shortened):
            return shortened
    if not fenced:
        return _unfenced(reply)
    return next((text for text in texts if _functions(text)), None) or max(texts, key=len)


def spoken(reply: str) -> str:
    """The reply without the model's thinking. Before a lone closing tag, the template opened it."""
    head, tag, tail = reply.rpartition("</think>")
    if tag and "<think>" not in head:
        return tail
    return _THINKING.sub("", reply)


def _clean(text: str) -> str:
    return textwrap.dedent(text.replace("\t", "    ")).strip("\n") + "\n"


def _parse(text: str) -> ast.Module | None:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _functions(text: str) -> list[str]:
    """The functions that a text defines at its top level; empty if it does not parse."""
    tree = _parse(text)
    return [] if tree is None else [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]


def _with_helpers(before: list[str], text: str) -> str:
    """Prepends earlier blocks that only import, define or assign: models split a program over several blocks."""
    harmless = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)
    bodies = [(earlier, getattr(_parse(earlier), "body", [])) for earlier in before]
    parts = [earlier for earlier, body in bodies if body and all(isinstance(node, harmless) for node in body)]
    return "\n".join([*parts, text])


def _longest_prefix(text: str) -> str | None:
    """The text without its last lines, as few as possible, so that it parses."""
    lines = text.splitlines()
    for end in range(len(lines), 0, -1):
        candidate = "\n".join(lines[:end]) + "\n"
        if _parse(candidate) is not None:
            return candidate
    return None


def _unfenced(reply: str) -> str | None:
    """Code without fences, from the first line that starts a program to the last one that still parses."""
    lines = reply.splitlines()
    for start, line in enumerate(lines):
        if _CODE_START.match(line):
            rest = _clean("\n".join(lines[start:]))
            shortened = _longest_prefix(rest)
            if shortened is not None and _functions(shortened):
                return shortened
            return rest if "def " in rest else None
    return None
