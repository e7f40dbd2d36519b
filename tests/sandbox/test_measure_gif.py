"""The second confined process: bad GIFs are the GIF's fault, bad measurers are ours, and neither hurts."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

import localgif
from localgif.errors import SandboxError
from localgif.records import Measurements
from localgif.sandbox import keeper_client
from localgif.sandbox.intake import check_png
from localgif.sandbox.runner import measure_gif, picture_gif
from tests.sandbox.guest_kit import SMALL, Ground, grounds, source_of
from tests.sandbox.raw_gif import gif

REAL = "localgif.gif.measure"
SHEET = "localgif.gif.sheet"
GOOD = gif(8, 8)

_FIELDS = (
    "{'frames': 1, 'width': 8, 'height': 8, 'size': len(data), 'delays_ms': [40], 'loop': None, 'motion': 0.0,"
    " 'gap': 0.0, 'colours': 1, 'distinct_frames': 1, 'steps': [], 'ink': [0.0]}"
)


@pytest.fixture
def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ground]:
    with grounds(tmp_path, monkeypatch) as ground:
        yield ground
        ground.check()


@pytest.fixture
def measurer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module file that the confined process finds under the name "stand_in"."""
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "localgif").symlink_to(Path(localgif.__file__).parent)
    monkeypatch.setattr(keeper_client, "HERE", str(tmp_path / "path"))
    keeper_client.stop()
    yield tmp_path / "path" / "stand_in.py"
    keeper_client.stop()


def outcome(measurer: Path, body: str) -> Measurements | str:
    measurer.write_text(f"import ctypes, math, os\ndef main(data):\n    {body}\n")
    return measure_gif(GOOD, "stand_in", SMALL)


def test_a_produced_gif_is_measured(ground: Ground) -> None:
    produced = ground.run(source_of("b1_plain.py")).gif
    assert produced is not None
    found = measure_gif(produced, REAL)
    assert isinstance(found, Measurements)
    assert (found.frames, found.width, found.height, found.size) == (12, 64, 64, len(produced))
    assert (found.delays_ms, found.loop) == ((80,) * 12, 0)


def test_truncated_picture_data_is_the_gifs_fault(ground: Ground) -> None:
    found = measure_gif(gif(8, 8, code=b"\x01\x44"), REAL)
    assert isinstance(found, str) and found.startswith("the GIF cannot be decoded: ")


def test_a_malformed_gif_never_reaches_the_decoder(ground: Ground) -> None:
    assert measure_gif(b"<html>", "no.such.module") == "not a GIF: it starts with b'<html>'"
    small = SMALL.model_copy(update={"file_size": 10})
    assert measure_gif(GOOD, "no.such.module", small) == "the GIF is larger than 10 bytes"


def test_the_largest_allowed_gif_is_measured_within_the_default_limits(ground: Ground) -> None:
    stairs = Image.linear_gradient("L").resize((1000, 1000)).point([level // 32 * 32 for level in range(256)])
    frames = [stairs.rotate(90 * (number % 4)) for number in range(50)]
    file = io.BytesIO()
    frames[0].save(file, format="GIF", save_all=True, append_images=frames[1:])
    found = measure_gif(file.getvalue(), REAL)
    assert isinstance(found, Measurements)
    assert (found.frames, found.distinct_frames, found.colours) == (50, 4, 8)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise ValueError('broken \\x1b[2J')", "the GIF cannot be decoded: broken"),
        ("ctypes.string_at(0)", "the GIF cannot be decoded: the decoder was ended by SIGSEGV"),
        ("raise MemoryError", "the GIF cannot be decoded: the decoder ran out of memory"),
        ("kept = bytearray(b'x') * 10**9", "the GIF cannot be decoded: the decoder ran out of memory"),
        (f"return {{**{_FIELDS}, 'motion': math.inf}}", "its structure and its frames disagree"),
        (f"return {{**{_FIELDS}, 'frames': 2, 'delays_ms': [1, 1]}}", "its structure and its frames disagree"),
    ],
)
def test_what_a_gif_does_to_the_decoder_is_the_gifs_fault(body: str, said: str, ground: Ground, measurer: Path) -> None:
    found = outcome(measurer, body)
    assert isinstance(found, str) and said in found


def test_a_stalled_decoder_is_the_gifs_fault(ground: Ground, measurer: Path) -> None:
    found = outcome(measurer, "\n    while True: pass")
    assert isinstance(found, str) and found.startswith("the GIF cannot be decoded: the decoder used ")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise TypeError('oops')", "TypeError: oops"),
        (f"return {{**{_FIELDS}, 'score': 1.0}}", "the measurer's answer is wrong"),
        (f"return {{**{_FIELDS}, 'motion': math.nan}}", "the measurer's answer is wrong"),
        ("return {}", "the measurer's answer is wrong"),
        ("os._exit(0)", "the measurer's answer is wrong"),
        ("return {'frames': 'x' * 100_000}", "answer is too long"),
        ("os.write(os.open('file', os.O_CREAT | os.O_WRONLY), b'x')", "PermissionError: [Errno 1]"),
    ],
)
def test_what_a_measurer_does_wrong_is_our_failure(body: str, said: str, ground: Ground, measurer: Path) -> None:
    with pytest.raises(SandboxError) as raised:
        outcome(measurer, body)
    assert said in raised.value.message


def test_a_start_that_takes_too_long_is_our_failure(ground: Ground, measurer: Path) -> None:
    measurer.write_text("import time\ntime.sleep(60)\n")
    with pytest.raises(SandboxError, match="before its job began: ran for 0"):
        measure_gif(GOOD, "stand_in", SMALL.model_copy(update={"wall_seconds": 0.2}))


def test_a_measurer_that_is_not_there_is_our_failure(ground: Ground) -> None:
    with pytest.raises(SandboxError, match="No module named"):
        measure_gif(GOOD, "localgif.no_such_module", SMALL)


def test_a_measurer_gets_the_whole_gif(ground: Ground, measurer: Path) -> None:
    large = gif(8, 8, frames=200, padding=20_000)
    many = "'frames': 200, 'delays_ms': [0] * 200, 'steps': [0.0] * 199, 'ink': [0.0] * 200"
    measurer.write_text(f"def main(data):\n    return {{**{_FIELDS}, {many}}}\n")
    assert 3_900_000 < len(large) < SMALL.file_size
    found = measure_gif(large, "stand_in", SMALL)
    assert isinstance(found, Measurements) and found.size == len(large)


# --- a picture instead of numbers --------------------------------------------------------------------------------


def test_a_produced_gif_is_pictured_the_same_each_time(ground: Ground) -> None:
    produced = ground.run(source_of("b1_plain.py")).gif
    assert produced is not None
    png = picture_gif(produced, SHEET)
    assert isinstance(png, bytes)
    check_png(png)
    with Image.open(io.BytesIO(png), formats=["PNG"]) as sheet:
        assert sheet.width > 4 * 64
    assert picture_gif(produced, SHEET) == png


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"<html>", "not a GIF"),
        (gif(8, 8, code=b"\x01\x44"), "the GIF cannot be decoded: "),
        (bytes(5 * 2**20), "the GIF is larger than"),
    ],
)
def test_what_cannot_be_decoded_gives_a_reason_instead(data: bytes, said: str, ground: Ground) -> None:
    found = picture_gif(data, SHEET)
    assert isinstance(found, str) and found.startswith(said)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise ValueError('broken')", "the GIF cannot be decoded: broken"),
        ("ctypes.string_at(0)", "the GIF cannot be decoded: the decoder was ended by SIGSEGV"),
    ],
)
def test_what_a_gif_does_to_the_painter_is_the_gifs_fault(body: str, said: str, ground: Ground, measurer: Path) -> None:
    measurer.write_text(f"import ctypes\ndef main(data):\n    {body}\n")
    found = picture_gif(GOOD, "stand_in", SMALL)
    assert isinstance(found, str) and said in found


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return {}", "the painter's answer is wrong"),
        ("return {'png': 'R0lGODlh'}", "no PNG: it starts with b'GIF89a'"),
        (f"return {{'png': '{base64.b64encode(GOOD).decode()}'}}", "no PNG"),
        ("return {'png': 'x' * 100_000}", "answer is too long"),
        ("os._exit(0)", "the painter's answer is wrong"),
    ],
)
def test_what_a_painter_does_wrong_is_our_failure(body: str, said: str, ground: Ground, measurer: Path) -> None:
    measurer.write_text(f"import os\ndef main(data):\n    {body}\n")
    with pytest.raises(SandboxError) as raised:
        picture_gif(GOOD, "stand_in", SMALL)
    assert said in raised.value.message
