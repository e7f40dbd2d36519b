"""The embedded endpoint as a child process: started, watched, measured, and stopped at the end."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import psutil

from localgif.errors import EndpointUnreachable, ModelMissing
from localgif.offline import our_python, restore_signals
from localgif.records import ServeConfig

#: A model on a cold disk may take minutes to load. A child that died is noticed at once.
_START_SECONDS = 960.0
#: Between the end of its stdin and SIGTERM, and between SIGTERM and SIGKILL.
_STOP_SECONDS = 2.0
_TAIL = 4096
_PROC = Path("/proc")
#: Address -> our endpoint that runs there.
_RUNNING: dict[str, RunningEndpoint] = {}


class RunningEndpoint:
    """A started endpoint: its gateway, process `pid`, speaks the Ollama API at `url`; engines are in its session."""

    def __init__(self, process: subprocess.Popen[bytes], url: str, log: IO[bytes], what: str) -> None:
        self._process = process
        self._what = what
        self._log = log
        self._peak = 0
        self.url = url
        self.pid = process.pid

    def death_message(self) -> str:
        """How the gateway ended and the end of its log; empty while it runs."""
        code = self._process.poll()
        return "" if code is None else f"{self._what} {exit_words(code)}\n{tail(self._log, _TAIL)}".rstrip()

    def peak_memory(self) -> int:
        """Largest resident memory so far, bytes: the sum of the peaks of gateway and engines. macOS keeps no peaks, so
        there it is the largest sum at a call.

        Mapped weights count. So does an engine that ran at an earlier call and is unloaded now.
        """
        self._peak = max(self._peak, sum(map(_peak_rss, session_members(self.pid))))
        return self._peak


@contextlib.contextmanager
def embedded_endpoint(config: ServeConfig) -> Iterator[RunningEndpoint]:
    """Run the embedded endpoint for the duration of the block; the first model is loaded when the block begins.

    With remote models only, it is a gateway without an engine.

    Raises:
        ModelMissing: llama.cpp refuses the weights; its reason is in the message.
        EndpointUnreachable: The endpoint does not start.
    """
    restore_signals()
    what = "the embedded endpoint" if config.models else "the gateway"
    with tempfile.TemporaryFile(prefix="localgif-endpoint-") as log:
        process = subprocess.Popen(
            our_python("localgif.endpoint.server"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            # The terminal's Ctrl-C does not reach it: it ends with us. The session keeps its processes together.
            start_new_session=True,
        )
        endpoint: RunningEndpoint | None = None
        try:
            event = _first_event(process, config, log, what)
            if event["event"] != "ready":
                kind = ModelMissing if event["kind"] == "ModelMissing" else EndpointUnreachable
                raise kind(event["message"], event["remedy"], code=event["code"])
            endpoint = _RUNNING[event["url"]] = RunningEndpoint(process, event["url"], log, what)
            yield endpoint
        finally:
            if endpoint is not None:
                del _RUNNING[endpoint.url]
                endpoint.peak_memory()
            _stop(process)


def death_at(url: str) -> str:
    """How our endpoint at this address ended, which is final; "" if it runs, or is not ours."""
    endpoint = _RUNNING.get(url)
    return endpoint.death_message() if endpoint is not None else ""


def _first_event(process: subprocess.Popen[bytes], config: ServeConfig, log: IO[bytes], what: str) -> dict[str, Any]:
    """Send the configuration and wait for the child's one line: it is ready, or it cannot start."""
    assert process.stdin is not None and process.stdout is not None
    with contextlib.suppress(BrokenPipeError):  # the child died at once; its stdout ends too
        process.stdin.write(config.model_dump_json().encode() + b"\n")
        process.stdin.flush()
    how = f"did not start within {_START_SECONDS:.0f} s"
    if select.select([process.stdout], [], [], _START_SECONDS)[0]:  # a whole line has come, or the end
        line = process.stdout.readline()
        if line.endswith(b"\n"):
            event = json.loads(line)
            assert isinstance(event, dict)
            return event
        how = f"{exit_words(process.wait(_STOP_SECONDS))} while starting"
    raise EndpointUnreachable(f"{what} {how}", tail(log, _TAIL), code="E-ENGINE")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the child and everything in its session: by the end of its stdin, then SIGTERM, then SIGKILL."""
    assert process.stdin is not None and process.stdout is not None
    for end in (process.stdin.close, process.terminate, process.kill):
        with contextlib.suppress(BrokenPipeError, subprocess.TimeoutExpired):
            end()
            process.wait(_STOP_SECONDS)
            break
    process.stdout.close()
    # Engines die with the gateway; this is for the case that one did not.
    for pid in session_members(process.pid):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def session_members(leader: int) -> list[int]:
    """Running processes of the session that `leader` started, itself included."""
    members = []
    for process in psutil.process_iter():
        with contextlib.suppress(OSError, psutil.Error):
            if os.getsid(process.pid) == leader and process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
                members.append(process.pid)
    return members


def _peak_rss(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in (_PROC / str(pid) / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    with contextlib.suppress(psutil.Error):
        return int(psutil.Process(pid).memory_info().rss)
    return 0


def exit_words(code: int) -> str:
    """How a process ended, from its exit code."""
    with contextlib.suppress(ValueError):
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


def tail(log: IO[bytes], count: int) -> str:
    """The last `count` bytes of a child's log. pread, because the child writes at the file position that we share."""
    size = os.fstat(log.fileno()).st_size
    return os.pread(log.fileno(), count, max(0, size - count)).decode("utf-8", "replace").strip()
