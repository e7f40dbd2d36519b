"""What a check found, and what follows from several."""

from __future__ import annotations

from typing import Literal

from localgif.records import Record

Status = Literal["PASS", "WARN", "FAIL", "SKIP"]


class Check(Record):
    """One precondition.

    PASS: it holds. WARN: a run starts, but something is not as it should be. FAIL: a run does not start, or what comes
    out of it cannot be trusted. SKIP: it was not looked at, the evidence says why.
    """

    name: str
    status: Status
    evidence: str
    """What was seen, one or a few lines."""
    remedy: str = ""
    """What the user can do about it; "" where nothing is to be done."""
