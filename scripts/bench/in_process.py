"""Runs programs as the article does, inside the process that measures them; only for the benchmark of the loop.

The article calls exec and make_gif in its own process, with Pillow loaded once for all programs. Here that process is a
child that gives up the network, processes, and all files but its output before the first program, so generated code is
never unconfined. The time per program is as in the article. This is not a sandbox: a program can break the child for
later programs.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import tempfile
import time
import traceback
from multiprocessing import get_context
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

from localgif.agent.graph import Rendered
from localgif.gif import measure
from localgif.records import Limits, Measurements, Verdict
from localgif.sandbox import child, confine, syscalls
from localgif.sandbox.protocol import PRIVILEGES, RLIMITS, SECCOMP, WRITE_FILTER

#: Seconds until a new child must have loaded its libraries.
START_SECONDS = 60.0
#: As in the keeper: threads of a library would count against the limits.
_ENVIRONMENT = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
#: Loads what Pillow loads at the first program.
_WARM_UP = """
from PIL import Image
def make_gif(path):
    frames = [Image.new("RGB", (16, 16), (0, 80 * i, 0)) for i in range(3)]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=40, loop=0)
"""


class InProcess:
    """Runs programs one after another in one child, which ends with this context manager."""

    def __enter__(self) -> InProcess:
        self._folder = tempfile.TemporaryDirectory(prefix="in-process-")
        os.environ.update(_ENVIRONMENT)
        self._connection, theirs = Pipe()
        arguments = (theirs, str(Path(self._folder.name) / "out.gif"), os.getpid())
        self._child = get_context("spawn").Process(target=serve, args=arguments)
        self._child.start()
        theirs.close()
        self._answer(START_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        self._child.kill()
        self._child.join()
        self._folder.cleanup()

    def render(self, code: str) -> Rendered:
        """Run a program and measure its GIF; the time includes both, and sending the program."""
        began = time.perf_counter()
        self._connection.send_bytes(code.encode())
        said = self._answer(Limits().wall_seconds)
        numbers = said["measurements"] and Measurements.model_validate(said["measurements"])
        return Rendered(Verdict(said["verdict"]), said["reason"], None, numbers, time.perf_counter() - began)

    def _answer(self, seconds: float) -> dict[str, Any]:
        if not self._connection.poll(seconds):
            raise SystemExit(
                f"a program run as in the article did not end within {seconds:g} s; run the benchmark again"
            )
        try:
            found: dict[str, Any] = json.loads(self._connection.recv_bytes())
        except EOFError:
            raise SystemExit("a program ended the process that ran it, as it can in the article; run again") from None
        return found


def serve(connection: Connection[Any, Any], output: str, parent: int) -> None:
    """The child: confine this process, then run programs until the other side is gone."""
    if not confine.die_with(parent):
        return
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what programs print is not part of the figures
    child.load()
    descriptor = os.open(output, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    _run(_WARM_UP, output, descriptor)
    child.hand_out_on_open(output, descriptor)
    limits = {name: float(value) for name, value in Limits().model_dump().items()}
    table = child.rlimits_for(limits, file_size=int(limits["file_size"]), root=os.geteuid() == 0)
    confine.confine(
        frozenset({RLIMITS, PRIVILEGES, SECCOMP, WRITE_FILTER}),
        {name: values for name, values in table.items() if name != "CPU"},  # CPU seconds add up over all programs here
        confine.prepare(),
        None,
    )
    connection.send_bytes(b"{}")
    with contextlib.suppress(EOFError):
        while True:
            connection.send_bytes(json.dumps(_run(connection.recv_bytes().decode(), output, descriptor)).encode())


def _run(code: str, output: str, descriptor: int) -> dict[str, Any]:
    """One program, and the measurements of its GIF."""
    os.ftruncate(descriptor, 0)
    random.seed(0)
    try:
        namespace: dict[str, Any] = {"__name__": "program"}
        exec(compile(code, "program.py", "exec", dont_inherit=True), namespace)
        namespace["make_gif"](output)
    except BaseException:  # a program may call sys.exit
        return {"verdict": "error", "reason": traceback.format_exc(limit=-3), "measurements": None}
    data = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
    if not data:
        return {"verdict": "output_missing", "reason": f"the program wrote no {output}", "measurements": None}
    try:
        return {"verdict": "ok", "reason": "", "measurements": measure.main(data)}
    except Exception as error:
        return {"verdict": "output_bad", "reason": f"the GIF cannot be read: {error}", "measurements": None}
