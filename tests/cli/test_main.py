"""What all commands have in common: a mistake is a message and an exit code, a lost reader is not an error."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import typer

from localgif.cli.shared import command
from tests.cli.conftest import Finished
from tests.support.commands import localgif, started
from tests.support.scripted import Scripted


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("optimize", "--task", "bouncing-bal"), 2, 'did you mean "bouncing-ball"?'),
        (("optimize", "--name", "../x"), 2, "cannot be the name of a folder"),
        (("optimize", "--models", "none.toml"), 2, "none.toml is not here"),
        (("optimize", "--target", "high"), 2, "--target high is not a number"),
        (("optimize", "--no-such-flag"), 2, "--no-such-flag"),
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
        (("resume", "--name", "x"), 2, "--name is only for the run that --fork starts"),
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


def test_a_folder_that_was_removed_below_us_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def gone() -> Path:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "cwd", gone)
    with pytest.raises(typer.Exit) as caught:
        command(lambda: None)()
    assert caught.value.exit_code == 2 and "the current folder was removed" in capsys.readouterr().err


def test_the_module_is_the_command(tmp_path: Path) -> None:
    with started(tmp_path, "show") as process:
        output, errors = process.communicate()
    assert (process.returncode, output) == (2, "")
    assert errors.startswith("error [E-USAGE]: there is no run under runs")


def test_a_reader_that_leaves_early_is_not_an_error(finished: Finished) -> None:
    words = f'"{sys.executable}" -m localgif show | head -n 1'
    run = subprocess.run(["sh", "-c", words], cwd=finished.folder, capture_output=True, text=True)
    assert "Traceback" not in run.stderr and "Broken" not in run.stderr
