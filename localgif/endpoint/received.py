"""What a server sends, read within bounds: JSON of any depth, texts in several forms, half characters.

Callers limit the size before. Whatever else a hostile or broken server puts into JSON becomes a value or a ValueError.
"""

from __future__ import annotations

import codecs
import json
import re
from typing import Any

#: Largest answer that is not a generation, bytes: listings, /api/show with its licence, counts.
ANSWER_BYTES = 16 * 2**20
#: How much of an error's body is read, bytes.
ERROR_BYTES = 64 * 2**10
#: No answer is nested deeper. Python's own limits differ: one version reads what another cannot write.
_DEEPEST = 100

#: Escapes in JSON text, whole ones first: a backslash, a surrogate pair, half of one.
_ESCAPES = re.compile(
    r"\\[^u]|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)


def read_json(data: bytes | str, *, halves: bool = False) -> Any:
    """The JSON value in a text.

    Args:
        halves: Whether lone surrogates stay, because the other half may come in the next line; else each is replaced.

    Raises:
        ValueError: It is not JSON, or is nested too deeply.
    """
    text = (data if isinstance(data, str) else data.decode("utf-8", "replace")).removeprefix("\ufeff")
    if not halves and "\\ud" in text.lower():
        text = _ESCAPES.sub(lambda match: "\\ufffd" if match[1] else match[0], text)
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if text.count("[") + text.count("{") > _DEEPEST and _is_deeper(value, _DEEPEST):
        raise ValueError("it is nested too deeply")
    return value


def _is_deeper(value: object, most: int) -> bool:
    level = [value]
    for _ in range(most):
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
    return bool(level)


def texts(value: object) -> tuple[str, str]:
    """(content, thinking) of a message's content: a text, null, or a list of parts as several servers send it."""
    if isinstance(value, str):
        return value, ""
    content, thinking = "", ""
    for part in value if isinstance(value, list) else ():
        if isinstance(part, str):
            content += part
        elif isinstance(part, dict) and "thinking" in part:
            thinking += "".join(texts(part["thinking"]))
        elif isinstance(part, dict):
            content += texts(part.get("text"))[0]
    return content, thinking


class Joined:
    """Joins halves of characters that came in two pieces; a half that stays alone becomes U+FFFD."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-16-le")("replace")

    def feed(self, piece: str, *, last: bool = False) -> str:
        """The text that is certain after this piece."""
        return self._decoder.decode(piece.encode("utf-16-le", "surrogatepass"), last)


def number(value: object) -> int | None:
    """A count as a server sends it: a finite number from 0 on; None for anything else."""
    usable = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 2**53
    return int(value) if usable else None  # type: ignore[call-overload]
