"""Across hosts: a worker that is cut off from the network in the middle costs nothing and comes back in vain."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.netns import REFUSED
from tests.support.tracing import ROOT, in_namespace


def need_hosts() -> None:
    """Skip the test if this machine cannot make hosts."""
    why = ""
    if os.geteuid() != 0 or not (shutil.which("ip") and shutil.which("nsenter")):
        why = "joining network namespaces needs root, ip (apt-get install iproute2) and nsenter"
    else:
        joined = in_namespace("ip", "link", "add", "name", "v0", "type", "veth", "peer", "name", "v1")
        tried = subprocess.run(joined, capture_output=True, text=True, timeout=60)
        if tried.returncode:
            why = tried.stderr.strip() if tried.returncode == REFUSED else f"no veth here: {tried.stderr.strip()}"
    if why:
        pytest.skip(why)


def test_a_worker_that_is_cut_off_costs_nothing_and_overwrites_nothing_when_it_is_back(tmp_path: Path) -> None:
    need_hosts()
    done = subprocess.run(
        in_namespace(sys.executable, "-W", "ignore", "-m", "tests.sweep.hosts", str(tmp_path)),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["summary"] == {"done": 3, "failed": 0, "left": 0}
    assert found["where"] == ["box2"] * 3
    assert any("worker box1 at" in note and "seed=0 will go on" in note for note in found["notes"])
    assert found["equal"] and found["untouched"]
