"""The entry of the confined process: reads one message, confines itself, runs one job, ends.

Standard library only, and only what is needed: a program shares this process and can reach everything in it. So there
is no secret here, and nothing that it reports is believed except the one byte on the `ready` pipe, which is written
and closed before the first line of the program runs.

The message on standard input: two 4-byte big-endian lengths, a JSON object (`Header`), and the payload. Mode "program":
the payload is source, and the result is the file it leaves. Mode "measure": the payload is data, `main(data)` of the
named module returns a JSON object, and that is written to standard output; a ValueError of it means bad data.
"""

from __future__ import annotations

import importlib
import json
import linecache
import os
import random
import signal
import struct
import sys
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any, NoReturn, TypedDict

from localgif.sandbox import confine, crash

#: The function that a program must define, and the file that it must write.
FUNCTION = "make_gif"
OUTPUT_NAME = "out.gif"
#: Written to the ready pipe when the limits are in force and the job starts.
READY = b"r"
#: Two lengths: header, payload.
LENGTHS = struct.Struct("!II")
#: Every program starts with this seed: the same program draws the same GIF.
SEED = 0

#: How this process ends. A program can end it with any of these too: all but 0 are failures in any case.
EXIT_ERROR = 1
EXIT_MEMORY = 3
EXIT_OURS = 70

_LARGEST_MESSAGE = 64 * 2**20


class Header(TypedDict):
    """What the parent says about the job. Numbers of file descriptors are those of this process."""

    mode: str
    module: str
    directory: str
    ready: int
    lifeline: int
    limits: dict[str, float]


def main() -> NoReturn:
    """Runs the job that standard input describes; never returns."""
    end = _make_end()
    try:
        header, payload = _receive()
        confine.detach_stdin()
        confine.reset_signals()
        if not confine.die_with_parent(header["lifeline"], header["limits"]["wall_seconds"]):
            end(EXIT_OURS)
        confine.offer_to_oom_killer()
        os.umask(0o077)
        os.chdir(header["directory"])
        if header["mode"] == "program":
            job = _prepare_program(payload, f"{header['directory']}/{OUTPUT_NAME}")
            # One byte more than may be read, so that a file that is too big can be told from one that just fits.
            file_size = int(header["limits"]["file_size"]) + 1
        else:
            job, file_size = _prepare_measurer(header["module"], payload), 0
        confine.apply_rlimits(confine.rlimits(header["limits"], file_size=file_size, root=os.geteuid() == 0))
        os.write(header["ready"], READY)
        os.close(header["ready"])
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode(errors="replace"))
        end(EXIT_OURS)
    end(job())


def _make_end() -> Callable[[int], NoReturn]:
    """A way out that a program cannot patch away, and that runs no exit handler of its."""
    leave, kill, number = os._exit, os.kill, signal.SIGKILL

    def end(code: int) -> NoReturn:
        while True:
            try:
                leave(code)
            finally:
                kill(0, number)

    return end


def _receive() -> tuple[Header, bytes]:
    sizes = _read_exactly(LENGTHS.size)
    header_size, payload_size = LENGTHS.unpack(sizes)
    if header_size + payload_size > _LARGEST_MESSAGE:
        raise ValueError("the message is too long")
    return json.loads(_read_exactly(header_size)), _read_exactly(payload_size)


def _read_exactly(size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        chunk = os.read(0, size - len(data))
        if not chunk:
            raise EOFError("the message ended early")
        data += chunk
    return bytes(data)


# --- mode "program" ----------------------------------------------------------------------------------------------


def _prepare_program(payload: bytes, path: str) -> Callable[[], int]:
    text = payload.decode()
    lines = crash.lines_of(text)
    sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]
    random.seed(SEED)
    if "numpy" in text:  # its import is half of the start-up time of a program that does not use it
        _seed_numpy()
    module = ModuleType("program")
    module.__file__ = crash.FILENAME
    # A program may look itself up (dataclasses do). It is not named __main__: what models put under that guard is a
    # second call, with a file name of its own.
    sys.modules["program"] = sys.modules["__main__"] = module
    sys.argv = [crash.FILENAME]
    linecache.cache[crash.FILENAME] = (len(text), None, [line + "\n" for line in lines], crash.FILENAME)
    return lambda: _run_program(text, lines, module.__dict__, path)


def _seed_numpy() -> None:
    try:
        importlib.import_module("numpy.random").seed(SEED)
    except ImportError:
        return  # the program will say so itself


def _run_program(
    text: str,
    lines: list[str],
    namespace: dict[str, Any],
    path: str,
    # Bound now: the program can replace them where they live, not here.
    settrace: Callable[[None], None] = sys.settrace,
    setprofile: Callable[[None], None] = sys.setprofile,
    write: Callable[[int, bytes], int] = os.write,
    tell: Callable[[BaseException, list[str]], str] = crash.format_crash,
) -> int:
    """Runs the program and calls its function; the exit status to end with."""
    stdout, stderr = sys.stdout, sys.stderr
    status, said = 0, ""
    try:
        try:
            exec(compile(text, crash.FILENAME, "exec", dont_inherit=True), namespace)
            said = _missing(namespace)
            if said:
                status = EXIT_ERROR
            else:
                namespace[FUNCTION](path)
        except BaseException as error:
            settrace(None)
            setprofile(None)
            if isinstance(error, MemoryError):
                status = EXIT_MEMORY
            elif not (isinstance(error, SystemExit) and error.code in (None, 0)):
                status = EXIT_ERROR
            if status:
                said = tell(error, lines)
        stdout.flush()
        stderr.flush()
        if said:
            write(2, said.encode(errors="replace"))
    except MemoryError:
        return EXIT_MEMORY
    except BaseException:  # the program's doing again: an __str__, an __eq__, a closed stream
        return status or EXIT_ERROR
    return status


def _missing(namespace: dict[str, Any]) -> str:
    """Why the function cannot be called; empty when it can."""
    if FUNCTION in namespace:
        kind = type(namespace[FUNCTION]).__name__
        return "" if callable(namespace[FUNCTION]) else f"{FUNCTION} is not a function, it is of type {kind}\n"
    others = [
        name
        for name, value in namespace.items()
        if type(value) is FunctionType and value.__code__.co_filename == crash.FILENAME
    ]
    return f"no function {FUNCTION}" + (f"; the program defines {others[0]}\n" if len(others) == 1 else "\n")


# --- mode "measure" ----------------------------------------------------------------------------------------------


def _prepare_measurer(name: str, data: bytes) -> Callable[[], int]:
    measure = importlib.import_module(name).main
    return lambda: _run_measurer(measure, data)


def _run_measurer(measure: Callable[[bytes], dict[str, object]], data: bytes) -> int:
    try:
        found = measure(data)
    except MemoryError:
        return EXIT_MEMORY
    except ValueError as error:  # by agreement: the data is bad
        os.write(2, str(error)[: crash.MESSAGE_CAP].encode(errors="replace"))
        return EXIT_ERROR
    except BaseException as error:  # a bug of ours
        os.write(2, f"{type(error).__name__}: {error}"[: crash.MESSAGE_CAP].encode(errors="replace"))
        return EXIT_OURS
    answer = json.dumps(found).encode()
    while answer:
        answer = answer[os.write(1, answer) :]
    return 0


if __name__ == "__main__":
    main()
