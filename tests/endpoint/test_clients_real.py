"""Unmodified ChatOllama, litellm and gepa's LM against the embedded endpoint with the real SmolLM2-135M."""

from __future__ import annotations

from typing import Any

import pytest

from localgif.endpoint.child import RunningEndpoint
from localgif.endpoint.clients import Animator, Reflector, reflector_arguments
from localgif.errors import EndpointError
from localgif.records import ServedModel
from tests.kit import model


def settings(role: Any, endpoint: RunningEndpoint, served: ServedModel, **changes: Any) -> Any:
    values = {"model": served.name, "litellm": f"ollama/{served.name}", "num_ctx": 512, "num_predict": 24}
    return model(role, endpoint.url, **{**values, **changes})


def never(_: str) -> str:
    return ""


def test_the_animator_gets_an_answer_with_its_counts(endpoint: RunningEndpoint, served: ServedModel) -> None:
    with Animator(settings("animator", endpoint, served), endpoint.url) as animator:
        reply = animator.write([("system", "You are brief."), ("user", "Count to fifty in words.")], 1, never)
    assert reply.text
    assert (reply.done_reason, reply.output_tokens) == ("length", 24)
    assert reply.prompt_tokens is not None and 10 < reply.prompt_tokens < 60


def test_a_closed_stream_counts_its_tokens_and_frees_the_engine(endpoint: RunningEndpoint, served: ServedModel) -> None:
    with Animator(settings("animator", endpoint, served, num_predict=400), endpoint.url) as animator:
        reply = animator.write(
            [("user", "Tell a long story.")], 1, lambda text: "closed" if "\n" in text or len(text) > 60 else ""
        )
        assert reply.done_reason == "closed"
        assert 0 < reply.output_tokens < 400
        # The next answer doesn't wait for the rest of the story, which would take 400 tokens.
        again = animator.write([("user", "Say yes.")], 1, lambda text: "closed")
    assert again.seconds < 5


@pytest.mark.parametrize("provider", ["ollama", "ollama_chat"])
def test_a_reflection_that_is_closed_frees_the_engine(
    endpoint: RunningEndpoint, served: ServedModel, provider: str
) -> None:
    chosen = settings("reflector", endpoint, served, num_predict=400, litellm=f"{provider}/{served.name}")
    reflector = Reflector(chosen, endpoint.url)
    reply = reflector.write("Tell a long story.", 1, lambda text: "closed" if len(text) > 60 else "", 400)
    assert reply.done_reason == "closed"
    assert 0 < reply.output_tokens < 400
    # The next answer doesn't wait for the rest of the story, which would take 400 tokens.
    again = reflector.write("Say yes.", 1, lambda text: "", 3)
    assert (again.done_reason, again.output_tokens) == ("length", 3)
    assert again.prompt_tokens is not None and again.prompt_tokens > 3
    assert again.seconds < 5


def test_a_prompt_that_does_not_fit_is_an_error_that_names_num_ctx(
    endpoint: RunningEndpoint, served: ServedModel
) -> None:
    with (
        Animator(settings("animator", endpoint, served), endpoint.url) as animator,
        pytest.raises(EndpointError, match="does not fit into the window") as caught,
    ):
        animator.write([("user", "word " * 2000)], 1, never)
    assert "num_ctx" in caught.value.remedy


@pytest.mark.parametrize("provider", ["ollama", "ollama_chat"])
def test_gepas_lm_reflects_through_litellm(endpoint: RunningEndpoint, served: ServedModel, provider: str) -> None:
    from gepa.lm import LM

    chosen = settings("reflector", endpoint, served, litellm=f"{provider}/{served.name}")
    lm = LM(**reflector_arguments(chosen, endpoint.url))
    assert lm("Name one colour.")
    assert 0 < lm.total_tokens_out <= 24
    assert lm.total_tokens_in > 5


def test_a_refused_reflection_raises(endpoint: RunningEndpoint, served: ServedModel) -> None:
    from gepa.lm import LM

    lm = LM(**reflector_arguments(settings("reflector", endpoint, served), endpoint.url))
    with pytest.raises(Exception, match="exceeds the available context size"):
        lm("word " * 2000)
