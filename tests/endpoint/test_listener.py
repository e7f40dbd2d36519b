"""What may reach the listener, how large it may be and how slow."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import httpx
import pytest

from localgif.endpoint import gateway as gateway_module
from localgif.endpoint import server
from localgif.endpoint.server import listening
from localgif.endpoint.upstream import Remote
from localgif.errors import EndpointUnreachable
from localgif.records import RemoteModel, ServeConfig
from tests.endpoint.gateway_kit import (
    MODEL,
    PATIENCE,
    Script,
    Step,
    answer,
    event,
    gateway,
    in_thread,
    post_and_keep,
)

CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}
REMOTE = RemoteModel(name=MODEL, url="http://127.0.0.1:9", dialect="other", server="", window=4096)


def connect(url: str) -> socket.socket:
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname or "", parts.port or 0), timeout=PATIENCE)


def everything(connection: socket.socket) -> bytes:
    """What comes until the other side closes."""
    data = b""
    while piece := connection.recv(65536):
        data += piece
    return data


# --- who --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "192.168.7.7:11435"}, 200),
        ({"Host": "[fd00::7]:11435"}, 200),
        ({"Host": f"{socket.gethostname()}:11435"}, 200),
        ({"Host": "localhost"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "192.168.7.7.evil.example"}, 403),
        ({"Host": "["}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "http://["}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
    ],
)
def test_with_another_host_callers_come_from_elsewhere_but_web_pages_still_not(
    headers: dict[str, str], status: int
) -> None:
    @contextlib.asynccontextmanager
    async def everywhere() -> AsyncIterator[str]:
        async with listening([Remote(REMOTE)], 0, 1, host="0.0.0.0") as site:
            yield site

    with in_thread(everywhere) as site:
        assert site.startswith("http://0.0.0.0:")
        response = httpx.get(site.replace("0.0.0.0", "127.0.0.1") + "/api/version", headers=headers, trust_env=False)
    assert response.status_code == status


def test_no_page_is_told_that_it_may_read() -> None:
    with gateway(Script(answer("x"))) as running:
        for origin in ("http://localhost:3000", "https://evil.example"):
            response = httpx.get(running.url + "/api/tags", headers={"Origin": origin}, trust_env=False)
            assert not [name for name in response.headers if name.lower().startswith("access-control")]


def test_an_address_of_another_machine_is_refused_with_a_remedy() -> None:
    with (
        pytest.raises(EndpointUnreachable, match=r"192\.0\.2\.1") as caught,
        in_thread(lambda: listening([], 0, 1, host="192.0.2.1")),
    ):
        pass
    assert "--host" in caught.value.remedy


SERVE = """
import sys
from localgif.endpoint.server import serve
from localgif.records import ServeConfig
serve(ServeConfig.model_validate_json(sys.argv[1]), managed=False)
"""


@pytest.mark.parametrize(("host", "warns"), [("127.0.0.1", False), ("localhost", False), ("0.0.0.0", True)])
def test_who_opens_it_is_warned(host: str, warns: bool) -> None:
    config = ServeConfig(remotes=(REMOTE,), host=host).model_dump_json()
    with subprocess.Popen(
        [sys.executable, "-c", SERVE, config], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "Ctrl-C" in line:
                break
        process.terminate()
        _, said = process.communicate(timeout=PATIENCE)
    assert ("warning: everyone who can reach 0.0.0.0" in said) is warns and process.returncode == 0


# --- how large, how slow ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunked", [False, True])
def test_a_request_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch, chunked: bool) -> None:
    monkeypatch.setattr(gateway_module, "MAX_BODY", 1000)
    content = json.dumps({**CHAT, "filler": "x" * 2000}).encode()
    with gateway(Script(answer("x"))) as running, httpx.Client(trust_env=False) as client:
        refused = client.post(running.url + "/api/chat", content=iter([content]) if chunked else content)
        assert refused.status_code == 413 and "larger than" in refused.json()["error"]
        assert running.script.bodies == []
        assert client.post(running.url + "/api/chat", json=CHAT).status_code == 200


def test_a_body_that_does_not_come_is_given_up_and_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_module, "BODY_SECONDS", 0.3)
    with gateway(Script(answer("x"))) as running:
        slow = connect(running.url)
        slow.sendall(b'POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n\r\n{"model"')
        with httpx.Client(trust_env=False) as client:
            assert client.post(running.url + "/api/chat", json=CHAT).status_code == 200
        said = slow.recv(65536)
        assert b" 408 " in said and b"did not arrive within" in said
        slow.close()


@pytest.mark.parametrize("begun", [b"", b"GET /api/version HTTP/1.1\r\nHost: local"])
def test_a_connection_without_a_request_is_closed(monkeypatch: pytest.MonkeyPatch, begun: bytes) -> None:
    monkeypatch.setattr(server, "IDLE_SECONDS", 0.3)
    with gateway(Script(answer("x"))) as running:
        idle = connect(running.url)
        idle.sendall(begun)
        assert b" 200 " not in everything(idle)
        idle.close()


def test_a_client_that_reads_nothing_does_not_keep_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_module, "READER_SECONDS", 0.3)
    flood: list[Step] = [event("x" * 2**20)] * 40
    with gateway(Script([*flood, *answer("end")], answer("next"))) as running:
        deaf = post_and_keep(running.url, "/api/chat", CHAT)
        running.script.wait_for(lambda s: s.fates == ["dropped"])
        with httpx.Client(trust_env=False, timeout=PATIENCE) as client:
            said = client.post(running.url + "/api/chat", json={**CHAT, "stream": False}).json()
        assert said["message"]["content"] == "next"
        deaf.close()
