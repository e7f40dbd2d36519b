"""What a run has done beside its samples, as it is stored, so that none of it need be done again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pydantic import Field

from localgif.records import SCHEMA_VERSION, Measurements, Proposal, Record, Sample, Verdict


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


class Log(NamedTuple):
    """The stored work of one run."""

    samples: Sequence[Sample] = ()
    answers: Sequence[Answer] = ()
    programs: Sequence[ProgramRun] = ()
    proposals: Sequence[Proposal] = ()
