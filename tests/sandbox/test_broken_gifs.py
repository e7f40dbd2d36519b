"""GIFs that are broken on purpose: built from parts of which each may be wrong, mutated, and those that fuzzing found.

What must hold for all of them: the walk refuses or passes, the measurer refuses or measures, both soon, in little
memory, and with no exception but the one that says so.
"""

from __future__ import annotations

import struct
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from localgif.gif.measure import main as measure
from localgif.records import Limits, Measurements
from localgif.sandbox.intake import BadOutput, read_output, walk_gif
from localgif.sandbox.runner import measure_gif
from tests.sandbox.corpus import FOLDER

BROKEN = sorted((FOLDER / "gifs-broken").glob("*.gif"))

#: What the walk may hold above the file itself, bytes.
_WALK_SPACE = 100_000
_SECONDS = 1.0

byte = st.integers(0, 255)
#: Sides that matter: small, at the limits, and impossible.
side = st.sampled_from([0, 1, 2, 7, 8, 9, 255, 1023, 1024, 1025, 65535])
small = st.integers(0, 12)


@st.composite
def sub_blocks(draw: st.DrawFn) -> bytes:
    """Data in blocks whose lengths are right, or not."""
    parts = draw(st.lists(st.binary(max_size=20), max_size=4))
    blocks = b"".join(bytes([draw(st.just(len(part)) | byte)]) + part for part in parts)
    return blocks + draw(st.sampled_from([b"\0", b"\0", b"\0", b""]))


@st.composite
def colours(draw: st.DrawFn) -> tuple[int, bytes]:
    """Flags and the table that they promise, or another one."""
    bits = draw(st.integers(0, 7))
    promised = draw(st.booleans())
    size = draw(st.just(3 * 2 ** (bits + 1)) | st.integers(0, 30)) if promised else 0
    return (0x80 | bits if promised else bits), bytes(size)


@st.composite
def images(draw: st.DrawFn) -> bytes:
    flags, table = draw(colours())
    rectangle = draw(st.tuples(small, small, small | side, small | side))
    start = b"," + struct.pack("<HHHHB", *rectangle, flags | draw(st.sampled_from([0, 0x40, 0x20])))
    return start + table + bytes([draw(st.integers(0, 14))]) + draw(sub_blocks())


@st.composite
def extensions(draw: st.DrawFn) -> bytes:
    control = b"\x04" + bytes([draw(byte)]) + struct.pack("<HB", draw(st.integers(0, 65535)), draw(byte)) + b"\0"
    loop = b"\x0bNETSCAPE2.0\x03\x01" + struct.pack("<H", draw(st.integers(0, 65535))) + b"\0"
    kind, body = draw(st.sampled_from([(0xF9, control), (0xFF, loop), (0xFE, None), (0x01, None), (0x77, None)]))
    return b"!" + bytes([kind]) + (body if body is not None and draw(st.booleans()) else draw(sub_blocks()))


@st.composite
def gifs(draw: st.DrawFn) -> bytes:
    """A file with the right outline, in which any part may be wrong."""
    flags, table = draw(colours())
    screen = struct.pack("<HHBBB", draw(small | side), draw(small | side), flags, draw(byte), draw(byte))
    blocks = draw(st.lists(images() | extensions() | st.binary(max_size=3), max_size=6))
    end = draw(st.sampled_from([b";", b";", b";", b"", b"\0;", b";;GIF89a"]))
    return draw(st.sampled_from([b"GIF89a", b"GIF87a"])) + screen + table + b"".join(blocks) + end


@st.composite
def mutations(draw: st.DrawFn) -> bytes:
    """A generated file with a piece cut out, doubled or overwritten."""
    data = draw(gifs())
    start = draw(st.integers(0, len(data)))
    end = draw(st.integers(start, min(len(data), start + 30)))
    middle = draw(st.sampled_from([b"", 2 * data[start:end]]) | st.binary(max_size=8))
    return data[:start] + middle + data[end:]


def survives(data: bytes) -> None:
    started = time.monotonic()
    try:
        header = walk_gif(data)
    except BadOutput as error:
        assert str(error) and str(error).isprintable()
        return
    assert time.monotonic() - started < _SECONDS
    assert len(header.delays_ms) == header.frames
    try:
        found = Measurements.model_validate(measure(data))
    except ValueError as error:
        assert str(error)
    else:
        assert found.size == len(data)
    assert time.monotonic() - started < _SECONDS + 1e-7 * header.frames * header.width * header.height


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(gifs() | mutations())
def test_nothing_but_a_refusal_comes_out_of_a_broken_gif(data: bytes) -> None:
    survives(data)


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.stem)
def test_what_fuzzing_found_stays_found(path: Path) -> None:
    survives(path.read_bytes())


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.stem)
def test_what_two_readers_read_differently_counts_as_bad_output(path: Path) -> None:
    """All of them pass the walk: Pillow skips and joins blocks that we don't, and may see other or larger frames."""
    walk_gif(path.read_bytes())
    assert isinstance(measure_gif(path.read_bytes(), "localgif.gif.measure"), str)


@settings(max_examples=50)
@given(st.binary(max_size=2000), st.integers(1, 2000))
def test_a_file_is_read_whole_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes, size: int) -> None:
    folder = tmp_path_factory.mktemp("intake")
    (folder / "out.gif").write_bytes(data)
    try:
        assert read_output(folder, "out.gif", Limits(file_size=size)) == data
    except BadOutput as error:
        assert len(data) > size or not data, error


_SCREEN = b"GIF89a\x08\0\x08\0\0\0\0"
#: The most objects that four megabytes can make the walk build.
COSTLY = {
    "comment of one-byte blocks": _SCREEN + b"!\xfe" + b"\x01c" * 2_000_000 + b"\0;",
    "comment of two-byte blocks": _SCREEN + b"!\xfe" + b"\x02cd" * 1_390_000 + b"\0;",
    "empty extensions": _SCREEN + b"!\xfe\0" * 1_390_000,
    "image of two-byte blocks": _SCREEN + b",\0\0\0\0\x08\0\x08\0\0\x02" + b"\x02cd" * 1_390_000,
    "loop extensions": _SCREEN + b"!\xff\x0bNETSCAPE2.0\x03\x01\0\0\0" * 200_000,
    "control blocks": _SCREEN + b"!\xf9\x04\0\0\0\0\0" * 500_000,
}


@pytest.mark.parametrize("name", COSTLY)
def test_the_costliest_structures_of_four_megabytes_are_walked_soon(name: str) -> None:
    data = COSTLY[name]
    assert len(data) <= Limits().file_size
    started = time.monotonic()
    refuse(data)
    assert time.monotonic() - started < _SECONDS


def test_the_walk_holds_little_more_than_the_file() -> None:
    """Smaller than above, since counting allocations makes it slow: 60 KB of two-byte blocks were 1 MB of objects."""
    data = _SCREEN + b"!\xfe" + b"\x02cd" * 20_000
    tracemalloc.start()
    try:
        refuse(data)
        assert tracemalloc.get_traced_memory()[1] < _WALK_SPACE
    finally:
        tracemalloc.stop()


def refuse(data: bytes) -> None:
    with pytest.raises(BadOutput):
        walk_gif(data)
