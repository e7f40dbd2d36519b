"""The embedded endpoint as a real child with real weights, asked by unmodified clients over real HTTP."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any

import httpx
import ollama
import pytest

from localgif.endpoint.child import RunningEndpoint
from localgif.endpoint.discover import check_ollama
from localgif.errors import ModelMissing
from localgif.records import ServedModel
from tests.endpoint.gateway_kit import GREEDY, HI, post_and_keep


def chat(http: httpx.Client, model: ServedModel, **extra: Any) -> httpx.Response:
    return http.post("/api/chat", json={"model": model.name, "messages": HI, "options": GREEDY, **extra})


def warm(client: ollama.Client, served: ServedModel, messages: list[dict[str, str]]) -> None:
    """Have the prompt read: reading it and finding it in the cache differ in the last bits of the numbers."""
    client.chat(served.name, messages, options={"num_predict": 0})


def test_what_it_says_about_the_model(client: ollama.Client, served: ServedModel) -> None:
    (entry,) = client.list().models
    assert (entry.model, entry.digest, entry.size) == (served.name, served.digest, served.size)
    assert entry.details is not None and entry.details.quantization_level == "Q4_1"
    shown = client.show(served.name)
    assert shown.modelinfo is not None and shown.modelinfo["llama.context_length"] == 8192
    assert shown.template and "im_start" in shown.template and shown.capabilities == ["completion"]
    (loaded,) = client.ps().models
    assert (loaded.model, loaded.context_length) == (served.name, served.num_ctx)
    assert loaded.expires_at is not None and loaded.expires_at > datetime.now(UTC)


def test_streamed_and_whole_answers_are_the_same_text(client: ollama.Client, served: ServedModel) -> None:
    warm(client, served, HI)
    whole = client.chat(served.name, HI, options=GREEDY)
    pieces = list(client.chat(served.name, HI, options=GREEDY, stream=True))
    text = "".join(piece.message.content or "" for piece in pieces)
    assert text == whole.message.content and text
    assert [piece.done for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert (whole.done_reason, whole.eval_count, pieces[-1].eval_count) == ("length", 12, 12)
    assert len(pieces) == 13  # one line a token, and the last
    assert pieces[-1].prompt_eval_count == whole.prompt_eval_count and (whole.prompt_eval_count or 0) > 20


def test_generate_with_a_system_is_chat_with_two_messages(client: ollama.Client, served: ServedModel) -> None:
    messages = [{"role": "system", "content": "Be brief."}, *HI]
    warm(client, served, messages)
    said = client.chat(served.name, messages, options=GREEDY)
    generated = client.generate(served.name, HI[0]["content"], system="Be brief.", options=GREEDY)
    streamed = list(client.generate(served.name, HI[0]["content"], system="Be brief.", options=GREEDY, stream=True))
    assert generated.response == said.message.content == "".join(piece.response or "" for piece in streamed)
    assert generated.prompt_eval_count == said.prompt_eval_count
    assert (generated.eval_count, generated.done_reason) == (12, "length")


def test_durations_add_up(http: httpx.Client, served: ServedModel) -> None:
    line = chat(http, served, stream=False).json()
    parts = line["load_duration"] + line["prompt_eval_duration"] + line["eval_duration"]
    assert line["total_duration"] + 1_000_000 >= parts and parts > 0


def test_the_same_seed_gives_the_same_text(client: ollama.Client, served: ServedModel) -> None:
    warm(client, served, HI)
    texts = {client.chat(served.name, HI, options={**GREEDY, "temperature": 1.0}).message.content for _ in range(3)}
    assert len(texts) == 1


@pytest.mark.parametrize("stop", ["Red", ["zzz", "Red"]])
def test_a_stop_string_ends_the_answer_and_is_not_in_it(http: httpx.Client, served: ServedModel, stop: Any) -> None:
    whole = chat(http, served, stream=False).json()["message"]["content"]
    assert "Red" in whole
    stopped = chat(http, served, stream=False, options={**GREEDY, "stop": stop}).json()
    assert stopped["message"]["content"].rstrip() == whole.split("Red")[0].rstrip() and stopped["done_reason"] == "stop"


def test_a_schema_is_kept(client: ollama.Client, served: ServedModel) -> None:
    schema = {"type": "object", "properties": {"count": {"type": "integer"}}, "required": ["count"]}
    reply = client.chat(served.name, HI, format=schema, options={"temperature": 0, "num_predict": 60})
    assert reply.done_reason == "stop" and isinstance(json.loads(reply.message.content or "")["count"], int)
    with pytest.raises(ollama.ResponseError) as caught:
        client.chat(served.name, HI, format={"type": "nonsense"})
    assert caught.value.status_code == 400


@pytest.mark.parametrize("stream", [True, False])
def test_a_prompt_that_does_not_fit_is_refused_not_cut(http: httpx.Client, served: ServedModel, stream: bool) -> None:
    response = chat(http, served, stream=stream, messages=[{"role": "user", "content": "colour " * 3000}])
    assert response.status_code == 400
    assert "exceeds the available context size (512 tokens)" in response.json()["error"]


def test_a_smaller_window_is_kept(http: httpx.Client, served: ServedModel) -> None:
    prompt = chat(http, served, stream=False).json()["prompt_eval_count"]
    refused = chat(http, served, options={"num_ctx": prompt})
    assert refused.status_code == 400 and f"context size ({prompt} tokens)" in refused.json()["error"]
    cut = chat(http, served, stream=False, options={"num_ctx": prompt + 4, "temperature": 0}).json()
    assert (cut["done_reason"], cut["prompt_eval_count"] + cut["eval_count"]) == ("length", prompt + 4)


def test_an_answer_ends_with_the_window(http: httpx.Client, served: ServedModel) -> None:
    filler = [{"role": "user", "content": "colour " * 440 + "Tell a long story."}]
    line = chat(http, served, stream=False, messages=filler, options={"temperature": 0, "seed": 1}).json()
    assert line["prompt_eval_count"] + line["eval_count"] <= served.num_ctx
    assert line["done_reason"] == "length" or line["eval_count"] < served.num_ctx - line["prompt_eval_count"]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("words", [5, 440], ids=["writing", "reading the prompt"])
def test_a_client_that_leaves_frees_the_engine(
    endpoint: RunningEndpoint, http: httpx.Client, served: ServedModel, stream: bool, words: int
) -> None:
    # Another prompt each time: a cached one would be read in no time.
    messages = [{"role": "user", "content": f"{time.monotonic_ns()} " + "story " * words}]
    body = {"model": served.name, "messages": messages, "stream": stream, "options": {"num_predict": 400}}
    connection = post_and_keep(endpoint.url, "/api/chat", body)
    if stream and words == 5:
        assert b"200 OK" in connection.recv(65536)
    else:
        http.get("/api/version")  # behind it in the event loop: it is with the engine now, or about to be
    connection.close()
    # The next answer waits for the engine; a generation for nobody would go on for many seconds.
    began = time.monotonic()
    assert chat(http, served, stream=False, options={"num_predict": 1}).status_code == 200
    assert time.monotonic() - began < 8


def test_unload_and_load_again_even_when_the_client_leaves(
    endpoint: RunningEndpoint, client: ollama.Client, served: ServedModel
) -> None:
    assert client.generate(served.name, keep_alive=0).done_reason == "unload"
    assert client.ps().models == []
    post_and_keep(endpoint.url, "/api/generate", {"model": served.name}).close()
    deadline = time.monotonic() + 30
    while not client.ps().models:  # nobody waits for the load any more; it goes on
        assert time.monotonic() < deadline
        client.list()
    assert client.chat(served.name, HI, options=GREEDY).message.content


def test_other_answers_are_quick_during_a_load(http: httpx.Client, client: ollama.Client, served: ServedModel) -> None:
    client.generate(served.name, keep_alive=0)
    with http.stream("POST", "/api/chat", json={"model": served.name, "messages": HI, "options": GREEDY}) as loading:
        took = [http.post("/api/show", json={"name": served.name}).elapsed.total_seconds() for _ in range(5)]
        assert json.loads(loading.read().splitlines()[-1])["done"] is True
    assert min(took) < 0.05


def test_preflight_knows_the_server_and_the_model(endpoint: RunningEndpoint, served: ServedModel) -> None:
    info = check_ollama(endpoint.url + "/", served.name.upper())
    assert (info.model, info.digest, info.context_length) == (served.name, served.digest, 8192)
    with pytest.raises(ModelMissing, match=r"smollm2:135m") as caught:
        check_ollama(endpoint.url, "smollm:135m")
    assert "ollama pull smollm:135m" in caught.value.remedy


def test_memory_and_life_are_reported(endpoint: RunningEndpoint, served: ServedModel) -> None:
    assert endpoint.alive() and endpoint.death_message() == ""
    assert endpoint.peak_memory() > served.size
