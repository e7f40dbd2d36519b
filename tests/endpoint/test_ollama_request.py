"""Requests of the Ollama API, read without a server."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localgif.endpoint.ollama_request import FOREVER, ApiError, Call, Kind, Options, parse_object, read_call, same_model
from tests.support.kit import seconds

HI = [{"role": "user", "content": "hi"}]
DEFAULTS = Options().fields()
INTS = ["top_k", "repeat_last_n"]
FLOATS = [name for name in DEFAULTS if name not in INTS]


def chat(**fields: Any) -> Call:
    return read_call("chat", {"model": "m", "messages": HI, **fields})


def options(**given: Any) -> dict[str, Any]:
    """What options become in the body."""
    body = chat(options=given).body
    return {name: body[name] for name in body if name not in ("messages", "stream", "stream_options")}


def refused(kind: Kind = "chat", **fields: Any) -> str:
    with pytest.raises(ApiError) as caught:
        read_call(kind, {"model": "m", "messages": HI, **fields})
    assert caught.value.status == 400
    return caught.value.message


# --- options ---------------------------------------------------------------------------------------------------------


def test_absent_options_are_ollamas_defaults() -> None:
    assert options() == chat(options=None).options.fields() == DEFAULTS
    assert [DEFAULTS[name] for name in ("temperature", "top_p", "min_p", "repeat_penalty")] == [0.8, 0.9, 0.0, 1.0]
    assert [DEFAULTS[name] for name in INTS] == [40, 64]


@given(st.fixed_dictionaries({}, optional={name: st.floats(-1e9, 1e9) | st.integers(-9, 9) for name in FLOATS}))
def test_numbers_go_through_unchanged(given: dict[str, float]) -> None:
    assert options(**given) == {**DEFAULTS, **given}


NO_NUMBERS = st.text() | st.booleans() | st.lists(st.integers()) | st.dictionaries(st.text(), st.integers())


@given(st.sampled_from([*DEFAULTS, "seed", "num_predict", "num_ctx"]), NO_NUMBERS)
def test_a_wrong_type_is_refused_by_the_options_name(name: str, value: object) -> None:
    assert refused(options={name: value}).startswith(f"options.{name} = ")


@pytest.mark.parametrize(
    "given",
    [
        {"top_k": 1.5}, {"temperature": 10**400}, {"temperature": math.inf}, {"seed": 2**70}, {"num_ctx": 0},
        {"stop": 1}, {"stop": [1]}, {"stop": {"a": 1}}, {"stop": ["a", None]},
    ],
)  # fmt: skip
def test_impossible_values_are_refused(given: dict[str, Any]) -> None:
    assert refused(options=given).startswith(f"options.{next(iter(given))}")


def test_whole_floats_are_integers_null_is_absent_and_the_rest_is_ignored() -> None:
    ignored: dict[str, Any] = {"temperature": None, "unknown": [], "num_thread": "x", "seed": None, "num_ctx": None}
    assert options(top_k=7.0, **ignored) == {**DEFAULTS, "top_k": 7}


@given(st.integers(-(2**40), 2**40))
def test_num_predict_is_a_limit_only_if_it_is_not_negative(number: int) -> None:
    assert options(num_predict=number).get("max_tokens") == (number if number >= 0 else None)


@given(st.integers(-(2**62), 2**62))
def test_a_seed_fits_32_bits_and_is_never_the_random_one(seed: int) -> None:
    sent = options(seed=seed).get("seed")
    if seed < 0:
        assert sent is None
    else:
        assert sent is not None and 0 <= sent < 2**32 - 1 and (seed >= 2**32 - 1 or sent == seed)


@pytest.mark.parametrize(("stop", "sent"), [("END", ["END"]), (["a", "", "b"], ["a", "b"]), ([], None), (None, None)])
def test_stop_is_a_list_or_a_string(stop: object, sent: list[str] | None) -> None:
    assert options(stop=stop).get("stop") == sent


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
    assert chat(keep_alive=value).keep_alive == (seconds if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize("value", ["", "5", "m", "5 m", "5x", "five", "1h30", True, [], {}, "5m "])
def test_keep_alive_that_is_not_a_duration(value: object) -> None:
    assert refused(keep_alive=value) == f'keep_alive = {value!r}: must be seconds or a duration such as "5m"'


def test_formats() -> None:
    schema = {"type": "object"}
    wanted = {"type": "json_schema", "json_schema": {"name": "schema", "schema": schema}}
    assert chat(format="json").body["response_format"] == {"type": "json_object"}
    assert chat(format=schema).body["response_format"] == wanted
    assert "response_format" not in chat(format="").body | chat(format=None).body
    assert refused(format="yaml") == "format = 'yaml': must be \"json\" or a JSON Schema object"


def test_think_levels() -> None:
    levels = [True, False, "low", "max", None]
    assert [chat(think=value).think for value in levels] == levels
    values: list[object] = [0, 1, 1.0, "none", [], {}]
    for value in values:
        assert refused(think=value).startswith("think = ")


# --- calls -----------------------------------------------------------------------------------------------------------


def test_a_chat_request_always_streams_and_asks_for_the_counts() -> None:
    call = chat(stream=False, truncate=False, shift=True)
    assert (call.stream, call.body["stream"], call.body["stream_options"]) == (False, True, {"include_usage": True})
    assert call.body["messages"] == HI and "model" not in call.body
    assert chat().stream, "the default"


def test_what_clients_leave_out_or_send_empty() -> None:
    messages = [{"role": "USER", "images": []}, {"role": "assistant", "content": None, "tool_calls": []}]
    call = chat(messages=messages, tools=[], images=[], format="", options=None)
    assert call.body["messages"] == [{"role": "user", "content": ""}, {"role": "assistant", "content": ""}]
    assert not call.has_images and "tools" not in call.body and not call.empty
    assert chat(messages=[{**HI[0], "images": ["aGk="]}]).has_images


def test_generate_is_the_two_messages() -> None:
    call = read_call("generate", {"model": "m", "prompt": "hi", "system": "be brief", "images": [], "suffix": ""})
    assert call.body["messages"] == [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]


@pytest.mark.parametrize(("kind", "request_"), [("chat", {"messages": []}), ("chat", {}), ("generate", {"prompt": ""})])
def test_a_request_without_text_is_a_load(kind: Any, request_: dict[str, Any]) -> None:
    assert read_call(kind, {"model": "m", **request_}).empty


@pytest.mark.parametrize(
    ("kind", "fields", "words"),
    [
        ("chat", {"messages": "hi"}, "messages = 'hi': must be a valid list"),
        ("chat", {"messages": ["hi"]}, "messages.0 = 'hi': must be an object"),
        ("chat", {"messages": [{"content": "hi"}]}, "messages.0.role: Field required"),
        ("chat", {"messages": [{"role": "tool"}]}, "role = 'tool': must be 'system', 'user' or 'assistant'"),
        ("chat", {"messages": [{"role": "user", "content": [1]}]}, "messages.0.content = [1]: must be a valid string"),
        ("chat", {"stream": "yes"}, "stream = 'yes': must be a valid boolean"),
        ("chat", {"options": [1]}, "options = [1]: must be an object"),
        ("chat", {"tools": [{}]}, "tools is not supported"),
        ("chat", {"logprobs": True}, "logprobs is not supported"),
        ("chat", {"messages": [{"role": "assistant", "tool_calls": [{}]}]}, "tool_calls is not supported"),
        ("chat", {"model": 1}, "invalid model name"),
        ("generate", {"prompt": 1}, "prompt = 1"),
        ("generate", {"prompt": "hi", "system": 1}, "system = 1"),
        *(("generate", {"prompt": "hi", field: [1]}, field) for field in ("raw", "template", "suffix", "context")),
    ],
)
def test_what_is_wrong_is_named(kind: Any, fields: dict[str, Any], words: str) -> None:
    assert words in refused(kind, **fields)


def test_a_long_duration_is_refused_as_fast_as_a_short_one() -> None:
    assert seconds(lambda: refused("chat", keep_alive="0" * 100_000)) < 1


def test_names_match_without_case_and_latest() -> None:
    assert same_model("Smol", "smol:LATEST") and same_model("smol:latest", "SMOL") and not same_model("smol:1b", "smol")


@pytest.mark.parametrize(
    ("asked", "same"),
    [
        ("registry.ollama.ai/library/small:1b", True),
        ("https://registry.ollama.ai/library/Small:1B", True),
        ("library/small:1b", True),
        ("registry.ollama.ai/me/small:1b", False),
        ("other.example/library/small:1b", False),
        ("hf.co/library/small:1b", False),
    ],
)
def test_ollamas_own_registry_may_be_left_out_and_no_other(asked: str, same: bool) -> None:
    assert same_model("small:1b", asked) is same_model(asked, "small:1b") is same


@pytest.mark.parametrize("body", [b"", b"  ", b"{", b"[]", b"1", b'{"a": NaN}', b"\xff", b"[" * 100_000])
def test_bodies_that_are_not_an_object(body: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        parse_object(body)
    assert caught.value.status == 400
