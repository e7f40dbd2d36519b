"""No regular expression of localgif takes more than linear time, whatever text it meets.

Every pattern is found, in the modules' constants and in their calls of `re`, and tried on long texts made of its own
characters and words: those are the texts that could make it go back and forth.
"""

from __future__ import annotations

import ast
import importlib
import itertools
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import localgif
from tests.support.kit import seconds

PACKAGE = Path(localgif.__file__).parent
#: These start something when they are imported, or need what may be missing, and read no text of others.
LEFT_OUT = {"__main__", "models/run_pip", "sweep/cluster", "sweep/worker"}
#: Patterns that a function makes from its arguments, and why that is safe.
MADE = {
    ("agent/form", "_sets"): "a name of the form",
    ("agent/guide", "_sets"): "names of the form, with one separator each",
    ("agent/form", "_owner"): "words of a table",
    ("search/assignments", "likely"): "words of a table",
    ("search/assignments", "_moved"): "a number",
    ("search/assignments", "_noun_in"): "words of a table",
    ("tasks/words", "_blocks"): "phrases of words.txt; a brief has at most 400 characters",
    ("tasks/words", "numbers"): "phrases of a table; a brief has at most 400 characters",
    ("endpoint/thoughts", "_open"): "a name, escaped",
    ("files", "content_name"): "a number of digits",
}
#: Patterns that take the square of a text's length, and why they never meet such a text.
MEETS_NO_SUCH_TEXT = {
    ("endpoint/ollama_request", "findall"): "it reads what another pattern matched as a whole",
    ("tasks/words", "sub"): "it reads words.txt",
}
#: How a pattern is used decides where it starts to look: at one place, or at each.
ANCHORED = {"match", "fullmatch"}
EVERYWHERE = {"search", "sub", "subn", "findall", "finditer", "split"}
#: Characters of the longest text; a linear pattern takes well under a millisecond for it, a quadratic one over 20.
LONG = 3_000


def modules() -> Iterator[tuple[str, ModuleType, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).with_suffix("").as_posix()
        if name not in LEFT_OUT and path.name != "__init__.py":
            module = importlib.import_module(f"localgif.{name.replace('/', '.')}")
            yield name, module, ast.parse(path.read_text())


def held(value: object) -> Iterator[re.Pattern[Any]]:
    """The patterns in a constant, also inside of tables."""
    if isinstance(value, re.Pattern):
        yield value
    elif isinstance(value, dict | list | tuple | set | frozenset):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from held(inner)


def made_in(name: str, module: ModuleType, tree: ast.Module) -> Iterator[tuple[str, re.Pattern[Any]]]:
    """(method, pattern) of each call of `re` with a pattern that can be worked out without its surroundings."""
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef):
            continue
        for call in ast.walk(function):
            if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.args):
                continue
            if isinstance(call.func.value, ast.Name) and call.func.value.id == "re" and call.func.attr != "escape":
                flags = [k.value for k in call.keywords if k.arg == "flags"]
                flags += call.args[{"sub": 4, "compile": 1}.get(call.func.attr, 2) :][:1]
                made = ast.Expression(ast.Tuple([call.args[0], *flags], ast.Load()))
                try:
                    text, *given = eval(compile(ast.fix_missing_locations(made), name, "eval"), dict(vars(module)))
                except NameError:
                    assert (name, function.name) in MADE, f"{name}.{function.name} makes a pattern: say why it is safe"
                    continue
                yield call.func.attr, re.compile(text, *given)


def patterns() -> dict[tuple[str, re.Pattern[Any]], set[str]]:
    """(module, pattern) -> how it is used."""
    found: dict[tuple[str, re.Pattern[Any]], set[str]] = defaultdict(set)
    uses: dict[str, set[str]] = defaultdict(set)
    everything = list(modules())
    for _, _, tree in everything:
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute):
                held_by = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
                uses[held_by].add(node.attr)
    for name, module, tree in everything:
        for constant, value in vars(module).items():
            for pattern in held(value):
                found[name, pattern] |= uses[constant] & (ANCHORED | EVERYWHERE) or {"search"}
        for method, pattern in made_in(name, module, tree):
            found[name, pattern].add("search" if method == "compile" else method)
    return found


CATEGORIES = {"DIGIT": "0", "WORD": "a", "SPACE": " ", "NOT_SPACE": "a", "NOT_WORD": "-", "NOT_DIGIT": "a"}


def pieces(tree: Any) -> Iterator[str]:
    """The characters that parts of a pattern can match, and its words."""
    word = ""
    for code, value in tree:
        if str(code) == "LITERAL":
            word += chr(value)
            yield chr(value)
            continue
        yield word
        word = ""
        match str(code), value:
            case ("RANGE", (first, last)):
                yield from (chr(first), chr(last))
            case ("CATEGORY", kind):
                yield CATEGORIES.get(str(kind).removeprefix("CATEGORY_"), "a")
            case ("IN", parts):
                yield from pieces(parts)
            case ("ANY" | "NOT_LITERAL", _):
                yield from "a \n"
            case ("MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT", (_, _, inner)) | ("SUBPATTERN", (*_, inner)):
                yield from pieces(inner)
            case ("BRANCH", (_, branches)):
                for branch in branches:
                    yield from pieces(branch)
            case ("ASSERT" | "ASSERT_NOT", (_, inner)):
                yield from pieces(inner)
            case ("ATOMIC_GROUP", inner):
                yield from pieces(inner)
    yield word


def hard_texts(pattern: re.Pattern[Any], long: int) -> Iterator[str]:
    """Long texts of one or two of its pieces, alone and behind a beginning that fits."""
    text = pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode("latin-1")
    parser: Any = re._parser  # type: ignore[attr-defined]
    own = list(dict.fromkeys(piece for piece in pieces(parser.parse(text, pattern.flags & ~re.UNICODE)) if piece))
    singles = sorted(own, key=len)[:16] + sorted(own, key=len)[-4:]
    for one in dict.fromkeys([*singles, "a", " ", "\n"]):
        yield one * (long // len(one))
    for one, other in itertools.permutations(dict.fromkeys([*singles[:4], *singles[-2:]]), 2):
        yield (one + other) * (long // len(one + other))
        yield one + other * (long // len(other))


def applied(pattern: re.Pattern[Any], methods: set[str], text: str) -> Callable[[], object]:
    given = text.encode("utf-8", "replace") if isinstance(pattern.pattern, bytes) else text + "\0"
    if not methods - ANCHORED:
        return lambda: (pattern.match(given), pattern.fullmatch(given))
    return lambda: pattern.sub(given[:0], given)


def too_slow(pattern: re.Pattern[Any], methods: set[str], long: int = LONG) -> str:
    """A text for which time grows faster than its length; "" if there is none."""
    for text in hard_texts(pattern, long):
        if seconds(applied(pattern, methods, text)) < 0.01:
            continue
        half = min(seconds(applied(pattern, methods, text[: len(text) // 2])) for _ in range(3))
        if min(seconds(applied(pattern, methods, text)) for _ in range(3)) > 2.8 * half:
            return text[:40]
    return ""


def test_a_pattern_that_goes_back_and_forth_is_found() -> None:
    assert too_slow(re.compile(r"(?:a|b)*c*\s*[abc]*d"), {"match"}) and too_slow(re.compile(r"\s+$"), {"search"})
    assert not too_slow(re.compile(r"(?:a|b)*+d"), {"match"})


@pytest.mark.slow
def test_every_pattern_takes_linear_time() -> None:
    found = patterns()
    assert len(found) > 100 and {"endpoint/thoughts", "sandbox/text", "search/reflector"} <= {name for name, _ in found}
    slow = {(name, pattern.pattern, *how): too_slow(pattern, how) for (name, pattern), how in found.items()}
    known = {(name, *how) for (name, _, *how), text in slow.items() if text} & MEETS_NO_SUCH_TEXT.keys()
    assert known == MEETS_NO_SUCH_TEXT.keys(), "an exception that is not needed any more"
    assert not {key: text for key, text in slow.items() if text and (key[0], *key[2:]) not in MEETS_NO_SUCH_TEXT}
