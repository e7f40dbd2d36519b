"""`localgif demo`: a whole run with recorded answers, which no other command uses as a result."""

from __future__ import annotations

from pathlib import Path

import pytest

from localgif.errors import ConfigError
from localgif.report.page import page_of
from localgif.run.demo import demo
from localgif.run.resume import resume
from localgif.search.progress import Silent
from localgif.store.read import find_unfinished, load_run, refuse_demo
from localgif.sweep.read import Left, read_run
from tests.support.commands import localgif
from tests.support.kills import models_file

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the run of one demo."""
    folder = tmp_path_factory.mktemp("runs")
    demo(folder, Silent())
    return folder


@pytest.fixture(scope="module")
def folder(runs: Path) -> Path:
    (folder,) = runs.iterdir()
    return folder


def test_the_whole_loop_runs_and_leads_to_a_better_prompt(folder: Path) -> None:
    run = load_run(folder)
    result = run.record.result
    assert result is not None and result.verdict.word == "better" and result.best.mean > 0.9
    assert {sample.purpose for sample in run.samples} == {"search", "retest", "fresh"}
    assert {attempt.verdict.value for sample in run.samples for attempt in sample.attempts} == {"ok", "error"}
    assert {proposal.move for proposal in run.proposals} == {"tune"}
    assert result.programs_run >= 4, "the sandbox is real"
    assert (folder / "gepa" / "log.txt").stat().st_size > 0


def test_it_is_marked_everywhere(runs: Path, folder: Path) -> None:
    assert folder.name.endswith("-demo") and '"demo": true' in (folder / "run.json").read_text()
    assert "<b>DEMO</b>" in page_of(folder, whole=False)
    where = ("--runs-dir", str(runs))
    assert localgif(runs, "show", *where).stdout.startswith("DEMO: recorded answers")
    assert "done DEMO" in localgif(runs, "runs", *where).stdout


def test_no_command_takes_it_for_a_result(runs: Path, folder: Path) -> None:
    where = ("--runs-dir", str(runs))
    models = models_file(runs, "http://127.0.0.1:1")
    exported = localgif(runs, "export", *where)
    assert exported.exit_code == 2 and exported.stdout == "" and "is a DEMO" in exported.stderr
    drawn = localgif(runs, "draw", "a red ball", folder.name, "-o", "x.gif", *where)
    assert drawn.exit_code == 2 and "is a DEMO" in drawn.stderr
    drawn = localgif(runs, "draw", "a red ball", "-o", "x.gif", *where)
    assert drawn.exit_code == 3 and "prompts that ship with localgif" in drawn.stderr, "not the newest better run"
    left = read_run(folder)
    assert isinstance(left, Left) and "DEMO" in left.why
    with pytest.raises(ConfigError, match="is a DEMO"):
        resume(folder, models, fork=True)


def test_one_that_was_stopped_is_not_resumed(tmp_path: Path, folder: Path) -> None:
    stopped = load_run(folder).record.model_copy(update={"status": "interrupted", "result": None})
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "run.json").write_text(stopped.model_dump_json())
    with pytest.raises(ConfigError, match="no unfinished run"):
        find_unfinished(tmp_path)
    with pytest.raises(ConfigError):
        refuse_demo(stopped)
