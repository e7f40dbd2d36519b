"""How far a run is: its phases, and the time left against what recorded runs with real models then took."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any, cast

import pytest

from localgif.records import Attempt, Proposal, Sample
from localgif.search.progress import Plan, Tally, plan_of
from localgif.store.read import load_record

RUNS = Path(__file__).parent.parent / "runs"
#: Runs of real models: what was stored when, in seconds of work.
PACES: dict[str, Any] = json.loads((RUNS / "paces.json").read_text())


def made(kind: type, **fields: Any) -> Any:
    """A record of which only these fields count."""
    return cast(Any, kind).model_construct(**fields)


class Clocked(Tally):
    """A tally whose clock stands still between two records."""

    now = 0.0

    @property
    def elapsed(self) -> float:
        return self.now


def sample(purpose: str, candidate: str, score: float, seconds: float = 10.0, call: int | None = 1) -> Sample:
    attempt = made(Attempt, llm_seconds=seconds, sandbox_seconds=0.0, output_tokens=100)
    parts: dict[str, Any] = {"purpose": purpose, "candidate": candidate, "task": "t", "metric_call": call}
    scored = type("Scored", (), {"total": score})()
    return cast(Sample, made(Sample, **parts, attempts=(attempt,), score=scored))


def told(row: list[Any]) -> Sample | Proposal:
    if len(row) == 4:
        return cast(Proposal, made(Proposal, move=row[1], llm_seconds=row[2], output_tokens=row[3]))
    _, purpose, candidate, task, call, written, ran, tokens, score = row
    attempt = made(Attempt, llm_seconds=written, sandbox_seconds=ran, output_tokens=tokens)
    return sample(purpose, candidate, score, call=call).model_copy(update={"task": task, "attempts": (attempt,)})


def follow(name: str) -> list[tuple[float, float, str]]:
    """Seconds of work, seconds left and phase after each sample of a recorded run."""
    run = PACES[name]
    tally, call = Clocked(), None
    seen: list[tuple[float, float, str]] = []
    tally.begin(Plan(**{**run["plan"], "deciding": frozenset(run["plan"]["deciding"])}), 0.0)
    for row in run["events"]:
        tally.now = row[0]
        record = told(row)
        if isinstance(record, Proposal) or record.metric_call != call:
            tally.metric_call(None)
        if isinstance(record, Proposal):
            tally.proposal(record)
            continue
        call = record.metric_call
        tally.sample(record)
        left = tally.remaining_seconds()
        assert left is not None
        seen.append((tally.now, left, tally.phase))
    return seen


@pytest.mark.parametrize("name", PACES)
def test_in_the_second_half_the_end_is_known_within_a_fifth(name: str) -> None:
    seen = follow(name)
    end = seen[-1][0]
    assert seen[-1][1] == 0
    for now, left, phase in seen[len(seen) // 2 :]:
        assert abs(now + left - end) <= 0.2 * end, f"{phase}, {now:.0f} s: {left:.0f} s left, really {end - now:.0f} s"


@pytest.mark.parametrize("name", PACES)
def test_the_time_left_never_rises_at_two_samples_in_a_row(name: str) -> None:
    rises = [after > before for (_, before, _), (_, after, _) in itertools.pairwise(follow(name))]
    assert not any(one and other for one, other in itertools.pairwise(rises))


@pytest.mark.parametrize("name", PACES)
def test_phases_come_in_order(name: str) -> None:
    order = ["search", "re-test", "comparison", "other tasks"]
    places = [order.index(phase) for _, _, phase in follow(name)]
    assert places == sorted(places)


def test_a_slow_sample_raises_the_time_left_once_and_it_counts_down_between_samples() -> None:
    tally = Clocked()
    tally.begin(Plan(search=10, call=1, fresh=0, deciding=frozenset("t")), 0.0)
    left = []
    for number, seconds in enumerate((10, 40, 80, 2), 1):
        tally.now += seconds
        tally.sample(sample("search", f"p{number}", 0.1, seconds))
        tally.metric_call(None)
        left.append(tally.remaining_seconds())
    assert left[1] > left[0] and left[2] == left[1] > left[3] > 0  # type: ignore[operator]
    last = left[3]
    assert last is not None
    tally.now += 5
    assert tally.remaining_seconds() == last - 5
    tally.now += 1000  # a long reflection: the samples after the next one are still ahead
    held = tally.remaining_seconds()
    assert held is not None and 0 < held < last


def test_a_search_that_spends_its_budget_is_known_to_end_within_a_fifth() -> None:
    tally, seen = Clocked(), []
    tally.begin(Plan(search=24, call=2, fresh=4, deciding=frozenset("t"), target=0.99), 0.0)
    rows = [("search", f"p{i // 2}", 0.01 * i, (20, 35, 12, 28)[i % 4]) for i in range(24)]
    rows += [("retest", name, 0.2, 24) for name in ("p11", "p10") for _ in range(2)]
    rows += [("fresh", name, 0.2, 24) for name in ("p0", "p11") for _ in range(4)]
    for number, (purpose, candidate, score, seconds) in enumerate(rows):
        tally.now += seconds + (30 if number % 4 == 3 and purpose == "search" else 0)  # a reflection
        tally.sample(sample(purpose, candidate, score, seconds))
        if number % 2:
            tally.metric_call(None)
        seen.append(tally.now + (tally.remaining_seconds() or 0.0))
    assert all(abs(guess - seen[-1]) <= 0.2 * seen[-1] for guess in seen[len(seen) // 2 :])


def test_each_phase_is_counted_by_itself() -> None:
    tally = Clocked()
    plan = Plan(search=6, call=1, fresh=2, alone=2, transfer=1, deciding=frozenset("t"), target=0.9)
    tally.begin(plan, 0.0)
    seen = [(tally.phase, tally.place)]
    for purpose, candidate, score in (
        ("search", "seed", 0.2),
        ("search", "best", 0.95),
        ("retest", "best", 0.93),
        ("fresh", "seed", 0.2),
        ("fresh", "seed", 0.2),
        ("fresh", "best", 0.9),
        ("fresh", "best", 0.9),
        ("transfer", "seed", 0.1),
        ("transfer", "best", 0.1),
    ):
        tally.now += 10
        tally.sample(sample(purpose, candidate, score))
        tally.metric_call(None)
        seen.append((tally.phase, tally.place))
    assert seen == [
        ("search", (0, 6)), ("search", (1, 6)), ("re-test", (0, 1)), ("comparison", (0, 4)), ("comparison", (1, 4)),
        ("comparison", (2, 4)), ("comparison", (3, 4)), ("other tasks", (0, 2)), ("other tasks", (1, 2)),
        ("other tasks", (2, 2)),
    ]  # fmt: skip
    assert tally.remaining_seconds() == 0


def test_a_re_test_that_misses_the_target_leads_back_to_the_search() -> None:
    tally = Clocked()
    tally.begin(Plan(search=6, call=1, fresh=2, deciding=frozenset("t"), target=0.9), 0.0)
    for purpose, score in (("search", 0.95), ("retest", 0.4)):
        tally.now += 10
        tally.sample(sample(purpose, "best", score))
        tally.metric_call(None)
    assert (tally.phase, tally.place) == ("search", (1, 6))


def test_the_plan_of_a_stored_run_follows_from_its_settings() -> None:
    assert plan_of(load_record(RUNS / "v2")) == Plan(4, 1, 4, 2, 0, frozenset({"bouncing-ball"}), 0.98)
