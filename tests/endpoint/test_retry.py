"""The policy of trying again, as a function: what, how often, how long."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localgif.endpoint.http import (
    POLICY,
    Failed,
    Failure,
    Kind,
    Patience,
    Policy,
    SystemClock,
    read_retry_after,
    wait,
)
from localgif.errors import EndpointError

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FAILURES = st.builds(
    Failure,
    st.sampled_from(get_args(Kind)),
    st.just("it is ill"),
    st.integers(400, 599),
    st.none() | st.floats(0, math.inf),
)
POLICIES = st.builds(
    Policy,
    first=st.floats(0.01, 5),
    longest=st.floats(5, 60),
    longest_asked=st.floats(5, 120),
    seconds=st.floats(0.1, 600),
    spoilt=st.integers(1, 9),
)


@given(st.lists(FAILURES, min_size=1, max_size=40), st.floats(0, 1000), POLICIES)
def test_a_wait_is_bounded_and_only_before_what_may_succeed(
    failures: list[Failure], elapsed: float, policy: Policy
) -> None:
    pause = wait(failures, elapsed, policy)
    last = failures[-1]
    if pause is None:
        assert not last.transient or sum(one.spoilt for one in failures) >= policy.spoilt or elapsed >= policy.seconds
        return
    assert last.transient and sum(one.spoilt for one in failures) < policy.spoilt
    assert 0 < pause <= max(policy.longest, policy.longest_asked)
    assert elapsed + pause <= policy.seconds + 1e-9, "the last try begins before the policy ends"
    asked = min(last.retry_after or 0, policy.longest_asked)
    assert pause >= min(asked, policy.seconds - elapsed), "a server that asks to be left alone is"


@given(st.lists(FAILURES.filter(lambda one: one.transient), min_size=1, max_size=40), POLICIES)
def test_waits_grow_and_the_whole_is_bounded(failures: list[Failure], policy: Policy) -> None:
    elapsed, waits = 0.0, []
    for count in range(1, len(failures) + 1):
        plain = [Failure(one.kind, status=one.status) for one in failures[:count]]
        pause = wait(plain, elapsed, policy)
        if pause is None:
            break
        waits.append(pause)
        elapsed += pause
    assert elapsed <= policy.seconds * (1 + 1e-9)
    grown = waits[:-1]  # the last one may be cut by the end
    assert grown == sorted(grown) and all(pause <= policy.longest for pause in waits)


def test_a_dead_server_is_asked_for_five_minutes_a_sick_one_five_times() -> None:
    gone, sick = Failure("unreachable"), Failure("status", status=500)
    elapsed, tries = 0.0, [gone]
    while (pause := wait(tries, elapsed)) is not None:
        elapsed += pause
        tries.append(gone)
    assert elapsed == POLICY.seconds == 300 and len(tries) == 16
    waits = [wait([sick] * count, 0.0) for count in range(1, 6)]
    assert waits == [0.5, 1, 2, 4, None]
    assert wait([sick] * 4 + [gone] * 5, 20.0) == 30, "a server that is away has not spoilt another try"


@pytest.mark.parametrize(
    ("failure", "again"),
    [
        *((Failure("status", status=code), True) for code in (408, 425, 429, 500, 502, 503, 504, 520)),
        *((Failure("status", status=code), False) for code in (400, 401, 403, 404, 405, 413, 422, 501)),
        *((Failure(kind), True) for kind in ("unreachable", "lost", "unfinished", "said")),
        *((Failure(kind), False) for kind in ("silent", "garbled", "flood", "window", "thought")),
    ],
)
def test_what_is_tried_again(failure: Failure, again: bool) -> None:
    assert failure.transient is again
    assert (wait([failure], 0.0) is not None) is again


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        (" 0 ", 0.0),
        (format_datetime(NOW + timedelta(seconds=30), usegmt=True), 30.0),
        (format_datetime(NOW - timedelta(hours=1), usegmt=True), 0.0),
        ("Thu, 01 Jan 2026 00:01:00 -0000", 60.0),
        ("soon", None),
        ("-3", None),
        ("7.5", None),
        ("٣", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str | None, seconds: float | None) -> None:
    assert read_retry_after(header, NOW) == seconds


@given(st.text())
def test_no_header_breaks_it(header: str) -> None:
    found = read_retry_after(header, NOW)
    assert found is None or found >= 0


class Script(SystemClock):
    """A clock that is moved by sleeping, attempts that fail as told, and weights that change as told."""

    def __init__(self, *failures: Failure | None, weights: tuple[str | None, ...] = ("a" * 64,)) -> None:
        self.failures = list(failures)
        self.weights = weights
        self.asked = 0
        self.looked = 0
        self.time = 100.0
        self.slept: list[float] = []
        self.notices: list[str] = []

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds

    def listed(self) -> str | None:
        self.looked += 1
        return self.weights[min(self.looked, len(self.weights)) - 1]

    def attempt(self) -> str:
        failure = self.failures[min(self.asked, len(self.failures) - 1)]
        self.asked += 1
        self.time += 1.0
        if failure is not None:
            raise Failed(failure)
        return f"answer {self.asked}"

    def run(self) -> str:
        patience = Patience("http://there", "m:1b", self.listed, self.notices.append, clock=self)
        return patience.ask(self.attempt)


def test_a_short_outage_is_survived_and_told() -> None:
    script = Script(Failure("lost", "reset"), Failure("unreachable", "refused"), None)
    assert script.run() == "answer 3"
    assert script.slept == [0.5, 1.0]
    assert [notice.split(";")[0] for notice in script.notices] == [
        "http://there: the connection broke: reset",
        "http://there: nobody answers there: refused",
    ]


def test_the_last_failure_is_the_evidence_and_the_cause_is_kept() -> None:
    script = Script(Failure("status", "first", 500), Failure("status", "then\nthis", 500))
    with pytest.raises(EndpointError) as caught:
        script.run()
    assert caught.value.message == (
        "http://there: m:1b gave no answer (it answered 500: then this); asked 5 times in 12 s"
    )
    assert caught.value.exit_code == 4 and "server's log" in caught.value.remedy
    assert isinstance(caught.value.__cause__, Failed)


def test_every_kind_has_its_words_and_a_remedy() -> None:
    for kind in get_args(Kind):
        with pytest.raises(EndpointError) as caught:
            Script(Failure(kind, "EVIDENCE", 400)).run()
        assert "http://there" in caught.value.message and "EVIDENCE" in caught.value.message
        assert caught.value.remedy


def test_other_weights_under_the_same_name_end_it() -> None:
    changed = Script(Failure("lost"), None, weights=("a" * 64, "b" * 64))
    with pytest.raises(EndpointError, match=f"sha256 {'b' * 12}, and {'a' * 12} at the first request"):
        changed.run()
    assert changed.asked == 1, "the other model was not asked"
    for unknown in ((None, "b" * 64), ("a" * 64, None, "a" * 64)):
        assert Script(Failure("lost"), Failure("lost"), None, weights=unknown).run() == "answer 3"
