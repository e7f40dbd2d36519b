"""What doctor found, for people and for programs. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from localgif.checks.paces import Minutes
from localgif.checks.result import Check


def table(checks: Sequence[Check]) -> str:
    """One row a check: status, name, evidence; below it, behind an arrow, what to do about it."""
    width = max((len(check.name) for check in checks), default=0)
    margin = " " * (6 + width + 2)
    lines = []
    for check in checks:
        first, *more = check.evidence.splitlines() or [""]
        lines.append(f"{check.status:<6}{check.name:<{width}}  {first}".rstrip())
        lines += [f"{margin}{line}" for line in more]
        lines += [f"{margin}{'   ' if n else '-> '}{line}" for n, line in enumerate(check.remedy.splitlines())]
    return "\n".join([*lines, "", summary(checks)])


def summary(checks: Sequence[Check]) -> str:
    """The last line."""
    failures = [check.name for check in checks if check.status == "FAIL"]
    warnings = [check.name for check in checks if check.status == "WARN"]
    skipped = sum(check.status == "SKIP" for check in checks)
    said = [f"{sum(check.status == 'PASS' for check in checks)} of {len(checks)} checks passed"]
    said += [f"{len(warnings)} warnings ({', '.join(warnings)})"] if warnings else []
    said += [f"{skipped} skipped"] if skipped else []
    said += [f"{len(failures)} FAILED ({', '.join(failures)})"] if failures else []
    return ", ".join(said)


def as_object(checks: Sequence[Check], minutes: Minutes | None, cheap: float, whole: float) -> dict[str, Any]:
    """The object that `--json` prints; seconds and minutes are rounded."""
    return {
        "ok": not any(check.status == "FAIL" for check in checks),
        "checks": [check.model_dump(mode="json") for check in checks],
        "minutes": None if minutes is None else {"least": round(minutes.least, 1), "most": round(minutes.most, 1)},
        "seconds": {"cheap": round(cheap, 2), "whole": round(whole, 2)},
    }
