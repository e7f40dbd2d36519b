"""runs, show, report, export, draw, score and rescore, against a finished run."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from localgif.agent import form
from localgif.agent.form import Figure, Scene
from localgif.agent.prompts import shortened
from localgif.files import content_hash, take_lock
from localgif.run.draw import shipped
from localgif.tasks.outline import outline
from localgif.tasks.task import Targets
from tests.cli.conftest import BETTER, Finished, write_models
from tests.support.commands import localgif
from tests.support.kit import fenced, program
from tests.support.scripted import MODEL, Scripted, serving


def test_a_finished_run_is_shown_listed_reported_and_rescored(
    finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = finished.folder
    assert localgif(folder, "show").stdout == finished.made.stdout
    assert re.search(r"first +0\.\d{3} +0\.\d{3} +better +done +bouncing-ball", localgif(folder, "runs").stdout)
    assert json.loads(localgif(folder, "runs", "--json").stdout)[0]["status"] == "done"
    monkeypatch.delenv("MPLCONFIGDIR", raising=False)  # other tests in this process may have set it
    page = folder / localgif(folder, "report", "first").stdout.strip()
    assert Path(os.environ["MPLCONFIGDIR"]).is_relative_to(folder / ".cache"), "matplotlib's folder is in our cache"
    assert page.read_text().count('<img src="data:image/gif;base64,') == 2 + 8
    again = localgif(folder, "rescore", "first", "--scorer", "article")
    assert re.search(r"\(evolved\) +fresh +0\.\d{3} +0\.9\d\d +4", again.stdout), again.output
    assert "scores-article-1.jsonl" in again.stdout
    both = json.loads(localgif(folder, "rescore", "--task", "spinning-star", "--json").stdout)
    assert (both["run"], both["task"]) == ("first", "spinning-star")


def test_a_run_that_cannot_be_read_is_listed_all_the_same(tmp_path: Path) -> None:
    assert localgif(tmp_path, "runs").stdout == "no runs under runs\n"
    (tmp_path / "runs" / "torn").mkdir(parents=True)
    (tmp_path / "runs" / "torn" / "run.json").write_text("{")
    assert "unreadable" in localgif(tmp_path, "runs").stdout
    assert json.loads(localgif(tmp_path, "runs", "--json").stdout)[0]["run"] == "torn"


STORED = Path(__file__).parent.parent / "runs" / "v2"


def test_a_bad_folder_breaks_no_listing(tmp_path: Path) -> None:
    named = ("[bold]c", "nu\nll", "e\x1b[31m\x9b5m", "\udcff")
    for name in ("deep", "list", "pipe", "zero", "folder", "large", *named):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "run.json").write_text("[" * 10**6 if name == "deep" else "[]")
    for name in ("pipe", "zero", "folder"):
        (tmp_path / "runs" / name / "run.json").unlink()
    os.mkfifo(tmp_path / "runs" / "pipe" / "run.json")
    (tmp_path / "runs" / "zero" / "run.json").symlink_to("/dev/zero")
    (tmp_path / "runs" / "folder" / "run.json").mkdir()
    with (tmp_path / "runs" / "large" / "run.json").open("wb") as file:
        file.truncate(2**40)
    shutil.copytree(STORED, tmp_path / "runs" / "good")
    listed = localgif(tmp_path, "runs")
    assert "\x1b" not in listed.output and "\x9b" not in listed.output
    assert listed.stdout.count("unreadable") == 10 and "[bold]c" in listed.stdout
    assert len(json.loads(localgif(tmp_path, "runs", "--json").stdout)) == 11
    unknown = localgif(tmp_path, "show", "x" * 5000)
    assert unknown.returncode == 2 and "there is no run" in unknown.stderr
    assert localgif(tmp_path, "compare", "good", "list").returncode == 0


@pytest.mark.parametrize(
    "command", [("show",), ("show", "--json"), ("watch", "--display", "plain"), ("runs",), ("runs", "--json")]
)
def test_texts_of_a_run_are_shown_without_escape_sequences(tmp_path: Path, command: tuple[str, ...]) -> None:
    folder = shutil.copytree(STORED, tmp_path / "runs" / "r")
    evil = "\x1b[2J\x1b]0;x\x07\x9b31m\u202e[bold]b[/x]"
    record = json.loads((folder / "run.json").read_text())
    texts = {"name", "run", "folder", "prompt", "model", "scorer", "error"}
    for place in (record, record["result"], record["result"]["best"], record["settings"]["animator"]):
        place.update({key: evil for key, value in place.items() if isinstance(value, str) and key in texts})
    for status, result in (("done", record["result"]), ("failed", None)):
        (folder / "run.json").write_text(json.dumps({**record, "status": status, "result": result, "error": evil}))
        done = localgif(tmp_path, *command)
        assert done.returncode == 0 and not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", done.output), done.output


def test_a_run_is_exported_in_every_form_and_its_prompt_works(finished: Finished) -> None:
    folder = finished.folder
    assert localgif(folder, "export").stdout == BETTER + "\n"
    assert localgif(folder, "export", "first", "--to", "modelfile", "-o", "Modelfile").returncode == 0
    assert f"FROM {MODEL}\n" in (folder / "Modelfile").read_text()
    assert yaml.safe_load(localgif(folder, "export", "--to", "llm").stdout)["system"] == BETTER
    # The Python file runs unchanged: it asks the server with LangGraph and ChatOllama, and prints the program.
    localgif(folder, "export", "--to", "python", "-o", "animate.py")
    assert finished.server.url in (folder / "animate.py").read_text()
    words = [sys.executable, "animate.py", "a boat"]
    environment = {**os.environ, "NO_PROXY": "*"}
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=120, env=environment)
    assert "def make_gif(path):" in done.stdout, done.stderr
    wrong = localgif(folder, "export", "--to", "toml")
    assert wrong.returncode == 2 and "known: md, modelfile" in wrong.stderr
    nowhere = localgif(folder, "export", "-o", "none/x.md")
    assert nowhere.returncode == 2 and "none/x.md cannot be written" in nowhere.stderr


@pytest.mark.slow
def test_the_assert_of_promptfoo_scores_an_answer(finished: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    read = yaml.safe_load(localgif(finished.folder, "export", "--to", "promptfoo").stdout)
    body = read["tests"][0]["assert"][0]["value"].replace("strict", "article")
    scope: dict[str, Any] = {}
    exec("def check(output):\n" + "\n".join("    " + line for line in body.splitlines()), scope)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    check = scope["check"]
    good = check(fenced(program(24)))
    assert good["pass"] and good["score"] > 0.9, good
    bad = check(fenced("def make_gif(path):\n    nonsense\n"))
    assert not bad["pass"] and "NameError" in bad["reason"], bad


TRIANGLE = "a green triangle spinning on a black background"


def spinning(**changes: Any) -> str:
    """An answer that draws TRIANGLE, with changes to the figure."""
    figure = Figure("TRIANGLE", '"green"', **{"turn": "angle = t", **changes})
    return fenced(form.program(Scene('"black"', (figure,)), TRIANGLE, Targets()))


def test_draw_takes_the_prompt_of_a_run_and_says_what_it_could_not_check(finished: Finished) -> None:
    folder = finished.folder
    drawn = localgif(folder, "draw", "a paper boat on waves", "first", "-o", "boat.gif", "--json", "--tries", "1")
    assert drawn.returncode == 0, drawn.stderr
    said = json.loads(drawn.stdout)
    assert (said["file"], said["prompt"]) == ("boat.gif", "the best prompt of run first (better)")
    assert (said["outcome"], said["score"], said["verdict"]) == ("unchecked", None, "ok")
    assert said["measurements"]["frames"] == 24, "the server draws 24 frames for the evolved prompt alone"
    assert (folder / "boat.gif").read_bytes().startswith(b"GIF8")
    assert "I can check nothing of this but frames, time, size and loop" in drawn.stderr
    wrong = localgif(folder, "draw", TRIANGLE, "first", "-o", "x.gif", "--tries", "1", "--seed-prompt")
    assert wrong.returncode == 2 and "exclude each other" in wrong.stderr


def test_draw_without_a_run_for_several_tasks_takes_what_comes_with_localgif(tmp_path: Path) -> None:
    with serving(Scripted(animator=[spinning()], reflector=[""])) as script:
        write_models(tmp_path, script.url)
        ours = localgif(tmp_path, "draw", TRIANGLE, "-o", "x.gif")
        first = script.asked("/api/chat")[0]["messages"][0]["content"]
        assert "prompts that ship with localgif, made with qwen2.5-coder:1.5b" in ours.stderr
        read = outline(TRIANGLE)
        assert read is not None and first == shortened(shipped("any").prompts[0], read)
        script.history.clear()
        seed = localgif(tmp_path, "draw", TRIANGLE, "-o", "x.gif", "--seed-prompt", "--must")
        (tmp_path / "mine.md").write_text("Draw well.")
        own = localgif(tmp_path, "draw", TRIANGLE, "-o", "y.gif", "--prompt", "mine.md")
        systems = [body["messages"][0]["content"] for body in script.asked("/api/chat")]
    line = "checked: 24 frames, closes, 0.96 s, a green triangle that spins on black\n"
    assert (seed.returncode, seed.stdout) == (0, f"x.gif: {line}") and "prompt: the seed prompt" in seed.stderr
    assert (own.returncode, own.stdout) == (0, f"y.gif: {line}") and "prompt: mine.md" in own.stderr
    assert "try 1 of 4: " in own.stderr and "tokens/s; checked" in own.stderr
    assert "make_gif(path)" in systems[0] and systems[1] == "Draw well."


def test_draw_asks_each_prompt_of_the_front(tmp_path: Path) -> None:
    folder = shutil.copytree(STORED, tmp_path / "runs" / "r")
    record = json.loads((folder / "run.json").read_text())
    texts = (record["result"]["best"]["prompt"], "Another prompt.")
    for text in texts:
        (folder / "candidates" / f"{content_hash(text)}.md").write_text(text)
    prompts = [{"candidate": content_hash(text), "tasks": {}} for text in texts]
    record["result"]["front"] = {"prompts": prompts, "scores": [1.0], "mean": 1.0, "answers": 1}
    (folder / "run.json").write_text(json.dumps(record))
    with serving(Scripted(animator=["nothing\n", spinning()], reflector=[""])) as script:
        write_models(tmp_path, script.url)
        drawn = localgif(tmp_path, "draw", TRIANGLE, "r", "-o", "x.gif")
        systems = [body["messages"][0]["content"] for body in script.asked("/api/chat")]
    assert "checked" in drawn.stdout, drawn.output
    assert "the 2 prompts of the front of run" in drawn.stderr and "prompt 2 of 2" in drawn.stderr
    assert systems == list(texts)


def test_must_ends_with_6_where_the_picture_is_not_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localgif.run.draw.finder", lambda *_: lambda start, measure: start)
    monkeypatch.setattr("localgif.run.draw.first_scene", lambda _: Scene('"black"', (Figure("TRIANGLE", '"green"'),)))
    with serving(Scripted(animator=[spinning(turn="")], reflector=[""])) as script:
        write_models(tmp_path, script.url)
        how = ("draw", TRIANGLE, "-o", "x.gif", "--seed-prompt", "--tries", "1")
        plain, must = localgif(tmp_path, *how), localgif(tmp_path, *how, "--must")
        asked = len(script.asked("/api/chat"))
        vague = localgif(tmp_path, "draw", "a paper boat on waves", "-o", "x.gif", "--seed-prompt", "--must")
        assert len(script.asked("/api/chat")) == asked == 2
    assert (plain.returncode, must.returncode, vague.returncode) == (0, 6, 2)
    assert plain.stdout == must.stdout and plain.stdout.startswith("x.gif: not right yet: ")
    assert (tmp_path / "x.gif").exists() and "nothing in this brief can be checked" in vague.stderr


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("a boat on waves", "-o", "none/x.gif"), "none/x.gif cannot be written"),
        (("a boat on waves", "-o", "."), "cannot be written: Is a directory"),
        (("a boat on waves", "none", "-o", "x.gif"), "there is no run"),
        (("a boat on waves", "-o", "x.gif", "--prompt", "none.md"), "none.md"),
        (("x", "-o", "x.gif"), "or a sentence that says what to draw"),
    ],
)
def test_what_is_wrong_with_a_drawing_is_said_before_a_model_is_asked(
    finished: Finished, words: tuple[str, ...], text: str
) -> None:
    asked = len(finished.server.asked("/api/chat"))
    wrong = localgif(finished.folder, "draw", *words)
    assert wrong.returncode == 2 and text in wrong.stderr
    assert len(finished.server.asked("/api/chat")) == asked
    assert not (finished.folder / "x.gif").exists()


def test_draw_that_gives_no_gif_says_why_and_writes_none(tmp_path: Path) -> None:
    with serving(Scripted(animator=[fenced("def make_gif(path):\n    nonsense\n")], reflector=[""])) as script:
        write_models(tmp_path, script.url)
        drawn = localgif(tmp_path, "draw", "a paper boat on waves", "-o", "x.gif", "--seed-prompt")
    assert drawn.returncode == 1
    assert "no GIF in 4 tries: error" in drawn.stdout and "NameError" in drawn.stdout
    assert not (tmp_path / "x.gif").exists()


def test_show_names_the_gifs_and_the_report(finished: Finished) -> None:
    said = localgif(finished.folder, "show").stdout
    for name in ("seed.gif", "best.gif"):
        assert f"runs/first/{name} (" in said
        assert (finished.folder / "runs" / "first" / name).read_bytes().startswith(b"GIF8")
    assert "report    runs/first/report.html" in said


def test_gifs_are_scored_and_what_costs_most_comes_first(tmp_path: Path) -> None:
    namespace: dict[str, Any] = {}
    exec(program(24, 40), namespace)
    namespace["make_gif"](str(tmp_path / "x.gif"))
    how = ("--scorer", "article", "--task", "bouncing-ball")
    given = json.loads(localgif(tmp_path, "score", "x.gif", *how, "--json").stdout)
    assert given["score"]["total"] > 0.98
    assert given["measurements"]["frames"] == 24
    text = localgif(tmp_path, "score", "x.gif", *how).stdout
    assert text.startswith(f"{given['score']['total']:.3f}  x.gif  (article-1, task bouncing-ball)")
    assert "24 frames, target 24" in text
    strict = localgif(tmp_path, "score", "x.gif", "x.gif", "--task", "a red ball bouncing on white", "--min", "0.9")
    assert strict.returncode == 7, "a black square that goes round is not a red ball that bounces"
    assert "2 of 2 GIFs score below 0.9" in strict.stderr
    assert "I will check: white background; one round red thing" in strict.stderr
    lines = strict.stdout.splitlines()
    head, first, *_, last = lines[: len(lines) // 2]
    assert head.startswith("0.") and "no red thing" in first and last.startswith("  1.000")
    both = json.loads(localgif(tmp_path, "score", "x.gif", "x.gif", *how, "--min", "0.9", "--json").stdout)
    assert [each["file"] for each in both] == ["x.gif", "x.gif"]


def test_the_task_of_a_gif_is_its_runs_or_must_be_named(finished: Finished, tmp_path: Path) -> None:
    gif = next((finished.folder / "runs" / "first" / "gifs").iterdir())
    assert "task bouncing-ball)" in localgif(tmp_path, "score", str(gif)).stdout
    (tmp_path / "x.gif").write_bytes(gif.read_bytes())
    lost = localgif(tmp_path, "score", "x.gif")
    assert lost.returncode == 2 and "x.gif is not in a run folder" in lost.stderr and "--task" in lost.stderr


def test_a_file_that_is_not_a_gif_scores_0_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "x.gif").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(99))
    run = localgif(tmp_path, "score", "x.gif", "--task", "bouncing-ball", "--json")
    given = json.loads(run.stdout)
    assert (run.returncode, given["score"]["total"], given["measurements"]) == (0, 0.0, None)
    text = localgif(tmp_path, "score", "x.gif", "--task", "bouncing-ball")
    assert text.returncode == 0
    assert text.stdout.startswith("0.000  x.gif")
    assert "cannot be measured" in text.stdout


def test_a_run_is_named_by_the_beginning_of_its_name_and_removed(finished: Finished, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    for name in ("first-a", "first-b", "other"):
        shutil.copytree(finished.folder / "runs" / "first", runs / name)
    assert "runs/other/report.html" in localgif(tmp_path, "show", "oth").stdout
    several = localgif(tmp_path, "show", "first")
    assert several.returncode == 2 and "2 runs in runs start with first" in several.stderr
    assert "first-a" in several.stderr and "first-b" in several.stderr
    asked = localgif(tmp_path, "runs", "rm", "first-a")
    assert asked.returncode == 2 and "add --yes" in asked.stderr and (runs / "first-a").exists()
    handle = take_lock(runs / "first-b")
    held = localgif(tmp_path, "runs", "rm", "first-b", "-y")
    os.close(handle)
    assert held.returncode == 5 and "is being written by" in held.stderr and (runs / "first-b").exists()
    gone = localgif(tmp_path, "runs", "rm", "first-a", "oth", "--yes")
    assert gone.returncode == 0 and "2 runs, " in gone.stderr and "removed runs/other" in gone.stdout
    assert [folder.name for folder in runs.iterdir()] == ["first-b"]
    listed = localgif(tmp_path, "runs").stdout
    assert "first-b" in listed and "first-a" not in listed


def test_a_link_to_a_run_is_not_removed(finished: Finished, tmp_path: Path) -> None:
    shutil.copytree(finished.folder / "runs" / "first", tmp_path / "elsewhere")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "link").symlink_to(tmp_path / "elsewhere")
    done = localgif(tmp_path, "runs", "rm", "link", "--yes")
    assert done.returncode == 5 and "cannot be removed" in done.stderr
    assert (tmp_path / "elsewhere" / "samples.jsonl").exists()


@pytest.mark.parametrize(
    "words", [("export", "first", "-o", "none/x.md"), ("compare", "first", "first", "-o", "none/x.html")]
)
def test_an_output_that_cannot_be_written_is_told_first(finished: Finished, words: tuple[str, ...]) -> None:
    done = localgif(finished.folder, *words)
    assert done.returncode == 2 and f"{words[-1]} cannot be written" in done.stderr
