"""Messages between app and keeper arrive as they were sent, and nothing else is taken for one."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localgif.records import Limits
from localgif.sandbox.protocol import MESSAGE_CAP, MachineryError, Request, pack, unpack

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


@given(REQUESTS)
def test_a_message_arrives_as_it_was_sent(request_: dict[str, Any]) -> None:
    assert unpack(pack(cast("Request", request_))) == request_


@given(st.binary(max_size=200))
def test_a_packet_is_a_message_or_our_failure(packet: bytes) -> None:
    try:
        found = unpack(packet)
    except MachineryError:
        return
    assert found == json.loads(packet) and isinstance(found, dict)


@pytest.mark.parametrize(
    ("packet", "said"),
    [
        (b"[]", "is not a JSON object"),
        (b"{", "cannot be read"),
        (b"", "cannot be read"),
        (b"\xff\xff", "cannot be read"),
        (b"[" * 60_000, "cannot be read"),
    ],
)
def test_a_broken_message_is_our_failure(packet: bytes, said: str) -> None:
    with pytest.raises(MachineryError, match=said):
        unpack(packet)


def test_a_message_that_is_too_long_is_not_sent() -> None:
    request_ = Request(mode="program", module="", directory="x" * MESSAGE_CAP, layers=[], limits={})
    with pytest.raises(MachineryError, match="longer than"):
        pack(request_)
