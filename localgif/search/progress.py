"""Progress events of a run, and durations for people. cli/progress.py displays them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, NamedTuple, Protocol

from localgif.records import Proposal, Sample

if TYPE_CHECKING:
    from localgif.search.tally import Plan


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
