"""All commands: a user's mistake gives a message and an exit code, and a closed pipe is not an error."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from localgif import __version__
from localgif.cli.app import app
from localgif.cli.shared import RECIPES, command
from tests.cli.conftest import Finished
from tests.support import SOON
from tests.support.commands import localgif, started
from tests.support.scripted import Scripted


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("optimize", "--task", "bouncing-bal"), 2, 'did you mean "bouncing-ball"?'),
        (("optimize", "--name", "../x"), 2, "is not a valid folder name"),
        (("optimize", "--models", "none.toml"), 2, "none.toml does not exist"),
        (("optimize", "--target", "high"), 2, "--target high is not a number"),
        (("optimize", "--no-such-flag"), 2, "error [E-USAGE]: no such option: --no-such-flag"),
        (("optimize", "--samples", "many"), 2, "error [E-USAGE]: --samples many: "),
        (("draw", "a red ball", "--tries=0", "-o", "x.gif"), 2, "error [E-USAGE]: --tries 0: "),
        (("drw",), 2, "error [E-USAGE]: no such command 'drw'"),
        (("draw",), 2, "error [E-USAGE]: missing argument 'BRIEF'"),
        (("draw", "a", "red", "ball", "-o", "x.gif"), 2, "error [E-USAGE]: got unexpected extra argument (ball)"),
        (("models", "pull"), 2, "see localgif models pull --help"),
        (("models", "rm", "smollm2"), 2, "localgif keeps no weights of smollm2"),
        (("models", "pull", "ollama:llama3.2:3b"), 2, "ollama pull llama3.2:3b"),
        (("models", "set", "animator", "qwen3"), 3, "no answer from http://127.0.0.1:11434"),
        (("runs", "rm", "none"), 2, "there is no run none"),
        (("runs", "--runs-dir", "x", "rm", "none"), 2, "put them after rm: localgif runs rm RUN --runs-dir DIR"),
        (("optimize", "--display", "ritch"), 2, 'did you mean "rich"?'),
        (("score", "missing.gif"), 2, "missing.gif cannot be read"),
        (("score", "."), 2, ". cannot be read: Is a directory"),
        (("score", "x.gif", "--task", "spining-star"), 2, 'did you mean "spinning-star"?'),
        (("score", "x.gif", "--task", "./own.toml"), 2, "own.toml cannot be read"),
        (("score", "models.toml", "--scorer", "artcle"), 2, 'did you mean "article"?'),
        (("score", "models.toml", "--sandbox-level", "weaker"), 2, 'did you mean "weak"?'),
        (("show",), 2, "there is no run under runs"),
        (("show", "nothing"), 2, "there is no run nothing"),
        (("resume",), 2, "there is no unfinished run under runs"),
        (("resume", "--name", "x"), 2, "--name works only with --fork"),
        (("compare", "a", "b", "--scorer", "artcle"), 2, 'did you mean "article"?'),
        (("serve",), 2, "no model to serve"),
        (("sandbox", "run", "none.py", "-o", "x.gif"), 2, "none.py cannot be read"),
        (("sandbox", "run", "models.toml", "-o", "x.gif", "--sandbox-level", "fall"), 2, 'did you mean "full"?'),
        (("models", "pull", "llama9:1b"), 3, "llama9:1b"),
    ],
)
def test_a_mistake_gets_a_message_and_its_exit_code(
    server: Scripted, tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    run = localgif(tmp_path, *arguments)
    assert run.returncode == code, run.stderr
    assert said in run.stderr
    assert "Traceback" not in run.stderr
    assert run.stdout == ""
    assert not (tmp_path / "runs").exists()


def test_a_mistake_names_the_command_as_it_was_called(tmp_path: Path) -> None:
    called = [sys.executable, "-m", "localgif"]
    wrong, helped = (
        subprocess.run([*called, *rest], capture_output=True, text=True, cwd=tmp_path, timeout=SOON)
        for rest in (("sweep", "--none"), ("models",))
    )
    assert wrong.stderr.endswith("\n  see python -m localgif sweep --help\n")
    assert helped.stderr.startswith("Usage: python -m localgif models ")


def test_a_folder_that_was_removed_below_us_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def gone() -> Path:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "cwd", gone)
    with pytest.raises(typer.Exit) as caught:
        command(lambda: None)()
    assert caught.value.exit_code == 2 and "the current folder was removed" in capsys.readouterr().err


def test_help_fits_a_terminal_and_the_version_is_printed(tmp_path: Path) -> None:
    groups = [(), ("runs",), ("tasks",), ("models",), ("sandbox",)]
    for words in groups:
        text = localgif(tmp_path, *words, "-h", COLUMNS="80").stdout
        assert "Commands:" in text and "..." not in text.split("Commands:")[1], "each first sentence fits its line"
        assert max(map(len, text.splitlines())) <= 80
    assert "grounded|example-only|instruction-only|plain|none" in localgif(tmp_path, "optimize", "-h").stdout
    assert localgif(tmp_path, "--version").stdout == f"localgif {__version__}\n"
    assert localgif(tmp_path).returncode == 2 and "Usage: localgif" in localgif(tmp_path).stderr


def test_every_command_has_one_name_for_one_thing() -> None:
    def commands(group: Any) -> list[Any]:
        return [
            each for one in group.commands.values() for each in (commands(one) if hasattr(one, "commands") else [one])
        ]

    pairs = {"-o": "--output", "-m": "--model", "-q": "--quiet", "-v": "--verbose", "-y": "--yes"}
    for each in commands(typer.main.get_command(app)):
        spellings = [set(parameter.opts) for parameter in each.params]
        options = set().union(*spellings)
        assert {"-q", "-v"} <= options, each.name
        assert not options & {"--out", "--run", "--file"}, each.name
        for short, long in pairs.items():
            assert all((short in one) == (long in one) for one in spellings), each.name


def test_quiet_prints_results_only_and_verbose_says_where_an_error_comes_from(tmp_path: Path) -> None:
    assert "I will check" in localgif(tmp_path, "tasks", "new", "a red ball on white").stderr
    quiet = localgif(tmp_path, "tasks", "new", "a red ball on white", "-q")
    assert quiet.stderr == "" and "brief" in quiet.stdout
    wrong = localgif(tmp_path, "show", "-q")
    assert wrong.stderr.startswith("error [E-USAGE]: there is no run") and "Traceback" not in wrong.stderr
    assert "Traceback" in localgif(tmp_path, "show", "-v").stderr


JUST = Path(__file__).parent.parent.parent / "Justfile"


def test_hints_have_the_form_that_was_called(tmp_path: Path) -> None:
    recipes = re.findall(r'^    @\{\{ localgif \}\} (\w+) "\$@"$', JUST.read_text(), re.MULTILINE)
    assert set(recipes) == set(RECIPES)
    assert "start one: localgif optimize\n" in localgif(tmp_path, "show").stderr
    called = localgif(tmp_path, "show", LOCALGIF_CALLED="./scripts/just")
    assert "start one: ./scripts/just optimize\n" in called.stderr
    elsewhere = localgif(tmp_path, "models", "set", "animator", "x", LOCALGIF_CALLED="../p/scripts/just")
    assert "models.toml: ../p/scripts/env localgif init\n" in elsewhere.stderr, "it has no recipe"
    plain = localgif(tmp_path, "show", LOCALGIF_CALLED="just")
    assert "start one: just optimize\n" in plain.stderr


@pytest.mark.slow
def test_a_shell_completes_commands_runs_and_tasks(finished: Finished) -> None:
    program = Path(sys.executable).with_name("localgif")

    def completed(words: str) -> list[str]:
        asked = {"_LOCALGIF_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        run = subprocess.run(
            [program], cwd=finished.folder, env={**os.environ, **asked}, capture_output=True, text=True, timeout=60
        )
        return run.stdout.split()

    assert completed("localgif resc") == ["rescore"]
    assert completed("localgif show f") == ["first"]
    assert "spinning-star" in completed("localgif optimize --task spinning")


def test_the_module_is_the_command(tmp_path: Path) -> None:
    with started(tmp_path, "show") as process:
        output, errors = process.communicate()
    assert (process.returncode, output) == (2, "")
    assert errors.startswith("error [E-USAGE]: there is no run under runs")


def test_a_reader_that_leaves_early_is_not_an_error(finished: Finished) -> None:
    words = f'"{sys.executable}" -m localgif show | head -n 1'
    run = subprocess.run(["sh", "-c", words], cwd=finished.folder, capture_output=True, text=True)
    assert "Traceback" not in run.stderr and "Broken" not in run.stderr
