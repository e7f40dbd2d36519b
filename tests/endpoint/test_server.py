"""`serve` as a process and as an address: what it says, where it listens, how it ends."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import ollama
import pytest

from localgif import offline
from localgif.endpoint import server
from localgif.endpoint.child import session_members
from localgif.endpoint.discover import check_ollama
from localgif.errors import EndpointUnreachable, PreflightError
from localgif.records import RemoteModel, ServeConfig, ServedModel
from tests.conftest import WEIGHTS
from tests.support import SOON, masked
from tests.support.gateway_kit import GREEDY, HI, MODEL, Script, answer, connect, gateway, in_thread
from tests.support.llama_server import KEY, NAME, LlamaServer

pytestmark = pytest.mark.slow

REMOTE = RemoteModel(name=MODEL, url="http://127.0.0.1:9", dialect="other", server="", window=4096)
STORY = [{"role": "user", "content": "Tell a very long story."}]
SERVE = """
import sys
from localgif.endpoint.server import serve
from localgif.records import ServeConfig

serve(ServeConfig.model_validate_json(sys.argv[1]))
"""


@contextlib.contextmanager
def serving(config: ServeConfig) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """The unmanaged form, and the lines of its greeting."""
    command = [sys.executable, "-c", SERVE, config.model_dump_json()]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        greeting = [process.stdout.readline()]
        while "Ctrl-C" not in greeting[-1]:
            greeting.append(process.stdout.readline())
        yield process, greeting


@pytest.mark.parametrize(("host", "warns"), [("127.0.0.1", False), ("localhost", False), ("0.0.0.0", True)])
def test_whoever_opens_it_to_others_is_warned(host: str, warns: bool) -> None:
    with serving(ServeConfig(remotes=(REMOTE,), host=host)) as (process, _):
        process.terminate()
        _, said = process.communicate(timeout=SOON)
    assert ("warning: everyone who can reach 0.0.0.0" in said) is warns and process.returncode == 0


@pytest.mark.parametrize("host", ["0.0.0.0", "::", socket.gethostname()])
def test_the_guard_lets_us_listen_where_the_user_says(host: str) -> None:
    """It refuses look-ups of other machines; our own listener asks for none."""
    try:
        socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError:
        pytest.skip(f"this machine has no address {host}")
    offline.guard()
    try:
        with in_thread(lambda: server.listening([], host=host)) as url:
            assert int(url.rpartition(":")[2]) > 0 and not offline.refusals()
    finally:
        offline.release()


def test_an_address_of_another_machine_is_refused_with_a_remedy() -> None:
    with (
        pytest.raises(EndpointUnreachable, match=r"192\.0\.2\.1") as caught,
        in_thread(lambda: server.listening([], host="192.0.2.1")),
    ):
        pass
    assert "--host" in caught.value.remedy


@pytest.mark.parametrize("begun", [b"", b"GET /api/version HTTP/1.1\r\nHost: local"])
def test_a_connection_without_a_request_is_closed(monkeypatch: pytest.MonkeyPatch, begun: bytes) -> None:
    monkeypatch.setattr(server, "IDLE_SECONDS", 0.3)
    with gateway(Script(answer("x"))) as running, contextlib.closing(connect(running.url)) as idle:
        idle.sendall(begun)
        data = b""
        while piece := idle.recv(65536):
            data += piece
        assert b" 200 " not in data


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_server(served: ServedModel, number: signal.Signals) -> None:
    with serving(ServeConfig(models=(served,), threads=1)) as (process, greeting):
        url = greeting[0].split()[-1]
        assert served.name in greeting[1] and check_ollama(url, served.name).model == served.name
        body = {"model": served.name, "messages": STORY, "options": {"num_predict": 400, "temperature": 0}}
        pids = session_members(process.pid)
        with httpx.Client(trust_env=False) as http, http.stream("POST", url + "/api/chat", json=body) as response:
            lines = response.iter_lines()
            next(lines)
            if number == signal.SIGINT:  # as a terminal does it: to every process of the group
                os.killpg(process.pid, number)
            else:
                process.terminate()
            # Cut, or ended with an error when the engine went first; never with the line that says that all is there.
            came: list[dict[str, Any]] = []
            with contextlib.suppress(httpx.RemoteProtocolError):
                for line in lines:
                    came.append(json.loads(line))
                assert "error" in came[-1]
            assert not any(line.get("done") for line in came)
            assert process.wait(SOON) == 0
    assert len(pids) == 2 and session_members(process.pid) == []


@pytest.mark.parametrize(("number", "code"), [("SIGKILL", "E-ENGINE"), ("SIGABRT", "E-WEIGHTS-REFUSED")])
def test_a_killed_load_blames_the_memory_and_a_broken_one_the_weights(
    served: ServedModel, monkeypatch: pytest.MonkeyPatch, number: str, code: str
) -> None:
    died = f"import os, signal, sys; sys.stdin.readline(); os.kill(os.getpid(), signal.{number})"
    monkeypatch.setattr("localgif.endpoint.engine.our_python", lambda _: [sys.executable, "-c", died])
    with pytest.raises(PreflightError, match=f"killed by {number}") as caught:
        server.serve(ServeConfig(models=(served,), threads=1))
    assert caught.value.code == code


# --- the commands, with a server that somebody else started ----------------------------------------------------------

MODELS = """
[roles]
animator  = "tiny"
reflector = "tiny"
[endpoints.mine]
kind        = "openai"
url         = "{url}"
api_key_env = "MY_SERVERS_KEY"
[models.tiny]
endpoint    = "mine"
model       = "smollm2:135m"
num_ctx     = 512
num_predict = 32
"""


def command(folder: Path, key: str | None) -> dict[str, str]:
    given = {"MY_SERVERS_KEY": key} if key is not None else {}
    return {**os.environ, "TMPDIR": str(folder), "LOCALGIF_HOME": str(WEIGHTS.cache.parent), **given}


def run(folder: Path, *arguments: str, key: str | None = KEY) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "localgif", *arguments]
    return subprocess.run(line, cwd=folder, env=command(folder, key), capture_output=True, text=True, timeout=300)


@pytest.fixture
def folder(tmp_path: Path, theirs: LlamaServer) -> Path:
    (tmp_path / "models.toml").write_text(MODELS.format(url=theirs.url))
    return tmp_path


def test_checks_say_where_and_how_large(folder: Path, theirs: LlamaServer) -> None:
    checked = run(folder, "models", "check")
    assert checked.returncode == 0 and f"{theirs.url} answers (llama.cpp" in checked.stdout
    assert "window 512" in checked.stdout
    missing = run(folder, "optimize", *masked.ACCEPTING, key=None)
    assert missing.returncode == 2 and "MY_SERVERS_KEY, which is not set" in missing.stderr
    assert not (folder / "runs").exists()


def test_serve_offers_the_other_servers_model_until_it_is_stopped(folder: Path, theirs: LlamaServer) -> None:
    refused = run(folder, "serve", "--upstream", theirs.url)
    assert refused.returncode == 3 and "wants an API key" in refused.stderr
    line = [sys.executable, "-m", "localgif", "serve", "--port", "0"]
    with subprocess.Popen(line, cwd=folder, env=command(folder, KEY), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        greeting = [process.stdout.readline() for _ in range(3)]
        assert NAME in greeting[1] and theirs.url in greeting[1] and "context 512" in greeting[1]
        with ollama.Client(greeting[0].split()[-1], trust_env=False) as client:
            assert client.chat(NAME, HI, options=GREEDY).message.content
        process.terminate()
        assert process.wait(SOON) == 0
        assert select.select([process.stdout], [], [], 0)[0], "its end is closed"
