"""What a run tells whoever watches it. The terminal's side is localgif/display.py."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from localgif.records import Proposal, Sample


class Standing(NamedTuple):
    """Means over the tasks that decide, 0 to 1."""

    seed: float
    best: float
    """Of the best candidate so far, the seed among them."""


class Progress(Protocol):
    """Receives what happens; must return quickly and must not raise."""

    def activity(self, text: str) -> None:
        """What is going on now, e.g. "writing code (sample 2 of 2, attempt 1)"."""

    def download(self, done: int, total: int, what: str) -> None:
        """Bytes of the weights so far."""

    def started(self, name: str, lines: tuple[str, ...], search_samples: int, fresh_samples: int) -> None:
        """The run begins: its name and what it runs on, one line each."""

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

    def activity(self, text: str) -> None: ...
    def download(self, done: int, total: int, what: str) -> None: ...
    def started(self, name: str, lines: tuple[str, ...], search_samples: int, fresh_samples: int) -> None: ...
    def sample(self, sample: Sample) -> None: ...
    def metric_call(self, number: int, mean: float, what: str, task: str, standing: Standing | None) -> None: ...
    def proposal(self, proposal: Proposal) -> None: ...
    def note(self, text: str) -> None: ...
