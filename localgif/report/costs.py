"""Where time and tokens went, how scores moved, and which candidates no other beats in every part. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from localgif.records import Proposal, Purpose, Sample
from localgif.report.plots import Band, Trace
from localgif.report.story import Candidate, mean
from localgif.runs.read import StoredRun

_PHASES: tuple[tuple[str, Purpose], ...] = (("search", "search"), ("re-test", "retest"), ("final", "fresh"))


@dataclass(frozen=True)
class Phase:
    """A row of the table of costs. Seconds and tokens."""

    name: str
    requests: int
    tokens: int
    model: float
    sandbox: float


def phases_of(run: StoredRun) -> list[Phase]:
    """Samples by purpose, then the reflector."""
    rows = []
    for name, purpose in _PHASES:
        attempts = [a for s in run.samples if s.purpose == purpose for a in s.attempts]
        if attempts:
            rows.append(
                Phase(
                    name,
                    len(attempts),
                    sum(a.output_tokens for a in attempts),
                    math.fsum(a.llm_seconds for a in attempts),
                    math.fsum(a.sandbox_seconds for a in attempts),
                )
            )
    asked = [p for p in run.proposals if p.move != "tune"]
    if asked:
        tokens = sum(p.output_tokens for p in asked)
        seconds = math.fsum(p.llm_seconds for p in asked)
        # What reflection ran in the sandbox is known from the whole only: a search over numbers tries many programs.
        known = run.record.result["seconds"]["sandbox"] if run.record.result else 0.0
        rest = max(0.0, known - sum(row.sandbox for row in rows))
        rows.append(Phase("reflection", len(asked), tokens, seconds, rest))
    return rows


def total_seconds(run: StoredRun) -> float | None:
    """Of work, of the whole run; of an unfinished one until its last record. None when nothing says."""
    if run.record.result is not None:
        return float(run.record.result["seconds"]["total"])
    stored: list[Sample | Proposal] = [*run.samples, *run.proposals]
    times = [t for t in (worked(run, record) for record in stored) if t is not None]
    return 60 * max(times) if times else None


def worked(run: StoredRun, record: Sample | Proposal) -> float | None:
    """Minutes that the run had been at work when a record was stored; None when nothing says.

    Version 1 did not store that: there it is the time since the start of the run.
    """
    return record.at / 60 if record.at is not None else minutes(run.record.started, record.started)


def minutes(start: str, stamp: str) -> float | None:
    """From one ISO 8601 time to another; None when one of them is none."""
    try:
        return (datetime.fromisoformat(stamp) - datetime.fromisoformat(start)).total_seconds() / 60
    except (ValueError, TypeError):
        return None


def noise_of(candidates: Iterable[Candidate], per_call: int, seed: Candidate | None) -> tuple[Band | None, str]:
    """Where 95 % of the metric calls of an unchanged seed prompt are expected, and what to say about it.

    The spread of single samples is pooled over all candidates with two or more (the article's rule and ours are 0 to 1,
    so the band is cut there); the mean of a call of `per_call` samples spreads by its square root less.
    """
    groups = [scores for c in candidates if len(scores := c.scores()) > 1]
    if seed is None or (around := seed.mean) is None:
        return None, "The seed prompt was not measured yet."
    if not groups:
        return None, "No prompt was sampled twice, so how far chance moves a score is not known."
    squares = math.fsum(math.fsum((x - math.fsum(g) / len(g)) ** 2 for x in g) for g in groups)
    spread = math.sqrt(squares / sum(len(g) - 1 for g in groups))
    half = 1.96 * spread / math.sqrt(max(1, per_call))
    calls = f"{per_call} sample{'s' if per_call != 1 else ''}"
    if half == 0:
        return Band(around, around), "Samples of one prompt all scored the same, so the band has no width."
    text = (
        f"The band is where 95 % of metric calls ({calls}) of an unchanged seed prompt are expected: "
        f"single samples of one prompt differ by a standard deviation of {spread:.3f}. Outside of it is more than luck."
    )
    return Band(max(0.0, around - half), min(1.0, around + half)), text


def traces_of(run: StoredRun) -> tuple[Trace, Trace]:
    """Scores over metric calls, and over minutes since the start."""
    calls, clock = Trace(), Trace()
    grouped: dict[int, list[Sample]] = {}
    for sample in run.samples:
        at, score = worked(run, sample), sample.score.total
        if sample.metric_call is not None:
            calls.samples.append((sample.metric_call, score))
            grouped.setdefault(sample.metric_call, []).append(sample)
        if at is not None:
            (clock.samples if sample.metric_call is not None else clock.later).append((at, score))
    clock.programs = [
        (at, p.score) for p in run.proposals if p.score is not None and (at := worked(run, p)) is not None
    ]
    of: dict[str, list[float]] = {}
    best = -1.0
    for number, samples in sorted(grouped.items()):
        scores = [s.score.total for s in samples]
        of.setdefault(samples[0].candidate, []).extend(scores)
        at = worked(run, samples[-1])
        places = [(calls, float(number)), *([(clock, at)] if at is not None else [])]
        best_now = max(mean(seen) or 0.0 for seen in of.values())
        for trace, place in places:
            trace.means.append((place, sum(scores) / len(scores)))
            if best_now != best:
                trace.best.append((place, best_now))
        best = best_now
    return calls, clock


@dataclass(frozen=True)
class Row:
    """A candidate in the table of parts."""

    candidate: Candidate
    parts: list[float]
    front: bool
    """No other candidate is at least as good in every part and better in one."""


def parts_of(candidates: Iterable[Candidate]) -> tuple[list[str], list[Row]]:
    """Names of the parts, and each measured candidate's mean in each; a sample without a GIF has 0 in all."""
    measured = [c for c in candidates if c.samples]
    names = list(dict.fromkeys(part.name for c in measured for s in c.samples for part in s.score.parts))
    values = []
    for c in measured:
        by_sample = [{part.name: part.value for part in s.score.parts} for s in c.samples]
        values.append([sum(parts.get(name, 0.0) for parts in by_sample) / len(by_sample) for name in names])
    return names, [
        Row(c, own, not any(_dominates(other, own) for other in values))
        for c, own in zip(measured, values, strict=True)
    ]


def _dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    pairs = list(zip(one, other, strict=True))
    return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)


def most_telling(names: Sequence[str], rows: Sequence[Row]) -> tuple[int, int] | None:
    """The two parts to plot: two in which different candidates are the best, else the two that vary most."""
    spread = [max(column) - min(column) for column in zip(*(row.parts for row in rows), strict=True)]
    varied = sorted((i for i in range(len(names)) if spread and spread[i] > 0), key=lambda i: -spread[i])
    if len(varied) < 2:
        return None
    for i in varied:
        for j in varied:
            if i < j and len({(r.parts[i], r.parts[j]) for r in front(rows, i, j)}) > 1:
                return i, j
    return varied[0], varied[1]


def front(rows: Sequence[Row], i: int, j: int) -> list[Row]:
    """The rows that no other beats in these two parts."""
    return [
        row for row in rows if not any(_dominates((o.parts[i], o.parts[j]), (row.parts[i], row.parts[j])) for o in rows)
    ]
