"""Run folders, read and repaired."""

from __future__ import annotations

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
from localgif.tasks.task import Task

SAMPLES, ANSWERS, PROGRAMS, PROPOSALS = "samples.jsonl", "answers.jsonl", "programs.jsonl", "proposals.jsonl"

#: Larger files of a run folder are not read: nothing that localgif writes comes near, its logs aside.
_MOST_BYTES = 32 * 2**20

R = TypeVar("R", bound=Record)


class _Head(BaseModel):
    """What every version of run.json and sweep.json has."""

    schema_version: int = 1
    started: str = ""


class RunRecord(Record):
    """run.json: written first with status "started", rewritten at the end."""

    schema_version: int = SCHEMA_VERSION
    name: str
    status: Status
    started: str
    """UTC, ISO 8601."""
    ended: str | None = None
    settings: Settings
    models: tuple[ModelIdentity, ...] = ()
    versions: dict[str, str]
    """Versions of Python, localgif, and the packages that decide results."""
    sandbox: SandboxRecord
    scorer: str
    """Name and version of the rule."""
    task: Task | None = None
    """The whole task, so that the run does not depend on its file; None in old runs, and where there are `tasks`."""
    tasks: tuple[Task, ...] = ()
    neighbours: tuple[Task, ...] = ()
    """Tasks that are drawn after the comparison; the search never sees them."""
    split: dict[str, tuple[str, ...]] | None = None
    parent: str | None = None
    """Name of the run that this one was forked from."""
    demo: bool = False
    """Whether recorded answers stood in for the models (`localgif demo`): what it found is no result."""
    search_end: SearchEnd | None = None
    error: str | None = None
    result: RunResult | None = None

    @property
    def drawn(self) -> tuple[Task, ...]:
        """Every task of the run; empty for old runs, which stored only a name."""
        return self.tasks or ((self.task,) if self.task is not None else ())


class StoredRun(NamedTuple):
    """The contents of a run folder."""

    folder: Path
    record: RunRecord
    samples: tuple[Sample, ...]
    proposals: tuple[Proposal, ...]
    torn: int
    """Number of last lines that a crash left incomplete; they are skipped."""
    damaged: tuple[str, ...] = ()
    """Problem of each other skipped line."""

    def text(self, kind: str, name: str) -> str:
        """The stored text of a candidate or a program; raises as read_content."""
        return self.data(kind, name).decode("utf-8", "replace")

    def data(self, kind: str, name: str) -> bytes:
        """The stored bytes; raises as read_content."""
        return read_content(self.folder, kind, name)


def read_content(folder: Path, kind: str, name: str) -> bytes:
    """Stored bytes; a RunCorrupt if the file is missing, or its bytes do not match its name."""
    inner = content_name(kind, name)
    try:
        data = read_inside(folder, inner, _MOST_BYTES)
    except OSError as error:
        raise RunCorrupt(f"{folder / inner} cannot be read: {error.strerror}") from None
    if content_hash(data) != name:
        raise RunCorrupt(f"{folder / inner} was changed: its bytes do not match the hash in its name")
    return data


def read_versioned(path: Path, kind: type[R], newest: int, *, unreadable: str, damaged: str) -> R:
    """A JSON file with one record that has a `schema_version`. Unknown keys are skipped.

    Args:
        newest: The newest version that this localgif can read.
        unreadable, damaged: Remedies for a file that cannot be read, and for one with other content.

    Raises:
        RunCorrupt: Either, or a newer version wrote the file.
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
        raise RunCorrupt(f"{path} does not fit this version: {first_problem(error)}", damaged) from None


def load_record(folder: Path) -> RunRecord:
    """Read only run.json; raises as read_versioned."""
    return read_versioned(
        folder / "run.json",
        RunRecord,
        SCHEMA_VERSION,
        unreadable="check that this is a run folder: localgif runs",
        damaged="its samples are still readable in samples.jsonl",
    )


def status_of(folder: Path, record: RunRecord) -> str:
    """The status for people: a run with status "started" whose lock is free has died."""
    if record.status != "started":
        return record.status
    return "running" if is_locked(folder) else "died"


def load_run(folder: Path) -> StoredRun:
    """Read a run folder; a RunCorrupt if run.json or a log cannot be read."""
    record = load_record(folder)
    samples, proposals = read_log(folder / SAMPLES, Sample), read_log(folder / PROPOSALS, Proposal)
    damaged = [
        f"{name}, {problem}" for name, log in ((SAMPLES, samples), (PROPOSALS, proposals)) for problem in log.damaged
    ]
    return StoredRun(folder, record, samples.records, proposals.records, samples.torn + proposals.torn, tuple(damaged))


def refuse_demo(record: RunRecord) -> None:
    """Check that models wrote a run; a ConfigError for a demo, whose prompt was found with recorded answers."""
    if record.demo:
        raise ConfigError(
            f"{record.name} is a DEMO: recorded answers stood in for the models, so its prompt is no result",
            "name a run that localgif optimize made: localgif runs",
        )


def list_runs(runs_dir: Path) -> list[Path]:
    """Run folders, newest first (by start time, then by name)."""
    found = []
    for path in runs_dir.glob("*/run.json"):
        try:
            started = _Head.model_validate_json(read_inside(path.parent, path.name, _MOST_BYTES)).started
        except (OSError, ValidationError):
            started = ""
        found.append((started, path.parent.name, path.parent))
    return [folder for _, _, folder in sorted(found, reverse=True)]


def find_run(runs_dir: Path, name: str | None) -> Path:
    """The folder of a run by name, by the beginning of its name, or by path; without a name the newest.

    Raises:
        ConfigError: There is none, or several begin like this.
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
        raise ConfigError(f"{len(alike)} runs under {runs_dir} begin with {name}", f"name one of them: {names}")
    known = ", ".join(folder.name for folder in runs[:10])
    remedy = f"the newest runs are: {known}" if known else "there is none yet; start one: localgif optimize"
    raise ConfigError(f"there is no run {name} under {runs_dir}", remedy)


def find_unfinished(runs_dir: Path) -> Path:
    """The newest run that can be resumed, so neither done nor running; a ConfigError if there is none."""
    for folder in list_runs(runs_dir):
        try:
            record = load_record(folder)
        except RunCorrupt:
            continue
        if not record.demo and status_of(folder, record) not in ("done", "running"):
            return folder
    raise ConfigError(f"there is no unfinished run under {runs_dir}", "name one: localgif resume RUN (localgif runs)")


def full(path: Path, error: OSError) -> RunError:
    """The error for a file of a run that cannot be written."""
    return RunError(
        f"{path} cannot be written: {error.strerror}",
        f"free some disk space (what was stored is intact), then resume the run: localgif resume {path.parent.name}",
    )


def write_beside(folder: Path, name: str, data: bytes) -> None:
    """Write a file that follows from a run into its folder; a RunError if it cannot be written."""
    try:
        replace_inside(folder, name, data)
    except OSError as error:
        raise RunError(
            f"{folder / name} cannot be written: {error.strerror}",
            "free some disk space, or copy the run folder to a place where you may write",
        ) from None


def put_in_order(folder: Path) -> tuple[RunLog, list[str], bool]:
    """Repair the files of a run, whose lock the caller holds; a RunError if they cannot be written, a RunCorrupt if the
    folder holds links or devices, behind which other files would be written.

    Returns:
        The work, the repairs in words, and whether nothing but a torn last line was lost.
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
            # They are numbered and follow from the rest, so all of them are written again.
            repairs.append(f"{PROPOSALS} will be written again; the old file is {_set_aside(folder / PROPOSALS).name}")
            proposals = ()
    except OSError as error:
        raise full(folder / SAMPLES, error) from None
    return RunLog(samples, answers, programs, proposals), repairs, lossless


def _in_order(folder: Path, name: str, kind: type[R], repairs: list[str]) -> tuple[tuple[R, ...], int]:
    """The records of a log, rewritten if it is damaged, and the number of lost ones, without a torn last line."""
    path = folder / name
    log = read_log(path, kind)
    damaged, kept = list(log.damaged), []
    for record, line in zip(log.records, log.lines, strict=True):
        lost = _lost_content(folder, record) if isinstance(record, Sample) else None
        if lost:
            with suppress(OSError, RunCorrupt):  # it is missing, or its name is none of ours
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
    """Kind and name of the first file of a sample that is missing or was changed, and what is wrong with it."""
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
    """The stored work of a run, without damaged lines and samples whose files are damaged; raises as load_run."""
    samples = read_log(folder / SAMPLES, Sample).records
    return RunLog(
        tuple(sample for sample in samples if not _lost_content(folder, sample)),
        read_log(folder / ANSWERS, Answer).records,
        read_log(folder / PROGRAMS, ProgramRun).records,
        read_log(folder / PROPOSALS, Proposal).records,
    )
