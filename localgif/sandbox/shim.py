"""Where no file may be opened for writing, the output is open already: this leads `open` of its path to it.

For programs that mean well; what a program can do here it can also do with the descriptor's number.
"""

from __future__ import annotations

import builtins
import io
import os
from collections.abc import Callable
from typing import Any

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


def install(path: str, descriptor: int) -> None:
    """Replaces open and os.open, for `path` (absolute) and writing only.

    `descriptor` is open for reading and writing; every opening gets a copy, emptied if it asked for that.
    """
    plain_open, plain_os_open = io.open, os.open

    def is_output(file: object) -> bool:
        return isinstance(file, str | os.PathLike) and os.path.abspath(file) == path  # noqa: PTH100 (no link is to be followed)

    def handed_out(flags: int) -> int:
        copy = os.dup(descriptor)
        if flags & os.O_TRUNC:
            os.ftruncate(copy, 0)
        os.lseek(copy, 0, os.SEEK_END if flags & os.O_APPEND else os.SEEK_SET)
        return copy

    def shimmed_os_open(file: Any, flags: int, *rest: Any, **options: Any) -> int:
        if flags & _WRITING and is_output(file):
            return handed_out(flags)
        return plain_os_open(file, flags, *rest, **options)

    def opener(file: str, flags: int) -> int:
        return shimmed_os_open(file, flags, 0o600)

    def shimmed_open(file: Any, mode: str = "r", *rest: Any, **options: Any) -> Any:
        if is_output(file) and len(rest) < 6 and options.get("opener") is None:
            options["opener"] = opener
        return plain_open(file, mode, *rest, **options)

    replacements: tuple[Callable[..., Any], Callable[..., Any]] = (shimmed_open, shimmed_os_open)
    builtins.open = io.open = replacements[0]
    os.open = replacements[1]
