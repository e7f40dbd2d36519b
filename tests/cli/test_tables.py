"""What people read on stdout: the table of a run with one task or several, and of a run that is not finished."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from localgif.cli.tables import models_text, print_run, result_table
from localgif.records import RunResult, TaskResult
from localgif.run.model_list import Row
from localgif.store.read import load_record
from tests.support.kit import run_result

V2 = Path(__file__).parent.parent / "runs" / "v2"


def shown(result: RunResult) -> str:
    output = io.StringIO()
    result_table(Console(file=output, width=160), result)
    return output.getvalue()


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
    assert models_text([row]).splitlines()[1:] == [
        "  far                      x:1b on gone",
        "                           unknown: no answer",
    ]


def test_what_carries_over_is_a_table_of_its_own() -> None:
    row = TaskResult(
        task="spinning-bar", brief="a bar", family="spin", seed_scores=(0.1, 0.3), best_scores=(0.5, 0.7),
        seed_mean=0.2, best_mean=0.6, difference=0.4,
    )  # fmt: skip
    text = shown(run_result(transfer=(row,)))
    assert "carries over" in text and "2 samples of each prompt, no part of the verdict" in text
    assert ["spinning-bar", "0.200", "0.600", "+0.400", "0.100", "0.300", "0.500", "0.700"] in [
        line.split() for line in text.splitlines()
    ]
    assert "carries over" not in shown(run_result())
