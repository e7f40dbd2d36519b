"""What the header of a GGUF file says: enough for /api/show, without loading the model.

The header is small except for the vocabulary, which is skipped. llama.cpp decides whether a file is sound: a header
that cannot be read gives empty facts here, never an error.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9
#: Limits above any honest header, so that a broken file cannot keep us reading: entries and bytes of one text, and
#: numbers in all. Vocabularies have up to 300,000 words and as many merges.
_MOST_ENTRIES = 10**7
_MOST_STEPS = 2 * 10**6
#: Dimensions of a tensor; ggml has 4.
_MOST_DIMENSIONS = 8

#: Type of a tensor in ggml -> weights in a block, bytes of a block.
_BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 36), 10: (256, 84),
    11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292), 16: (256, 66), 17: (256, 74),
    18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2),
    26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2),
}  # fmt: skip

#: general.file_type -> name, for the kinds that people use.
_QUANTISATIONS = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
    13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 25: "IQ4_NL", 30: "IQ4_XS",
    32: "BF16",
}  # fmt: skip


@dataclass(frozen=True)
class GgufFacts:
    """Facts from the header; zero, empty or "unknown" where they are missing."""

    architecture: str = "unknown"
    metadata: dict[str, Any] = field(default_factory=dict)
    """The scalar entries, without the tokenizer."""
    parameters: int = 0
    """Number of weights."""
    size: int = 0
    """The least number of bytes of a whole file, by the offsets of its tensors."""
    context_length: int = 0
    """The window that the model was trained for, tokens."""
    template: str | None = ""
    """The chat template (Jinja); None if a server does not show it."""
    quantisation: str = "unknown"

    @property
    def can_think(self) -> bool | None:
        """Whether the template supports thinking; None if the template is unknown."""
        if self.template is None:
            return None
        return any(word in self.template for word in ("enable_thinking", "<think>", "reasoning_effort"))

    @property
    def parameter_size(self) -> str:
        """The number of weights for people, e.g. "1.5B"."""
        if self.parameters >= 10**9:
            return f"{self.parameters / 1e9:.1f}B"
        return f"{self.parameters / 1e6:.2f}M" if self.parameters else "unknown"


def read_facts(path: Path) -> GgufFacts:
    """Read the header of a GGUF file; facts that cannot be read are left out."""
    try:
        with path.open("rb") as file:
            return _facts(_Reader(file))
    except (OSError, ValueError, struct.error, MemoryError, OverflowError, RecursionError):
        return GgufFacts()


def lacking(path: Path) -> str:
    """Why a GGUF file of unknown sha256 is incomplete, by its own header; "" if it is complete."""
    facts, size = read_facts(path), path.stat().st_size
    if not facts.size:
        return "its header cannot be read"
    return f"it has {size:,} bytes, but its tensors need {facts.size:,}" if size < facts.size else ""


class _Reader:
    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self._steps = 0

    def take(self, count: int) -> bytes:
        data = self.file.read(count)
        if len(data) < count:
            raise ValueError("the file ends inside its header")
        return data

    def number(self, code: str) -> Any:
        self._steps += 1
        if self._steps > _MOST_STEPS:
            raise ValueError("an impossible header")
        return struct.unpack(code, self.take(struct.calcsize(code)))[0]

    def count(self) -> int:
        value = int(self.number("<Q"))
        if value > _MOST_ENTRIES:
            raise ValueError("an impossible number of entries")
        return value

    def text(self) -> str:
        return self.take(self.count()).decode("utf-8", "replace")

    def value(self, kind: int) -> Any:
        """The value of one entry; None for arrays, which are skipped."""
        if kind in _SCALARS:
            return self.number(_SCALARS[kind])
        if kind == _STRING:
            return self.text()
        if kind != _ARRAY:
            raise ValueError("an unknown type")
        inner, length = self.number("<I"), self.count()
        if inner in _SCALARS:
            self.file.seek(length * struct.calcsize(_SCALARS[inner]), 1)
        elif inner == _STRING:
            self._skip_texts(length)
        else:
            for _ in range(length):
                self.value(inner)
        return None

    def _skip_texts(self, length: int) -> None:
        """A vocabulary and its merges are 300,000 texts, so this does what `text` does in a third of the time."""
        self._steps += length
        if self._steps > _MOST_STEPS:
            raise ValueError("an impossible header")
        read = self.file.read
        for _ in range(length):
            size = int.from_bytes(read(8), "little")
            if size > _MOST_ENTRIES or len(read(size)) < size:
                raise ValueError("an impossible text, or the file ends inside its header")


def _facts(reader: _Reader) -> GgufFacts:
    if reader.take(4) != b"GGUF" or reader.number("<I") not in (2, 3):
        raise ValueError("not a GGUF file of a known version")
    tensors, entries = reader.count(), reader.count()
    found: dict[str, Any] = {}
    for _ in range(entries):
        name = reader.text()
        value = reader.value(reader.number("<I"))
        if value is not None:
            found[name] = value
    architecture = str(found.get("general.architecture", "unknown"))
    context = found.get(f"{architecture}.context_length", 0)
    alignment = found.get("general.alignment", 32)
    parameters, size = _tensors(reader, tensors, alignment if isinstance(alignment, int) and alignment > 0 else 32)
    return GgufFacts(
        architecture=architecture,
        metadata={name: value for name, value in found.items() if not name.startswith("tokenizer.")},
        parameters=parameters,
        size=size,
        context_length=context if isinstance(context, int) else 0,
        template=str(found.get("tokenizer.chat_template", "")),
        quantisation=_QUANTISATIONS.get(found.get("general.file_type", -1), "unknown"),
    )


def _tensors(reader: _Reader, tensors: int, alignment: int) -> tuple[int, int]:
    """Number of weights, and bytes of the whole file, from the descriptions after the entries."""
    total = end = 0
    for _ in range(tensors):
        reader.text()
        dimensions = reader.number("<I")
        if dimensions > _MOST_DIMENSIONS:
            raise ValueError("an impossible tensor")
        weights = math.prod(reader.number("<Q") for _ in range(dimensions))
        in_block, size = _BLOCKS.get(reader.number("<I"), (weights or 1, 1))  # unknown type: only the offset counts
        total, end = total + weights, max(end, reader.number("<Q") + -(-weights // in_block) * size)
    return total, -(-reader.file.tell() // alignment) * alignment + end
