"""The logs of a run folder: checksummed lines, and what a run has done already."""

from __future__ import annotations

import os
from collections import defaultdict, deque
from collections.abc import Sequence
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from pydantic import Field, ValidationError

from localgif.errors import RunCorrupt, RunMismatch
from localgif.files import HASH_DIGITS, content_hash
from localgif.records import SCHEMA_VERSION, Measurements, Proposal, Purpose, Record, Sample, Verdict

R = TypeVar("R", bound=Record)

_HEAD = b'{"check":"'

_BODY = len(_HEAD) + HASH_DIGITS + len(b'",')


class ReadLog(NamedTuple, Generic[R]):
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


def read_log(path: Path, kind: type[R]) -> ReadLog[R]:
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
            record = kind.model_validate_json(body, extra="ignore")
        except ValidationError as error:
            damaged.append(f"line {number}: {first_problem(error)}")
            continue
        if body is line and getattr(record, "schema_version", 1) > 1:
            damaged.append(f"line {number}: its checksum is missing")
            continue
        records.append(record)
        good.append(line)
    return ReadLog(tuple(records), tuple(good), bool(tail), tuple(damaged))


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


class Answer(Record):
    """What the reflector's model said, stored before anything is made of it: it need never be asked again."""

    schema_version: int = SCHEMA_VERSION
    seed: int
    request: str
    """Hash of the request, its pictures included."""
    text: str
    done_reason: str
    prompt_tokens: int | None
    output_tokens: int
    seconds: float
    started: str
    at: float


class ProgramRun(Record):
    """A program that was run and measured, or a search over a program's numbers: work that need not be done again."""

    schema_version: int = SCHEMA_VERSION
    code: str
    """Hash of the program; of a search of the best one found, which may be its start."""
    verdict: Verdict
    reason: str
    measurements: Measurements | None
    seconds: float
    """In the sandbox; of a search for all of its programs."""
    start: str | None = None
    """Hash of the program that a search started from; None when one program was run."""
    task: str = ""
    """What a search was for."""
    tried: int = Field(1, ge=0)
    """How many programs were run."""
    at: float


class RunLog(NamedTuple):
    """The stored work of one run."""

    samples: Sequence[Sample] = ()
    answers: Sequence[Answer] = ()
    programs: Sequence[ProgramRun] = ()
    proposals: Sequence[Proposal] = ()


#: What must be the same in a proposal that is made again.
_SAME = ("parent", "child", "move", "outcome", "reason", "code", "reply")


class Journal:
    """Stored work by what asks for it.

    Args:
        log: The work.
        strict: Whether the search must ask for all of it before it does anything new: true for a run that goes on,
            false for one that shares another one's work, or whose logs were damaged.
    """

    def __init__(self, log: RunLog = RunLog(), *, strict: bool = True) -> None:  # noqa: B008 - immutable
        self.at = max((row.at or 0.0 for rows in log[:3] for row in rows), default=0.0)
        """Seconds that the run had been at work when the last of it was stored."""
        self._strict = strict
        self._samples = {(s.purpose, s.candidate, s.task, s.index): s for s in reversed(log.samples)}
        self._answers: dict[tuple[int, str], deque[Answer]] = defaultdict(deque)
        for answer in log.answers:
            self._answers[answer.seed, answer.request].append(answer)
        # Another run's proposals are its own: they follow from its answers.
        self._proposals = {p.number: p for p in log.proposals} if strict else {}
        self._programs: dict[str, ProgramRun] = {}
        self._limited: dict[str, deque[ProgramRun]] = defaultdict(deque)
        self._searches = {(run.start, run.task): run for run in log.programs if run.start is not None}
        for run in log.programs:
            if run.verdict is Verdict.WALL_LIMIT:
                self._limited[run.code].append(run)
            else:
                self._programs.setdefault(run.code, run)
        self.programs_run = sum(run.tried for run in log.programs)
        self.program_seconds = sum(run.seconds for run in log.programs)
        self._left = len(self._samples) + len(log.answers)

    @property
    def left(self) -> int:
        """Samples and answers that were not asked for yet."""
        return self._left

    def sample(self, purpose: Purpose, candidate: str, task: str, index: int) -> Sample | None:
        """A stored sample; given once."""
        found = self._samples.pop((purpose, candidate, task, index), None)
        self._left -= found is not None
        if found is not None:
            # What the wall limit did to its programs was asked for with it.
            for attempt in found.attempts:
                if attempt.verdict is Verdict.WALL_LIMIT and attempt.code is not None and self._limited[attempt.code]:
                    self._limited[attempt.code].popleft()
        return found

    def answer(self, seed: int, request: str) -> Answer | None:
        """The reflector's stored answer to a request; each given once."""
        waiting = self._answers.get((seed, request))
        if not waiting:
            return None
        self._left -= 1
        return waiting.popleft()

    def proposal(self, made: Proposal) -> Proposal | None:
        """The stored proposal of that number.

        Raises:
            RunMismatch: it is another one.
        """
        known = self._proposals.get(made.number)
        if known is not None and any(getattr(known, key) != getattr(made, key) for key in _SAME):
            raise _mismatch(f"proposal {made.number} ({made.move})")
        return known

    def program(self, code: str) -> ProgramRun | None:
        """What became of a program, by the hash of its text. A wall limit, which the machine's load can cause, is
        given once for each time that it was met."""
        if self._limited[code]:
            return self._limited[code].popleft()
        return self._programs.get(code)

    def search(self, start: str, task: str) -> ProgramRun | None:
        """What a search over the numbers of a program found."""
        return self._searches.get((start, task))

    def new_work(self, what: str) -> None:
        """Called before anything is asked of a model.

        Raises:
            RunMismatch: the run did something else at this place.
        """
        if self._strict and self._left:
            raise _mismatch(what)


def _mismatch(what: str) -> RunMismatch:
    return RunMismatch(
        f"the search comes to {what}, and the stored run did something else there",
        "Its files were changed, or another version wrote them. Start a run that shares what fits: "
        "localgif resume RUN --fork",
    )
