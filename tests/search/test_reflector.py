"""What a reflector's reply must be before it may cost anything; the bad ones were written by real small models."""

from __future__ import annotations

import ast
import functools
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localgif.records import Limits, Verdict
from localgif.search.evaluator import prompt_of, seed_of
from localgif.search.programs import canonical, foreign_imports, render, with_imports
from localgif.search.reflector import RULE_CAP, Rejected, contradiction, read_program, read_rule
from localgif.tasks.suite import load_suite
from localgif.tasks.task import load_task
from tests.support import kit
from tests.support.kit import seconds

REPLIES = sorted((Path(__file__).parent.parent / "corpus" / "replies").glob("*.json"))
BALL = load_task("bouncing-ball")
ALONE = load_suite("single", "bouncing-ball")
FIXED = prompt_of(seed_of(ALONE), ALONE)
GOOD = "Rule: Draw the shape at a new place in every frame."
CODE = "```python\nimport math\ndef make_gif(path):\n    pass\n```"


def as_rule(reply: str, finish: str = "stop", present: tuple[str, ...] = ()) -> str | Rejected:
    return read_rule(reply, finish, present, FIXED, BALL.targets)


def code_of(result: object) -> str:
    return result.code if isinstance(result, Rejected) else "accepted"


def test_there_are_twenty_captured_replies_of_three_models() -> None:
    assert len(REPLIES) >= 20
    assert len({json.loads(path.read_text())["model"] for path in REPLIES}) == 3


@pytest.mark.parametrize("path", REPLIES, ids=lambda p: p.stem)
def test_no_captured_bad_reply_becomes_part_of_a_candidate(path: Path) -> None:
    said = json.loads(path.read_text())
    if said["asked"] == "program":
        result: object = read_program(said["reply"], said["finish"])
    else:  # a rule, or the whole prompt that GEPA's stock reflection asks for
        result = as_rule(said["reply"], said["finish"])
    assert code_of(result) == said["reason"]


def test_a_rule_is_taken_from_its_line() -> None:
    text = "Draw the shape at a new place in every frame."
    for reply in (GOOD, f"**Rule:** {text}", f"1. Rule: {text}", f"Rule: {text}\n\nThis helps because ...", text):
        assert as_rule(reply) == text


@pytest.mark.parametrize(
    ("reply", "finish", "code"),
    [
        ("", "stop", "empty"),
        (" \n ", "stop", "empty"),
        ("<think>what could it be", "stop", "thinking"),
        ("<think>so</think>", "stop", "thinking"),
        (GOOD, "length", "cut_off"),
        (GOOD, "loop", "loop"),
        (CODE, "stop", "function_for_rule"),
        ("Rule: def make_gif(path): pass", "stop", "function_for_rule"),
        ("Rule: " + "very " * 60 + "long", "stop", "too_long"),
        ("Rule: Move it.", "stop", "no_rule"),
        ("Rule: The rule should avoid the worst problem.", "stop", "no_rule"),
        ("Okay, the problem is that nothing moves in it.", "stop", "monologue"),
        ("The ball stands still.\nIt must move.\nSo move it.", "stop", "monologue"),
        ("Rule: Draw exactly 30 frames and move the shape.", "stop", "contradiction"),
        ("Rule: Set the duration to 100 for each frame.", "stop", "contradiction"),
        ("Rule: Use numpy to compute all the positions.", "stop", "contradiction"),
        ("Rule: Define a function named draw_ball() that draws it.", "stop", "contradiction"),
        ("Rule: The file stays under 100 KB.", "stop", "unchanged"),
    ],
)
def test_each_kind_of_bad_rule_has_its_code(reply: str, finish: str, code: str) -> None:
    assert code_of(as_rule(reply, finish)) == code


def test_a_rule_that_is_there_is_a_duplicate_however_it_is_written() -> None:
    present = ("Draw the shape at a new place in every frame",)
    assert code_of(as_rule("rule: DRAW the shape, at a new place in every frame!", present=present)) == "duplicate"


def test_what_agrees_with_the_task_does_not_contradict_it() -> None:
    for text in (
        "Use all 24 frames for one turn.",
        "Keep duration=40 for each frame.",
        "Do not use numpy.",
        "In 1 frame",
    ):
        assert contradiction(text, BALL.targets) == ""


@pytest.mark.parametrize(
    ("reply", "finish", "code"),
    [
        ("", "stop", "empty"),
        ("I cannot do that.", "stop", "no_program"),
        ("```python\nimport math\ndef make_gif(path):\n    x = (1,\n```", "stop", "syntax"),
        ("```python\ndef draw(path):\n    pass\n```", "stop", "no_function"),
        ("```python\nimport numpy\ndef make_gif(path):\n    pass\n```", "stop", "other_library"),
        ("```python\ndef make_gif(path):\n    from cv2 import line\n```", "stop", "other_library"),
        ("```python\ndef make_gif(path):\n    pass\n", "length", "cut_off"),
        ("<think>```python\ndef make_gif(path):\n    pass\n```", "stop", "thinking"),
    ],
)
def test_each_kind_of_bad_program_has_its_code(reply: str, finish: str, code: str) -> None:
    assert code_of(read_program(reply, finish)) == code


def test_a_whole_program_before_the_place_where_a_reply_was_cut_is_used() -> None:
    assert isinstance(read_program(f"{CODE}\nThis program", "length"), str)


@given(st.text(max_size=600), st.sampled_from(["stop", "closed", "length", "loop"]))
def test_whatever_is_accepted_is_one_short_line_that_contradicts_nothing(reply: str, finish: str) -> None:
    result = as_rule(reply, finish)
    if isinstance(result, str):
        assert result == " ".join(result.split())
        assert len(result) <= RULE_CAP
        assert "```" not in result and "def " not in result
        assert contradiction(result, BALL.targets) == ""
    else:
        assert result.code and result.remedy


@given(st.text(max_size=600))
def test_any_text_is_read_without_an_exception(reply: str) -> None:
    read_program(reply, "stop")


def without_imports(code: str) -> str:
    return "\n".join(line for line in code.splitlines() if not line.startswith(("import ", "from ")))


def test_a_program_that_forgot_all_its_imports_runs_with_them() -> None:
    bare = without_imports(kit.program(24))
    assert render(bare, Limits()).verdict is Verdict.ERROR
    assert with_imports(bare).startswith("import math\nfrom PIL import Image, ImageDraw\n")
    assert render(with_imports(bare), Limits()).verdict is Verdict.OK


def test_a_program_that_has_them_is_left_as_it_is() -> None:
    assert with_imports(kit.program(24)) == kit.program(24)


@pytest.mark.parametrize(
    "code",
    [
        "from math import *\nmath.cos(1)\n",
        "def f(math):\n    return math.cos(1)\n",
        "math = 3\nmath.real\n",
        "for copy in []:\n    copy.x\n",
        "import math as random\nrandom.cos(1)\n",
        "import os.path\nos.getcwd()\n",
        "def random():\n    pass\nrandom.x\n",
        "class string:\n    pass\nstring.x\n",
        "try:\n    pass\nexcept OSError as code:\n    code.args\n",
        "copy + 1\n",
        "numpy.zeros(3)\n",
        "draw.ellipse((0, 0, 1, 1))\n",
    ],
)
def test_what_is_bound_or_no_module_of_ours_gets_none(code: str) -> None:
    assert with_imports(code) == code


@pytest.mark.parametrize("head", ['"""Draws."""\n', "from __future__ import annotations\n", "# \u00e4\n\n"])
def test_the_import_goes_where_one_may_stand(head: str) -> None:
    done = with_imports(f"{head}math.pi\n")
    assert compile(done, "p", "exec") and "import math\n" in done and ast.parse(done)


@given(st.lists(st.sampled_from(["math.pi", "Image.new", "x = 1", "import math", "math = 1", "ImageDraw.Draw"])))
def test_the_rest_of_the_program_stays_and_a_second_time_changes_nothing(lines: list[str]) -> None:
    code = "\n".join(lines)
    done = with_imports(code)
    assert done.endswith(code)
    assert with_imports(done) == done


@pytest.mark.parametrize("tail", ["f" + "()" * 400, "-" * 400 + "1", "+".join(["1"] * 340), "x = 0x" + "f" * 3700])
def test_what_pythons_tools_cannot_work_through_is_cut_from_a_program_or_rejected(tail: str) -> None:
    whole = "def make_gif(path):\n    pass\n"
    assert read_program(f"```python\n{whole}{tail}\n```", "stop") == whole
    read = read_program(f"```python\n{tail}\n{whole}```", "stop")
    assert isinstance(read, Rejected) and read.code == "syntax"
    for code in (f"{whole}{tail}\n", f"{tail}\n{whole}"):
        assert canonical(code) is None and with_imports(code) == code and foreign_imports(code) == ()


@pytest.mark.parametrize(
    "part", ["\n", "*", " ", "- ", "a", "rule ", "Rule:", "1", "duration ", "a.b(", "<think>", "```\n"]
)
def test_the_time_to_read_a_rule_grows_with_the_reply_and_no_faster(part: str) -> None:
    task = load_task("bouncing-ball")
    for reply in (part * (40_000 // len(part)), "Rule: " + part * (40_000 // len(part))):
        assert seconds(functools.partial(read_rule, reply, "stop", (), "fixed", task.targets)) < 2
