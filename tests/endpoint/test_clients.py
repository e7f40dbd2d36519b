"""Our two clients against a scripted server, and against the real engine."""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import json
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from PIL import Image

from localgif.endpoint.child import RunningEndpoint
from localgif.endpoint.clients import Animator, Animators, Finished, Reflector, reflector_arguments
from localgif.errors import EndpointError
from localgif.records import Reply, ServedModel
from tests.support import SOON
from tests.support.gateway_kit import engine_seconds, never
from tests.support.kit import model
from tests.support.scripted import Scripted, Talk, cut_off, serving

LONG = "```python\ndef make_gif(path):\n    pass\n```\n" + "and so on\n" * 50
PROVIDERS = pytest.mark.parametrize("provider", ["ollama", "ollama_chat"])


def complete(text: str) -> str:
    return "closed" if text.count("```") == 2 else ""


def ask(server: Scripted, finished: Finished = never) -> Reply:
    with Animator(model("animator", server.url), server.url) as animator:
        return animator.write([("user", "hi")], 1, finished)


def reflect(
    server: Scripted,
    finished: Finished = never,
    longest: int = 64,
    provider: str = "ollama",
    images: Sequence[bytes] = (),
) -> Reply:
    chosen = model("reflector", server.url, litellm=f"{provider}/scripted:1b")
    return Reflector(chosen, server.url).write("hi", 5, finished, longest, images)


def lm(url: str, provider: str = "ollama", **changes: Any) -> Callable[..., str]:
    """gepa's LM, as plain reflection uses it."""
    from gepa.lm import LM

    values = {"litellm": f"{provider}/scripted:1b", **changes}
    return LM(**reflector_arguments(model("reflector", url, **values), url))


# --- the animator ----------------------------------------------------------------------------------------------------


def test_a_whole_answer_comes_with_the_servers_counts_and_its_whole_prompt_was_read() -> None:
    with serving(Scripted(animator=["é\ntwo\n"])) as server:
        reply = ask(server)
    assert (reply.text, reply.done_reason, reply.prompt_tokens, reply.output_tokens) == ("é\ntwo\n", "stop", 7, 2)
    ((path, body),) = server.history
    assert (path, body["truncate"], body["messages"][0]["content"]) == ("/api/chat", False, "hi")


def test_a_cut_answer_says_so() -> None:
    with serving(Scripted(animator=[cut_off("one\n")], reflector=[LONG])) as server:
        assert ask(server).done_reason == "length"
        assert reflect(server, longest=54).done_reason == "length", "litellm does not say so: the count decides"


@PROVIDERS
def test_a_closed_stream_has_the_counts_that_came_with_its_first_line(provider: str) -> None:
    def counting(talk: Talk) -> None:
        talk.head()
        first, *rest = LONG.splitlines(keepends=True)
        counts = {"prompt_eval_count": 700, "prompt_cached_count": 650}
        talk.raw(json.dumps({**talk.part(first), "done": False, **counts}).encode() + b"\n")
        for piece in rest:
            talk.line(piece)
        talk.last()

    with serving(Scripted(animator=[counting], reflector=[counting])) as server:
        replies = ask(server, complete), reflect(server, complete, provider=provider)
    for reply in replies:
        assert (reply.done_reason, reply.prompt_tokens, reply.cached_tokens) == ("closed", 700, 650)


@pytest.mark.parametrize(("temperature", "calls"), [(0.0, 1), (0.2, 2)])
def test_at_temperature_0_the_same_question_is_asked_once(temperature: float, calls: int) -> None:
    with (
        serving(Scripted(animator=["one\ntwo\n"])) as server,
        Animator(model("animator", server.url, temperature=temperature), server.url) as animator,
    ):
        first = animator.write([("user", "hi")], 1, never)
        second = animator.write([("user", "hi")], 2, never)
    assert second.text == first.text and len(server.history) == calls
    assert second.output_tokens == (0 if calls == 1 else 2)


# --- the reflector ---------------------------------------------------------------------------------------------------


@PROVIDERS
def test_the_reflector_sends_what_the_animator_sends_and_asks_nothing_else(provider: str) -> None:
    with serving(Scripted(animator=[LONG], reflector=[LONG])) as server:
        whole = reflect(server, provider=provider)
        closed = reflect(server, complete, provider=provider)
        assert lm(server.url, provider)("hi") == LONG
    assert (whole.text, whole.done_reason, whole.prompt_tokens, whole.output_tokens) == (LONG, "stop", 7, 54)
    assert closed.text == LONG.split("and")[0]
    assert (closed.done_reason, closed.prompt_tokens, closed.output_tokens) == ("closed", None, 4)
    assert [body["options"]["num_predict"] for _, body in server.history] == [64, 64, 1024]
    assert [body["options"].get("seed") for _, body in server.history] == [5, 5, None]
    for path, body in server.history:
        assert path == ("/api/generate" if provider == "ollama" else "/api/chat")
        assert body["options"]["num_ctx"] == 4096 and body["keep_alive"] == "30m" and body["truncate"] is False
        assert not (body if path == "/api/generate" else body["messages"][0]).get("images")


def test_a_dead_proxy_in_the_environment_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with serving(Scripted(animator=["hello\n"], reflector=["hello"])) as server:
        assert ask(server).text == "hello\n" and lm(server.url)("hi") == "hello"


# --- pictures --------------------------------------------------------------------------------------------------------


def picture(colour: int) -> bytes:
    """A palette PNG like a contact sheet."""
    image = Image.new("P", (300, 200), colour)
    image.putpalette(hashlib.sha512(bytes([colour])).digest()[:48])
    file = io.BytesIO()
    image.save(file, format="PNG", bits=4)
    return file.getvalue()


def sent_images(path: str, body: dict[str, Any]) -> list[bytes]:
    """The pictures in a request: /api/generate has them beside the prompt, /api/chat in the message."""
    holder = body if path == "/api/generate" else body["messages"][0]
    return [base64.b64decode(image, validate=True) for image in holder["images"]]


@PROVIDERS
def test_pictures_arrive_byte_for_byte_and_the_answer_still_streams(provider: str) -> None:
    from gepa.image import Image as Shown

    pictures = [picture(1), picture(2)]
    with serving(Scripted(animator=[LONG], reflector=[LONG])) as server:
        whole = reflect(server, provider=provider, images=pictures)
        closed = reflect(server, complete, provider=provider, images=pictures[:1])
        shown = Shown(base64_data=base64.b64encode(picture(3)).decode(), media_type="image/png")
        content = [{"type": "text", "text": "hi"}, shown.to_openai_content_part()]
        assert lm(server.url, provider)([{"role": "user", "content": content}]) == LONG
    assert (whole.text, whole.done_reason, whole.prompt_tokens, whole.output_tokens) == (LONG, "stop", 7, 54)
    assert (closed.text, closed.done_reason) == (LONG.split("and")[0], "closed")
    assert [sent_images(*request) for request in server.history] == [pictures, pictures[:1], [picture(3)]]
    for path, body in server.history[:2]:
        text = body["prompt"] if path == "/api/generate" else body["messages"][0]["content"]
        assert "hi" in text and "base64" not in text and len(text) < 50 and body["stream"] is True


# --- the real engine -------------------------------------------------------------------------------------------------


def real(role: Any, endpoint: RunningEndpoint, served: ServedModel, **changes: Any) -> Any:
    values = {"model": served.name, "litellm": f"ollama/{served.name}", "num_ctx": 512, "num_predict": 24}
    return model(role, endpoint.url, **{**values, **changes})


def test_the_animator_gets_an_answer_with_its_counts(endpoint: RunningEndpoint, served: ServedModel) -> None:
    with Animator(real("animator", endpoint, served), endpoint.url) as animator:
        reply = animator.write([("system", "You are brief."), ("user", "Count to fifty in words.")], 1, never)
        assert reply.text and (reply.done_reason, reply.output_tokens) == ("length", 24)
        assert reply.prompt_tokens is not None and 10 < reply.prompt_tokens < 60
        with pytest.raises(EndpointError, match="does not fit into the window") as caught:
            animator.write([("user", "word " * 2000)], 1, never)
    assert "num_ctx" in caught.value.remedy


@pytest.mark.parametrize("provider", ["", "ollama", "ollama_chat"])
def test_an_answer_that_is_closed_frees_the_engine(
    endpoint: RunningEndpoint, served: ServedModel, provider: str
) -> None:
    def enough(text: str) -> str:
        return "closed" if "\n" in text or len(text) > 60 else ""

    began = engine_seconds(endpoint)
    if provider:
        chosen = real("reflector", endpoint, served, num_predict=400, litellm=f"{provider}/{served.name}")
        reflector = Reflector(chosen, endpoint.url)
        reply = reflector.write("Tell a long story.", 1, enough, 400)
        closed = engine_seconds(endpoint)
        again = reflector.write("Say yes.", 1, never, 3)
        assert (again.done_reason, again.output_tokens) == ("length", 3)
    else:
        with Animator(real("animator", endpoint, served, num_predict=400), endpoint.url) as animator:
            reply = animator.write([("user", "Tell a long story.")], 1, enough)
            closed = engine_seconds(endpoint)
            animator.write([("user", "Say yes.")], 1, lambda _: "closed")
    assert reply.done_reason == "closed" and 0 < reply.output_tokens < 100
    token = (closed - began) / reply.output_tokens
    assert engine_seconds(endpoint) - closed < 150 * token, "the rest of the story, over 300 tokens, is not written"


@PROVIDERS
def test_gepas_lm_reflects_and_sees_a_cut_answer(
    endpoint: RunningEndpoint, served: ServedModel, provider: str, caplog: pytest.LogCaptureFixture
) -> None:
    ours: dict[str, Any] = {"model": served.name, "litellm": f"{provider}/{served.name}", "temperature": 0.0}
    asked: Any = lm(endpoint.url, **ours, num_ctx=512, num_predict=16)
    with caplog.at_level(logging.WARNING):
        assert asked("Count to fifty in words.")
    assert asked.total_tokens_out == 16 and asked.total_tokens_in > 5
    # litellm's `ollama/` says "stop" whatever happened.
    assert ("truncated" in caplog.text) is (provider == "ollama_chat")
    with pytest.raises(Exception, match="exceeds the available context size"):
        asked("word " * 2000)


# --- an answer whose beginning is given ------------------------------------------------------------------------------


def test_the_beginning_is_part_of_the_reply() -> None:
    begun = "```python\nimport math\n"
    with (
        serving(Scripted(animator=["x = 1\n```\nand so on\n"])) as server,
        Animator(model("animator", server.url), server.url) as animator,
    ):
        reply = animator.write([("user", "hi"), ("assistant", begun)], 1, complete)
    assert reply.text == begun + "x = 1\n```\n"
    assert server.asked("/api/chat")[0]["messages"][-1] == {"role": "assistant", "content": begun}


@pytest.mark.parametrize("first", ["import os", "import math"], ids=["another answer", "the same beginning"])
def test_a_server_that_starts_anew_gets_no_further_beginning(first: str) -> None:
    asked = [("user", "hi"), ("assistant", "```python\nimport math\n")]
    answer = f"```python\n{first}\n```\n"
    with (
        serving(Scripted(animator=[answer])) as server,
        Animator(model("animator", server.url), server.url) as animator,
    ):
        replies = [animator.write(asked, seed, never) for seed in (1, 2)]
    assert [reply.text for reply in replies] == [f"\n{answer}", answer]
    assert [len(body["messages"]) for body in server.asked("/api/chat")] == [2, 1]


# --- several answers at a time ---------------------------------------------------------------------------------------


def test_replies_that_are_written_together_share_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = map(float, itertools.count())
    inside, over = threading.Event(), threading.Event()

    def write(_: Animator, messages: Sequence[tuple[str, str]], seed: int, finished: Finished) -> Reply:
        inside.set()
        assert over.wait(SOON)
        return Reply("", "stop", None, 0, 2.0)

    monkeypatch.setattr("localgif.endpoint.clients.time.monotonic", lambda: next(ticks))
    monkeypatch.setattr(Animator, "write", write)
    with Animators(model("animator", "http://x"), "http://x", print, 2) as animators, ThreadPoolExecutor() as pool:
        first = pool.submit(animators.write, [], 1, never)
        assert inside.wait(SOON)
        inside.clear()
        second = pool.submit(animators.write, [], 2, never)
        assert inside.wait(SOON)
        over.set()
        # Three ticks pass from the first beginning to the last end; one of them belongs to both.
        shares = sorted(reply.result().seconds / 2 for reply in (first, second))
    assert shares in ([0.75, 0.75], [0.5, pytest.approx(2.5 / 3)])
    assert animators.write([], 3, never).seconds == 2.0, "alone it has all of its time"
