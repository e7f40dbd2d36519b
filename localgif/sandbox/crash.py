"""How a program's exception is told: by the confined process that saw it, and by us who read what it wrote.

Standard library only: the child loads this. What the child writes is the program's claim, since the program runs in
the same process and can print the same lines; nothing but text for people and reflectors is made of it.
"""

from __future__ import annotations

import re
from collections import deque
from types import TracebackType

#: The name under which a program is compiled.
FILENAME = "program.py"
#: Frames of the program that are shown, innermost last.
FRAMES = 3
#: Longest exception message that is shown, characters.
MESSAGE_CAP = 2048
#: Longest source line that is shown, characters.
LINE_CAP = 200

_HEADER = "Traceback (most recent call last):\n"
_FRAME = re.compile(rf'  File "{re.escape(FILENAME)}", line (\d+)[^\n]*\n(?:    [^\n]*\n)?')


def lines_of(source: str) -> list[str]:
    """The lines as Python counts them (str.splitlines counts form feeds and more)."""
    return re.split(r"\r\n|\r|\n", source)


def format_crash(error: BaseException, source: list[str]) -> str:
    """A traceback of the program's own last frames, ending in "Type: message".

    Args:
        error: What was raised; its class and its __str__ are the program's and may do anything.
        source: Lines of the program.
    """
    places = _places(error.__traceback__)
    if isinstance(error, SyntaxError) and error.filename == FILENAME and error.lineno:
        places.append((error.lineno, "<module>"))
    text = _HEADER
    for number, function in list(places)[-FRAMES:]:
        line = source[number - 1].strip() if 0 < number <= len(source) else ""
        text += f'  File "{FILENAME}", line {number}, in {function}\n    {line[:LINE_CAP]}\n'
    message = _message(error)
    kind = type(error).__name__
    return text + (f"{kind}: {message}\n" if message else f"{kind}\n")


def _places(traceback: TracebackType | None) -> deque[tuple[int, str]]:
    """Line and function of the program's innermost frames. A loop, since a deep recursion has a long traceback."""
    found: deque[tuple[int, str]] = deque(maxlen=FRAMES)
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if code.co_filename == FILENAME:
            found.append((traceback.tb_lineno, code.co_name))
        traceback = traceback.tb_next
    return found


def _message(error: BaseException) -> str:
    if isinstance(error, SyntaxError) and isinstance(error.msg, str):
        return error.msg[:MESSAGE_CAP]
    try:
        return str(error)[:MESSAGE_CAP].strip()
    except MemoryError:
        raise
    except BaseException:  # its __str__ is the program's code
        return "(its message cannot be shown)"


def claim(output: str, source: list[str]) -> str:
    """What a failed program's output says went wrong, as "Type: message (line N: <source line>)".

    Without a traceback of ours in it: the last line. Empty when there is no output.
    """
    start = output.rfind(_HEADER)
    if start < 0:
        lines = output.strip().splitlines()
        return lines[-1].strip() if lines else ""
    position, number = start + len(_HEADER), 0
    while match := _FRAME.match(output, position):
        position, number = match.end(), int(match[1][:9])
    said = output[position:].strip()
    if 0 < number <= len(source):
        return f"{said} (line {number}: {source[number - 1].strip()[:LINE_CAP]})"
    return said
