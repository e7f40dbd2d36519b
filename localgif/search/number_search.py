"""Better numbers for a program that runs: a search without a model.

A small model often writes a program with the right structure and wrong numbers: 30 frames, a delay of 100 ms, a step
that does not divide the circle. Each change replaces one or a few numbers in the program's own text; localgif runs and
measures the result and keeps it only if it scores higher. The search adds no statement, drawing or keyword.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from localgif.agent import form
from localgif.agent.extract import FUNCTION, parsed
from localgif.search.programs import Measure, Trial
from localgif.tasks.task import Targets

#: At most this many programs run per search.
BUDGET = 150
#: Programs in parallel, the same on every machine.
AT_ONCE = 2
#: A change is kept if it gains at least this much.
GAIN = 0.002

#: Larger numbers do not describe a picture.
_LARGEST = 1e9

Number = int | float
Change = dict[int, Number]
"""Position of a number (see `numbers`) -> its new value."""


class Site(NamedTuple):
    """One number of a program that may be changed."""

    position: int
    value: Number
    role: str
    """ "frames" if it counts iterations of a loop, "delay" if it is the duration of a frame, else ""."""


def numbers(code: str) -> list[Site]:
    """The numbers of a program in tree order, without colours, 0, 1 and huge ones; none if it does not parse."""
    tree = parsed(code) or ast.Module([], [])
    roles = _roles(tree)
    colours = _colours(tree)
    found = []
    # The drawing functions of the form are the same in every program, so their numbers stay.
    own = next((n.lineno for n in tree.body if getattr(n, "name", "") == FUNCTION), 0) if form.uses(code) else 0
    for position, node in enumerate(_constants(tree)):
        if node.lineno < own or id(node) in colours or (node.value in (0, 1) and id(node) not in roles):
            continue
        assert isinstance(node.value, int | float)
        if abs(node.value) > _LARGEST:
            continue
        found.append(Site(position, node.value, roles.get(id(node), "")))
    return found


def changed(code: str, change: Change) -> str:
    """The program with other numbers at some positions."""
    tree = parsed(code)
    assert tree is not None, "a program without numbers has no changes"
    for position, node in enumerate(_constants(tree)):
        if position in change:
            node.value = change[position]
    return ast.unparse(tree) + "\n"


def proposals(code: str, targets: Targets) -> Iterator[Change]:
    """Changes to try, the likely ones first."""
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
    measure: Measure,
    targets: Targets,
    goal: float,
    budget: int = BUDGET,
) -> Trial:
    """The best program found by hill climbing over numbers; the start itself if nothing scored higher.

    Args:
        start: A program that runs.
        measure: Gets at most AT_ONCE programs at a time; if both gain, the first wins.
        targets: The targets of the task.
        goal: The search ends at this score.
        budget: At most this many programs run.
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
    """The programs one change away, each once per search."""
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
    """Roles of numbers, by their place or by the place of the variable that holds them."""
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
    """Numbers that form a colour: tuples of three or four integers from 0 to 255."""
    found: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Tuple) and len(node.elts) in (3, 4):
            values = [e.value for e in node.elts if isinstance(e, ast.Constant)]
            if len(values) == len(node.elts) and all(type(v) is int and 0 <= v <= 255 for v in values):
                found.update(id(e) for e in node.elts)
    return found


def _towards(sites: list[Site], targets: Targets) -> Iterator[Change]:
    """Changes straight to the targets: the delay, the number of frames, and the numbers that depend on it."""
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
