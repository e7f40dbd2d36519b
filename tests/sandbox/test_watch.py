"""The watch counts and ends real processes of the test's own; a process that cannot be killed is a loud failure."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

from localgif.errors import SandboxError
from localgif.sandbox import keeper_client, watch
from localgif.sandbox.protocol import Answer
from localgif.sandbox.watch import Tree, children, kill_marked

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


def test_a_tree_is_killed_and_its_dead_count_nothing(pair: subprocess.Popen[bytes]) -> None:
    tree = Tree(pair.pid)
    tree.kill(none)
    assert tree.look() == (0, 0, 0, 0.0, 0)
    assert tree.peak_rss == 0


def test_what_left_its_session_is_killed_too(pair: subprocess.Popen[bytes]) -> None:
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    Tree(pair.pid).kill(lambda: [other.pid])
    assert other.wait(5) == -signal.SIGKILL


def test_a_survivor_is_a_loud_failure(pair: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    tree = Tree(pair.pid)
    with monkeypatch.context() as patched:
        patched.setattr(watch, "KILL_PATIENCE", 0.05)
        patched.setattr(os, "killpg", lambda *_: None)
        patched.setattr(psutil.Process, "kill", lambda _: None)
        with pytest.raises(SandboxError, match=rf"are alive 0.05 s after SIGKILL: .*{pair.pid}"):
            tree.kill(none)


def answered(**changes: object) -> Answer:
    return Answer(**changes)  # type: ignore[arg-type]


def test_a_survivor_is_not_tried_again() -> None:
    attempts = []

    def attempt() -> None:
        attempts.append(1)
        keeper_client._ended(answered(failure="pid 7 is alive", survivor=True), None)  # type: ignore[arg-type]

    with pytest.raises(SandboxError, match="pid 7 is alive"):
        keeper_client.insist(attempt)
    assert attempts == [1]


def test_a_process_of_a_dead_keeper_is_found_by_what_it_inherited() -> None:
    marker = f"LOCALGIF_KEEPER=test-{os.getpid()}-"
    name, _, value = marker.partition("=")
    command = [sys.executable, "-c", "print(end='.', flush=True); import time; time.sleep(60)"]
    marked = subprocess.Popen(command, env={name: f"{value}1"}, stdout=subprocess.PIPE)
    other = subprocess.Popen(command, env={name: "test-0-1"}, stdout=subprocess.PIPE)
    for each in (marked, other):
        assert each.stdout and each.stdout.read(1) == b"."
        each.stdout.close()
    started = time.monotonic()
    # Nobody waits for it yet, so that it stays as a zombie: that is no process any more.
    kill_marked(marker)
    assert time.monotonic() - started < 2
    assert marked.wait(5) == -signal.SIGKILL
    assert other.poll() is None
    other.kill()
    other.wait()
