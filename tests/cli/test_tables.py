"""Tables on stdout: of a run with one task, with several tasks, and of an unfinished run."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from localgif.cli.tables import compared_tables, models_text, print_run, result_table, runs_table
from localgif.records import RunResult, TaskResult
from localgif.run.model_list import Row
from localgif.search.progress import counted
from localgif.store.read import load_record
from localgif.sweep.compare import compare, group
from localgif.sweep.read import Finished
from tests.support.kit import run_result

V2 = Path(__file__).parent.parent / "runs" / "v2"


def shown(result: RunResult, width: int = 160) -> str:
    output = io.StringIO()
    result_table(Console(file=output, width=width), result)
    return output.getvalue()


WIDTHS = [60, 80, 120]
LONG = "a-task-with-a-rather-long-name-of-42-signs"


def row_of(text: str, name: str) -> str:
    """The line of a table that starts with a name."""
    return next(line for line in text.splitlines() if line.split()[:1] == [name])


def widest_of_table(text: str) -> int:
    """The longest line of a table; its rule consists of one character."""
    lines = text.splitlines()
    rule = next(n for n, line in enumerate(lines) if set(line.strip()) == {"─"})
    return max(len(line.rstrip()) for line in lines[rule - 1 : rule + 4])


@pytest.mark.parametrize("width", WIDTHS)
def test_the_table_of_a_run_fits_with_its_names_and_means(width: int) -> None:
    result = run_result()
    text = shown(result, width)
    assert widest_of_table(text) <= width
    assert f"{result.seed.mean:.3f}" in row_of(text, "seed") and f"{result.best.mean:.3f}" in row_of(text, "evolved")
    assert ("not shown in 60 columns: " in text) == (width == 60)


@pytest.mark.parametrize("width", WIDTHS)
def test_the_table_of_tasks_fits_with_its_names_and_means(width: int) -> None:
    row = TaskResult(
        task=LONG, brief="a thing that moves", family="own", seed_scores=(0.1,) * 8, best_scores=(0.5, 0.7) * 4,
        seed_mean=0.1, best_mean=0.6, difference=0.5,
    )  # fmt: skip
    text = shown(run_result(mode="multi", tasks=(row,)), width)
    assert widest_of_table(text) <= width
    assert "0.100" in text and "0.600" in text and "+0.500" in text
    first_column = "".join(line.split()[0] for line in text.splitlines() if line.strip())
    assert LONG in first_column, "the whole name, perhaps in two lines"


@pytest.mark.parametrize("width", WIDTHS)
def test_the_list_of_runs_fits_with_its_names_and_means(width: int) -> None:
    output = io.StringIO()
    name = "2026-11-29-081500-spinning-square"
    rows = [
        (name, "0.263", "0.941", "better", "done", "spinning-square"),
        ("cut", "", "", "the server http://127.0.0.1:11434 is gone", "failed", "a-task"),
    ]
    runs_table(Console(file=output, width=width), rows)
    assert row_of(output.getvalue(), name).split()[1:3] == ["0.263", "0.941"]
    assert widest_of_table(output.getvalue()) <= width


@pytest.mark.parametrize("width", WIDTHS)
def test_the_comparison_fits_with_its_names_and_means(width: int) -> None:
    runs = [
        Finished(
            name=f"r{n}", folder=Path(f"r{n}"), facets={"reflection": kind, "seed": n}, rule="strict-4",
            seed=((0.2 + n / 100,),), best=((0.3 + n / 50,),), is_seed=False, word="better", tokens=12_345,
            minutes=3.2, samples=24, version="0.1.0",
        )
        for n, kind in enumerate(["grounded", "plain"] * 3)
    ]  # fmt: skip
    compared = compare(group(runs, ("reflection",)))
    output = io.StringIO()
    compared_tables(Console(file=output, width=width), compared, ())
    text = output.getvalue()
    for row in compared.rows:
        assert f"{row.mean:.3f}" in row_of(text, row.group.name)
    assert max(len(line) for line in text.splitlines() if "not shown" not in line) <= width


def test_the_verdict_has_a_colour_unless_the_user_wants_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def printed() -> str:
        output = io.StringIO()
        result_table(Console(file=output, width=120, force_terminal=True, color_system="standard"), run_result())
        return output.getvalue()

    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[1;32mVerdict: " in printed() or "\x1b[33mVerdict: " in printed()
    monkeypatch.setenv("NO_COLOR", "1")
    assert "Verdict: " in printed() and "32m" not in printed() and "33m" not in printed()


@pytest.mark.parametrize(("number", "words"), [(0, "0 runs"), (1, "1 run"), (1234, "1,234 runs")])
def test_things_are_counted(number: int, words: str) -> None:
    assert counted(number, "run") == words


def test_a_kept_seed_prompt_is_one_row_without_an_evolved_prompt() -> None:
    text = shown(run_result(best={"is_seed": True, "prompt": "SECRET"}))
    rows = [line.split()[0] for line in text.splitlines() if line.strip()]
    assert "seed" in rows and "evolved" not in rows
    assert "SECRET" not in text and "The evolved prompt:" not in text


def test_an_old_run_without_the_time_of_each_role_is_shown_without_it() -> None:
    result = run_result()
    assert "(animator " in shown(result)
    old = result.seconds.model_copy(update={"animator": None, "reflector": None})
    assert "(animator " not in shown(result.model_copy(update={"seconds": old}))


@pytest.mark.parametrize(
    ("mode", "title"),
    [
        ("multi", "2 tasks: 2 fresh samples of each"),
        ("general", "2 held-out tasks, which the search never saw: 2 fresh samples of each"),
    ],
)
def test_several_tasks_are_a_row_each_and_their_mean(mode: str, title: str) -> None:
    tasks = tuple(
        TaskResult(
            task=name, brief="a thing that moves", family="own", seed_scores=(0.1, 0.1), best_scores=(0.5, 0.7),
            seed_mean=0.1, best_mean=0.6, difference=0.5,
        )
        for name in ("one", "two")
    )  # fmt: skip
    text = shown(run_result(mode=mode, tasks=tasks))
    assert title in text
    assert [line.split() for line in text.splitlines() if line.split()[:1] in (["one"], ["two"])] == [
        [name, "0.100", "0.600", "+0.500", "0.100", "0.100", "0.500", "0.700"] for name in ("one", "two")
    ]
    assert any(line.split()[:1] == ["mean"] for line in text.splitlines())


def test_an_unfinished_run_says_how_to_continue_it(capsys: pytest.CaptureFixture[str]) -> None:
    record = load_record(V2).model_copy(update={"result": None, "error": "the server is gone", "name": "cut"})
    print_run(Console(file=io.StringIO()), record, "failed", Path("runs/cut"))
    assert capsys.readouterr().out.splitlines() == [
        "run cut: failed, the server is gone",
        "what was measured is in runs/cut; continue it: localgif resume cut",
    ]


def test_a_model_of_unknown_presence_is_listed_without_escapes() -> None:
    row = Row(name="far", found="file", endpoint="gone", model="x:1b", present=None, where="no answer\x1b[31m")
    assert models_text([row], Path("models.toml")).splitlines()[1:] == [
        "  far                      x:1b on gone",
        "                           unknown: no answer",
    ]


def test_what_carries_over_is_a_table_of_its_own() -> None:
    row = TaskResult(
        task="spinning-bar", brief="a bar", family="spin", seed_scores=(0.1, 0.3), best_scores=(0.5, 0.7),
        seed_mean=0.2, best_mean=0.6, difference=0.4,
    )  # fmt: skip
    text = shown(run_result(transfer=(row,)))
    assert "carries over" in text and "2 samples of each prompt, not part of the verdict" in text
    assert ["spinning-bar", "0.200", "0.600", "+0.400", "0.100", "0.300", "0.500", "0.700"] in [
        line.split() for line in text.splitlines()
    ]
    assert "carries over" not in shown(run_result())
