"""Messages between app and keeper survive any cut, and nothing else is taken for one."""

from __future__ import annotations

import json
import struct
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localgif.records import Limits
from localgif.sandbox.protocol import MESSAGE_CAP, MachineryError, Request, Unpacker, pack

TEXT = st.text(max_size=50)
REQUESTS = st.fixed_dictionaries(
    {
        "mode": st.sampled_from(["program", "measure"]),
        "module": TEXT,
        "directory": TEXT,
        "layers": st.lists(TEXT, max_size=5),
        "limits": st.just(Limits().model_dump()),
    }
)


@given(REQUESTS, st.lists(st.integers(1, 40)))
def test_a_message_arrives_whole_however_it_is_cut(request_: dict[str, Any], cuts: list[int]) -> None:
    data = pack(cast("Request", request_))
    unpacker, at = Unpacker(), 0
    for size in (*cuts, len(data)):
        piece = data[at : at + size]
        at += size
        found = unpacker.feed(piece)
        if at >= len(data):
            break
        assert found is None
    assert found == request_


@given(st.binary(max_size=200), st.lists(st.integers(1, 40), max_size=10))
def test_nothing_but_a_message_is_taken_for_one(data: bytes, cuts: list[int]) -> None:
    unpacker, at, found = Unpacker(), 0, None
    try:
        for size in (*cuts, len(data)):
            found = unpacker.feed(data[at : at + size])
            at += size
            if found is not None:
                break
    except MachineryError:
        return
    if found is not None:
        (size,) = struct.unpack_from("!I", data)
        assert found == json.loads(data[4 : 4 + size]) and isinstance(found, dict)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (struct.pack("!I", MESSAGE_CAP + 1), "says that it has"),
        (struct.pack("!I", 2) + b"{}{}", "says that it has"),
        (struct.pack("!I", 2) + b"[]", "is not a JSON object"),
        (struct.pack("!I", 1) + b"{", "cannot be read"),
        (struct.pack("!I", 2) + b"\xff\xff", "cannot be read"),
        (struct.pack("!I", 60_000) + b"[" * 60_000, "cannot be read"),
    ],
)
def test_a_broken_message_is_our_failure(data: bytes, said: str) -> None:
    with pytest.raises(MachineryError, match=said):
        Unpacker().feed(data)


def test_a_message_that_is_too_long_is_not_sent() -> None:
    request_ = Request(mode="program", module="", directory="x" * MESSAGE_CAP, layers=[], limits={})
    with pytest.raises(MachineryError, match="longer than"):
        pack(request_)
