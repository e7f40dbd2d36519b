"""A sweep runs every cell once despite interruptions, and reports each cell that it could not run."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from localgif.cli.app import app
from localgif.errors import ConfigError, RunCorrupt, RunLocked, RunMismatch
from localgif.files import take_lock
from localgif.models.toml import ModelsFile, load_models_file
from localgif.records import RunResult
from localgif.run.optimize import begin
from localgif.search.progress import Silent
from localgif.store.read import load_record, load_run
from localgif.sweep import execute
from localgif.sweep.execute import Archive, choose, pack, run_sweep, unpack
from localgif.sweep.read import SWEEP, find_runs
from tests.support.commands import localgif as invoked
from tests.support.kills import MODELS, Deterministic, end_of
from tests.support.scripted import MODEL, Entry, serving
from tests.support.sweeps import TINY, TWO, Told, plan_of, stored

pytestmark = pytest.mark.slow  # whole runs

MISSING = '\n[models.missing]\nendpoint = "ollama"\nmodel = "missing:1b"\nnum_ctx = 4096\n'


class Killing(Deterministic):
    """Kills a process when the request with a given number arrives."""

    victim: subprocess.Popen[str] | None = None
    at = 0

    def next(self, path: str, body: dict[str, Any]) -> Entry:
        said = super().next(path, body)
        if self.victim is not None and len(self.history) == self.at:
            self.victim.kill()
        return said


@pytest.fixture(scope="module")
def server() -> Iterator[Killing]:
    with serving(Killing()) as server:
        assert isinstance(server, Killing)
        yield server


@pytest.fixture
def models(server: Killing, tmp_path: Path) -> ModelsFile:
    (tmp_path / "models.toml").write_text(MODELS.format(url=server.url, model=MODEL) + MISSING)
    return load_models_file(tmp_path / "models.toml")


@pytest.fixture(scope="module")
def undisturbed(server: Killing, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], int]:
    """An undisturbed sweep, its summary, and its number of requests."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "models.toml").write_text(MODELS.format(url=server.url, model=MODEL))
    models = load_models_file(folder / "models.toml")
    plan, before = plan_of(TWO, models), len(server.history)
    return folder, run_sweep(plan, models, folder, plan.cells, Told()), len(server.history) - before


def test_every_cell_is_an_ordinary_run(undisturbed: tuple[Path, dict[str, Any], int]) -> None:
    folder, summary, _ = undisturbed
    assert (summary["done"], summary["failed"], summary["left"]) == (2, 0, 0)
    for seed, row in enumerate(summary["cells"]):
        record = load_record(folder / "s" / f"seed={seed}")
        assert record.status == "done"
        assert (record.settings.seed, record.settings.metric_calls) == (seed, 2)
        assert record.result is not None
        assert row["best_mean"] == record.result.best.mean
    assert len(find_runs(folder, ["s"]).runs) == 2


def test_what_is_done_is_not_done_again_and_a_longer_list_adds_cells(
    server: Killing, undisturbed: tuple[Path, dict[str, Any], int], models: ModelsFile
) -> None:
    folder, summary, _ = undisturbed
    before, told, plan = len(server.history), Told(), plan_of(TWO, models)
    again = run_sweep(plan, models, folder, plan.cells, told)
    assert len(server.history) == before
    assert told.begun == [] and all(end.known for end in told.ends)
    rows = [[{**row, "seconds": 0} for row in s["cells"]] for s in (summary, again)]
    assert rows[0] == rows[1]
    longer, told = plan_of(TWO.replace("[0, 1]", "[0, 1, 2]"), models), Told()
    run_sweep(longer, models, folder, longer.cells, told)
    assert told.begun == ["seed=2"]


def test_a_cell_that_failed_is_resumed_at_the_end(server: Killing, models: ModelsFile, tmp_path: Path) -> None:
    plan, told = plan_of(TWO, models), Told()
    server.fail_at = len(server.history) + 3
    summary = run_sweep(plan, models, tmp_path, plan.cells, told)
    assert told.statuses == [("seed=0", "failed"), ("seed=1", "done"), ("seed=0", "done")]
    assert "the server is ill" in told.ends[0].outcome.error
    assert told.ends[0].outcome.trace == ""
    assert (summary["done"], summary["failed"]) == (2, 0)
    assert json.loads((tmp_path / "s" / SWEEP).read_text())["failures"] == {}


def test_a_cell_that_cannot_run_is_reported_and_the_rest_is_run(models: ModelsFile, tmp_path: Path) -> None:
    plan, told = plan_of(TINY + '[axes]\nanimator = ["missing", "scripted"]', models), Told()
    summary = run_sweep(plan, models, tmp_path, plan.cells, told)
    missing = ("animator=missing", "failed")
    assert told.statuses == [missing, ("animator=scripted", "done"), missing]
    assert (summary["done"], summary["failed"]) == (1, 1)
    assert "missing:1b" in summary["cells"][0]["error"]
    (left,) = find_runs(tmp_path, ["s"]).left
    assert left.name == "animator=missing" and "missing:1b" in left.why


def test_a_bug_in_one_cell_costs_that_cell_alone(
    models: ModelsFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = begin

    def broken(settings: Any, *rest: Any) -> RunResult:
        return real(settings, *rest) if settings.seed else {}[settings.seed]

    monkeypatch.setattr(execute, "begin", broken)
    plan, told = plan_of(TWO, models), Told()
    summary = run_sweep(plan, models, tmp_path, plan.cells, told)
    assert [row["status"] for row in summary["cells"]] == ["failed", "done"]
    assert told.ends[0].outcome.error == "KeyError: 0"
    assert "in broken" in told.ends[0].outcome.trace


def test_ctrl_c_ends_the_sweep_and_the_next_call_goes_on(models: ModelsFile, tmp_path: Path) -> None:
    plan, told = plan_of(TWO, models), Told()
    with pytest.raises(KeyboardInterrupt):
        run_sweep(plan, models, tmp_path, plan.cells, Told(stop_at="seed=1"))
    run_sweep(plan, models, tmp_path, plan.cells, told)
    assert [(end.cell.name, end.known) for end in told.ends] == [("seed=0", True), ("seed=1", False)]


def test_a_begun_cell_continues_at_the_level_that_the_sweep_accepts(
    models: ModelsFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(execute, "resume", lambda home, models, progress, changes: asked.append(changes))
    (tmp_path / "run.json").touch()
    cell = plan_of(TWO, models).cells[0]
    weak = cell.settings.model_copy(update={"sandbox_level": "limits-only"})
    execute.run_cell(tmp_path, weak, cell.suite, models, Silent())
    assert asked == [{"sandbox_level": "limits-only"}]


def test_minutes_and_patterns(models: ModelsFile, tmp_path: Path) -> None:
    plan, told = plan_of(TWO, models), Told()
    summary = run_sweep(plan, models, tmp_path, plan.cells, told, minutes=0)
    assert (told.begun, summary["left"]) == ([], 2)
    assert [cell.name for cell in choose(plan, "*=1")] == ["seed=1"]
    with pytest.raises(ConfigError, match=r"--cells seed=7: no cell matches"):
        choose(plan, "seed=7")


def test_other_settings_are_refused_before_anything_starts(
    server: Killing, undisturbed: tuple[Path, dict[str, Any], int], models: ModelsFile
) -> None:
    changed = TWO.replace("metric_calls = 2", "metric_calls = 3").replace("[0, 1]", "[9, 1]")
    plan, told, before = plan_of(changed, models), Told(), len(server.history)
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
    assert told.statuses == [("seed=0", "done"), ("seed=1", "failed"), ("seed=1", "failed")]
    assert "mine.py" in told.ends[-1].outcome.error
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


# --- a run folder on its way ------------------------------------------------------------------------------------------


def archive_of(*members: tarfile.TarInfo | str) -> Archive:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for member in members:
            tar.addfile(tarfile.TarInfo(member) if isinstance(member, str) else member)
    return Archive(file.getvalue(), hashlib.sha256(file.getvalue()).hexdigest())


def test_a_run_folder_travels_whole_and_replaces_an_older_one(tmp_path: Path) -> None:
    home = stored(tmp_path, "r", [0.1], [0.9])
    (home / "report.html").touch()
    packed = pack(home)
    assert packed is not None
    assert pack(tmp_path) is None, "no run"
    copy = stored(tmp_path / "elsewhere", "r", [0.1], [0.2])
    unpack(packed, copy)
    assert load_run(copy) == load_run(home)._replace(folder=copy)
    assert {p.name for p in copy.iterdir()} == {p.name for p in home.iterdir()} - {".lock", "report.html"}
    lock = take_lock(copy)
    try:
        with pytest.raises(RunLocked):
            unpack(packed, copy)
    finally:
        os.close(lock)


def test_an_archive_that_is_not_a_run_folder_changes_nothing(tmp_path: Path) -> None:
    link, device, sparse = tarfile.TarInfo("run.json"), tarfile.TarInfo("run.json"), tarfile.TarInfo("run.json")
    link.type, link.linkname, device.type, sparse.type = tarfile.SYMTYPE, "/etc/passwd", tarfile.CHRTYPE, b"S"
    good = archive_of("run.json")
    for wrong in (
        archive_of("../outside"),
        *map(archive_of, (link, device, sparse)),
        good._replace(data=good.data[:-1]),
        Archive(b"no tar", hashlib.sha256(b"no tar").hexdigest()),
    ):
        with pytest.raises(RunCorrupt):
            unpack(wrong, tmp_path / "s" / "r")
        assert [p for p in tmp_path.rglob("*") if p.name != "s"] == []


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.mark.full
def test_a_killed_sweep_goes_on_to_the_same_end(
    server: Killing, undisturbed: tuple[Path, dict[str, Any], int], models: ModelsFile, tmp_path: Path
) -> None:
    """The command is killed during its second cell, then called again."""
    folder, _, requests = undisturbed
    (tmp_path / "s.toml").write_text(TWO)
    server.at = len(server.history) + requests - 1
    server.victim = subprocess.Popen(
        [sys.executable, "-m", "localgif", "sweep", "s.toml"],
        cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    out, err = server.victim.communicate(timeout=120)
    assert server.victim.returncode == -signal.SIGKILL
    server.victim = None
    assert "2 cells to run" in err and "[1/2] seed=0  done" in err
    assert out == ""
    assert load_record(tmp_path / "runs" / "s" / "seed=1").status == "started"
    before = len(server.history)
    again = invoked(tmp_path, "sweep", "s.toml", "--json")
    assert again.exit_code == 0, again.output
    assert len(server.history) - before < requests / 2
    assert [row["status"] for row in json.loads(again.stdout)["cells"]] == ["done", "done"]
    assert "[1/2] seed=0  done" in again.stderr and "(already done)" in again.stderr
    for name in ("seed=0", "seed=1"):
        assert end_of(tmp_path / "runs" / "s" / name) == end_of(folder / "s" / name)
        assert (tmp_path / "runs" / "s" / name / "report.html").exists()


def test_what_is_concluded_is_shown_to_people_and_programs(
    undisturbed: tuple[Path, dict[str, Any], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(undisturbed[0])

    def compared(*more: str) -> Any:
        return CliRunner().invoke(app, ["compare", "s", "--runs-dir", ".", *more])

    told = compared()
    assert told.exit_code == 0, told.output
    page = undisturbed[0] / "s" / "compare.html"
    assert told.stdout.rstrip().endswith("page      s/compare.html")
    assert "Comparison" in page.read_text()
    found = json.loads(compared("--json", "-o", "other.html").stdout)
    assert len(found["groups"]) == 1 and len(found["groups"][0]["runs"]) >= 2
    assert all(f"- {sentence}\n" in told.stdout for sentence in found["sentences"])
    assert (undisturbed[0] / "other.html").read_text() == page.read_text()
    page.unlink()
    os.mkfifo(page)
    assert compared().exit_code == 0 and page.is_file(), "a pipe of somebody else's is not waited for"
    for more, message in (
        (["--by=task"], "do not differ in it"),
        (["--scorer=strickt"], 'did you mean "strict"?'),
        (["-o", "no/where.html"], "name another file with -o"),
    ):
        refused = compared(*more)
        assert (refused.exit_code, message in refused.stderr) == (2, True)


def test_the_plan_alone_runs_nothing(
    server: Killing, models: ModelsFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("s.toml").write_text(TWO)
    before = len(server.history)
    told = CliRunner().invoke(app, ["sweep", "s.toml", "--plan"])
    assert told.exit_code == 0, told.output
    assert "seed=0" in told.stdout and "seed=1" in told.stdout and "about 4 minutes" in told.stdout
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


@pytest.mark.parametrize("wrong", ["local", "local:0", "local:x", "gpu-box", "http://gpu-box:80", "tcp://gpu-box", ""])
def test_what_is_no_scheduler_is_refused(wrong: str, models: ModelsFile, tmp_path: Path) -> None:
    told = invoked(tmp_path, "sweep", "s.toml", "--scheduler", wrong)
    assert told.exit_code == 2
    assert "must be a URL such as tcp://" in told.stderr and "or local:N" in told.stderr
