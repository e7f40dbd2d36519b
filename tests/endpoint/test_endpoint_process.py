"""Starting, failing, dying and stopping: no case leaves a process behind, every failure says why."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from localgif.endpoint.child import RunningEndpoint, embedded_endpoint, session_members
from localgif.endpoint.discover import check_ollama
from localgif.endpoint.engine import physical_cores, quota_cores, usable_cores
from localgif.endpoint.gguf import GgufFacts, read_facts
from localgif.errors import EndpointUnreachable, ModelMissing
from localgif.records import ServeConfig, ServedModel

HI = [{"role": "user", "content": "Tell a very long story."}]


def config(*models: ServedModel, port: int = 0) -> ServeConfig:
    return ServeConfig(models=models, port=port, threads=1, max_queue=4)


def until(holds: Callable[[], object], seconds: float = 10.0) -> None:
    """Poll with a deadline: what is waited for is another process's doing."""
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


@pytest.fixture
def bad_weights(served: ServedModel, tmp_path: Path) -> Callable[[bytes], ServedModel]:
    def make(content: bytes) -> ServedModel:
        path = tmp_path / "bad-weights.gguf"
        path.write_bytes(content)
        return served.model_copy(update={"path": str(path), "size": len(content)})

    return make


def start_of(served: ServedModel, count: int) -> bytes:
    with Path(served.path).open("rb") as file:
        return file.read(count)


@pytest.mark.parametrize(
    ("count", "reason"),
    [(0, "invalid magic"), (10**6, "key-value pairs"), (50 * 10**6, "corrupted or incomplete")],
    ids=["no GGUF", "a part of the header", "a part of the tensors"],
)
def test_weights_that_llama_cpp_refuses(
    served: ServedModel, bad_weights: Callable[[bytes], ServedModel], count: int, reason: str
) -> None:
    model = bad_weights(start_of(served, count) or b"these are no weights at all")
    with pytest.raises(ModelMissing) as caught, embedded_endpoint(config(model)):
        pass
    assert "bad-weights.gguf" in caught.value.message and reason in caught.value.message
    assert served.name in caught.value.remedy


def test_a_missing_file_is_named(served: ServedModel) -> None:
    model = served.model_copy(update={"path": "not-there.gguf"})
    with pytest.raises(ModelMissing, match=r"not-there\.gguf"), embedded_endpoint(config(model)):
        pass


def test_a_port_in_use_is_named(served: ServedModel) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(EndpointUnreachable) as caught, embedded_endpoint(config(served, port=port)):
            pass
    assert str(port) in caught.value.message and "--port" in caught.value.remedy


def test_an_engine_that_dies_fails_one_request_and_comes_back(served: ServedModel) -> None:
    with embedded_endpoint(config(served)) as endpoint:
        body = {"model": served.name, "messages": HI, "options": {"num_predict": 400}}
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
        assert again.json()["done"] is True
        assert engines(endpoint) != [engine] and endpoint.alive()
        pids = [endpoint.pid, *engines(endpoint)]
    assert all(map(gone, pids)) and len(pids) == 2


def test_nothing_outlives_a_killed_gateway(served: ServedModel) -> None:
    with embedded_endpoint(config(served)) as endpoint:
        pids = [endpoint.pid, *engines(endpoint)]
        os.kill(endpoint.pid, signal.SIGKILL)
        until(lambda: all(map(gone, pids)))
        until(lambda: not endpoint.alive())
        assert "killed by signal 9" in endpoint.death_message()


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
        pid = int(starter.stdout.readline())
        pids = session_members(pid)
        starter.kill()
    assert len(pids) == 2
    until(lambda: all(map(gone, pids)))


SERVE = """
import sys
from localgif.endpoint.server import serve
from localgif.records import ServeConfig
serve(ServeConfig.model_validate_json(sys.argv[1]), managed=False)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_server_within_two_seconds(served: ServedModel, number: signal.Signals) -> None:
    arguments = [sys.executable, "-c", SERVE, config(served).model_dump_json()]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, start_new_session=True) as server:
        assert server.stdout is not None
        greeting = [server.stdout.readline() for _ in range(3)]
        url = greeting[0].split()[-1]
        assert served.name in greeting[1] and "Ctrl-C" in greeting[2]
        assert check_ollama(url, served.name).model == served.name
        body = {"model": served.name, "messages": HI, "options": {"num_predict": 400, "temperature": 0}}
        pids = session_members(server.pid)
        with httpx.Client(trust_env=False) as http, http.stream("POST", url + "/api/chat", json=body) as response:
            lines = response.iter_lines()
            next(lines)
            began = time.monotonic()
            if number == signal.SIGINT:  # as a terminal does it: to every process of the group
                os.killpg(server.pid, number)
            else:
                server.terminate()
            # Cut, or ended with an error when the engine went first; never with the line that says that all is there.
            came: list[dict[str, Any]] = []
            with contextlib.suppress(httpx.RemoteProtocolError):
                for line in lines:
                    came.append(json.loads(line))
                assert "error" in came[-1]
            assert not any(line.get("done") for line in came)
            assert server.wait(10) == 0
        assert time.monotonic() - began < 2
    assert len(pids) == 2 and all(map(gone, pids))


# --- preflight -------------------------------------------------------------------------------------------------------


def test_nobody_at_the_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    with pytest.raises(EndpointUnreachable, match=url) as caught:
        check_ollama(url, "m")
    assert "ollama serve" in caught.value.remedy


@pytest.mark.parametrize("url", ["nonsense", "localhost:1", "ftp://127.0.0.1"])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(EndpointUnreachable):
        check_ollama(url, "m")


# --- small facts -----------------------------------------------------------------------------------------------------


def cpuinfo(*cpus: tuple[int, int, int]) -> str:
    blocks = [f"processor\t: {cpu}\nphysical id\t: {socket}\ncore id\t: {core}\n" for cpu, socket, core in cpus]
    return "\n".join(blocks)


def test_cores_are_counted_not_threads() -> None:
    text = cpuinfo((0, 0, 0), (1, 0, 1), (2, 0, 0), (3, 0, 1), (4, 1, 0))
    assert physical_cores(text, {0, 1, 2, 3, 4}) == 3
    assert physical_cores(text, {0, 2}) == 1
    assert physical_cores("model name: arm\n", {0}) == 0


@pytest.mark.parametrize(("text", "cores"), [("max 100000", 0), ("150000 100000\n", 2), ("50000 100000", 1), ("", 0)])
def test_quotas_are_rounded_up(text: str, cores: int) -> None:
    assert quota_cores(text) == cores


def test_some_core_is_usable() -> None:
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)


def test_a_header_tells_the_facts(served: ServedModel) -> None:
    facts = read_facts(Path(served.path))
    assert (facts.architecture, facts.context_length, facts.quantisation) == ("llama", 8192, "Q4_1")
    assert (facts.parameters, facts.parameter_size) == (134515008, "134.52M")
    assert facts.template and "im_start" in facts.template and not facts.can_think


@pytest.mark.parametrize("count", [0, 3, 20, 1000, 10**6])
def test_a_broken_header_tells_nothing(served: ServedModel, tmp_path: Path, count: int) -> None:
    (tmp_path / "x.gguf").write_bytes(start_of(served, count))
    assert read_facts(tmp_path / "x.gguf") == GgufFacts()
    assert read_facts(tmp_path / "absent.gguf") == GgufFacts()
