"""Whatever ends the app or the keeper, the programs end too, and the next start sweeps what they left."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import threading
from pathlib import Path

import psutil
import pytest

import localgif
from localgif.errors import SandboxError
from localgif.records import Limits, Verdict
from localgif.sandbox import keeper_client, watch
from localgif.sandbox.protocol import FULL, LAYERS, WEAK
from localgif.sandbox.runner import run_program
from tests.support import SOON
from tests.support.apps import OUTLIVES, SLEEPER, app_with_sleeper, lives
from tests.support.ground import AS_ROOT, PLAIN, SMALL, Ground, left_running, wait_until

HERE = str(Path(localgif.__file__).parent.parent)


@pytest.mark.parametrize(("level", "before"), [(FULL, "pass"), (WEAK, OUTLIVES)])
def test_the_program_and_the_keeper_die_at_once_when_the_app_is_killed(
    level: str, before: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with app_with_sleeper(tmp_path, before, level) as app:
        assert watch.sweep() == []  # its app is alive
        app.kill()
        wait_until(lambda: not app.alive())
        assert len(watch.sweep()) == 1
        assert list(tmp_path.iterdir()) == []


def test_the_program_dies_with_a_keeper_that_was_killed(tmp_path: Path) -> None:
    with app_with_sleeper(tmp_path) as app:
        os.kill(app.process.pid, signal.SIGSTOP)  # so that the app does not clean up
        app.keeper.kill()
        wait_until(lambda: not app.alive())


def test_the_next_start_sweeps_what_outlived_app_and_keeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with app_with_sleeper(tmp_path, OUTLIVES, WEAK) as app:
        os.kill(app.process.pid, signal.SIGSTOP)
        app.keeper.kill()
        app.kill()
        wait_until(lambda: not lives(app.keeper))
        assert app.alive() == [app.guests[0].pid]
        assert len(watch.sweep()) == 1
        wait_until(lambda: not app.alive())


@pytest.mark.skipif(not AS_ROOT, reason="an ordinary user's program cannot fork at all with one process allowed")
def test_a_daemon_dies_with_the_app(tmp_path: Path) -> None:
    with app_with_sleeper(tmp_path, "os.fork() or (os.setsid(), time.sleep(60))", WEAK) as app:
        assert len(app.guests) == 2
        app.kill()
        wait_until(lambda: not app.alive())


def test_an_interrupt_ends_the_program_and_removes_its_directory(tmp_path: Path) -> None:
    with app_with_sleeper(tmp_path) as app:
        app.process.send_signal(signal.SIGINT)
        assert app.process.wait(SOON) == -signal.SIGINT
        assert app.alive() == []
        assert list(tmp_path.iterdir()) == []


# --- the keeper of this process ----------------------------------------------------------------------------------


def test_a_parent_that_ignores_the_end_of_children_changes_no_verdict(ground: Ground) -> None:
    keeper_client.stop()
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert ground.run("def make_gif(path):\n    raise SystemExit(3)\n").verdict is Verdict.ERROR
        assert ground.run("import os\ndef make_gif(path):\n    os.abort()\n").verdict is Verdict.CRASHED
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_a_keeper_that_died_idle_is_replaced_without_a_word(ground: Ground) -> None:
    assert ground.run(PLAIN).verdict is Verdict.OK
    before = keeper_client.pid()
    assert before is not None
    os.kill(before, signal.SIGKILL)
    assert ground.run(PLAIN).verdict is Verdict.OK
    assert keeper_client.pid() not in (None, before)


def kill_keepers(times: int, jobs: Path) -> None:
    """Kills the keeper as soon as a program has written the file "started", this many times."""
    for _ in range(times):
        wait_until(lambda: any(jobs.glob("*/started")))
        victim = keeper_client.pid()
        assert victim is not None
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: not any(jobs.glob("*/started")))


@pytest.mark.usefixtures("fresh_keeper")  # without the processes that another level keeps ready
@pytest.mark.parametrize(("level", "before"), [(FULL, "pass"), (WEAK, OUTLIVES)])
def test_a_program_under_which_every_keeper_dies_has_a_verdict_and_leaves_nothing(
    level: str, before: str, ground: Ground
) -> None:
    """Two attempts, and two more after a harmless program came through."""
    killer = threading.Thread(target=kill_keepers, args=(4, ground.jobs))
    killer.start()
    try:
        result = run_program(SLEEPER.format(before=before), Limits(wall_seconds=30), layers=LAYERS[level])
    finally:
        killer.join()
    assert result.verdict is Verdict.CRASHED
    assert "makes the sandbox fail: the sandbox failed twice: the keeper died." in result.reason
    ground.check()
    assert [p for p in psutil.process_iter() if is_ours(p)] == []


@pytest.mark.usefixtures("fresh_keeper")
def test_keepers_that_die_under_every_job_are_our_failure_and_leave_nothing(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    dying = "; import os; os.pidfd_open = lambda *_: os._exit(1); main()"  # the job's process has just been forked
    monkeypatch.setattr(keeper_client, "BOOT", keeper_client.BOOT.replace("; main()", dying))
    with pytest.raises(SandboxError, match=r"failed twice: the keeper died\."):
        run_program(SLEEPER.format(before="pass"), Limits(wall_seconds=30), layers=LAYERS[FULL])
    ground.check()
    assert [p for p in psutil.process_iter() if is_ours(p)] == []


def is_ours(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.environ().get(watch.KEEPER, "").startswith(watch.owner())
    return False


def test_a_keeper_that_hangs_is_ended_and_reported(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper_client, "ANSWER_PATIENCE", 0.2)
    monkeypatch.setattr(watch, "KILL_PATIENCE", -0.5)  # half a second for a keeper to stop
    ground.run(PLAIN, layers=LAYERS[FULL])
    stopped = keeper_client.pid()
    assert stopped is not None
    os.kill(stopped, signal.SIGSTOP)
    result = ground.run(PLAIN, SMALL.model_copy(update={"wall_seconds": 1.0}), LAYERS[FULL])
    assert result.verdict is Verdict.OK  # the retry, with a new keeper
    assert keeper_client.pid() != stopped
    assert not psutil.pid_exists(stopped)


#: A keeper whose kill loop kills nothing, and soon gives up.
_HARMLESS = (
    "; import os, psutil; from localgif.sandbox import watch; watch.KILL_PATIENCE = 0.05; "
    "os.killpg = psutil.Process.kill = lambda *_: None; main()"
)


@pytest.mark.usefixtures("fresh_keeper")
def test_a_survivor_is_loud_and_not_retried(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper_client, "BOOT", keeper_client.BOOT.replace("; main()", _HARMLESS))
    with pytest.raises(SandboxError, match=r"are alive 0\.05 s after SIGKILL") as raised:
        run_program(SLEEPER.format(before="pass"), Limits(wall_seconds=0.3), layers=LAYERS[FULL])
    assert raised.value.code == "E-SANDBOX-STUCK"
    keeper_client.stop()


def test_stopping_the_keeper_leaves_no_process(ground: Ground) -> None:
    ground.run(PLAIN)
    before = keeper_client.pid()
    assert before is not None and left_running() == []
    keeper_client.stop()
    assert keeper_client.pid() is None and not psutil.pid_exists(before)


def test_an_app_that_was_forked_starts_a_keeper_of_its_own(ground: Ground) -> None:
    ground.run(PLAIN)
    before = keeper_client.pid()
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            run_program(PLAIN, SMALL, layers=LAYERS[FULL])
            os.write(write, str(keeper_client.pid()).encode())
            keeper_client.stop()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    other = int(os.read(read, 20))
    os.close(read)
    os.close(write)
    assert other != before and not psutil.pid_exists(other)
    assert keeper_client.pid() == before and ground.run(PLAIN).verdict is Verdict.OK


@pytest.mark.usefixtures("fresh_keeper")
def test_a_python_that_cannot_start_is_our_failure(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    with pytest.raises(SandboxError, match="cannot be started"):
        ground.run(PLAIN, layers=LAYERS[FULL])


@pytest.mark.usefixtures("fresh_keeper")
def test_a_keeper_that_cannot_import_us_is_our_failure_with_its_last_words(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper_client, "BOOT", keeper_client.BOOT.replace("localgif.", "nolocalgif."))
    with pytest.raises(SandboxError, match=r"(?s)the keeper (died|accepts no job).*ModuleNotFoundError"):
        ground.run(PLAIN, layers=LAYERS[FULL])
