"""Forgotten imports: added where they are missing for certain, and nothing else is touched."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localgif.records import Limits, Verdict
from localgif.search.programs import render
from localgif.search.reply_checks import with_imports
from tests.kit import program


def without_imports(code: str) -> str:
    return "\n".join(line for line in code.splitlines() if not line.startswith(("import ", "from ")))


def test_a_program_that_forgot_all_its_imports_runs_with_them() -> None:
    bare = without_imports(program(24))
    assert render(bare, Limits()).verdict is Verdict.ERROR
    assert with_imports(bare).startswith("import math\nfrom PIL import Image, ImageDraw\n")
    assert render(with_imports(bare), Limits()).verdict is Verdict.OK


def test_a_program_that_has_them_is_left_as_it_is() -> None:
    assert with_imports(program(24)) == program(24)


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
