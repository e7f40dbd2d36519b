"""Extracts the program from a model's reply, whatever surrounds it, and parses it within bounds.

Small models forget the closing fence, talk before and after, repeat themselves, answer without any fence, or show a
`pip install` block first. This module only parses text and never executes it. It takes bounded time and raises nothing,
whatever the text contains.
"""

from __future__ import annotations

import ast
import functools
import re
import textwrap
import warnings
from typing import NamedTuple

from localgif.endpoint.thoughts import spoken

FUNCTION = "make_gif"

#: Longest text to parse, characters. Only the start of a longer reply is read; the sandbox's own limit is lower.
MOST_TEXT = 2**18
#: Deepest tree to accept: Python's own tools recurse through it.
_DEEPEST = 100
#: Larger integers have more than about 4300 digits, which Python refuses to print.
_LARGEST = 2**13_000

#: Most attempts to parse a text without its end, and most characters that all of them parse together.
_TRIES, _TRIED_TEXT = 60, 2**22
#: Only this many blocks are searched for the program.
_MOST_BLOCKS = 50

_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})[ \t]*([\w+.#-]*)[^\n]*$")
_CODE_START = re.compile(r"^(import |from \w[\w.]* import |def |class |@|async def )")


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
    for line in _lines(reply):
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
    """Whether the reply already has a closed block with the whole function; the rest does not matter then."""
    whole = [block for block in _said(reply) if block.closed and FUNCTION in block.text]
    return any(FUNCTION in _functions(_clean(block.text)) for block in whole[:_MOST_BLOCKS])


def programs(text: str) -> tuple[str, ...]:
    """The programs that a prompt shows: its blocks that define make_gif.

    Each is returned alone and below each earlier block, because a prompt may show the drawing functions only once.
    """
    texts = [_clean(block.text) for block in blocks(text)]
    found = [
        [each, *(f"{earlier}\n{each}" for earlier in texts[:place])]
        for place, each in enumerate(texts)
        if FUNCTION in _functions(each)
    ]
    return tuple(each for variants in found for each in variants)


def extract(reply: str) -> str | None:
    """The program of a reply, or None if nothing in it looks like one.

    It tries, in this order: the first block that parses and defines make_gif, with the imports and helpers of the
    blocks before it; the same without an unfinished end; any other Python block that parses; unfenced code; a block
    that does not parse, so that the repair request can quote the syntax error.
    """
    fenced = [b for b in _said(reply) if b.language in ("", "python", "py", "python3", "gif") and b.text.strip()]
    texts = [_clean(block.text) for block in fenced[:_MOST_BLOCKS]]
    for position, text in enumerate(texts):
        if FUNCTION in _functions(text):
            return _with_helpers(texts[:position], text)
    for text in texts[:4]:
        shortened = _longest_prefix(text)
        if shortened is not None and FUNCTION in _functions(shortened):
            return shortened
    if not fenced:
        return _unfenced(spoken(reply[:MOST_TEXT]))
    return next((text for text in texts if _functions(text)), None) or max(texts, key=len)


def _clean(text: str) -> str:
    return textwrap.dedent(text.replace("\t", "    ")).strip("\n") + "\n"


def _lines(text: str) -> list[str]:
    """The lines as Python counts them. str.splitlines also splits at characters like U+2028, which strings may hold."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _said(reply: str) -> list[Block]:
    return blocks(spoken(reply[:MOST_TEXT]))


@functools.lru_cache(maxsize=_MOST_BLOCKS)  # a streamed reply is checked again at the end of each line
def _functions(text: str) -> list[str]:
    """The functions that a text defines at its top level; empty if it does not parse."""
    tree = parsed(text)
    return [] if tree is None else [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]


def _with_helpers(before: list[str], text: str) -> str:
    """Prepends earlier blocks that only import, define or assign: models split a program over several blocks."""
    harmless = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)
    bodies = [(earlier, getattr(parsed(earlier), "body", [])) for earlier in before]
    parts = [earlier for earlier, body in bodies if body and all(isinstance(node, harmless) for node in body)]
    return "\n".join([*parts, text])


def _longest_prefix(text: str) -> str | None:
    """The text, cut so that it parses: line by line near the end, further up only where a statement begins."""
    lines = _lines(text.rstrip("\n"))
    most = min(_TRIES, max(4, _TRIED_TEXT // len(text))) if text else 0
    near = list(range(len(lines), max(0, len(lines) - most // 2), -1))
    starts = [at for at in range(len(near) and near[-1] - 1, 0, -1) if lines[at] and lines[at][0] not in " )]}"]
    for end in [*near, *starts[: most - len(near)]]:
        candidate = "\n".join(lines[:end]) + "\n"
        if parsed(candidate) is not None:
            return candidate
    return None


def _unfenced(reply: str) -> str | None:
    """Code without fences, from the first line that starts a program to the last one that still parses."""
    lines = _lines(reply)
    for start, line in enumerate(lines):
        if _CODE_START.match(line):
            rest = _clean("\n".join(lines[start:]))
            shortened = _longest_prefix(rest)
            if shortened is not None and _functions(shortened):
                return shortened
            return rest if "def " in rest else None
    return None


def parsed(text: str) -> ast.Module | None:
    """The syntax tree of a program; None if it is not Python, or too deep or with too large numbers for Python.

    Every syntax tree in localgif comes from here.
    """
    if len(text) > MOST_TEXT:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the model's program, not about localgif
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError, AssertionError, SystemError):
        return None
    depth = 0
    nodes: list[ast.AST] = [tree]
    while nodes and depth <= _DEEPEST:
        depth += 1
        if any(isinstance(n, ast.Constant) and type(n.value) is int and n.value > _LARGEST for n in nodes):
            return None
        nodes = [child for node in nodes for child in ast.iter_child_nodes(node)]
    return None if nodes else tree
