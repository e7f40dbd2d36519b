"""The embedded endpoint with real weights, asked by unmodified clients over real HTTP; and how many threads it gets."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import ollama
import pytest

from localgif.agent import form
from localgif.agent.guide import Finished, guided
from localgif.endpoint.child import RunningEndpoint
from localgif.endpoint.clients import Animator
from localgif.endpoint.engine import Engine, physical_cores, quota_cores, usable_cores
from localgif.endpoint.upstream import LoadFailed, LoadKilled
from localgif.records import Reply, ServedModel
from localgif.tasks.outline import outline
from localgif.tasks.task import Targets
from tests.support.gateway_kit import GREEDY, HI, engine_seconds, post_and_keep
from tests.support.kit import model


def chat(http: httpx.Client, model: ServedModel, **extra: Any) -> httpx.Response:
    return http.post("/api/chat", json={"model": model.name, "messages": HI, "options": GREEDY, **extra})


def warm(client: ollama.Client, served: ServedModel, messages: list[dict[str, str]]) -> None:
    """Have the prompt read: reading it and finding it in the cache differ in the last bits of the numbers."""
    client.chat(served.name, messages, options={"num_predict": 0})


# --- what it says about the model ------------------------------------------------------------------------------------


def test_the_listings_field_by_field(http: httpx.Client, client: ollama.Client, served: ServedModel) -> None:
    client.generate(served.name)
    (entry,) = client.list().models
    assert (entry.model, entry.digest, entry.size) == (served.name, served.digest, served.size)
    assert entry.details is not None and entry.details.quantization_level == "Q4_1"
    (raw,) = http.get("/api/tags").json()["models"]
    assert raw["name"] == raw["model"] == served.name and type(raw["size"]) is int
    assert re.fullmatch(r"[0-9a-f]{64}", raw["digest"]) and raw["details"]["format"] == "gguf"
    assert datetime.fromisoformat(raw["modified_at"]).tzinfo is not None
    (loaded,) = client.ps().models
    assert (loaded.model, loaded.context_length, loaded.size_vram) == (served.name, served.num_ctx, 0)
    assert loaded.expires_at is not None and loaded.expires_at > datetime.now(UTC)


def test_show_by_model_and_by_name(http: httpx.Client, client: ollama.Client, served: ServedModel) -> None:
    by_model = http.post("/api/show", json={"model": served.name}).json()
    assert by_model == http.post("/api/show", json={"name": served.name}).json()
    lengths = [value for name, value in by_model["model_info"].items() if "context_length" in name]
    assert lengths == [8192] and by_model["details"]
    shown = client.show(served.name)
    assert shown.template and "im_start" in shown.template and shown.capabilities == ["completion"]


# --- answers ---------------------------------------------------------------------------------------------------------


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
    parts = [whole.load_duration, whole.prompt_eval_duration, whole.eval_duration]
    assert (whole.total_duration or 0) + 1_000_000 >= sum(part or 0 for part in parts) > 0


def test_generate_with_a_system_is_chat_with_two_messages(client: ollama.Client, served: ServedModel) -> None:
    messages = [{"role": "system", "content": "Be brief."}, *HI]
    warm(client, served, messages)
    said = client.chat(served.name, messages, options=GREEDY)
    generated = client.generate(served.name, HI[0]["content"], system="Be brief.", options=GREEDY)
    streamed = list(client.generate(served.name, HI[0]["content"], system="Be brief.", options=GREEDY, stream=True))
    assert generated.response == said.message.content == "".join(piece.response or "" for piece in streamed)
    assert generated.prompt_eval_count == said.prompt_eval_count
    assert (generated.eval_count, generated.done_reason) == (12, "length")


def test_the_same_seed_gives_the_same_text(client: ollama.Client, served: ServedModel) -> None:
    warm(client, served, HI)
    texts = {client.chat(served.name, HI, options={**GREEDY, "temperature": 1.0}).message.content for _ in range(3)}
    assert len(texts) == 1


def test_a_stop_string_ends_the_answer_and_is_not_in_it(http: httpx.Client, served: ServedModel) -> None:
    whole = chat(http, served, stream=False).json()["message"]["content"]
    assert "Red" in whole
    stops: list[Any] = ["Red", ["zzz", "Red"]]
    for stop in stops:
        stopped = chat(http, served, stream=False, options={**GREEDY, "stop": stop}).json()
        assert stopped["message"]["content"].rstrip() == whole.split("Red")[0].rstrip()
        assert stopped["done_reason"] == "stop"


def test_a_schema_is_kept_and_json_mode_gives_json(client: ollama.Client, served: ServedModel) -> None:
    schema = {"type": "object", "properties": {"count": {"type": "integer"}}, "required": ["count"]}
    reply = client.chat(served.name, HI, format=schema, options={"temperature": 0, "num_predict": 60})
    assert reply.done_reason == "stop" and isinstance(json.loads(reply.message.content or "")["count"], int)
    with pytest.raises(ollama.ResponseError) as caught:
        client.chat(served.name, HI, format={"type": "nonsense"})
    assert caught.value.status_code == 400
    prompt = 'Answer with the JSON object {"colour": "red"} and nothing else.'
    for seed in range(8):  # some answers never end: a cut one is not JSON, and says that it is cut
        options = {"temperature": 0.3, "seed": seed, "num_predict": 80}
        said = client.generate(served.name, prompt, format="json", options=options)
        if said.done_reason == "stop":
            assert isinstance(json.loads(said.response or ""), dict)
            break
    else:
        pytest.fail("no answer came to its end")


# --- the window ------------------------------------------------------------------------------------------------------


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


def test_an_answer_ends_with_the_window(client: ollama.Client, served: ServedModel) -> None:
    filler = [{"role": "user", "content": "colour " * 440 + "Tell a long story."}]
    # Hot, and again when it has come to an end by itself, as a small model may.
    for seed in range(5):
        said = client.chat(served.name, filler, options={"seed": seed, "temperature": 1.5})
        assert (said.prompt_eval_count or 0) + (said.eval_count or 0) <= served.num_ctx
        if said.done_reason == "length":
            break
    else:
        pytest.fail("no answer reached the end of the window")


# --- clients that leave, loads ---------------------------------------------------------------------------------------


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
    # The next answer waits for the engine, which would take many seconds for 400 tokens that no client reads.
    began = engine_seconds(endpoint)
    assert chat(http, served, stream=False, options={"num_predict": 1}).status_code == 200
    assert engine_seconds(endpoint) - began < 2


def test_unload_and_load_again_even_when_the_client_leaves(
    endpoint: RunningEndpoint, http: httpx.Client, client: ollama.Client, served: ServedModel
) -> None:
    assert client.generate(served.name, keep_alive=0).done_reason == "unload"
    assert client.ps().models == []
    post_and_keep(endpoint.url, "/api/generate", {"model": served.name}).close()
    deadline = time.monotonic() + 30
    while not client.ps().models:  # no client waits for the load any more; it continues
        assert time.monotonic() < deadline
        client.list()
    for _ in range(5):  # on a busy machine the model may be there before we can look
        client.generate(served.name, keep_alive=0)
        loading = post_and_keep(endpoint.url, "/api/chat", {"model": served.name, "messages": HI, "options": GREEDY})
        assert http.post("/api/show", json={"name": served.name}).status_code == 200
        during = client.ps().models == []
        assert b" 200 OK" in loading.recv(65536)
        loading.close()
        if during:
            break
    assert during, "other requests are answered during a load"


# --- threads ---------------------------------------------------------------------------------------------------------


def test_cores_are_counted_not_threads(tmp_path: Path) -> None:
    for cpu, siblings in enumerate(("0,2", "1,3", "0,2", "1,3", "4")):
        (tmp_path / f"cpu{cpu}" / "topology").mkdir(parents=True)
        (tmp_path / f"cpu{cpu}" / "topology" / "thread_siblings_list").write_text(f"{siblings}\n")
    assert [physical_cores(allowed, tmp_path) for allowed in ({0, 1, 2, 3, 4}, {0, 2}, {0, 9})] == [3, 1, 2]
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)


@pytest.mark.parametrize(("text", "cores"), [("max 100000", 0), ("150000 100000\n", 2), ("50000 100000", 1), ("", 0)])
def test_quotas_are_rounded_up(text: str, cores: int) -> None:
    assert quota_cores(text) == cores


# --- answers phrase by phrase ----------------------------------------------------------------------------------------


def test_a_real_model_continues_an_answer_phrase_by_phrase(endpoint: RunningEndpoint, served: ServedModel) -> None:
    brief = "a red ball bouncing up and down at the left of a white background"
    read = outline(brief)
    scene = form.Scene('"white"', (form.Figure("CIRCLE", '"red"'),))
    shown = form.program(scene, brief, Targets(frames=24, loop_ms=1000, max_bytes=102400))
    frame = form.frame(shown)
    assert read is not None and frame is not None
    replies: list[Reply] = []
    asked = model("animator", endpoint.url, model=served.name, num_ctx=served.num_ctx, num_predict=48)
    with Animator(asked, endpoint.url) as animator:

        def go_on(text: str, finished: Finished, turn: int) -> Reply:
            messages = [("system", "You write Python."), ("user", f"Draw {brief}."), ("assistant", text)]
            replies.append(animator.write(messages, 1 + turn, finished))
            return replies[-1]

        whole = guided(read, frame, go_on, lambda text: "")
    assert whole not in replies, "the server began a new answer"
    assert replies and whole.output_tokens == sum(reply.output_tokens for reply in replies)
    lines = [line.strip() for line in whole.text.splitlines()]
    phrases = [line for line in lines if line.startswith("# ")]
    assert phrases == ['# "on a white background"', '# "a red ball"', '# "on the left"', '# "moves up and down"']
    assert lines[lines.index('# "on the left"') + 1].startswith("x")
    assert whole.text.startswith(frame.beginning) and whole.text.endswith(frame.end)


# --- a load that ends early ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "kind"), [("SIGKILL", LoadKilled), ("SIGABRT", LoadFailed)])
def test_a_load_that_somebody_kills_says_nothing_about_the_weights(
    served: ServedModel, monkeypatch: pytest.MonkeyPatch, number: str, kind: type[LoadFailed]
) -> None:
    died = f"import os, signal, sys; sys.stdin.readline(); os.kill(os.getpid(), signal.{number})"
    monkeypatch.setattr("localgif.endpoint.engine.our_python", lambda _: [sys.executable, "-c", died])

    async def load() -> None:
        engine = Engine(served, 1, 60)
        try:
            await engine.acquire()
        finally:
            await engine.close()

    with pytest.raises(LoadFailed, match=f"killed by {number}") as caught:
        asyncio.run(load())
    assert type(caught.value) is kind
