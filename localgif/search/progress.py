"""What a run tells whoever watches it. The terminal's side is localgif/display.py."""

from __future__ import annotations

from typing import Protocol

from localgif.records import Proposal, Sample


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

    def metric_call(self, number: int, mean: float, what: str) -> None:
        """Metric call `number` is done; `what` is "seed", "proposal" or "re-measured"."""

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
    def metric_call(self, number: int, mean: float, what: str) -> None: ...
    def proposal(self, proposal: Proposal) -> None: ...
    def note(self, text: str) -> None: ...
