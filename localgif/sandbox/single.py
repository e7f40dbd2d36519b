"""The process of one job that no keeper forked: loads what jobs need, waits for its request, limits itself, runs it.

Its descriptors: 0 brings the request, a line of JSON, and after it the payload; 1 and 2 are the job's; 3 is the ready
pipe. It has only what every system has. Where a system lacks a layer, the job says so when it begins, and runs.
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

from localgif.sandbox import child, rlimits
from localgif.sandbox.protocol import NETWORK, PRIVILEGES, RLIMITS, Request
from localgif.sandbox.rlimits import Rlimits

#: What only Linux has. Loaded before the job begins, because loading takes longer than most jobs.
LINUX = "localgif.sandbox.confine"


def main() -> NoReturn:
    """Serves one request; `sys.argv[1]` names the measurer that will probably be asked for, or is empty."""
    os.setsid()
    child.load()
    for name in (LINUX, sys.argv[1]):
        with contextlib.suppress(Exception):  # another system; a measurer without which the job will say so
            importlib.import_module(name)
    with open(0, "rb", closefd=False) as incoming:
        line = incoming.readline()
        payload = incoming.read(child.LARGEST_PAYLOAD + 1)
    if not line.endswith(b"\n") or len(payload) > child.LARGEST_PAYLOAD:
        os._exit(0)  # nobody needs this process any more
    child.close_the_rest()
    child.run(cast("Request", json.loads(line)), partial(_begin, payload), limit, time.process_time())


def _begin(payload: bytes) -> bytes:
    """The payload. The kernel ends this process with the warden where it can; elsewhere only the warden's end does."""
    with contextlib.suppress(Exception):
        sys.modules[LINUX].die_with(os.getppid())
        sys.modules[LINUX].offer_to_oom_killer()
    return payload


def limit(layers: frozenset[str], table: Rlimits, scratch: Path | None) -> list[str]:
    """Sets what this system has of the layers that a process sets for itself; names what it lacks."""
    lacking = [f"RLIMIT_{name}" for name in rlimits.apply(table)] if RLIMITS in layers else []
    return lacking + [layer for layer in (NETWORK, PRIVILEGES) if layer in layers and not _set(layer)]


def _set(layer: str) -> bool:
    try:
        confine = sys.modules[LINUX]
        confine.confine(frozenset({layer}), {}, confine.Prepared(None, "", (), {}), None)
    except Exception:  # a library without the call, a kernel that refuses it
        return False
    return True
