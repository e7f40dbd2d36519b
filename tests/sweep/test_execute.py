"""A sweep runs every cell once, whatever happens in between, and never drops one without a word."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from localgif.cli.app import app
from localgif.doctor.models import recall, remember
from localgif.errors import ConfigError, RunCorrupt, RunLocked, RunMismatch
from localgif.files import take_lock
from localgif.models.toml import ModelsFile, load_models_file
from localgif.records import RunResult
from localgif.run.optimize import begin
from localgif.search.progress import Progress, Silent
from localgif.store.read import load_record
from localgif.sweep import carry
from localgif.sweep.cells import CellEnd
from localgif.sweep.estimate import DEFAULT_DEVIATION, DEFAULT_SECONDS, estimate
from localgif.sweep.execute import choose, run_sweep
from localgif.sweep.gather import SWEEP, gather
from localgif.sweep.plan import Cell, Plan, parse_plan, read_plan
from localgif.sweep.runs import stored_runs
from localgif.sweep.words import plan_sentences
from tests.scripted import MODEL, Entry, serving
from tests.search.kills import MODELS, Deterministic, end_of
from tests.support.commands import localgif as invoked
from tests.sweep.kit import stored

TINY = "[settings]\nreflection = 'plain'\nmetric_calls = 2\nsamples = 1\nfresh = 1\ntarget = 'none'\n"
TWO = TINY + "[axes]\nseed = [0, 1]\n"
SEVERAL = TWO.replace("reflection = 'plain'\n", "") + "reflection = [{}]"
MISSING = '\n[models.missing]\nendpoint = "ollama"\nmodel = "missing:1b"\nnum_ctx = 4096\n'


class Killing(Deterministic):
    """Kills a process with the request of a number."""

    victim: subprocess.Popen[str] | None = None
    at = 0

    def next(self, path: str, body: dict[str, Any]) -> Entry:
        said = super().next(path, body)
        if self.victim is not None and len(self.history) == self.at:
            self.victim.kill()
        return said


@pytest.fixture(scope="module")
def server() -> Iterator[Killing]:
    server = Killing()
    with serving(server):
        yield server


@pytest.fixture
def models(server: Killing, tmp_path: Path) -> ModelsFile:
    (tmp_path / "models.toml").write_text(MODELS.format(url=server.url, model=MODEL) + MISSING)
    return load_models_file(tmp_path / "models.toml")


class Told:
    """Remembers what it was told; may be asked to be interrupted when a cell begins."""

    def __init__(self, stop_at: str | None = None) -> None:
        self.begun: list[str] = []
        self.ends: list[CellEnd] = []
        self.notes: list[str] = []
        self.stop_at = stop_at

    def begins(self, cell: Cell, number: int, cells: int) -> Progress:
        self.begun.append(cell.name)
        if cell.name == self.stop_at:
            raise KeyboardInterrupt
        return Silent()

    def ended(self, end: CellEnd, number: int, cells: int) -> None:
        self.ends.append(end)

    def note(self, text: str) -> None:
        self.notes.append(text)


def plan_of(text: str, models: ModelsFile) -> Plan:
    return parse_plan(text, "s", "s.toml", models)


def statuses(told: Told) -> list[tuple[str, str]]:
    return [(end.cell.name, end.status) for end in told.ends]


@pytest.fixture(scope="module")
def undisturbed(server: Killing, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], int]:
    """A sweep that nothing disturbed, its summary, and how many requests it made."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "models.toml").write_text(MODELS.format(url=server.url, model=MODEL))
    plan = plan_of(TWO, load_models_file(folder / "models.toml"))
    before = len(server.history)
    summary = run_sweep(plan, load_models_file(folder / "models.toml"), folder, plan.cells, Told())
    return folder, summary, len(server.history) - before


def test_every_cell_is_an_ordinary_run(undisturbed: tuple[Path, dict[str, Any], int]) -> None:
    folder, summary, _ = undisturbed
    assert (summary["done"], summary["failed"], summary["left"]) == (2, 0, 0)
    for seed, row in enumerate(summary["cells"]):
        record = load_record(folder / "s" / f"seed={seed}")
        assert record.status == "done"
        assert (record.settings.seed, record.settings.metric_calls) == (seed, 2)
        assert record.result is not None
        assert row["best_mean"] == record.result.best.mean
    assert len(gather(folder, ["s"]).runs) == 2


def test_what_is_done_is_not_done_again(
    server: Killing, undisturbed: tuple[Path, dict[str, Any], int], models: ModelsFile
) -> None:
    folder, summary, _ = undisturbed
    before, told, plan = len(server.history), Told(), plan_of(TWO, models)
    again = run_sweep(plan, models, folder, plan.cells, told)
    assert len(server.history) == before
    assert told.begun == []
    assert all(end.known for end in told.ends)
    volatile = {"seconds"}
    rows = [[{k: v for k, v in row.items() if k not in volatile} for row in s["cells"]] for s in (summary, again)]
    assert rows[0] == rows[1]


def test_a_longer_list_adds_cells(undisturbed: tuple[Path, dict[str, Any], int], models: ModelsFile) -> None:
    folder = undisturbed[0]
    plan, told = plan_of(TWO.replace("[0, 1]", "[0, 1, 2]"), models), Told()
    run_sweep(plan, models, folder, plan.cells, told)
    assert told.begun == ["seed=2"]


def test_a_cell_that_failed_goes_on_at_the_end(server: Killing, models: ModelsFile, tmp_path: Path) -> None:
    plan, told = plan_of(TWO, models), Told()
    server.fail_at = len(server.history) + 3
    summary = run_sweep(plan, models, tmp_path, plan.cells, told)
    assert statuses(told) == [("seed=0", "failed"), ("seed=1", "done"), ("seed=0", "done")]
    assert "the server is ill" in told.ends[0].error
    assert told.ends[0].trace == ""
    assert (summary["done"], summary["failed"]) == (2, 0)
    assert json.loads((tmp_path / "s" / SWEEP).read_text())["failures"] == {}


def test_a_cell_that_cannot_run_is_reported_and_the_rest_is_run(models: ModelsFile, tmp_path: Path) -> None:
    plan, told = plan_of(TINY + '[axes]\nanimator = ["missing", "scripted"]', models), Told()
    summary = run_sweep(plan, models, tmp_path, plan.cells, told)
    assert statuses(told) == [
        ("animator=missing", "failed"),
        ("animator=scripted", "done"),
        ("animator=missing", "failed"),
    ]
    assert (summary["done"], summary["failed"]) == (1, 1)
    assert "missing:1b" in summary["cells"][0]["error"]
    found = gather(tmp_path, ["s"])
    assert [run.name for run in found.left] == ["animator=missing"]
    assert "missing:1b" in found.left[0].why


def test_a_bug_in_one_cell_costs_that_cell_alone(
    models: ModelsFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = begin

    def broken(settings: Any, *rest: Any) -> RunResult:
        return real(settings, *rest) if settings.seed else {}[settings.seed]

    monkeypatch.setattr(carry, "begin", broken)
    plan, told = plan_of(TWO, models), Told()
    summary = run_sweep(plan, models, tmp_path, plan.cells, told)
    assert [row["status"] for row in summary["cells"]] == ["failed", "done"]
    assert told.ends[0].error == "KeyError: 0"
    assert "in broken" in told.ends[0].trace


def test_ctrl_c_ends_the_sweep_and_the_next_call_goes_on(models: ModelsFile, tmp_path: Path) -> None:
    plan, told = plan_of(TWO, models), Told()
    with pytest.raises(KeyboardInterrupt):
        run_sweep(plan, models, tmp_path, plan.cells, Told(stop_at="seed=1"))
    run_sweep(plan, models, tmp_path, plan.cells, told)
    assert [(end.cell.name, end.known) for end in told.ends] == [("seed=0", True), ("seed=1", False)]


def test_minutes_and_patterns(models: ModelsFile, tmp_path: Path) -> None:
    plan, told = plan_of(TWO, models), Told()
    summary = run_sweep(plan, models, tmp_path, plan.cells, told, minutes=0)
    assert (told.begun, summary["left"]) == ([], 2)
    with pytest.raises(ConfigError, match=r"\(seed=0: not started; seed=1: not started\)"):
        gather(tmp_path, ["s"])
    assert [cell.name for cell in choose(plan, "*=1")] == ["seed=1"]
    with pytest.raises(ConfigError, match=r"--cells seed=7: no cell is called so"):
        choose(plan, "seed=7")


def test_other_settings_are_refused_before_anything_starts(
    server: Killing, undisturbed: tuple[Path, dict[str, Any], int], models: ModelsFile
) -> None:
    before = len(server.history)
    plan, told = (
        plan_of(TWO.replace("metric_calls = 2", "metric_calls = 3").replace("[0, 1]", "[9, 1]"), models),
        Told(),
    )
    with pytest.raises(RunMismatch, match=r"seed=1 .* was run with other settings:\n  metric_calls: 2, now 3"):
        run_sweep(plan, models, undisturbed[0], plan.cells, told)
    assert (told.begun, len(server.history)) == ([], before)


def test_a_run_that_died_before_it_had_begun_begins_anew(models: ModelsFile, tmp_path: Path) -> None:
    plan = plan_of(TWO, models)
    for name in ("seed=0", "seed=1"):
        (tmp_path / "s" / name / "code").mkdir(parents=True)
        (tmp_path / "s" / name / ".lock").touch()
    (tmp_path / "s" / "seed=0" / ".run.json.7.tmp").write_text("{")
    (tmp_path / "s" / "seed=1" / "code" / "mine.py").touch()
    told = Told()
    run_sweep(plan, models, tmp_path, plan.cells, told)
    assert statuses(told) == [("seed=0", "done"), ("seed=1", "failed"), ("seed=1", "failed")]
    assert "mine.py" in told.ends[-1].error
    assert (tmp_path / "s" / "seed=1" / "code" / "mine.py").exists()


def test_two_sweeps_of_one_name_do_not_meet(models: ModelsFile, tmp_path: Path) -> None:
    plan = plan_of(TWO, models)
    (tmp_path / "s").mkdir()
    lock = take_lock(tmp_path / "s")
    try:
        with pytest.raises(RunLocked):
            run_sweep(plan, models, tmp_path, plan.cells, Told())
    finally:
        os.close(lock)
    (tmp_path / "s" / SWEEP).write_text("{")
    with pytest.raises(RunCorrupt):
        run_sweep(plan, models, tmp_path, plan.cells, Told())
    (tmp_path / "s" / "run.json").touch()
    with pytest.raises(ConfigError, match="is a run"):
        run_sweep(plan, models, tmp_path, plan.cells, Told())


# --- what a plan says -------------------------------------------------------------------------------------------------


def test_without_stored_runs_the_plan_says_that_it_guesses(models: ModelsFile) -> None:
    found = estimate(plan_of(TWO, models), [])
    assert (found.cells, found.metric_calls, found.samples) == (2, 4, 2 * 4)
    assert found.seconds == 8 * DEFAULT_SECONDS
    assert "no measurement (localgif doctor makes one)" in found.basis
    assert plan_sentences(found)[1] == "There is one group of runs, so nothing is compared."
    several = estimate(plan_of(SEVERAL.format('"plain", "grounded", "example-only"'), models), [])
    assert (several.groups, several.runs, several.comparisons, several.power) == (3, 2, 3, 0.0)
    said = plan_sentences(several)
    assert f"standard deviation of {DEFAULT_DEVIATION:.2f} (assumed" in said[1]
    assert said[2] == f"To find it in 80 % takes {several.needed} runs of each."


def test_stored_runs_of_the_same_models_tell_how_long_and_how_far_apart(models: ModelsFile, tmp_path: Path) -> None:
    for seed, score in enumerate((0.2, 0.4, 0.6, 0.8)):
        stored(tmp_path, f"r{seed}", [0.1] * 4, [score] * 4, seed=seed)  # two minutes, 12 x 2 + 8 samples
    runs = stored_runs(tmp_path)
    plan = plan_of(SEVERAL.format('"plain", "grounded"'), models)
    found = estimate(plan, runs)
    assert found.seconds == pytest.approx(4 * 4 * 120 / 32)
    assert found.basis == "from 4 stored runs of the same models"
    assert found.deviation == pytest.approx(0.2582, abs=1e-4)
    assert found.deviation_basis == "from 4 stored runs"
    assert estimate(plan, runs, {cell.name for cell in plan.cells}).seconds == 0
    half = estimate(plan_of(TINY + '[axes]\nanimator = ["scripted", "missing"]', models), runs)
    assert half.seconds == pytest.approx(4 * 120 / 32 + 4 * DEFAULT_SECONDS)
    assert "; for 1 cell by a default" in half.basis


def test_what_doctor_measured_tells_how_long_where_no_run_is_stored(models: ModelsFile, tmp_path: Path) -> None:
    plan = plan_of(TWO, models)
    remember(tmp_path / "new", plan.cells[0].settings, 10.0, 6.0)
    found = estimate(plan, [], measured=partial(recall, tmp_path / "new"))
    # Of each cell two calls of one sample and two fresh ones: three attempts a sample, a reflection a call.
    assert found.seconds == pytest.approx(2 * (3 * 4 * 10 + 2 * 6))
    kept = recall(tmp_path / "new", plan.cells[0].settings)
    assert kept is not None and found.basis == f"from what doctor measured on {kept.at}"
    stored(tmp_path, "r0", [0.1] * 4, [0.2] * 4, seed=9)
    assert "stored run" in estimate(plan, stored_runs(tmp_path), measured=partial(recall, tmp_path / "new")).basis


# --- the command ------------------------------------------------------------------------------------------------------


def localgif(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "localgif", *arguments],
        cwd=folder,
        env={**os.environ, "HOME": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_killed_sweep_goes_on_to_the_same_end(
    server: Killing,
    undisturbed: tuple[Path, dict[str, Any], int],
    models: ModelsFile,
    tmp_path: Path,
) -> None:
    """The command, killed in the middle of its second cell, then called again."""
    folder, _, requests = undisturbed
    (tmp_path / "s.toml").write_text(TWO)
    server.at = len(server.history) + requests - 1
    server.victim = localgif(tmp_path, "sweep", "s.toml")
    out, err = server.victim.communicate(timeout=120)
    assert server.victim.returncode == -signal.SIGKILL
    server.victim = None
    assert "2 cells to run" in err and "[1/2] seed=0  done" in err
    assert out == ""
    assert load_record(tmp_path / "runs" / "s" / "seed=1").status == "started"
    before = len(server.history)
    again = invoked(tmp_path, "sweep", "s.toml", "--json")
    assert again.exit_code == 0, again.output
    out, err = again.stdout, again.stderr
    assert len(server.history) - before < requests / 2
    summary = json.loads(out)
    assert [row["status"] for row in summary["cells"]] == ["done", "done"]
    assert "[1/2] seed=0  done" in err and "(was there)" in err
    for name in ("seed=0", "seed=1"):
        assert end_of(tmp_path / "runs" / "s" / name) == end_of(folder / "s" / name)
        assert (tmp_path / "runs" / "s" / name / "report.html").exists()


def test_what_is_concluded_is_told_to_people_and_programs(
    undisturbed: tuple[Path, dict[str, Any], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(undisturbed[0])
    told = CliRunner().invoke(app, ["compare", "s", "--runs-dir", "."])
    assert told.exit_code == 0, told.output
    page = undisturbed[0] / "s" / "compare.html"
    assert told.stdout.rstrip().endswith("page      s/compare.html")
    assert "Comparison" in page.read_text()
    said = CliRunner().invoke(app, ["compare", "s", "--runs-dir", ".", "--json", "--to", "other.html"])
    found = json.loads(said.stdout)
    assert len(found["groups"]) == 1 and len(found["groups"][0]["runs"]) >= 2
    assert all(f"- {sentence}\n" in told.stdout for sentence in found["sentences"])
    assert (undisturbed[0] / "other.html").read_text() == page.read_text()
    for wrong, message in (("--by=task", "do not differ in it"), ("--scorer=strickt", 'did you mean "strict"?')):
        refused = CliRunner().invoke(app, ["compare", "s", "--runs-dir", ".", wrong])
        assert (refused.exit_code, message in refused.stderr) == (2, True)
    nowhere = CliRunner().invoke(app, ["compare", "s", "--runs-dir", ".", "--to", "no/where.html"])
    assert (nowhere.exit_code, "name another file: --to FILE" in nowhere.stderr) == (2, True)


def test_the_plan_alone_runs_nothing(
    server: Killing, models: ModelsFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("s.toml").write_text(TWO)
    before = len(server.history)
    told = CliRunner().invoke(app, ["sweep", "s.toml", "--plan"])
    assert told.exit_code == 0, told.output
    assert "seed=0" in told.stdout and "seed=1" in told.stdout and "at most about 4 minutes" in told.stdout
    found = json.loads(CliRunner().invoke(app, ["sweep", "s.toml", "--plan", "--json", "--cells", "*=1"]).stdout)
    assert [row["cell"] for row in found["cells"]] == ["seed=1"]
    assert found["estimate"]["samples"] == 4
    assert not Path("runs").exists()
    assert len(server.history) == before


def test_a_sweep_with_a_failed_cell_ends_with_4(models: ModelsFile, tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(TINY + '[axes]\nanimator = ["missing"]')
    told = invoked(tmp_path, "sweep", "s.toml")
    assert told.exit_code == 4
    assert "0 done, 1 failed" in told.stdout and "animator=missing failed: " in told.stdout
    assert told.stderr.count("[1/1] animator=missing  failed") == 2


def test_the_plan_reads_the_file_that_is_named(models: ModelsFile, tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(TWO)
    assert read_plan(tmp_path / "study.toml", models).name == "study"
