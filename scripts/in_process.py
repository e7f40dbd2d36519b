"""Programs run the article's way, inside the process that measures them, for the benchmark of the loop only.

The article calls exec and make_gif in its own process, with Pillow loaded once for all programs. So that a benchmark
does not run a stranger's code unconfined, that process is a child that gives up what it can before the first program:
no network, no files but the output, no processes. What it costs per program is what it costs in-process. It is no
sandbox: a program can break the child for the programs after it, as it can in the article.
"""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
import tempfile
import time
import traceback
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

from localgif.agent.graph import Rendered
from localgif.gif import measure
from localgif.records import Limits, Measurements, Verdict
from localgif.sandbox import child, confine, keeper, syscalls
from localgif.sandbox.protocol import PRIVILEGES, RLIMITS, SECCOMP, WRITE_FILTER

#: Frames of a traceback that the repair is shown.
FRAMES = 3
#: A new child has loaded its libraries after, seconds.
START_SECONDS = 60.0
_READY = b"ready"
#: As the keeper has them: threads of a library would count against the limits.
_ENVIRONMENT = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class InProcess:
    """Runs programs one after another in one child.

    Args:
        wall_seconds: A program that takes longer is given up, with the child. (The article would wait for ever.)

    A context manager: leaving it ends the child.
    """

    def __init__(self, wall_seconds: float = Limits().wall_seconds) -> None:
        self._wall_seconds = wall_seconds
        self._stack = contextlib.ExitStack()
        self._child: tuple[subprocess.Popen[bytes], Connection[bytes, bytes]] | None = None

    def __enter__(self) -> InProcess:
        self._folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="in-process-"))
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        self._stack.close()

    def render(self, code: str) -> Rendered:
        """Run a program and measure its GIF; the time is that of both, and of handing the program over."""
        if self._child is None:
            self._start()
        assert self._child is not None
        connection = self._child[1]
        began = time.perf_counter()
        said: dict[str, Any] | None
        try:
            connection.send(code)
            said = connection.recv() if connection.poll(self._wall_seconds) else None
        except (EOFError, OSError):
            self._end()
            said = {"verdict": "crashed", "reason": "the program ended the process that ran it", "measurements": None}
        if said is None:
            self._end()
            why = f"the program did not end within {self._wall_seconds:g} s"
            said = {"verdict": "wall_limit", "reason": why, "measurements": None}
        numbers = said["measurements"]
        return Rendered(
            Verdict(said["verdict"]),
            said["reason"],
            None,
            Measurements.model_validate(numbers) if numbers is not None else None,
            time.perf_counter() - began,
        )

    def _start(self) -> None:
        ours, theirs = Pipe()
        output = Path(self._folder) / "out.gif"
        output.unlink(missing_ok=True)
        process = subprocess.Popen(
            [sys.executable, "-m", "scripts.in_process", str(theirs.fileno()), str(output), str(os.getpid())],
            pass_fds=[theirs.fileno()],
            env={**os.environ, **_ENVIRONMENT},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        theirs.close()
        self._child = (process, ours)
        ready = False
        with contextlib.suppress(EOFError, OSError):
            ready = ours.poll(START_SECONDS) and ours.recv_bytes() == _READY
        assert process.stderr is not None
        if not ready:
            process.kill()
            words = process.stderr.read().decode(errors="replace")[-2000:]
            self._end()
            raise SystemExit(f"the process for the article's way did not start: {words}")
        process.stderr.close()

    def _end(self) -> None:
        if self._child is not None:
            process, connection = self._child
            self._child = None
            connection.close()
            process.kill()
            process.wait()


# --- the child -----------------------------------------------------------------------------------------------------


def serve(connection: Connection[Any, Any], output: str) -> None:
    """Confine this process, then run what comes in until the other side is gone."""
    keeper.load()
    descriptor = os.open(output, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    _run(_WARM_UP, output, descriptor)
    child.hand_out_on_open(output, descriptor)
    limits = {name: float(value) for name, value in Limits().model_dump().items()}
    table = confine.rlimits(limits, file_size=int(limits["file_size"]), root=os.geteuid() == 0)
    # CPU seconds are counted over all programs here, so that limit is left out.
    confine.confine(
        frozenset({RLIMITS, PRIVILEGES, SECCOMP, WRITE_FILTER}),
        {name: values for name, values in table.items() if name != "CPU"},
        confine.prepare(),
        None,
    )
    connection.send_bytes(_READY)
    with contextlib.suppress(EOFError):
        while True:
            connection.send(_run(connection.recv(), output, descriptor))


#: What is loaded at the first program only is loaded before it.
_WARM_UP = """
from PIL import Image
def make_gif(path):
    frames = [Image.new("RGB", (16, 16), (0, 80 * i, 0)) for i in range(3)]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=40, loop=0)
"""


def _run(code: str, output: str, descriptor: int) -> dict[str, Any]:
    """One program, and what its GIF measures."""
    os.ftruncate(descriptor, 0)
    random.seed(0)
    try:
        namespace: dict[str, Any] = {"__name__": "program"}
        exec(compile(code, "program.py", "exec", dont_inherit=True), namespace)
        namespace["make_gif"](output)
    except BaseException:  # sys.exit is the program's doing too
        return {"verdict": "error", "reason": traceback.format_exc(limit=-FRAMES), "measurements": None}
    data = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
    if not data:
        return {"verdict": "output_missing", "reason": f"the program wrote no {output}", "measurements": None}
    try:
        return {"verdict": "ok", "reason": "", "measurements": measure.main(data)}
    except Exception as error:
        return {"verdict": "output_bad", "reason": f"the GIF cannot be read: {error}", "measurements": None}


def main() -> None:
    number, output, parent = sys.argv[1:]
    if confine.die_with(int(parent)):
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
        serve(Connection(int(number)), output)


if __name__ == "__main__":
    main()
