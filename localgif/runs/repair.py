"""The logs of a run put in order before it goes on: torn ends cut off, damaged lines set aside and counted."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, TypeVar

from localgif.errors import RunCorrupt, RunError
from localgif.records import Proposal, Record, Sample
from localgif.runs.files import content_path, replace_file
from localgif.runs.lines import read_log
from localgif.runs.read import PROPOSALS, SAMPLES, read_content
from localgif.runs.work import Answer, Log, ProgramRun

ANSWERS, PROGRAMS = "answers.jsonl", "programs.jsonl"

R = TypeVar("R", bound=Record)


def full(path: Path, error: OSError, older: str) -> RunError:
    """What to say when a file of a run cannot be written."""
    return RunError(
        f"{path} cannot be written: {error.strerror}",
        f"Free some space; older {older} are intact, and the run can go on: localgif resume {path.parent.name}",
    )


def put_in_order(folder: Path) -> tuple[Log, list[str], bool]:
    """Put the files of a run in order; the caller holds its lock.

    Returns:
        Its work, what was done to the files, and whether nothing was lost but a torn last line.

    Raises:
        RunError: they cannot be written.
    """
    repairs: list[str] = []
    try:
        samples, lost_samples = _in_order(folder, SAMPLES, Sample, repairs)
        answers, lost_answers = _in_order(folder, ANSWERS, Answer, repairs)
        programs, _ = _in_order(folder, PROGRAMS, ProgramRun, repairs)  # what is lost of these is cheap to do again
        proposals, lost_proposals = _in_order(folder, PROPOSALS, Proposal, repairs)
        lossless = not (lost_samples or lost_answers)
        if proposals and (lost_proposals or not lossless):
            # They are numbered, and follow from the rest: written anew from the first one.
            repairs.append(f"{PROPOSALS} is made again, the old file is {_set_aside(folder / PROPOSALS).name}")
            proposals = ()
    except OSError as error:
        raise full(folder / SAMPLES, error, "files") from None
    return Log(samples, answers, programs, proposals), repairs, lossless


def _in_order(folder: Path, name: str, kind: type[R], repairs: list[str]) -> tuple[tuple[R, ...], int]:
    """The records of a log, rewritten where it holds anything else, and how many were lost beside a torn last one."""
    path = folder / name
    log = read_log(path, kind)
    damaged, kept = list(log.damaged), []
    for record, line in zip(log.records, log.lines, strict=True):
        lost = _lost_content(folder, record) if isinstance(record, Sample) else None
        if lost:
            lost.path.unlink(missing_ok=True)
            damaged.append(lost.why)
        else:
            kept.append((record, line))
    if damaged:
        word = "line" if len(damaged) == 1 else "lines"
        repairs.append(f"{name}: {len(damaged)} {word} lost ({damaged[0]}), the old file is {_set_aside(path).name}")
    if log.torn:
        repairs.append(f"{name}: the last line was torn")
    if damaged or log.torn:
        replace_file(path, b"".join(line + b"\n" for _, line in kept))
    return tuple(record for record, _ in kept), len(damaged)


class _Lost(NamedTuple):
    path: Path
    why: str


def _lost_content(folder: Path, sample: Sample) -> _Lost | None:
    """A file of a sample that is missing or was changed."""
    names = {("code", sample.code), ("gifs", sample.gif), *(("code", a.code) for a in sample.attempts)}
    for kind, name in sorted((k, n) for k, n in names if n):
        try:
            read_content(folder, kind, name)
        except RunCorrupt as error:
            return _Lost(content_path(folder, kind, name), error.message)
    return None


def _set_aside(path: Path) -> Path:
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    path.rename(aside)
    return aside


def read_work(folder: Path) -> Log:
    """The stored work of a run; lines that do not verify, and samples whose files do not, are left out.

    Raises:
        RunCorrupt: a log cannot be read.
    """
    samples = read_log(folder / SAMPLES, Sample).records
    return Log(
        tuple(sample for sample in samples if not _lost_content(folder, sample)),
        read_log(folder / ANSWERS, Answer).records,
        read_log(folder / PROGRAMS, ProgramRun).records,
        read_log(folder / PROPOSALS, Proposal).records,
    )
