"""What a person sees: messages, exit codes, JSON."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit import fenced, program
from tests.scripted import MODEL, Entry, Fault, Scripted, serving
from tests.support.commands import SOON, Done, localgif, started

ROOT = Path(__file__).parent.parent
POOR, GOOD = fenced(program(12, 100)), fenced(program(24, 40))
BETTER = "Write make_gif(path) with exactly 24 frames. Output only code."


class Improving(Scripted):
    def next(self, path: str, body: dict[str, Any]) -> Entry:
        said = super().next(path, body)
        if path != "/api/chat" or isinstance(said, Fault):
            return said
        return GOOD if "24 frames" in body["messages"][0]["content"] else POOR


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Scripted]:
    with serving(Improving(animator=[POOR], reflector=[f"```\n{BETTER}\n```"])) as script:
        write_models(tmp_path, script.url)
        yield script


def write_models(folder: Path, url: str) -> None:
    (folder / "models.toml").write_text(
        f'[roles]\nanimator = "s"\nreflector = "s"\n[endpoints.here]\nkind = "ollama"\nurl = "{url}"\n'
        f'[models.s]\nendpoint = "here"\nmodel = "{MODEL}"\nnum_ctx = 4096\n'
    )


SMALL = ("--reflection", "plain", "--metric-calls", "2", "--samples", "1", "--fresh", "4")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    """A folder with one finished run, and what the command printed."""
    folder = tmp_path_factory.mktemp("finished")
    with serving(Improving(animator=[POOR], reflector=[f"```\n{BETTER}\n```"])) as script:
        write_models(folder, script.url)
        return folder, localgif(folder, "optimize", *SMALL, "--name", "first")


Finished = tuple[Path, Done]


def test_a_run_from_the_command_line_shows_the_table_and_where_it_lies(finished: Finished) -> None:
    root, run = finished
    assert run.returncode == 0, run.stderr
    score = r"0\.\d{3}"
    assert re.search(
        rf"^ *seed +{score} +{score} +{score} {score} {score} {score} +12 12 12 12", run.stdout, re.MULTILINE
    )
    # By the strict rule little, by the article's, shown beside it, nearly everything: a black square that goes round.
    assert re.search(rf"^ *evolved +{score} +0\.9\d\d .* 24 24 24 24", run.stdout, re.MULTILINE)
    assert "Verdict: the evolved prompt is better" in run.stdout
    assert BETTER in run.stdout
    assert "runs/first" in run.stdout
    assert "call  1" in run.stderr and "call  2" in run.stderr, "without a terminal there are plain lines"
    assert "\x1b" not in run.stdout + run.stderr
    files = {"run.json", "samples.jsonl", "proposals.jsonl", "best_prompt.md", "report.html"}
    assert {p.name for p in (root / "runs" / "first").iterdir()} >= files | {"candidates", "code", "gifs"}


def test_json_is_one_object_on_stdout_and_nothing_else(server: Scripted, tmp_path: Path) -> None:
    result = json.loads(localgif(tmp_path, "optimize", *SMALL, "--json").stdout)
    documented = set(re.findall(r"^\| (`[^|]+`) \|", (ROOT / "docs" / "json.md").read_text(), re.MULTILINE))
    keys = {key for cell in documented for key in re.findall(r"`(\w+)`", cell)}
    assert set(result) == keys
    assert {"prompt", "scores", "mean", "frames"} <= set(result["seed"]) & set(result["best"])
    assert set(result["output_tokens"]) == {"animator", "reflector"}
    assert {"total", "llm", "sandbox"} <= set(result["seconds"])


def test_the_finished_run_can_be_shown_listed_and_reported(finished: Finished) -> None:
    root, made = finished
    assert localgif(root, "show").stdout == made.stdout
    assert "first" in localgif(root, "runs").stdout
    assert json.loads(localgif(root, "runs", "--json").stdout)[0]["status"] == "done"
    page = root / localgif(root, "report", "first").stdout.strip()
    assert not (root / ".config").exists(), "matplotlib's folder is in our cache"
    assert page.read_text().count('<img src="data:image/gif;base64,') == 2 + 8


def test_ctrl_c_ends_a_run_with_130_and_keeps_the_samples(server: Scripted, tmp_path: Path) -> None:
    arguments = ("--reflection", "plain", "--target", "none", "--metric-calls", "50", "--name", "cut")
    with started(tmp_path, "optimize", *arguments) as process:
        assert process.stderr is not None
        assert any("call  1" in line for line in process.stderr)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=SOON)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert "what was measured is kept in runs/cut" in errors
    assert "interrupted" in (tmp_path / "runs" / "cut" / "report.html").read_text()
    record = json.loads((tmp_path / "runs" / "cut" / "run.json").read_text())
    assert record["status"] == "interrupted"
    assert len((tmp_path / "runs" / "cut" / "samples.jsonl").read_text().splitlines()) >= 2


class Holding(Scripted):
    """Never answers a reflection."""

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        self.reached, self.release = threading.Event(), threading.Event()

    def next(self, path: str, body: dict[str, Any]) -> Entry:
        if path == "/api/generate":
            self.reached.set()
            self.release.wait(60)
        return super().next(path, body)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_middle_of_a_reflection_ends_the_run(tmp_path: Path, number: int) -> None:
    with serving(Holding(animator=["no program"], reflector=["x"])) as server:
        assert isinstance(server, Holding)
        write_models(tmp_path, server.url)
        with started(tmp_path, "optimize", "--samples", "1", "--name", "cut") as process:
            try:
                assert server.reached.wait(60)
                process.send_signal(number)
                _, errors = process.communicate(timeout=SOON)
            finally:
                server.release.set()
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert json.loads((tmp_path / "runs" / "cut" / "run.json").read_text())["status"] == "interrupted"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("optimize", "--task", "bouncing-bal"), 2, 'did you mean "bouncing-ball"?'),
        (("optimize", "--animator", "x"), 2, '--animator names the model "x"'),
        (("optimize", "--scorer", "strictt"), 2, "--scorer strictt"),
        (("optimize", "--metric-calls", "0"), 2, "--metric-calls 0"),
        (("optimize", "--name", "../x"), 2, "cannot be the name of a folder"),
        (("optimize", "--models", "none.toml"), 2, "none.toml is not here"),
        (("optimize", "--target", "high"), 2, "--target high is not a number"),
        (("optimize", "--target", "2"), 2, "--target 2"),
        (("optimize", "--no-such-flag"), 2, "--no-such-flag"),
        (("score", "missing.gif"), 2, "missing.gif cannot be read"),
        (("score", "x.gif", "--task", "spining-star"), 2, 'did you mean "spinning-star"?'),
        (("score", "x.gif", "--task", "./own.toml"), 2, "own.toml cannot be read"),
        (("score", "models.toml", "--scorer", "artcle"), 2, 'did you mean "article"?'),
        (("show",), 2, "there is no run under runs"),
        (("show", "nothing"), 2, "there is no run nothing"),
        (("resume",), 2, "there is no unfinished run under runs"),
        (("resume", "--name", "x"), 2, "--name is only for the run that --fork starts"),
        (("optimize", "--display", "ritch"), 2, 'did you mean "rich"?'),
        (("serve",), 2, "no model to serve"),
        (("models", "pull", "llama9:1b"), 3, "llama9:1b"),
    ],
)
def test_a_mistake_gets_a_message_and_its_returncode(
    server: Scripted, tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    run = localgif(tmp_path, *arguments, LOCALGIF_HOME=str(tmp_path / "home"))
    assert run.returncode == code, run.stderr
    assert said in run.stderr
    assert "Traceback" not in run.stderr
    assert run.stdout == ""
    assert not (tmp_path / "runs").exists()


def test_a_server_that_is_gone_is_exit_3_before_and_4_in_the_middle(server: Scripted, tmp_path: Path) -> None:
    server.fail_at = 3
    run = localgif(tmp_path, "optimize", *SMALL, "--name", "ill")
    assert run.returncode == 4
    assert "the server is ill" in run.stderr
    assert "what was measured is kept in runs/ill" in run.stderr
    assert "the server is ill" in (tmp_path / "runs" / "ill" / "report.html").read_text()
    assert "Traceback" not in run.stderr
    assert json.loads((tmp_path / "runs" / "ill" / "run.json").read_text())["status"] == "failed"
    assert "continue it: localgif resume ill" in run.stderr
    models = tmp_path / "models.toml"
    models.write_text(models.read_text().replace(server.url, "http://127.0.0.1:9"))
    early = localgif(tmp_path, "optimize")
    assert early.returncode == 3
    assert "http://127.0.0.1:9" in early.stderr
    before = (tmp_path / "runs" / "ill" / "run.json").read_bytes()
    other = localgif(tmp_path, "resume")
    assert other.returncode == 5
    assert f"animator.endpoint.url: {server.url}, now http://127.0.0.1:9" in other.stderr
    assert "localgif resume ill --fork" in other.stderr
    assert (tmp_path / "runs" / "ill" / "run.json").read_bytes() == before


def test_a_run_that_failed_goes_on_and_can_be_watched_and_forked(server: Scripted, tmp_path: Path) -> None:
    server.fail_at = 3
    assert localgif(tmp_path, "optimize", *SMALL, "--name", "ill").returncode == 4
    run = localgif(tmp_path, "resume", "--display", "json", "--json")
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["verdict"]["word"] == "better"
    events = [json.loads(line) for line in run.stderr.splitlines()]
    assert [e["number"] for e in events if e["event"] == "metric_call"] == [2], "call 1 was made before"
    seen = localgif(tmp_path, "watch", "ill")
    assert "call  1" in seen.stderr and "call  2" in seen.stderr
    assert seen.stdout == localgif(tmp_path, "show").stdout
    asked = len(server.history)
    again = localgif(tmp_path, "resume", "ill", "--json")
    assert (again.returncode, again.stdout) == (0, run.stdout)
    fork = localgif(tmp_path, "resume", "ill", "--fork", "--name", "wider", "--fresh", "5", "--display", "none")
    assert (fork.returncode, fork.stderr) == (0, "")
    assert len(server.history) == asked + 2, "one new sample of each prompt"


def test_a_gif_is_scored(tmp_path: Path) -> None:
    namespace: dict[str, Any] = {}
    exec(program(24, 40), namespace)
    namespace["make_gif"](str(tmp_path / "x.gif"))
    run = localgif(tmp_path, "score", "x.gif", "--scorer", "article", "--json")
    given = json.loads(run.stdout)
    assert given["score"]["total"] > 0.98
    assert given["measurements"]["frames"] == 24
    text = localgif(tmp_path, "score", "x.gif", "--scorer", "article").stdout
    assert text.startswith(f"{given['score']['total']:.3f}  x.gif  (article-1, task bouncing-ball)")
    assert "24 frames, target 24" in text
    strict = json.loads(localgif(tmp_path, "score", "x.gif", "--json").stdout)["score"]
    assert strict["total"] < 0.2, "a black square that goes round is no red ball that bounces"
    assert "no red thing" in next(p["explanation"] for p in strict["parts"] if p["name"] == "subject")


def test_a_file_that_is_no_gif_scores_0_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "x.gif").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(99))
    run = localgif(tmp_path, "score", "x.gif", "--json")
    given = json.loads(run.stdout)
    assert (run.returncode, given["score"]["total"], given["measurements"]) == (0, 0.0, None)
    text = localgif(tmp_path, "score", "x.gif")
    assert text.returncode == 0
    assert text.stdout.startswith("0.000  x.gif")
    assert "cannot be measured" in text.stdout


def test_a_reader_that_leaves_early_is_no_error(finished: Finished) -> None:
    root, _ = finished
    run = subprocess.run(
        ["sh", "-c", f'"{sys.executable}" -m localgif show | head -n 1'], cwd=root, capture_output=True, text=True
    )
    assert "Traceback" not in run.stderr and "Broken" not in run.stderr
