"""Text that a model or a program wrote cannot steer a terminal."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from localgif.sandbox.text import printable


@given(st.text())
def test_printable_text_has_no_controls_and_is_stable(text: str) -> None:
    shown = printable(text)
    assert not any(ord(c) < 32 and c not in "\n\t" for c in shown)
    assert "\x7f" not in shown and "\x9b" not in shown
    assert printable(shown) == shown


def test_an_escape_sequence_goes_whole() -> None:
    assert printable("\x1b[2Jhello\x07\u202e") == "hello"
