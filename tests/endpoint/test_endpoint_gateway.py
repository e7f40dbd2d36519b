"""The gateway against an upstream that misbehaves on command."""

from __future__ import annotations

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import httpx
import ollama
import pytest

from localgif.endpoint.gguf import GgufFacts
from tests.endpoint.gateway_kit import (
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
    event,
    gateway,
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


def post(running: Running, path: str, body: Any, **extra: Any) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps({**body, **extra}).encode()
    # No Content-Type: litellm sends none either.
    with httpx.Client(trust_env=False, timeout=20) as client:
        return client.post(running.url + path, content=content)


def lines(response: httpx.Response) -> list[dict[str, Any]]:
    assert response.headers["content-type"] == "application/x-ndjson"
    assert response.text.endswith("\n") and "\n\n" not in response.text
    return [json.loads(line) for line in response.text.splitlines()]


def text_of(line: dict[str, Any]) -> str:
    text = line["message"]["content"] if "message" in line else line["response"]
    assert isinstance(text, str)
    return text


# --- good answers ----------------------------------------------------------------------------------------------------


@BOTH
def test_a_stream_is_one_line_a_token_and_a_last_one(path: str, body: dict[str, Any]) -> None:
    with gateway(Script(answer("Hel", "lo"))) as running:
        got = lines(post(running, path, body))
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
        response = post(running, path, body, stream=False)
        sent, headers = running.script.bodies[0], running.script.headers[0]
    assert response.headers["content-type"] == "application/json; charset=utf-8"
    got = response.json()
    assert (text_of(got), got["done"], got["done_reason"]) == ("Hello", True, "length") and got.keys() >= METRICS
    assert sent["stream"] is True and headers["Authorization"] == f"Bearer {KEY}"
    assert (sent["model"], sent["top_p"], sent["min_p"], sent["temperature"]) == ("upstream-name", 0.9, 0.0, 0.8)


def test_the_models_name_is_echoed_as_asked() -> None:
    with gateway(Script(answer("x"))) as running:
        assert post(running, "/api/chat", CHAT, model=MODEL.upper(), stream=False).json()["model"] == MODEL.upper()


def test_pings_comments_and_odd_blocks_are_ignored() -> None:
    whole = b": ping\n\n" + event("é🐙") + b"event: x\nid: 1\n\n: \n" + event(finish="stop") + b"\r\n" + usage()
    steps: list[Step] = [*(bytes([byte]) for byte in whole), DONE, "end"]
    with gateway(Script(steps)) as running:
        assert [text_of(line) for line in lines(post(running, "/api/chat", CHAT))] == ["é🐙", ""]


def test_thinking_comes_apart_from_the_content() -> None:
    steps: list[Step] = [event(None, reasoning_content="hm"), *answer("ok")]
    with gateway(Script(steps), facts=GgufFacts(template="<think>")) as running:
        got = lines(post(running, "/api/chat", CHAT, think=True))
        sent = running.script.bodies[0]
    assert got[0]["message"] == {"role": "assistant", "content": "", "thinking": "hm"}
    assert [text_of(line) for line in got] == ["", "ok", ""] and sent["chat_template_kwargs"] == {
        "enable_thinking": True
    }


def test_no_token_wanted_none_shown() -> None:
    with gateway(Script(answer("x", finish="length"))) as running:
        got = lines(post(running, "/api/chat", CHAT, options={"num_predict": 0}))
    assert [text_of(line) for line in got] == [""] and got[0]["eval_count"] == 0


# --- the window ------------------------------------------------------------------------------------------------------


def test_a_smaller_window_is_enforced_and_bounds_the_answer() -> None:
    with gateway(Script(answer("x"))) as running:
        running.script.tokens = 60
        post(running, "/api/chat", CHAT, options={"num_ctx": 64})
        post(running, "/api/chat", CHAT, options={"num_ctx": 64, "num_predict": 2})
        refused = post(running, "/api/chat", CHAT, options={"num_ctx": 60})
        assert [body["max_tokens"] for body in running.script.bodies] == [4, 2]
    text = "request (60 tokens) exceeds the available context size (60 tokens), try increasing it"
    assert (refused.status_code, refused.json()) == (400, {"error": text})


def test_a_larger_window_than_there_is_names_both() -> None:
    with gateway(Script(answer("x"))) as running:
        refused = post(running, "/api/chat", CHAT, options={"num_ctx": 9999})
        assert refused.status_code == 400 and "9999" in refused.json()["error"] and "4096" in refused.json()["error"]
        assert post(running, "/api/chat", CHAT, options={"num_ctx": 4096}, stream=False).status_code == 200
        assert len(running.script.bodies) == 1


@pytest.mark.parametrize("stream", [True, False])
def test_the_upstreams_refusal_is_passed_on_word_for_word(stream: bool) -> None:
    words = "request (731 tokens) exceeds the available context size (512 tokens), try increasing it"
    refusal = Status(400, json.dumps({"error": {"code": 400, "message": words, "type": "exceed_context_size_error"}}))
    with gateway(Script([refusal])) as running:
        response = post(running, "/api/chat", CHAT, stream=stream)
    assert (response.status_code, response.json()) == (400, {"error": words})


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
    "done without a reason": [usage(), DONE, "end"],
    "reason without done": [event(finish="stop"), usage(), "end"],
    "error event": [b'data: {"error": {"message": "boom"}}\n\n', "end"],
    "garbage": [b'data: {"choices": [{"delta": "x"}]}\n\n', DONE, "end"],
}


@pytest.mark.parametrize("steps", SILENT_FAILURES.values(), ids=SILENT_FAILURES)
@pytest.mark.parametrize("stream", [True, False])
def test_a_failure_before_the_first_token_is_a_502(steps: list[Step], stream: bool) -> None:
    with gateway(Script(steps, answer("fine"))) as running:
        response = post(running, "/api/chat", CHAT, stream=stream)
        assert response.status_code == 502 and isinstance(response.json()["error"], str)
        assert response.headers["content-type"].startswith("application/json")
        assert text_of(post(running, "/api/chat", CHAT, stream=False).json()) == "fine"


@pytest.mark.parametrize("steps", LATE_FAILURES.values(), ids=LATE_FAILURES)
def test_a_failure_after_the_first_token_is_an_error_line_and_never_done(steps: list[Step]) -> None:
    with gateway(Script([event("half"), *steps])) as running:
        got = lines(post(running, "/api/chat", CHAT))
        assert text_of(got[0]) == "half" and got[-1].keys() == {"error"} and isinstance(got[-1]["error"], str)
        assert not any(line.get("done") for line in got)
        assert post(running, "/api/chat", CHAT, stream=False).status_code == 502
        with ollama.Client(running.url, trust_env=False) as client, pytest.raises(ollama.ResponseError):
            list(client.chat(MODEL, HI, stream=True))


def test_a_dead_server_is_named() -> None:
    with gateway(Script([event("half"), "cut"])) as running:
        running.backend.death = "killed by SIGKILL"
        got = lines(post(running, "/api/chat", CHAT))
    assert got[-1] == {"error": "model runner has unexpectedly stopped: killed by SIGKILL"}


def test_a_model_that_does_not_load_is_a_500_and_is_tried_again() -> None:
    with gateway(Script(answer("fine"))) as running:
        running.backend.load_error = "llama.cpp could not load it"
        response = post(running, "/api/chat", CHAT)
        assert (response.status_code, response.json()) == (500, {"error": "llama.cpp could not load it"})
        running.backend.load_error = ""
        assert post(running, "/api/chat", CHAT).status_code == 200


# --- clients that leave ----------------------------------------------------------------------------------------------


def read_some(connection: socket.socket) -> bytes:
    return connection.recv(65536)


def read_until(connection: socket.socket, wanted: bytes) -> bytes:
    """What comes up to and with some bytes, or to the end: the head may come alone."""
    data = b""
    while wanted not in data and (piece := read_some(connection)):
        data += piece
    return data


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("spoken", [[], [event("half")]], ids=["before the first token", "after it"])
def test_a_client_that_leaves_stops_the_upstream(stream: bool, spoken: list[Step]) -> None:
    script = Script([event(None, role="assistant"), *spoken, Hold()], answer("next"))
    with gateway(script) as running:
        connection = post_and_keep(running.url, "/api/chat", {**CHAT, "stream": stream})
        script.wait_for(lambda s: s.fates == ["running"] and bool(s._held))
        if spoken and stream:
            assert b"200 OK" in read_some(connection)
        connection.close()
        script.wait_for(lambda s: s.fates == ["dropped"])
        assert text_of(post(running, "/api/chat", CHAT, stream=False).json()) == "next"


def test_a_queued_client_that_leaves_never_reaches_the_upstream() -> None:
    script = Script([event("a"), Hold(), *answer("b")], answer("next"))
    with gateway(script, max_queue=1) as running:
        first = post_and_keep(running.url, "/api/chat", asking(1))
        script.wait_for(lambda s: bool(s._held))
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
    """A request that waits in the queue; asked again while there is no place."""
    for _ in range(500):
        connection = post_and_keep(running.url, "/api/chat", body)
        settle(running)
        connection.setblocking(False)
        try:
            assert b" 503 " in read_some(connection)
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
        script.wait_for(lambda s: bool(s._held))
        for number in (1, 2, 3):
            connections.append(post_and_keep(running.url, "/api/chat", asking(number)))
            settle(running)
        refused = post(running, "/api/chat", CHAT)
        text = "server busy, please try again.  maximum pending requests exceeded"
        assert (refused.status_code, refused.json()) == (503, {"error": text})
        script.release()
        script.wait_for(lambda s: s.fates == ["done"] * 4)
        assert [body["messages"][0]["content"] for body in script.bodies] == ["0", "1", "2", "3"]
        for connection in connections:
            connection.close()


def asking(number: int) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": str(number)}]}


def test_many_at_once_get_their_own_answers() -> None:
    script = Script(*(answer(str(number)) for number in range(12)))
    with gateway(script) as running, ThreadPoolExecutor(12) as pool:
        asked = [pool.submit(post, running, "/api/chat", asking(number), stream=False) for number in range(12)]
        said = {one.result(20).json()["message"]["content"] for one in asked}
        assert said == {str(number) for number in range(12)} and len(script.bodies) == 12


def test_the_rest_of_the_api_answers_during_a_generation() -> None:
    script = Script([event("a"), Hold()])
    with gateway(script) as running, httpx.Client(base_url=running.url, trust_env=False, timeout=5) as client:
        busy = post_and_keep(running.url, "/api/chat", CHAT)
        script.wait_for(lambda s: bool(s._held))
        for _ in range(2):  # the first may open the connection
            answers = [client.get("/api/tags"), client.get("/api/ps"), client.post("/api/show", json={"name": MODEL})]
            unknown = client.post("/api/show", json={"model": "x"})
        assert [one.status_code for one in answers] == [200] * 3
        assert (unknown.status_code, unknown.json()) == (404, {"error": "model 'x' not found"})
        assert min(one.elapsed.total_seconds() for one in answers) < 0.05
        busy.close()


# --- load, unload, models --------------------------------------------------------------------------------------------


@BOTH
def test_empty_requests_load_and_unload(path: str, body: dict[str, Any]) -> None:
    empty = {"model": MODEL, "messages": [], "prompt": ""}
    with gateway(Script(answer("x"))) as running:
        loaded, ps = post(running, path, empty, keep_alive="5m"), httpx.get(running.url + "/api/ps", trust_env=False)
        assert loaded.json()["done_reason"] == "load" and loaded.json()["done"] is True
        assert [entry["context_length"] for entry in ps.json()["models"]] == [4096]
        assert post(running, path, empty, keep_alive=0).json()["done_reason"] == "unload"
        assert httpx.get(running.url + "/api/ps", trust_env=False).json() == {"models": []}
        assert post(running, path, empty, keep_alive="x").status_code == 400
        assert running.backend.keep_alives == [300.0, 0] and running.script.bodies == []


def test_the_requests_keep_alive_reaches_the_model() -> None:
    with gateway(Script(answer("x"))) as running:
        for value in (-1, "30m", None):
            post(running, "/api/chat", CHAT, keep_alive=value)
        settle(running)  # the model is given back after the answer's last byte
        assert running.backend.keep_alives == [float("inf"), 1800.0, None]


def test_show_tells_one_context_length() -> None:
    metadata = {"llama.context_length": 8192, "llama.rope.scaling.original_context_length": 4096}
    facts = GgufFacts(architecture="llama", context_length=8192, metadata=metadata)
    with gateway(Script(answer("x")), facts=facts) as running:
        info = post(running, "/api/show", {"name": MODEL}).json()["model_info"]
    assert {name: value for name, value in info.items() if "context_length" in name} == {"llama.context_length": 8192}


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"think": True}, f'"{MODEL}" does not support thinking'),
        ({"tools": [{"type": "function"}]}, "tools is not supported by localgif: leave it out"),
        ({"logprobs": True}, "logprobs is not supported by localgif: leave it out"),
        ({"messages": [{**HI[0], "images": ["aGk="]}]}, f'"{MODEL}" does not support images'),
    ],
)
def test_what_the_model_cannot_do_is_refused(extra: dict[str, Any], words: str) -> None:
    with gateway(Script(answer("x"))) as running:
        response = post(running, "/api/chat", CHAT, **extra)
        assert (response.status_code, response.json()) == (400, {"error": words})
        assert post(running, "/api/chat", CHAT, think=False).status_code == 200
        assert "chat_template_kwargs" not in running.script.bodies[0]


# --- HTTP ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/nowhere", None, 404),
        ("POST", "//api/chat", CHAT, 404),
        ("POST", "/api/embed", {}, 404),
        ("GET", "/api/chat", None, 405),
        ("POST", "/api/tags", {}, 405),
        ("POST", "/api/chat", None, 400),
        ("POST", "/api/chat", [1], 400),
        ("POST", "/api/chat", {"model": "x", "messages": HI}, 404),
        ("POST", "/api/generate", {"model": "", "prompt": "x"}, 404),
        ("POST", "/api/show", {}, 400),
        ("POST", "/api/pull", {"model": "x"}, 501),
        ("POST", "/api/push", {"model": "x"}, 501),
        ("POST", "/api/create", {"model": "x"}, 501),
        ("DELETE", "/api/delete", {"model": "x"}, 501),
        ("POST", "/v1/chat/completions", {"model": "x"}, 404),
    ],
)
def test_every_failure_is_a_string(method: str, path: str, body: Any, status: int) -> None:
    with gateway(Script(answer("x"))) as running:
        with httpx.Client(trust_env=False) as client:
            response = client.request(
                method, running.url + path, content=b"" if body is None else json.dumps(body).encode()
            )
        assert response.status_code == status and response.json().keys() == {"error"}
        assert isinstance(response.json()["error"], str) and running.script.bodies == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 403),
        ({"Host": "evil.example:80"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Host": "169.254.1.1"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "localhost:1234"}, 200),
        ({"Host": "[::1]:1234"}, 200),
        ({"Host": "127.0.0.2"}, 200),
        ({"Origin": "http://localhost:3000"}, 200),
    ],
)
def test_only_local_callers_are_answered(headers: dict[str, str], status: int) -> None:
    with gateway(Script(answer("x"))) as running:
        response = httpx.get(running.url + "/api/version", headers=headers, trust_env=False)
    assert response.status_code == status
    assert status == 200 or isinstance(response.json()["error"], str)


def test_it_says_what_ollama_says() -> None:
    with gateway(Script(answer("x"))) as running, httpx.Client(base_url=running.url, trust_env=False) as client:
        assert client.get("/").text == "Ollama is running"
        assert [client.head(path).status_code for path in ("/", "/api/version", "/api/tags")] == [200] * 3
        version = client.get("/api/version").json()["version"]
        assert tuple(map(int, version.split("."))) >= (0, 12, 6)
