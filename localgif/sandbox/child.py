"""The confined process: takes over its descriptors, confines itself, runs one job, reports how it ended."""

from __future__ import annotations

import builtins
import contextlib
import importlib
import io
import json
import linecache
import math
import os
import random
import re
import resource
import signal
import sys
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FunctionType, ModuleType, TracebackType
from typing import Any, NamedTuple, NoReturn

from localgif.sandbox.protocol import (
    EXIT_ERROR,
    EXIT_LAYER,
    EXIT_MEMORY,
    EXIT_OURS,
    OUTPUT_NAME,
    SECCOMP,
    WRITE_FILTER,
    LayerUnavailable,
    Request,
)

#: Written to the ready pipe when the layers are in force and the job starts. A JSON object follows: `used` (CPU,
#: seconds) and `lacking` (what is not in force).
READY = b"r"

#: The function that a program must define, and the name under which the program is compiled.
_FUNCTION, _FILENAME = "make_gif", "program.py"

#: Every program starts with this seed, so the same program draws the same GIF.
_SEED = 0

#: Bytes.
LARGEST_PAYLOAD = 64 * 2**20

#: Systems without a limit on open files report a huge number.
_MOST_DESCRIPTORS = 2**20

#: Frames of the program that a crash report shows, innermost last.
_FRAMES = 3
#: Longest exception message and longest source line in a crash report, characters.
_MESSAGE_CAP, _LINE_CAP = 2048, 200

# --- crash reports: written in here, read by the app ----------------------------------------------------------------

_HEADER = "Traceback (most recent call last):\n"
_FRAME = re.compile(rf'  File "{re.escape(_FILENAME)}", line (\d+)[^\n]*\n(?:    [^\n]*\n)?')


def lines_of(source: str) -> list[str]:
    """The lines as Python counts them (str.splitlines also splits at form feeds and more)."""
    return re.split(r"\r\n|\r|\n", source)


def claim(output: str, source: list[str]) -> str:
    """What a failed program's output says went wrong, as "Type: message (line N: <source line>)".

    Without a crash report in it, this is the last line. Empty if there is no output.
    """
    start = output.rfind(_HEADER)
    if start < 0:
        lines = output.strip().splitlines()
        return lines[-1].strip() if lines else ""
    position, number = start + len(_HEADER), 0
    while match := _FRAME.match(output, position):
        position, number = match.end(), int(match[1][:9])
    said = output[position:].strip()
    if 0 < number <= len(source):
        return f"{said} (line {number}: {source[number - 1].strip()[:_LINE_CAP]})"
    return said


def _crash_report(error: BaseException, source: list[str]) -> str:
    """A traceback of the program's own last frames, ending in "Type: message".

    The class of the exception and its __str__ are the program's, and may do anything.
    """
    places = _places(error.__traceback__)
    if isinstance(error, SyntaxError) and error.filename == _FILENAME and error.lineno:
        places.append((error.lineno, "<module>"))
    text = _HEADER
    for number, function in list(places)[-_FRAMES:]:
        line = source[number - 1].strip() if 0 < number <= len(source) else ""
        text += f'  File "{_FILENAME}", line {number}, in {function}\n    {line[:_LINE_CAP]}\n'
    message = _message(error)
    kind = type(error).__name__
    return text + (f"{kind}: {message}\n" if message else f"{kind}\n")


def _places(traceback: TracebackType | None) -> deque[tuple[int, str]]:
    """Line and function of the program's innermost frames. A loop, because a deep recursion has a long traceback."""
    found: deque[tuple[int, str]] = deque(maxlen=_FRAMES)
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if code.co_filename == _FILENAME:
            found.append((traceback.tb_lineno, code.co_name))
        traceback = traceback.tb_next
    return found


def _message(error: BaseException) -> str:
    if isinstance(error, SyntaxError) and isinstance(error.msg, str):
        return error.msg[:_MESSAGE_CAP]
    try:
        return str(error)[:_MESSAGE_CAP].strip()
    except MemoryError:
        raise
    except BaseException:  # its __str__ is the program's code
        return "(its message cannot be shown)"


# --- the libraries -----------------------------------------------------------------------------------------------

_MODULES = """
    PIL.Image PIL.ImageDraw PIL.ImageFont PIL.ImageFilter PIL.ImageChops PIL.ImageColor PIL.GifImagePlugin
    PIL.ImageSequence numpy numpy.random numpy.typing math random colorsys itertools hashlib warnings
"""


def load() -> None:
    """Imports the libraries and uses them once, because much of their loading happens at the first use."""
    for name in _MODULES.split():
        with contextlib.suppress(ImportError):  # a program that needs the module will report that itself
            importlib.import_module(name)
    with contextlib.suppress(ImportError):
        _use()


def _use() -> None:
    """Draws, writes and reads a small GIF of our own."""
    import numpy as np
    from PIL import Image, ImageDraw

    frames = [Image.new("RGB", (16, 16), (shade, 0, 0)) for shade in (0, 200)]
    ImageDraw.Draw(frames[0]).ellipse((2, 2, 9, 9), fill=(0, 200, 0))
    file = io.BytesIO()
    frames[0].save(file, format="GIF", save_all=True, append_images=frames[1:], duration=40, loop=0)
    with Image.open(io.BytesIO(file.getvalue()), formats=["GIF"]) as image:
        image.seek(1)
        image.convert("RGB").getcolors()
        grey = np.asarray(image.convert("L"), dtype=np.int16)
    np.unique(np.abs(grey - grey).astype(np.uint32), return_counts=True)


# --- resource limits --------------------------------------------------------------------------------------------------

#: Name of each resource limit, without RLIMIT_ -> its soft and its hard value.
Rlimits = Mapping[str, tuple[int, int]]

#: Stack of a process whose own limit is "unlimited", bytes ("unlimited" would also change the memory layout).
_STACK_BYTES = 8 * 2**20


def rlimits_for(limits: Mapping[str, float], *, file_size: int, root: bool, used: float = 0.0) -> Rlimits:
    """The resource limits for `limits`, the fields of records.Limits.

    Args:
        file_size: The largest file, bytes.
        used: CPU time that the process has used before its job, seconds.
    """
    cpu = math.ceil(used + limits["cpu_seconds"])
    values: dict[str, float] = {
        "AS": limits["address_space"],
        "FSIZE": file_size,
        "NOFILE": limits["open_files"],
        "STACK": _STACK_BYTES,
        # 1, because with 0 the kernel still starts the system's collector of core dumps.
        "CORE": 1,
        "MEMLOCK": 0,
        "MSGQUEUE": 0,
        "RTPRIO": 0,
    }
    # The kernel counts all processes and threads of the user, so only 0 is a useful limit. It does not apply to root:
    # there seccomp and the watch do the work.
    if not root and limits["processes"] <= 1:
        values["NPROC"] = 0
    # CPU: SIGXCPU at the soft limit, and SIGKILL a second later for a program that ignores it.
    return {"CPU": (cpu, cpu + 1), **{name: (int(value), int(value)) for name, value in values.items()}}


def apply_rlimits(wanted: Rlimits) -> list[str]:
    """Sets every limit that this system knows, never above the one already in force, and reads it back.

    Returns:
        The names of limits that the system knows and that did not take effect.
    """
    refused = []
    for name, (soft, hard) in wanted.items():
        number = getattr(resource, f"RLIMIT_{name}", None)
        if number is None:
            continue
        ceiling = resource.getrlimit(number)[1]
        if ceiling != resource.RLIM_INFINITY:
            soft, hard = min(soft, ceiling), min(hard, ceiling)
        try:
            resource.setrlimit(number, (soft, hard))
        except (OSError, ValueError):
            refused.append(name)
            continue
        if resource.getrlimit(number) != (soft, hard):
            refused.append(name)
    return refused


# --- the process -------------------------------------------------------------------------------------------------


class Streams(NamedTuple):
    """Descriptors of the keeper that this process takes over."""

    payload: int
    stdout: int
    stderr: int
    ready: int


#: Confines this process for good, by layers, resource limits and the folder that may be written (None: nothing may).
#: Returns what is not in force although it was asked for.
Confine = Callable[[frozenset[str], Rlimits, Path | None], list[str]]


def run(request: Request, begin: Callable[[], bytes], confine: Confine, used: float = 0.0) -> NoReturn:
    """Becomes the confined process of a job; never returns.

    Args:
        begin: Makes the process ready, and returns the payload.
        used: CPU time that the process has used, seconds; it does not count.
    """
    end = _make_end()
    try:
        payload = begin()
        os.umask(0o077)
        os.chdir(request["directory"])
        for name in [name for name in os.environ if name.startswith("LOCALGIF_")]:
            del os.environ[name]
        os.environ.update(HOME=request["directory"], TMPDIR=request["directory"])
        job, lacking = _confined(request, payload, confine, used)
        os.write(3, READY + json.dumps({"used": used, "lacking": lacking}).encode())
        os.close(3)
    except LayerUnavailable as error:
        os.write(2, f"{error}\n".encode(errors="replace"))
        end(EXIT_LAYER)
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode(errors="replace"))
        end(EXIT_OURS)
    code = EXIT_ERROR
    try:
        code = job()
    finally:  # whatever a signal handler of the program raises here, the process ends
        end(code)


def _make_end() -> Callable[[int], NoReturn]:
    """A function that ends the process. A program cannot patch it, and it runs no exit handler of the program.

    With plain os._exit, a program that replaced it would return into the keeper's code.
    """
    leave, kill, pid, number = os._exit, os.kill, os.getpid(), signal.SIGKILL

    def end(code: int) -> NoReturn:
        while True:
            try:
                leave(code)
            finally:
                kill(pid, number)

    return end


def reset_signals() -> None:
    """Restores every signal that a parent may have blocked or ignored, except the two that Python itself ignores."""
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for number in signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}:
        with contextlib.suppress(OSError, ValueError):  # SIGKILL and SIGSTOP
            signal.signal(number, signal.SIG_DFL)


def take_over(streams: Streams) -> bytes:
    """Returns the payload; then 0 is /dev/null, 1 and 2 are the job's, 3 is the ready pipe, nothing else is open."""
    payload = bytearray()
    while chunk := os.pread(streams.payload, LARGEST_PAYLOAD + 1 - len(payload), len(payload)):
        payload += chunk
    if len(payload) > LARGEST_PAYLOAD:
        raise ValueError("the payload is too long")
    os.dup2(streams.stdout, 1)
    os.dup2(streams.stderr, 2)
    if streams.ready != 3:
        os.dup2(streams.ready, 3)
    close_the_rest()
    return bytes(payload)


def close_the_rest() -> None:
    """Closes every descriptor except the job's (1 to 3), and makes Python's streams from those."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.closerange(4, min(os.sysconf("SC_OPEN_MAX"), _MOST_DESCRIPTORS))
    # The old stream objects still reflect the earlier descriptors.
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        file = io.FileIO(number, "w" if number else "r", closefd=False)
        buffer = io.BufferedWriter(file) if number else io.BufferedReader(file)
        stream = io.TextIOWrapper(buffer, "utf-8", "backslashreplace", line_buffering=True)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _confined(request: Request, payload: bytes, confine: Confine, used: float) -> tuple[Callable[[], int], list[str]]:
    """Prepares the job, then confines the process; returns the job and what is not in force. Modules imported before
    that need no rights later."""
    directory, limits, layers = request["directory"], request["limits"], frozenset(request["layers"])
    if request["mode"] == "program":
        output = f"{directory}/{OUTPUT_NAME}"
        if WRITE_FILTER in layers:
            hand_out_on_open(output, os.open(output, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        job, scratch = _prepare_program(payload, output), Path(directory)
        # One byte more than intake reads, so that it can tell a file that is too big from one that just fits.
        file_size = int(limits["file_size"]) + 1
    else:
        job, scratch, file_size = _prepare_measurer(request["module"], payload), None, 0
        # A measurer writes no files.
        layers |= {WRITE_FILTER} if SECCOMP in layers else frozenset()
    table = rlimits_for(limits, file_size=file_size, root=os.geteuid() == 0, used=used)
    return job, confine(layers, table, scratch)


_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


def hand_out_on_open(path: str, descriptor: int) -> None:
    """Replaces open and os.open: opening `path` (absolute) for writing gives a copy of `descriptor`.

    `descriptor` is open for reading and writing. O_TRUNC empties the copy.
    """
    plain_open, plain_os_open = io.open, os.open

    def is_output(file: object) -> bool:
        return isinstance(file, str | os.PathLike) and os.path.abspath(file) == path  # noqa: PTH100 (must not follow links)

    def handed_out(flags: int) -> int:
        copy = os.dup(descriptor)
        if flags & os.O_TRUNC:
            os.ftruncate(copy, 0)
        os.lseek(copy, 0, os.SEEK_END if flags & os.O_APPEND else os.SEEK_SET)
        return copy

    def shimmed_os_open(file: Any, flags: int, *rest: Any, **options: Any) -> int:
        if flags & _WRITING and is_output(file):
            return handed_out(flags)
        return plain_os_open(file, flags, *rest, **options)

    def opener(file: str, flags: int) -> int:
        return shimmed_os_open(file, flags, 0o600)

    def shimmed_open(file: Any, mode: str = "r", *rest: Any, **options: Any) -> Any:
        if is_output(file) and len(rest) < 6 and options.get("opener") is None:
            options["opener"] = opener
        return plain_open(file, mode, *rest, **options)

    vars(builtins)["open"] = vars(io)["open"] = shimmed_open
    vars(os)["open"] = shimmed_os_open


# --- mode "program" ----------------------------------------------------------------------------------------------


def _prepare_program(payload: bytes, path: str) -> Callable[[], int]:
    text = payload.decode()
    lines = lines_of(text)
    random.seed(_SEED)
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed(_SEED)
    module = ModuleType("program")
    module.__file__ = _FILENAME
    # A program may look itself up (dataclasses do). Its __name__ is not __main__, because models put a second call with
    # another file name under that guard.
    sys.modules["program"] = sys.modules["__main__"] = module
    sys.argv = [_FILENAME]
    linecache.cache[_FILENAME] = (len(text), None, [line + "\n" for line in lines], _FILENAME)
    return lambda: _run_program(text, lines, module.__dict__, path)


def _run_program(
    text: str,
    lines: list[str],
    namespace: dict[str, Any],
    path: str,
    # Bound now: the program can replace these functions in their modules, but not here.
    settrace: Callable[[None], None] = sys.settrace,
    setprofile: Callable[[None], None] = sys.setprofile,
    write: Callable[[int, bytes], int] = os.write,
    report: Callable[[BaseException, list[str]], str] = _crash_report,
) -> int:
    """Runs the program and calls its function; returns the exit status."""
    stdout, stderr = sys.stdout, sys.stderr
    status, said = 0, ""
    try:
        try:
            exec(compile(text, _FILENAME, "exec", dont_inherit=True), namespace)
            said = _missing(namespace)
            if said:
                status = EXIT_ERROR
            else:
                namespace[_FUNCTION](path)
        except BaseException as error:
            settrace(None)
            setprofile(None)
            if isinstance(error, MemoryError):
                status = EXIT_MEMORY
            elif not (isinstance(error, SystemExit) and error.code in (None, 0)):
                status = EXIT_ERROR
            if status:
                said = report(error, lines)
        stdout.flush()
        stderr.flush()
        if said:
            write(2, said.encode(errors="replace"))
    except MemoryError:
        return EXIT_MEMORY
    except BaseException:  # also the program's doing: an __str__, an __eq__, a closed stream
        return status or EXIT_ERROR
    return status


def _missing(namespace: dict[str, Any]) -> str:
    """Why the function cannot be called; empty if it can."""
    if _FUNCTION in namespace:
        kind = type(namespace[_FUNCTION]).__name__
        return "" if callable(namespace[_FUNCTION]) else f"{_FUNCTION} is not a function, it is of type {kind}\n"
    others = [
        name
        for name, value in namespace.items()
        if type(value) is FunctionType and value.__code__.co_filename == _FILENAME
    ]
    return f"no function {_FUNCTION}" + (f"; the program defines {others[0]}\n" if len(others) == 1 else "\n")


# --- mode "measure" ----------------------------------------------------------------------------------------------


def _prepare_measurer(name: str, data: bytes) -> Callable[[], int]:
    measure = importlib.import_module(name).main

    def job() -> int:
        try:
            found = measure(data)
        except MemoryError:
            return EXIT_MEMORY
        except ValueError as error:  # by agreement: the data is bad
            os.write(2, str(error)[:_MESSAGE_CAP].encode(errors="replace"))
            return EXIT_ERROR
        except BaseException as error:  # our own bug
            os.write(2, f"{type(error).__name__}: {error}"[:_MESSAGE_CAP].encode(errors="replace"))
            return EXIT_OURS
        answer = json.dumps(found).encode()
        while answer:
            answer = answer[os.write(1, answer) :]
        return 0

    return job
