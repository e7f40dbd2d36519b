"""Imports that a program forgot: what a small model leaves out most often, and no model is needed to put right."""

from __future__ import annotations

import ast
import builtins
import sys

#: Modules of Pillow that draw, and what is imported of them under its own name.
_PILLOW = frozenset(
    {"Image", "ImageChops", "ImageColor", "ImageDraw", "ImageEnhance", "ImageFilter", "ImageFont", "ImageOps"}
    | {"ImagePath", "ImageSequence"}
)


def with_imports(code: str) -> str:
    """The program with an import for each module of Pillow or the standard library that it uses and never binds.

    Only a name that is used as `name.something` counts: `math.cos` needs math, a variable `copy` that was forgotten
    does not. Nothing else is changed.

    Raises:
        SyntaxError: it does not parse.
    """
    tree = ast.parse(code)
    bound = set(dir(builtins))
    used: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id=name, ctx=ast.Load())):
                used.add(name)
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                bound.add(name)
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                bound.add(name)
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                bound.update(alias.asname or alias.name.split(".")[0] for alias in names)
            case ast.ExceptHandler(name=str(name)):
                bound.add(name)
            case _:
                pass
    if "*" in bound:
        return code
    missing = used - bound
    pillow = sorted(missing & _PILLOW)
    lines = [f"import {name}" for name in sorted(missing & sys.stdlib_module_names)]
    if pillow:
        lines.append(f"from PIL import {', '.join(pillow)}")
    if not lines:
        return code
    future = [n.end_lineno or 0 for n in tree.body if isinstance(n, ast.ImportFrom) and n.module == "__future__"]
    place = max(future, default=0)
    own = code.split("\n")
    return "\n".join([*own[:place], *lines, *own[place:]])
