"""What the numbers of a GIF show, and what in its program likely causes it. Pure.

`seen` reads the measurements alone; `likely` compares them with the text of the program. Each finding is one sentence
with its numbers; a program line is quoted with its number, as it stands there.
"""

from __future__ import annotations

import ast
import statistics
from collections.abc import Iterator

from localgif.records import Measurements

#: A seam this many times a normal step is worth a word.
SEAM = 1.5
#: Share of the steps in which the painted area must grow for a trail.
TRAIL_STEPS = 0.8
#: Longest quoted program line, characters.
LINE_CAP = 100


def seen(m: Measurements) -> list[str]:
    """What the measurements show beyond the parts of a score."""
    return [*_merged(m), *_repeats(m), *_seam(m), *_trail(m)]


def _merged(m: Measurements) -> Iterator[str]:
    """Pillow adds the delay of a frame that equals its neighbour to that neighbour."""
    usual = statistics.mode(m.delays_ms)
    for number, delay in enumerate(m.delays_ms, 1):
        if usual > 0 and delay >= 2 * usual and delay % usual == 0:
            count = delay // usual
            yield (
                f"frame {number} is shown for {delay} ms, {count} times as long as the others: {count} neighbouring "
                "frames were equal and Pillow merged them into one."
            )
            return


def _repeats(m: Measurements) -> Iterator[str]:
    if m.distinct_frames < m.frames:
        yield f"only {m.distinct_frames} of {m.frames} frames are different."


def _seam(m: Measurements) -> Iterator[str]:
    if m.motion > 0 and m.gap / m.motion >= SEAM:
        yield (
            f"the last frame differs from the first one {m.gap / m.motion:.1f} times more than neighbouring frames do: "
            "the motion does not come back to where it began."
        )


def _trail(m: Measurements) -> Iterator[str]:
    growing = [later > earlier for earlier, later in zip(m.ink, m.ink[1:], strict=False)]
    if len(growing) >= 3 and sum(growing) >= TRAIL_STEPS * len(growing) and m.ink[-1] >= 2 * m.ink[0]:
        yield (
            f"the painted area grows in {sum(growing)} of {len(growing)} steps, from {100 * m.ink[0]:.1f} % to "
            f"{100 * m.ink[-1]:.1f} % of the picture: earlier frames are not cleared."
        )


def likely(code: str, m: Measurements | None) -> list[str]:
    """What in the program likely causes what was measured; empty when it does not parse or nothing stands out."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    lines = code.splitlines()
    if m is None:
        return []
    return [*_saving(tree, lines, m), *_standing_still(tree, m), *_one_canvas(tree, lines, m)]


def _saving(tree: ast.Module, lines: list[str], m: Measurements) -> Iterator[str]:
    for call in _calls(tree, "save"):
        keywords = {k.arg: k.value for k in call.keywords}
        place = _quoted(lines, call.lineno)
        if m.frames == 1 and "append_images" not in keywords:
            yield f"{place} stores one picture: it has no append_images."
        elif m.frames == 1 and "save_all" not in keywords:
            yield f"{place} stores one picture: it has no save_all=True."
        if "duration" not in keywords and m.frames > 1 and not any(m.delays_ms):
            yield f"{place} sets no duration, so the frames have none."
        if "loop" not in keywords and m.loop is None and m.frames > 1:
            yield f"{place} sets no loop, so the GIF plays once."


def _standing_still(tree: ast.Module, m: Measurements) -> Iterator[str]:
    """A loop whose variable is used by nothing draws the same picture each time."""
    if m.distinct_frames > 1:
        return
    for loop in (node for node in ast.walk(tree) if isinstance(node, ast.For)):
        if not isinstance(loop.target, ast.Name):
            continue
        name = loop.target.id
        body = [part for statement in loop.body for part in ast.walk(statement)]
        used = any(isinstance(part, ast.Name) and part.id == name for part in body)
        changed = any(isinstance(part, ast.AugAssign) for part in body)
        if not used and not changed:
            yield f"the loop of line {loop.lineno} draws the same in every turn: nothing in it depends on {name}."
            return


def _one_canvas(tree: ast.Module, lines: list[str], m: Measurements) -> Iterator[str]:
    """A picture made once, before the loop, keeps what was drawn."""
    loops = [node for node in ast.walk(tree) if isinstance(node, ast.For | ast.While)]
    inside = {id(part) for loop in loops for part in ast.walk(loop)}
    made = list(_calls(tree, "new"))
    outside = [call for call in made if id(call) not in inside]
    trail = bool(list(_trail(m)))
    if loops and outside and len(outside) == len(made) and (trail or m.distinct_frames == 1):
        yield f"{_quoted(lines, outside[0].lineno)} makes one picture for all frames, outside the loop."


def _calls(tree: ast.Module, method: str) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == method:
            yield node


def _quoted(lines: list[str], number: int) -> str:
    text = lines[number - 1].strip() if 0 < number <= len(lines) else ""
    return f"line {number} ({text[:LINE_CAP]})"
