"""The keeper is small, single-threaded, without secrets and closed to others, and it keeps nothing of a job."""

from __future__ import annotations

import os
import socket
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from localgif.records import ProgramResult, Verdict
from localgif.sandbox import keeper_client, runner
from localgif.sandbox.protocol import FULL, LAYERS, WEAK
from tests.support import corpus
from tests.support.ground import AS_ROOT, PLAIN, Ground, left_running, source_of, wait_until

#: Acceptance figure, bytes.
_LARGEST = 60 * 2**20


def started(ground: Ground) -> psutil.Process:
    ground.run(PLAIN)
    pid = keeper_client.pid()
    assert pid is not None
    return psutil.Process(pid)


def idle_descriptors(process: psutil.Process) -> int:
    """How many the keeper has open once it waits for the next job; it closes a job's after its answer is out.

    Only root can look: 0 for anybody else.
    """
    wait_until(lambda: process.status() == psutil.STATUS_SLEEPING)
    return process.num_fds() if AS_ROOT else 0


def test_the_keeper_is_small_and_has_one_thread_and_no_secret(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    keeper_client.stop()
    process = started(ground)
    assert process.num_threads() == 1
    assert process.memory_info().rss < _LARGEST
    assert os.getsid(process.pid) == process.pid
    if AS_ROOT:  # no other user can see it, as the next test shows
        assert "secret" not in " ".join(process.environ().values())


@pytest.mark.skipif(AS_ROOT, reason="root may look at everything")
def test_the_keeper_is_closed_to_processes_of_the_same_user(ground: Ground) -> None:
    with pytest.raises(psutil.AccessDenied):
        started(ground).environ()


def test_many_programs_leave_no_process_descriptor_or_file(ground: Ground) -> None:
    process = started(ground)
    before = (idle_descriptors(process), psutil.Process().num_fds())
    for name in ("b1_plain", "o91_str_raises", "f16_ten_thousand_files", "o89_patches_exit"):
        for _ in range(5):
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


def test_a_job_without_its_descriptors_is_dropped_and_the_keeper_goes_on(ground: Ground) -> None:
    process = started(ground)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        keeper_client.current().hand_over([theirs.fileno()])
        theirs.close()
        ours.settimeout(5)
        assert ours.recv(1) == b""
    assert ground.run(PLAIN).verdict is Verdict.OK
    assert keeper_client.pid() == process.pid


HOSTILE = (
    "p33_fifty_forks",
    "p34_daemon",
    "p34b_hopping_daemon",
    "p34c_daemon_without_environment",
    "p34d_sibling",
    "p34f_thirty_daemons",
    "p35_subprocess",
    "r55_grows",
    "f16_ten_thousand_files",
    "o89_patches_exit",
    "o99_breaks_the_way_out",
    "o99b_replaces_the_harness",
    "r64_null_pointer",
    "r62_prints_for_ever",
)


@pytest.mark.parametrize("level", [FULL, WEAK])
def test_a_hostile_program_costs_its_neighbours_nothing_but_time(level: str, ground: Ground) -> None:
    def run(name: str) -> ProgramResult:
        # One of them must reach the limit of memory before that of CPU, which its pages cost on a busy machine.
        return runner.run_program(source_of(name), corpus.ROOMY, layers=LAYERS[level])

    with ThreadPoolExecutor(3) as pool:
        hostile = [pool.submit(run, name) for name in HOSTILE]
        benign = [pool.submit(run, "b1_plain") for _ in range(10)]
        first = run("b1_plain").gif
        assert [one.result().gif for one in benign] == [first] * 10
        for name, one in zip(HOSTILE, hostile, strict=True):
            program = corpus.programs()[name]
            expected = {v for user in corpus.USERS for v in program.verdicts(corpus.Case(level, user))}
            assert one.result().verdict in expected | {Verdict.WALL_LIMIT}, name
    assert left_running() == []
