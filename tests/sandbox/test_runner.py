"""Verdicts, second chances, and measuring: what is a program's or a GIF's fault, and what is ours."""

from __future__ import annotations

import base64
import io
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

import localgif
from localgif.errors import SandboxError
from localgif.gif import MEASURE, SHEET
from localgif.records import Limits, Measurements, Verdict
from localgif.sandbox import jobs, keeper_client, runner
from localgif.sandbox.intake import check_png
from localgif.sandbox.protocol import Breach, Ended, Job, MachineryError
from localgif.sandbox.runner import measure_gif, picture_gif
from tests.support import masked
from tests.support.ground import BRIEF, PLAIN, SMALL, Ground, raw_gif, source_of

# --- programs ----------------------------------------------------------------------------------------------------


def test_peak_memory_is_the_programs_and_not_ours(ground: Ground) -> None:
    ballast = bytearray(b"x") * (64 * 2**20)
    small = ground.run(PLAIN)
    large = ground.run(
        "import time\ndef make_gif(path):\n    kept = bytearray(b'x') * (100 * 2**20)\n    time.sleep(0.3)\n"
    )
    del ballast
    assert small.peak_rss < 60 * 2**20
    assert 100 * 2**20 < large.peak_rss < 160 * 2**20


def test_the_end_of_endless_output_is_kept_and_no_more(ground: Ground) -> None:
    result = ground.run(source_of("r62_prints_for_ever"))
    assert SMALL.output_kept - 2000 < len(result.output) <= SMALL.output_kept


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("x = 1\0", "NUL"),
        ("#" * (SMALL.source_bytes + 1), "bytes long, the limit is"),
        ("x = '\ud800'", "not valid text"),
    ],
)
def test_bytes_that_are_not_a_program_are_refused_without_running(source: str, said: str, ground: Ground) -> None:
    result = ground.run(source)
    assert (result.verdict, result.wall_seconds) == (Verdict.ERROR, 0.0)
    assert said in result.reason


def test_a_file_of_exactly_the_limit_is_taken(ground: Ground) -> None:
    gif = ground.run(PLAIN).gif
    assert gif is not None
    for size, verdict in ((len(gif), Verdict.OK), (len(gif) - 1, Verdict.OUTPUT_TOO_BIG)):
        assert ground.run(PLAIN, SMALL.model_copy(update={"file_size": size})).verdict is verdict


def test_a_breach_counts_more_than_a_good_gif(ground: Ground) -> None:
    result = ground.run(PLAIN.split("if __name__")[0] + "    while True: pass\n")
    assert (result.verdict, result.gif) == (Verdict.CPU_LIMIT, None)
    assert 0.5 < result.cpu_seconds < 3  # the kernel counts ticks, which a busy machine hands out unevenly


# --- second chances ----------------------------------------------------------------------------------------------


class Flaky:
    """Stands in for run_confined: fails or answers by a script, then does the real thing."""

    def __init__(self, *script: Ended | Exception) -> None:
        self.script = list(script)
        self.calls = 0

    def __call__(self, job: Job, limits: Limits, directory: Path) -> Ended:
        self.calls += 1
        if not self.script:
            return jobs.run_confined(job, limits, directory)
        step = self.script.pop(0)
        if isinstance(step, Exception):
            raise step
        return step


def test_a_failure_of_ours_is_retried_once(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    flaky = Flaky(MachineryError("no fork"))
    monkeypatch.setattr(runner, "run_confined", flaky)
    assert ground.run(PLAIN).verdict is Verdict.OK
    assert flaky.calls == 2


def test_two_failures_of_ours_are_loud_and_not_a_verdict(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    flaky = Flaky(*map(MachineryError, "abcdef"))
    monkeypatch.setattr(runner, "run_confined", flaky)
    with pytest.raises(SandboxError, match="failed twice: b"):
        ground.run(PLAIN)
    assert flaky.calls == 4, "something harmless was tried too"


def test_a_program_that_breaks_the_machinery_each_time_cannot_end_a_run(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaking(job: Job, limits: Limits, directory: Path) -> Ended:
        if b"trap" in job.payload:
            raise MachineryError("sprung")
        return jobs.run_confined(job, limits, directory)

    monkeypatch.setattr(runner, "run_confined", breaking)
    result = ground.run(PLAIN + "# trap\n")
    assert result.verdict is Verdict.CRASHED and "sprung" in result.reason
    gif = ground.run(PLAIN).gif
    assert gif is not None and not isinstance(measure_gif(gif, MEASURE), str)
    found = measure_gif(gif + b"trap", MEASURE)
    assert isinstance(found, str) and "sprung" in found


def test_many_things_in_many_frames_are_measured(ground: Ground) -> None:
    draw = """
from PIL import Image, ImageDraw
def make_gif(path):
    frames = []
    for number in range(200):
        image = Image.new("RGB", (256, 256), "white")
        pen = ImageDraw.Draw(image)
        for thing in range(16):
            x, y = 8 + 62 * (thing % 4) + number % 7, 8 + 62 * (thing // 4)
            pen.rectangle((x, y, x + 30, y + 30), fill=("red", "blue", "green", "black")[thing % 4])
        frames.append(image)
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=20, loop=0)
"""
    result = ground.run(draw, limits=Limits())
    assert result.gif is not None, result.reason
    found = measure_gif(result.gif, MEASURE)
    assert not isinstance(found, str), found
    assert found.frames == 200 and len(found.model_dump_json()) > 64 * 2**10


@pytest.mark.usefixtures("ground")
def test_a_killed_program_has_one_verdict_near_its_limit_and_gets_a_second_chance_far_from_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def killed(cpu: float) -> Ended:
        return Ended(-signal.SIGKILL, None, b"", b"", wall_seconds=4.0, cpu_seconds=cpu, peak_rss=0)

    limit = SMALL.cpu_seconds
    monkeypatch.setattr(runner, "run_confined", flaky := Flaky(killed(0.95 * limit)))
    assert runner.run_program(PLAIN, SMALL).verdict is Verdict.CPU_LIMIT and flaky.calls == 1
    monkeypatch.setattr(runner, "run_confined", flaky := Flaky(killed(0.1)))
    assert runner.run_program(PLAIN, SMALL).verdict is Verdict.OK and flaky.calls == 2
    assert not Verdict.CPU_LIMIT.certain and not Verdict.CRASHED.certain and Verdict.ERROR.certain


def test_a_reason_is_the_same_on_every_run(ground: Ground) -> None:
    code = "def make_gif(path):\n    raise ValueError(f'{object()} in {path}')\n"
    reasons = {ground.run(code).reason for _ in range(2)}
    assert len(reasons) == 1 and "at 0x..." in min(reasons) and "./out.gif" in min(reasons)


def test_a_temporary_directory_that_cannot_be_made_is_our_failure(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched, pytest.raises(SandboxError, match="cannot make a temporary directory"):
        patched.setattr("tempfile.tempdir", str(ground.canary))
        runner.run_program(PLAIN, SMALL)


def late(cpu_seconds: float) -> Ended:
    breach = Breach(Verdict.WALL_LIMIT, "ran for 14.0 s, the limit is 14 s")
    return Ended(-signal.SIGKILL, breach, b"", b"", wall_seconds=14.0, cpu_seconds=cpu_seconds, peak_rss=0)


@pytest.mark.usefixtures("ground")
@pytest.mark.parametrize(
    ("script", "load", "verdict", "calls"),
    [
        ([late(0.1)], 1000.0, Verdict.OK, 2),
        ([late(0.1)], 0.0, Verdict.WALL_LIMIT, 1),
        ([late(0.9)], 1000.0, Verdict.WALL_LIMIT, 1),
        ([late(0.1), late(0.1)], 1000.0, Verdict.WALL_LIMIT, 2),
    ],
    ids=["starved", "idle machine", "used its CPU", "twice"],
)
def test_only_a_starved_program_gets_one_second_chance(
    script: list[Ended], load: float, verdict: Verdict, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    flaky = Flaky(*script)
    monkeypatch.setattr(runner, "run_confined", flaky)
    monkeypatch.setattr(os, "getloadavg", lambda: (load, load, load))
    assert (runner.run_program(PLAIN, BRIEF).verdict, flaky.calls) == (verdict, calls)


# --- measuring and picturing -------------------------------------------------------------------------------------

GOOD = raw_gif(8, 8)
BAD_CODE = raw_gif(8, 8, code=b"\x01\x44")
#: No file, or where no layer forbids one, none with a byte in it.
REFUSED = "OSError: [Errno 27]" if masked.ON else "PermissionError: [Errno 1]"

_FIELDS = (
    "{'frames': 1, 'width': 8, 'height': 8, 'size': len(data), 'delays_ms': [40], 'loop': None, 'motion': 0.0,"
    " 'gap': 0.0, 'colours': 1, 'distinct_frames': 1, 'steps': [], 'ink': [0.0]}"
)


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module file that the confined process finds under the name "stand_in"."""
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "localgif").symlink_to(Path(localgif.__file__).parent)
    monkeypatch.setattr(keeper_client, "HERE", str(tmp_path / "path"))
    jobs.stop()
    yield tmp_path / "path" / "stand_in.py"
    jobs.stop()


def write(stand_in: Path, body: str) -> None:
    stand_in.write_text(f"import ctypes, math, os\ndef main(data):\n    {body}\n")


def test_a_produced_gif_is_measured_and_pictured_the_same_each_time(ground: Ground) -> None:
    produced = ground.run(PLAIN).gif
    assert produced is not None
    found = measure_gif(produced, MEASURE)
    assert isinstance(found, Measurements)
    assert (found.frames, found.width, found.height, found.size) == (12, 64, 64, len(produced))
    assert (found.delays_ms, found.loop) == ((80,) * 12, 0)
    png = picture_gif(produced, SHEET)
    assert isinstance(png, bytes)
    check_png(png)
    with Image.open(io.BytesIO(png), formats=["PNG"]) as sheet:
        assert sheet.width > 4 * 64
    assert picture_gif(produced, SHEET) == png


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"<html>", "not a GIF: it starts with b'<html>'"),
        (BAD_CODE, "the GIF cannot be decoded: "),
        (bytes(5 * 2**20), "the GIF is larger than 4,194,304 bytes"),
    ],
)
def test_a_gif_that_cannot_be_decoded_gives_a_reason(data: bytes, said: str, ground: Ground) -> None:
    for found in (measure_gif(data, MEASURE), picture_gif(data, SHEET)):
        assert isinstance(found, str) and found.startswith(said)


def test_a_malformed_gif_never_reaches_the_decoder(ground: Ground) -> None:
    assert measure_gif(b"<html>", "no.such.module") == "not a GIF: it starts with b'<html>'"


def test_the_largest_allowed_gif_is_measured_within_the_default_limits(ground: Ground) -> None:
    stairs = Image.linear_gradient("L").resize((1000, 1000)).point([level // 32 * 32 for level in range(256)])
    frames = [stairs.rotate(90 * (number % 4)) for number in range(50)]
    file = io.BytesIO()
    frames[0].save(file, format="GIF", save_all=True, append_images=frames[1:])
    found = measure_gif(file.getvalue(), MEASURE)
    assert isinstance(found, Measurements)
    assert (found.frames, found.distinct_frames, found.colours) == (50, 4, 8)


def test_a_measurer_gets_the_whole_gif(ground: Ground, stand_in: Path) -> None:
    large = raw_gif(8, 8, frames=200, padding=20_000)
    many = "'frames': 200, 'delays_ms': [0] * 200, 'steps': [0.0] * 199, 'ink': [0.0] * 200"
    write(stand_in, f"return {{**{_FIELDS}, {many}}}")
    assert 3_900_000 < len(large) < SMALL.file_size
    found = measure_gif(large, "stand_in", SMALL)
    assert isinstance(found, Measurements) and found.size == len(large)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise ValueError('broken \\x1b[2J')", "the GIF cannot be decoded: broken"),
        ("ctypes.string_at(0)", "the GIF cannot be decoded: the decoder was ended by SIGSEGV"),
        ("raise MemoryError", "the GIF cannot be decoded: the decoder ran out of memory"),
        ("kept = bytearray(b'x') * 10**9", "the GIF cannot be decoded: the decoder ran out of memory"),
        (f"return {{**{_FIELDS}, 'motion': math.inf}}", "its structure and its frames disagree"),
        (f"return {{**{_FIELDS}, 'frames': 2, 'delays_ms': [1, 1]}}", "its structure and its frames disagree"),
        ("while True: pass", "the GIF cannot be decoded: the decoder used "),
    ],
)
def test_what_a_gif_does_to_the_decoder_is_the_gifs_fault(body: str, said: str, ground: Ground, stand_in: Path) -> None:
    write(stand_in, body)
    found = measure_gif(GOOD, "stand_in", SMALL)
    assert isinstance(found, str) and said in found


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise TypeError('oops')", "TypeError: oops"),
        (f"return {{**{_FIELDS}, 'score': 1.0}}", "the measurer's answer is wrong"),
        (f"return {{**{_FIELDS}, 'motion': math.nan}}", "the measurer's answer is wrong"),
        ("return {}", "the measurer's answer is wrong"),
        ("os._exit(0)", "the measurer's answer is wrong"),
        ("return {'frames': 'x' * 3_000_000}", "answer is too long"),
        ("os.write(os.open('file', os.O_CREAT | os.O_WRONLY), b'x')", REFUSED),
    ],
)
def test_what_a_measurer_does_wrong_is_our_failure(body: str, said: str, ground: Ground, stand_in: Path) -> None:
    write(stand_in, body)
    with pytest.raises(SandboxError) as raised:
        measure_gif(GOOD, "stand_in", SMALL)
    assert said in raised.value.message


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return {}", "the painter's answer is wrong"),
        ("return {'png': 'R0lGODlh'}", "not a PNG: it starts with b'GIF89a'"),
        (f"return {{'png': '{base64.b64encode(GOOD).decode()}'}}", "not a PNG"),
        ("return {'png': 'x' * 3_000_000}", "answer is too long"),
    ],
)
def test_what_a_painter_does_wrong_is_our_failure(body: str, said: str, ground: Ground, stand_in: Path) -> None:
    write(stand_in, body)
    with pytest.raises(SandboxError) as raised:
        picture_gif(GOOD, "stand_in", SMALL)
    assert said in raised.value.message


def test_a_start_that_takes_too_long_is_our_failure(ground: Ground, stand_in: Path) -> None:
    stand_in.write_text("import time\ntime.sleep(60)\n")
    with pytest.raises(SandboxError, match="before its job began: ran for more than 0"):
        measure_gif(GOOD, "stand_in", SMALL.model_copy(update={"wall_seconds": 0.2}))


def test_a_measurer_that_does_not_exist_is_our_failure(ground: Ground) -> None:
    with pytest.raises(SandboxError, match="No module named"):
        measure_gif(GOOD, "localgif.no_such_module", SMALL)
