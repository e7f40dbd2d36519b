"""The watch counts and ends real processes of the test's own, and removes directories whatever is in them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from localgif.errors import SandboxError
from localgif.records import Limits, Verdict
from localgif.sandbox import watch
from localgif.sandbox.watch import Tree, Usage, breach, children, kill_marked
from tests.support import SOON, masked

LIMITS = Limits()

#: Forks once, says so, and sleeps; the child too.
_PAIR = "import os, time; os.fork(); os.write(1, b'.'); time.sleep(60)"


@pytest.fixture
def pair() -> Iterator[subprocess.Popen[bytes]]:
    """A process and its child, in a session of their own."""
    started = subprocess.Popen([sys.executable, "-c", _PAIR], stdout=subprocess.PIPE, start_new_session=True)
    assert started.stdout
    assert started.stdout.read(1) + started.stdout.read(1) == b".."
    yield started
    for pid in (*children(started.pid), started.pid):
        os.kill(pid, signal.SIGKILL)
    started.wait()
    started.stdout.close()


def none() -> list[int]:
    return []


def test_a_tree_is_counted(pair: subprocess.Popen[bytes]) -> None:
    usage = Tree(pair.pid).look()
    assert (usage.processes, usage.threads) == (2, 2)
    assert 2 * 2**20 < usage.rss < 200 * 2**20
    assert 0 <= usage.cpu_seconds < 10 and usage.written >= 1


#: Touches one page of every 2 MiB: as much memory again for the tables that find them.
_TABLES = """
import mmap, os, time
held = mmap.mmap(-1, 16 * 2**30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000)  # MAP_NORESERVE
held.madvise(mmap.MADV_NOHUGEPAGE)
for place in range(0, len(held), 2**21):
    held[place] = 1
os.write(1, b".")
time.sleep(60)
"""


@pytest.mark.skipif(masked.ON, reason=masked.WHY)
def test_page_tables_count_as_memory() -> None:
    with subprocess.Popen([sys.executable, "-c", _TABLES], stdout=subprocess.PIPE) as hungry:
        try:
            assert hungry.stdout is not None and hungry.stdout.read(1) == b"."
            assert Tree(hungry.pid).look().rss > psutil.Process(hungry.pid).memory_info().rss + 30 * 2**20
        finally:
            hungry.kill()


def test_a_tree_is_killed_and_its_dead_count_for_nothing(pair: subprocess.Popen[bytes]) -> None:
    tree = Tree(pair.pid)
    tree.kill(none)
    assert tree.look() == (0, 0, 0, 0.0, 0)
    assert tree.peak_rss == 0


def test_a_process_that_left_its_session_is_killed_too(pair: subprocess.Popen[bytes]) -> None:
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    Tree(pair.pid).kill(lambda: [other.pid])
    assert other.wait(SOON) == -signal.SIGKILL


def test_a_survivor_is_a_loud_failure(pair: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    tree = Tree(pair.pid)
    with monkeypatch.context() as patched:
        patched.setattr(watch, "KILL_PATIENCE", 0.05)
        patched.setattr(os, "killpg", lambda *_: None)
        patched.setattr(psutil.Process, "kill", lambda _: None)
        with pytest.raises(SandboxError, match=rf"are alive 0.05 s after SIGKILL: .*{pair.pid}"):
            tree.kill(none)


def test_a_process_of_a_dead_keeper_is_found_by_what_it_inherited() -> None:
    marker = f"LOCALGIF_KEEPER=test-{os.getpid()}-"
    name, _, value = marker.partition("=")
    command = [sys.executable, "-c", "print(end='.', flush=True); import time; time.sleep(60)"]
    marked = subprocess.Popen(command, env={name: f"{value}1"}, stdout=subprocess.PIPE)
    other = subprocess.Popen(command, env={name: "test-0-1"}, stdout=subprocess.PIPE)
    for each in (marked, other):
        assert each.stdout and each.stdout.read(1) == b"."
        each.stdout.close()
    # It is not reaped yet, so it stays a zombie, which does not count.
    kill_marked(marker)
    assert marked.wait(SOON) == -signal.SIGKILL
    assert other.poll() is None
    other.kill()
    other.wait()


@pytest.mark.parametrize(
    ("usage", "verdict", "reason"),
    [
        (Usage(1, 8, LIMITS.rss, 4.0), None, ""),
        (Usage(1, 1, 600 * 2**20, 0.0), Verdict.MEMORY_LIMIT, "used more than 500 MB of memory, which is the limit"),
        (Usage(2, 2, 0, 0.0), Verdict.PROCESS_LIMIT, "ran more than 1 processes at once, which is the limit"),
        (Usage(1, 9, 0, 0.0), Verdict.PROCESS_LIMIT, "ran more than 8 threads at once, which is the limit"),
        (Usage(1, 1, 0, 4.04), Verdict.CPU_LIMIT, "used more than 4 s of CPU, which is the limit"),
        (Usage(1, 1, 0, 0.0, 2 * LIMITS.scratch_bytes), None, ""),
        (Usage(1, 1, 0, 0.0, 2 * LIMITS.scratch_bytes + 1), Verdict.DISK_LIMIT, "wrote more than "),
    ],
)
def test_a_breach_is_more_than_the_limit_and_says_how_much(usage: Usage, verdict: Verdict | None, reason: str) -> None:
    found = breach(usage, LIMITS)
    assert (found.verdict if found else None) == verdict
    assert (found.reason if found else "").startswith(reason)


# --- the job directory -------------------------------------------------------------------------------------------


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "jobs"))
    (tmp_path / "jobs").mkdir()
    return tmp_path / "jobs"


def test_a_job_directory_is_private_and_gone_afterwards_even_after_an_exception(jobs: Path) -> None:
    with pytest.raises(KeyError), watch.job_directory() as directory:
        assert directory.stat().st_mode & 0o777 == 0o700
        (directory / "a" / "b").mkdir(parents=True)
        (directory / "a" / "b" / "file").touch()
        raise KeyError
    assert list(jobs.iterdir()) == []


def test_removing_a_directory_does_not_follow_links(jobs: Path) -> None:
    outside = jobs.parent / "outside"
    (outside / "folder").mkdir(parents=True)
    (outside / "folder" / "file").touch()
    with watch.job_directory() as directory:
        (directory / "link").symlink_to(outside)
        (directory / "deeper").mkdir()
        (directory / "deeper" / "link").symlink_to(outside / "folder")
    assert (outside / "folder" / "file").exists()


def test_the_directory_may_hold_its_limit_and_no_more(jobs: Path) -> None:
    limits = Limits(scratch_entries=3, scratch_bytes=10)
    (jobs / "folder").mkdir()
    (jobs / "folder" / "file").write_bytes(b"x" * 10)
    (jobs / "link").symlink_to("/")
    assert watch.scratch_breach(jobs, limits) is None
    (jobs / "more").touch()
    found = watch.scratch_breach(jobs, limits)
    assert found and found.reason == "made more than 3 files and folders"
    found = watch.scratch_breach(jobs, Limits(scratch_bytes=9))
    assert found and found.verdict == Verdict.DISK_LIMIT


def test_the_sweep_takes_only_directories_of_dead_apps(jobs: Path) -> None:
    alive = watch.owner()  # localgif-PID-BOOT-NAMESPACE-START
    pid, boot, namespace, start = alive.removeprefix("localgif-").split("-")
    kept = [
        f"{alive}-alive",
        "localgif-weights",
        f"localgif-{pid}-00000000-1-{start}-elsewhere",
        f"other-{pid}-{boot}-{namespace}-1-reused",
    ]
    stale = [f"localgif-{pid}-{boot}-{namespace}-1-reused", f"localgif-{2**22 + 1}-{boot}-{namespace}-1-gone"]
    old = f"localgif-1-00000000-1-{start}-otherboot"
    for name in [*kept, *stale, old]:
        (jobs / name / "inside").mkdir(parents=True)
    long_ago = time.time() - 2 * watch.FOREIGN_AGE
    os.utime(jobs / old, (long_ago, long_ago))
    (jobs / f"localgif-{2**22 + 1}-{boot}-{namespace}-1-link").symlink_to(jobs / kept[0])
    assert {path.name for path in watch.sweep()} == {*stale, old}
    assert {path.name for path in jobs.iterdir() if not path.is_symlink()} == set(kept)
