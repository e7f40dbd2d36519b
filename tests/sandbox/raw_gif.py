"""GIFs byte by byte, right or wrong as a test wants them."""

from __future__ import annotations

import struct

#: Code size and data of a picture that nobody decodes.
CODE = b"\x02\x4c\x01"


def gif(
    width: int,
    height: int,
    *,
    frames: int = 1,
    delay: int = 4,
    loop: int | None = None,
    rectangle: tuple[int, int, int, int] | None = None,
    code: bytes = CODE,
    padding: int = 0,
    trailer: bytes = b";",
) -> bytes:
    """A GIF of equal frames; `delay` in 10 ms, `code` one data block, `padding` bytes of comment per frame."""
    screen = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    if loop is not None:
        screen += b"!\xff\x0bNETSCAPE2.0\x03\x01" + struct.pack("<H", loop) + b"\0"
    control = b"!\xf9\x04\0" + struct.pack("<H", delay) + b"\0\0"
    comment = b"!\xfe" + (b"\xff" + b"c" * 255) * (padding // 256) + b"\0"
    image = b"," + struct.pack("<HHHHB", *(rectangle or (0, 0, width, height)), 0)
    data = b"\x02" + bytes([len(code)]) + code + b"\0"
    return screen + (control + comment + image + data) * frames + trailer
