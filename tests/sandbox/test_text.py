"""Program output is safe to show: no control characters, no half sequences, never more than the end of it."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localgif.sandbox.text import Tail, capped, clean, stable


@given(st.binary() | st.text().map(lambda text: text.encode(errors="replace")))
def test_cleaning_twice_changes_nothing_more_and_leaves_no_control_character(data: bytes) -> None:
    once = clean(data)
    assert clean(once.encode()) == once
    assert not [char for char in once if (ord(char) < 32 and char not in "\t\n") or 127 <= ord(char) < 160]


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=("C", "Z", "M", "Lo"))))
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert clean(text.encode()) in (text, text.replace("\u2800", ""))


def test_what_differs_from_run_to_run_is_taken_out() -> None:
    said = "<object at 0x7f00deadbeef> in /tmp/x-1/out.gif, colour 0xff8800, pointer 0x7f00deadbeef"
    assert stable(said, "/tmp/x-1") == "<object at 0x...> in ./out.gif, colour 0xff8800, pointer 0x..."
    said = "<Thread(Thread-1, started 140152087047040)> tmpn0uxtasx.png /tmp/tmp_a1b2c3d, 1400000000 tmpfiles"
    once = "<Thread(Thread-1, started ...)> tmp....png /tmp/tmp..., 1400000000 tmpfiles"
    assert stable(said) == once == stable(once)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\x1b[31mred\x1b[0m", "red"),
        (b"\x1b]0;title\x07after", "after"),
        (b"\x1b]8;;http://x\x1b\\link", "link"),
        ("\x9b2Jcleared".encode(), "cleared"),
        (b"line\r\nnext\rover", "line\nnextover"),
        (b"caf\xc3\xa9 \xff\xfe", "café "),
        ("\u202eevil".encode(), "evil"),
        ("a\u200bb\U000e0041\ufe0f\U000e0100\u3164c\u00a0d".encode(), "abc d"),
        (b"\x1b\x1b[31m\x1b[0m!", "!"),
        ("\x1b[2Jhello\x07\u202e".encode(), "hello"),
    ],
)
def test_sequences_are_removed_whole(data: bytes, text: str) -> None:
    assert clean(data) == text


@pytest.mark.parametrize("start", ["\x9d", "\x9d\x9b", "\x1b]", "\x1b[", "\x1b[0", "\x9b ", "\x1b"])
def test_beginnings_of_sequences_without_an_end_take_linear_time(start: str) -> None:
    data = (start * 65_536).encode()[:65_536]
    started = time.process_time()
    assert "\x9d" not in clean(data)
    assert time.process_time() - started < 0.5


@given(st.lists(st.binary(max_size=50)), st.integers(0, 40))
def test_the_tail_is_the_end_of_everything_fed(chunks: list[bytes], limit: int) -> None:
    tail = Tail(limit)
    for chunk in chunks:
        tail.feed(chunk)
    assert tail.get() == (b"".join(chunks)[-limit:] if limit else b"")


def test_a_cut_shows() -> None:
    assert capped("abcdef", 6) == "abcdef"
    assert capped("abcdefg", 6) == "abc..."
