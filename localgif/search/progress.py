"""What a run tells whoever watches it. The terminal's side is localgif/cli/progress.py."""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Iterable
from typing import NamedTuple, Protocol

from localgif.records import Proposal, Sample


class Standing(NamedTuple):
    """Means over the tasks that decide, 0 to 1."""

    seed: float
    best: float
    """Of the best candidate so far, the seed among them."""
    noise: float | None = None
    """By how much one sample of a candidate and task varies: standard deviation, pooled over all that have several;
    None until one has."""


def standing_of(samples: Iterable[Sample], deciding: Collection[str]) -> Standing | None:
    """Where a search stands, from its samples in their order; None until the seed has one of every task that decides.

    Args:
        samples: Of any purpose; those of the search count.
        deciding: Names of the tasks that decide.
    """
    groups: dict[str, dict[str, list[float]]] = {}
    for sample in samples:
        if sample.purpose == "search":
            groups.setdefault(sample.candidate, {}).setdefault(sample.task, []).append(sample.score.total)
    means = [
        statistics.fmean(statistics.fmean(tasks[name]) for name in deciding)
        for tasks in groups.values()
        if tasks.keys() >= set(deciding)
    ]
    seed = next(iter(groups.values()), {})
    if not means or not seed.keys() >= set(deciding):
        return None
    several = [scores for tasks in groups.values() for scores in tasks.values() if len(scores) > 1]
    freedom = sum(len(scores) - 1 for scores in several)
    squares = sum((len(scores) - 1) * statistics.variance(scores) for scores in several)
    return Standing(means[0], max(means), math.sqrt(squares / freedom) if freedom else None)


class Progress(Protocol):
    """Receives what happens; must return quickly and must not raise."""

    def replay(self, on: bool) -> None:
        """Whether what follows was done by an earlier process and is told again."""

    def activity(self, text: str) -> None:
        """What is going on now, e.g. "writing code (sample 2 of 2, attempt 1)"."""

    def download(self, done: int, total: int, what: str) -> None:
        """Bytes of the weights so far."""

    def started(
        self, name: str, lines: tuple[str, ...], search_samples: int, fresh_samples: int, elapsed: float
    ) -> None:
        """The run begins, or goes on after `elapsed` seconds: its name and what it runs on, one line each."""

    def sample(self, sample: Sample) -> None:
        """A sample is measured and stored."""

    def metric_call(self, number: int, mean: float, what: str, task: str, standing: Standing | None) -> None:
        """Metric call `number` is done.

        Args:
            number: 1-based.
            mean: Score of its samples.
            what: "seed", "proposal" or "re-measured".
            task: Of several; "" when the run has one.
            standing: Of the run; None until the seed was measured on every task that decides.
        """

    def proposal(self, proposal: Proposal) -> None:
        """The reflector answered, or a search over numbers ended, and it is stored."""

    def note(self, text: str) -> None:
        """Something worth a line of its own."""


class Silent:
    """Watches nothing (`--json` with progress switched off, tests)."""

    def replay(self, on: bool) -> None: ...
    def activity(self, text: str) -> None: ...
    def download(self, done: int, total: int, what: str) -> None: ...
    def started(
        self, name: str, lines: tuple[str, ...], search_samples: int, fresh_samples: int, elapsed: float
    ) -> None: ...
    def sample(self, sample: Sample) -> None: ...
    def metric_call(self, number: int, mean: float, what: str, task: str, standing: Standing | None) -> None: ...
    def proposal(self, proposal: Proposal) -> None: ...
    def note(self, text: str) -> None: ...
