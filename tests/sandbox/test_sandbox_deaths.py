"""Whatever ends the app or the keeper, the programs end too, and what they leave is swept."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

import localgif
from localgif.errors import SandboxError
from localgif.records import Limits, Verdict
from localgif.sandbox import keeper_client, watch
from localgif.sandbox.protocol import FULL, LAYERS, LIMITS_ONLY
from localgif.sandbox.runner import run_program
from tests.sandbox.guest_kit import AS_ROOT, SMALL, Ground, grounds, left_running, source_of

HERE = str(Path(localgif.__file__).parent.parent)

_APP = """
import sys
from localgif.records import Limits
from localgif.sandbox.protocol import LAYERS
from localgif.sandbox.runner import run_program
limits = Limits(cpu_seconds=1, wall_seconds=60, processes=3)
run_program(sys.argv[1], limits, layers=LAYERS[sys.argv[2]])
"""
_SLEEPER = """
import ctypes, os, signal, time
def make_gif(path):
    {before}
    open('started', 'w').close()
    time.sleep(60)
"""
#: Gives up the signal at the parent's death; only a level without seccomp lets it.
_OUTLIVES = "ctypes.CDLL(None).prctl(1, 0)"


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.01)


class App:
    """Another app, whose program has started and sleeps."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.keeper, *self.guests = psutil.Process(process.pid).children(recursive=True)
        assert self.guests

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def alive(self) -> list[int]:
        return [each.pid for each in (self.keeper, *self.guests) if each.is_running() and each.status() != "zombie"]


@contextlib.contextmanager
def app_with_sleeper(jobs: Path, before: str = "pass", level: str = FULL) -> Iterator[App]:
    process = subprocess.Popen(
        [sys.executable, "-c", _APP, _SLEEPER.format(before=before), level],
        env={"PYTHONPATH": HERE, "TMPDIR": str(jobs)},
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: any(jobs.glob("localgif-*/started")), 20)
        app = App(process)
        yield app
    finally:
        process.kill()
        process.wait()
    for pid in app.alive():
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(("level", "before"), [(FULL, "pass"), (LIMITS_ONLY, _OUTLIVES)])
def test_the_program_and_the_keeper_die_at_once_when_the_app_is_killed(
    level: str, before: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with app_with_sleeper(tmp_path, before, level) as app:
        assert watch.sweep() == []  # its app is alive
        app.kill()
        wait_until(lambda: not app.alive(), 2)
        assert len(watch.sweep()) == 1
        assert list(tmp_path.iterdir()) == []


def test_the_program_dies_with_a_keeper_that_was_killed(tmp_path: Path) -> None:
    with app_with_sleeper(tmp_path) as app:
        os.kill(app.process.pid, signal.SIGSTOP)  # it must not be the app that clears up
        app.keeper.kill()
        wait_until(lambda: not app.alive(), 2)


def test_the_next_start_sweeps_what_outlived_app_and_keeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with app_with_sleeper(tmp_path, _OUTLIVES, LIMITS_ONLY) as app:
        os.kill(app.process.pid, signal.SIGSTOP)
        app.keeper.kill()
        app.kill()
        wait_until(lambda: not app.keeper.is_running() or app.keeper.status() == "zombie", 2)
        assert app.alive() == [app.guests[0].pid]
        assert len(watch.sweep()) == 1
        wait_until(lambda: not app.alive(), 2)


@pytest.mark.skipif(not AS_ROOT, reason="an ordinary user's program cannot fork at all with one process allowed")
def test_a_daemon_dies_with_the_app(tmp_path: Path) -> None:
    with app_with_sleeper(tmp_path, "os.fork() or (os.setsid(), time.sleep(60))", LIMITS_ONLY) as app:
        assert len(app.guests) == 2
        app.kill()
        wait_until(lambda: not app.alive(), 2)


def test_an_interrupt_ends_the_program_and_removes_its_directory(tmp_path: Path) -> None:
    with app_with_sleeper(tmp_path) as app:
        app.process.send_signal(signal.SIGINT)
        assert app.process.wait(20) == -signal.SIGINT
        assert app.alive() == []
        assert list(tmp_path.iterdir()) == []


# --- the keeper of this process ----------------------------------------------------------------------------------


@pytest.fixture
def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ground]:
    with grounds(tmp_path, monkeypatch) as ground:
        yield ground


def test_a_keeper_that_died_idle_is_replaced_without_a_word(ground: Ground) -> None:
    assert ground.run(source_of("b1_plain.py")).verdict is Verdict.OK
    before = keeper_client.pid()
    assert before is not None
    os.kill(before, signal.SIGKILL)
    assert ground.run(source_of("b1_plain.py")).verdict is Verdict.OK
    assert keeper_client.pid() not in (None, before)


def kill_keepers_while(source: str, times: int, jobs: Path) -> None:
    """Kills the keeper as soon as the program has written the file "started", as often as asked."""
    for _ in range(times):
        wait_until(lambda: any(jobs.glob("*/started")), 20)
        victim = keeper_client.pid()
        assert victim is not None
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: not any(jobs.glob("*/started")), 20)


@pytest.mark.parametrize("layers", [LAYERS[FULL], LAYERS[LIMITS_ONLY]], ids=[FULL, LIMITS_ONLY])
def test_a_keeper_that_dies_twice_under_a_job_is_our_failure_and_leaves_nothing(
    layers: frozenset[str], ground: Ground
) -> None:
    source = _SLEEPER.format(before="pass" if layers == LAYERS[FULL] else _OUTLIVES)
    killer = threading.Thread(target=kill_keepers_while, args=(source, 2, ground.jobs))
    killer.start()
    try:
        with pytest.raises(SandboxError, match=r"failed twice: the keeper died\."):
            run_program(source, Limits(wall_seconds=30), layers=layers)
    finally:
        killer.join()
    ground.check()
    assert [p for p in psutil.process_iter() if is_ours(p)] == []


def is_ours(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.environ().get(watch.KEEPER, "").startswith(watch.owner())
    return False


def test_a_keeper_that_hangs_is_ended_and_reported(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localgif.sandbox.keeper_client.ANSWER_PATIENCE", 0.2)
    monkeypatch.setattr("localgif.sandbox.watch.KILL_PATIENCE", -0.5)  # half a second for a keeper to stop
    ground.run(source_of("b1_plain.py"), layers=LAYERS[FULL])
    stopped = keeper_client.pid()
    assert stopped is not None
    os.kill(stopped, signal.SIGSTOP)
    result = ground.run(source_of("b1_plain.py"), SMALL.model_copy(update={"wall_seconds": 1.0}), LAYERS[FULL])
    assert result.verdict is Verdict.OK  # the second try, with a new keeper
    assert keeper_client.pid() != stopped
    assert not psutil.pid_exists(stopped)


def test_stopping_the_keeper_leaves_no_process(ground: Ground) -> None:
    ground.run(source_of("b1_plain.py"))
    before = keeper_client.pid()
    assert before is not None and left_running() == []
    keeper_client.stop()
    assert keeper_client.pid() is None and not psutil.pid_exists(before)
