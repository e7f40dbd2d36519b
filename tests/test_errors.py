"""Every error has a code; docs/errors.md describes exactly these codes, with their exit codes."""

from __future__ import annotations

import ast
import inspect
import re
from collections import defaultdict
from pathlib import Path

import pytest

from localgif import errors
from localgif.cli.shared import complain
from localgif.errors import ConfigError, LocalGifError, OutboundRefused

ROOT = Path(__file__).parent.parent
KINDS: dict[str, type[LocalGifError]] = {
    name: kind
    for name, kind in vars(errors).items()
    if inspect.isclass(kind) and issubclass(kind, LocalGifError) and kind is not LocalGifError
}


def raised() -> dict[str, set[int]]:
    """Code -> exit codes, from the source."""
    found: dict[str, set[int]] = defaultdict(set)
    for kind in KINDS.values():
        found[kind.code].add(kind.exit_code)
    for path in (ROOT / "localgif").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            given = [word for word in getattr(node, "keywords", ()) if word.arg == "code"]
            if not given or not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            for part in ast.walk(given[0].value) if node.func.id in KINDS else ():
                if isinstance(part, ast.Constant) and str(part.value).startswith("E-"):
                    found[str(part.value)].add(KINDS[node.func.id].exit_code)
    return dict(found)


def described() -> dict[str, set[int]]:
    """The same from docs/errors.md; every entry must have cause, evidence and remedy."""
    text = (ROOT / "docs" / "errors.md").read_text("utf-8")
    found: dict[str, set[int]] = {}
    for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        chapter = re.match(r"Exit code (\d)", part)
        for entry in re.split(r"^### ", part, flags=re.MULTILINE)[1:]:
            code, _, body = entry.partition("\n")
            assert chapter and code not in found, code
            said = re.findall(r"^- (\w+): (.+)$", body, re.MULTILINE)
            assert [word for word, _ in said] == ["cause", "shown", "remedy"], code
            found[code] = {int(chapter[1])}
    return found


def test_the_page_and_the_source_name_the_same_codes_with_the_same_exit_codes() -> None:
    assert described() == raised()


def test_the_page_has_a_row_for_every_exit_code() -> None:
    text = (ROOT / "docs" / "errors.md").read_text("utf-8")
    rows = {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)}
    own = {value for name, value in vars(errors).items() if name.startswith("EXIT_")}
    assert rows == {0, 1, *own, *(kind.exit_code for kind in KINDS.values())}


def test_no_code_is_written_anywhere_that_nobody_raises() -> None:
    written = {
        code
        for folder, pattern in ((ROOT / "localgif", "*.py"), (ROOT / "docs", "*.md"))
        for path in folder.rglob(pattern)
        for code in re.findall(r"\bE-[A-Z]+(?:-[A-Z]+)*\b", path.read_text("utf-8"))
    }
    assert written == set(raised())


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.__name__)
def test_each_kind_has_a_code_that_one_error_may_sharpen(kind: type[LocalGifError]) -> None:
    plain, sharp = kind("what", "do this"), kind("what", code="E-OTHER")
    assert re.fullmatch(r"E-[A-Z]+(-[A-Z]+)*", plain.code) and sharp.code == "E-OTHER"
    assert kind("again").code == plain.code, "one error says nothing about the next"
    assert (plain.message, plain.remedy, sharp.remedy) == ("what", "do this", "")


def test_what_a_user_sees_begins_with_the_code(capsys: pytest.CaptureFixture[str]) -> None:
    complain(ConfigError("models.toml: \x1b[31mred", "first\nsecond", code="E-CONFIG-KEY"))
    said = capsys.readouterr().err
    assert said.startswith("error [E-CONFIG-KEY]: models.toml: ") and "\x1b" not in said
    assert said.splitlines()[1:] == ["  first", "  second"]


def test_a_refusal_is_an_endpoint_error_and_a_network_that_is_not_there() -> None:
    error = OutboundRefused("no way", "do this")
    assert isinstance(error, OSError) and error.exit_code == 4 and error.code == "E-OFFLINE"
    assert error.strerror == "no way" and str(error) == "no way\ndo this"
