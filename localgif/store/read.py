"""Reads run folders, finds them by name, and repairs them."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from localgif.errors import ConfigError, RunCorrupt, RunError
from localgif.files import (
    content_hash,
    content_name,
    is_file,
    is_locked,
    odd_entry,
    read_inside,
    remove_inside,
    replace_inside,
)
from localgif.records import (
    SCHEMA_VERSION,
    ModelIdentity,
    Proposal,
    Record,
    RunResult,
    Sample,
    SandboxRecord,
    SearchEnd,
    Status,
)
from localgif.settings import Settings
from localgif.store.log import Answer, ProgramRun, RunLog, first_problem, read_log
from localgif.tasks.suite import Example
from localgif.tasks.task import Task

SAMPLES, ANSWERS, PROGRAMS, PROPOSALS = "samples.jsonl", "answers.jsonl", "programs.jsonl", "proposals.jsonl"
#: What a running run does now.
NOW = ".now"

#: Largest file of a run folder that is read, logs aside; localgif writes far smaller ones.
_MOST_BYTES = 32 * 2**20

R = TypeVar("R", bound=Record)


class _Head(BaseModel):
    """The keys that every version of run.json and sweep.json has."""

    schema_version: int = 1
    started: str = ""


class RunRecord(Record):
    """run.json: written at the start with status "started", rewritten at the end."""

    schema_version: int = SCHEMA_VERSION
    name: str
    status: Status
    started: str
    """UTC, ISO 8601."""
    ended: str | None = None
    settings: Settings
    models: tuple[ModelIdentity, ...] = ()
    versions: dict[str, str]
    """Versions of Python, localgif, and the packages that can change results."""
    sandbox: SandboxRecord
    scorer: str
    """Name and version of the rule."""
    task: Task | None = None
    """The whole task, so that the run does not depend on its file; None in old runs, and with several `tasks`."""
    tasks: tuple[Task, ...] = ()
    neighbours: tuple[Task, ...] = ()
    """Tasks that are drawn only after the comparison; the search never sees them."""
    split: dict[str, tuple[str, ...]] | None = None
    given: tuple[Example, ...] = ()
    """Examples of an earlier run (setting `examples_from`), so that the run does not depend on it."""
    parent: str | None = None
    """Name of the run that this one was forked from."""
    demo: bool = False
    """Whether recorded answers replaced the models (`localgif demo`). What such a run finds is not a result."""
    search_end: SearchEnd | None = None
    error: str | None = None
    result: RunResult | None = None

    @property
    def drawn(self) -> tuple[Task, ...]:
        """All tasks of the run; empty for old runs, which stored only a name."""
        return self.tasks or ((self.task,) if self.task is not None else ())


class StoredRun(NamedTuple):
    """The contents of a run folder."""

    folder: Path
    record: RunRecord
    samples: tuple[Sample, ...]
    proposals: tuple[Proposal, ...]
    torn: int
    """Number of logs whose last line is incomplete; these lines are skipped."""
    damaged: tuple[str, ...] = ()
    """The problem of each other skipped line."""

    def text(self, kind: str, name: str) -> str:
        """The stored text of a candidate or a program; raises as read_content."""
        return self.data(kind, name).decode("utf-8", "replace")

    def data(self, kind: str, name: str) -> bytes:
        """The stored bytes; raises as read_content."""
        return read_content(self.folder, kind, name)


def read_content(folder: Path, kind: str, name: str) -> bytes:
    """The bytes of a stored content. Raises RunCorrupt if the file is missing, or its bytes do not match its name."""
    inner = content_name(kind, name)
    try:
        data = read_inside(folder, inner, _MOST_BYTES)
    except OSError as error:
        raise RunCorrupt(f"{folder / inner} cannot be read: {error.strerror}") from None
    if content_hash(data) != name:
        raise RunCorrupt(f"{folder / inner} was changed: its bytes do not match the hash in its name")
    return data


def read_versioned(path: Path, kind: type[R], newest: int, *, unreadable: str, damaged: str) -> R:
    """The record in a JSON file that has a `schema_version`. Unknown keys are ignored.

    Args:
        newest: The newest version that this localgif can read.
        unreadable, damaged: Remedies for a file that cannot be read, and for one with wrong content.

    Raises:
        RunCorrupt: The file cannot be read, its content is wrong, or a newer version wrote it.
    """
    try:
        raw = read_inside(path.parent, path.name, _MOST_BYTES)
        version = _Head.model_validate_json(raw).schema_version
    except OSError as error:
        raise RunCorrupt(f"{path} cannot be read: {error.strerror}", unreadable) from None
    except ValidationError as error:
        raise RunCorrupt(f"{path} is not a JSON object: {first_problem(error)}", damaged) from None
    if version > newest:
        raise RunCorrupt(
            f"{path} was written by a newer localgif (schema_version {version}, this one reads up to {newest})",
            "use that version of localgif",
        )
    try:
        return kind.model_validate_json(raw, extra="ignore")
    except ValidationError as error:
        raise RunCorrupt(f"{path} cannot be read by this version: {first_problem(error)}", damaged) from None


def load_record(folder: Path) -> RunRecord:
    """The run.json of a run folder; raises as read_versioned."""
    return read_versioned(
        folder / "run.json",
        RunRecord,
        SCHEMA_VERSION,
        unreadable="check that this is a run folder: localgif runs",
        damaged="its samples are still readable in samples.jsonl",
    )


def status_of(folder: Path, record: RunRecord) -> str:
    """The status for people: a run with status "started" is running, or died if its lock is free."""
    if record.status != "started":
        return record.status
    return "running" if is_locked(folder) else "died"


class Activity(NamedTuple):
    """What a running run does; `text` is "" if unknown."""

    text: str = ""
    at: float = 0.0
    """Its start in seconds of work."""
    age: float = 0.0
    """Seconds since the run stored it."""


def activity_of(folder: Path) -> Activity:
    """The current activity of a run, for people who watch it."""
    try:
        value = json.loads(read_inside(folder, NOW, 64 * 1024))
        age = time.time() - (folder / NOW).stat().st_mtime
        return Activity(str(value["text"]), float(value["at"]), max(0.0, age))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return Activity()


def load_run(folder: Path) -> StoredRun:
    """Read a run folder. Raises RunCorrupt if run.json or a log cannot be read."""
    record = load_record(folder)
    samples, proposals = read_log(folder / SAMPLES, Sample), read_log(folder / PROPOSALS, Proposal)
    damaged = [
        f"{name}, {problem}" for name, log in ((SAMPLES, samples), (PROPOSALS, proposals)) for problem in log.damaged
    ]
    return StoredRun(folder, record, samples.records, proposals.records, samples.torn + proposals.torn, tuple(damaged))


def refuse_demo(record: RunRecord) -> None:
    """Raise ConfigError for a demo: its prompt was found with recorded answers."""
    if record.demo:
        raise ConfigError(
            f"{record.name} is a DEMO: recorded answers replaced the models, so its prompt is not a result",
            "name a run of localgif optimize; localgif runs lists them",
        )


def list_runs(runs_dir: Path) -> list[Path]:
    """The run folders, newest first (by start time, then by name)."""
    found = []
    for path in runs_dir.glob("*/run.json"):
        try:
            started = _Head.model_validate_json(read_inside(path.parent, path.name, _MOST_BYTES)).started
        except (OSError, ValidationError):
            started = ""
        found.append((started, path.parent.name, path.parent))
    return [folder for _, _, folder in sorted(found, reverse=True)]


def find_run(runs_dir: Path, name: str | None) -> Path:
    """The folder of a run: by name, by the start of its name, or by path; without a name the newest run.

    Raises:
        ConfigError: No run matches, or several names start like this.
    """
    if name is None:
        runs = list_runs(runs_dir)
        if not runs:
            raise ConfigError(f"there is no run under {runs_dir}", "start one: localgif optimize")
        return runs[0]
    for folder in (runs_dir / name, Path(name)):
        if is_file(folder / "run.json"):
            return folder
    runs = list_runs(runs_dir)
    alike = [folder for folder in runs if name and folder.name.startswith(name)]
    if len(alike) == 1:
        return alike[0]
    if alike:
        names = ", ".join(folder.name for folder in alike[:10])
        raise ConfigError(f"{len(alike)} runs in {runs_dir} start with {name}", f"name one of them: {names}")
    known = ", ".join(folder.name for folder in runs[:10])
    remedy = f"the newest runs are: {known}" if known else "there is none yet; start one: localgif optimize"
    raise ConfigError(f"there is no run {name} under {runs_dir}", remedy)


def find_unfinished(runs_dir: Path) -> Path:
    """The newest run that can be resumed: neither done nor running. Raises ConfigError if there is none."""
    for folder in list_runs(runs_dir):
        try:
            record = load_record(folder)
        except RunCorrupt:
            continue
        if not record.demo and status_of(folder, record) not in ("done", "running"):
            return folder
    raise ConfigError(f"there is no unfinished run under {runs_dir}", "name one: localgif resume RUN (localgif runs)")


def taken(folder: Path) -> ConfigError:
    """The error for a new run whose folder exists."""
    return ConfigError(
        f"a run named {folder.name} already exists ({folder})",
        f"choose another --name, or resume the run: localgif resume {folder.name}",
    )


def full(path: Path, error: OSError) -> RunError:
    """The error for a file of a run that cannot be written."""
    return RunError(
        f"{path} cannot be written: {error.strerror}",
        f"free some disk space, then resume the run, which kept its data: localgif resume {path.parent.name}",
    )


def write_beside(folder: Path, name: str, data: bytes) -> None:
    """Write a file made from a run, such as its report, into the run folder. Raises RunError if that fails."""
    try:
        replace_inside(folder, name, data)
    except OSError as error:
        raise RunError(
            f"{folder / name} cannot be written: {error.strerror}",
            "free some disk space, or copy the run folder to a place that you can write to",
        ) from None


def put_in_order(folder: Path) -> tuple[RunLog, list[str], bool]:
    """Repair the files of a run, whose lock the caller holds.

    Returns:
        The work, the repairs in words, and whether at most an incomplete last line of each log was lost.

    Raises:
        RunError: A file cannot be written.
        RunCorrupt: The folder contains links or devices, through which localgif would write to other files.
    """
    if odd := odd_entry(folder):
        raise RunCorrupt(f"{odd} is neither a file nor a folder", "remove it, if you trust this run, and resume again")
    repairs: list[str] = []
    try:
        samples, lost_samples = _in_order(folder, SAMPLES, Sample, repairs)
        answers, lost_answers = _in_order(folder, ANSWERS, Answer, repairs)
        programs, _ = _in_order(folder, PROGRAMS, ProgramRun, repairs)  # cheap to repeat
        proposals, lost_proposals = _in_order(folder, PROPOSALS, Proposal, repairs)
        lossless = not (lost_samples or lost_answers)
        if proposals and (lost_proposals or not lossless):
            # They have consecutive numbers, and the run makes them again from the rest.
            repairs.append(f"{PROPOSALS} will be written again; the old file is {_set_aside(folder / PROPOSALS).name}")
            proposals = ()
    except OSError as error:
        raise full(folder / SAMPLES, error) from None
    return RunLog(samples, answers, programs, proposals), repairs, lossless


def _in_order(folder: Path, name: str, kind: type[R], repairs: list[str]) -> tuple[tuple[R, ...], int]:
    """The records of a log, and the number of damaged ones; rewrites a damaged log without them."""
    path = folder / name
    log = read_log(path, kind)
    damaged, kept = list(log.damaged), []
    for record, line in zip(log.records, log.lines, strict=True):
        lost = _lost_content(folder, record) if isinstance(record, Sample) else None
        if lost:
            with suppress(OSError, RunCorrupt):  # it is missing, or its name is not a hash
                remove_inside(folder, content_name(*lost[0]))
            damaged.append(lost[1])
        else:
            kept.append((record, line))
    if damaged:
        word = "line" if len(damaged) == 1 else "lines"
        repairs.append(f"{name}: {len(damaged)} {word} lost ({damaged[0]}); the old file is {_set_aside(path).name}")
    if log.torn:
        repairs.append(f"{name}: the last line was incomplete")
    if damaged or log.torn:
        replace_inside(folder, name, b"".join(line + b"\n" for _, line in kept))
    return tuple(record for record, _ in kept), len(damaged)


def _lost_content(folder: Path, sample: Sample) -> tuple[tuple[str, str], str] | None:
    """(kind, name) and problem of the first file of a sample that is missing or was changed; None if all are good."""
    names = {("code", sample.code), ("gifs", sample.gif), *(("code", a.code) for a in sample.attempts)}
    for kind, name in sorted((k, n) for k, n in names if n):
        try:
            read_content(folder, kind, name)
        except RunCorrupt as error:
            return (kind, name), error.message
    return None


def _set_aside(path: Path) -> Path:
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    path.rename(aside)
    return aside


def read_work(folder: Path) -> RunLog:
    """The stored work of a run, without damaged lines, and without samples that lost a file; raises as load_run."""
    samples = read_log(folder / SAMPLES, Sample).records
    return RunLog(
        tuple(sample for sample in samples if not _lost_content(folder, sample)),
        read_log(folder / ANSWERS, Answer).records,
        read_log(folder / PROGRAMS, ProgramRun).records,
        read_log(folder / PROPOSALS, Proposal).records,
    )
