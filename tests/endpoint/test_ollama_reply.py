"""Events of an OpenAI stream and their replies, without a server."""

from __future__ import annotations

import json
import math
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localgif.endpoint.ollama_reply import (
    Answer,
    UpstreamBroken,
    cut_silently,
    error_text,
    overflow_words,
    read_delta,
    timestamp,
    upstream_failure,
)
from localgif.endpoint.ollama_request import Kind, read_call

EXCEEDS = "exceeds the available context size"


# --- lines -----------------------------------------------------------------------------------------------------------


def finished(events: list[Any], whole: bool = True, kind: Kind = "chat", **options: Any) -> dict[str, Any]:
    """The last line of an answer that arrives at 0, is sent at 10, has text at 30 and 70, and ends at 100."""
    answer = Answer(read_call(kind, {"model": "m", "prompt": "hi", "messages": [], "options": options}), 0, 10)
    for event, now in zip(events, (30, 70, 80, 90), strict=False):
        answer.take(read_delta(json.dumps(event)), now)
    return answer.final(whole, 100)


def said(finish: str | None = None, **delta: str) -> dict[str, Any]:
    return {"choices": [{"delta": delta, "finish_reason": finish}]}


def test_the_upstreams_numbers_come_first() -> None:
    counted = {
        "usage": {"prompt_tokens": 9, "completion_tokens": 4},
        "timings": {"prompt_ms": 1e-5, "predicted_ms": 2e-5},
    }
    line = finished([said("length", content="a"), counted], whole=False)
    assert line["done_reason"] == "length" and line["message"] == {"role": "assistant", "content": ""}
    assert (line["prompt_eval_count"], line["eval_count"]) == (9, 4)
    durations = [line[name] for name in ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration")]
    assert durations == [100, 10, 10, 20] and all(type(value) is int for value in durations)
    line = finished([said("stop"), {"timings": {"cache_n": 5, "prompt_n": 2, "predicted_n": 3}}])
    assert (line["prompt_eval_count"], line["eval_count"]) == (7, 3)
    none = finished([said("stop", content="a")], num_predict=0)
    assert (none["eval_count"], none["message"]["content"]) == (0, ""), "llama.cpp generates one token all the same"


def test_the_prompts_counts_come_with_the_first_text_for_whoever_leaves_before_the_end() -> None:
    answer = Answer(read_call("chat", {"model": "m", "messages": []}), 0, 10, tagged=False)
    timings = {"cache_n": 5, "prompt_n": 2}
    assert answer.take(read_delta(json.dumps(said(content="") | {"timings": timings})), 20) is None
    first, second = (
        answer.take(read_delta(json.dumps(said(content=text) | {"timings": timings})), 30) for text in "ab"
    )
    assert first is not None and second is not None
    assert (first["prompt_eval_count"], first["prompt_cached_count"], first["done"]) == (7, 5, False)
    assert "prompt_eval_count" not in second


def test_without_them_the_clock_and_the_pieces_do() -> None:
    line = finished([said(content="a"), said("other", content="b")], kind="generate")
    assert (line["response"], line["done_reason"]) == ("ab", "stop")
    assert (line["eval_count"], line["prompt_eval_count"]) == (2, 0)
    assert (line["prompt_eval_duration"], line["eval_duration"]) == (20, 40)
    with pytest.raises(UpstreamBroken, match="finish reason"):
        finished([said(content="a")])


def test_any_number_that_a_server_can_send_is_a_count_or_none() -> None:
    odd: Any
    for odd in (float("nan"), float("inf"), -1, 1e300, True, "7", [1], {}):
        event = said("stop", content="a") | {"usage": {"prompt_tokens": odd}, "timings": {"prompt_ms": odd}}
        assert finished([event])["prompt_eval_count"] == 0
    assert finished([said("stop", content="a") | {"usage": 7, "timings": "x"}])["eval_count"] == 1


def test_timestamps_are_utc() -> None:
    assert timestamp().endswith("Z") and datetime.fromisoformat(timestamp(ahead=math.inf)).utcoffset() is not None


# --- failures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data", ["x", "[]", "1", '{"error": "boom"}', '{"choices": [{"delta": {}, "finish_reason": "abort"}]}']
)
def test_events_that_mean_failure(data: str) -> None:
    with pytest.raises(UpstreamBroken):
        read_delta(data)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ('{"error": {"message": "m", "code": 1}}', "m"), ('{"error": "m"}', "m"),
        ('{"object": "error", "message": "m"}', "m"),
        ("<html>", "<html>"), ("", "no reason given"), ("[1]", "[1]"), ('{"error": {}}', '{"error": {}}'),
    ],
)  # fmt: skip
def test_error_bodies(body: str, text: str) -> None:
    assert error_text(body) == text


def test_an_upstreams_refusal_keeps_its_status_and_its_failure_does_not() -> None:
    statuses = {400: 400, 404: 404, 422: 422, 501: 501, 401: 502, 403: 502, 500: 502, 503: 502}
    assert {code: upstream_failure(code, "x").status for code in statuses} == statuses
    text = "This model's maximum context length is 512 tokens. Your prompt contains 700 input tokens."
    assert f"(700 tokens) {EXCEEDS} (512 tokens)" in upstream_failure(400, json.dumps({"error": text})).message


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
def test_every_servers_refusal_gets_the_same_words(text: str, words: str | None) -> None:
    assert overflow_words(text) == (words or text) and EXCEEDS in overflow_words(text)


def test_a_refusal_without_numbers_keeps_its_own_words_too() -> None:
    for text in (
        "Trying to keep the first 5000 tokens when context the overflows. However, the model is loaded with context "
        "length of only 4096 tokens, which is not enough.",
        "The prompt is too long for this model: context window exceeded",
        "The input (9000 tokens) is longer than the model's context length (4096 tokens).",
        "The number of tokens to keep from the initial prompt is greater than the context length",
        "Requested tokens (9000) exceed context window of 4096",
        "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 9000 `inputs` tokens",
        "Prompt length 9000 is greater than max_seq_len 4096",
        "the input length exceeds the context length",
        "the prompt is longer than the context length currently available to the model",
    ):
        assert EXCEEDS in overflow_words(text) and text in overflow_words(text)
    for text in (
        "max_tokens=3000 cannot be greater than max_model_len=2048.", "no such model", "",
        "failed to create context: not enough memory", "rate limit exceeded for this prompt",
    ):  # fmt: skip
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
