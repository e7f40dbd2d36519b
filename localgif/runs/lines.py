"""The log files of a run: one JSON object a line, each with a checksum of its own.

    {"check":"<16 hex digits>","schema_version":2,...}

The checksum is the sha256 of the line's bytes without the key `check`, cut to 16 digits. Lines of version 1 have none.
A last line without its newline was torn by a crash; any other line that does not verify was damaged later. Neither
hides the lines around it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from pydantic import ValidationError

from localgif.errors import RunCorrupt
from localgif.records import Record
from localgif.runs.files import HASH_DIGITS, content_hash

R = TypeVar("R", bound=Record)

_HEAD = b'{"check":"'
_BODY = len(_HEAD) + HASH_DIGITS + len(b'",')


class Log(NamedTuple, Generic[R]):
    """A log file, read."""

    records: tuple[R, ...]
    lines: tuple[bytes, ...]
    """What each record was read from."""
    torn: bool
    """Whether a crash left the last line incomplete."""
    damaged: tuple[str, ...]
    """What is wrong with each line that was left out, with its number."""


def framed(body: bytes) -> bytes:
    """A line for a log: a JSON object in UTF-8 without line breaks, with its checksum in front and a newline."""
    return _HEAD + content_hash(body).encode() + b'",' + body[1:] + b"\n"


def unframed(line: bytes) -> bytes | None:
    """The JSON object of a line without its newline; None when its checksum does not match. Version 1 has none."""
    if not line.startswith(_HEAD):
        return line
    body = b"{" + line[_BODY:]
    return body if framed(body) == line + b"\n" else None


def read_log(path: Path, kind: type[R]) -> Log[R]:
    """Read a log; one that is not there is empty.

    Raises:
        RunCorrupt: the file cannot be read at all.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raw = b""
    except OSError as error:
        raise RunCorrupt(f"{path} cannot be read: {error.strerror}", "check its permissions") from None
    *lines, tail = raw.split(b"\n")
    records, good, damaged = [], [], []
    for number, line in enumerate(lines, 1):
        body = unframed(line)
        if body is None:
            damaged.append(f"line {number}: its checksum does not match")
            continue
        try:
            record = kind.model_validate_json(body)
        except ValidationError as error:
            damaged.append(f"line {number}: {first_problem(error)}")
            continue
        if body is line and getattr(record, "schema_version", 1) > 1:
            damaged.append(f"line {number}: its checksum is missing")
            continue
        records.append(record)
        good.append(line)
    return Log(tuple(records), tuple(good), bool(tail), tuple(damaged))


def append_line(path: Path, record: Record, *, durable: bool = True) -> None:
    """Add a record; when it cannot be written whole, the file is as before.

    Args:
        path: Of the log.
        record: What to add.
        durable: Whether it is on the disk when this returns; else the kernel has it, which a crash of ours survives.

    Raises:
        OSError: it cannot be written.
    """
    line = framed(record.model_dump_json().encode())
    with path.open("ab") as file:
        end = file.tell()
        try:
            file.write(line)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        except OSError:
            os.truncate(path, end)
            raise


def first_problem(error: ValidationError) -> str:
    """Place and kind of the first thing that is wrong with a record."""
    problem = error.errors()[0]
    return f"{'.'.join(map(str, problem['loc'])) or 'line'}: {problem['msg']}"
