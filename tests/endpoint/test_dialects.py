"""Other people's servers: names of fields, counts, full windows, thoughts; and what is read out of their listings."""

from __future__ import annotations

import itertools
import json
from typing import Any

import httpx
import ollama
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from localgif.endpoint import discover
from localgif.endpoint.clients import Animator, Reflector
from localgif.endpoint.discover import check_ollama, find_model, find_models
from localgif.endpoint.gguf import GgufFacts
from localgif.endpoint.ollama_reply import Thoughts, cut_silently, overflow_words
from localgif.endpoint.ollama_request import read_call
from localgif.endpoint.upstream import Upstream, adapted, counting_request
from localgif.errors import ConfigError, EndpointUnreachable, ModelMissing, PreflightError
from localgif.records import Dialect
from localgif.run.roles import config_of_models, config_of_upstream
from localgif.search.progress import Silent
from tests.endpoint.gateway_kit import (
    MODEL,
    Hold,
    Script,
    Status,
    answer,
    gateway,
    gateway_to,
    in_thread,
    post_and_keep,
    serving_app,
)
from tests.kit import model

HI = [{"role": "user", "content": "hi"}]


def server(dialect: Dialect) -> Upstream:
    return Upstream("http://127.0.0.1:1", "", "there", 4096, dialect, ours=False)


# --- fields ----------------------------------------------------------------------------------------------------------


def test_vllm_gets_its_own_names_and_none_that_it_would_ignore() -> None:
    said = [{"role": "assistant", "content": "a", "thinking": "hm"}]
    options = {"repeat_penalty": 1.2, "repeat_last_n": 5, "typical_p": 0.5, "min_p": 0.1}
    call = read_call("chat", {"model": "m", "messages": [*HI, *said], "think": "high", "options": options})
    body = adapted(call.body, server("vllm"))
    assert (body["model"], body["repetition_penalty"], body["min_p"], body["top_k"]) == ("there", 1.2, 0.1, 40)
    assert not {"repeat_penalty", "repeat_last_n", "typical_p"} & body.keys()
    assert body["reasoning_effort"] == "high" and body["chat_template_kwargs"]["enable_thinking"] is True
    assert body["messages"][1] == {"role": "assistant", "content": "a", "reasoning": "hm"}
    assert call.body["repeat_penalty"] == 1.2 and call.body["messages"][1]["reasoning_content"] == "hm", "untouched"


@pytest.mark.parametrize("dialect", ["llama.cpp", "other"])
def test_the_others_get_llama_cpps_names(dialect: Dialect) -> None:
    body = read_call("chat", {"model": "m", "messages": HI}).body
    assert adapted(body, server(dialect)) == {**body, "model": "there"}


def test_each_kind_counts_in_its_own_way() -> None:
    body = read_call("chat", {"model": "m", "messages": HI, "think": False}).body
    way = counting_request(body, server("vllm"))
    assert way is not None and (way[0], way[2]) == ("/tokenize", "count")
    kwargs = {"enable_thinking": False}
    assert way[1] == {
        "model": "there", "messages": HI, "chat_template_kwargs": kwargs, "add_generation_prompt": True,
    }  # fmt: skip
    way = counting_request(body, server("llama.cpp"))
    assert way is not None and (way[0], way[2]) == ("/v1/chat/completions/input_tokens", "input_tokens")
    assert counting_request(body, server("other")) is None


# --- full windows ----------------------------------------------------------------------------------------------------

EXCEEDS = "exceeds the available context size"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("request (731 tokens) exceeds the available context size (512 tokens), try increasing it", None),
        (
            "This model's maximum context length is 512 tokens. However, you requested 800 tokens "
            "(700 in the messages, 100 in the completion). Please reduce the length of the messages or completion.",
            "request (700 tokens) exceeds the available context size (512 tokens), try increasing it",
        ),
        (
            "This model's maximum context length is 512 tokens. However, you requested 600 tokens "
            "(500 in the messages, 100 in the completion).",
            "request (500 tokens) and an answer of 100 tokens: together that exceeds the available context size (512 "
            "tokens), lower num_predict or try increasing it",
        ),
        (
            "This model's maximum context length is 2048 tokens. However, your prompt contains at least 2049 input "
            "tokens, which exceeds this limit even without any output tokens.",
            "request (at least 2049 tokens) exceeds the available context size (2048 tokens), try increasing it",
        ),
        (
            "'max_tokens' is too large: 3000. This model's maximum context length is 2048 tokens and your request has "
            "40 input tokens (3000 > 2048 - 40).",
            "request (40 tokens) and an answer of 3000 tokens: together that exceeds the available context size (2048 "
            "tokens), lower num_predict or try increasing it",
        ),
    ],
)
def test_every_servers_refusal_is_said_in_one_way(text: str, words: str | None) -> None:
    assert overflow_words(text) == (words or text) and EXCEEDS in overflow_words(text)


def test_a_refusal_without_numbers_keeps_its_own_words_too() -> None:
    for text in (
        "Trying to keep the first 5000 tokens when context the overflows. However, the model is loaded with context "
        "length of only 4096 tokens, which is not enough.",
        "The prompt is too long for this model: context window exceeded",
    ):
        assert EXCEEDS in overflow_words(text) and text in overflow_words(text)
    for text in ("max_tokens=3000 cannot be greater than max_model_len=2048.", "no such model", ""):
        assert overflow_words(text) == text


@given(st.text())
def test_any_refusal_can_be_read(text: str) -> None:
    assert text in overflow_words(text) or EXCEEDS in overflow_words(text)


def test_a_prompt_that_cannot_have_been_read_whole() -> None:
    code = "for number in range(24):\n    frames.append(draw(number))\n" * 100  # 5,800 bytes, 3.6 of them a token
    assert not cut_silently(code, 1600) and cut_silently(code, 600)
    # A few tokens are enough for a lot of nothing.
    assert not cut_silently(" " * 50_000 + "=" * 9000 + "\n" * 9000, 40)
    assert not cut_silently("word " * 100, 20), "too short to say"


@pytest.mark.parametrize("stream", [True, False])
def test_a_server_that_cuts_without_a_word_is_found_out(stream: Any) -> None:
    long = [{"role": "user", "content": "a word and then another one. " * 300}]
    with (
        gateway(Script(answer("x")), dialect="other", ours=False) as running,
        ollama.Client(running.url, trust_env=False) as client,
    ):
        assert client.chat(MODEL, HI).message.content == "x"
        with pytest.raises(ollama.ResponseError, match=EXCEEDS):
            list(client.chat(MODEL, long, stream=stream))  # the usage of the script says 7 tokens


@pytest.mark.parametrize(("dialect", "path"), [("vllm", "count"), ("llama.cpp", "input_tokens")])
def test_somebody_elses_window_is_counted_before_every_request(dialect: Dialect, path: str) -> None:
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


def test_a_server_that_does_not_count_after_all_decides_itself() -> None:
    refusal = Status(400, json.dumps({"error": {"message": "maximum context length is 9 tokens, 12 input tokens"}}))
    script = Script(answer("x"), [refusal])
    script.tokens = -1  # answered with a 404
    with gateway(script, dialect="vllm", ours=False) as running, ollama.Client(running.url, trust_env=False) as client:
        assert client.chat(MODEL, HI, options={"num_predict": 5}).message.content == "x"
        with pytest.raises(ollama.ResponseError, match=r"request \(12 tokens\) exceeds .* \(9 tokens\)"):
            client.chat(MODEL, HI)
    assert [body.get("max_tokens") for body in script.bodies] == [5, None]


def test_a_refused_count_is_a_refused_request() -> None:
    with gateway(Script(answer("x")), dialect="vllm", ours=False) as running:
        running.script.tokens = "many"  # type: ignore[assignment]
        response = httpx.post(f"{running.url}/api/chat", json={"model": MODEL, "messages": HI}, trust_env=False)
    assert response.status_code == 502 and "count" in response.json()["error"] and running.script.bodies == []


# --- thoughts --------------------------------------------------------------------------------------------------------


def split(pieces: list[str]) -> tuple[str, str]:
    thoughts = Thoughts()
    said = [*(thoughts.feed(piece) for piece in pieces), thoughts.end()]
    return "".join(content for content, _ in said), "".join(thinking for _, thinking in said)


@pytest.mark.parametrize(
    ("text", "content", "thinking"),
    [
        ("plain", "plain", ""),
        ("", "", ""),
        ("  \n", "  \n", ""),
        ("<think>hm</think>\n\nok", "ok", "hm"),
        ("\n<think>\nhm", "", "\nhm"),
        ("<think>a</thi", "", "a</thi"),
        ("<thin", "<thin", ""),
        ("<thinking>", "<thinking>", ""),
        ("ok <think>no</think>", "ok <think>no</think>", ""),
        ("<think></think>  <think>", "<think>", ""),
    ],
)
def test_thoughts_at_the_beginning_are_taken_out(text: str, content: str, thinking: str) -> None:
    assert split([text]) == (content, thinking) == split(list(text))


TEXTS = st.lists(st.sampled_from(["<think>", "</think>", "<", "/", "think", ">", " ", "\n", "a", "é"])).map("".join)


@given(TEXTS, st.lists(st.integers(0, 40)))
def test_how_a_text_is_cut_into_pieces_is_no_matter(text: str, cuts: list[int]) -> None:
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    pieces = [text[start:end] for start, end in itertools.pairwise(places)]
    assert split(pieces) == split([text])
    content, thinking = split(pieces)
    if not text.lstrip().startswith("<think>"):
        assert (content, thinking) == (text, "")


# --- listings --------------------------------------------------------------------------------------------------------


class Listing:
    """A server that answers GETs as it is told; what is not told is a 404."""

    def __init__(self, **answers: Any) -> None:
        self.answers = {f"/{path}": value for path, value in answers.items()}
        self.asked: list[str] = []

    def app(self) -> web.Application:
        async def said(request: web.Request) -> web.Response:
            self.asked.append(request.path)
            value = self.answers.get(request.path.replace("/v1/", "/"))
            if isinstance(value, list) and value and isinstance(value[0], Status):
                value = value.pop(0) if len(value) > 1 else value[0]
            if isinstance(value, Status):
                return web.Response(status=value.code, text=value.body)
            return web.json_response(value, status=404 if value is None else 200)

        app = web.Application()
        app.router.add_get("/{path:.*}", said)
        return app


def listed(**entry: Any) -> dict[str, Any]:
    return {"object": "list", "data": [{"id": "some/Model-1B", "object": "model", **entry}]}


def test_a_server_that_tells_nothing_but_names() -> None:
    with in_thread(lambda: serving_app(Listing(models=listed()).app())) as root:
        (found,) = find_models(f"{root}/v1")
        assert (found.name, found.dialect, found.window, found.template) == ("some/Model-1B", "other", 0, None)
        assert find_model(f"{root}/v1", "", "SOME/model-1b", 2048, "[models.x]").window == 2048
        with pytest.raises(PreflightError, match="does not tell the context window") as caught:
            config_of_upstream(f"{root}/v1", [], 0)
        assert "localgif serve --model" in caught.value.remedy
        with (
            gateway_to(find_model(f"{root}/v1", "", "some/Model-1B", 2048, "x")) as front,
            ollama.Client(front, trust_env=False) as client,
        ):
            assert client.list().models[0].model == "some/Model-1B:latest"


def test_a_name_with_a_slash_goes_through_every_client() -> None:
    name = "some/Model-1B"
    with gateway(Script(answer("x")), dialect="other", ours=False, name=name) as running:
        with Animator(model("animator", running.url, model=name), running.url) as animator:
            assert animator.write([("user", "hi")], 1, lambda _: "").text == "x"
        for provider in ("ollama", "ollama_chat"):
            chosen = model("reflector", running.url, model=name, litellm=f"{provider}/{name}")
            assert Reflector(chosen, running.url).write("hi", 1, lambda _: "", 9).text == "x"
        assert check_ollama(running.url, name).context_length == 8192


def test_an_older_llama_cpp_tells_its_window_elsewhere() -> None:
    props = {"default_generation_settings": {"n_ctx": 1536}, "chat_template": "<think>", "build_info": "b4000-abc"}
    said = Listing(models=listed(owned_by="llamacpp", meta={"n_ctx_train": 8192}), props=props)
    with in_thread(lambda: serving_app(said.app())) as root:
        (found,) = find_models(f"{root}/v1")
    assert (found.dialect, found.window, found.context_length) == ("llama.cpp", 1536, 8192)
    assert (found.server, found.template) == ("llama.cpp b4000-abc", "<think>")


def test_a_server_that_is_loading_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discover, "POLL_SECONDS", 0.01)
    loading = Status(503, '{"error": {"message": "Loading model"}}')
    ready = Status(200, json.dumps(listed(max_model_len=77)))
    said = Listing(models=[loading, loading, ready], version={"version": "9.9"})
    with in_thread(lambda: serving_app(said.app())) as root:
        (found,) = find_models(f"{root}/v1")
        assert (found.dialect, found.window, found.server) == ("vllm", 77, "vLLM 9.9")
        said.answers["/models"] = loading
        monkeypatch.setattr(discover, "LOAD_SECONDS", 0.05)
        with pytest.raises(EndpointUnreachable, match="503"):
            find_models(f"{root}/v1")


@pytest.mark.parametrize(
    "models", [None, [], {"data": "x"}, {"models": []}, Status(200, "<html>"), Status(500, "x"), Status(200, "")]
)
def test_what_is_no_such_server_is_named(models: Any) -> None:
    with in_thread(lambda: serving_app(Listing(models=models).app())) as root:
        with pytest.raises(EndpointUnreachable, match="not an OpenAI-compatible server") as caught:
            find_models(f"{root}/v1")
        assert root in caught.value.message


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["id", "meta", "n_ctx", "max_model_len", "owned_by", "x"]), inner)
        ),
        max_leaves=8,
    )
)
def test_any_entry_of_a_listing_is_read_or_left_out(entry: Any) -> None:
    with in_thread(lambda: serving_app(Listing(models={"data": [entry]}).app())) as root:
        found = find_models(f"{root}/v1")
    name = entry.get("id") if isinstance(entry, dict) else None
    assert [one.name for one in found] == ([name] if name and isinstance(name, str) else [])
    assert all(one.window >= 0 for one in found)


def test_nobody_there_no_models_and_wrong_names() -> None:
    with pytest.raises(EndpointUnreachable, match=r"no answer from http://127\.0\.0\.1:9/v1"):
        find_models("http://127.0.0.1:9/v1")
    with pytest.raises(ConfigError, match="must end with /v1"):
        config_of_upstream("http://127.0.0.1:9/api", [], 0)
    empty = Listing(models={"data": []})
    two = Listing(models={"data": [{"id": name, "max_model_len": 512} for name in ("alpha", "beta")]})
    with in_thread(lambda: serving_app(empty.app())) as root, pytest.raises(ModelMissing, match="has no models"):
        config_of_upstream(root, [], 0)
    with in_thread(lambda: serving_app(two.app())) as root:
        assert [remote.name for remote in config_of_upstream(root, [], 0).remotes] == ["alpha", "beta"]
        assert [remote.name for remote in config_of_upstream(root, ["beta"], 0).remotes] == ["beta"]
        with pytest.raises(ModelMissing, match='no model "betta"') as caught:
            config_of_upstream(root, ["betta"], 0)
        assert '"beta"' in caught.value.remedy


def test_what_an_ollama_serves_is_not_served_again() -> None:
    with pytest.raises(ConfigError, match="run on an Ollama"):
        config_of_models([model("animator", "http://127.0.0.1:1")], 0, Silent())


def test_what_is_not_known_is_not_refused() -> None:
    """vLLM does not show its template: whether the model thinks is its own to say."""
    facts = GgufFacts(template=None)
    with gateway(Script(answer("x")), facts=facts) as running, ollama.Client(running.url, trust_env=False) as client:
        client.chat(MODEL, HI, think=True)
        assert client.show(MODEL).capabilities == ["completion"]
    (sent,) = running.script.bodies
    assert sent["chat_template_kwargs"] == {"enable_thinking": True}


def test_a_client_that_leaves_while_the_server_loads_leaves_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script([Hold(), Status(503, "Loading model")], answer("next"))
    with gateway(script) as running:
        connection = post_and_keep(running.url, "/api/chat", {"model": MODEL, "messages": HI})
        script.wait_for(lambda s: s.fates == ["running"])
        connection.close()
        script.wait_for(lambda s: s.fates == ["dropped"])
        with ollama.Client(running.url, trust_env=False) as client:
            assert client.chat(MODEL, HI).message.content == "next"
