"""What a run reports while it goes on: events, how far it is, and the seconds left. cli/progress.py displays it."""

from __future__ import annotations

import itertools
import math
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from localgif.records import UNASKED, Proposal, Sample
from localgif.settings import TARGET

if TYPE_CHECKING:
    from localgif.store.read import RunRecord


def duration(seconds: float | None) -> str:
    """ "4.2 s", "42 s", "4 min 05 s", "1 h 02 min"; "-" for None."""
    if seconds is None:
        return "-"
    whole = round(max(0.0, seconds))
    if whole < 10:
        return f"{max(0.0, seconds):.1f} s"
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60:02} s" if whole < 3600 else f"{whole // 3600} h {whole // 60 % 60:02} min"


def counted(number: int, thing: str) -> str:
    """ "1 sample", "2 samples", "1,000 samples"."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


class Standing(NamedTuple):
    """Means over the tasks that decide, 0 to 1."""

    seed: float
    best: float
    """The best candidate so far, seed included."""
    noise: float | None = None
    """Pooled standard deviation of single samples of one candidate and task; None before any has two."""


def standing_of(samples: Iterable[Sample], deciding: Collection[str]) -> Standing | None:
    """The standing of a search; None until the seed has a sample of every task that decides.

    Args:
        samples: In order. Only those of the search count.
        deciding: Names of the tasks that decide.
    """
    of_search = [sample for sample in samples if sample.purpose == "search"]
    means = means_of(of_search, deciding)
    if not means or of_search[0].candidate not in means:
        return None
    groups: dict[tuple[str, str], list[float]] = {}
    for sample in of_search:
        groups.setdefault((sample.candidate, sample.task), []).append(sample.score.total)
    several = [scores for scores in groups.values() if len(scores) > 1]
    freedom = sum(len(scores) - 1 for scores in several)
    squares = sum((len(scores) - 1) * statistics.variance(scores) for scores in several)
    return Standing(
        means[of_search[0].candidate], max(means.values()), math.sqrt(squares / freedom) if freedom else None
    )


def means_of(samples: Iterable[Sample], deciding: Collection[str]) -> dict[str, float]:
    """Each candidate that the search has measured on all tasks that decide -> the mean of its means, in order."""
    groups: dict[str, dict[str, list[float]]] = {}
    for sample in samples:
        if sample.purpose == "search":
            groups.setdefault(sample.candidate, {}).setdefault(sample.task, []).append(sample.score.total)
    return {
        name: statistics.fmean(statistics.fmean(tasks[task]) for task in deciding)
        for name, tasks in groups.items()
        if deciding and tasks.keys() >= set(deciding)
    }


class Progress(Protocol):
    """Receives events; must return quickly and must not raise."""

    def replay(self, on: bool) -> None:
        """Whether the next events repeat the work of an earlier process."""

    def activity(self, text: str) -> None:
        """What happens now, e.g. "writing code (sample 2 of 2, attempt 1)"."""

    def download(self, done: int, total: int, what: str) -> None:
        """`done` of `total` bytes of the weights `what`."""

    def started(self, name: str, lines: tuple[str, ...], plan: Plan, elapsed: float) -> None:
        """The run starts, or resumes after `elapsed` seconds; `lines` describe models, sandbox and budget."""

    def sample(self, sample: Sample) -> None:
        """A sample was measured and stored."""

    def metric_call(self, number: int, mean: float, what: str, task: str, standing: Standing | None) -> None:
        """A metric call ended.

        Args:
            number: 1-based.
            mean: Mean score of its samples.
            what: "seed", "proposal" or "re-measured".
            task: Name of the task; "" if the run has only one.
            standing: None until the seed was measured on every task that decides.
        """

    def proposal(self, proposal: Proposal) -> None:
        """A proposal (an answer of the reflector, or a number search) was stored."""

    def note(self, text: str) -> None:
        """Information worth a line of its own."""


class Silent:
    """Ignores every event."""

    def replay(self, on: bool) -> None: ...
    def activity(self, text: str) -> None: ...
    def download(self, done: int, total: int, what: str) -> None: ...
    def started(self, name: str, lines: tuple[str, ...], plan: Plan, elapsed: float) -> None: ...
    def sample(self, sample: Sample) -> None: ...
    def metric_call(self, number: int, mean: float, what: str, task: str, standing: Standing | None) -> None: ...
    def proposal(self, proposal: Proposal) -> None: ...
    def note(self, text: str) -> None: ...


# --- how far a run is -------------------------------------------------------------------------------------------------

Phase = Literal["search", "re-test", "comparison", "other tasks"]

#: At most this many candidates are re-tested: those whose search mean is this close to the best.
FINALISTS, CLOSE = 3, 0.05
#: At most this many prompts are in a front.
FRONT_SIZE = 4


class Plan(NamedTuple):
    """What a run plans to do."""

    search: int
    """Samples in the budget of the search."""
    call: int
    """Samples of a metric call."""
    fresh: int
    """Fresh samples of each prompt, all tested tasks together; fewer if the verdict is settled earlier."""
    alone: int = 0
    """Fresh samples of the seed prompt if no other prompt beat it."""
    transfer: int = 0
    """Samples of each prompt on other tasks."""
    deciding: frozenset[str] = frozenset()
    """The tasks that choose among candidates."""
    target: float | None = None
    minutes: float | None = None
    several: bool = False
    """Whether a front of several prompts is compared at the end."""

    @property
    def whole(self) -> int:
        """Samples that measure a prompt on every task that decides: a re-test makes this many."""
        return self.call * max(1, len(self.deciding))


def plan_of(record: RunRecord) -> Plan:
    """The plan of a run, from its settings and tasks."""
    settings, split = record.settings, record.split
    tasks = [task.name for task in record.drawn] or [settings.task]
    tested = len(split["held-out"]) if split else len(tasks)
    return Plan(
        search=settings.metric_calls * settings.samples,
        call=settings.samples,
        fresh=settings.fresh * tested,
        alone=min(2, settings.fresh) * tested,
        transfer=len(record.neighbours),
        deciding=frozenset(split["val"] if split else tasks),
        target=settings.target,
        minutes=settings.minutes,
        several=settings.mode != "single" and bool(settings.moves),
    )


class Tally:
    """Counts and times of a run, kept apart from how they are shown.

    The time left is the sum over what is ahead: samples of the search at its pace so far (reflections included), then
    the re-test and the samples of each prompt at that prompt's own pace. A search whose best prompt reaches the target
    is expected to end with the next re-test. The time left never rises at two samples in a row.
    """

    def __init__(self) -> None:
        self.plan = Plan(0, 1, 0)
        self.standing: Standing | None = None
        self.tokens: Counter[str] = Counter()
        """Role -> tokens written."""
        self.seconds: dict[str, float] = defaultdict(float)
        """ "animator", "reflector", "sandbox" -> seconds; the sandbox's for samples only, not for searches over
        numbers."""
        self._started = time.monotonic()
        self._before = 0.0
        self._samples: list[Sample] = []
        self._seconds: dict[str, list[float]] = {}
        """Candidate -> seconds of its samples."""
        self._made: Counter[tuple[str, str]] = Counter()
        """(purpose, candidate) -> samples."""
        self._call: list[Sample] = []
        self._left: float | None = None
        self._since = 0.0
        self._step = 0.0
        """Seconds that the next sample is expected to take."""
        self._rose = False

    def begin(self, plan: Plan, elapsed: float) -> None:
        """The search begins now, or continues after `elapsed` seconds. The estimate leaves out what came before
        (download, load)."""
        self.at(elapsed)
        self.plan = plan

    def at(self, elapsed: float) -> None:
        """Set the clock: the next record was stored after this many seconds of work."""
        self._started, self._before = time.monotonic(), elapsed

    @property
    def elapsed(self) -> float:
        """Seconds of work so far."""
        return self._before + time.monotonic() - self._started

    @property
    def done(self) -> int:
        """Samples of the search."""
        return self._count("search")

    def sample(self, sample: Sample) -> float:
        """Count a sample; returns the seconds that it took."""
        written = sum(a.llm_seconds for a in sample.attempts)
        ran = sum(a.sandbox_seconds for a in sample.attempts)
        self._samples.append(sample)
        self._seconds.setdefault(sample.candidate, []).append(written + ran)
        self._made[sample.purpose, sample.candidate] += 1
        self.tokens["animator"] += sum(a.output_tokens for a in sample.attempts)
        self.seconds["animator"] += written
        self.seconds["sandbox"] += ran
        if sample.purpose == "search":
            self._call.append(sample)
        self._settle()
        return written + ran

    def proposal(self, proposal: Proposal) -> None:
        """Count an answer of the reflector."""
        if proposal.move not in UNASKED:
            self.tokens["reflector"] += proposal.output_tokens
            self.seconds["reflector"] += proposal.llm_seconds

    def metric_call(self, standing: Standing | None) -> list[Sample]:
        """Count a metric call; returns its samples."""
        self.standing = standing or self.standing
        samples, self._call = self._call, []
        return samples

    def replay(self, records: Iterable[Sample | Proposal]) -> None:
        """Count stored records in the order in which they were stored."""
        for record in sorted(records, key=lambda each: each.at or 0.0):
            self.at(record.at or 0.0)
            if isinstance(record, Proposal):
                self.metric_call(None)
                self.proposal(record)
                continue
            if self._call and record.metric_call != self._call[0].metric_call:
                self.metric_call(None)
            self.sample(record)

    # --- what is ahead ---

    @property
    def phase(self) -> Phase:
        """The phase that is running."""
        return self._now()[0]

    @property
    def place(self) -> tuple[int, int]:
        """Samples of this phase: how many there are, and how many there will be (in the search: at most)."""
        phase, ahead = self._now()
        if phase == "search":
            return self.done, self.plan.search
        purpose = {"re-test": "retest", "comparison": "fresh", "other tasks": "transfer"}[phase]
        return self._count(purpose), self._count(purpose) + ahead

    def remaining_seconds(self) -> float | None:
        """Seconds left; None before the first sample."""
        if self._left is None:
            return None
        return max(0.0, self._left - min(self.elapsed - self._since, self._step))

    def _settle(self) -> None:
        """Estimate again what is left."""
        ahead = [seconds for _, steps in self._ahead() for seconds in steps]
        left = sum(ahead)
        grew = self._left is not None and left > self._left
        if grew and self._rose:
            left, grew = self._left or 0.0, False
        self._left, self._rose = left, grew
        self._since, self._step = self.elapsed, ahead[0] if ahead else left

    def _now(self) -> tuple[Phase, int]:
        """The phase that is running, and the number of samples that it will still make."""
        ahead = self._ahead() if self._samples else []
        last: Phase = "other tasks" if self._count("transfer") else "comparison" if self._samples else "search"
        return next(((phase, len(steps)) for phase, steps in ahead if steps), (last, 0))

    def _ahead(self) -> list[tuple[Phase, list[float]]]:
        """Each phase with the expected seconds of every sample that it will still make."""
        plan, means, seed = self.plan, means_of(self._samples, self.plan.deciding), self._samples[0].candidate
        best = max(means, key=lambda name: means[name], default=seed)
        search: list[float] = []
        retest: list[float] = []
        if self._samples[-1].purpose in ("search", "retest"):
            search, retest = self._search_ahead(means, best)
        # A search that continues is expected to find a better prompt than the seed.
        pair = [seed, best] if best != seed else [seed, ""] if search else [seed]
        both = len(pair) > 1
        fresh, carried = (
            [pace for name in pair for pace in self._paces_ahead(purpose, name, count)]
            for purpose, count in (
                ("fresh", plan.fresh if both else plan.alone),
                ("transfer", plan.transfer if both else 0),
            )
        )
        if carried and self._count("transfer"):
            fresh = []
        return [
            ("search", search),
            ("re-test", retest),
            ("comparison", fresh + self._front_ahead(best, len(means))),
            ("other tasks", carried),
        ]

    def _search_ahead(self, means: dict[str, float], best: str) -> tuple[list[float], list[float]]:
        """What is left of the search and of the re-test."""
        plan, target = self.plan, self.plan.target
        retest = self._paces_ahead("retest", best, plan.whole)
        reached = target is not None and means.get(best, 0.0) >= target
        scores = [s.score.total for s in self._samples if (s.purpose, s.candidate) == ("retest", best)]
        if reached and not (retest == [] and statistics.fmean(scores) < (target or 0.0)):
            call = plan.call - len(self._call) if self._call else 0
            return [self._pace(best)] * call, retest
        pace = self.elapsed / max(1, self.done)
        left = max(0, plan.search - self.done)
        if plan.minutes is not None:
            left = min(left, math.ceil(max(0.0, 60 * plan.minutes - self.elapsed) / max(pace, 0.001)))
        # A re-test that the target did not ask for comes after the search.
        if left and (self._samples[-1].purpose == "search" or reached):
            return [pace] * left, retest if target is not None else []
        ranked = sorted(means, key=lambda name: -means[name])[:FINALISTS]
        close = [name for name in ranked if means[name] >= means[best] - CLOSE]
        return [], [p for name in close for p in self._paces_ahead("retest", name, plan.whole)] if close[1:] else []

    def _front_ahead(self, best: str, prompts: int) -> list[float]:
        """Further answers of a front: where the best prompt falls short, each other prompt may be asked."""
        if not self.plan.several or prompts < 2:
            return []
        least = self.plan.target or TARGET
        fresh = [s.score.total for s in self._samples if (s.purpose, s.candidate) == ("fresh", best)]
        short = sum(score < least for score in fresh)
        asked = self._count("fresh") - min(self._count("fresh"), 2 * self.plan.fresh)
        return [self._pace("")] * max(0, short * (min(FRONT_SIZE, prompts) - 1) - asked)

    def _paces_ahead(self, purpose: str, candidate: str, count: int) -> list[float]:
        return [self._pace(candidate)] * max(0, count - self._made[purpose, candidate])

    def _pace(self, candidate: str) -> float:
        """Expected seconds of a candidate's next sample: the mean of its own, else of all."""
        return statistics.fmean(self._seconds.get(candidate) or itertools.chain(*self._seconds.values()))

    def _count(self, purpose: str) -> int:
        return sum(count for (of, _), count in self._made.items() if of == purpose)
