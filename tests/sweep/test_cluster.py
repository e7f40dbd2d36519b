"""A sweep on a real Dask cluster of several processes comes to what a local one does, whoever dies in the middle."""

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
from localgif.models.toml import load_models_file
from localgif.store.read import load_record
from localgif.sweep import cluster, conduct, worker
from localgif.sweep.conduct import run_on_cluster
from localgif.sweep.execute import run_sweep
from localgif.sweep.gather import gather
from localgif.sweep.plan import Plan, parse_plan
from tests.kit import tiny_models
from tests.scripted import serving
from tests.search.kills import end_of
from tests.sweep import cluster_kit as kit
from tests.sweep.cluster_kit import TINY, Acting
from tests.sweep.test_execute import Told, statuses

SEEDS = (0, 1, 2)


class World:
    """Two boxes with a model server each, a scheduler, and how the sweep ends when nobody disturbs it."""

    def __init__(self, folder: Path, address: str, servers: dict[str, Acting]) -> None:
        self.folder, self.address, self.servers = folder, address, servers
        self.stack, self.kept = contextlib.ExitStack(), False
        (folder / "models.toml").write_text(kit.models_text(servers["box1"].url))
        self.models = load_models_file(folder / "models.toml")
        self.plan = self.plan_of(f"[axes]\nseed = {list(SEEDS)}\n")
        self.requests: list[int] = []
        """Of each cell."""
        for cell in self.plan.cells:
            run_sweep(self.plan, self.models, folder / "undisturbed", [cell], Told())
            self.requests.append(len(servers["box1"].history) - sum(self.requests))
        self.wanted = [end_of(folder / "undisturbed" / "s" / f"seed={seed}") for seed in SEEDS]

    def plan_of(self, text: str) -> Plan:
        return parse_plan(TINY + text + kit.places(self.servers), "s", "s.toml", self.models)

    def worker(self, name: str) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
        return kit.process(kit.worker(self.folder, self.address, name))

    def alone(self) -> None:
        """No worker is there."""
        self.stack.close()
        self.kept = False

    def ready(self) -> Acting:
        """box2 is there, and stays: what a run imports takes seconds. Gives back its server."""
        if not self.kept:
            self.stack.enter_context(self.worker("box2"))
            self.kept = True
        return self.servers["box2"]

    def sweep(self, runs_dir: Path, told: Told, plan: Plan | None = None, minutes: float = 2) -> dict[str, Any]:
        """With an end, so that a worker that never comes fails the test and does not hang it."""
        plan = plan or self.plan
        return run_on_cluster(plan, self.models, runs_dir, plan.cells, told, self.address, minutes)

    def assert_as_undisturbed(self, runs_dir: Path) -> None:
        for seed, wanted in zip(SEEDS, self.wanted, strict=True):
            home = runs_dir / "s" / f"seed={seed}"
            assert end_of(home) == wanted
            result = load_record(home).result
            assert result is not None and result.folder == str(home)
            assert not is_locked(home)
        assert len(gather(runs_dir, ["s"]).runs) == len(SEEDS)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("cluster")
    servers = {name: Acting() for name in ("box1", "box2")}
    with contextlib.ExitStack() as stack:
        for server in servers.values():
            stack.enter_context(serving(server))
        world = World(folder, stack.enter_context(kit.scheduler(folder)), servers)
        stack.callback(world.alone)
        yield world


def test_a_worker_killed_in_the_middle_of_a_cell_costs_nothing_that_came_back(world: World, tmp_path: Path) -> None:
    """Killed with the last request of its cell, when all but that came back; the other one comes then."""
    told, first, second = Told(), world.servers["box1"], world.servers["box2"]
    before = len(first.history), len(second.history)
    world.alone()
    with world.worker("box1") as victim:
        done = len(world.wanted[0].samples) - 1

        def kill() -> None:
            world.ready()
            kit.until(lambda: kit.lines_in(tmp_path / "s" / "seed=0" / "samples.jsonl") >= done)
            victim.kill()

        first.at, first.act = before[0] + world.requests[0], kill
        summary = world.sweep(tmp_path, told)
        assert victim.wait(10) == -signal.SIGKILL
    assert (summary["done"], summary["failed"], summary["left"]) == (3, 0, 0)
    world.assert_as_undisturbed(tmp_path)
    assert [(end.status, end.where) for end in told.ends] == [("done", "box2")] * 3
    assert any("worker box1 at" in note and "is gone; seed=0 will go on" in note for note in told.notes)
    # The sample that was under way was begun anew; all that was done before was not.
    assert len(first.history) - before[0] == world.requests[0]
    assert len(second.history) - before[1] == len(world.wanted[0].samples[-1]["attempts"]) + sum(world.requests[1:])


def test_what_is_done_is_not_done_again_and_a_cell_goes_where_its_model_is(world: World, tmp_path: Path) -> None:
    """Nobody has the one model: that is told, and the rest is run."""
    missing = '\n[models.missing]\nendpoint = "ollama"\nmodel = "missing:1b"\nnum_ctx = 4096\n'
    (tmp_path / "models.toml").write_text(kit.models_text(world.servers["box1"].url) + missing)
    models = load_models_file(tmp_path / "models.toml")
    text = TINY + '[axes]\nanimator = ["missing", "scripted"]\n' + kit.places(world.servers)
    plan = parse_plan(text, "s", "s.toml", models)
    world.ready()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conduct, "GRACE", 0.5)
        told = Told()
        summary = run_on_cluster(plan, models, tmp_path, plan.cells, told, world.address, 2)
        assert statuses(told) == [("animator=scripted", "done"), ("animator=missing", "failed")]
        assert "box2: " in told.ends[1].error and "missing:1b" in told.ends[1].error
        assert (summary["done"], summary["failed"]) == (1, 1)
        left = gather(tmp_path, ["s"]).left
        assert [run.name for run in left] == ["animator=missing"]
        again = Told()
        with pytest.raises(PreflightError, match=r"no worker at tcp://.* can take a cell") as caught:
            run_on_cluster(plan, models, tmp_path, plan.cells, again, world.address, 2)
        assert caught.value.code == "E-WORKERS"
        assert [(end.cell.name, end.known) for end in again.ends] == [("animator=scripted", True)]


def test_a_failed_cell_is_tried_once_more_at_the_end(world: World, tmp_path: Path) -> None:
    server, told = world.ready(), Told()
    server.fail_at = len(server.history) + 2
    world.sweep(tmp_path, told)
    assert statuses(told) == [("seed=0", "failed"), ("seed=1", "done"), ("seed=2", "done"), ("seed=0", "done")]
    assert "the server is ill" in told.ends[0].error
    world.assert_as_undisturbed(tmp_path)


def test_another_localgif_is_refused_before_anything_starts(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = worker.identity()
    monkeypatch.setattr(worker, "identity", lambda: {**real, "localgif": "9.9.9"})
    world.ready()
    with pytest.raises(PreflightError, match=r"localgif: 0\.1\.0 there, here 9\.9\.9") as caught:
        world.sweep(tmp_path, Told())
    assert (caught.value.code, caught.value.exit_code) == ("E-WORKERS", 3)
    assert [path.name for path in (tmp_path / "s").iterdir() if path.is_dir()] == []


def test_ctrl_c_stops_the_cells_brings_home_what_they_did_and_the_next_call_goes_on(
    world: World, tmp_path: Path
) -> None:
    server, told, home = world.ready(), Told(), tmp_path / "s" / "seed=0"

    def interrupt() -> None:
        kit.until(lambda: kit.lines_in(home / "samples.jsonl") >= 1)
        os.kill(os.getpid(), signal.SIGINT)
        kit.until(lambda: load_record(home).status != "started")  # so that the cell cannot end before it is stopped

    server.at, server.act = len(server.history) + world.requests[0], interrupt
    with pytest.raises(KeyboardInterrupt):
        world.sweep(tmp_path, Told())
    assert load_record(home).status == "interrupted"
    assert not is_locked(home)
    before = len(server.history)
    world.sweep(tmp_path, told)
    assert len(server.history) - before == len(world.wanted[0].samples[-1]["attempts"]) + sum(world.requests[1:])
    assert [end.status for end in told.ends] == ["done"] * 3
    world.assert_as_undisturbed(tmp_path)


def test_a_scheduler_that_is_lost_ends_the_command_and_the_next_one_goes_on(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed with the first request of the second cell: the first cell is done and stays so."""
    for module in (cluster, conduct):
        monkeypatch.setattr(module, "SCHEDULER_SECONDS", 1.0)
    server = world.servers["box1"]
    scheduler, address = kit.scheduler_process(tmp_path)
    with kit.process(scheduler), kit.process(kit.worker(tmp_path, address, "box1")) as orphan:
        server.at, server.act = len(server.history) + world.requests[0] + 1, scheduler.kill
        with pytest.raises(EndpointError, match=r"the scheduler at .* is gone") as caught:
            run_on_cluster(world.plan, world.models, tmp_path, world.plan.cells, Told(), address, 2)
        assert (caught.value.code, caught.value.exit_code) == ("E-SCHEDULER-LOST", 4)
        orphan.wait(30)
    told = Told()
    world.ready()
    world.sweep(tmp_path, told)
    assert [(end.cell.name, end.status, end.known) for end in told.ends] == [
        ("seed=0", "done", True), ("seed=1", "done", False), ("seed=2", "done", False)
    ]  # fmt: skip
    world.assert_as_undisturbed(tmp_path)


def test_a_scheduler_that_comes_back_is_gone_on_with(world: World, tmp_path: Path) -> None:
    server, told = world.servers["box1"], Told()
    with contextlib.ExitStack() as stack:
        scheduler, address = kit.scheduler_process(tmp_path)
        stack.enter_context(kit.process(scheduler))
        stack.enter_context(kit.process(kit.worker(tmp_path, address, "box1")))

        def replace() -> None:
            scheduler.kill()
            scheduler.wait()
            successor, again = kit.scheduler_process(tmp_path, port=int(address.rpartition(":")[2]))
            stack.enter_context(kit.process(successor))
            assert again == address
            stack.enter_context(kit.process(kit.worker(tmp_path, address, "box2")))

        server.at, server.act = len(server.history) + world.requests[0] + 1, replace
        summary = run_on_cluster(world.plan, world.models, tmp_path, world.plan.cells, told, address, 2)
    assert (summary["done"], summary["failed"], summary["left"]) == (3, 0, 0)
    assert [(end.status, end.where) for end in told.ends] == [("done", "box1"), ("done", "box2"), ("done", "box2")]
    world.assert_as_undisturbed(tmp_path)


def test_no_minutes_no_cells(world: World, tmp_path: Path) -> None:
    told = Told()
    assert world.sweep(tmp_path, told, minutes=0)["left"] == 3
    assert (told.begun, told.ends) == ([], [])


# --- before there is a cluster ----------------------------------------------------------------------------------------


def test_nobody_answers_and_dask_is_not_there(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "SCHEDULER_SECONDS", 1.0)
    with pytest.raises(PreflightError, match=r"no scheduler of Dask answers at tcp://127\.0\.0\.1:9") as caught:
        run_on_cluster(world.plan, world.models, tmp_path, world.plan.cells, Told(), "tcp://127.0.0.1:9")
    assert caught.value.code == "E-SCHEDULER"
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(PreflightError, match="needs Dask, which is not installed here") as caught:
        run_on_cluster(world.plan, world.models, tmp_path, world.plan.cells, Told(), world.address)
    assert caught.value.code == "E-CLUSTER"
    assert "localgif[cluster]" in caught.value.remedy


@pytest.mark.parametrize("wrong", ["local", "local:0", "local:x", "gpu-box", "http://gpu-box:80", "tcp://gpu-box", ""])
def test_what_is_no_scheduler_is_refused(wrong: str) -> None:
    with pytest.raises(ConfigError, match=r"--scheduler .* must be a URL such as tcp://"):
        cluster.local_workers(wrong)


def test_the_embedded_engine_is_not_started_once_for_each_worker(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text(tiny_models(64))
    models = load_models_file(tmp_path / "models.toml")
    plan = parse_plan(TINY + "[axes]\nseed = [0, 1]\n", "s", "s.toml", models)
    with pytest.raises(ConfigError, match="would start the embedded engine 4 times on this machine"):
        run_on_cluster(plan, models, tmp_path, plan.cells, Told(), "local:4")


def test_the_command_starts_workers_of_its_own_and_leaves_none(world: World, tmp_path: Path) -> None:
    """local:2, each worker with a server of its own; nothing is refused by the guard, and the result is the same."""
    world.alone()
    (tmp_path / "models.toml").write_text(kit.models_text(world.servers["box1"].url))
    servers = {"0": world.servers["box1"], "1": world.servers["box2"]}
    (tmp_path / "s.toml").write_text(TINY + f"[axes]\nseed = {list(SEEDS)}\n" + kit.places(servers))
    before = [len(server.history) for server in servers.values()]
    done = subprocess.run(
        [sys.executable, "-m", "localgif", "sweep", "s.toml", "--scheduler", "local:2", "--json"],
        cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path), "PYTHONPATH": str(kit.ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["cells"]
    assert [(row["status"], row["worker"] in servers) for row in rows] == [("done", True)] * 3
    assert "note:" not in done.stderr and "Warning" not in done.stderr
    assert all(len(server.history) > n for server, n in zip(servers.values(), before, strict=True))
    assert [end_of(tmp_path / "runs" / "s" / f"seed={seed}") for seed in SEEDS] == world.wanted
    assert (tmp_path / "runs" / "s" / "seed=0" / "report.html").exists()


def test_a_scheduler_behind_tls_takes_who_has_a_certificate(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole way as docs/scale.md has it; then a client without certificates, and with those of somebody else."""
    (tmp_path / "models.toml").write_text(kit.models_text(world.servers["box1"].url))
    (tmp_path / "s.toml").write_text(TINY + "[axes]\nseed = [0]\n" + kit.places(world.servers))
    for name, value in certificates(tmp_path / "ours").items():
        monkeypatch.setenv(name, value)
    scheduler, address = kit.scheduler_process(tmp_path, protocol="tls")

    def sweep(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "localgif", "sweep", "s.toml", "--scheduler", address, "--json"]
        environment = {**environment, "HOME": str(tmp_path), "PYTHONPATH": str(kit.ROOT), **kit.QUICK}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)

    with kit.process(scheduler), kit.process(kit.worker(tmp_path, address, "box1")):
        assert address.startswith("tls://127.0.0.1:")
        without = {name: value for name, value in os.environ.items() if not name.startswith("DASK_")}
        refused = sweep(without)
        assert refused.returncode == 3 and "E-CERTIFICATES" in refused.stderr
        assert "names none for a client" in refused.stderr and "Traceback" not in refused.stderr
        lost = sweep({**os.environ, "DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT": str(tmp_path / "none.pem")})
        assert lost.returncode == 3 and "cannot be used ([Errno 2] No such file" in lost.stderr
        foreign = sweep({**without, **certificates(tmp_path / "theirs")})
        assert foreign.returncode == 3 and "E-SCHEDULER]" in foreign.stderr and "Traceback" not in foreign.stderr
        done = sweep(dict(os.environ))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["cells"][0]["worker"] == "box1"
    assert end_of(tmp_path / "runs" / "s" / "seed=0") == world.wanted[0]


def certificates(folder: Path) -> dict[str, str]:
    """An authority of its own and a certificate from it, for each part of a cluster, as Dask's configuration."""
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
