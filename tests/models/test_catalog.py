"""Names in any spelling mean one model, and the catalogue's own numbers agree with each other."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localgif.models.catalog import CATALOG, WheelParts, canonical, lookup

_NAMES = st.text(alphabet="aBz0.-_/: ", max_size=30) | st.text(max_size=20)


@given(_NAMES)
def test_canonical_form_of_a_canonical_form_is_itself(name: str) -> None:
    assert canonical(canonical(name)) == canonical(name)


@given(st.text(alphabet=st.characters(max_codepoint=127), max_size=30))
def test_case_does_not_matter(name: str) -> None:
    assert canonical(name.upper()) == canonical(name.lower()) == canonical(name)


@given(_NAMES)
def test_every_name_has_a_tag(name: str) -> None:
    _, colon, tag = canonical(name).rpartition("/")[2].partition(":")
    assert colon == ":"
    assert tag


@pytest.mark.parametrize(
    ("spelling", "expected"),
    [
        ("Qwen2.5-Coder", "qwen2.5-coder:latest"),
        ("qwen2.5-coder:", "qwen2.5-coder:latest"),
        (" QWEN2.5-coder:1.5B ", "qwen2.5-coder:1.5b"),
        ("library/llama3:8b", "llama3:8b"),
        ("registry.ollama.ai/library/llama3:8b", "llama3:8b"),
        ("ollama.com/someone/llama3", "someone/llama3:latest"),
        ("hf.co/Qwen/Qwen2.5-GGUF:Q4_K_M", "hf.co/qwen/qwen2.5-gguf:q4_k_m"),
        ("localhost:5000/me/mine", "localhost:5000/me/mine:latest"),
    ],
)
def test_spellings(spelling: str, expected: str) -> None:
    assert canonical(spelling) == expected


def test_lookup_takes_any_spelling_and_guesses_nothing() -> None:
    known = lookup("library/Qwen2.5-Coder:1.5B")
    assert known is not None
    assert known.name == "qwen2.5-coder:1.5b"
    assert lookup("qwen2.5-coder") is None


@pytest.mark.parametrize("name", CATALOG)
def test_numbers_of_an_entry_agree(name: str) -> None:
    known = CATALOG[name]
    assert known.name == name == canonical(name)
    assert re.fullmatch("[0-9a-f]{64}", known.sha256)
    assert known.licence
    assert known.sources
    for source in known.sources:
        if isinstance(source, WheelParts):
            assert sum(source.sizes) == known.size
            assert len(source.sizes) == len(source.packages) == len(set(source.packages))
        else:
            assert source.startswith("https://")
