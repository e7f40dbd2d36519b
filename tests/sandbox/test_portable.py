"""Without a keeper: the same verdicts, no process is left whichever one dies, and waiting processes never disturb."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from localgif.errors import SandboxError
from localgif.gif import MEASURE
from localgif.records import Limits, Measurements, Verdict
from localgif.sandbox import jobs, keeper_client, portable, single, watch
from localgif.sandbox.protocol import (
    KILL,
    LAYERS,
    LIMITS_ONLY,
    NETWORK,
    PRIVILEGES,
    RLIMITS,
    Job,
    LayerMissing,
    MachineryError,
)
from localgif.sandbox.runner import measure_gif, run_program
from tests.support import SOON
from tests.support.apps import OUTLIVES, SLEEPER, app_with_sleeper
from tests.support.ground import BRIEF, PLAIN, SMALL, Ground, left_running, source_of, wait_until

HERE = LAYERS[LIMITS_ONLY]


def test_a_program_is_run_and_measured_without_a_keeper(ground: Ground) -> None:
    keeper_client.stop()
    result = ground.run(PLAIN, layers=HERE)
    assert result.gif is not None, result
    found = measure_gif(result.gif, MEASURE, layers=HERE)
    assert isinstance(found, Measurements) and found.frames == 12
    assert keeper_client.pid() is None
    assert 0 < result.cpu_seconds < 1 and 0 < result.wall_seconds < SOON, "loading the libraries does not count"


def test_the_same_program_draws_the_same_as_with_a_keeper(ground: Ground) -> None:
    source = source_of("b11_sets_and_chance")
    assert ground.run(source, layers=HERE).gif == ground.run(source, layers=HERE).gif == ground.run(source).gif


def test_a_program_has_no_sign_of_ours_and_its_own_session(ground: Ground) -> None:
    code = (
        "import os, sys\ndef make_gif(path):\n"
        "    print(sorted(n for n in os.environ if n.startswith('LOCALGIF')), os.getsid(0) == os.getpid(),\n"
        "          sorted(int(n) for n in os.listdir('/dev/fd'))[:3], repr(sys.stdin.read()))\n"
    )
    assert ground.run(code, layers=HERE).output == "[] True [0, 1, 2] ''\n"


def test_threads_run_jobs_at_a_time(ground: Ground) -> None:
    codes = [f"def make_gif(path):\n    raise ValueError({number})" for number in range(4)]
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda code: run_program(code, SMALL, layers=HERE), codes))
    assert [each.reason.split(" (")[0] for each in found] == [f"ValueError: {number}" for number in range(4)]
    assert left_running() == []


def test_jobs_leave_no_descriptor_and_no_process(ground: Ground) -> None:
    def state() -> tuple[int, int]:
        return psutil.Process().num_fds(), len(psutil.Process().children())

    ground.run(PLAIN, layers=HERE)
    before = state()
    for name in ("b1_plain", "o89_patches_exit", "r64_null_pointer"):
        ground.run(source_of(name), layers=HERE)
    assert state() == before
    portable.stop()
    assert portable.pids() == set()
    assert left_running() == []


def test_processes_that_died_while_they_waited_are_replaced_without_a_word(ground: Ground) -> None:
    gif = ground.run(PLAIN, layers=HERE).gif
    assert gif is not None
    assert isinstance(measure_gif(gif, MEASURE, layers=HERE), Measurements)
    waiting = portable.pids()
    assert len(waiting) >= 2, "a program's and a measurer's"
    for pid in waiting:
        os.kill(pid, signal.SIGKILL)
    assert ground.run(PLAIN, layers=HERE).verdict is Verdict.OK
    assert isinstance(measure_gif(gif, MEASURE, layers=HERE), Measurements)
    assert not waiting & portable.pids()


def test_the_processes_of_the_app_are_not_used_by_its_fork(ground: Ground) -> None:
    ground.run(PLAIN, layers=HERE)
    kind = portable.kind_of(Job("program", b"", HERE), ground.jobs)
    read, write = os.pipe()
    with portable._lock:
        waiting = portable._waiting["program"]
    pid = os.fork()
    if pid == 0:
        os.write(write, b"yes" if waiting.fits(kind) else b"no")
        waiting.end()  # must end nothing
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(read, 10) == b"no" and waiting.fits(kind) and waiting.is_alive()
    os.close(read)
    os.close(write)


# --- the end of others -------------------------------------------------------------------------------------------


def test_everything_ends_with_the_app_although_the_kernel_does_not_help(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with app_with_sleeper(tmp_path, OUTLIVES, LIMITS_ONLY) as app:
        app.kill()
        wait_until(lambda: not app.alive())
        assert len(watch.sweep()) == 1


def test_the_next_start_sweeps_what_outlived_app_and_wardens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with app_with_sleeper(tmp_path, OUTLIVES, LIMITS_ONLY) as app:
        for pid in (app.process.pid, *(warden.pid for warden in app.keepers)):
            os.kill(pid, signal.SIGSTOP)
        for warden in app.keepers:
            warden.kill()
        app.kill()
        wait_until(lambda: len(app.alive()) == 1)  # the waiting process saw the end of its input
        assert len(watch.sweep()) == 1
        wait_until(lambda: not app.alive())


def test_an_interrupt_ends_the_program_and_removes_its_directory(tmp_path: Path) -> None:
    with app_with_sleeper(tmp_path, level=LIMITS_ONLY) as app:
        app.process.send_signal(signal.SIGINT)
        assert app.process.wait(SOON) == -signal.SIGINT
        assert app.alive() == []
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP])
def test_a_warden_that_is_killed_or_stopped_is_our_failure_and_leaves_nothing(
    end: signal.Signals, ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portable, "WARDEN_PATIENCE", 0.5)
    code = f"import os\ndef make_gif(path):\n    os.kill(os.getppid(), {int(end)})\n"

    def run() -> None:
        with watch.job_directory() as directory:
            jobs.run_confined(Job("program", code.encode(), HERE), BRIEF, directory)

    with pytest.raises(MachineryError, match=r"the warden (died|has not answered)"):
        run()
    ground.check()


def test_a_survivor_is_loud(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "KILL_PATIENCE", 0.05)
    with monkeypatch.context() as patched, pytest.raises(SandboxError, match=r"alive 0\.05 s after SIGKILL") as raised:
        patched.setattr(os, "killpg", lambda *_: None)
        patched.setattr(psutil.Process, "kill", lambda _: None)
        run_program(SLEEPER.format(before="pass"), Limits(wall_seconds=0.2), layers=HERE)
    assert raised.value.code == "E-SANDBOX-STUCK" and raised.value.remedy
    wait_until(lambda: left_running() == [])  # the warden has no patched functions


# --- where no process adopts orphans -----------------------------------------------------------------------------


def test_relatives_are_found_by_session_and_by_mark() -> None:
    """A group of one, a process that left it but kept the mark, and a stranger."""
    mark = f"{watch.KEEPER}=test-{os.getpid()}-relatives"
    name, _, value = mark.partition("=")
    code = "import os, sys, time; os.setsid(); os.fork(); print(end='.', flush=True); time.sleep(60)"
    alone = "import os, time; os.setsid(); print(end='.', flush=True); time.sleep(60)"
    started = [
        subprocess.Popen([sys.executable, "-c", code], env={}, stdout=subprocess.PIPE),
        subprocess.Popen([sys.executable, "-c", alone], env={name: value}, stdout=subprocess.PIPE),
        subprocess.Popen([sys.executable, "-c", alone], env={}, stdout=subprocess.PIPE),
    ]
    root, marked, stranger = started
    for each, count in ((root, 2), (marked, 1), (stranger, 1)):
        assert each.stdout
        for _ in range(count):
            assert each.stdout.read(1) == b"."
    found = watch.relatives(root.pid, mark)
    assert {*found} == {*watch.children(root.pid), marked.pid} and len(found) == 2
    for pid in (*found, root.pid, stranger.pid):
        os.kill(pid, signal.SIGKILL)
    for each in started:
        each.wait()
        assert each.stdout
        each.stdout.close()


def test_without_the_files_of_linux_children_and_owners_are_found_by_psutil(monkeypatch: pytest.MonkeyPatch) -> None:
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    by_files = watch.children(os.getpid())
    monkeypatch.setattr(watch, "_PROC", Path("/nonexistent"))
    assert sleeper.pid in by_files and sleeper.pid in watch.children(os.getpid())
    assert watch._NAME.fullmatch(f"{watch.owner()}-abc") and watch.owner() == watch.owner()
    sleeper.kill()
    sleeper.wait()
    assert watch.children(sleeper.pid) == []


# --- what a system lacks -----------------------------------------------------------------------------------------


def test_a_job_names_what_its_system_does_not_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, single.LINUX, None)  # as where it cannot be imported
    monkeypatch.setattr("localgif.sandbox.child.apply_rlimits", lambda table: ["AS"])
    assert single.limit(HERE, {}, None) == ["RLIMIT_AS", NETWORK, PRIVILEGES]
    assert single.limit(HERE - {NETWORK, PRIVILEGES, RLIMITS}, {}, None) == []


def test_a_python_that_cannot_start_is_our_failure(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    portable.stop()
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    with pytest.raises(SandboxError, match="cannot be started"):
        ground.run(PLAIN, layers=HERE)


def test_processes_that_cannot_import_us_are_our_failure_with_their_last_words(
    ground: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "localgif").mkdir()
    (tmp_path / "localgif" / "__init__.py").write_text("raise ImportError('half an installation')")
    monkeypatch.setattr(keeper_client, "HERE", str(tmp_path))
    portable.stop()
    with pytest.raises(SandboxError, match=r"(?s)the warden died.*half an installation"):
        ground.run(PLAIN, layers=HERE)
    portable.stop()  # the next test's processes may wait already, and not be dead yet


def test_a_job_that_never_begins_is_our_failure(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portable, "START_PATIENCE", -1.0)
    with pytest.raises(MachineryError, match="has not begun"), watch.job_directory() as directory:
        jobs.run_confined(Job("program", PLAIN.encode(), HERE), SMALL, directory)
    ground.check()


def test_a_layer_that_only_the_keeper_has_is_never_left_out(ground: Ground) -> None:
    """A job that asks for Landlock gets it or does not run, whatever other layers it asks for."""
    code = f"def make_gif(path):\n    open({str(ground.canary)!r}).read()\n"
    try:
        result = run_program(code, SMALL, layers=HERE | {"landlock"})
    except LayerMissing:
        return
    assert result.verdict is Verdict.ERROR and "PermissionError" in result.reason


def test_without_the_kill_loop_a_daemon_stays(ground: Ground) -> None:
    """So the loop is what ends it; the warden, which ends in order, does not."""
    if os.geteuid() != 0:
        pytest.skip("an ordinary user's program cannot fork at all with one process allowed")
    jobs.stop()  # a keeper bears the mark of this app too
    code = "import os, time\ndef make_gif(path):\n    if os.fork() == 0:\n        os.setsid()\n        time.sleep(60)\n"
    run_program(code, SMALL, layers=HERE - {KILL})
    stayed = [each for each in psutil.process_iter() if _is_marked(each)]
    told = [(each.pid, each.ppid(), each.cmdline(), each.status()) for each in stayed]
    for each in stayed:
        each.kill()
    assert len(stayed) == 1, told
    run_program(code, SMALL, layers=HERE)
    assert [each for each in psutil.process_iter() if _is_marked(each)] == []


def _is_marked(process: psutil.Process) -> bool:
    if process.pid in portable.pids():
        return False
    try:
        return process.environ().get(watch.KEEPER, "").startswith(watch.owner())
    except psutil.Error:
        return False
