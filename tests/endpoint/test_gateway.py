"""The gateway over real HTTP, asked by unmodified clients, in front of an upstream that misbehaves on command."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx
import ollama
import pytest

from localgif.endpoint import gateway as module
from localgif.endpoint.gguf import GgufFacts
from localgif.endpoint.server import listening
from localgif.endpoint.upstream import LoadFailed, remote_backend
from localgif.records import RemoteModel
from tests.support.gateway_kit import (
    DONE,
    KEY,
    MODEL,
    PATIENCE,
    Hold,
    Running,
    Script,
    Status,
    Step,
    answer,
    chat_ollama,
    connect,
    event,
    gateway,
    in_thread,
    post,
    post_and_keep,
    usage,
)

HI = [{"role": "user", "content": "hi"}]
CHAT = {"model": MODEL, "messages": HI}
GENERATE = {"model": MODEL, "prompt": "hi"}
METRICS = {
    "total_duration", "load_duration", "prompt_eval_count", "prompt_eval_duration", "eval_count", "eval_duration",
}  # fmt: skip
BOTH = pytest.mark.parametrize(
    ("path", "body"), [("/api/chat", CHAT), ("/api/generate", GENERATE)], ids=["chat", "generate"]
)
THINKS = GgufFacts(template="{% if enable_thinking %}")


def lines(response: httpx.Response) -> list[dict[str, Any]]:
    assert response.headers["content-type"] == "application/x-ndjson"
    assert response.text.endswith("\n") and "\n\n" not in response.text
    return [json.loads(line) for line in response.text.splitlines()]


def text_of(line: dict[str, Any]) -> str:
    text = line["message"]["content"] if "message" in line else line["response"]
    assert isinstance(text, str)
    return text


def get(running: Running, path: str, **headers: str) -> httpx.Response:
    return httpx.get(running.url + path, headers=headers, trust_env=False)


def asking(number: int) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": str(number)}]}


# --- good answers ----------------------------------------------------------------------------------------------------


@BOTH
def test_a_stream_is_one_line_a_token_and_a_last_one(path: str, body: dict[str, Any]) -> None:
    with gateway(Script(answer("Hel", "lo"))) as running:
        got = lines(post(running.url, path, body))
    assert [text_of(line) for line in got] == ["Hel", "lo", ""]
    assert [line["done"] for line in got] == [False, False, True]
    assert got[-1]["done_reason"] == "stop" and got[-1].keys() >= METRICS
    assert (got[-1]["prompt_eval_count"], got[-1]["eval_count"]) == (7, 2)
    assert all(type(got[-1][name]) is int and got[-1][name] >= 0 for name in METRICS)
    assert all(line["model"] == MODEL and line["created_at"].endswith("Z") for line in got)
    assert all(datetime.fromisoformat(line["created_at"]).utcoffset() == timedelta(0) for line in got)


@BOTH
def test_unstreamed_is_one_object_and_the_upstream_streams_all_the_same(path: str, body: dict[str, Any]) -> None:
    with gateway(Script(answer("Hel", "lo", finish="length"))) as running:
        response = post(running.url, path, body, stream=False)
        sent, headers = running.script.bodies[0], running.script.headers[0]
    assert response.headers["content-type"] == "application/json; charset=utf-8"
    got = response.json()
    assert (text_of(got), got["done"], got["done_reason"]) == ("Hello", True, "length") and got.keys() >= METRICS
    assert sent["stream"] is True and headers["Authorization"] == f"Bearer {KEY}"
    assert (sent["model"], sent["top_p"], sent["min_p"], sent["temperature"]) == ("upstream-name", 0.9, 0.0, 0.8)


def test_pings_comments_and_odd_blocks_are_ignored() -> None:
    whole = b": ping\n\n" + event("é🐙") + b"event: x\nid: 1\n\n: \n" + event(finish="stop") + b"\r\n" + usage()
    steps: list[Step] = [*(bytes([byte]) for byte in whole), DONE, "end"]
    with gateway(Script(steps)) as running:
        assert [text_of(line) for line in lines(post(running.url, "/api/chat", CHAT))] == ["é🐙", ""]


@pytest.mark.parametrize("spoken", [[], [b": ping\n\n", event("a")]], ids=["reading the prompt", "in the answer"])
def test_an_hour_of_silence_breaks_nothing(spoken: list[Step], monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of the gateway's event loop is put forward: a limit of its own would strike at once."""
    script = Script([*spoken, b": ping\n\n", Hold(), *answer("b")])
    ahead = [0.0]
    monkeypatch.setattr(asyncio.SelectorEventLoop, "time", lambda self: time.monotonic() + ahead[0])
    with gateway(script) as running, ThreadPoolExecutor(1) as pool:
        response = pool.submit(post, running.url, "/api/chat", CHAT, stream=False)
        script.wait_until_held()
        ahead[0] = 3600.0
        settle(running)
        assert script.fates == ["running"]
        script.release()
        assert response.result(20).json()["message"]["content"].endswith("b")


@pytest.mark.parametrize(
    ("think", "sent"),
    [
        (True, {"enable_thinking": True}),
        (False, {"enable_thinking": False}),
        ("low", {"enable_thinking": True, "reasoning_effort": "low"}),
        (None, None),
    ],
)
@pytest.mark.parametrize(
    "spoken",
    [
        [event(None, reasoning_content="h"), event(None, reasoning_content="m"), event("ok")],
        [event(None, reasoning="hm"), event("ok")],
        [event("<think>hm</think>"), event("\n\nok")],
        [event("\n<th"), event("ink>h"), event("m</thi"), event("nk>\n"), event("ok")],
    ],
    ids=["llama.cpp", "vLLM", "in the text", "in pieces"],
)
def test_thoughts_are_never_in_the_content(think: Any, sent: Any, spoken: list[Step]) -> None:
    script = Script([*spoken, event(finish="stop"), usage(), DONE, "end"])
    with gateway(script, facts=THINKS) as running, ollama.Client(running.url, trust_env=False) as client:
        whole = client.chat(MODEL, HI, think=think)
        pieces = list(client.chat(MODEL, HI, think=think, stream=True))
        written = client.generate(MODEL, "hi", think=think)
    assert (whole.message.content, whole.message.thinking) == ("ok", "hm")
    assert "".join(piece.message.content or "" for piece in pieces) == "ok"
    assert "".join(piece.message.thinking or "" for piece in pieces) == "hm"
    assert (written.response, written.thinking) == ("ok", "hm")
    assert script.bodies[0].get("chat_template_kwargs") == sent


# --- an upstream that fails ------------------------------------------------------------------------------------------

SILENT_FAILURES: dict[str, list[Step]] = {
    "cut before anything": ["cut"],
    "cut after the role": [event(None, role="assistant"), "cut"],
    "ended before anything": ["end"],
    "error event first": [b'data: {"error": {"message": "boom"}}\n\n', "end"],
    "no JSON": [b"data: <html>\n\n", "end"],
    "done without a word": [DONE, "end"],
    "error status": [Status(500, "boom")],
    "refuses our key": [Status(401, '{"error": {"message": "Invalid API Key"}}')],
    "busy": [Status(503, '{"error": {"message": "no slot"}}')],
}
LATE_FAILURES: dict[str, list[Step]] = {
    "cut": ["cut"],
    "ended": ["end"],
    "error event": [b'data: {"error": {"message": "boom"}}\n\n', "end"],
    "garbage": [b'data: {"choices": [{"delta": "x"}]}\n\n', DONE, "end"],
}


@pytest.mark.parametrize("steps", SILENT_FAILURES.values(), ids=SILENT_FAILURES)
@pytest.mark.parametrize("stream", [True, False])
def test_a_failure_before_the_first_token_is_a_502(steps: list[Step], stream: bool) -> None:
    with gateway(Script(steps, answer("fine"))) as running:
        response = post(running.url, "/api/chat", CHAT, stream=stream)
        assert response.status_code == 502 and isinstance(response.json()["error"], str)
        assert response.headers["content-type"].startswith("application/json")
        assert text_of(post(running.url, "/api/chat", CHAT, stream=False).json()) == "fine"


@pytest.mark.parametrize("steps", LATE_FAILURES.values(), ids=LATE_FAILURES)
def test_a_failure_after_the_first_token_is_an_error_line_and_never_done(steps: list[Step]) -> None:
    with gateway(Script([event("half"), *steps])) as running:
        got = lines(post(running.url, "/api/chat", CHAT))
        assert text_of(got[0]) == "half" and got[-1].keys() == {"error"} and isinstance(got[-1]["error"], str)
        assert not any(line.get("done") for line in got)
        assert post(running.url, "/api/chat", CHAT, stream=False).status_code == 502
        with ollama.Client(running.url, trust_env=False) as client, pytest.raises(ollama.ResponseError):
            list(client.chat(MODEL, HI, stream=True))
        with chat_ollama(running.url) as chat, pytest.raises(ollama.ResponseError):
            chat.invoke("hi")


def test_a_dead_server_is_named() -> None:
    with gateway(Script([event("half"), "cut"])) as running:
        running.backend.death = "killed by SIGKILL"
        got = lines(post(running.url, "/api/chat", CHAT))
    assert got[-1] == {"error": "model runner has unexpectedly stopped: killed by SIGKILL"}


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (LoadFailed("llama.cpp could not load it"), "llama.cpp could not load it"),
        (RuntimeError("a bug"), "internal error: RuntimeError: a bug"),
    ],
)
def test_a_model_that_does_not_load_is_a_500_and_is_tried_again(error: Exception, words: str) -> None:
    with gateway(Script(answer("fine"))) as running:
        running.backend.load_error = error
        response = post(running.url, "/api/chat", CHAT)
        assert (response.status_code, response.json()) == (500, {"error": words})
        running.backend.load_error = None
        assert post(running.url, "/api/chat", CHAT).status_code == 200


# --- clients that leave, and the queue -------------------------------------------------------------------------------


def read_until(connection: socket.socket, wanted: bytes) -> bytes:
    """What comes up to and with some bytes, or to the end: the head may come alone."""
    data = b""
    while wanted not in data and (piece := connection.recv(65536)):
        data += piece
    return data


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("spoken", [[], [event("half")]], ids=["before the first token", "after it"])
def test_a_client_that_leaves_stops_the_upstream(stream: bool, spoken: list[Step]) -> None:
    script = Script([event(None, role="assistant"), *spoken, Hold()], answer("next"))
    with gateway(script) as running:
        connection = post_and_keep(running.url, "/api/chat", {**CHAT, "stream": stream})
        script.wait_until_held()
        if spoken and stream:
            assert b"200 OK" in connection.recv(65536)
        connection.close()
        script.wait_for(lambda s: s.fates == ["dropped"])
        assert text_of(post(running.url, "/api/chat", CHAT, stream=False).json()) == "next"


def test_a_queued_client_that_leaves_never_reaches_the_upstream() -> None:
    script = Script([event("a"), Hold(), *answer("b")], answer("next"))
    with gateway(script, max_queue=1) as running:
        first = post_and_keep(running.url, "/api/chat", asking(1))
        script.wait_until_held()
        post_and_keep_queued(running, asking(2)).close()
        # There is one place in the queue: the next client gets it only when the one that left has given it back.
        third = post_and_keep_queued(running, asking(3))
        script.release()
        script.wait_for(lambda s: s.fates == ["done"] * 2)
        assert [body["messages"][0]["content"] for body in script.bodies] == ["1", "3"]
        assert b"next" in read_until(third, b"next")
        third.close()
        first.close()


def post_and_keep_queued(running: Running, body: dict[str, Any]) -> socket.socket:
    """A request that waits in the queue; sent again while the queue is full."""
    for _ in range(500):
        connection = post_and_keep(running.url, "/api/chat", body)
        settle(running)
        connection.setblocking(False)
        try:
            assert b" 503 " in connection.recv(65536)
        except BlockingIOError:
            connection.settimeout(PATIENCE)
            return connection
        connection.close()
    raise AssertionError("no place in the queue")


def settle(running: Running) -> None:
    """Two rounds behind what was sent before, on the same event loop: by then it is queued or refused."""
    with httpx.Client(trust_env=False) as client:
        for _ in range(2):
            client.get(running.url + "/api/version")


def test_a_full_queue_is_ollamas_503_and_the_others_are_answered_in_order() -> None:
    script = Script([event("a"), Hold(), *answer("b")], answer("c"))
    with gateway(script, max_queue=3) as running:
        connections = [post_and_keep(running.url, "/api/chat", asking(0))]
        script.wait_until_held()
        for number in (1, 2, 3):
            connections.append(post_and_keep(running.url, "/api/chat", asking(number)))
            settle(running)
        refused = post(running.url, "/api/chat", CHAT)
        text = "server busy, please try again.  maximum pending requests exceeded"
        assert (refused.status_code, refused.json()) == (503, {"error": text})
        script.release()
        script.wait_for(lambda s: s.fates == ["done"] * 4)
        assert [body["messages"][0]["content"] for body in script.bodies] == ["0", "1", "2", "3"]
        for connection in connections:
            connection.close()


def test_short_requests_are_answered_together_and_any_other_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script([event("a"), Hold(), *answer("b")])
    with gateway(script, slots=2) as running:
        monkeypatch.setattr(running.backend, "shares", lambda call: call.options.num_predict == 1)
        connections = []
        for number in range(4):
            options = {} if number == 2 else {"num_predict": 1}
            connections.append(post_and_keep(running.url, "/api/chat", {**asking(number), "options": options}))
            settle(running)
        for done in (1, 2, 3, 4):
            # The long one waits for both, and nobody overtakes it or joins it.
            assert len(script.bodies) == max(2, done)
            script.wait_until_held()
            script.release()
            script.wait_for(lambda s, done=done: s.fates.count("done") == done)  # type: ignore[misc]
            script.wait_for(lambda s, done=done: len(s.bodies) == min(4, max(2, done + 1)))  # type: ignore[misc]
            settle(running)
        assert [body["messages"][0]["content"] for body in script.bodies[2:]] == ["2", "3"]
        assert [body["id_slot"] for body in script.bodies] == [1, 0, 0, 1]
        for connection in connections:
            connection.close()


def test_many_at_once_get_their_own_answers() -> None:
    script = Script(*(answer(str(number)) for number in range(12)))
    with gateway(script) as running, ThreadPoolExecutor(12) as pool:
        asked = [pool.submit(post, running.url, "/api/chat", asking(number), stream=False) for number in range(12)]
        said = {one.result(20).json()["message"]["content"] for one in asked}
        assert said == {str(number) for number in range(12)} and len(script.bodies) == 12


def test_the_rest_of_the_api_answers_during_a_generation() -> None:
    script = Script([event("a"), Hold()])
    with gateway(script) as running, httpx.Client(base_url=running.url, trust_env=False, timeout=PATIENCE) as client:
        busy = post_and_keep(running.url, "/api/chat", CHAT)
        script.wait_until_held()
        answers = [client.get("/api/tags"), client.get("/api/ps"), client.post("/api/show", json={"name": MODEL})]
        assert [one.status_code for one in answers] == [200] * 3
        busy.close()


# --- models ----------------------------------------------------------------------------------------------------------


@BOTH
def test_empty_requests_load_and_unload(path: str, body: dict[str, Any]) -> None:
    empty = {"model": MODEL, "messages": [], "prompt": ""}
    with gateway(Script(answer("x"))) as running:
        loaded, ps = post(running.url, path, empty, keep_alive="5m"), get(running, "/api/ps").json()
        assert loaded.json()["done_reason"] == "load" and loaded.json()["done"] is True
        assert [entry["context_length"] for entry in ps["models"]] == [4096]
        assert post(running.url, path, empty, keep_alive=0).json()["done_reason"] == "unload"
        assert get(running, "/api/ps").json() == {"models": []}
        assert post(running.url, path, empty, keep_alive="x").status_code == 400
        assert running.backend.keep_alives == [300.0, 0] and running.script.bodies == []


def test_the_requests_keep_alive_reaches_the_model() -> None:
    with gateway(Script(answer("x"))) as running:
        for value in (-1, "30m", None):
            post(running.url, "/api/chat", CHAT, keep_alive=value)
        settle(running)  # the model is given back after the answer's last byte
        assert running.backend.keep_alives == [float("inf"), 1800.0, None]
        with ollama.Client(running.url, trust_env=False) as client:  # it sends numbers as floats
            for kept in (300, 300.0, "1h30m", -1.0, "-1m", 0):
                assert client.chat(MODEL, HI, keep_alive=kept).message.content == "x"


def test_show_tells_one_context_length() -> None:
    metadata = {"llama.context_length": 8192, "llama.rope.scaling.original_context_length": 4096}
    facts = GgufFacts(architecture="llama", context_length=8192, metadata=metadata)
    with gateway(Script(answer("x")), facts=facts) as running:
        info = post(running.url, "/api/show", {"name": MODEL}).json()["model_info"]
    assert {name: value for name, value in info.items() if "context_length" in name} == {"llama.context_length": 8192}


def test_names_match_and_come_back_as_asked() -> None:
    with gateway(Script(answer("x")), name="smol") as running:
        with ollama.Client(running.url + "/", trust_env=False) as client:
            for name in ("smol", "SMOL", "smol:latest", "Smol:Latest"):
                assert client.chat(name, HI).model == name and client.show(name).details is not None
            with pytest.raises(ollama.ResponseError):
                client.chat("smol:1b", HI)
        for name in ("smol", "smol:latest"):
            with chat_ollama(running.url + "/", name, validate_model_on_init=True) as chat:
                assert chat.invoke("hi").content == "x"
        with pytest.raises(ValueError, match="not found"), chat_ollama(running.url, "sm", validate_model_on_init=True):
            pass


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"think": True}, f'"{MODEL}" does not support thinking'),
        ({"messages": [{**HI[0], "images": ["aGk="]}]}, f'"{MODEL}" does not support images'),
        ({"tools": [{"type": "function"}]}, "tools is not supported by localgif: leave it out"),
        ({"options": {"temperature": "hot"}}, "options.temperature = 'hot': must be a valid number"),
    ],
)
def test_what_cannot_be_done_is_a_400_that_names_it(extra: dict[str, Any], words: str) -> None:
    with gateway(Script(answer("x"))) as running:
        response = post(running.url, "/api/chat", CHAT, **extra)
        assert (response.status_code, response.json()) == (400, {"error": words})
        assert running.script.bodies == []
        assert post(running.url, "/api/chat", CHAT, think=False).status_code == 200
        assert "chat_template_kwargs" not in running.script.bodies[0]


def test_what_is_not_known_is_not_refused() -> None:
    """vLLM does not show its template, so it decides itself whether the model thinks."""
    with gateway(Script(answer("x")), facts=GgufFacts(template=None)) as running:
        assert post(running.url, "/api/chat", CHAT, think=True).status_code == 200
        (sent,) = running.script.bodies
        assert post(running.url, "/api/show", {"model": MODEL}).json()["capabilities"] == ["completion"]
    assert sent["chat_template_kwargs"] == {"enable_thinking": True}


# --- HTTP ------------------------------------------------------------------------------------------------------------


def test_every_failure_is_a_string() -> None:
    cases: list[tuple[str, str, Any, int, str]] = [
        ("GET", "/nowhere", None, 404, "/nowhere not found"),
        ("POST", "//api/chat", CHAT, 404, "not found"),
        ("POST", "/api/embed", {}, 404, "not found"),
        ("GET", "/api/chat", None, 405, "not allowed"),
        ("POST", "/api/tags", {}, 405, "not allowed"),
        *(("POST", f"/api/{name}", None, 400, "missing request body") for name in ("chat", "generate", "show")),
        ("POST", "/api/chat", [1], 400, "request body must be a JSON object, not [1]"),
        ("POST", "/api/chat", "x", 400, "request body must be a JSON object, not 'x'"),
        ("POST", "/api/chat", {"messages": HI}, 400, "model is required"),
        ("POST", "/api/chat", {"model": "x", "messages": HI}, 404, "model 'x' not found"),
        ("POST", "/api/generate", {"model": "x", "prompt": "x"}, 404, "model 'x' not found"),
        ("POST", "/api/show", {}, 400, "model is required"),
        ("POST", "/api/show", {"model": "x"}, 404, "model 'x' not found"),
        *(("POST", f"/api/{verb}", {}, 501, "does not manage models") for verb in ("pull", "push", "create", "copy")),
        ("DELETE", "/api/delete", {"model": "x"}, 501, "does not manage models"),
        ("POST", "/v1/chat/completions", CHAT, 404, "localgif speaks the Ollama API"),
        ("GET", "/v1/models", None, 404, "localgif speaks the Ollama API"),
    ]
    with gateway(Script(answer("x"))) as running, httpx.Client(trust_env=False) as client:
        for method, path, body, status, words in cases:
            content = b"" if body is None else json.dumps(body).encode()
            response = client.request(method, running.url + path, content=content)
            assert response.status_code == status and response.json().keys() == {"error"}, path
            assert words in response.json()["error"], path
        assert running.script.bodies == []


def test_it_says_what_ollama_says() -> None:
    with gateway(Script(answer("x"))) as running, httpx.Client(base_url=running.url, trust_env=False) as client:
        assert client.get("/").text == "Ollama is running"
        assert [client.head(path).status_code for path in ("/", "/api/version", "/api/tags")] == [200] * 3
        version = client.get("/api/version").json()["version"]
        assert tuple(map(int, version.split("."))) >= (0, 12, 6)


# --- who may call ----------------------------------------------------------------------------------------------------

STRANGERS = [
    {"Host": "evil.example"}, {"Host": "evil.example:80"}, {"Host": "127.0.0.1.evil.example"}, {"Host": "["},
    {"Origin": "https://evil.example"}, {"Origin": "http://["}, {"Origin": "null"}, {"Origin": ""},
]  # fmt: skip
HERE = [
    {}, {"Host": "localhost:1234"}, {"Host": "[::1]:1234"}, {"Host": "127.0.0.2"}, {"Host": "x.localhost"},
    {"Origin": "http://localhost:3000"},
]  # fmt: skip
OTHER_MACHINES = [
    {"Host": "192.168.7.7:11435"}, {"Host": "[fd00::7]:11435"}, {"Host": f"{socket.gethostname()}:11435"},
]  # fmt: skip


def test_only_local_callers_are_answered_and_no_web_page() -> None:
    with gateway(Script(answer("x"))) as running:
        for headers in HERE:
            response = get(running, "/api/version", **headers)
            assert response.status_code == 200, headers
            assert not [name for name in response.headers if name.lower().startswith("access-control")]
        for headers in [*STRANGERS, *OTHER_MACHINES]:
            response = get(running, "/api/version", **headers)
            assert response.status_code == 403 and isinstance(response.json()["error"], str), headers


def test_with_another_host_callers_come_from_elsewhere_but_web_pages_still_do_not() -> None:
    remote = remote_backend(RemoteModel(name=MODEL, url="http://127.0.0.1:9", dialect="other", server="", window=4096))
    with in_thread(lambda: listening([remote], host="0.0.0.0")) as url:
        here = url.replace("0.0.0.0", "127.0.0.1") + "/api/version"
        for headers in [*HERE, *OTHER_MACHINES]:
            assert httpx.get(here, headers=headers, trust_env=False).status_code == 200, headers
        for headers in STRANGERS:
            assert httpx.get(here, headers=headers, trust_env=False).status_code == 403, headers


def test_it_listens_on_one_address_of_this_machine_only() -> None:
    with gateway(Script(answer("x"))) as running:
        port = urlsplit(running.url).port or 0
        assert httpx.get(f"http://127.0.0.1:{port}/", trust_env=False).status_code == 200
        # A socket on all addresses would answer here.
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", port), timeout=5)


# --- how large, how slow ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunked", [False, True])
def test_a_request_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch, chunked: bool) -> None:
    monkeypatch.setattr(module, "MAX_BODY", 1000)
    content = json.dumps({**CHAT, "filler": "x" * 2000}).encode()
    with gateway(Script(answer("x"))) as running, httpx.Client(trust_env=False) as client:
        refused = client.post(running.url + "/api/chat", content=iter([content]) if chunked else content)
        assert refused.status_code == 413 and "larger than" in refused.json()["error"]
        assert running.script.bodies == []
        assert client.post(running.url + "/api/chat", json=CHAT).status_code == 200


def test_a_body_that_does_not_come_is_given_up_and_delays_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BODY_SECONDS", 0.3)
    with gateway(Script(answer("x"))) as running, contextlib.closing(connect(running.url)) as slow:
        slow.sendall(b'POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n\r\n{"model"')
        assert post(running.url, "/api/chat", CHAT).status_code == 200
        said = slow.recv(65536)
        assert b" 408 " in said and b"did not arrive within" in said


def test_a_client_that_reads_nothing_does_not_keep_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "READER_SECONDS", 0.3)
    flood: list[Step] = [event("x" * 2**20)] * 40
    with gateway(Script([*flood, *answer("end")], answer("next"))) as running:
        deaf = post_and_keep(running.url, "/api/chat", CHAT)
        running.script.wait_for(lambda s: s.fates == ["dropped"])
        assert text_of(post(running.url, "/api/chat", CHAT, stream=False).json()) == "next"
        deaf.close()
