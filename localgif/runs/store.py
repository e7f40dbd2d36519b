"""The run folder: the only truth about a run.

    runs/<name>/  run.json  samples.jsonl  proposals.jsonl  best_prompt.md  report.html  .lock
                  candidates/<hash>.md  code/<hash>.py  gifs/<hash>.gif  sheets/<hash>.png

run.json is written first with status "started" and replaced whole at the end, so a run that says "started" and whose
lock nobody holds has died. Samples and proposals are appended, one JSON object a line, and forced to disk before the
search goes on. Code, GIFs and candidates are stored once under the sha256 of their bytes; so are the contact sheets
that a reflector was shown, if it was shown any.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import ValidationError

from localgif.errors import ConfigError, RunCorrupt, RunError, RunLocked
from localgif.records import Proposal, Record, RunRecord, Sample, Status

#: Hex digits of a content hash in file names: 64 bits, far beyond what one run could make collide.
HASH_DIGITS = 16

R = TypeVar("R", bound=Record)


def now() -> str:
    """UTC now, ISO 8601 to the second. For people; durations come from the monotonic clock."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def content_hash(data: str | bytes) -> str:
    """The name under which a text or some bytes are stored."""
    raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    return hashlib.sha256(raw).hexdigest()[:HASH_DIGITS]


def replace_file(path: Path, data: bytes) -> None:
    """Write a file so that a reader, or a power cut, sees the old one or the new one and nothing else."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class RunStore:
    """One run folder, open for writing. Use `create`."""

    def __init__(self, folder: Path, record: RunRecord, lock: int) -> None:
        self.folder = folder
        self.record = record
        self._lock = lock

    @classmethod
    @contextlib.contextmanager
    def create(cls, runs_dir: Path, record: RunRecord) -> Iterator[RunStore]:
        """Make the folder `runs_dir / record.name`, lock it and write run.json.

        Raises:
            ConfigError: a run of that name is there already.
            RunError: the folder cannot be written.
        """
        folder = runs_dir / record.name
        if folder.exists():
            raise ConfigError(f"there is a run named {record.name} already ({folder})", "choose another --name")
        try:
            runs_dir.mkdir(parents=True, exist_ok=True)
            folder.mkdir()
            for part in ("candidates", "code", "gifs"):
                (folder / part).mkdir()
        except OSError as error:
            raise RunError(
                f"the run folder {folder} cannot be made: {error.strerror}", "choose another --runs-dir"
            ) from None
        lock = _take_lock(folder)
        try:
            store = cls(folder, record, lock)
            store._write_record()
            yield store
        finally:
            os.close(lock)  # the kernel lets go of the lock with the last descriptor

    def _write_record(self) -> None:
        self._guarded(self.folder / "run.json", self.record.model_dump_json(indent=2).encode() + b"\n")

    def _guarded(self, path: Path, data: bytes) -> None:
        try:
            replace_file(path, data)
        except OSError as error:
            raise RunError(
                f"{path} cannot be written: {error.strerror}", "Free some space; older files are intact."
            ) from None

    def _append(self, name: str, record: Record) -> None:
        path = self.folder / name
        line = record.model_dump_json().encode() + b"\n"
        try:
            with path.open("ab") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise RunError(
                f"{path} cannot be written: {error.strerror}", "Free some space; older lines are intact."
            ) from None

    def append_sample(self, sample: Sample) -> None:
        """Add a sample; on return it is on the disk."""
        self._append("samples.jsonl", sample)

    def append_proposal(self, proposal: Proposal) -> None:
        """Add a proposal; on return it is on the disk."""
        self._append("proposals.jsonl", proposal)

    def put_candidate(self, prompt: str) -> str:
        """Store a candidate's text; returns its hash."""
        return self._put("candidates", "md", prompt.encode("utf-8", "surrogatepass"))

    def put_code(self, code: str) -> str:
        """Store a program; returns its hash."""
        return self._put("code", "py", code.encode("utf-8", "surrogatepass"))

    def code(self, name: str) -> str:
        """A program that was stored by this run."""
        return (self.folder / "code" / f"{name}.py").read_text("utf-8", "surrogatepass")

    def put_gif(self, gif: bytes) -> str:
        """Store a GIF; returns its hash."""
        return self._put("gifs", "gif", gif)

    def gif(self, name: str) -> bytes:
        """A GIF that was stored by this run."""
        return (self.folder / "gifs" / f"{name}.gif").read_bytes()

    def put_sheet(self, png: bytes) -> str:
        """Store a contact sheet that a reflector is shown; returns its hash. The first one makes the folder."""
        try:
            (self.folder / "sheets").mkdir(exist_ok=True)
        except OSError as error:
            raise RunError(
                f"{self.folder / 'sheets'} cannot be made: {error.strerror}", "Free some space; older files are intact."
            ) from None
        return self._put("sheets", "png", png)

    def _put(self, kind: str, suffix: str, data: bytes) -> str:
        name = content_hash(data)
        path = self.folder / kind / f"{name}.{suffix}"
        if not path.exists():
            self._guarded(path, data)
        return name

    def write_best_prompt(self, prompt: str) -> None:
        """Write best_prompt.md."""
        self._guarded(self.folder / "best_prompt.md", prompt.rstrip("\n").encode("utf-8", "replace") + b"\n")

    def update(self, **changes: Any) -> None:
        """Replace fields of run.json."""
        self.record = self.record.model_copy(update=changes)
        self._write_record()

    def finish(self, status: Status, *, error: str | None = None, result: dict[str, Any] | None = None) -> None:
        """Rewrite run.json with how the run ended."""
        self.update(status=status, ended=now(), error=error, result=result)


def _take_lock(folder: Path) -> int:
    path = folder / ".lock"
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(handle, 200).decode("utf-8", "replace").strip()
        os.close(handle)
        raise RunLocked(
            f"{folder} is being written by {holder or 'another process'}", "Wait for it, or stop it."
        ) from None
    os.ftruncate(handle, 0)
    os.write(handle, f"pid {os.getpid()} on {socket.gethostname()}, since {now()}\n".encode())
    return handle


class StoredRun(NamedTuple):
    """A run folder, read."""

    folder: Path
    record: RunRecord
    samples: tuple[Sample, ...]
    proposals: tuple[Proposal, ...]
    torn: int
    """Last lines that a crash left incomplete and that were left out."""

    def text(self, kind: str, name: str) -> str:
        """The stored text of a candidate or a program.

        Raises:
            RunCorrupt: the file is missing or its bytes are not the ones that its name promises.
        """
        return self.data(kind, name).decode("utf-8", "replace")

    def data(self, kind: str, name: str) -> bytes:
        """The stored bytes, checked against their name."""
        suffix = {"candidates": "md", "code": "py", "gifs": "gif", "sheets": "png"}[kind]
        path = self.folder / kind / f"{name}.{suffix}"
        try:
            data = path.read_bytes()
        except OSError as error:
            raise RunCorrupt(f"{path} cannot be read: {error.strerror}") from None
        if content_hash(data) != name:
            raise RunCorrupt(f"{path} was changed: its bytes are not the ones that its name promises")
        return data


def load_record(folder: Path) -> RunRecord:
    """Read run.json alone.

    Raises:
        RunCorrupt: it cannot be read.
    """
    path = folder / "run.json"
    try:
        return RunRecord.model_validate_json(path.read_bytes())
    except OSError as error:
        raise RunCorrupt(f"{path} cannot be read: {error.strerror}", "Is this a run folder?") from None
    except ValidationError as error:
        raise RunCorrupt(f"{path} is not the run.json of this version: {_first(error)}") from None


def status_of(folder: Path, record: RunRecord) -> str:
    """The status for people: a run that says "started" and that nobody holds has died."""
    if record.status != "started":
        return record.status
    try:
        handle = os.open(folder / ".lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return "died"
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return "running"
    finally:
        os.close(handle)
    return "died"


def load_run(folder: Path) -> StoredRun:
    """Read a run folder.

    Raises:
        RunCorrupt: run.json or a complete line of a log cannot be read.
    """
    record = load_record(folder)
    samples, torn_samples = _read_lines(folder / "samples.jsonl", Sample)
    proposals, torn_proposals = _read_lines(folder / "proposals.jsonl", Proposal)
    return StoredRun(folder, record, samples, proposals, torn_samples + torn_proposals)


def _read_lines(path: Path, kind: type[R]) -> tuple[tuple[R, ...], int]:
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return (), 0
    *lines, tail = raw.split(b"\n")
    records = []
    for number, line in enumerate(lines, 1):
        try:
            records.append(kind.model_validate_json(line))
        except ValidationError as error:
            raise RunCorrupt(f"{path}, line {number}: {_first(error)}") from None
    return tuple(records), int(bool(tail))


def _first(error: ValidationError) -> str:
    problem = error.errors()[0]
    return f"{'.'.join(map(str, problem['loc'])) or 'line'}: {problem['msg']}"


def list_runs(runs_dir: Path) -> list[Path]:
    """Folders of runs, newest first (by the start time in run.json, then by name)."""
    found = []
    for path in runs_dir.glob("*/run.json"):
        try:
            started = str(json.loads(path.read_bytes()).get("started", ""))
        except (OSError, ValueError, AttributeError):
            started = ""
        found.append((started, path.parent.name, path.parent))
    return [folder for _, _, folder in sorted(found, reverse=True)]


def find_run(runs_dir: Path, name: str | None) -> Path:
    """The folder of a run by name or path; the newest without a name.

    Raises:
        ConfigError: there is none.
    """
    if name is None:
        runs = list_runs(runs_dir)
        if not runs:
            raise ConfigError(f"there is no run under {runs_dir}", "make one: localgif optimize")
        return runs[0]
    for folder in (runs_dir / name, Path(name)):
        if (folder / "run.json").is_file():
            return folder
    known = ", ".join(folder.name for folder in list_runs(runs_dir)[:10]) or "none"
    raise ConfigError(f"there is no run {name} under {runs_dir}", f"the newest are: {known}")
