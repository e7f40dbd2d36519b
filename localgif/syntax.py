"""Python that a model wrote, parsed within bounds: every tree that localgif looks at comes from here."""

from __future__ import annotations

import ast
import warnings

#: Of a longer reply only the beginning is read, characters; the sandbox runs shorter programs only.
MOST_TEXT = 2**18
#: A tree is at most this deep: Python's own tools work through it by recursion.
_DEEPEST = 100
#: Python writes no number with more digits than about 4300.
_LARGEST = 2**13_000


def parsed(text: str) -> ast.Module | None:
    """The tree of a program; None if it is not Python, or so deep or with such numbers that Python's own tools fail."""
    if len(text) > MOST_TEXT:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the program's own affair
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
