"""`tasks list`, `show`, `new` and `check`, and a run whose task is a sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer

from localgif.cli import tasks
from localgif.errors import ConfigError
from localgif.store.read import load_record
from localgif.tasks.task import load_task, task_names
from tests.cli.conftest import SMALL
from tests.support.commands import localgif
from tests.support.kit import settings
from tests.support.scripted import Scripted

SPINS = "a shiny green triangle spinning on black"
CORPUS = Path(__file__).parent.parent / "corpus" / "gifs"


def test_what_ships_is_listed_and_shown(tmp_path: Path) -> None:
    listed = localgif(tmp_path, "tasks", "list").stdout
    assert all(name in listed for name in task_names())
    assert len(json.loads(localgif(tmp_path, "tasks", "list", "--json").stdout)) == len(task_names())
    shown = localgif(tmp_path, "tasks", "show", "spinning-star").stdout
    assert shown.startswith("black background; one five-pointed yellow star in the middle; it stays where it is")
    assert 'turn   = "spin"' in shown
    assert "did you mean" in localgif(tmp_path, "tasks", "show", "spining-star").stderr


def test_a_sentence_becomes_a_file_that_can_be_used(tmp_path: Path) -> None:
    made = localgif(tmp_path, "tasks", "new", SPINS, "-o", "my.toml")
    assert made.returncode == 0, made.stderr
    assert "I will check: black background; one green triangle; it stays where it is, keeps its size, and spins" in (
        made.stderr
    )
    assert "not checked: 'shiny'" in made.stderr
    assert "--task ./my.toml" in made.stdout
    task = load_task(str(tmp_path / "my.toml"))
    assert (task.name, task.brief, task.targets.frames) == ("my", SPINS, 24)
    printed = localgif(tmp_path, "tasks", "new", SPINS).stdout
    assert printed == (tmp_path / "my.toml").read_text()
    facts = json.loads(localgif(tmp_path, "tasks", "new", SPINS, "--json").stdout)
    assert (facts["unchecked"], facts["doubts"], facts["task"]["background"]) == (["shiny"], [], "black")


def test_a_sentence_that_cannot_be_read_writes_nothing(tmp_path: Path) -> None:
    wrong = localgif(tmp_path, "tasks", "new", "a still ball that bounces", "-o", "x.toml")
    assert wrong.returncode == 2 and "E-BRIEF" in wrong.stderr and not (tmp_path / "x.toml").exists()


def test_a_doubt_is_said_in_a_script_and_asked_at_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    doubtful = "a red ball moving from left to right on white"
    said = localgif(tmp_path, "tasks", "new", doubtful)
    assert said.returncode == 0 and 'not sure: "from left to right" was read as crossing the picture' in said.stderr
    answers = iter([True, False])
    asked = []

    def confirm(question: str, **_: object) -> bool:
        asked.append(question)
        return next(answers)

    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setattr(typer, "confirm", confirm)
    assert tasks.take_task(doubtful, yes=False).subjects[0].path == "across"
    with pytest.raises(ConfigError, match="not used"):
        tasks.take_task(doubtful, yes=False)
    tasks.take_task(doubtful, yes=True)
    tasks.take_task("a red ball bouncing on white", yes=False)
    assert len(asked) == 2, "nothing is asked with --yes, or without a doubt"
    assert "I can check nothing" not in capsys.readouterr().err


def test_several_shipped_tasks_are_named_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    runs = [settings("http://127.0.0.1:9", task=name) for name in ("bouncing-ball", "two-balls", "bouncing-ball")]
    tasks.take_tasks(*runs)
    assert capsys.readouterr().err == "tasks that ship with localgif: bouncing-ball, two-balls\n"
    tasks.take_tasks(runs[0])
    assert capsys.readouterr().err.startswith("task bouncing-ball, which ships with localgif: a red ball")


def test_a_task_is_checked_with_its_brief_and_a_gif(tmp_path: Path) -> None:
    localgif(tmp_path, "tasks", "new", "a blue ball bouncing up and down on white", "-o", "my.toml")
    good = localgif(tmp_path, "tasks", "check", "my.toml", str(CORPUS / "blue-ball.gif"))
    assert good.returncode == 0, good.output
    assert "my checks: white background; one round blue thing" in good.stdout and "1.000  " in good.stdout
    file = tmp_path / "my.toml"
    file.write_text(file.read_text().replace('"up-down"', '"still"'))
    bad = localgif(tmp_path, "tasks", "check", "my.toml")
    assert bad.returncode == 2
    assert "note: the brief reads as path = up-down, but subjects[1].path is still" in bad.stdout
    assert "no GIF can meet it: nothing in it moves" in bad.stdout
    facts = json.loads(localgif(tmp_path, "tasks", "check", "my.toml", "--json").stdout)
    assert len(facts["differences"]) == len(facts["impossible"]) == 1 and facts["gif"] is None


@pytest.mark.slow
def test_a_run_takes_a_sentence_and_keeps_its_task_as_a_file(server: Scripted, tmp_path: Path) -> None:
    brief = "a red ball, bouncing up and down, on white"
    run = localgif(tmp_path, "optimize", *SMALL, "--name", "own", "--task", brief, "--yes")
    assert run.returncode == 0, run.stderr
    assert "I will check: white background; one round red thing" in run.stderr
    folder = tmp_path / "runs" / "own"
    kept = load_task(str(folder / "tasks" / "red-ball-bouncing-white.toml"))
    assert kept == load_record(folder).task and kept.brief == brief
    assert "red-ball-bouncing-white" in localgif(tmp_path, "runs").stdout
    assert brief in localgif(tmp_path, "export", "own", "--to", "promptfoo").stdout
