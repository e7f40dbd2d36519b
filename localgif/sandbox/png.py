"""Takes a PNG out of the answer of a confined process and checks it, without decoding it.

That process has read a stranger's file, so whatever it says is data: what passes here is small, is one plain picture
and carries nothing else. Its pixels are the stranger's.
"""

from __future__ import annotations

import base64
import struct
import zlib

from localgif.records import Record

#: Largest PNG that is taken, bytes: what fits into a measurer's answer in base64, with room to spare.
MAX_BYTES = 45_000
#: Longest side, pixels.
MAX_SIDE = 1024

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: The chunks of a plain palette picture; others may carry text, profiles or other files.
_CHUNKS = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_HEADER = struct.Struct(">IIBBBBB")
_PALETTE = 3
_FRAME = 12
"""Bytes of a chunk beside its data: length, type, checksum."""


class BadPng(ValueError):
    """The bytes are no PNG that may be passed on; the message says why."""


class _Answer(Record):
    """What a painter says."""

    png: str
    """In base64."""


def take_png(answer: bytes) -> bytes:
    """The PNG in the JSON answer of a painter, checked.

    Raises:
        ValueError: The answer is none, or the PNG is not one that may be passed on.
    """
    png = base64.b64decode(_Answer.model_validate_json(answer, strict=True).png, validate=True)
    check_png(png)
    return png


def check_png(data: bytes) -> None:
    """A whole palette picture of 1 to MAX_SIDE pixels a side, of the plain chunks in their order and nothing else.

    Raises:
        BadPng: It is not, or longer than MAX_BYTES.
    """
    if len(data) > MAX_BYTES:
        raise BadPng(f"the picture has {len(data):,} bytes, the limit is {MAX_BYTES:,}")
    if not data.startswith(_SIGNATURE):
        raise BadPng(f"no PNG: it starts with {data[:8]!r}")
    kinds: list[bytes] = []
    position = len(_SIGNATURE)
    while position < len(data):
        kind, body, position = _chunk(data, position)
        if kind == b"IHDR":
            _check_header(body)
        elif kind == b"PLTE" and (len(body) % 3 or not 3 <= len(body) <= 768):
            raise BadPng(f"a palette of {len(body)} bytes")
        if not (kinds and kinds[-1] == kind == b"IDAT"):  # picture data may come in several pieces
            kinds.append(kind)
    if tuple(kinds) != _CHUNKS:
        raise BadPng(f"its chunks are {b' '.join(kinds)!r}")


def _chunk(data: bytes, position: int) -> tuple[bytes, bytes, int]:
    """Type and data of the chunk at `position`, and where the next begins."""
    length = int.from_bytes(data[position : position + 4], "big")
    end = position + _FRAME + length
    if end > len(data):
        raise BadPng("a chunk is longer than the file")
    kind = data[position + 4 : position + 8]
    if zlib.crc32(data[position + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
        raise BadPng("the checksum of a chunk is wrong")
    return kind, data[position + 8 : end - 4], end


def _check_header(body: bytes) -> None:
    if len(body) != _HEADER.size:
        raise BadPng(f"a header of {len(body)} bytes")
    width, height, depth, kind, *rest = _HEADER.unpack(body)
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise BadPng(f"{width} x {height} pixels, the limit is {MAX_SIDE} a side")
    if kind != _PALETTE or depth not in (1, 2, 4, 8) or any(rest):
        raise BadPng(f"not a plain palette picture (type {kind}, {depth} bits, {rest})")
