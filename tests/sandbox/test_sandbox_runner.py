"""What the program finds around it, and what the runner does when something of ours fails."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from localgif.errors import SandboxError
from localgif.records import Limits, Verdict
from localgif.sandbox import keeper_client, runner
from localgif.sandbox.protocol import FULL, LAYERS, LIMITS_ONLY, Breach, Ended, Job, MachineryError
from tests.sandbox.guest_kit import BRIEF, SMALL, Ground, grounds, source_of


@pytest.fixture
def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ground]:
    with grounds(tmp_path, monkeypatch) as ground:
        yield ground


@pytest.fixture
def fresh_keeper() -> Iterator[None]:
    """The test starts a keeper of its own, and leaves none."""
    keeper_client.stop()
    yield
    keeper_client.stop()


def says(ground: Ground, expression: str, imports: str = "os, sys", layers: frozenset[str] | None = None) -> str:
    """What a program finds when it evaluates `expression`."""
    source = f"import {imports}\ndef make_gif(path):\n    print('FOUND', {expression})\n"
    result = ground.run(source, layers=layers)
    match = re.match(r"FOUND (.*)", result.output)
    assert match, result
    return match[1]


# --- what a program finds ----------------------------------------------------------------------------------------


def test_the_environment_holds_nothing_of_ours(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    names = json.loads(says(ground, "json.dumps(sorted(os.environ))", "os, json"))
    threads = ["MKL_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"]
    assert names == sorted(["HOME", "LANG", "PATH", "PYTHONHASHSEED", "TMPDIR", *threads])


def test_standard_input_is_at_its_end(ground: Ground) -> None:
    assert says(ground, "repr(sys.stdin.read()), sys.stdin.isatty()") == "'' False"


def test_the_program_is_alone_in_a_session_and_directory_of_its_own(ground: Ground) -> None:
    assert (
        says(
            ground,
            "os.getsid(0) == os.getpid(), os.listdir('.'), os.getcwd() == os.environ['HOME']",
            layers=LAYERS[LIMITS_ONLY],  # seccomp has no getsid
        )
        == "True [] True"
    )


def test_the_limits_are_in_force(ground: Ground) -> None:
    names = ("CPU", "AS", "FSIZE", "NOFILE", "CORE", "MEMLOCK")
    found = says(ground, f"[resource.getrlimit(getattr(resource, 'RLIMIT_' + name)) for name in {names}]", "resource")
    space, file_size = SMALL.address_space, SMALL.file_size + 1
    expected = [(1, 2), (space, space), (file_size, file_size), (SMALL.open_files, SMALL.open_files), (1, 1), (0, 0)]
    assert found == str(expected)


@pytest.mark.usefixtures("fresh_keeper")  # one that has measured knows the measurer too
def test_the_confined_process_loads_little_of_ours(ground: Ground) -> None:
    found = says(ground, "sorted(name for name in sys.modules if name.startswith(('localgif', 'pydantic')))")
    names = "child confine keeper landlock protocol seccomp syscalls watch"
    ours = ["localgif", "localgif.errors", "localgif.sandbox", *(f"localgif.sandbox.{name}" for name in names.split())]
    assert found == str(ours)


def test_a_guarded_main_part_does_not_run_and_classes_find_their_module(ground: Ground) -> None:
    assert says(ground, "__name__, sys.modules[__name__].make_gif is make_gif") == "program True"


def test_peak_memory_is_the_programs_and_not_ours(ground: Ground) -> None:
    ballast = bytearray(b"x") * (64 * 2**20)
    small = ground.run(source_of("b1_plain.py"))
    large = ground.run(
        "import time\ndef make_gif(path):\n    kept = bytearray(b'x') * (100 * 2**20)\n    time.sleep(0.3)\n"
    )
    del ballast
    assert small.peak_rss < 60 * 2**20
    assert 100 * 2**20 < large.peak_rss < 160 * 2**20


def test_several_threads_may_run_programs_at_a_time(ground: Ground) -> None:
    sources = [f"def make_gif(path):\n    raise ValueError({number})" for number in range(8)]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda source: runner.run_program(source, SMALL), sources))
    assert [f"ValueError: {n} (line 2: raise ValueError({n}))" for n in range(8)] == [r.reason for r in results]
    ground.check()


# --- when something of ours fails --------------------------------------------------------------------------------


class Flaky:
    """Stands for run_confined: fails or answers as it was told, then does the real thing."""

    def __init__(self, *script: Ended | Exception) -> None:
        self.script = list(script)
        self.calls = 0

    def __call__(self, job: Job, limits: Limits, directory: Path) -> Ended:
        self.calls += 1
        if not self.script:
            return keeper_client.run_confined(job, limits, directory)
        step = self.script.pop(0)
        if isinstance(step, Exception):
            raise step
        return step


def test_a_failure_of_ours_is_tried_again_once(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    flaky = Flaky(MachineryError("no fork"))
    monkeypatch.setattr(runner, "run_confined", flaky)
    assert ground.run(source_of("b2_replace.py")).verdict is Verdict.OK
    assert flaky.calls == 2


def test_two_failures_of_ours_are_loud_and_no_verdict(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "run_confined", Flaky(MachineryError("a"), MachineryError("b")))
    with pytest.raises(SandboxError, match="failed twice: b"):
        ground.run(source_of("b2_replace.py"))
    ground.check()


@pytest.mark.usefixtures("fresh_keeper")
def test_a_python_that_cannot_start_is_our_failure(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    with pytest.raises(SandboxError, match="cannot be started"):
        ground.run(source_of("b2_replace.py"), layers=LAYERS[FULL])
    ground.check()


@pytest.mark.usefixtures("fresh_keeper")
def test_a_keeper_that_does_not_find_us_is_our_failure_and_its_last_words_are_told(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper_client, "BOOT", keeper_client.BOOT.replace("localgif.", "nolocalgif."))
    with pytest.raises(SandboxError, match=r"(?s)the keeper (died|takes no job).*ModuleNotFoundError"):
        ground.run(source_of("b2_replace.py"), layers=LAYERS[FULL])
    ground.check()


def test_a_temporary_directory_that_cannot_be_made_is_our_failure(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(ground.canary))
    with pytest.raises(SandboxError, match="no temporary directory"):
        runner.run_program(source_of("b2_replace.py"), SMALL)


def _late(cpu_seconds: float) -> Ended:
    return Ended(
        status=-signal.SIGKILL,
        breach=Breach(Verdict.WALL_LIMIT, "ran for 14.0 s, the limit is 14 s"),
        output=b"",
        answer=b"",
        wall_seconds=14.0,
        cpu_seconds=cpu_seconds,
        peak_rss=0,
    )


@pytest.mark.parametrize(
    ("cpu_seconds", "load", "calls"),
    [(0.1, 1000.0, 2), (0.1, 0.0, 1), (0.9, 1000.0, 1)],
    ids=["starved", "idle machine", "used its CPU"],
)
def test_only_a_starved_program_gets_a_second_chance(
    cpu_seconds: float, load: float, calls: int, ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    flaky = Flaky(_late(cpu_seconds))
    monkeypatch.setattr(runner, "run_confined", flaky)
    monkeypatch.setattr(os, "getloadavg", lambda: (load, load, load))
    verdict = runner.run_program(source_of("b2_replace.py"), SMALL).verdict
    assert (flaky.calls, verdict) == (calls, Verdict.OK if calls == 2 else Verdict.WALL_LIMIT)


def test_a_second_timeout_on_an_overloaded_machine_counts(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    flaky = Flaky(_late(0.1), _late(0.1))
    monkeypatch.setattr(runner, "run_confined", flaky)
    monkeypatch.setattr(os, "getloadavg", lambda: (1000.0, 0.0, 0.0))
    assert runner.run_program(source_of("r52_sleeps.py"), BRIEF).verdict is Verdict.WALL_LIMIT
    assert flaky.calls == 2


def test_a_breach_counts_more_than_a_good_gif(ground: Ground) -> None:
    source = source_of("b1_plain.py").split("if __name__")[0] + "    while True: pass\n"
    result = ground.run(source)
    assert (result.verdict, result.gif) == (Verdict.CPU_LIMIT, None)
    assert 0.5 < result.cpu_seconds < 1.5  # the kernel counts ticks, which a busy machine hands out unevenly
