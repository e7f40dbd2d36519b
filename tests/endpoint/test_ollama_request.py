"""Requests of the Ollama API, read without a server."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localgif.endpoint.ollama_request import (
    FLOAT_DEFAULTS,
    FOREVER,
    INT_DEFAULTS,
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
    assert fields == {**FLOAT_DEFAULTS, **INT_DEFAULTS}
    assert (fields["temperature"], fields["top_p"], fields["min_p"], fields["repeat_penalty"]) == (0.8, 0.9, 0.0, 1.0)
    assert (fields["top_k"], fields["repeat_last_n"]) == (40, 64)


FLOATS = st.floats(allow_nan=False, allow_infinity=False)


@given(st.fixed_dictionaries({}, optional={name: FLOATS | st.integers(-9, 9) for name in FLOAT_DEFAULTS}))
def test_numbers_go_through_unchanged(options: dict[str, float]) -> None:
    fields = read_options(options).fields
    assert {name: fields[name] for name in FLOAT_DEFAULTS} == {**FLOAT_DEFAULTS, **options}


NO_NUMBERS = st.text() | st.booleans() | st.lists(st.integers()) | st.dictionaries(st.text(), st.integers())


@given(st.sampled_from([*FLOAT_DEFAULTS, *INT_DEFAULTS, "seed", "num_predict", "num_ctx"]), NO_NUMBERS)
def test_a_wrong_type_is_refused_by_the_options_name(name: str, value: object) -> None:
    error = refused(read_options, {name: value})
    assert (error.status, f'"{name}"' in error.message) == (400, True)


@pytest.mark.parametrize(
    "options",
    [
        {"top_k": 1.5}, {"temperature": 10**400}, {"seed": 2**70}, {"num_ctx": 0},
        {"stop": 1}, {"stop": [1]}, {"stop": {"a": 1}}, {"stop": ["a", None]},
    ],
)  # fmt: skip
def test_impossible_values_are_refused(options: dict[str, Any]) -> None:
    error = refused(read_options, options)
    assert (error.status, f'"{next(iter(options))}"' in error.message) == (400, True)


def test_whole_floats_are_integers_null_is_absent_and_the_rest_is_ignored() -> None:
    options: dict[str, Any] = {
        "top_k": 7.0,
        "temperature": None,
        "unknown": [],
        "num_thread": "x",
        "seed": None,
        "num_ctx": None,
    }
    sampling = read_options(options)
    assert sampling.fields == {**FLOAT_DEFAULTS, **INT_DEFAULTS, "top_k": 7} and sampling.num_ctx is None
    assert refused(read_options, [1]).status == 400


@given(st.integers(-(2**40), 2**40))
def test_num_predict_is_a_limit_only_if_it_is_not_negative(number: int) -> None:
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


# --- keep_alive, format, think ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None), (300, 300.0), (300.0, 300.0), ("5m", 300.0), ("1h30m", 5400.0), ("1.5h", 5400.0), ("250ms", 0.25),
        (0, 0.0), ("0s", 0.0), ("0", 0.0), ("+2s", 2.0), (-1, FOREVER), (-1.0, FOREVER), ("-1m", FOREVER), (".5s", 0.5),
        ("99h59m59s", 359999.0), (10**400, 2.0**62),
    ],
)  # fmt: skip
def test_keep_alive(value: object, seconds: float | None) -> None:
    assert read_keep_alive(value) == (seconds if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize("value", ["", "5", "m", "5 m", "5x", "five", "1h30", True, [], {}, "5m "])
def test_keep_alive_that_is_not_a_duration(value: object) -> None:
    error = refused(read_keep_alive, value)
    assert (error.status, "keep_alive" in error.message) == (400, True)


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


def test_think_levels() -> None:
    assert [read_think(value) for value in (True, False, "low", "max", None)] == [True, False, "low", "max", None]
    values: list[object] = [0, 1, 1.0, "none", [], {}]
    assert [refused(read_think, value).status for value in values] == [400] * 6


# --- calls -----------------------------------------------------------------------------------------------------------


def test_a_chat_request_always_streams_and_asks_for_the_counts() -> None:
    call = read_call("chat", {"model": "m", "messages": HI, "stream": False, "truncate": False, "shift": True})
    assert (call.stream, call.body["stream"], call.body["stream_options"]) == (False, True, {"include_usage": True})
    assert call.body["messages"] == HI and "model" not in call.body
    assert read_call("chat", {"model": "m", "messages": HI}).stream, "the default"


def test_what_clients_leave_out_or_send_empty() -> None:
    messages = [{"role": "USER", "images": []}, {"role": "assistant", "content": None, "tool_calls": []}]
    request = {"model": "m", "messages": messages, "tools": [], "images": [], "format": "", "options": None}
    call = read_call("chat", request)
    assert call.body["messages"] == [{"role": "user", "content": ""}, {"role": "assistant", "content": ""}]
    assert not call.images and "tools" not in call.body and not call.empty
    assert read_call("chat", {"model": "m", "messages": [{**HI[0], "images": ["aGk="]}]}).images


def test_generate_is_the_two_messages() -> None:
    call = read_call("generate", {"model": "m", "prompt": "hi", "system": "be brief", "images": [], "suffix": ""})
    assert call.body["messages"] == [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]


@pytest.mark.parametrize(("kind", "request_"), [("chat", {"messages": []}), ("chat", {}), ("generate", {"prompt": ""})])
def test_a_request_without_text_is_a_load(kind: Any, request_: dict[str, Any]) -> None:
    assert read_call(kind, {"model": "m", **request_}).empty


@pytest.mark.parametrize(
    ("kind", "request_", "words"),
    [
        ("chat", {"messages": "hi"}, "messages"),
        ("chat", {"messages": ["hi"]}, "messages"),
        ("chat", {"messages": [{"role": "robot"}]}, "robot"),
        ("chat", {"messages": [{"role": "user", "content": [1]}]}, "content must be a string, not an array"),
        ("chat", {"messages": HI, "stream": "yes"}, "stream must be a boolean, not a string"),
        ("chat", {"messages": HI, "tools": [{}]}, "tools is not supported"),
        ("chat", {"messages": HI, "logprobs": True}, "logprobs is not supported"),
        ("chat", {"messages": [{"role": "assistant", "tool_calls": [{}]}]}, "tool_calls is not supported"),
        ("chat", {"messages": [{"role": "tool", "content": "42"}]}, "invalid role 'tool'"),
        ("chat", {"model": 1, "messages": HI}, "invalid model name"),
        ("generate", {"prompt": 1}, "prompt"),
        ("generate", {"prompt": "hi", "system": 1}, "system"),
        *(("generate", {"prompt": "hi", field: [1]}, field) for field in ("raw", "template", "suffix", "context")),
    ],
)
def test_what_is_wrong_is_named(kind: Any, request_: dict[str, Any], words: str) -> None:
    error = refused(read_call, kind, {"model": "m", **request_})
    assert (error.status, words in error.message) == (400, True), error.message


def test_models_without_a_name() -> None:
    assert refused(read_call, "chat", {"messages": HI}).message == "model is required"
    missing = refused(read_call, "generate", {"prompt": "hi"})
    assert (missing.status, missing.message) == (404, "model '' not found")


def test_names_match_without_case_and_latest() -> None:
    assert same_model("Smol", "smol:LATEST") and same_model("smol:latest", "SMOL") and not same_model("smol:1b", "smol")


@pytest.mark.parametrize("body", [b"", b"  ", b"{", b"[]", b"1", b'{"a": NaN}', b"\xff", b"[" * 100_000])
def test_bodies_that_are_not_an_object(body: bytes) -> None:
    assert refused(parse_object, body).status == 400
