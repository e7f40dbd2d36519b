"""What needs an exact answer: unmodified clients, the gateway, a scripted upstream."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import httpx
import ollama
import pytest
from langchain_ollama import ChatOllama

from localgif.endpoint import upstream
from localgif.endpoint.child import embedded_endpoint
from localgif.endpoint.gguf import GgufFacts
from localgif.records import RemoteModel, ServeConfig
from tests.endpoint.gateway_kit import (
    DONE,
    MODEL,
    Hold,
    Running,
    Script,
    Status,
    Step,
    answer,
    event,
    gateway,
    in_thread,
    serving_app,
    usage,
)

HI = [{"role": "user", "content": "hi"}]
THINKS = GgufFacts(template="{% if enable_thinking %}")


def ask(running: Running, path: str, body: Any) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    with httpx.Client(trust_env=False, timeout=20) as client:
        return client.post(running.url + path, content=content)


@contextlib.contextmanager
def chat_ollama(url: str, model: str = MODEL, **more: Any) -> Iterator[ChatOllama]:
    """An unmodified ChatOllama, whose connections are closed at the end: it has no close of its own."""
    with httpx.HTTPTransport() as transport:
        ours = {"client_kwargs": {"trust_env": False}, "sync_client_kwargs": {"transport": transport}}
        yield ChatOllama(model=model, base_url=url, **ours, **more)


@pytest.fixture
def running() -> Iterator[Running]:
    with gateway(Script(answer("Hel", "lo"))) as running:
        yield running


# --- transport -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "said"), [("/api/chat", {"messages": HI}), ("/api/generate", {"prompt": "hi"})])
def test_unknown_fields_and_options_are_no_matter_and_known_ones_arrive(
    running: Running, path: str, said: dict[str, Any]
) -> None:
    options = {"seed": 7, "temperature": 0.25, "mirostat": 2, "wat": [1], "tfs_z": None}
    response = ask(running, path, {"model": MODEL, **said, "options": options, "shift": True, "wat": {"x": 1}})
    assert response.status_code == 200 and json.loads(response.text.splitlines()[-1])["done"] is True
    (sent,) = running.script.bodies
    assert (sent["seed"], sent["temperature"]) == (7, 0.25) and "wat" not in sent and "mirostat" not in sent


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate", "/api/show"])
def test_bodies_that_are_none(running: Running, path: str) -> None:
    empty = ask(running, path, b"")
    assert (empty.status_code, empty.json()) == (400, {"error": "missing request body"})
    for body in (b"{", b"[]", b"[{}]", b'"x"'):
        refused = ask(running, path, body)
        assert refused.status_code == 400 and isinstance(refused.json()["error"], str)


def test_a_bug_of_ours_is_a_500_with_a_text(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken() -> Any:
        raise RuntimeError("a bug")

    monkeypatch.setattr(running.backend, "acquire", broken)
    response = ask(running, "/api/chat", {"model": MODEL, "messages": HI})
    assert response.status_code == 500 and "RuntimeError: a bug" in response.json()["error"]


def test_it_listens_on_one_address_of_this_machine_only(running: Running) -> None:
    port = urlsplit(running.url).port or 0
    assert httpx.get(f"http://127.0.0.1:{port}/", trust_env=False).status_code == 200
    # A socket on all addresses would answer here.
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port), timeout=5)


def test_slashes_too_many(running: Running) -> None:
    twice = ask(running, "//api/chat", {"model": MODEL, "messages": HI})
    assert twice.status_code == 404 and isinstance(twice.json()["error"], str)
    with ollama.Client(running.url + "/", trust_env=False) as client:
        assert client.chat(MODEL, HI).message.content == "Hello"
    with chat_ollama(running.url + "/") as chat:
        assert chat.invoke("hi").content == "Hello"


# --- models ----------------------------------------------------------------------------------------------------------


def test_chat_ollama_finds_a_model_with_and_without_latest() -> None:
    script = Script(answer("x"))
    with gateway(script, name="smol") as running:
        for name in ("smol", "smol:latest"):
            with chat_ollama(running.url, name, validate_model_on_init=True) as chat:
                assert chat.invoke("hi").content == "x"
        with pytest.raises(ValueError, match="not found"), chat_ollama(running.url, "sm", validate_model_on_init=True):
            pass


def test_names_match_over_http_and_come_back_as_asked() -> None:
    with gateway(Script(answer("x")), name="smol") as running, ollama.Client(running.url, trust_env=False) as client:
        for name in ("smol", "SMOL", "smol:latest", "Smol:Latest"):
            assert client.chat(name, HI).model == name
            assert client.show(name).details is not None
        with pytest.raises(ollama.ResponseError):
            client.chat("smol:1b", HI)


def test_unknown_and_missing_models(running: Running) -> None:
    for path in ("/api/chat", "/api/generate"):
        unknown = ask(running, path, {"model": "x", "messages": HI, "prompt": "hi"})
        assert (unknown.status_code, unknown.json()) == (404, {"error": "model 'x' not found"})
    missing = ask(running, "/api/chat", {"messages": HI})
    assert (missing.status_code, missing.json()) == (400, {"error": "model is required"})
    assert ask(running, "/api/generate", {"prompt": "hi"}).status_code == 404, "as Ollama has it"


# --- inference -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"options": {"temperature": "hot"}}, 'option "temperature" must be of type float32'),
        ({"options": {"num_predict": 1.5}}, 'option "num_predict"'),
        ({"options": {"stop": 1}}, 'option "stop"'),
        ({"format": "yaml"}, "invalid format"),
    ],
)
def test_what_is_wrong_is_a_400_that_names_it(running: Running, extra: dict[str, Any], words: str) -> None:
    for path, said in (("/api/chat", {"messages": HI}), ("/api/generate", {"prompt": "hi"})):
        refused = ask(running, path, {"model": MODEL, **said, **extra})
        assert refused.status_code == 400 and words in refused.json()["error"]
    assert running.script.bodies == []


def test_null_options_are_absent_ones(running: Running) -> None:
    options = {"temperature": None, "seed": None, "stop": None, "num_ctx": None}
    assert ask(running, "/api/chat", {"model": MODEL, "messages": HI, "options": options}).status_code == 200
    (sent,) = running.script.bodies
    assert sent["temperature"] == 0.8 and "seed" not in sent and "stop" not in sent


def test_what_clients_leave_out_or_send_empty(running: Running) -> None:
    messages = [{"role": "user", "content": "hi", "images": []}, {"role": "assistant", "images": []}, *HI]
    body = {"model": MODEL, "messages": messages, "tools": [], "images": [], "format": ""}
    assert ask(running, "/api/chat", body).status_code == 200
    assert [message["content"] for message in running.script.bodies[0]["messages"]] == ["hi", "", "hi"]


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


@pytest.mark.parametrize("value", [300, 300.0, "5m", "1h30m", -1, -1.0, "-1m", 0, "0s", "soon"])
def test_keep_alive_in_all_its_forms(running: Running, value: Any) -> None:
    with ollama.Client(running.url, trust_env=False) as client:
        if value == "soon":
            with pytest.raises(ollama.ResponseError, match="keep_alive") as caught:
                client.chat(MODEL, HI, keep_alive=value)
            assert caught.value.status_code == 400
        else:
            assert client.chat(MODEL, HI, keep_alive=value).message.content == "Hello"


# --- limits and failures ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "broken",
    [["cut"], [usage(), DONE, "end"], [b'data: {"error": {"message": "boom"}}\n\n', "end"], ["end"]],
    ids=["died", "no finish reason", "error event", "ended"],
)
def test_half_an_answer_is_an_error_for_chat_ollama(broken: list[Step]) -> None:
    with (
        gateway(Script([event("half"), *broken])) as running,
        chat_ollama(running.url) as chat,
        pytest.raises(ollama.ResponseError),
    ):
        chat.invoke("hi")


@pytest.mark.parametrize("spoken", [[], [b": ping\n\n", event("a")]], ids=["reading the prompt", "in the answer"])
def test_an_hour_of_silence_breaks_nothing(spoken: list[Step], monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of the gateway's event loop is put forward: a limit of its own would strike at once."""
    script = Script([*spoken, b": ping\n\n", Hold(), *answer("b")])
    ahead = [0.0]
    monkeypatch.setattr(asyncio.SelectorEventLoop, "time", lambda self: time.monotonic() + ahead[0])
    with gateway(script) as running, httpx.Client(trust_env=False, timeout=20) as client:
        body = {"model": MODEL, "messages": HI, "stream": False}
        with in_background(lambda: client.post(running.url + "/api/chat", json=body)) as response:
            script.wait_for(lambda s: bool(s._held))
            ahead[0] = 3600.0
            for _ in range(3):  # the loop turns, with what is due by the new clock first
                httpx.get(running.url + "/api/version", trust_env=False)
            assert script.fates == ["running"]
            script.release()
            assert response().json()["message"]["content"].endswith("b")


@contextlib.contextmanager
def in_background(function: Callable[[], httpx.Response]) -> Iterator[Callable[[], httpx.Response]]:
    """Runs it on a thread; gives a function that waits for what it returned."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(function)
        yield lambda: future.result(20)


@pytest.mark.parametrize("stream", [True, False])
def test_an_upstream_that_is_still_loading_is_waited_for(stream: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "POLL_SECONDS", 0.01)
    loading = Status(503, '{"error": {"message": "Loading model", "type": "unavailable_error", "code": 503}}')
    with gateway(Script([loading], [loading], answer("up"))) as running:
        response = ask(running, "/api/chat", {"model": MODEL, "messages": HI, "stream": stream})
        assert response.status_code == 200 and "up" in response.text
        assert len(running.script.bodies) == 3


def test_an_upstream_that_never_stops_loading_is_a_500(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(upstream, "LOAD_SECONDS", 0.1)
    with gateway(Script([Status(503, '{"error": {"message": "Loading model"}}')])) as running:
        response = ask(running, "/api/chat", {"model": MODEL, "messages": HI})
    assert response.status_code == 500 and "did not load" in response.json()["error"]


def test_a_dead_proxy_does_not_reach_the_gateways_own_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with in_thread(lambda: serving_app(Script(answer("x")).app())) as url:
        remote = RemoteModel(name=MODEL, url=url, dialect="other", server="", window=4096)
        with embedded_endpoint(ServeConfig(remotes=(remote,))) as endpoint, chat_ollama(endpoint.url) as chat:
            assert chat.invoke("hi").content == "x"
