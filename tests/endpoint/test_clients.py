"""Our two clients against a server that says exactly what it is told to."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from PIL import Image

from localgif.endpoint.clients import Animator, Reflector, Reply, reflector_arguments
from localgif.errors import EndpointError
from tests.kit import model
from tests.scripted import Fault, Scripted, serving

LONG = "```python\ndef make_gif(path):\n    pass\n```\n" + "and so on\n" * 50


def never(_: str) -> str:
    return ""


def ask(server: Scripted, finished: Callable[[str], str] = never) -> Reply:
    with Animator(model("animator", server.url), server.url) as animator:
        return animator.write([("user", "hi")], 1, finished)


def test_a_whole_answer_comes_with_the_servers_counts() -> None:
    with serving(Scripted(animator=["one\ntwo\n"])) as server:
        reply = ask(server)
    assert (reply.text, reply.done_reason, reply.prompt_tokens, reply.output_tokens) == ("one\ntwo\n", "stop", 7, 2)


def test_the_stream_is_closed_as_soon_as_the_answer_is_complete() -> None:
    with serving(Scripted(animator=[LONG])) as server:
        reply = ask(server, lambda text: "closed" if text.count("```") == 2 else "")
    assert reply.text == LONG.split("and")[0]
    assert (reply.done_reason, reply.prompt_tokens, reply.output_tokens) == ("closed", None, 4)


def test_a_cut_answer_says_so() -> None:
    with serving(Scripted(animator=[Fault("length", text="one\n")])) as server:
        reply = ask(server)
    assert reply.done_reason == "length"


def test_an_empty_answer_is_an_answer() -> None:
    with serving(Scripted(animator=[Fault("empty", text="")])) as server:
        reply = ask(server)
    assert reply.text == ""


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault("status", 503, "server busy"), "server busy"),
        (Fault("status", 404, "model 'x' not found"), "not found"),
        (Fault("error-line", text="out of memory"), "out of memory"),
        (Fault("no-done", text="half"), "ended without its last line"),
        (Fault("cut", text="half"), "gave no answer"),
        (Fault("drop"), "gave no answer"),
    ],
    ids=lambda value: value.kind if isinstance(value, Fault) else "",
)
def test_every_failure_of_the_server_is_an_endpoint_error_with_its_words(fault: Fault, said: str) -> None:
    with serving(Scripted(animator=[fault])) as server, pytest.raises(EndpointError) as caught:
        ask(server)
    assert server.url in caught.value.message and said in caught.value.message
    assert caught.value.remedy


def test_a_dead_proxy_in_the_environment_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with serving(Scripted(animator=["hello\n"], reflector=["hello"])) as server:
        assert ask(server).text == "hello\n"
        from gepa.lm import LM

        assert LM(**reflector_arguments(model("reflector", server.url), server.url))("hi") == "hello"


def test_the_animator_asks_for_its_whole_prompt_to_be_read() -> None:
    with serving(Scripted(animator=["é\n"])) as server:
        assert ask(server).text == "é\n"
    ((path, body),) = server.history
    assert (path, body["truncate"], body["messages"][0]["content"]) == ("/api/chat", False, "hi")


@pytest.mark.parametrize("provider", ["ollama", "ollama_chat"])
def test_the_reflector_sends_what_the_animator_sends_and_asks_nothing_else(provider: str) -> None:
    from gepa.lm import LM

    with serving(Scripted(animator=["hello"], reflector=["hello"])) as server:
        arguments = reflector_arguments(model("reflector", server.url, litellm=f"{provider}/scripted:1b"), server.url)
        assert LM(**arguments)("hi") == "hello"
    ((path, body),) = server.history
    assert path == ("/api/generate" if provider == "ollama" else "/api/chat")
    assert body["options"]["num_ctx"] == 4096 and body["options"]["num_predict"] == 1024
    assert body["keep_alive"] == "30m" and body["truncate"] is False


def test_a_refused_reflection_is_asked_once() -> None:
    from gepa.lm import LM

    with serving(Scripted(reflector=[Fault("status", 400, "no")])) as server:
        lm = LM(**reflector_arguments(model("reflector", server.url), server.url))
        with pytest.raises(Exception, match="no"):
            lm("hi")
    assert len(server.history) == 1


def reflect(
    server: Scripted,
    finished: Callable[[str], str] = never,
    longest: int = 64,
    provider: str = "ollama",
    images: Sequence[bytes] = (),
) -> Reply:
    chosen = model("reflector", server.url, litellm=f"{provider}/scripted:1b")
    return Reflector(chosen, server.url).write("hi", 5, finished, longest, images)


@pytest.mark.parametrize("provider", ["ollama", "ollama_chat"])
def test_a_streamed_reflection_sends_the_same_and_is_closed_when_it_is_complete(provider: str) -> None:
    with serving(Scripted(animator=[LONG], reflector=[LONG])) as server:
        whole = reflect(server, provider=provider)
        closed = reflect(server, lambda text: "closed" if text.count("```") == 2 else "", provider=provider)
    assert (whole.text, whole.done_reason, whole.prompt_tokens, whole.output_tokens) == (LONG, "stop", 7, 54)
    assert closed.text == LONG.split("and")[0]
    assert (closed.done_reason, closed.prompt_tokens, closed.output_tokens) == ("closed", None, 4)
    for path, body in server.history:
        assert path == ("/api/generate" if provider == "ollama" else "/api/chat")
        assert body["options"]["num_ctx"] == 4096 and body["options"]["num_predict"] == 64
        assert body["options"]["seed"] == 5
        assert body["keep_alive"] == "30m" and body["truncate"] is False


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


@pytest.mark.parametrize("provider", ["ollama", "ollama_chat"])
def test_pictures_arrive_byte_for_byte_and_the_answer_still_streams(provider: str) -> None:
    pictures = [picture(1), picture(2)]
    with serving(Scripted(animator=[LONG], reflector=[LONG])) as server:
        whole = reflect(server, provider=provider, images=pictures)
        closed = reflect(
            server, lambda text: "closed" if text.count("```") == 2 else "", provider=provider, images=pictures[:1]
        )
    assert (whole.text, whole.done_reason, whole.prompt_tokens, whole.output_tokens) == (LONG, "stop", 7, 54)
    assert (closed.text, closed.done_reason) == (LONG.split("and")[0], "closed")
    first, second = server.history
    assert [sent_images(*request) for request in (first, second)] == [pictures, pictures[:1]]
    for path, body in server.history:
        assert path == ("/api/generate" if provider == "ollama" else "/api/chat")
        text = body["prompt"] if provider == "ollama" else body["messages"][0]["content"]
        assert "hi" in text and "base64" not in text and len(text) < 50
        assert body["stream"] is True and body["keep_alive"] == "30m" and body["truncate"] is False


@pytest.mark.parametrize("provider", ["ollama", "ollama_chat"])
def test_a_request_without_pictures_is_the_one_it_was(provider: str) -> None:
    with serving(Scripted(animator=["hello\n"], reflector=["hello\n"])) as server:
        reflect(server, provider=provider)
    ((path, body),) = server.history
    assert not (body if path == "/api/generate" else body["messages"][0]).get("images")


@pytest.mark.parametrize("provider", ["ollama", "ollama_chat"])
def test_gepas_lm_sends_the_same_pictures(provider: str) -> None:
    from gepa.image import Image as Shown
    from gepa.lm import LM

    shown = Shown(base64_data=base64.b64encode(picture(3)).decode(), media_type="image/png")
    content = [{"type": "text", "text": "hi"}, shown.to_openai_content_part()]
    with serving(Scripted(animator=["hello"], reflector=["hello"])) as server:
        arguments = reflector_arguments(model("reflector", server.url, litellm=f"{provider}/scripted:1b"), server.url)
        assert LM(**arguments)([{"role": "user", "content": content}]) == "hello"
    (request,) = server.history
    assert sent_images(*request) == [picture(3)]


def test_a_streamed_reflection_that_used_up_its_tokens_says_so() -> None:
    with serving(Scripted(reflector=[LONG])) as server:
        assert reflect(server, longest=54).done_reason == "length"


@pytest.mark.parametrize(
    "fault", [Fault("status", 500, "it is ill"), Fault("drop"), Fault("cut", text="half\n")], ids=lambda f: f.kind
)
def test_a_streamed_reflection_that_fails_is_an_endpoint_error(fault: Fault) -> None:
    with serving(Scripted(reflector=[fault])) as server, pytest.raises(EndpointError) as caught:
        reflect(server)
    assert server.url in caught.value.message and caught.value.remedy
    assert len(server.history) == 5


def test_a_streamed_reflection_without_its_last_line_is_a_failure() -> None:
    with serving(Scripted(reflector=[Fault("no-done", text="half\n")])) as server, pytest.raises(EndpointError):
        reflect(server)


@pytest.mark.parametrize(("temperature", "calls"), [(0.0, 1), (0.2, 2)])
def test_at_temperature_0_the_same_question_is_asked_once(temperature: float, calls: int) -> None:
    with (
        serving(Scripted(animator=["one\ntwo\n"])) as server,
        Animator(model("animator", server.url, temperature=temperature), server.url) as animator,
    ):
        first = animator.write([("user", "hi")], 1, never)
        second = animator.write([("user", "hi")], 2, never)
    assert second.text == first.text
    assert len(server.history) == calls
    assert second.output_tokens == (0 if calls == 1 else 2)
