"""A sweep on a real Dask cluster ends like a local one, whichever process dies."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from localgif.errors import ConfigError, EndpointError, PreflightError
from localgif.files import is_locked
from localgif.models.toml import ModelsFile, load_models_file
from localgif.run.optimize import versions
from localgif.store.read import load_record
from localgif.sweep import cluster, execute
from localgif.sweep.cluster import run_on_cluster
from localgif.sweep.execute import run_sweep
from localgif.sweep.plan import Plan
from localgif.sweep.read import find_runs
from tests.support import SOON
from tests.support import cluster as kit
from tests.support.kills import MODELS, end_of
from tests.support.kit import tiny_models
from tests.support.scripted import MODEL, serving
from tests.support.sweeps import TINY, TWO, Told, plan_of

pytestmark = pytest.mark.slow

SEEDS = (0, 1)
MISSING = '\n[models.missing]\nendpoint = "ollama"\nmodel = "missing:1b"\nnum_ctx = 4096\n'


class World:
    """A model server, a scheduler, and the outcome of an undisturbed sweep."""

    def __init__(self, folder: Path, address: str, server: kit.Acting) -> None:
        self.folder, self.address, self.server = folder, address, server
        self.stack, self.stays = contextlib.ExitStack(), False
        (folder / "models.toml").write_text(MODELS.format(url=server.url, model=MODEL) + MISSING)
        self.models: ModelsFile = load_models_file(folder / "models.toml")
        self.plan = plan_of(TINY + f"[axes]\nseed = {list(SEEDS)}\n", self.models)
        run_sweep(self.plan, self.models, folder / "undisturbed", self.plan.cells[:1], Told())
        self.requests = len(server.history)
        """Of the first cell."""
        run_sweep(self.plan, self.models, folder / "undisturbed", self.plan.cells, Told())
        self.wanted = [end_of(folder / "undisturbed" / "s" / f"seed={seed}") for seed in SEEDS]

    def ready(self) -> None:
        """A cluster with the worker box2, kept for several tests: a worker takes seconds to start."""
        if not self.stays:
            self.stack.enter_context(self.worker("box2"))
            self.stays = True

    def alone(self) -> None:
        """A cluster without workers."""
        self.stack.close()
        self.stays = False

    def worker(self, name: str, models: str = "scripted") -> contextlib.AbstractContextManager[Any]:
        return kit.worker(self.folder, self.address, name, models)

    def at_request(self, number: int, act: Any) -> None:
        """Do something when the given request, counted from now, arrives."""
        self.server.at, self.server.act = len(self.server.history) + number, act

    def sweep(self, runs_dir: Path, told: Told, plan: Plan | None = None, minutes: float = 10) -> dict[str, Any]:
        """With a limit, so that a missing worker fails the test instead of hanging it."""
        plan = plan or self.plan
        return run_on_cluster(plan, self.models, runs_dir, plan.cells, told, self.address, minutes)

    def assert_as_undisturbed(self, runs_dir: Path) -> None:
        for seed, wanted in zip(SEEDS, self.wanted, strict=True):
            home = runs_dir / "s" / f"seed={seed}"
            assert end_of(home) == wanted
            result = load_record(home).result
            assert result is not None and result.folder == str(home)
            assert not is_locked(home)
        assert len(find_runs(runs_dir, ["s"]).runs) == len(SEEDS)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder, server = tmp_path_factory.mktemp("cluster"), kit.Acting()
    with serving(server), kit.scheduler(folder) as (_, address):
        world = World(folder, address, server)
        yield world
        world.alone()


@pytest.mark.full
def test_a_cell_whose_worker_is_killed_runs_again_elsewhere(world: World, tmp_path: Path) -> None:
    """The first worker dies during the cell; then a second one joins."""
    told, plan = Told(), plan_of(TINY + "[axes]\nseed = [0]\n", world.models)
    world.alone()
    with world.worker("box1") as victim:

        def kill() -> None:
            world.ready()
            victim.kill()

        world.at_request(world.requests, kill)
        summary = world.sweep(tmp_path, told, plan)
        assert victim.wait(SOON) == -signal.SIGKILL
    assert (summary["done"], summary["failed"], summary["left"]) == (1, 0, 0)
    assert [(end.status, end.worker) for end in told.ends] == [("done", "box2")]
    assert told.begun == ["seed=0", "seed=0"]
    assert "seed=0 starts again: it failed, or worker box1 was lost" in told.notes
    assert end_of(tmp_path / "s" / "seed=0") == world.wanted[0]


@pytest.mark.full
def test_the_scheduler_is_lost_and_the_same_command_goes_on(world: World, tmp_path: Path) -> None:
    """Killed with the first request of the second cell, which a local sweep starts and the next cluster resumes."""
    with kit.scheduler(tmp_path) as (scheduler, address), kit.worker(tmp_path, address, "box1") as orphan:
        world.at_request(world.requests + 1, scheduler.kill)
        with pytest.raises(EndpointError, match=r"the connection to the scheduler at .* was lost") as caught:
            run_on_cluster(world.plan, world.models, tmp_path, world.plan.cells, Told(), address, 10)
        assert (caught.value.code, caught.value.exit_code) == ("E-SCHEDULER-LOST", 4)
        assert "repeat the command" in caught.value.remedy
        orphan.wait(kit.START_SECONDS)
    assert load_record(tmp_path / "s" / "seed=0").status == "done"
    with pytest.raises(KeyboardInterrupt):  # a local sweep starts the second cell
        world.at_request(2, lambda: os.kill(os.getpid(), signal.SIGINT))
        run_sweep(world.plan, world.models, tmp_path, world.plan.cells, Told())
    told, before = Told(), len(world.server.history)
    world.server.fail_at = before + 2
    world.ready()
    assert world.sweep(tmp_path, told)["done"] == 2
    assert [(end.cell.name, end.known) for end in told.ends] == [("seed=0", True), ("seed=1", False)]
    assert told.begun == ["seed=1", "seed=1"], "the server failed once, and Dask tried the cell again"
    world.assert_as_undisturbed(tmp_path)


@pytest.mark.full
def test_ctrl_c_keeps_what_came_back_and_stops_the_rest(world: World, tmp_path: Path) -> None:
    world.ready()
    world.at_request(world.requests + 1, lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        world.sweep(tmp_path, Told())
    assert [path.parent.name for path in (tmp_path / "s").glob("*/run.json")] == ["seed=0"]
    told = Told()
    world.sweep(tmp_path, told)
    assert [(end.cell.name, end.known) for end in told.ends] == [("seed=0", True), ("seed=1", False)]
    world.assert_as_undisturbed(tmp_path)


@pytest.mark.full
def test_a_worker_that_cannot_start_a_cell_leaves(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker lacks a model that it offers. The other workers run what they can, the remaining cells fail."""
    monkeypatch.setattr(cluster, "GRACE_SECONDS", 2.0)
    plan, told = plan_of(TINY + '[axes]\nanimator = ["missing", "scripted"]\n', world.models), Told()
    world.ready()
    with world.worker("box1", "missing scripted"):
        wait_for_workers(world.address, 2)
        summary = world.sweep(tmp_path, told, plan)
        assert sorted(told.statuses) == [("animator=missing", "failed"), ("animator=scripted", "done")]
        assert (summary["done"], summary["failed"]) == (1, 1)
        error = next(end.outcome.error for end in told.ends if end.status == "failed")
        assert "worker box1: " in error and "missing:1b" in error
        assert "worker box2: it does not offer the models missing, scripted" in error
        assert any(
            note.startswith("worker box1 leaves, because it cannot start animator=missing") for note in told.notes
        )
        assert [run.name for run in find_runs(tmp_path, ["s"]).left] == ["animator=missing"]
        with pytest.raises(PreflightError, match=r"no worker at tcp://.* can run a cell") as caught:
            world.sweep(tmp_path, Told(), plan)
    assert caught.value.code == "E-WORKERS"
    assert "--resources 'missing=1 scripted=1'" in caught.value.remedy


def test_another_localgif_is_refused_before_anything_starts(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr(execute, "versions", lambda: {**versions(), "localgif": "9.9.9"})
    execute.identity.cache_clear()
    request.addfinalizer(execute.identity.cache_clear)
    world.ready()
    wait_for_workers(world.address, 1)
    with pytest.raises(PreflightError, match=r"^worker tcp://.*localgif: 0\.1\.0 there, 9\.9\.9 here") as caught:
        world.sweep(tmp_path, Told())
    assert (caught.value.code, caught.value.exit_code) == ("E-WORKERS", 3)
    assert [path for path in (tmp_path / "s").iterdir() if path.is_dir()] == []


def wait_for_workers(address: str, count: int) -> None:
    from distributed import Client

    with Client(address) as client:
        client.wait_for_workers(count, timeout=kit.START_SECONDS)


def test_no_minutes_no_cells(world: World, tmp_path: Path) -> None:
    told = Told()
    assert world.sweep(tmp_path, told, minutes=0)["left"] == 2
    assert (told.begun, told.ends) == ([], [])


def test_the_command_starts_workers_of_its_own_and_leaves_none(world: World, tmp_path: Path) -> None:
    """local:2. The guard blocks nothing, and the run is the same as in a local sweep."""
    (tmp_path / "models.toml").write_text(MODELS.format(url=world.server.url, model=MODEL))
    (tmp_path / "s.toml").write_text(TINY + "[axes]\nseed = [0]\n")
    done = localgif_sweep(tmp_path, "local:2", {})
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["cells"]
    assert row["status"] == "done" and row["worker"] in ("0", "1")
    assert "note:" not in done.stderr and "Warning" not in done.stderr
    assert end_of(tmp_path / "runs" / "s" / "seed=0") == world.wanted[0]
    assert (tmp_path / "runs" / "s" / "seed=0" / "report.html").exists()


@pytest.mark.full
def test_a_scheduler_with_tls_takes_who_has_a_certificate(world: World, tmp_path: Path) -> None:
    """TLS as in docs/sweeps.md; then a client without certificates, and one with foreign certificates."""
    (tmp_path / "models.toml").write_text(MODELS.format(url=world.server.url, model=MODEL))
    (tmp_path / "s.toml").write_text(TINY + "[axes]\nseed = [0]\n")
    ours, theirs = certificates(tmp_path / "ours"), certificates(tmp_path / "theirs")
    with kit.scheduler(tmp_path, "tls", ours) as (_, address), kit.worker(tmp_path, address, "box1", env=ours):
        for variables in ({}, theirs):
            refused = localgif_sweep(tmp_path, address, variables)
            assert refused.returncode == 3 and "[E-SCHEDULER]" in refused.stderr, refused.stderr
            assert "TLS__CA_FILE" in refused.stderr and "Traceback" not in refused.stderr
        done = localgif_sweep(tmp_path, address, ours)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["cells"][0]["worker"] == "box1"
    assert end_of(tmp_path / "runs" / "s" / "seed=0") == world.wanted[0]


def localgif_sweep(folder: Path, scheduler: str, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "localgif", "sweep", "s.toml", "--scheduler", scheduler, "--json"],
        cwd=folder,
        env={**os.environ, **variables, "HOME": str(folder), "PYTHONPATH": str(kit.ROOT), **kit.QUICK},
        capture_output=True,
        text=True,
        timeout=300,
    )


def certificates(folder: Path) -> dict[str, str]:
    """A new authority with a certificate for each part of a cluster, as Dask configuration."""
    folder.mkdir()
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "authority.pem")
    mine = authority.issue_cert("127.0.0.1")
    mine.private_key_pem.write_to_path(folder / "key.pem")
    mine.cert_chain_pems[0].write_to_path(folder / "certificate.pem")
    tls = "DASK_DISTRIBUTED__COMM__TLS__"
    said = {f"{tls}CA_FILE": str(folder / "authority.pem")}
    for role in ("CLIENT", "SCHEDULER", "WORKER"):
        said |= {f"{tls}{role}__CERT": str(folder / "certificate.pem"), f"{tls}{role}__KEY": str(folder / "key.pem")}
    return said


# --- before there is a cluster ----------------------------------------------------------------------------------------


def test_nobody_answers_and_dask_is_not_there(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "SCHEDULER_SECONDS", 1.0)
    with pytest.raises(PreflightError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9") as caught:
        run_on_cluster(world.plan, world.models, tmp_path, world.plan.cells, Told(), "tcp://127.0.0.1:9")
    assert caught.value.code == "E-SCHEDULER"
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(PreflightError, match="needs Dask, which is not installed") as caught:
        world.sweep(tmp_path, Told())
    assert caught.value.code == "E-CLUSTER"
    assert "localgif[cluster]" in caught.value.remedy


def test_the_embedded_engine_is_not_started_once_for_each_worker(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text(tiny_models(64))
    models = load_models_file(tmp_path / "models.toml")
    plan = plan_of(TWO, models)
    with pytest.raises(ConfigError, match="would start the embedded engine 4 times"):
        run_on_cluster(plan, models, tmp_path, plan.cells, Told(), 4)


@pytest.mark.parametrize("lost", [True, False])
def test_a_client_that_stumbles_over_a_lost_scheduler_ends_as_one_that_notices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: bool
) -> None:
    """A bug is not reported as a lost scheduler if the scheduler still answers."""

    class Stumbling(contextlib.AbstractContextManager[Any]):
        status = "running"
        scheduler = None if lost else type("Scheduler", (), {"identity": None})

        def __init__(self, *_: object, **__: object) -> None: ...

        def __exit__(self, *_: object) -> None: ...

        def sync(self, *_: object, **__: object) -> None: ...

        def run(self, *_: object, **__: object) -> None:
            raise AttributeError("'NoneType' object has no attribute 'send'")

    (tmp_path / "models.toml").write_text(MODELS.format(url="http://127.0.0.1:9", model=MODEL))
    models = load_models_file(tmp_path / "models.toml")
    plan = plan_of(TINY + "[axes]\nseed = [0]\n", models)
    monkeypatch.setattr("distributed.Client", Stumbling)
    with pytest.raises(EndpointError if lost else AttributeError) as caught:
        run_on_cluster(plan, models, tmp_path, plan.cells, Told(), "tcp://127.0.0.1:9")
    assert not lost or (caught.value.exit_code == 4 and "was lost" in str(caught.value))  # type: ignore[attr-defined]
