"""What a display counts, whether samples and proposals come from the run itself or from its folder."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from localgif.records import Proposal, Sample

if TYPE_CHECKING:
    from localgif.search.progress import Standing


def clock(seconds: float) -> str:
    """Minutes and seconds, "12:05"; hours in front when there are any."""
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


def sample_word(sample: Sample) -> str:
    """One sample in a few characters: its score and its frames, or what went wrong."""
    what = f"{sample.measurements.frames} fr" if sample.measurements else sample.verdict.value
    return f"{sample.score.total:.3f} ({what})"


def proposal_word(proposal: Proposal) -> str:
    """One reflection in a line; "" for plain reflection, whose proposals show as metric calls."""
    said = f"{proposal.output_tokens} tokens" + (f", {proposal.reason}" if proposal.reason else "")
    if proposal.move == "example":
        what = f"program {proposal.score:.3f}" if proposal.score is not None else "no program"
        return f"reflector: {what}  ({said})"
    if proposal.move == "tune":
        return f"other numbers: program {proposal.score:.3f}"
    if proposal.move == "instruction":
        return f"reflector: {'no rule' if proposal.reason else 'a rule'}  ({said})"
    return ""


class Tally:
    """Counts and times of a run, kept apart from how they are drawn."""

    def __init__(self) -> None:
        self.total = 0
        """Samples in the budget of the search."""
        self.fresh_left = 0
        self.done = 0
        """Samples of the search."""
        self.standing: Standing | None = None
        self.tokens: Counter[str] = Counter()
        """Role -> tokens written."""
        self.seconds: dict[str, float] = defaultdict(float)
        """ "animator", "reflector", "sandbox" -> seconds spent there. Sandbox: for samples; a search over a program's
        numbers is in the rest."""
        self._started = time.monotonic()
        self._before = 0.0
        self._call: list[Sample] = []
        self._sample_seconds: list[float] = []

    def begin(self, search_samples: int, fresh_samples: int, elapsed: float) -> None:
        """The search begins now, or goes on after `elapsed` seconds; what came before (download, load) is no part of
        the estimate."""
        self._started, self._before = time.monotonic(), elapsed
        self.total, self.fresh_left = search_samples, 2 * fresh_samples

    def at(self, elapsed: float) -> None:
        """Set the clock: what is told next was stored after so many seconds of work."""
        self._started, self._before = time.monotonic(), elapsed

    @property
    def elapsed(self) -> float:
        """Seconds of work so far."""
        return self._before + time.monotonic() - self._started

    @property
    def last_seconds(self) -> float:
        """What the last sample took."""
        return self._sample_seconds[-1] if self._sample_seconds else 0.0

    def sample(self, sample: Sample) -> None:
        """Count a sample."""
        written = sum(a.llm_seconds for a in sample.attempts)
        ran = sum(a.sandbox_seconds for a in sample.attempts)
        self._sample_seconds.append(written + ran)
        self.tokens["animator"] += sum(a.output_tokens for a in sample.attempts)
        self.seconds["animator"] += written
        self.seconds["sandbox"] += ran
        if sample.purpose == "fresh":
            self.fresh_left -= 1
        elif sample.purpose == "search":
            self.done += 1
            self._call.append(sample)

    def proposal(self, proposal: Proposal) -> None:
        """Count an answer of the reflector."""
        self.tokens["reflector"] += proposal.output_tokens
        self.seconds["reflector"] += proposal.llm_seconds

    def metric_call(self, standing: Standing | None) -> list[Sample]:
        """Count a metric call; returns its samples."""
        self.standing = standing or self.standing
        samples, self._call = self._call, []
        return samples

    def remaining_seconds(self) -> float | None:
        """Estimate of what is left: the budget at the pace so far (reflections included), then fresh samples."""
        if not self.done or not self._sample_seconds:
            return None
        pace = self.elapsed / self.done if self.done < self.total else 0.0
        fresh = self.fresh_left * sum(self._sample_seconds) / len(self._sample_seconds)
        return pace * (self.total - self.done) + fresh

    def line(self) -> str:
        """Where the run stands: samples, the best against the seed with its noise, time."""
        parts = [f"sample {self.done} of {self.total}"] if self.total else []
        if self.standing is not None:
            noise = "" if self.standing.noise is None else f", one sample +-{self.standing.noise:.3f}"
            parts.append(f"best {self.standing.best:.3f} (seed {self.standing.seed:.3f}{noise})")
        parts.append(f"{clock(self.elapsed)} elapsed")
        left = self.remaining_seconds()
        if left is not None:
            parts.append(f"at most about {clock(left)} left")
        return "   ".join(parts)

    def split(self) -> str:
        """Where the time went, and how fast tokens come; "" before there is anything."""
        elapsed = self.elapsed
        if not self._sample_seconds or elapsed <= 0:
            return ""
        parts = []
        for role in ("animator", "reflector"):
            if self.seconds[role] > 0:
                share = min(100.0, 100 * self.seconds[role] / elapsed)
                parts.append(f"{role} {share:.0f} % ({self.tokens[role] / self.seconds[role]:.0f} tokens/s)")
        rest = max(0.0, elapsed - self.seconds["animator"] - self.seconds["reflector"])
        parts.append(f"sandbox and rest {100 * rest / elapsed:.0f} %")
        return "time: " + ", ".join(parts)
