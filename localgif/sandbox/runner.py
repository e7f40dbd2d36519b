"""Runs a program that a model wrote, and measures the GIF that it made, each in a confined process of its own.

What is covered (docs/security.md has the levels, and per layer how to see whether it is on):
- The program runs in its own process and session, with a clean environment (no keys, no proxies), no open files of
  ours, no terminal, in a fresh directory that is always removed.
- At level "full" it reads Python's libraries, system libraries, fonts and time zones, and writes in its directory;
  Landlock refuses the rest. Seccomp refuses network, processes, threads, signals to others, changes of modes and times.
- At level "no-read-confinement", without Landlock, it writes its output file only; reading is not confined.
- CPU, elapsed time, memory, processes, threads, file size, disk use, number of files and output are limited, by the
  kernel where it can and by a watch over the whole tree of processes. A breach ends the tree.
- When a result is returned, no process of the program is left; if the app or the keeper dies, so does the program.
- A result cannot be forged: exit status, printed text and exceptions are claims. The GIF is opened without following
  anything, checked without decoding, and decoded and measured in a second process that never ran the program.

What is NOT covered:
- macOS, Windows, machines other than x86-64 and aarch64: programs are not run there.
- Bugs of the kernel, side channels, other processes of the same user.
- That a file exists, its size and times; what is readable can be drawn into the GIF.
- At the levels "weak" and "limits-only", which run only when they are accepted: see docs/security.md.

Failures of the program are verdicts. Failures of ours are SandboxError, after one more try, and never a score.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from localgif.records import Limits, Measurements, ProgramResult, Verdict
from localgif.sandbox import child, intake, keeper_client, probe, watch
from localgif.sandbox.intake import take_png
from localgif.sandbox.keeper_client import ANSWER_CAP, DEFAULT_LIMITS, insist, run_confined
from localgif.sandbox.protocol import (
    EXIT_MEMORY,
    EXIT_OURS,
    LAYERS,
    OUTPUT_NAME,
    WRITE_FILTER,
    Breach,
    Ended,
    Job,
    MachineryError,
)
from localgif.sandbox.text import capped, clean

#: Longest reason, characters.
REASON_CAP = 1000

#: What a refused program is told beside Python's "Operation not permitted".
REFUSED_HINT = "; a program may write in its own folder only, and use neither network, processes nor threads"

#: A wall limit counts only if the program used at least this part of its CPU limit, or the machine was not overloaded.
_FAIR_CPU_SHARE = 0.25
#: Overloaded: more runnable processes per core than this.
_OVERLOAD = 2.0

T = TypeVar("T")


class Refused(ValueError):
    """The program is not run at all; the message says why."""


def run_program(source: str, limits: Limits = DEFAULT_LIMITS, *, layers: frozenset[str] | None = None) -> ProgramResult:
    """Runs a program, calls its make_gif, and takes the GIF that it wrote.

    May be called from several threads at a time.

    Args:
        source: Python source that defines make_gif(path).
        limits: What it may use.
        layers: Names from layers.py, applied as they are. Without it those of the level that probe.decide() found.

    Returns:
        What became of it. `gif` is there exactly when the verdict is ok; it is well-formed but not decoded yet.

    Raises:
        SandboxTooWeak: This machine holds programs back less than was accepted (see probe.decide).
        SandboxError: Our own machinery failed, twice; LayerMissing among it.
    """
    layers = _layers(layers)
    try:
        payload = _checked(source, limits)
    except Refused as error:
        return ProgramResult(
            verdict=Verdict.ERROR, reason=str(error), output="", gif=None, wall_seconds=0.0, cpu_seconds=0.0, peak_rss=0
        )

    def attempt() -> tuple[Ended, bytes | intake.BadOutput]:
        with watch.job_directory() as directory:
            ended = run_confined(Job("program", payload, layers), limits, directory)
            return ended, _take_output(directory, limits, layers)

    ended, output = _fairly(attempt, limits)
    text = clean(ended.output)
    verdict, reason = judge(ended, output, text, source, limits)
    return ProgramResult(
        verdict=verdict,
        reason=capped(reason, REASON_CAP),
        output=text,
        gif=output if verdict is Verdict.OK and isinstance(output, bytes) else None,
        wall_seconds=round(ended.wall_seconds, 4),
        cpu_seconds=round(ended.cpu_seconds, 4),
        peak_rss=ended.peak_rss,
    )


def measure_gif(
    data: bytes, measurer: str, limits: Limits = DEFAULT_LIMITS, *, layers: frozenset[str] | None = None
) -> Measurements | str:
    """Measures a GIF in a confined process that may write nothing.

    Args:
        data: The GIF, of any origin.
        measurer: A module of ours whose `main(data)` returns the fields of Measurements, and raises ValueError for
            data that cannot be decoded.
        limits: What decoding may use; `file_size` bounds the data.
        layers: As for run_program.

    Returns:
        The measurements, or why the GIF counts as output_bad.

    Raises:
        SandboxTooWeak, SandboxError: As run_program.
    """
    return _decode(data, measurer, limits, layers, _measurements)


def picture_gif(
    data: bytes, painter: str, limits: Limits = DEFAULT_LIMITS, *, layers: frozenset[str] | None = None
) -> bytes | str:
    """Makes a PNG from a GIF, in a process like that of measure_gif.

    Args:
        data: The GIF, of any origin.
        painter: A module of ours whose `main(data)` returns {"png": text in base64}, and raises ValueError for data
            that cannot be decoded.
        limits, layers: As for measure_gif.

    Returns:
        The PNG, of which only size and structure were checked (see png.py): its pixels are a stranger's. Or why the
        GIF cannot be decoded.

    Raises:
        SandboxTooWeak, SandboxError: As run_program.
    """
    return _decode(data, painter, limits, layers, _picture)


def judge(
    ended: Ended, output: bytes | intake.BadOutput, text: str, source: str, limits: Limits
) -> tuple[Verdict, str]:
    """Verdict and reason of a program. Pure.

    Args:
        ended: How its process ended.
        output: Its GIF, or why it cannot be taken.
        text: What it printed; only ever quoted.
        source: The program.
        limits: What it might use.
    """
    found = ended.breach or _cpu_breach(ended, limits)
    if found:
        return Verdict(found.verdict), found.reason
    too_big = isinstance(output, intake.BadOutput) and output.verdict is Verdict.OUTPUT_TOO_BIG
    if ended.status < 0:
        return Verdict.CRASHED, f"the process was ended by {_signal_name(-ended.status)}"
    if ended.status and not too_big:  # a file that grew too big ends in an error, but that is not the reason
        said = child.claim(text, child.lines_of(source))
        if ended.status == EXIT_MEMORY:
            limit = watch.megabytes(limits.address_space)
            return Verdict.MEMORY_LIMIT, f"ran out of memory, the limit is {limit}: {said or 'MemoryError'}"
        if said.startswith("PermissionError"):
            said = capped(said, REASON_CAP - len(REFUSED_HINT)) + REFUSED_HINT
        return Verdict.ERROR, said or f"ended with exit status {ended.status} and printed nothing"
    if isinstance(output, intake.BadOutput):
        return output.verdict, str(output)
    return Verdict.OK, f"wrote a GIF of {len(output):,} bytes"


def _decode(
    data: bytes,
    module: str,
    limits: Limits,
    layers: frozenset[str] | None,
    read: Callable[[bytes, intake.GifHeader, int], T | str],
) -> T | str:
    """What a module of ours makes of a GIF in a confined process; `read` checks its answer. Or the GIF's fault."""
    layers = _layers(layers)
    if len(data) > limits.file_size:
        return f"the GIF is larger than {limits.file_size:,} bytes"
    try:
        header = intake.walk_gif(data)
    except intake.BadGif as error:
        return str(error)

    def attempt() -> tuple[Ended, T | str]:
        with watch.job_directory() as directory:
            ended = run_confined(Job("measure", data, layers, module), limits, directory)
        fault = _decoding_fault(ended, limits)
        return ended, fault or read(ended.answer, header, len(data))

    return _fairly(attempt, limits)[1]


# --- pieces ------------------------------------------------------------------------------------------------------


def _layers(chosen: frozenset[str] | None) -> frozenset[str]:
    keeper_client.check_system()
    return LAYERS[probe.decide().level] if chosen is None else chosen


def _checked(source: str, limits: Limits) -> bytes:
    """The program's bytes.

    Raises:
        Refused: Too long, or no text.
    """
    try:
        payload = source.encode()
    except UnicodeEncodeError as error:
        raise Refused("the program is not valid text (not UTF-8, or half of a surrogate pair)") from error
    if len(payload) > limits.source_bytes:
        raise Refused(f"the program is {len(payload):,} bytes long, the limit is {limits.source_bytes:,}")
    if b"\0" in payload:
        raise Refused("the program holds a NUL character")
    return payload


def _fairly(attempt: Callable[[], tuple[Ended, T]], limits: Limits) -> tuple[Ended, T]:
    """Tries again once after a failure of ours, and once when an overloaded machine may have eaten the time."""
    ended, found = insist(attempt)
    slow = ended.breach is not None and ended.breach.verdict == Verdict.WALL_LIMIT
    if slow and ended.cpu_seconds < _FAIR_CPU_SHARE * limits.cpu_seconds and _overloaded():
        ended, found = insist(attempt)
    return ended, found


def _overloaded() -> bool:
    return os.getloadavg()[0] > _OVERLOAD * (os.cpu_count() or 1)


def _take_output(directory: Path, limits: Limits, layers: frozenset[str]) -> bytes | intake.BadOutput:
    try:
        data = intake.read_output(directory, OUTPUT_NAME, limits)
        intake.walk_gif(data)
    except intake.BadOutput as error:
        if WRITE_FILTER in layers and _is_empty(directory / OUTPUT_NAME):
            return intake.BadOutput(f"the program wrote no {OUTPUT_NAME}", Verdict.OUTPUT_MISSING)
        return error
    return data


def _is_empty(file: Path) -> bool:
    """With the write filter an empty file is there from the beginning."""
    try:
        return file.lstat().st_size == 0
    except OSError:
        return False


def _cpu_breach(ended: Ended, limits: Limits) -> Breach | None:
    """Whether the kernel ended the process for its CPU time: SIGXCPU, or SIGKILL a second later."""
    used_up = ended.status == -signal.SIGKILL and ended.cpu_seconds >= limits.cpu_seconds
    # The kernel's alarm counts whole ticks, its report does not: it may ring before the report says so.
    used = max(ended.cpu_seconds, limits.cpu_seconds)
    return watch.cpu_breach(used, limits) if used_up or ended.status == -signal.SIGXCPU else None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _decoding_fault(ended: Ended, limits: Limits) -> str:
    """Why the GIF cannot be decoded, from how the measurer ended; empty when it gave an answer.

    Raises:
        MachineryError: The measurer failed, as opposed to the GIF.
    """
    said = capped(clean(ended.output).strip(), REASON_CAP)
    found = ended.breach or _cpu_breach(ended, limits)
    if found:
        return f"the GIF cannot be decoded: the decoder {found.reason}"
    if ended.status == EXIT_OURS:
        raise MachineryError(f"the measurer failed: {said}")
    if ended.status < 0:
        return f"the GIF cannot be decoded: the decoder was ended by {_signal_name(-ended.status)}"
    if ended.status == EXIT_MEMORY:
        return "the GIF cannot be decoded: the decoder ran out of memory"
    if ended.status:
        return f"the GIF cannot be decoded: {said}"
    if len(ended.answer) > ANSWER_CAP:
        raise MachineryError("the measurer's answer is too long")
    return ""


def _measurements(answer: bytes, header: intake.GifHeader, size: int) -> Measurements | str:
    """The answer of a measurer, checked.

    Raises:
        MachineryError: It is none.
    """
    try:
        found_numbers = Measurements.model_validate_json(answer, strict=True)
    except ValidationError as error:
        raise MachineryError(f"the measurer's answer is wrong: {error}") from error
    if not plausible(found_numbers, header, size):
        return "the GIF cannot be decoded: its structure and its frames disagree"
    return found_numbers


def _picture(answer: bytes, header: intake.GifHeader, size: int) -> bytes:
    """The answer of a painter, checked.

    Raises:
        MachineryError: It is none.
    """
    try:
        return take_png(answer)
    except ValueError as error:
        raise MachineryError(f"the painter's answer is wrong: {error}") from error


def plausible(found: Measurements, header: intake.GifHeader, size: int) -> bool:
    """Whether the numbers fit the structure that we walked, and lie in their ranges (an infinite one does not)."""
    largest = 255.0 * header.width * header.height
    return (
        (found.frames, found.width, found.height, found.size) == (header.frames, header.width, header.height, size)
        and len(found.delays_ms) == found.frames
        and all(0 <= delay <= 655_350 for delay in found.delays_ms)
        and (found.loop is None or 0 <= found.loop <= 65_535)
        and 0 <= found.motion <= largest
        and 0 <= found.gap <= largest
        and found.colours <= 4096
        and found.distinct_frames <= found.frames
        and len(found.steps) == found.frames - 1
        and all(0 <= step <= largest for step in found.steps)
        and len(found.ink) == found.frames
        and all(0 <= share <= 1 for share in found.ink)
    )
