"""docs/conformance.md names, for each of its 51 lines, the tests that carry the line's number, and no other."""

from __future__ import annotations

import ast
import re
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parent.parent / "docs" / "conformance.md"
ROW = re.compile(r"^\| (\d+) \| (.+?) \| (.*) \|$", re.M)
LINES = range(1, 52)


def marked() -> dict[int, set[str]]:
    """Number of a line -> names of the tests that are marked with it."""
    found: dict[int, set[str]] = {}
    for path in sorted(HERE.glob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                for number in _numbers(node):
                    found.setdefault(number, set()).add(node.name)
    return found


def _numbers(function: ast.FunctionDef) -> list[int]:
    calls = [one for one in function.decorator_list if isinstance(one, ast.Call)]
    ours = [call for call in calls if ast.unparse(call.func) == "pytest.mark.line"]
    return [ast.literal_eval(argument) for call in ours for argument in call.args]


def test_the_page_and_the_tests_say_the_same() -> None:
    rows = {int(number): set(re.findall(r"`(test_\w+)`", tests)) for number, _, tests in ROW.findall(PAGE.read_text())}
    assert list(rows) == list(LINES), "one row a line, in order"
    assert rows == marked()
    assert all(rows.values()), "no line without a test"
