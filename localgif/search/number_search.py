"""Other numbers for a program that runs: a search that needs no model.

A small model often writes a program whose shape is right and whose numbers are not: 30 frames, a delay of 100 ms, a
step that does not divide the circle. Each change is one or a few numbers of the program's own text, run and measured
like any other program; only what scores higher is kept. Nothing is added: no statement, no drawing, no keyword.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from localgif.search.programs import Trial
from localgif.tasks.task import Targets

#: Programs run for one search at most.
BUDGET = 150
#: Programs that are run at the same time, on every machine. Of two that gain the one that was to be tried first counts.
AT_ONCE = 2
#: What a change must gain to be kept.
GAIN = 0.002

Number = int | float
Change = dict[int, Number]
"""Position of a number (see `numbers`) -> its new value."""


class Site(NamedTuple):
    """One number of a program that may be changed."""

    position: int
    value: Number
    role: str
    """ "frames" when it counts a loop's turns, "delay" when it is the duration of a saved frame, else ""."""


def numbers(code: str) -> list[Site]:
    """The numbers of a program in the order of its tree; colours and 0 and 1 are left alone.

    Raises:
        SyntaxError: it does not parse.
    """
    tree = ast.parse(code)
    roles = _roles(tree)
    colours = _colours(tree)
    found = []
    for position, node in enumerate(_constants(tree)):
        if id(node) in colours or (node.value in (0, 1) and id(node) not in roles):
            continue
        assert isinstance(node.value, int | float)
        found.append(Site(position, node.value, roles.get(id(node), "")))
    return found


def changed(code: str, change: Change) -> str:
    """The program with other numbers at some positions."""
    tree = ast.parse(code)
    for position, node in enumerate(_constants(tree)):
        if position in change:
            node.value = change[position]
    return ast.unparse(tree) + "\n"


def proposals(code: str, targets: Targets) -> Iterator[Change]:
    """Changes worth a try, the likely ones first."""
    sites = numbers(code)
    yield from _towards(sites, targets)
    for site in sites:
        if not site.role:  # an amplitude of 0 turns a circle into a line
            yield {site.position: type(site.value)(0)}
    for site in sites:
        for value in _near(site.value):
            yield {site.position: value}


def tune(
    start: Trial,
    measure: Callable[[Sequence[str]], Sequence[Trial]],
    targets: Targets,
    goal: float,
    budget: int = BUDGET,
) -> Trial:
    """The best program found by changing numbers, step by step upwards.

    Args:
        start: A program that runs.
        measure: Runs and scores programs, at most AT_ONCE of them; gives the trials in their order.
        targets: What the task asks for.
        goal: Search no further once this score is reached.
        budget: How many programs may be run.

    Returns:
        The start itself when nothing scored higher.
    """
    best, left = start, budget
    seen = {start.code}
    untried = _untried(best.code, targets, seen)
    while left > 0 and best.score.total < goal:
        codes = list(islice(untried, min(AT_ONCE, left)))
        if not codes:
            break
        left -= len(codes)
        better = [t for t in measure(codes) if t.score.total >= best.score.total + GAIN]
        if better:
            best = better[0]
            untried = _untried(best.code, targets, seen)
    return best


def _untried(code: str, targets: Targets, seen: set[str]) -> Iterator[str]:
    """The programs that changes of one lead to, each once in a search."""
    for change in proposals(code, targets):
        text = changed(code, change)
        if text not in seen:
            seen.add(text)
            yield text


def _constants(tree: ast.Module) -> Iterator[ast.Constant]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and type(node.value) in (int, float):
            yield node


def _roles(tree: ast.Module) -> dict[int, str]:
    """What some numbers are for: by where they stand, or by where the name that they are given stands."""
    counted: set[str] = set()
    delays: set[str] = set()
    roles: dict[int, str] = {}

    def mark(node: ast.expr, role: str, names: set[str]) -> None:
        for part in ast.walk(node):
            if isinstance(part, ast.Constant) and type(part.value) in (int, float):
                roles[id(part)] = role
            elif isinstance(part, ast.Name):
                names.add(part.id)

    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range" and node.args:
            mark(node.args[min(1, len(node.args) - 1)], "frames", counted)
        for keyword in node.keywords if isinstance(node, ast.Call) else ():
            if keyword.arg == "duration":
                mark(keyword.value, "delay", delays)
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            names = {target.id for target in node.targets if isinstance(target, ast.Name)}
            if type(node.value.value) in (int, float):
                if names & counted:
                    roles[id(node.value)] = "frames"
                elif names & delays:
                    roles[id(node.value)] = "delay"
    return roles


def _colours(tree: ast.Module) -> set[int]:
    """Numbers that make up a colour: three or four of them in a tuple, 0 to 255, whole."""
    found: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Tuple) and len(node.elts) in (3, 4):
            values = [e.value for e in node.elts if isinstance(e, ast.Constant)]
            if len(values) == len(node.elts) and all(type(v) is int and 0 <= v <= 255 for v in values):
                found.update(id(e) for e in node.elts)
    return found


def _towards(sites: list[Site], targets: Targets) -> Iterator[Change]:
    """Straight to the targets: the delay, the number of frames, and what goes with the number of frames."""
    for site in sites:
        if site.role == "delay" and site.value != targets.delay_ms:
            yield {site.position: targets.delay_ms}
    for count in [s for s in sites if s.role == "frames" and 2 <= s.value <= 500 and s.value != targets.frames]:
        old, new = count.value, targets.frames
        alone: Change = {count.position: new}
        together: Change = {s.position: type(s.value)(new) for s in sites if s.value == old and s.role != "delay"}
        scaled = [
            {**together, s.position: _as(s.value, s.value * factor)}
            for s in sites
            if s.role == "" and s.value != old
            for factor in (old / new, new / old)
        ]
        yield together
        yield alone
        yield from scaled


def _near(value: Number) -> Iterator[Number]:
    seen = {value}
    for other in (value + 1, value - 1, value * 2, value / 2, value * 1.25, value * 0.8):
        number = _as(value, other)
        if number > 0 and number not in seen and number <= 10_000:
            seen.add(number)
            yield number


def _as(like: Number, value: float) -> Number:
    return round(value) if isinstance(like, int) else round(float(value), 4)
