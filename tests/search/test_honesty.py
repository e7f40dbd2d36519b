"""The honesty rule: no text that ships draws a brief. What reads as a program is run and must draw nothing."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from localgif.agent import extract, form, phrasebook
from localgif.records import Limits
from localgif.search.programs import render
from localgif.search.reflector import adapt_program, facts, sharpen_rule, write_program, write_rule
from localgif.tasks.suite import load_suite
from tests.support.kit import program

PACKAGE = Path(__file__).parent.parent.parent / "localgif"
#: Recorded answers that draw a brief: data of `localgif demo`, which is no run that anybody may take for a result.
DEMO = PACKAGE / "run" / "demo.json"
#: Prompts that come with localgif for drawings; test_no_search_reads_the_prompts_that_ship.
SHIPPED = PACKAGE / "run" / "prompts"
CALL = "\n\ndef make_gif(path):\n    {}\n"


def texts() -> Iterator[tuple[str, str]]:
    """Every text that ships: data files whole, and each string of each module, joined where the source joins them."""
    for path in sorted(PACKAGE.rglob("*")):
        if (
            path.suffix in {".toml", ".txt", ".md", ".html", ".jinja", ".json"}
            and path != DEMO
            and path.parent != SHIPPED
        ):
            yield path.name, path.read_text()
        elif path.suffix == ".py":
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) > 40:
                    yield f"{path.name}:{node.lineno}", node.value


def programs(text: str) -> Iterator[str]:
    """What a reader could take for a program: as the extractor reads it, and as bare statements in a function."""
    code = extract.extract(text)
    if code is not None:
        yield code
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    body = [line for line in lines if _parses(line) and not line.isidentifier()]
    if body:
        yield "import math\nfrom PIL import Image, ImageDraw\n" + CALL.format("\n    ".join(body))


def _parses(line: str) -> bool:
    try:
        return bool(ast.parse(line).body)
    except (SyntaxError, ValueError):
        return False


def draws(code: str) -> bool:
    """Whether it makes a GIF in which something moves: a single picture is no brief of ours."""
    measured = render(code, Limits()).measurements
    return measured is not None and measured.distinct_frames > 1


def test_the_check_itself_finds_a_program() -> None:
    assert any(draws(code) for code in programs(f"Do it like this:\n```python\n{program(24)}```\n"))


@pytest.mark.slow
def test_nothing_that_ships_draws_an_animation() -> None:
    found = {code: place for place, text in texts() for code in programs(text)}
    assert [place for code, place in found.items() if draws(code)] == []


def test_only_the_demo_reads_its_recorded_answers() -> None:
    assert any(draws(code) for said in json.loads(DEMO.read_text())["answers"]["example"] for code in programs(said[0]))
    readers = {path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py") if DEMO.stem in path.read_text()}
    names = {path for path in readers if "demo.json" in (PACKAGE / path).read_text()}
    assert names == {Path("run/demo.py")}
    # What a search loads (agent, search, gif, tasks, sandbox) cannot import `run`; only the command does.
    imports = {path for path in readers if "localgif.run.demo" in (PACKAGE / path).read_text()}
    assert imports == {Path("cli/run.py")}
    assert all(path.parts[0] not in ("agent", "search", "gif", "tasks", "sandbox", "endpoint") for path in readers)


@pytest.mark.parametrize("asked", ["program", "adapted", "rule", "sharper", "facts"])
@pytest.mark.parametrize("tasks", ["bouncing-ball", "bouncing-ball,spinning-square"])
def test_no_request_to_the_reflector_draws_an_animation(asked: str, tasks: str) -> None:
    suite = load_suite("multi" if "," in tasks else "single", tasks)
    task, other = suite.train[0], suite.train[-1]
    background = facts(task.targets)
    standing = {each.brief: 0.5 for each in suite.train}
    text = {
        "program": write_program(task, background),
        "adapted": adapt_program(task, background, other, "pass"),
        "rule": write_rule(suite, task, background, (), "nothing moves", "", standing),
        "sharper": sharpen_rule(suite, task, background, "Move it.", "nothing moves", standing),
        "facts": background,
    }[asked]
    assert not any(draws(code) for code in programs(text))
    subject = {"ball", "bounce", "bouncing", "red"}
    assert not subject & set(background.lower().split()), "facts are about Pillow, not about a brief"


def test_the_phrasebook_draws_nothing() -> None:
    lines = "".join(f"        {line}\n" for line in phrasebook.listing().splitlines())
    code = f"{form.FUNCTIONS}\ndef make_gif(path):\n    for t in (0, 1):\n        color = 'red'\n{lines}"
    assert render(code, Limits()).gif is None
    assert "paint(" not in phrasebook.listing() and "canvas(" not in phrasebook.listing()


def test_no_search_reads_the_prompts_that_ship() -> None:
    naming = re.compile(r"\bshipped\(|import .*\bshipped\b")
    readers = [path for path in PACKAGE.rglob("*.py") if naming.search(path.read_text())]
    assert {path.relative_to(PACKAGE).as_posix() for path in readers} == {"cli/results.py", "run/draw.py"}
