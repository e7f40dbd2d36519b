"""What the keeper is: small, single-threaded, without secrets, closed to others; and what it is on other systems."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from localgif.errors import SandboxTooWeak
from localgif.records import Verdict
from localgif.sandbox import keeper_client, runner
from localgif.sandbox.protocol import FULL, KILL, LAYERS, LIMITS_ONLY, RLIMITS, WATCH
from tests.sandbox.guest_kit import AS_ROOT, SMALL, Ground, grounds, left_running, source_of

#: Acceptance figure, bytes.
_LARGEST = 60 * 2**20


@pytest.fixture
def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ground]:
    with grounds(tmp_path, monkeypatch) as ground:
        yield ground


def started(ground: Ground) -> psutil.Process:
    ground.run(source_of("b1_plain.py"))
    pid = keeper_client.pid()
    assert pid is not None
    return psutil.Process(pid)


def idle_descriptors(process: psutil.Process) -> int:
    """How many the keeper has open once it waits for the next job: it closes a job's after its answer is out."""
    deadline = time.monotonic() + 10
    while process.status() != psutil.STATUS_SLEEPING:
        assert time.monotonic() < deadline, process.status()
    return process.num_fds()


def test_the_keeper_is_small_and_has_one_thread_and_no_secret(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    keeper_client.stop()
    process = started(ground)
    assert process.num_threads() == 1
    assert process.memory_info().rss < _LARGEST
    assert os.getsid(process.pid) == process.pid
    if AS_ROOT:  # others cannot see it, which is what the next test is about
        assert "secret" not in " ".join(process.environ().values())


@pytest.mark.skipif(AS_ROOT, reason="root may look at everything")
def test_the_keeper_is_closed_to_processes_of_the_same_user(ground: Ground) -> None:
    with pytest.raises(psutil.AccessDenied):
        started(ground).environ()


def test_many_programs_leave_no_process_descriptor_or_file(ground: Ground) -> None:
    process = started(ground)
    before = (idle_descriptors(process), psutil.Process().num_fds())
    for name in ("b1_plain.py", "o91_str_raises.py", "f16_ten_thousand_files.py", "o89_patches_exit.py"):
        for _ in range(10):
            ground.run(source_of(name))
    assert (idle_descriptors(process), psutil.Process().num_fds()) == before
    assert keeper_client.pid() == process.pid


def test_the_keeper_keeps_nothing_of_a_program(ground: Ground) -> None:
    ground.run("# kept_by_nobody\ndef make_gif(path):\n    print('kept_by_nobody')\n")
    searching = (
        "import gc\nkinds = dict, list, tuple\n"
        "def make_gif(path):\n    token = '_'.join(['kept', 'by', 'nobody'])\n"
        "    print('FOUND', [o for o in gc.get_objects() if isinstance(o, kinds) and token in repr(o)])\n"
    )
    assert ground.run(searching, layers=LAYERS[FULL]).output == "FOUND []\n"


def test_without_the_watch_only_the_kernel_counts(ground: Ground) -> None:
    limits = SMALL.model_copy(update={"rss": 80 * 2**20})
    source = "import time\ndef make_gif(path):\n    kept = bytearray(b'x') * (120 * 2**20)\n    time.sleep(0.2)\n"
    assert ground.run(source, limits, LAYERS[FULL]).verdict is Verdict.MEMORY_LIMIT
    assert ground.run(source, limits, LAYERS[FULL] - {WATCH}).verdict is Verdict.OUTPUT_MISSING


@pytest.mark.skipif(not AS_ROOT, reason="an ordinary user's program cannot fork at all with one process allowed")
def test_without_the_kill_loop_a_daemon_lives(ground: Ground) -> None:
    source = "import os, time\ndef make_gif(path):\n    os.fork() or (os.setsid(), time.sleep(60))\n    os._exit(0)\n"
    limits = SMALL.model_copy(update={"processes": 3})
    layers = LAYERS[LIMITS_ONLY] - {RLIMITS}
    ground.run(source, limits, layers)
    runner.run_program(source, limits, layers=layers - {KILL})
    assert left_running()
    ground.run(source, limits, layers)  # takes the other's daemon with it


def test_a_job_without_its_descriptors_is_dropped_and_the_keeper_goes_on(ground: Ground) -> None:
    process = started(ground)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        keeper_client.current().hand_over([theirs.fileno()])
        theirs.close()
        ours.settimeout(5)
        assert ours.recv(1) == b""
    assert ground.run(source_of("b1_plain.py")).verdict is Verdict.OK
    assert keeper_client.pid() == process.pid


def test_programs_go_before_the_keeper_when_memory_runs_out(ground: Ground) -> None:
    source = "def make_gif(path):\n    print(open('/proc/self/oom_score_adj').read())\n"
    assert ground.run(source, layers=LAYERS[LIMITS_ONLY]).output.strip() == "1000"
    own = Path("/proc/self/oom_score_adj").read_text()
    assert Path(f"/proc/{keeper_client.pid()}/oom_score_adj").read_text() == own


def test_an_app_that_was_forked_starts_a_keeper_of_its_own(ground: Ground) -> None:
    before = started(ground).pid
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            runner.run_program(source_of("b1_plain.py"), SMALL, layers=LAYERS[FULL])
            os.write(write, str(keeper_client.pid()).encode())
            keeper_client.stop()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    other = int(os.read(read, 20))
    os.close(read)
    os.close(write)
    assert other != before and not psutil.pid_exists(other)
    assert keeper_client.pid() == before and ground.run(source_of("b1_plain.py")).verdict is Verdict.OK


def test_other_systems_run_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(SandboxTooWeak, match="needs Linux, this is darwin"):
        runner.run_program(source_of("b1_plain.py"))
