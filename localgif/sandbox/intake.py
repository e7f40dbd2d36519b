"""Opens what a program left, safely: walks a GIF without decoding it, and checks a painter's PNG."""

from __future__ import annotations

import base64
import contextlib
import os
import re
import stat
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from localgif.records import Limits, Record, Verdict


class BadOutput(ValueError):
    """The program's file cannot be taken; the message says why, `verdict` how that counts."""

    def __init__(self, reason: str, verdict: Verdict = Verdict.OUTPUT_BAD) -> None:
        super().__init__(reason)
        self.verdict = verdict


class BadGif(BadOutput):
    """The bytes are not a GIF that may be decoded; the message says why."""


class BadPng(ValueError):
    """The bytes are not a PNG that may be passed on; the message says why."""


# --- the file ----------------------------------------------------------------------------------------------------


def read_output(directory: Path, name: str, limits: Limits) -> bytes:
    """Bytes of the file `name` in `directory`, at most `limits.file_size`.

    Raises:
        BadOutput: It is missing, too big, or not a plain file of this user with one name; `verdict` says which.
    """
    with _opened(directory, name) as file:
        info = os.fstat(file)
        if not stat.S_ISREG(info.st_mode):
            raise BadOutput(f"{name} is not a plain file")
        if info.st_nlink != 1:
            raise BadOutput(f"{name} is a hard link to another file")
        if info.st_uid != os.geteuid():
            raise BadOutput(f"{name} belongs to another user")
        data = _read_up_to(file, limits.file_size + 1)
    if len(data) > limits.file_size:
        raise BadOutput(f"{name} is larger than {limits.file_size:,} bytes", Verdict.OUTPUT_TOO_BIG)
    if not data:
        raise BadOutput(f"{name} is empty")
    return data


@contextlib.contextmanager
def _opened(directory: Path, name: str) -> Iterator[int]:
    """A descriptor of the file; opening it neither follows a link nor waits for a FIFO."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise BadOutput("the program removed or locked its working directory", Verdict.OUTPUT_MISSING) from error
    try:
        file = os.open(name, flags, dir_fd=folder)
    except FileNotFoundError as error:
        raise BadOutput(f"the program wrote no {name}", Verdict.OUTPUT_MISSING) from error
    except OSError as error:  # ELOOP: a link; ENXIO: a socket or device; EACCES: its mode
        raise BadOutput(f"{name} cannot be opened as a plain file ({error.strerror})") from error
    finally:
        os.close(folder)
    try:
        yield file
    finally:
        os.close(file)


def _read_up_to(file: int, size: int) -> bytes:
    data = bytearray()
    while len(data) < size and (chunk := os.read(file, size - len(data))):
        data += chunk
    return bytes(data)


# --- the structure of a GIF --------------------------------------------------------------------------------------

#: Largest screen side, pixels.
MAX_SIDE = 1024
#: Most frames. Each costs the decoder a full screen, however small its own part is: about 10 ms at most.
MAX_FRAMES = 200
#: Most extensions; a frame has one, rarely two.
_MAX_EXTENSIONS = 10 * MAX_FRAMES

_SCREEN = struct.Struct("<HHBBB")
_FRAME = struct.Struct("<HHHHB")
_EXTENSION, _IMAGE, _TRAILER = 0x21, 0x2C, 0x3B
_GRAPHIC_CONTROL, _APPLICATION = 0xF9, 0xFF
#: Both say how often the GIF is played, in the same form.
_LOOPS = (b"NETSCAPE2.0", b"ANIMEXTS1.0")
_NULS = re.compile(rb"\0*")

#: Data blocks of a chain that matter: they show whether there is data, the kind of an extension, and its first value.
_BLOCKS_KEPT = 2

_CUT_OFF = "the file ends in the middle: it was cut off, or its end was never written"


class GifHeader(NamedTuple):
    """What the structure of a GIF shows, without decoding a pixel."""

    frames: int
    width: int
    height: int
    delays_ms: tuple[int, ...]
    """Stored delay of each frame, milliseconds; 0 if the file holds none."""
    loop: int | None
    """0: endless; None: the file has no loop extension."""


def walk_gif(data: bytes) -> GifHeader:
    """Walks the blocks of a GIF up to its trailer, or to the end of a file in which only the trailer is missing.

    Like Pillow it skips NULs between blocks, and like every reader bytes after the trailer. Other bytes between blocks
    and a block that ends with the file are damage, which players show differently.

    Raises:
        BadGif: Not a GIF, malformed, or with more than MAX_SIDE, MAX_FRAMES or ten extensions a frame.
    """
    walk = _Walk(data)
    while (kind := walk.block()) != _TRAILER:
        if kind == _EXTENSION:
            walk.extension()
        elif kind == _IMAGE:
            walk.frame()
        else:
            place = walk.position - 1
            raise BadGif(f"the file is damaged: at byte {place:,} a block should begin, and {kind:#04x} begins none")
    if not walk.delays_ms:
        raise BadGif("a GIF without a frame")
    return GifHeader(len(walk.delays_ms), walk.width, walk.height, tuple(walk.delays_ms), walk.loop)


def first_frame(data: bytes) -> bytes:
    """The GIF cut after its first frame, without decoding it: what a player shows first; raises as walk_gif."""
    walk = _Walk(data)
    while (kind := walk.block()) == _EXTENSION:
        walk.extension()
    if kind != _IMAGE:
        raise BadGif("a GIF without a frame")
    walk.frame()
    return data[: walk.position] + bytes([_TRAILER])


class _Walk:
    """A cursor in a GIF, and what it has seen so far. It starts after the magic, screen size and global colours."""

    def __init__(self, data: bytes) -> None:
        magic = data[:6]
        if magic not in (b"GIF87a", b"GIF89a"):
            raise BadGif(f"not a GIF: it starts with {magic!r}" if magic else "an empty file")
        self.data, self.position = data, 6
        self.width, self.height, flags, _, _ = _SCREEN.unpack(self.take(_SCREEN.size))
        if not (0 < self.width <= MAX_SIDE and 0 < self.height <= MAX_SIDE):
            size = f"{self.width}x{self.height}"
            raise BadGif(f"the screen is {size}; 1x1 to {MAX_SIDE}x{MAX_SIDE} are allowed")
        self.colour_table(flags)
        self.extensions = 0
        self.delays_ms: list[int] = []
        self.delay_ms = 0
        """Of the next frame."""
        self.loop: int | None = None

    def take(self, size: int) -> bytes:
        piece = self.data[self.position : self.position + size]
        if len(piece) < size:
            raise BadGif(_CUT_OFF)
        self.position += size
        return piece

    def byte(self) -> int:
        return self.take(1)[0]

    def block(self) -> int:
        """How the next block begins; the end of the file counts as a trailer."""
        self.position = _NULS.match(self.data, self.position).end()  # type: ignore[union-attr]
        return self.byte() if self.position < len(self.data) else _TRAILER

    def colour_table(self, flags: int) -> None:
        if flags & 0x80:
            self.take(3 * 2 ** ((flags & 7) + 1))

    def sub_blocks(self) -> list[bytes]:
        """The first two blocks of a chain; walks all of them.

        A tight loop that keeps only two: a file of two-byte blocks has a million of them, and this runs in the app.
        """
        data, position, end = self.data, self.position, len(self.data)
        blocks: list[bytes] = []
        while position < end and (size := data[position]):
            if len(blocks) < _BLOCKS_KEPT:
                blocks.append(data[position + 1 : position + 1 + size])
            position += size + 1
        if position >= end:
            raise BadGif(_CUT_OFF)
        self.position = position + 1
        return blocks

    def extension(self) -> None:
        self.extensions += 1
        if self.extensions > _MAX_EXTENSIONS:
            raise BadGif(f"more than {_MAX_EXTENSIONS:,} extension blocks")
        label = self.byte()
        blocks = self.sub_blocks()
        if label == _GRAPHIC_CONTROL and blocks and len(blocks[0]) >= 3:
            self.delay_ms = 10 * int.from_bytes(blocks[0][1:3], "little")
        elif label == _APPLICATION and len(blocks) > 1 and blocks[0].startswith(_LOOPS):
            value = blocks[1]
            self.loop = int.from_bytes(value[1:3], "little") if len(value) >= 3 and value[0] == 1 else self.loop

    def frame(self) -> None:
        number = len(self.delays_ms) + 1
        if number > MAX_FRAMES:
            raise BadGif(f"more than {MAX_FRAMES} frames")
        left, top, wide, high, flags = _FRAME.unpack(self.take(_FRAME.size))
        if not wide or not high:
            raise BadGif(f"frame {number} is empty ({wide}x{high})")
        if left + wide > self.width or top + high > self.height:
            screen = f"{self.width}x{self.height}"
            raise BadGif(f"frame {number} ({wide}x{high} at {left},{top}) reaches outside the {screen} screen")
        self.colour_table(flags)
        if not 1 <= self.byte() <= 8:
            raise BadGif(f"frame {number} has an impossible code size")
        if not self.sub_blocks():
            raise BadGif(f"frame {number} holds no data")
        self.delays_ms.append(self.delay_ms)
        self.delay_ms = 0


# --- a painter's PNG ---------------------------------------------------------------------------------------------

#: Largest PNG that a painter may send, bytes: in base64 it fits into a measurer's answer, with room to spare.
PNG_MAX_BYTES = 45_000
#: Longest side of a PNG, pixels.
PNG_MAX_SIDE = 1024

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: The chunks of a plain palette picture; others may carry text, profiles or other files.
_CHUNKS = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_HEADER = struct.Struct(">IIBBBBB")
_PALETTE = 3


class _Painted(Record):
    """The answer of a painter."""

    png: str
    """In base64."""


def take_png(answer: bytes) -> bytes:
    """The PNG in the JSON answer of a painter; a ValueError if the answer is malformed, or check_png refuses it."""
    png = base64.b64decode(_Painted.model_validate_json(answer, strict=True).png, validate=True)
    check_png(png)
    return png


def check_png(data: bytes) -> None:
    """Checks that this is a whole palette picture of 1 to PNG_MAX_SIDE pixels a side with only the plain chunks, and at
    most PNG_MAX_BYTES long; raises BadPng."""
    if len(data) > PNG_MAX_BYTES:
        raise BadPng(f"the picture has {len(data):,} bytes, the limit is {PNG_MAX_BYTES:,}")
    if not data.startswith(_SIGNATURE):
        raise BadPng(f"not a PNG: it starts with {data[:8]!r}")
    kinds: list[bytes] = []
    for kind, body in _png_chunks(data):
        if kind == b"IHDR":
            _check_header(body)
        elif kind == b"PLTE" and (len(body) % 3 or not 3 <= len(body) <= 768):
            raise BadPng(f"a palette of {len(body)} bytes")
        if not (kinds and kinds[-1] == kind == b"IDAT"):  # picture data may come in several pieces
            kinds.append(kind)
    if tuple(kinds) != _CHUNKS:
        raise BadPng(f"its chunks are {b' '.join(kinds)!r}")


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Type and data of each chunk; a chunk is length, type, data and checksum."""
    position = len(_SIGNATURE)
    while position < len(data):
        end = position + 12 + int.from_bytes(data[position : position + 4], "big")
        if end > len(data):
            raise BadPng("a chunk is longer than the file")
        if zlib.crc32(data[position + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise BadPng("the checksum of a chunk is wrong")
        yield data[position + 4 : position + 8], data[position + 8 : end - 4]
        position = end


def _check_header(body: bytes) -> None:
    if len(body) != _HEADER.size:
        raise BadPng(f"a header of {len(body)} bytes")
    width, height, depth, kind, *rest = _HEADER.unpack(body)
    if not (1 <= width <= PNG_MAX_SIDE and 1 <= height <= PNG_MAX_SIDE):
        raise BadPng(f"{width} x {height} pixels, the limit is {PNG_MAX_SIDE} a side")
    if kind != _PALETTE or depth not in (1, 2, 4, 8) or any(rest):
        raise BadPng(f"not a plain palette picture (type {kind}, {depth} bits, {rest})")
