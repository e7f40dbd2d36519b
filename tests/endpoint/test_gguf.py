"""What the header of a GGUF file says."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from localgif.endpoint.gguf import GgufFacts, read_facts
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
