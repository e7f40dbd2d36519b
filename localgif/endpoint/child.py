"""The embedded endpoint as a child process: started, watched, measured, and gone at the end."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from localgif.errors import EndpointUnreachable, ModelMissing
from localgif.records import ServeConfig

#: A model from a cold disk may take minutes; a child that died is noticed at once.
START_SECONDS = 960.0
#: Between the end of its stdin and SIGTERM, and between that and SIGKILL.
STOP_SECONDS = 2.0
_TAIL = 4096
_PROC = Path("/proc")
#: Address -> the endpoint of ours that runs there.
_RUNNING: dict[str, RunningEndpoint] = {}


class RunningEndpoint:
    """A started endpoint.

    Attributes:
        url: Where it speaks the Ollama API, e.g. "http://127.0.0.1:40123".
        pid: The gateway's process; engines are its children, in a session of their own with it.
    """

    def __init__(self, process: subprocess.Popen[bytes], url: str, log: IO[bytes], what: str) -> None:
        self._process = process
        self._what = what
        self._log = log
        self._peak = 0
        self.url = url
        self.pid = process.pid

    def alive(self) -> bool:
        """Whether the gateway runs."""
        return self._process.poll() is None

    def death_message(self) -> str:
        """How the gateway ended and the end of its log; empty while it runs."""
        code = self._process.poll()
        if code is None:
            return ""
        return f"{self._what} {_exit_words(code)}\n{_tail(self._log)}".rstrip()

    def peak_memory(self) -> int:
        """Largest resident memory so far, bytes: gateway and engines, each at its own peak; 0 where there is no /proc.

        Mapped weights count. An engine that was unloaded counts when it was there at an earlier call.
        """
        self._peak = max(self._peak, sum(_peak_rss(pid) for pid in session_members(self.pid)))
        return self._peak


@contextlib.contextmanager
def embedded_endpoint(config: ServeConfig) -> Iterator[RunningEndpoint]:
    """Run the embedded endpoint for the time of the block; the first model is loaded when the block begins.

    With remote models only it is a gateway without an engine.

    Raises:
        ModelMissing: llama.cpp refuses the weights; its reason is in the message.
        EndpointUnreachable: The endpoint does not come up.
    """
    with tempfile.TemporaryFile(prefix="localgif-endpoint-") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "localgif.endpoint.server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            # Out of reach of the terminal's Ctrl-C: our own end decides, and it can be found as a whole.
            start_new_session=True,
        )
        endpoint: RunningEndpoint | None = None
        try:
            event = _first_event(process, config, log)
            if event.get("event") != "ready":
                raise _start_failure(event)
            endpoint = _RUNNING[event["url"]] = RunningEndpoint(process, event["url"], log, _what(config))
            yield endpoint
        finally:
            if endpoint is not None:
                del _RUNNING[endpoint.url]
                endpoint.peak_memory()
            _stop(process)


def death_at(url: str) -> str:
    """How the endpoint of ours at this address ended: nobody will start it again. "" when it runs or is not ours."""
    endpoint = _RUNNING.get(url)
    return endpoint.death_message() if endpoint is not None else ""


def _what(config: ServeConfig) -> str:
    return "the embedded endpoint" if config.models else "the gateway"


def _first_event(process: subprocess.Popen[bytes], config: ServeConfig, log: IO[bytes]) -> dict[str, Any]:
    """Send the configuration and wait for the one line of the child.

    Raises:
        EndpointUnreachable: The child died without a word, or said nothing for `START_SECONDS`.
    """
    assert process.stdin is not None and process.stdout is not None
    with contextlib.suppress(BrokenPipeError):  # a child that died at once; the end of its stdout says so below
        process.stdin.write(config.model_dump_json().encode() + b"\n")
        process.stdin.flush()
    line = _read_line(process.stdout.fileno(), START_SECONDS)
    if line is None:
        raise EndpointUnreachable(
            f"{_what(config)} did not come up within {START_SECONDS:.0f} s", _tail(log), code="E-ENGINE"
        )
    if not line.endswith(b"\n"):
        code = process.wait(STOP_SECONDS)
        raise EndpointUnreachable(f"{_what(config)} {_exit_words(code)} while starting", _tail(log), code="E-ENGINE")
    event = json.loads(line)
    assert isinstance(event, dict)
    return event


def _read_line(descriptor: int, seconds: float) -> bytes | None:
    """One line; without its newline at the end when the writer died, None when time is up."""
    deadline = time.monotonic() + seconds
    line = b""
    while not line.endswith(b"\n"):
        remaining = deadline - time.monotonic()
        if remaining <= 0 or not select.select([descriptor], [], [], remaining)[0]:
            return None
        data = os.read(descriptor, 65536)
        if not data:
            break
        line += data
    return line


def _start_failure(event: dict[str, Any]) -> EndpointUnreachable | ModelMissing:
    kind = ModelMissing if event.get("kind") == "ModelMissing" else EndpointUnreachable
    message = event.get("message") or "the embedded endpoint failed to start"
    return kind(message, event.get("remedy") or "", code=event.get("code"))


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the child and everything in its session: asked first, then told, then killed."""
    assert process.stdin is not None and process.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    for force in (None, process.terminate, process.kill):
        if force is not None:
            force()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
            break
    process.stdout.close()
    # Engines die with the gateway; this is for the case that one did not.
    for pid in session_members(process.pid):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def session_members(leader: int) -> list[int]:
    """Processes of the session that `leader` started, itself included, zombies not; empty without /proc."""
    members = []
    for entry in _PROC.glob("[0-9]*"):
        try:
            # "pid (name) state ppid pgrp session ...": the name may hold anything, so count from its end.
            fields = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] not in "ZX" and int(fields[3]) == leader:
            members.append(int(entry.name))
    return members


def _peak_rss(pid: int) -> int:
    try:
        text = (_PROC / str(pid) / "status").read_text()
    except OSError:
        return 0
    for line in text.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def _exit_words(code: int) -> str:
    return f"ended with exit code {code}" if code >= 0 else f"was killed by signal {-code}"


def _tail(log: IO[bytes]) -> str:
    """The end of the child's log. The file's position is shared with the child, which writes there: it is not moved."""
    size = os.fstat(log.fileno()).st_size
    return os.pread(log.fileno(), _TAIL, max(0, size - _TAIL)).decode("utf-8", "replace").strip()
