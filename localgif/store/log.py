"""The logs of a run folder: lines with checksums, and the journal of finished work."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from pydantic import Field, ValidationError

from localgif.errors import RunCorrupt, RunMismatch
from localgif.files import HASH_DIGITS, content_hash, read_inside
from localgif.records import SCHEMA_VERSION, Measurements, Proposal, Purpose, Record, Sample, Verdict

R = TypeVar("R", bound=Record)

_HEAD = b'{"check":"'
_BODY = len(_HEAD) + HASH_DIGITS + len(b'",')
#: Largest log that is read; a run of an hour writes a few MB.
_MOST_BYTES = 256 * 2**20


class ReadLog(NamedTuple, Generic[R]):
    """The contents of a log file."""

    records: tuple[R, ...]
    lines: tuple[bytes, ...]
    """The line of each record."""
    torn: bool
    """Whether the last line is incomplete, after a crash."""
    damaged: tuple[str, ...]
    """Number and problem of each skipped line."""


def framed(body: bytes) -> bytes:
    """A log line: checksum, a JSON object in UTF-8 without line breaks, newline."""
    return _HEAD + content_hash(body).encode() + b'",' + body[1:] + b"\n"


def unframed(line: bytes) -> bytes | None:
    """The JSON object of a line, given without its newline; None if the checksum is wrong. Version 1 has no
    checksums."""
    if not line.startswith(_HEAD):
        return line
    body = b"{" + line[_BODY:]
    return body if framed(body) == line + b"\n" else None


def read_log(path: Path, kind: type[R]) -> ReadLog[R]:
    """Read a log. A missing file counts as an empty log; an unreadable one raises RunCorrupt."""
    try:
        raw = read_inside(path.parent, path.name, _MOST_BYTES)
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


def first_problem(error: ValidationError) -> str:
    """Place and description of the first problem of a record."""
    problem = error.errors()[0]
    return f"{'.'.join(map(str, problem['loc'])) or 'line'}: {problem['msg']}"


class Answer(Record):
    """An answer of the reflector. It is stored before use, so that it is never requested twice."""

    schema_version: int = SCHEMA_VERSION
    seed: int
    request: str
    """Hash of the request, including pictures."""
    text: str
    done_reason: str
    prompt_tokens: int | None
    cached_tokens: int | None = None
    output_tokens: int
    seconds: float
    started: str
    at: float


class ProgramRun(Record):
    """A program that was run and measured, or a number search."""

    schema_version: int = SCHEMA_VERSION
    code: str
    """Hash of the program; for a search, of the best program found, which may be its start."""
    verdict: Verdict
    reason: str
    measurements: Measurements | None
    seconds: float
    """Time in the sandbox; for a search, the total of its programs."""
    start: str | None = None
    """Hash of the program that a search started from; None if this is not a search."""
    task: str = ""
    """The task of a search."""
    tried: int = Field(1, ge=0)
    """Number of programs that ran."""
    at: float


class RunLog(NamedTuple):
    """The stored work of one run."""

    samples: Sequence[Sample] = ()
    answers: Sequence[Answer] = ()
    programs: Sequence[ProgramRun] = ()
    proposals: Sequence[Proposal] = ()


#: Fields that a repeated proposal must share with the stored one.
_SAME = ("parent", "child", "move", "outcome", "reason", "code", "reply")


class Journal:
    """Stored work, looked up by request.

    With `strict` the search must request all stored work before any new work. True for a resumed run, False for another
    run's work and for damaged logs.
    """

    def __init__(self, log: RunLog = RunLog(), *, strict: bool = True) -> None:  # noqa: B008 - immutable
        self.at = max((row.at or 0.0 for rows in log[:3] for row in rows), default=0.0)
        """Seconds of work in the run when the last record was stored."""
        self._strict = strict
        self._samples = {(s.purpose, s.candidate, s.task, s.index): s for s in reversed(log.samples)}
        self._answers: dict[tuple[int, str], deque[Answer]] = defaultdict(deque)
        for answer in log.answers:
            self._answers[answer.seed, answer.request].append(answer)
        # Proposals of another run are not reused: they are made again from its answers.
        self._proposals = {p.number: p for p in log.proposals} if strict else {}
        self._programs: dict[str, ProgramRun] = {}
        self._limited: dict[str, deque[ProgramRun]] = defaultdict(deque)
        self._searches = {(run.start, run.task): run for run in log.programs if run.start is not None}
        for run in log.programs:
            if not run.verdict.certain:
                self._limited[run.code].append(run)
            else:
                self._programs.setdefault(run.code, run)
        self.programs_run = sum(run.tried for run in log.programs)
        self.program_seconds = sum(run.seconds for run in log.programs)
        self._left = len(self._samples) + len(log.answers)

    @property
    def left(self) -> int:
        """Samples and answers not requested yet."""
        return self._left

    def sample(self, purpose: Purpose, candidate: str, task: str, index: int) -> Sample | None:
        """A stored sample; each is returned once."""
        found = self._samples.pop((purpose, candidate, task, index), None)
        self._left -= found is not None
        if found is not None:
            # Use up the runs of its programs whose verdict may depend on the load of the machine.
            for attempt in found.attempts:
                if not attempt.verdict.certain and attempt.code is not None and self._limited[attempt.code]:
                    self._limited[attempt.code].popleft()
        return found

    def answer(self, seed: int, request: str) -> Answer | None:
        """A stored answer to a request to the reflector; each is returned once."""
        waiting = self._answers.get((seed, request))
        if not waiting:
            return None
        self._left -= 1
        return waiting.popleft()

    def proposal(self, made: Proposal) -> Proposal | None:
        """The stored proposal with the same number, or None. Raises RunMismatch if it differs."""
        known = self._proposals.get(made.number)
        if known is not None and any(getattr(known, key) != getattr(made, key) for key in _SAME):
            raise _mismatch(f"proposal {made.number} ({made.move})")
        return known

    def program(self, code: str) -> ProgramRun | None:
        """The outcome of a program, by the hash of its text. A verdict that may depend on the load of the machine is
        returned once for each time it was stored."""
        if self._limited[code]:
            return self._limited[code].popleft()
        return self._programs.get(code)

    def search(self, start: str, task: str) -> ProgramRun | None:
        """The result of a number search."""
        return self._searches.get((start, task))

    def new_work(self, what: str) -> None:
        """Call this before every request to a model. Raises RunMismatch if the stored run did something else here."""
        if self._strict and self._left:
            raise _mismatch(what)


def _mismatch(what: str) -> RunMismatch:
    return RunMismatch(
        f"the search requests {what}, but the stored run did something else at this point",
        "its files were changed, or another version wrote them; start a new run that reuses what is still valid: "
        "localgif resume RUN --fork",
    )
