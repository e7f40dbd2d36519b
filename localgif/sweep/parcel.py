"""A run folder on its way between machines: whole to where it goes on, then piece by piece back.

The machine that runs a cell has the folder that is written; the other one has a copy that is behind. What the copy
lacks is told as pieces: a file that is new, or that became another, whole; a log that grew by its new lines. Each piece
carries the sha256 of the whole file as it is to be afterwards, and nothing is written that does not come to it. Files
that are named after their content are checked against their name too.

A copy is at any moment a run folder that can go on: run.json comes first, saying "started", then contents, then the
lines that name them, and run.json as it is last of all.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from localgif.errors import RunCorrupt
from localgif.files import SUFFIXES, content_hash, replace_file
from localgif.store.read import ANSWERS, PROGRAMS, PROPOSALS, SAMPLES

_RUN = "run.json"
_LOGS = (SAMPLES, ANSWERS, PROGRAMS, PROPOSALS, "gepa/log.txt")
_REST = ("best_prompt.md",)
_CONTENT = re.compile("|".join(rf"{kind}/[0-9a-f]{{16}}\.{suffix}" for kind, suffix in SUFFIXES.items()))
_ASIDE = re.compile(r"(samples|answers|programs|proposals)\.jsonl\.damaged-[0-9]{1,4}")


class State(NamedTuple):
    """A file as the copy has it."""

    size: int
    digest: str
    """sha256 of its bytes, hex."""


class Piece(NamedTuple):
    """What a file of the copy lacks."""

    path: str
    """In the folder, with slashes."""
    offset: int
    """How many bytes of the copy's file stay; 0 replaces it."""
    data: bytes
    digest: str
    """sha256 of the whole file afterwards, hex."""

    @property
    def state(self) -> State:
        """Of the file afterwards."""
        return State(self.offset + len(self.data), self.digest)


def pack(folder: Path) -> dict[str, bytes]:
    """The files of a run folder, by path; none when it has no run.json."""
    if not (folder / _RUN).is_file():
        return {}
    return {name: (folder / name).read_bytes() for name in _names(folder)}


def unpack(folder: Path, files: Mapping[str, bytes]) -> dict[str, State]:
    """Write what `pack` gave into a new folder; returns what is there now.

    Raises:
        RunCorrupt: a path is none of a run folder.
    """
    folder.mkdir(parents=True)
    for name, data in files.items():
        path = folder / _checked(name)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    if files:
        for kind in ("candidates", "code", "gifs"):
            (folder / kind).mkdir(exist_ok=True)
    return {name: State(len(data), _digest(data)) for name, data in files.items()}


def lacking(folder: Path, copy: Mapping[str, State]) -> tuple[Piece, ...]:
    """What a copy lacks of a folder that may be written at this moment.

    Logs are read before the contents that their lines name, and run.json before both, so that a copy that takes the
    pieces in the order given names nothing that it does not have.

    Args:
        folder: The run's.
        copy: What the copy has.
    """
    found = []
    for name in _names(folder):
        had = copy.get(name)
        if had is not None and _CONTENT.fullmatch(name):
            continue
        data = (folder / name).read_bytes()
        if name in _LOGS:
            data = data[: data.rfind(b"\n") + 1]  # a line that is being written comes when it is whole
        digest = _digest(data)
        if had == State(len(data), digest):
            continue
        grown = had is not None and name in _LOGS and _digest(data[: had.size]) == had.digest
        start = had.size if had is not None and grown else 0
        found.append(Piece(name, start, data[start:], digest))
    return tuple(reversed(found))


def take(folder: Path, pieces: Iterable[Piece]) -> None:
    """Bring a copy up to what the pieces say; one that is interrupted here is behind, not broken.

    Raises:
        RunCorrupt: a piece is not what it says it is, or does not fit to the copy; nothing of it is written.
        OSError: the folder cannot be written.
    """
    for piece in pieces:
        path = folder / _checked(piece.path)
        before = path.read_bytes() if piece.offset else b""
        whole = before[: piece.offset] + piece.data
        named = not _CONTENT.fullmatch(piece.path) or content_hash(whole) == path.stem
        if len(before) < piece.offset or _digest(whole) != piece.digest or not named:
            raise RunCorrupt(f"{path}: what came back of it is not what was sent", "see what the network does to it")
        path.parent.mkdir(parents=True, exist_ok=True)
        if piece.offset and len(before) == piece.offset:
            _append(path, piece.data)
        else:
            replace_file(path, whole)


def begun(pieces: Iterable[Piece]) -> bytes | None:
    """run.json as it was when the run began, from the pieces that bring it for the first time; None without it."""
    data = next((piece.data for piece in pieces if piece.path == _RUN), None)
    if data is None:
        return None
    record = {**json.loads(data), "status": "started", "ended": None, "error": None, "result": None}
    return json.dumps(record, indent=2).encode() + b"\n"


def _append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _names(folder: Path) -> Iterator[str]:
    """The files of a run folder; folders of contents are looked into last, when the caller has read the logs."""
    for name in (_RUN, *_LOGS, *_REST):
        if (folder / name).is_file():
            yield name
    for path in sorted(folder.iterdir()):
        if _ASIDE.fullmatch(path.name):
            yield path.name
    for kind in SUFFIXES:
        for path in sorted((folder / kind).glob("*")):
            if _CONTENT.fullmatch(f"{kind}/{path.name}"):
                yield f"{kind}/{path.name}"


def _checked(name: str) -> str:
    """The path; raises RunCorrupt when no run folder has such a file."""
    if name in (_RUN, *_LOGS, *_REST) or _ASIDE.fullmatch(name) or _CONTENT.fullmatch(name):
        return name
    raise RunCorrupt(f"{name!r} is no file of a run folder, and was not taken")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
