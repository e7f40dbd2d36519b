"""Requests, answers and durations, without a server."""

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
    Clock,
    UpstreamBroken,
    error_text,
    final,
    read_delta,
    timestamp,
    upstream_failure,
)
from localgif.endpoint.ollama_request import (
    FLOAT_DEFAULTS,
    FOREVER,
    ApiError,
    parse_object,
    read_call,
    read_format,
    read_keep_alive,
    read_options,
    read_think,
    same_model,
)

HI = [{"role": "user", "content": "hi"}]


def refused(function: Any, *arguments: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        function(*arguments)
    return caught.value


# --- options ---------------------------------------------------------------------------------------------------------


def test_absent_options_are_ollamas_defaults() -> None:
    fields = read_options(None).fields
    assert fields == {**FLOAT_DEFAULTS, "top_k": 40, "repeat_last_n": 64}
    assert (fields["temperature"], fields["top_p"], fields["min_p"], fields["repeat_penalty"]) == (0.8, 0.9, 0.0, 1.0)


FLOATS = st.floats(allow_nan=False, allow_infinity=False)


@given(st.fixed_dictionaries({}, optional={name: FLOATS | st.integers(-9, 9) for name in FLOAT_DEFAULTS}))
def test_numbers_go_through_unchanged(options: dict[str, float]) -> None:
    fields = read_options(options).fields
    assert {name: fields[name] for name in options} == options
    assert {name: fields[name] for name in FLOAT_DEFAULTS.keys() - options} == {
        name: FLOAT_DEFAULTS[name] for name in FLOAT_DEFAULTS.keys() - options
    }


INTEGERS = ("top_k", "repeat_last_n", "seed", "num_predict", "num_ctx")
NO_NUMBERS = st.text() | st.booleans() | st.lists(st.integers()) | st.dictionaries(st.text(), st.integers())


@given(st.sampled_from([*FLOAT_DEFAULTS, *INTEGERS]), NO_NUMBERS)
def test_a_wrong_type_is_refused_by_the_options_name(name: str, value: object) -> None:
    error = refused(read_options, {name: value})
    assert (error.status, f'"{name}"' in error.message) == (400, True)


@pytest.mark.parametrize("options", [{"top_k": 1.5}, {"temperature": 10**400}, {"seed": 2**70}, {"num_ctx": 0}])
def test_impossible_numbers_are_refused(options: dict[str, Any]) -> None:
    error = refused(read_options, options)
    assert (error.status, next(iter(options)) in error.message) == (400, True)


def test_whole_floats_are_integers_and_null_is_absent() -> None:
    assert read_options({"top_k": 7.0, "temperature": None, "unknown": [], "num_thread": []}).fields["top_k"] == 7


@given(st.integers(-(2**40), 2**40))
def test_num_predict_is_a_limit_only_when_it_is_not_negative(number: int) -> None:
    sampling = read_options({"num_predict": number})
    assert sampling.fields.get("max_tokens") == sampling.num_predict == (number if number >= 0 else None)


@given(st.integers(-(2**62), 2**62))
def test_a_seed_fits_32_bits_and_is_never_the_random_one(seed: int) -> None:
    sent = read_options({"seed": seed}).fields.get("seed")
    if seed < 0:
        assert sent is None
    else:
        assert sent is not None and 0 <= sent < 2**32 - 1 and (seed >= 2**32 - 1 or sent == seed)


@pytest.mark.parametrize(("stop", "sent"), [("END", ["END"]), (["a", "", "b"], ["a", "b"]), ([], None), (None, None)])
def test_stop_is_a_list_or_a_string(stop: object, sent: list[str] | None) -> None:
    assert read_options({"stop": stop}).fields.get("stop") == sent


@pytest.mark.parametrize("stop", [1, [1], {"a": 1}, ["a", None]])
def test_stop_of_another_type_is_refused(stop: object) -> None:
    assert '"stop"' in refused(read_options, {"stop": stop}).message


def test_options_must_be_an_object() -> None:
    assert refused(read_options, [1]).status == 400


# --- keep_alive, format, think ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None), (300, 300.0), (300.0, 300.0), ("5m", 300.0), ("1h30m", 5400.0), ("1.5h", 5400.0), ("250ms", 0.25),
        (0, 0.0), ("0s", 0.0), ("0", 0.0), ("+2s", 2.0), (-1, FOREVER), (-1.0, FOREVER), ("-1m", FOREVER), (".5s", 0.5),
    ],
)  # fmt: skip
def test_keep_alive(value: object, seconds: float | None) -> None:
    assert read_keep_alive(value) == seconds


@pytest.mark.parametrize("value", ["", "5", "m", "5 m", "5x", "five", "1h30", True, [], {}, "5m "])
def test_keep_alive_that_is_no_duration(value: object) -> None:
    error = refused(read_keep_alive, value)
    assert (error.status, "keep_alive" in error.message) == (400, True)


@given(st.integers(0, 99), st.integers(0, 59), st.integers(0, 59))
def test_durations_add_up(hours: int, minutes: int, seconds: int) -> None:
    assert read_keep_alive(f"{hours}h{minutes}m{seconds}s") == hours * 3600 + minutes * 60 + seconds


@given(st.floats(allow_nan=False) | st.integers() | st.text(max_size=8))
def test_keep_alive_is_seconds_or_refused(value: object) -> None:
    try:
        seconds = read_keep_alive(value)
    except ApiError:
        return
    assert seconds is not None and seconds >= 0 and not math.isnan(seconds)


def test_formats() -> None:
    schema = {"type": "object"}
    assert read_format("json") == {"type": "json_object"}
    assert read_format(schema) == {"type": "json_schema", "json_schema": {"name": "schema", "schema": schema}}
    assert read_format("") is None and read_format(None) is None
    assert "expected" in refused(read_format, "yaml").message


@pytest.mark.parametrize("value", [True, False, "low", "medium", "high", "max", None])
def test_think_levels(value: object) -> None:
    assert read_think(value) == value


@pytest.mark.parametrize("value", [0, 1, 1.0, "none", [], {}])
def test_think_that_is_none(value: object) -> None:
    assert refused(read_think, value).status == 400


# --- requests --------------------------------------------------------------------------------------------------------


def test_a_chat_request_always_streams_and_asks_for_the_counts() -> None:
    call = read_call(
        "chat", {"model": "m", "messages": HI, "stream": False, "truncate": False, "shift": True, "wat": 1}
    )
    assert (call.stream, call.body["stream"], call.body["stream_options"]) == (False, True, {"include_usage": True})
    assert call.body["messages"] == HI and "model" not in call.body


def test_stream_is_the_default() -> None:
    assert read_call("chat", {"model": "m", "messages": HI}).stream


def test_what_clients_leave_out_or_send_empty() -> None:
    messages = [{"role": "USER", "images": []}, {"role": "assistant", "content": None, "tool_calls": []}]
    call = read_call("chat", {"model": "m", "messages": messages, "tools": [], "format": "", "options": None})
    assert call.body["messages"] == [{"role": "user", "content": ""}, {"role": "assistant", "content": ""}]
    assert not call.images and "tools" not in call.body


def test_generate_is_the_two_messages() -> None:
    call = read_call("generate", {"model": "m", "prompt": "hi", "system": "be brief", "images": [], "suffix": ""})
    assert call.body["messages"] == [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]


@pytest.mark.parametrize(("kind", "request_"), [("chat", {"messages": []}), ("chat", {}), ("generate", {"prompt": ""})])
def test_nothing_to_say_is_a_load(kind: Any, request_: dict[str, Any]) -> None:
    assert read_call(kind, {"model": "m", **request_}).empty


@pytest.mark.parametrize(
    ("kind", "request_", "word"),
    [
        ("chat", {"messages": "hi"}, "messages"),
        ("chat", {"messages": ["hi"]}, "messages"),
        ("chat", {"messages": [{"role": "robot"}]}, "robot"),
        ("chat", {"messages": [{"role": "user", "content": [1]}]}, "content"),
        ("chat", {"messages": HI, "stream": "yes"}, "stream"),
        ("chat", {"messages": HI, "tools": [{}]}, "tools is not supported"),
        ("chat", {"messages": HI, "logprobs": True}, "logprobs is not supported"),
        ("chat", {"messages": [{"role": "assistant", "tool_calls": [{}]}]}, "tool_calls is not supported"),
        ("chat", {"messages": [{"role": "tool", "content": "42"}]}, "invalid role 'tool'"),
        ("generate", {"prompt": 1}, "prompt"),
        ("generate", {"prompt": "hi", "system": 1}, "system"),
        ("generate", {"prompt": "hi", "raw": True}, "raw"),
        ("generate", {"prompt": "hi", "template": "x"}, "template"),
        ("generate", {"prompt": "hi", "suffix": "x"}, "suffix"),
        ("generate", {"prompt": "hi", "context": [1]}, "context"),
    ],
)
def test_what_is_wrong_is_named(kind: Any, request_: dict[str, Any], word: str) -> None:
    error = refused(read_call, kind, {"model": "m", **request_})
    assert (error.status, word in error.message) == (400, True), error.message


def test_models_without_a_name() -> None:
    assert refused(read_call, "chat", {"messages": HI}).message == "model is required"
    assert refused(read_call, "generate", {"prompt": "hi"}).message == "model '' not found"
    assert refused(read_call, "chat", {"model": 1, "messages": HI}).message == "invalid model name"


def test_names_match_without_case_and_latest() -> None:
    assert same_model("Smol", "smol:LATEST") and same_model("smol:latest", "SMOL") and not same_model("smol:1b", "smol")


@pytest.mark.parametrize("body", [b"", b"  ", b"{", b"[]", b"1", b'{"a": NaN}', b"\xff", b"[" * 100_000])
def test_bodies_that_are_no_object(body: bytes) -> None:
    assert refused(parse_object, body).status == 400


# --- answers ---------------------------------------------------------------------------------------------------------


def test_thoughts_are_collected() -> None:
    answer = Answer()
    pieces = [
        {"reasoning_content": "hm"}, {"reasoning": "m"}, {"content": "ok"},
    ]  # fmt: skip
    for piece in pieces:
        answer.add(read_delta(json.dumps({"choices": [{"delta": piece}]})))
    assert ("".join(answer.thinking), "".join(answer.content)) == ("hmm", "ok")


CLOCK = Clock(arrival=0, dispatch=10, first=30, last=70, end=100)


def test_the_upstreams_numbers_come_first() -> None:
    answer = Answer(
        finish="length",
        usage={"prompt_tokens": 9, "completion_tokens": 4},
        timings={"prompt_ms": 1e-5, "predicted_ms": 2e-5},
    )
    line = final("chat", "m", answer, CLOCK, whole=False)
    assert line["done_reason"] == "length" and line["message"] == {"role": "assistant", "content": ""}
    assert (line["prompt_eval_count"], line["eval_count"]) == (9, 4)
    durations = [line[name] for name in ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration")]
    assert durations == [100, 10, 10, 20] and all(type(value) is int for value in durations)


def test_without_them_the_clock_and_the_pieces_do() -> None:
    answer = Answer(finish="other", pieces=3)
    line = final("generate", "m", answer, CLOCK, whole=True)
    assert (line["done_reason"], line["eval_count"], line["prompt_eval_count"]) == ("stop", 3, 0)
    assert (line["prompt_eval_duration"], line["eval_duration"]) == (20, 40)


def test_timestamps_are_utc() -> None:
    assert timestamp().endswith("Z") and datetime.fromisoformat(timestamp(ahead=math.inf)).utcoffset() is not None


@pytest.mark.parametrize(
    "data", ["x", "[]", '{"error": "boom"}', '{"choices": [{"delta": {}, "finish_reason": "abort"}]}']
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
    assert [upstream_failure(code, "x").status for code in (400, 404, 422, 501, 401, 403, 500, 503)] == [
        400, 404, 422, 501, 502, 502, 502, 502,
    ]  # fmt: skip


def test_vllms_overflow_is_said_in_llama_cpps_words() -> None:
    text = (
        "This model's maximum context length is 512 tokens. "
        "However, you requested 800 tokens (700 in the messages, 100 in the completion)."
    )
    error = upstream_failure(400, json.dumps({"error": {"message": text}}))
    assert error.message == "request (700 tokens) exceeds the available context size (512 tokens), try increasing it"
