"""Log lines: they are read as written; every change is noticed, and affects no other line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localgif.records import Proposal
from localgif.store.log import framed, read_log, unframed
from tests.support.kit import proposal

BODIES = st.dictionaries(st.text(), st.text() | st.integers() | st.none()).map(lambda d: json.dumps(d).encode())


@settings(max_examples=30)
@given(BODIES.filter(lambda body: body != b"{}"))
def test_a_line_is_json_and_gives_its_body_back(body: bytes) -> None:
    line = framed(body)
    assert line.count(b"\n") == 1 and line.endswith(b"\n")
    assert unframed(line[:-1]) == body
    assert {**json.loads(body), "check": json.loads(line)["check"]} == json.loads(line)


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(1, 255))
def test_any_changed_byte_of_a_line_is_noticed(
    tmp_path_factory: pytest.TempPathFactory, place: int, flipped: int
) -> None:
    path = tmp_path_factory.mktemp("log") / "x.jsonl"
    written = [proposal(number, "text \u00e4 " * number) for number in (1, 2, 3)]
    lines = b"".join(framed(record.model_dump_json().encode()) for record in written).split(b"\n")
    at = place % len(lines[1])
    lines[1] = lines[1][:at] + bytes([lines[1][at] ^ flipped]) + lines[1][at + 1 :]
    path.write_bytes(b"\n".join(lines))
    log = read_log(path, Proposal)
    assert written[0] in log.records and written[2] in log.records
    assert len(log.records) == 2 and log.damaged and not log.torn


def test_a_line_of_the_present_version_without_its_checksum_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(proposal(1).model_dump_json().encode() + b"\n")
    assert read_log(path, Proposal).damaged == ("line 1: its checksum is missing",)


def test_a_line_of_version_1_needs_none(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    old = proposal(1).model_copy(update={"schema_version": 1})
    path.write_bytes(old.model_dump_json().encode() + b"\n")
    assert read_log(path, Proposal).records == (old,)
