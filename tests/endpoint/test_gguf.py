"""What the header of a GGUF file says."""

from __future__ import annotations

import struct
import time
from pathlib import Path

import pytest

from localgif.endpoint.gguf import GgufFacts, lacking, read_facts
from localgif.records import ServedModel


def test_a_header_tells_the_facts(served: ServedModel) -> None:
    facts = read_facts(Path(served.path))
    assert (facts.architecture, facts.context_length, facts.quantisation) == ("llama", 8192, "Q4_1")
    assert (facts.parameters, facts.parameter_size) == (134515008, "134.52M")
    assert facts.template and "im_start" in facts.template and facts.can_think is False
    assert GgufFacts(parameters=1_540_000_000).parameter_size == "1.5B"
    assert GgufFacts(template=None).can_think is None and GgufFacts(template="<think>").can_think


@pytest.mark.parametrize("count", [0, 3, 20, 1000, 10**6])
def test_a_broken_header_tells_nothing(served: ServedModel, tmp_path: Path, count: int) -> None:
    with Path(served.path).open("rb") as file:
        (tmp_path / "x.gguf").write_bytes(file.read(count))
    assert read_facts(tmp_path / "x.gguf") == GgufFacts()
    assert read_facts(tmp_path / "absent.gguf") == GgufFacts()
    arrays = struct.pack("<IQ", 9, 1) * 10_000  # each holds the next one
    (tmp_path / "x.gguf").write_bytes(b"GGUF" + struct.pack("<IQQQI", 3, 0, 1, 0, 9) + arrays)
    assert read_facts(tmp_path / "x.gguf") == GgufFacts()


def header(dimensions: int, kind: int, offset: int, tensors: int = 1) -> bytes:
    """A GGUF file without entries whose tensors have `dimensions` of 32."""
    tensor = struct.pack("<QcI", 1, b"t", dimensions) + struct.pack("<Q", 32) * dimensions
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, 0) + tensor + struct.pack("<IQ", kind, offset)


def test_a_file_that_is_cut_lacks_what_its_tensors_need(served: ServedModel, tmp_path: Path) -> None:
    assert read_facts(Path(served.path)).size <= served.size == Path(served.path).stat().st_size
    assert lacking(Path(served.path)) == ""
    path = tmp_path / "x.gguf"
    for kind, size in ((0, 32 * 32 * 4), (2, 32 * 18), (12, 4 * 144), (999, 1)):
        whole = header(2, kind, 64).ljust(96, b"\0") + bytes(64 + size)
        path.write_bytes(whole)
        assert lacking(path) == "", kind
        path.write_bytes(whole[:-1])
        assert lacking(path) == f"it has {len(whole) - 1:,} bytes, but its tensors need {len(whole):,}"
    path.write_bytes(whole[:20])
    assert lacking(path) == "its header cannot be read"


@pytest.mark.parametrize("made", [header(10**6, 0, 0), header(0, 0, 0, tensors=10**7) + bytes(10**8)])
def test_an_impossible_header_is_left_at_once(made: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(made)
    before = time.process_time()
    assert read_facts(path) == GgufFacts()
    assert time.process_time() - before < 8
