"""Feeds mutated GIFs to what reads a stranger's GIF, guided by coverage. Run it by `just fuzz-gif TARGET [SECONDS]`.

Targets:
    walk     walks the blocks of some bytes: nothing but BadGif may come out
    intake   the same from a file, opened as a program's output is: nothing but BadOutput may come out
    measure  walks the blocks and, as in a run, decodes and measures what passes: nothing but ValueError may come out,
             and the numbers must agree with the walk

A finding ends the run: an exception of another kind, more than a second (for decoding: more than a second and more than
100 ns per pixel), more than 512 MB, a crash of the interpreter. The input then lies in .fuzz/TARGET-findings/; once it
is understood, it belongs into tests/corpus/gifs-broken/, where a test reads it for ever.
"""

from __future__ import annotations

import io
import resource
import sys
import time
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["localgif", "PIL"]):
    from PIL import Image

    from localgif.gif.measure import main as measure
    from localgif.records import Limits, Measurements
    from localgif.sandbox.intake import BadOutput, read_output, walk_gif
    from localgif.sandbox.runner import plausible

ROOT = Path(__file__).parent.parent
LIMITS = Limits()
SECONDS = 1.0
SECONDS_PER_PIXEL = 1e-7
MEGABYTES = 512
#: Largest input, bytes. Structure is what matters here; sizes and counts are in the headers.
INPUT_BYTES = 4096

#: What GIFs are made of, for the mutator.
WORDS = [
    b"GIF89a",
    b"GIF87a",
    b"!\xf9\x04",
    b"!\xff\x0bNETSCAPE2.0\x03\x01",
    b"!\xfe",
    b"!\x01\x0c",
    b",",
    b"\0;",
    b"\0",
]


#: Where `intake` finds its file.
SCRATCH = ROOT / ".fuzz" / "scratch"


def walk(data: bytes) -> None:
    started = time.perf_counter()
    try:
        header = walk_gif(data)
        assert len(header.delays_ms) == header.frames
    except BadOutput as error:
        assert str(error)
    assert time.perf_counter() - started < SECONDS


def intake(data: bytes) -> None:
    (SCRATCH / "out.gif").write_bytes(data)
    try:
        assert read_output(SCRATCH, "out.gif", LIMITS) == data
    except BadOutput as error:
        assert not data, error
    walk(data)


def measure_too(data: bytes) -> None:
    try:
        header = walk_gif(data)
    except BadOutput:
        return
    started = time.perf_counter()
    try:
        found = measure(data)
    except ValueError as error:
        assert str(error)
        return
    finally:
        took = time.perf_counter() - started
        pixels = header.frames * header.width * header.height
        assert took < max(SECONDS, SECONDS_PER_PIXEL * pixels), f"{took:.1f} s for {pixels:,} pixels"
    plausible(Measurements.model_validate(found), header, len(data))


TARGETS = {"walk": walk, "intake": intake, "measure": measure_too}


def seeds(folder: Path) -> None:
    """Something of each kind to start from."""
    folder.mkdir(parents=True, exist_ok=True)
    kinds: list[tuple[str, dict[str, object]]] = [
        ("plain", {}),
        ("loop", {"loop": 0, "duration": 40}),
        ("transparent", {"transparency": 0, "disposal": 2}),
        ("interlaced", {"interlace": 1, "comment": b"hello"}),
        ("previous", {"disposal": 3, "optimize": True}),
    ]
    for name, options in kinds:
        for count in (1, 3):
            frames = [Image.new("RGB", (9, 7), (80 * number, 20, 200)) for number in range(count)]
            for number, frame in enumerate(frames):
                frame.putpixel((number, number), (255, 255, 255))
            file = io.BytesIO()
            frames[0].save(file, format="GIF", save_all=True, append_images=frames[1:], **options)  # type: ignore[arg-type]
            (folder / f"{name}-{count}.gif").write_bytes(file.getvalue())
    for path in (ROOT / "tests" / "corpus" / "gifs-broken").glob("*.gif"):
        data = path.read_bytes()
        if len(data) <= INPUT_BYTES:
            (folder / path.name).write_bytes(data)


def main() -> None:
    name, seconds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 120
    work = ROOT / ".fuzz"
    seeds(work / f"{name}-inputs")
    findings = work / f"{name}-findings"
    findings.mkdir(exist_ok=True)
    SCRATCH.mkdir(exist_ok=True)
    words = work / "words"
    words.write_text("".join('"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n' for word in WORDS))
    space = 4 * MEGABYTES * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (space, space))
    atheris.Setup(
        [
            sys.argv[0],
            str(work / f"{name}-inputs"),
            f"-max_total_time={seconds}",
            f"-max_len={INPUT_BYTES}",
            f"-rss_limit_mb={MEGABYTES}",
            "-timeout=10",  # the kernel's patience; ours is in the targets
            f"-dict={words}",
            f"-artifact_prefix={findings}/",
            "-print_final_stats=1",
        ],
        TARGETS[name],
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
