"""Reading the output follows nothing and waits for nothing; the walk never decodes and raises nothing but BadGif."""

from __future__ import annotations

import io
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageSequence

from localgif.records import Limits, Verdict
from localgif.sandbox.intake import MAX_FRAMES, BadGif, BadOutput, GifHeader, read_output, walk_gif
from tests.sandbox.raw_gif import gif

LIMITS = Limits(file_size=1000)


def refusal(directory: Path) -> BadOutput:
    with pytest.raises(BadOutput) as raised:
        read_output(directory, "out.gif", LIMITS)
    return raised.value


def pillow_gif(sizes: int, delays: list[int], colours: list[int], loop: int | None) -> bytes:
    """A GIF by Pillow whose neighbouring frames differ, so that it merges none."""
    frames = [Image.new("P", (sizes, sizes + 1), colour) for colour in colours]
    for frame in frames:
        frame.putpalette(bytes(range(256)) * 3)
    file = io.BytesIO()
    extra = {} if loop is None else {"loop": loop}
    frames[0].save(file, format="GIF", save_all=True, append_images=frames[1:], duration=delays, **extra)
    return file.getvalue()


@st.composite
def pillow_gifs(draw: st.DrawFn) -> bytes:
    count = draw(st.integers(1, 6))
    colours = draw(st.lists(st.integers(0, 255), min_size=count, max_size=count, unique=True))
    delays = draw(st.lists(st.integers(0, 300).map(lambda tens: tens * 10), min_size=count, max_size=count))
    return pillow_gif(draw(st.integers(1, 20)), delays, colours, draw(st.none() | st.integers(0, 65535)))


# --- the file ----------------------------------------------------------------------------------------------------


def test_a_plain_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "out.gif").write_bytes(b"x" * 1000)
    assert read_output(tmp_path, "out.gif", LIMITS) == b"x" * 1000


def test_a_missing_file_and_a_missing_directory_are_output_missing(tmp_path: Path) -> None:
    assert refusal(tmp_path).verdict is Verdict.OUTPUT_MISSING
    assert refusal(tmp_path / "gone").verdict is Verdict.OUTPUT_MISSING


def test_one_byte_too_many_is_output_too_big(tmp_path: Path) -> None:
    (tmp_path / "out.gif").write_bytes(b"x" * 1001)
    assert refusal(tmp_path).verdict is Verdict.OUTPUT_TOO_BIG


def test_an_empty_file_is_output_bad(tmp_path: Path) -> None:
    (tmp_path / "out.gif").touch()
    assert (refusal(tmp_path).verdict, str(refusal(tmp_path))) == (Verdict.OUTPUT_BAD, "out.gif is empty")


@pytest.mark.parametrize("kind", ["link", "dangling link", "fifo", "directory", "hard link"])
def test_what_is_no_plain_file_is_refused_at_once(kind: str, tmp_path: Path) -> None:
    path, other = tmp_path / "out.gif", tmp_path / "other"
    other.write_bytes(b"secret")
    if kind.endswith("link") and kind != "hard link":
        path.symlink_to(other if kind == "link" else tmp_path / "nowhere")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    else:
        path.hardlink_to(other)
    started = time.monotonic()
    assert refusal(tmp_path).verdict is Verdict.OUTPUT_BAD
    assert time.monotonic() - started < 0.5


def test_a_link_in_the_place_of_the_directory_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "out.gif").write_bytes(b"secret")
    (tmp_path / "job").symlink_to(tmp_path / "real")
    assert refusal(tmp_path / "job").verdict is Verdict.OUTPUT_MISSING


# --- the structure -----------------------------------------------------------------------------------------------


def test_a_well_formed_gif_is_described() -> None:
    assert walk_gif(gif(8, 9, frames=3, delay=7, loop=2)) == GifHeader(3, 8, 9, (70, 70, 70), 2)
    assert walk_gif(gif(8, 9)).loop is None


def test_what_follows_the_trailer_is_ignored() -> None:
    assert walk_gif(gif(8, 8) + b"PK\x03\x04").frames == 1


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "an empty file"),
        (b"GIF90a", "not a GIF"),
        (b"\x89PNG\r\n\x1a\n", "not a GIF"),
        (gif(8, 8)[:20], "cut off"),
        (gif(8, 8, trailer=b""), "cut off"),
        (gif(8, 8, trailer=b"\x07"), "unknown block 0x07"),
        (gif(8, 8, frames=0), "without a frame"),
        (gif(0, 8), "the screen is 0x8"),
        (gif(1025, 8), "the screen is 1025x8"),
        (gif(65535, 65535), "the screen is 65535x65535"),
        (gif(8, 8, rectangle=(1, 0, 8, 8)), "frame 1 (8x8 at 1,0) reaches outside the 8x8 screen"),
        (gif(8, 8, rectangle=(0, 65535, 8, 65535)), "reaches outside"),
        (gif(8, 8, rectangle=(0, 0, 0, 8)), "frame 1 is empty (0x8)"),
        (gif(8, 8, frames=MAX_FRAMES + 1), "more than 200 frames"),
        (gif(8, 8).replace(b"\x02\x03", b"\x0d\x03"), "impossible code size"),
        (gif(8, 8).replace(b"\x02\x03\x02\x4c\x01", b"\x02"), "holds no data"),
    ],
)
def test_a_malformed_gif_is_refused_in_plain_words(data: bytes, said: str) -> None:
    with pytest.raises(BadGif) as raised:
        walk_gif(data)
    assert said in str(raised.value)


def test_the_largest_gif_that_is_read_is_walked_fast() -> None:
    large = gif(8, 8, frames=200, padding=20_000)
    started = time.monotonic()
    walk_gif(large)
    assert time.monotonic() - started < 0.5


@given(pillow_gifs())
def test_the_walk_agrees_with_pillow(data: bytes) -> None:
    header = walk_gif(data)
    with Image.open(io.BytesIO(data), formats=["GIF"]) as image:
        delays = tuple(frame.info.get("duration", 0) for frame in ImageSequence.Iterator(image))
        assert header == GifHeader(len(delays), *image.size, delays, image.info.get("loop"))


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_no_gif(data: bytes) -> None:
    with pytest.raises(BadGif):
        walk_gif(data)


@given(st.binary(max_size=300).map(lambda rest: b"GIF89a\x08\x00\x08\x00\x00\x00\x00" + rest))
def test_the_walk_raises_nothing_but_bad_gif_after_a_good_start(data: bytes) -> None:
    walk_or_refuse(data)


@given(pillow_gifs(), st.data())
def test_the_walk_raises_nothing_but_bad_gif_on_mutations(data: bytes, choice: st.DataObject) -> None:
    mutated = bytearray(data)
    for _ in range(choice.draw(st.integers(1, 4))):
        mutated[choice.draw(st.integers(0, len(mutated) - 1))] = choice.draw(st.integers(0, 255))
    walk_or_refuse(bytes(mutated[: choice.draw(st.integers(0, len(mutated)))]))


def walk_or_refuse(data: bytes) -> None:
    try:
        header = walk_gif(data)
    except BadGif as error:
        assert str(error)
    else:
        assert 1 <= header.frames == len(header.delays_ms) <= MAX_FRAMES
        assert 1 <= header.width <= 1024 and 1 <= header.height <= 1024
