"""The program survives whatever a small model puts around it."""

from __future__ import annotations

import ast
import functools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localgif.agent.extract import blocks, complete, extract, parsed
from tests.support.kit import seconds

PROGRAM = "from PIL import Image\n\ndef make_gif(path):\n    Image.new('RGB', (8, 8)).save(path)\n"
BODY = PROGRAM.strip("\n")


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(f"```python\n{PROGRAM}```", id="clean"),
        pytest.param(f"Sure! Here it is:\n\n```python\n{PROGRAM}```\n\nHope it helps.", id="prose around"),
        pytest.param(f"```\n{PROGRAM}```", id="no language"),
        pytest.param(f"```py title=gif.py\n{PROGRAM}```", id="words after the language"),
        pytest.param(f"~~~python\n{PROGRAM}~~~", id="tildes"),
        pytest.param(f"````python\n{PROGRAM}````", id="four backticks"),
        pytest.param(f"```python\n{PROGRAM}", id="cut fence"),
        pytest.param(PROGRAM, id="no fence"),
        pytest.param(f"Here is the code:\n{PROGRAM}\nThis function draws a ball.", id="no fence, prose around"),
        pytest.param(f"```bash\npip install pillow\n```\n```python\n{PROGRAM}```", id="install block first"),
        pytest.param(f"```python\n{PROGRAM}```\n```python\nmake_gif('x.gif')\n```", id="usage block last"),
        pytest.param(f"<think>use ```python\nx=1\n```</think>\n```python\n{PROGRAM}```", id="thinking"),
        pytest.param(f"so I will\n</think>\n```python\n{PROGRAM}```", id="thinking opened by the template"),
        pytest.param(
            "    ```python\n" + "".join(f"    {line}\n" for line in BODY.splitlines()) + "    ```", id="indented"
        ),
        pytest.param(f"```python\n{PROGRAM}```".replace("\n", "\r\n"), id="CRLF"),
    ],
)
def test_the_program_is_found(reply: str) -> None:
    code = extract(reply)
    assert code is not None
    assert ast.dump(ast.parse(code)) == ast.dump(ast.parse(PROGRAM))


def test_an_unfinished_line_at_the_end_of_a_cut_reply_is_dropped() -> None:
    code = extract(f"```python\n{PROGRAM}    frames[0].save(path, save_a")
    assert code is not None
    assert ast.dump(ast.parse(code)) == ast.dump(ast.parse(PROGRAM))


def test_imports_in_a_block_of_their_own_are_kept() -> None:
    code = extract("```python\nimport math\n```\nthen\n```python\ndef make_gif(path):\n    return math.pi\n```")
    assert code is not None and "import math" in code and "def make_gif" in code


def test_a_block_that_calls_the_function_is_not_prepended() -> None:
    code = extract("```python\nprint(open('/etc/passwd').read())\n```\n```python\ndef make_gif(path):\n    pass\n```")
    assert code is not None and "passwd" not in code


def test_code_that_does_not_parse_is_given_back_so_that_its_error_can_be_reported() -> None:
    code = extract("```python\ndef make_gif(path)\n    pass\n```")
    assert code is not None and "def make_gif(path)" in code


def test_another_function_name_is_still_a_program() -> None:
    code = extract("```python\ndef draw(path):\n    pass\n```")
    assert code is not None and "def draw" in code


@pytest.mark.parametrize(
    "reply", ["", "   \n", "I cannot do that.", "<think>hm", "```\n\n```", "important: from now on"]
)
def test_a_reply_without_a_program_gives_none(reply: str) -> None:
    assert extract(reply) is None


def test_the_stream_may_be_closed_after_the_first_complete_function_and_not_before() -> None:
    text = f"```bash\npip install pillow\n```\nand\n```python\n{PROGRAM}```\nThis code works by"
    ends = [position for position in range(len(text) + 1) if complete(text[:position])]
    assert ends[0] == text.index("```\nThis") + 3
    assert extract(text[: ends[0]]) == extract(text)


def test_a_block_without_the_function_does_not_close_the_stream() -> None:
    assert not complete("```python\nimport math\n```\n")


NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True).filter(lambda n: n not in ("make_gif",))
LINES = st.lists(
    st.one_of(
        st.builds("    {}_ = {}".format, NAMES, st.integers()),
        st.builds("    s_ = {!r}".format, st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)),
        st.just("    # ```not a fence"),
        st.just(""),
    ),
    max_size=12,
)


@given(LINES, st.sampled_from(["```python", "```", "~~~", "````py"]), st.sampled_from(["", "Here you go.\n\n"]))
def test_a_fenced_program_comes_out_as_it_went_in(lines: list[str], fence: str, before: str) -> None:
    program = "\n".join(["def make_gif(path):", "    pass", *lines]) + "\n"
    close = fence.rstrip("python")
    code = extract(f"{before}{fence}\n{program}{close}\nDone.")
    assert code is not None
    assert ast.dump(ast.parse(code)) == ast.dump(ast.parse(program))


@given(st.text(max_size=400))
def test_no_reply_whatever_breaks_the_extraction(reply: str) -> None:
    code = extract(reply)
    assert code is None or code.strip()
    if complete(reply):
        assert code is not None and "make_gif" in code


@given(st.lists(st.sampled_from(["```", "```python", "~~~", "def make_gif(p):", "    pass", "", "text"]), max_size=14))
def test_a_closed_block_stays_as_it_is_whatever_follows(lines: list[str]) -> None:
    reply = "\n".join(lines)
    before = [b for b in blocks(reply) if b.closed]
    after = blocks(reply + "\nmore text\n```x\ny")
    assert after[: len(before)] == before


# --- replies that are made to cost time ------------------------------------------------------------------------------

HARD = {
    "calls": "f" + "()" * 400,
    "signs": "-" * 100_000 + "1",
    "terms": "+".join(["1"] * 340),
    "digits": "x = 0x" + "f" * 3700,
    "brackets": "[" * 5000,
    "lambdas": "lambda:" * 3000,
    "subscripts": "a" + "[0]" * 20_000,
    "indents": "\n".join(" " * depth + "if 1:" for depth in range(120)),
    "format": "f'" + "{" * 3000,
    "NUL": "\0",
    "half a pair": "'\ud83d'",
    "escapes": "'\\d'",
}


@pytest.mark.parametrize("text", HARD.values(), ids=HARD)
def test_what_python_cannot_work_through_is_no_program_and_no_exception(text: str) -> None:
    for code in (text, f"{PROGRAM}{text}\n"):
        tree = parsed(code)
        if tree is not None:
            ast.unparse(tree)
        assert seconds(functools.partial(extract, f"```python\n{code}\n```")) < 2


@pytest.mark.parametrize(
    "part",
    [
        "`",
        "```\n",
        "~~~\n",
        "```python\ndef make_gif(\n```\n",
        "\n",
        "\r",
        "def \n",
        "x = (\n",
        "    a = 1\n",
        " ",
        "\t",
    ],
)
def test_the_time_to_read_a_reply_grows_with_it_and_no_faster(part: str) -> None:
    for reply in (part * (60_000 // len(part)), f"```python\n{PROGRAM}" + part * (60_000 // len(part)) + "x = ("):
        assert seconds(functools.partial(extract, reply)) + seconds(functools.partial(complete, reply)) < 2


def test_line_separators_of_unicode_end_no_line_of_a_program() -> None:
    program = "def make_gif(path):\n    s = 'a\u2028b\x85c\x0cd'\n"
    code = extract(f"```python\n{program}```")
    assert code == program
