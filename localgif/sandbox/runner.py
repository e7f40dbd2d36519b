"""Runs a program that a model wrote and measures its GIF, each in its own confined process.

What the sandbox covers (docs/security.md has what each level refuses, and how to see which layers are on):
- The program runs in its own process and session, with a clean environment (no keys, no proxies), without our open
  files and without a terminal, in a fresh directory that is always removed.
- The kernel, and a watch over the whole tree of processes, limit CPU, elapsed time, memory, processes, threads, file
  size, disk use, number of files and output. A breach ends the tree.
- When a result is returned, no process of the program is left; if the app or what watches the program dies, so does it.
- A program cannot forge a result: exit status, printed text and exceptions are claims. localgif opens the GIF without
  following links, checks it without decoding, and decodes and measures it in a second process that never ran the
  program.

What it does NOT cover:
- Windows. On macOS, it covers only what the level "seatbelt" promises, and only if the probes confirm it.
- Bugs of the kernel, side channels, other processes of the same user.
- Metadata: a program can see that a file exists, its size and its times. It can draw whatever it can read into the GIF.
- The gaps of the levels "weak" and "limits-only", which run only if the user accepts them: see docs/security.md.

A program's failure is a verdict. Our own failure is retried once, then raised as a SandboxError; it is never a score.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from localgif.errors import SandboxError
from localgif.records import Limits, Measurements, ProgramResult, Verdict
from localgif.sandbox import child, jobs, probe, watch
from localgif.sandbox.intake import BadGif, BadOutput, GifHeader, read_output, take_png, walk_gif
from localgif.sandbox.jobs import DEFAULT_LIMITS, insist, run_confined
from localgif.sandbox.keeper_client import ANSWER_CAP
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
from localgif.sandbox.text import capped, clean, stable

#: Longest reason, characters.
_REASON_CAP = 1000

#: The reason adds this to Python's "Operation not permitted".
_REFUSED_HINT = "; a program may write in its own folder only, and use neither network, processes nor threads"

#: On an overloaded machine, a wall limit is retried once if the program used less than this share of its CPU limit.
_FAIR_CPU_SHARE = 0.25
#: Overloaded: more runnable processes per core than this.
_OVERLOAD = 2.0
#: A SIGKILL after at least this share of the CPU limit counts as a CPU breach.
_NEAR = 0.9

#: Controls: if the sandbox fails on these too, the machine is at fault, not the program or the GIF.
_HARMLESS = "def make_gif(path):\n    pass\n"
_HARMLESS_GIF = bytes.fromhex(
    "47494638376102000200810000000000ffffff0000000000002c00000000020002000008060001080c1010003b"
)
_NOTHING: dict[str, Any] = {"output": "", "gif": None, "wall_seconds": 0.0, "cpu_seconds": 0.0, "peak_rss": 0}

_T = TypeVar("_T")


def run_program(source: str, limits: Limits = DEFAULT_LIMITS, *, layers: frozenset[str] | None = None) -> ProgramResult:
    """Runs a program, calls its make_gif, and returns the GIF that it wrote: well-formed, not decoded yet.

    Several threads may call it at the same time.

    Args:
        layers: Layer names from protocol.py. None: the layers of the level that probe.decide() found.

    Raises:
        SandboxTooWeak: This machine confines programs less than the user accepted (see probe.decide).
        SandboxError: Our own machinery failed twice; or, as LayerMissing, the machine lacks a layer.
    """
    layers = _layers(layers)
    payload = _payload(source, limits)
    if isinstance(payload, str):
        return ProgramResult(verdict=Verdict.ERROR, reason=payload, **_NOTHING)

    def attempt() -> tuple[Ended, tuple[bytes | BadOutput, str]]:
        with watch.job_directory() as directory:
            ended = run_confined(Job("program", payload, layers), limits, directory)
            return ended, (_take_output(directory, limits, layers), str(directory))

    control = None if source == _HARMLESS else lambda: run_program(_HARMLESS, limits, layers=layers)
    found = _unless_at_fault(lambda: _fairly(attempt, limits), control)
    if isinstance(found, str):
        return ProgramResult(verdict=Verdict.CRASHED, reason=found, **_NOTHING)
    ended, (output, directory) = found
    text = stable(clean(ended.output), directory)
    verdict, reason = _judge(ended, output, text, source, limits)
    return ProgramResult(
        verdict=verdict,
        reason=capped(reason, _REASON_CAP),
        output=text,
        gif=output if verdict is Verdict.OK and isinstance(output, bytes) else None,
        wall_seconds=round(ended.wall_seconds, 4),
        cpu_seconds=round(ended.cpu_seconds, 4),
        peak_rss=ended.peak_rss,
    )


def measure_gif(
    data: bytes, measurer: str, limits: Limits = DEFAULT_LIMITS, *, layers: frozenset[str] | None = None
) -> Measurements | str:
    """Measures a GIF of any origin in a confined process that may write nothing; raises as run_program.

    Args:
        measurer: A module of ours whose `main(data)` returns the fields of Measurements, and raises ValueError for
            data that it cannot decode.
        limits: What decoding may use; `file_size` bounds the data.

    Returns:
        The measurements, or why the GIF counts as output_bad.
    """
    return _decode(data, measurer, limits, layers, _measurements)


def picture_gif(data: bytes, painter: str, limits: Limits = DEFAULT_LIMITS) -> bytes | str:
    """Makes a PNG from a GIF, or says why the GIF cannot be decoded. As measure_gif, except that `main(data)` of
    `painter` returns {"png": text in base64}. The PNG's size and structure are checked; its pixels are untrusted.
    """
    return _decode(data, painter, limits, None, _picture)


def _layers(chosen: frozenset[str] | None) -> frozenset[str]:
    jobs.sweep_once()
    return LAYERS[probe.decide().level] if chosen is None else chosen


def _fairly(attempt: Callable[[], tuple[Ended, _T]], limits: Limits) -> tuple[Ended, _T]:
    """Retries once after our own failure, and once if an overloaded machine may have used up the time or memory."""
    ended, found = insist(attempt)
    # SIGKILL without a breach: under the filter a program cannot send it, so the system was short of memory.
    killed = ended.breach is None and ended.status == -signal.SIGKILL and _cpu_breach(ended, limits) is None
    starved = ended.breach is not None and ended.breach.verdict == Verdict.WALL_LIMIT
    starved = starved and ended.cpu_seconds < _FAIR_CPU_SHARE * limits.cpu_seconds
    if killed or (starved and os.getloadavg()[0] > _OVERLOAD * (os.cpu_count() or 1)):
        ended, found = insist(attempt)
    return ended, found


def _unless_at_fault(run: Callable[[], _T], control: Callable[[], object] | None) -> _T | str:
    """The result of a job; or why it failed, if the machinery fails for this job every time but not for `control`.

    Raises:
        SandboxError: The machinery fails with `control` too; or, as LayerMissing, the machine lacks a layer.
    """
    try:
        return run()
    except SandboxError as error:
        if control is None or error.code != SandboxError.code:  # a missing layer, a process that survived SIGKILL
            raise
        try:
            control()
        except SandboxError:
            raise error from None
    try:
        return run()
    except SandboxError as error:
        if error.code != SandboxError.code:
            raise
        return f"it makes the sandbox fail: {error.message}"


# --- a program ---------------------------------------------------------------------------------------------------


def _payload(source: str, limits: Limits) -> bytes | str:
    """The program's bytes, or the reason not to run it."""
    try:
        payload = source.encode()
    except UnicodeEncodeError:
        return "the program is not valid text (not UTF-8, or half of a surrogate pair)"
    if len(payload) > limits.source_bytes:
        return f"the program is {len(payload):,} bytes long, the limit is {limits.source_bytes:,}"
    return "the program holds a NUL character" if b"\0" in payload else payload


def _take_output(directory: Path, limits: Limits, layers: frozenset[str]) -> bytes | BadOutput:
    try:
        data = read_output(directory, OUTPUT_NAME, limits)
        walk_gif(data)
    except BadOutput as error:
        with contextlib.suppress(OSError):
            # With the write filter an empty file exists from the beginning.
            if WRITE_FILTER in layers and (directory / OUTPUT_NAME).lstat().st_size == 0:
                return BadOutput(f"the program wrote no {OUTPUT_NAME}", Verdict.OUTPUT_MISSING)
        return error
    return data


def _judge(ended: Ended, output: bytes | BadOutput, text: str, source: str, limits: Limits) -> tuple[Verdict, str]:
    """The verdict on a program, and the reason. Pure; all that it quotes is `text`, which the program printed."""
    found = ended.breach or _cpu_breach(ended, limits)
    if found:
        return Verdict(found.verdict), found.reason
    too_big = isinstance(output, BadOutput) and output.verdict is Verdict.OUTPUT_TOO_BIG
    if ended.status < 0:
        return Verdict.CRASHED, f"the process was ended by {_signal_name(-ended.status)}"
    if ended.status and not too_big:  # a file that grew too big ends in an error, but that is not the reason
        said = child.claim(text, child.lines_of(source))
        if ended.status == EXIT_MEMORY:
            limit = watch.megabytes(limits.address_space)
            return Verdict.MEMORY_LIMIT, f"ran out of memory, the limit is {limit}: {said or 'MemoryError'}"
        if said.startswith("PermissionError"):
            said = capped(said, _REASON_CAP - len(_REFUSED_HINT)) + _REFUSED_HINT
        return Verdict.ERROR, said or f"ended with exit status {ended.status} and printed nothing"
    if isinstance(output, BadOutput):
        return output.verdict, str(output)
    return Verdict.OK, f"wrote a GIF of {len(output):,} bytes"


def _cpu_breach(ended: Ended, limits: Limits) -> Breach | None:
    """The breach if the kernel ended the process for its CPU time: SIGXCPU, or SIGKILL a second later."""
    # The kernel's alarm counts whole ticks, its report does not: the alarm may come before the report shows the limit.
    # A limit that our own parent set comes without SIGXCPU.
    used_up = ended.status == -signal.SIGKILL and ended.cpu_seconds >= _NEAR * limits.cpu_seconds
    return watch.cpu_breach(limits) if used_up or ended.status == -signal.SIGXCPU else None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


# --- a GIF -------------------------------------------------------------------------------------------------------


def _decode(
    data: bytes,
    module: str,
    limits: Limits,
    layers: frozenset[str] | None,
    read: Callable[[bytes, GifHeader, int], _T | str],
) -> _T | str:
    """Runs one of our modules on a GIF in a confined process: its answer, checked by `read`, or why there is none."""
    layers = _layers(layers)
    if len(data) > limits.file_size:
        return f"the GIF is larger than {limits.file_size:,} bytes"
    try:
        header = walk_gif(data)
    except BadGif as error:
        return str(error)

    def attempt() -> tuple[Ended, _T | str]:
        with watch.job_directory() as directory:
            ended = run_confined(Job("measure", data, layers, module), limits, directory)
        fault = _decoding_fault(ended, limits)
        return ended, fault or read(ended.answer, header, len(data))

    control = None if data == _HARMLESS_GIF else lambda: _decode(_HARMLESS_GIF, module, limits, layers, read)
    return _unless_at_fault(lambda: _fairly(attempt, limits)[1], control)


def _decoding_fault(ended: Ended, limits: Limits) -> str:
    """Why the GIF cannot be decoded, judged by how the measurer ended; empty if it answered.

    Raises:
        MachineryError: The measurer has a bug, or its answer is too long.
    """
    said = capped(stable(clean(ended.output)).strip(), _REASON_CAP)
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


def _measurements(answer: bytes, header: GifHeader, size: int) -> Measurements | str:
    """The measurer's answer, checked; raises MachineryError if it is malformed."""
    try:
        found = Measurements.model_validate_json(answer, strict=True)
    except ValidationError as error:
        raise MachineryError(f"the measurer's answer is wrong: {error}") from error
    if not _plausible(found, header, size):
        return "the GIF cannot be decoded: its structure and its frames disagree"
    # Pillow reads only one of the two loop extensions.
    return found.model_copy(update={"loop": header.loop})


def _picture(answer: bytes, header: GifHeader, size: int) -> bytes:
    """The painter's answer, checked; raises MachineryError if it is malformed."""
    try:
        return take_png(answer)
    except ValueError as error:
        raise MachineryError(f"the painter's answer is wrong: {error}") from error


def _plausible(found: Measurements, header: GifHeader, size: int) -> bool:
    """Whether the numbers match the structure that we walked and lie in their ranges, which exclude infinity."""
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
