"""What must hold where the system is not Linux; these run in a masked test run only (tests/support/masked.py)."""

from __future__ import annotations

import ctypes
import importlib
import sys

import pytest

from localgif.errors import SandboxTooWeak
from localgif.gif import MEASURE
from localgif.records import Measurements, Verdict
from localgif.sandbox import keeper_client, portable, probe, runner, syscalls, watch
from localgif.sandbox.protocol import LIMITS_ONLY, NO_READ_CONFINEMENT, PRIVILEGES
from tests.support import masked
from tests.support.ground import BRIEF, PLAIN, SMALL, Ground, left_running
from tests.test_structure import MODULES, PACKAGE

pytestmark = pytest.mark.skipif(not masked.ON, reason=f"only with {masked.SWITCH}=1")


def test_the_mask_hides_linux_from_localgif_and_from_nobody_else() -> None:
    assert keeper_client.missing() and vars(keeper_client)["sys"].platform == "darwin" and sys.platform == "linux"
    assert not watch._PROC.exists()
    with pytest.raises(OSError, match="Function not implemented"):
        syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
    assert ctypes.CDLL(None).prctl(37, ctypes.byref(ctypes.c_int())) == 0, "other uses of prctl are nobody's business"


def test_every_module_can_be_loaded() -> None:
    for path in MODULES:
        if path.name not in ("__main__.py", "llama.py", "cluster.py", "worker.py"):  # these start or need something
            importlib.import_module(".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts))


def test_the_level_is_found_and_refused_until_it_is_accepted(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "accepted", NO_READ_CONFINEMENT)
    with pytest.raises(SandboxTooWeak, match="--sandbox-level limits-only"):
        runner.run_program(PLAIN, SMALL)
    found = probe.decide(LIMITS_ONLY)
    assert (found.level, found.lacking) == (LIMITS_ONLY, (PRIVILEGES,))
    stored = probe.describe()
    assert PRIVILEGES not in stored.layers and f"limits-only: this system lacks {PRIVILEGES}" in stored.notes
    result = ground.run(PLAIN)
    assert result.gif is not None
    assert isinstance(runner.measure_gif(result.gif, MEASURE), Measurements)


@pytest.mark.parametrize("leaves", ["os.setsid()", "os.setsid(); os.fork() and os._exit(0)"])
def test_what_a_program_leaves_behind_is_found_by_session_or_by_mark(leaves: str, ground: Ground) -> None:
    code = f"""
import os, time
def make_gif(path):
    if os.fork() == 0:
        {leaves}
        time.sleep(60)
        os._exit(0)
"""
    result = ground.run(code, BRIEF)
    assert result.verdict is not Verdict.OK and left_running() == []
    ours = watch.relatives(2**22 + 1, f"{watch.KEEPER}={watch.owner()}-")
    assert {*ours} <= portable.pids()
