"""`just bench`: each table lands in its section, a section that is missing is refused before anything runs."""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts import bench
from scripts.bench import BENCHES, END, PAGE, Bench, begin, run, section, tables
from scripts.figures import CONDITIONS
from scripts.sections import NoSection, replaced

ROOT = Path(__file__).parent.parent
LINES = st.text(st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp")), max_size=20).filter(
    lambda line: not line.startswith("<!--")
)
TEXTS = st.lists(LINES, max_size=6).map("\n".join)


def page(*names: str) -> str:
    """A page with text around its sections, each of which holds an old table."""
    return "# Page\n" + "".join(f"About {n}.\n{begin(n)}\nold {n}\n{END}\n" for n in names) + "The end.\n"


def prints(text: str, code: int = 0) -> Bench:
    """A benchmark that prints and ends so."""
    return Bench("bench-it", ("-c", f"import sys; print({text!r}); sys.exit({code})"))


def test_the_tables_land_in_their_section_and_nothing_else_changes(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(page("one", "two", "three"))
    figures = {"cores": 2, "repeat": 5, "load average": [0.1, 0.2], "reading": {"ms": 1.5}, "writing": {"ms": 2.0}}
    assert run({"two": prints(json.dumps(figures))}, path) == {}
    text = path.read_text()
    body = text.split(begin("two") + "\n")[1].split(f"\n{END}")[0]
    assert re.match(
        r"`just bench-it`, \d{4}-\d\d-\d\d, 2 CPU cores, repeated 5 times, load average before it 0.1, 0.2.\n\n", body
    )
    assert body.endswith("| | ms |\n|---|---|\n| reading | 1.5 |\n| writing | 2 |")
    assert text.replace(body, "old two") == page("one", "two", "three")


def test_a_failing_one_is_reported_and_the_others_go_on(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "page.md"
    path.write_text(page("one", "two", "three", "four"))
    good = prints('{"answers": 7}')
    failures = run(
        {"one": prints("{}", 3), "two": prints("no JSON"), "three": prints('{"cores": 2}'), "four": good}, path
    )
    assert failures.keys() == {"one", "two", "three"}
    said = capfd.readouterr().err
    assert "one: failed, it ended with exit code 3; its table stays as it was" in said
    assert "no JSON" in failures["two"]
    assert "no figures" in failures["three"]
    text = path.read_text()
    assert all(f"old {name}\n" in text for name in ("one", "two", "three"))
    assert "old four" not in text
    assert "| answers | 7 |" in text


def test_a_missing_section_is_refused_before_anything_runs(tmp_path: Path) -> None:
    path, ran = tmp_path / "page.md", tmp_path / "ran"
    path.write_text(page("one"))
    marks = Bench("bench-it", ("-c", f"open({str(ran)!r}, 'w'); print('{{\"a\": 1}}')"))
    with pytest.raises(NoSection, match="bench: two"):
        run({"one": marks, "two": marks}, path)
    assert not ran.exists()
    assert path.read_text() == page("one")
    assert run({"one": marks}, path) == {}
    assert ran.exists()


def test_the_command_refuses_a_name_that_is_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["bench", "skore"])
    with pytest.raises(SystemExit) as ended:
        bench.main()
    assert ended.value.code == 2
    assert "there is no benchmark skore; there are endpoint, storm" in capsys.readouterr().err


def test_each_benchmark_has_its_recipe_and_its_section() -> None:
    recipes, text = (ROOT / "Justfile").read_text(), PAGE.read_text()
    for name, one in BENCHES.items():
        line = recipes.split(f"\n{one.recipe} *args:\n")[1].split("\n")[0]
        assert line == f'    @scripts/env python {" ".join(one.command)} "$@"'
        replaced(text, begin(name), END, "fits")


def test_figures_with_the_same_columns_share_a_table_and_keep_their_order() -> None:
    found: dict[str, Any] = {"alone": 1200, "a": {"s": 1.0, "x": None}, "yes": True, "b": {"s": 0.25, "x": "a|b"}}
    assert tables(found) == (
        "| | |\n|---|---|\n| alone | 1,200 |\n| yes | yes |\n\n"
        "| | s | x |\n|---|---|---|\n| a | 1 | |\n| b | 0.25 | a\\|b |\n"
    )


VALUES = st.one_of(st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8), st.none())
ROWS = st.dictionaries(st.text(max_size=5), VALUES, min_size=1, max_size=4)


@given(st.dictionaries(st.text(min_size=1, max_size=8), st.one_of(VALUES, ROWS), min_size=1, max_size=8))
def test_every_figure_gets_one_row_with_all_its_cells(found: dict[str, Any]) -> None:
    lines = [line for line in section("it", found, date(2026, 11, 28)).split("\n")[2:] if line]
    groups = {tuple(v) if isinstance(v, dict) else ("",) for n, v in found.items() if n not in CONDITIONS}
    figures = [n for n in found if n not in CONDITIONS]
    assert len(lines) == len(figures) + 2 * len(groups)
    cells = sorted(len(re.findall(r"(?<!\\)\|", line)) - 1 for line in lines)
    widths = [1 + (len(found[n]) if isinstance(found[n], dict) else 1) for n in figures]
    assert cells == sorted([*widths, *(len(columns) + 1 for columns in groups for _ in range(2))])


@given(TEXTS, TEXTS, TEXTS, TEXTS)
def test_what_stands_outside_of_a_section_is_never_touched(before: str, old: str, after: str, new: str) -> None:
    text = f"{before}\n<!-- a -->\n{old}\n<!-- b -->\n{after}"
    once = replaced(text, "<!-- a -->", "<!-- b -->", new)
    assert once.startswith(f"{before}\n<!-- a -->\n")
    assert once.endswith(f"\n<!-- b -->\n{after}")
    assert replaced(once, "<!-- a -->", "<!-- b -->", new) == once
    assert replaced(once, "<!-- a -->", "<!-- b -->", old.strip("\n")) == replaced(
        text, "<!-- a -->", "<!-- b -->", old
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<!-- b -->\nx", "stands 0 times"),
        ("<!-- a -->\n<!-- b -->\n<!-- a -->\n<!-- b -->", "stands 2 times"),
        ("<!-- b -->\n<!-- a -->\nx", "no line"),
        ("<!-- a -->\nx\n<!-- c -->\ny\n<!-- b -->", "another part begins"),
    ],
)
def test_marks_that_do_not_fit_are_refused(text: str, said: str) -> None:
    with pytest.raises(NoSection, match=said):
        replaced(text, "<!-- a -->", "<!-- b -->", "new")
