"""Parses Python that a model wrote, within bounds. Every syntax tree in localgif comes from here."""

from __future__ import annotations

import ast
import warnings

#: Longest text to parse, characters. Only the start of a longer reply is read; the sandbox's own limit is lower.
MOST_TEXT = 2**18
#: Deepest tree to accept: Python's own tools recurse through it.
_DEEPEST = 100
#: Larger integers have more than about 4300 digits, which Python refuses to print.
_LARGEST = 2**13_000


def parsed(text: str) -> ast.Module | None:
    """The syntax tree of a program; None if it is not Python, or too deep or with too large numbers for Python."""
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
