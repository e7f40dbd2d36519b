"""The embedded endpoint as a child: every failure says why, and no case leaves a process behind."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from localgif.endpoint.child import RunningEndpoint, death_at, embedded_endpoint, session_members
from localgif.errors import EndpointUnreachable, ModelMissing
from localgif.records import ServeConfig, ServedModel

pytestmark = pytest.mark.slow

STORY = [{"role": "user", "content": "Tell a very long story."}]


def config(*models: ServedModel, port: int = 0) -> ServeConfig:
    return ServeConfig(models=models, port=port, threads=1, max_queue=4)


def until(holds: Callable[[], object], seconds: float = 30.0) -> None:
    """Poll with a deadline: another process does what is waited for."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never happened"
        select.select([], [], [], 0.01)


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def engines(endpoint: RunningEndpoint) -> list[int]:
    return [pid for pid in session_members(endpoint.pid) if pid != endpoint.pid]


@pytest.mark.parametrize(
    ("count", "reason"),
    [(0, "invalid magic"), (10**6, "key-value pairs"), (50 * 10**6, "corrupted or incomplete"), (-1, "not-there.gguf")],
    ids=["no GGUF", "a part of the header", "a part of the tensors", "no file"],
)
def test_weights_that_llama_cpp_refuses(served: ServedModel, tmp_path: Path, count: int, reason: str) -> None:
    path = tmp_path / ("not-there.gguf" if count < 0 else "bad-weights.gguf")
    if count >= 0:
        with Path(served.path).open("rb") as file:
            path.write_bytes(file.read(count) or b"these are no weights at all")
    refused = served.model_copy(update={"path": str(path)})
    with pytest.raises(ModelMissing) as caught, embedded_endpoint(config(refused)):
        pass
    assert path.name in caught.value.message and reason in caught.value.message
    assert served.name in caught.value.remedy


def test_a_port_in_use_is_named(served: ServedModel) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(EndpointUnreachable) as caught, embedded_endpoint(config(served, port=port)):
            pass
    assert str(port) in caught.value.message and "--port" in caught.value.remedy


def test_memory_and_life_are_reported(endpoint: RunningEndpoint, served: ServedModel) -> None:
    assert endpoint.death_message() == "" == death_at(endpoint.url)
    assert endpoint.peak_memory() > served.size


def test_an_engine_that_dies_fails_one_request_and_comes_back_and_dies_with_its_gateway(served: ServedModel) -> None:
    with embedded_endpoint(config(served)) as endpoint:
        body = {"model": served.name, "messages": STORY, "options": {"num_predict": 400, "temperature": 0}}
        with httpx.Client(base_url=endpoint.url, trust_env=False, timeout=60) as http:
            with http.stream("POST", "/api/chat", json=body) as response:
                lines = response.iter_lines()
                assert '"done":false' in next(lines)
                (engine,) = engines(endpoint)
                os.kill(engine, signal.SIGKILL)
                rest = list(lines)
            assert '"error":"model runner has unexpectedly stopped' in rest[-1] and "SIGKILL" in rest[-1]
            assert not any('"done":true' in line for line in rest)
            again = http.post("/api/chat", json={**body, "stream": False, "options": {"num_predict": 3}})
        assert again.json()["done"] is True and engines(endpoint) != [engine] and not endpoint.death_message()
        pids = [endpoint.pid, *engines(endpoint)]
        os.kill(endpoint.pid, signal.SIGKILL)
        until(lambda: all(map(gone, pids)))
        until(endpoint.death_message)
        assert "killed by SIGKILL" in endpoint.death_message() == death_at(endpoint.url)
    assert len(pids) == 2


STARTER = """
import sys, time
from localgif.endpoint.child import embedded_endpoint
from localgif.records import ServeConfig
with embedded_endpoint(ServeConfig.model_validate_json(sys.argv[1])) as endpoint:
    print(endpoint.pid, flush=True)
    time.sleep(600)
"""


def test_nothing_outlives_a_killed_starter(served: ServedModel) -> None:
    arguments = [sys.executable, "-c", STARTER, config(served).model_dump_json()]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as starter:
        assert starter.stdout is not None
        pids = session_members(int(starter.stdout.readline()))
        starter.kill()
    assert len(pids) == 2
    until(lambda: all(map(gone, pids)))
