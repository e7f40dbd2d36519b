"""`localgif export` and `localgif draw` as users run them, against a scripted server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from localgif.models.toml import load_models_file, make_settings
from localgif.run.optimize import optimize
from localgif.search.progress import Silent
from tests.kit import fenced, program
from tests.scripted import MODEL, Scripted, serving
from tests.support.commands import localgif
from tests.test_cli import BETTER, Improving, write_models


def make_run(folder: Path, url: str) -> None:
    """A small run, made in this process: what comes after it is what the tests are about."""
    write_models(folder, url)
    small: dict[str, Any] = {"reflection": "plain", "scorer": "article", "metric_calls": 2, "samples": 1, "fresh": 2}
    optimize(make_settings(load_models_file(folder / "models.toml"), **small), folder / "runs", "one", Silent())


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Scripted]]:
    """A folder with a finished run, and its server."""
    folder = tmp_path_factory.mktemp("done")
    with serving(Improving(animator=[fenced(program(12, 100))], reflector=[f"```\n{BETTER}\n```"])) as script:
        make_run(folder, script.url)
        yield folder, script


def test_a_run_is_exported_in_every_form_and_its_prompt_works(done: tuple[Path, Scripted]) -> None:
    folder, script = done
    assert localgif(folder, "export").stdout == BETTER + "\n"
    assert localgif(folder, "export", "one", "--to", "modelfile", "-o", "Modelfile").returncode == 0
    assert f"FROM {MODEL}\n" in (folder / "Modelfile").read_text()
    assert yaml.safe_load(localgif(folder, "export", "--to", "llm").stdout)["system"] == BETTER
    # The Python file is run as it is: LangGraph and ChatOllama ask the server, and the program comes out.
    localgif(folder, "export", "--to", "python", "-o", "animate.py")
    assert script.url in (folder / "animate.py").read_text()
    ran = subprocess.run(
        [sys.executable, "animate.py", "a boat"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "NO_PROXY": "*"},
    )
    assert "def make_gif(path):" in ran.stdout, ran.stderr
    wrong = localgif(folder, "export", "--to", "toml")
    assert wrong.returncode == 2 and "known: md, modelfile" in wrong.stderr


def test_the_assert_of_promptfoo_scores_an_answer(done: tuple[Path, Scripted], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = done
    read = yaml.safe_load(localgif(folder, "export", "--to", "promptfoo").stdout)
    body = read["tests"][0]["assert"][0]["value"]
    scope: dict[str, Any] = {}
    exec("def check(output):\n" + "\n".join("    " + line for line in body.splitlines()), scope)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    check = scope["check"]
    good = check(fenced(program(24)))
    assert good["pass"] and good["score"] > 0.9, good
    bad = check(fenced("def make_gif(path):\n    nonsense\n"))
    assert not bad["pass"] and "NameError" in bad["reason"], bad


def test_draw_uses_the_best_prompt_on_any_brief_and_says_what_it_measured(done: tuple[Path, Scripted]) -> None:
    folder, _ = done
    drawn = localgif(folder, "draw", "a paper boat on waves", "-o", "boat.gif", "--json")
    assert drawn.returncode == 0, drawn.stderr
    said = json.loads(drawn.stdout)
    assert (said["file"], said["run"], said["verdict"]) == ("boat.gif", "one", "ok")
    assert said["measurements"]["frames"] == 24, "the server draws 24 frames for the evolved prompt alone"
    assert (folder / "boat.gif").read_bytes().startswith(b"GIF8")
    plain = localgif(folder, "draw", "a paper boat on waves", "-o", "boat.gif", "--run", "one")
    assert "24 frames" in plain.stdout and "whether it shows the brief was not measured" in plain.stdout


def test_draw_without_a_run_or_with_a_bad_brief_says_so(done: tuple[Path, Scripted]) -> None:
    folder, _ = done
    assert "there is no run" in localgif(folder, "draw", "a boat", "-o", "x.gif", "--run", "none").stderr
    wrong = localgif(folder, "draw", "x", "-o", "x.gif")
    assert wrong.returncode == 2 and "3 to 400 characters" in wrong.stderr
    assert not (folder / "x.gif").exists()


def test_draw_that_gives_no_gif_says_why_and_writes_none(tmp_path: Path) -> None:
    with serving(Scripted(animator=[fenced("def make_gif(path):\n    nonsense\n")], reflector=[""])) as script:
        make_run(tmp_path, script.url)
        drawn = localgif(tmp_path, "draw", "a boat", "-o", "x.gif")
    assert drawn.returncode == 1
    assert "no GIF in 3 attempts: error" in drawn.stdout and "NameError" in drawn.stdout
    assert not (tmp_path / "x.gif").exists()
