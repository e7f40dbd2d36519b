"""The process of one job without the keeper: loads libraries, takes a request, limits itself, runs the job.

Descriptors: 0 carries the request, a line of JSON, and then the payload; 1 and 2 are the job's; 3 is the ready pipe.
It uses portable features only. If the system lacks a layer, the job reports that when it begins, and runs.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import NoReturn, cast

from localgif.sandbox import child
from localgif.sandbox.protocol import NETWORK, PRIVILEGES, RLIMITS, Request

#: The module for Linux only. Loaded before the job begins, because loading takes longer than most jobs.
LINUX = "localgif.sandbox.confine"


def main() -> NoReturn:
    """Serves one request; `sys.argv[1]` names the measurer that will probably be needed, or is empty."""
    os.setsid()
    child.load()
    for name in (LINUX, sys.argv[1]):
        with contextlib.suppress(Exception):  # not Linux, or a measurer that does not load: the job will report that
            importlib.import_module(name)
    with open(0, "rb", closefd=False) as incoming:
        line = incoming.readline()
        payload = incoming.read(child.LARGEST_PAYLOAD + 1)
    if not line.endswith(b"\n") or len(payload) > child.LARGEST_PAYLOAD:
        os._exit(0)  # the app no longer needs this process
    child.close_the_rest()
    child.run(cast("Request", json.loads(line)), partial(_begin, payload), limit, time.process_time())


def _begin(payload: bytes) -> bytes:
    """Returns the payload. On Linux the kernel ends this process with the warden; elsewhere only the warden ends it."""
    with contextlib.suppress(Exception):
        sys.modules[LINUX].die_with(os.getppid())
        sys.modules[LINUX].offer_to_oom_killer()
    return payload


def limit(layers: frozenset[str], table: child.Rlimits, scratch: Path | None) -> list[str]:
    """Applies the layers that a process sets for itself; returns the ones that this system lacks."""
    lacking = [f"RLIMIT_{name}" for name in child.apply_rlimits(table)] if RLIMITS in layers else []
    return lacking + [layer for layer in (NETWORK, PRIVILEGES) if layer in layers and not _set(layer)]


def _set(layer: str) -> bool:
    try:
        confine = sys.modules[LINUX]
        confine.confine(frozenset({layer}), {}, confine.Prepared(None, "", (), {}), None)
    except Exception:  # a library without the call, a kernel that refuses it
        return False
    return True
