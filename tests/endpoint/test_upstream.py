"""The gateway in front of other servers: field names, counts, windows, loading, and a real llama.cpp server."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import httpx
import ollama
import pytest

from localgif.endpoint import upstream
from localgif.endpoint.child import RunningEndpoint, embedded_endpoint
from localgif.endpoint.clients import Animator, Reflector
from localgif.endpoint.discover import find_model
from localgif.endpoint.ollama_request import read_call
from localgif.endpoint.upstream import Upstream, adapted, counting_request
from localgif.errors import EndpointError
from localgif.models.find import Weights
from localgif.records import Dialect, RemoteModel, ServeConfig
from localgif.run.roles import open_roles
from localgif.settings import EndpointSettings, Role
from tests.support.gateway_kit import (
    DONE,
    GREEDY,
    HI,
    MODEL,
    Hold,
    Script,
    Status,
    answer,
    chat_ollama,
    event,
    gateway,
    in_thread,
    never,
    post,
    post_and_keep,
    serving_app,
    usage,
)
from tests.support.kit import Notes, model, settings
from tests.support.llama_server import KEY, NAME, WINDOW, LlamaServer, llama_server

CHAT = {"model": MODEL, "messages": HI}
EXCEEDS = "exceeds the available context size"


def other(dialect: Dialect) -> Upstream:
    return Upstream("http://127.0.0.1:1", "", "there", 4096, dialect, ours=False)


# --- dialects --------------------------------------------------------------------------------------------------------


def test_vllm_gets_its_own_names_and_none_that_it_would_ignore() -> None:
    said = [{"role": "assistant", "content": "a", "thinking": "hm"}]
    options = {"repeat_penalty": 1.2, "repeat_last_n": 5, "typical_p": 0.5, "min_p": 0.1}
    call = read_call("chat", {"model": "m", "messages": [*HI, *said], "think": "high", "options": options})
    body = adapted(call.body, other("vllm"))
    assert (body["model"], body["repetition_penalty"], body["min_p"], body["top_k"]) == ("there", 1.2, 0.1, 40)
    assert not {"repeat_penalty", "repeat_last_n", "typical_p"} & body.keys()
    assert body["reasoning_effort"] == "high" and body["chat_template_kwargs"]["enable_thinking"] is True
    assert body["messages"][1] == {"role": "assistant", "content": "a", "reasoning": "hm"}
    assert call.body["repeat_penalty"] == 1.2 and call.body["messages"][1]["reasoning_content"] == "hm", "untouched"
    for dialect in ("llama.cpp", "other"):
        assert adapted(call.body, other(dialect)) == {**call.body, "model": "there"}


def test_each_kind_counts_in_its_own_way() -> None:
    body = read_call("chat", {"model": "m", "messages": HI, "think": False}).body
    way = counting_request(body, other("vllm"))
    assert way is not None and (way[0], way[2]) == ("/tokenize", "count")
    kwargs = {"enable_thinking": False}
    assert way[1] == {"model": "there", "messages": HI, "chat_template_kwargs": kwargs, "add_generation_prompt": True}
    way = counting_request(body, other("llama.cpp"))
    assert way is not None and (way[0], way[2]) == ("/v1/chat/completions/input_tokens", "input_tokens")
    assert counting_request(body, other("other")) is None


# --- answers that are read in spite of their form -------------------------------------------------------------------


def told(*steps: Any, **more: Any) -> dict[str, Any]:
    """The gateway's whole answer to one question."""
    with gateway(Script(steps), dialect="other", ours=False) as running:
        running.script.tokens = -1
        found: dict[str, Any] = post(running.url, "/api/chat", {**CHAT, "stream": False}, **more).json()
        return found


PARTS = [
    {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
    {"type": "text", "text": "a\u0085\u2028\ud83d"},
]
WHOLE = {"choices": [{"message": {"content": "whole"}, "finish_reason": "stop"}]}


def test_every_form_of_a_complete_answer_is_taken() -> None:
    assert told(event("a"), event(finish="stop"), usage(), "end")["message"]["content"] == "a", "no [DONE]"
    assert told(event("a"), usage(), DONE, "end")["done_reason"] == "stop", "no finish reason"
    message = told(event(PARTS), event(finish="stop"), DONE, "end")["message"]  # type: ignore[arg-type]
    assert (message["content"], message["thinking"]) == ("a\u0085\u2028\ud83d", "hm")
    assert told(Status(200, json.dumps(WHOLE)))["message"]["content"] == "whole", "not streamed at all"
    assert "error" in told(event("a"), "end"), "neither: it may be half of one"


@pytest.mark.parametrize(
    "error",
    [
        {"error": {"message": "The input (900 tokens) is longer than the model's context length (512 tokens)."}},
        {"error": {"message": f"request (900 tokens) {EXCEEDS}", "code": 400}},
        {"object": "error", "message": "maximum context length is 512 tokens. However, you requested 900", "code": 400},
    ],
)
def test_an_overflow_inside_a_stream_is_a_400(error: Any) -> None:
    with gateway(Script([b"data: " + json.dumps(error).encode() + b"\n\n", "end"]), dialect="other", ours=False) as it:
        response = post(it.url, "/api/chat", CHAT)
        assert response.status_code == 400 and EXCEEDS in response.json()["error"]


@pytest.mark.parametrize("steps", [
    [b"data: " + b" " * 70_000] * 20, [b": ping\n\n" * 8000] * 40, [event("x" * 60_000)] * 30,
], ids=["a line", "nothing", "text"])  # fmt: skip
def test_an_answer_that_does_not_stop_is_cut_off(steps: Any) -> None:
    answer = told(*steps, Hold(), options={"num_predict": 4})
    assert "does not stop" in answer["error"]


def test_deep_json_is_a_broken_answer() -> None:
    assert "not JSON" in told(b"data: " + b"[" * 100_000 + b"\n\n", "end")["error"]


def test_options_that_a_server_forbids_are_left_out_from_then_on_and_named() -> None:
    refusals = [
        Status(400, json.dumps({"error": {"message": "Unrecognized request argument supplied: min_p"}})),
        Status(422, json.dumps({"detail": [{"type": "extra_forbidden", "loc": ["body", "top_k"], "input": 40}]})),
    ]
    with gateway(Script(*([one] for one in refusals), answer("x")), dialect="other", ours=False) as running:
        first = post(running.url, "/api/chat", {**CHAT, "stream": False}).json()
        assert (first["message"]["content"], first["left_out"]) == ("x", ["min_p", "top_k"])
        post(running.url, "/api/chat", {**CHAT, "stream": False})
    assert [{"min_p", "top_k"} & body.keys() for body in running.script.bodies] == [
        {"min_p", "top_k"}, {"top_k"}, set(), set()
    ]  # fmt: skip
    with gateway(Script([Status(400, "max_tokens must be positive")]), dialect="other", ours=False) as running:
        assert post(running.url, "/api/chat", CHAT).status_code == 400 and len(running.script.bodies) == 1


def test_what_a_dialect_makes_of_an_option_is_left_out_too() -> None:
    """Otherwise the gateway would ask forever."""
    refusal = Status(400, json.dumps({"message": "repetition_penalty: Extra inputs are not permitted"}))
    with gateway(Script([refusal], [refusal], answer("x")), dialect="vllm", ours=False) as running:
        first = post(running.url, "/api/chat", {**CHAT, "stream": False})
        assert first.status_code == 400, "refused again, so it was not about this field"
        assert post(running.url, "/api/chat", {**CHAT, "stream": False}).json()["left_out"] == ["repetition_penalty"]
    assert ["repetition_penalty" in body for body in running.script.bodies] == [True, False, False]


def test_a_mark_of_byte_order_hides_no_event() -> None:
    assert told(b"\xef\xbb\xbf" + event("a"), event(finish="stop"), DONE, "end")["message"]["content"] == "a"


def test_json_that_one_python_reads_and_another_cannot_is_a_broken_answer() -> None:
    deep = {"content": "x"}
    for _ in range(120):
        deep = {"content": [deep]}  # type: ignore[dict-item]
    assert "not JSON" in told(b"data: " + json.dumps({"choices": [{"delta": deep}]}).encode() + b"\n\n", "end")["error"]


# --- windows ---------------------------------------------------------------------------------------------------------


def test_a_smaller_window_is_enforced_and_a_larger_one_refused() -> None:
    with gateway(Script(answer("x"))) as running:
        running.script.tokens = 60
        for options in ({"num_ctx": 64}, {"num_ctx": 64, "num_predict": 2}, {"num_ctx": 4096}):
            assert post(running.url, "/api/chat", CHAT, options=options).status_code == 200
        refused = post(running.url, "/api/chat", CHAT, options={"num_ctx": 60})
        larger = post(running.url, "/api/chat", CHAT, options={"num_ctx": 9999})
        assert [body.get("max_tokens") for body in running.script.bodies] == [4, 2, None]
    text = "request (60 tokens) exceeds the available context size (60 tokens), try increasing it"
    assert (refused.status_code, refused.json()) == (400, {"error": text})
    assert larger.status_code == 400 and "9999" in larger.json()["error"] and "4096" in larger.json()["error"]


@pytest.mark.parametrize("stream", [True, False])
def test_a_server_that_cuts_silently_is_found_out(stream: Any) -> None:
    long = [{"role": "user", "content": "a word and then another one. " * 300}]
    with (
        gateway(Script(answer("x")), dialect="other", ours=False) as running,
        ollama.Client(running.url, trust_env=False) as client,
    ):
        assert client.chat(MODEL, HI).message.content == "x"
        with pytest.raises(ollama.ResponseError, match=EXCEEDS):
            list(client.chat(MODEL, long, stream=stream))  # the usage of the script says 7 tokens


@pytest.mark.parametrize("dialect", ["vllm", "llama.cpp"])
def test_somebody_elses_window_is_counted_before_every_request(dialect: Dialect) -> None:
    with gateway(Script(answer("x")), dialect=dialect, ours=False) as running:
        running.script.tokens = 4090
        with ollama.Client(running.url, trust_env=False) as client:
            for options in ({}, {"num_predict": 3}, {"num_predict": 100}, {"num_predict": 0}):
                client.chat(MODEL, HI, options=options)
            running.script.tokens = 4096
            with pytest.raises(ollama.ResponseError, match=r"request \(4096 tokens\) exceeds .* \(4096 tokens\)"):
                client.chat(MODEL, HI)
    assert [body["max_tokens"] for body in running.script.bodies] == [6, 3, 6, 1]
    assert len(running.script.counted) == 5


def test_a_server_without_token_counts_decides_itself() -> None:
    refusal = Status(400, json.dumps({"error": {"message": "maximum context length is 9 tokens, 12 input tokens"}}))
    script = Script(answer("x"), [refusal])
    script.tokens = -1  # answered with a 404
    with gateway(script, dialect="vllm", ours=False) as running, ollama.Client(running.url, trust_env=False) as client:
        assert client.chat(MODEL, HI, options={"num_predict": 5}).message.content == "x"
        with pytest.raises(ollama.ResponseError, match=r"request \(12 tokens\) exceeds .* \(9 tokens\)"):
            client.chat(MODEL, HI)
    assert [body.get("max_tokens") for body in script.bodies] == [5, None]


def test_a_broken_count_is_a_refused_request() -> None:
    with gateway(Script(answer("x")), dialect="vllm", ours=False) as running:
        running.script.tokens = "many"  # type: ignore[assignment]
        response = post(running.url, "/api/chat", CHAT)
    assert response.status_code == 502 and "count" in response.json()["error"] and running.script.bodies == []


# --- loading, names, proxies -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [True, False])
def test_a_server_that_is_still_loading_is_waited_for(stream: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "POLL_SECONDS", 0.01)
    loading = Status(503, '{"error": {"message": "Loading model", "type": "unavailable_error", "code": 503}}')
    with gateway(Script([loading], [loading], answer("up"))) as running:
        response = post(running.url, "/api/chat", CHAT, stream=stream)
        assert response.status_code == 200 and "up" in response.text and len(running.script.bodies) == 3
    monkeypatch.setattr(upstream, "LOAD_SECONDS", 0.1)
    with gateway(Script([loading])) as running:
        response = post(running.url, "/api/chat", CHAT, stream=stream)
        assert response.status_code == 500 and "did not load" in response.json()["error"]


def test_a_client_that_leaves_while_the_server_loads_leaves_the_queue() -> None:
    script = Script([Hold(), Status(503, "Loading model")], answer("next"))
    with gateway(script) as running:
        connection = post_and_keep(running.url, "/api/chat", CHAT)
        script.wait_until_held()
        connection.close()
        script.wait_for(lambda s: s.fates == ["dropped"])
        assert post(running.url, "/api/chat", CHAT, stream=False).json()["message"]["content"] == "next"


def test_a_name_with_a_slash_goes_through_every_client() -> None:
    name = "some/Model-1B"
    with gateway(Script(answer("x")), dialect="other", ours=False, name=name) as running:
        with Animator(model("animator", running.url, model=name), running.url) as animator:
            assert animator.write([("user", "hi")], 1, never).text == "x"
        for provider in ("ollama", "ollama_chat"):
            chosen = model("reflector", running.url, model=name, litellm=f"{provider}/{name}")
            assert Reflector(chosen, running.url).write("hi", 1, never, 9).text == "x"


def test_a_dead_proxy_does_not_reach_the_gateways_own_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with in_thread(lambda: serving_app(Script(answer("x")).app())) as url:
        remote = RemoteModel(name=MODEL, url=url, dialect="other", server="", window=4096)
        with embedded_endpoint(ServeConfig(remotes=(remote,))) as endpoint, chat_ollama(endpoint.url) as chat:
            assert chat.invoke("hi").content == "x"


# --- a real llama.cpp server that somebody else started --------------------------------------------------------------


@pytest.fixture
def there(front: RunningEndpoint) -> Any:
    with ollama.Client(front.url, trust_env=False) as client:
        yield client


def test_the_listings_show_the_server_behind(there: ollama.Client, theirs: LlamaServer) -> None:
    (entry,) = there.list().models
    assert entry.model == NAME and entry.details is not None and entry.details.quantization_level == "Q4_1"
    assert not entry.digest, "nobody knows the digest of weights on another server"
    shown = there.show(NAME)
    assert shown.modelinfo is not None and shown.modelinfo["unknown.context_length"] == 8192
    (loaded,) = there.ps().models
    assert loaded.context_length == WINDOW


def test_a_run_starts_a_gateway_and_stores_no_key(theirs: LlamaServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SERVERS_KEY", KEY)
    mine = EndpointSettings(name="mine", kind="openai", url=theirs.url, api_key_env="MY_SERVERS_KEY")
    values: dict[str, Any] = {"endpoint": mine, "model": NAME, "num_ctx": WINDOW, "num_predict": 16}
    roles: tuple[Role, Role] = ("animator", "reflector")
    run = settings(theirs.url, **{role: model(role, theirs.url, **values) for role in roles})
    with open_roles(run, Notes()) as opened:
        assert opened.animator_url == opened.reflector_url != theirs.url and opened.explain() == ""
        for identity in opened.identities:
            assert (identity.kind, identity.digest) == ("openai", None) and identity.server.startswith("llama.cpp")
            assert KEY not in identity.model_dump_json() + run.model_dump_json()
        with Animator(run.animator, opened.animator_url) as animator:
            reply = animator.write([("system", "You are brief."), ("user", "Count to fifty in words.")], 1, never)
        assert (reply.done_reason, reply.output_tokens) == ("length", 16) and (reply.prompt_tokens or 0) > 10
        for provider in ("ollama", "ollama_chat"):
            asked = Reflector(model("reflector", "", **values, litellm=f"{provider}/{NAME}"), opened.reflector_url)
            assert asked.write("Name one colour.", 1, never, 16).text
        with pytest.raises(EndpointError, match="does not fit into the window"):
            asked.write("word " * 2000, 1, never, 24)


def test_a_prompt_that_does_not_fit_is_refused_with_its_size(there: ollama.Client) -> None:
    for stream in (True, False):
        with pytest.raises(ollama.ResponseError, match=r"request \(20\d\d tokens\) exceeds .* \(512 tokens\)") as told:
            list(there.chat(NAME, [{"role": "user", "content": "word " * 2000}], stream=stream))
        assert told.value.status_code == 400


def test_an_answer_ends_with_the_window_though_the_server_would_shift_it(there: ollama.Client) -> None:
    filler = [{"role": "user", "content": "colour " * 440 + "Tell a long story."}]
    # A small model may come to an end by itself: then it is asked again.
    for seed in range(5):
        said = there.chat(NAME, filler, options={"seed": seed, "temperature": 1.5})
        assert (said.prompt_eval_count or 0) + (said.eval_count or 0) <= WINDOW
        if said.done_reason == "length":
            break
    else:
        pytest.fail("no answer reached the end of the window")


def test_thoughts_come_apart_and_the_servers_end_is_reported(smollm2: Weights) -> None:
    """SmolLM2 under the template of a thinking model: what it writes after the opened tag is thinking, not content."""
    with llama_server(smollm2.path, thinks=True) as server:
        found = find_model(server.url, KEY, NAME, 512, "[models.x]")
        with (
            embedded_endpoint(ServeConfig(remotes=(found,))) as front,
            ollama.Client(front.url, trust_env=False) as client,
            httpx.Client(base_url=front.url, trust_env=False, timeout=60) as http,
        ):
            assert "thinking" in (client.show(NAME).capabilities or [])
            thought = client.chat(NAME, HI, think=True, options=GREEDY)
            pieces = list(client.chat(NAME, HI, think=True, options=GREEDY, stream=True))
            said = client.chat(NAME, HI, think=False, options=GREEDY)
            assert client.chat(NAME, HI, think="low", options=GREEDY).message.thinking
            assert thought.message.thinking and not thought.message.content and thought.done_reason == "length"
            assert "".join(piece.message.thinking or "" for piece in pieces) == thought.message.thinking
            assert said.message.content and not said.message.thinking and "<think>" not in said.message.content
            story = [{"role": "user", "content": "Tell a long story."}]  # fills the 400 tokens
            body = {"model": NAME, "messages": story, "think": True, "options": {**GREEDY, "num_predict": 400}}
            with http.stream("POST", "/api/chat", json=body) as response:
                lines = response.iter_lines()
                assert '"done":false' in next(lines)
                os.kill(server.pid, signal.SIGKILL)
                rest = list(lines)
            assert rest[-1].startswith('{"error":') and not any('"done":true' in line for line in rest)
            after = http.post("/api/chat", json=body)
            assert after.status_code == 502 and "upstream server failed" in after.json()["error"]
            assert not front.death_message()
