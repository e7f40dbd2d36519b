"""Records for tests of run folders."""

from __future__ import annotations

from typing import Any

from localgif.records import Proposal, SandboxRecord
from localgif.store.read import RunRecord
from tests.support.kit import settings


def record(name: str = "one", started: str = "2026-01-01T00:00:00Z", **changes: Any) -> RunRecord:
    values: dict[str, Any] = {
        "name": name,
        "status": "started",
        "started": started,
        "settings": settings("http://127.0.0.1:1"),
        "versions": {},
        "sandbox": SandboxRecord(level="x"),
        "scorer": "article-1",
    }
    return RunRecord(**{**values, **changes})


def proposal(number: int, reply: str = "text") -> Proposal:
    return Proposal(
        number=number,
        parent="p",
        child=None,
        outcome="empty",
        prompt="",
        reply=reply,
        finish_reason="stop",
        prompt_tokens=1,
        output_tokens=1,
        llm_seconds=0.5,
        started="2026-01-01T00:00:00Z",
    )
