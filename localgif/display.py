"""The terminal's side of a run: live progress on stderr.

With a terminal: a status block that renews itself below lines that stay. Without one (a pipe, CI, a dumb terminal):
the lines alone. All model text is stripped of control characters before it is shown.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from localgif.records import Proposal, Sample
from localgif.sandbox.text import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

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
    """What the status line is made of, kept apart from how it is drawn."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.total = 0
        """Samples in the budget of the search."""
        self.fresh_left = 0
        self.done = 0
        self.seed: float | None = None
        self.best: float | None = None
        self.call_samples: list[Sample] = []
        self.sample_seconds: list[float] = []

    def begin(self, search_samples: int, fresh_samples: int) -> None:
        """The search begins now; what came before (download, load) is not part of the estimate."""
        self.started, self.total, self.fresh_left = time.monotonic(), search_samples, 2 * fresh_samples

    def sample(self, sample: Sample) -> None:
        """Count a sample."""
        self.sample_seconds.append(sum(a.llm_seconds + a.sandbox_seconds for a in sample.attempts))
        if sample.purpose == "fresh":
            self.fresh_left -= 1
        elif sample.purpose == "search":
            self.done += 1
            self.call_samples.append(sample)

    def metric_call(self, standing: Standing | None) -> list[Sample]:
        """Count a metric call; returns its samples."""
        if standing is not None:
            self.seed, self.best = standing
        samples, self.call_samples = self.call_samples, []
        return samples

    def remaining_seconds(self) -> float | None:
        """Estimate of what is left: the budget at the pace so far (reflections included), then fresh samples."""
        if not self.done or not self.sample_seconds:
            return None
        pace = (time.monotonic() - self.started) / self.done if self.done < self.total else 0.0
        return pace * (self.total - self.done) + self.fresh_left * sum(self.sample_seconds) / len(self.sample_seconds)

    def line(self) -> str:
        """The status line."""
        parts = [f"sample {self.done} of {self.total}"] if self.total else []
        if self.best is not None and self.seed is not None:
            parts.append(f"best {self.best:.3f} (seed {self.seed:.3f})")
        parts.append(f"{clock(time.monotonic() - self.started)} elapsed")
        left = self.remaining_seconds()
        if left is not None:
            parts.append(f"at most about {clock(left)} left")
        return "   ".join(parts)


class Lines:
    """Progress as plain lines: no terminal, or none that can move its cursor."""

    def __init__(self, console: Console) -> None:
        self.tally = Tally()
        self.run: str | None = None
        """Name of the run, once it has a folder."""
        self._console = console
        self._percent: int | str = -1

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None: ...

    def say(self, text: str) -> None:
        """A line that stays."""
        self._console.print(printable(text), markup=False, highlight=False, soft_wrap=True)

    def activity(self, text: str) -> None:
        # Samples have lines of their own when they are done; what takes long beside them is said when it begins.
        if "sample" not in text:
            self.say(f"  {text}")

    def download(self, done: int, total: int, what: str) -> None:
        # Pieces of a download have a name each; only their first word says what is being done.
        percent, kind = 10 * (10 * done // max(1, total)), what.split(" ")[0]
        if kind == "checking":
            if self._percent != kind:
                self.say(what)
            self._percent = kind
        elif percent != self._percent:
            self._percent = percent
            self.say(f"{what}: {percent} % of {total / 1e6:,.0f} MB")

    def started(self, name: str, lines: tuple[str, ...], search_samples: int, fresh_samples: int) -> None:
        self.run = name
        self.say(f"run {name}")
        for line in lines:
            self.say(f"  {line}")
        self.tally.begin(search_samples, fresh_samples)

    def sample(self, sample: Sample) -> None:
        self.tally.sample(sample)
        seconds = self.tally.sample_seconds[-1]
        self.say(
            f"    {sample.purpose} sample  {sample_word(sample)}  {len(sample.attempts)} attempts  {clock(seconds)}"
        )

    def metric_call(self, number: int, mean: float, what: str, task: str, standing: Standing | None) -> None:
        words = "  ".join(sample_word(s) for s in self.tally.metric_call(standing))
        of = f"{task:<20} " if task else ""
        self.say(f"call {number:>2}  mean {mean:.3f}  {what:<11} {of}{words}")
        self.standing()

    def standing(self) -> None:
        """Where the run stands, after a metric call."""
        self.say(f"  {self.tally.line()}")

    def proposal(self, proposal: Proposal) -> None:
        word = proposal_word(proposal)
        if word:
            self.say(f"  {word}")

    def note(self, text: str) -> None:
        self.say(f"  {text}")


class LiveLines(Lines):
    """The same lines, with a status block below them that renews itself."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._activity, self._since = "starting", time.monotonic()
        self._live: Live | None = None

    def __enter__(self) -> LiveLines:
        from rich.live import Live

        self._live = Live(
            console=self._console,
            get_renderable=self._block,
            refresh_per_second=4,
            transient=True,
            redirect_stdout=False,
        )
        self._live.__enter__()
        return self

    def __exit__(self, *details: Any) -> None:
        assert self._live is not None
        self._live.__exit__(*details)

    def _block(self) -> Any:
        from rich.text import Text

        now = f"now: {self._activity}  {clock(time.monotonic() - self._since)}"
        return Text(f"{self.tally.line()}\n{printable(now)}", style="dim", overflow="ellipsis", no_wrap=True)

    def activity(self, text: str) -> None:
        self._activity, self._since = text, time.monotonic()

    def standing(self) -> None: ...  # the block shows it all the time

    def sample(self, sample: Sample) -> None:
        self.tally.sample(sample)
        if sample.purpose != "search":
            self.say(f"  {sample.purpose} sample  {sample_word(sample)}")

    def download(self, done: int, total: int, what: str) -> None:
        self._activity = f"{what}: {done / 1e6:,.0f} of {total / 1e6:,.0f} MB ({100 * done // max(1, total)} %)"


def make_progress(console: Console) -> Lines:
    """The display that fits the terminal."""
    return LiveLines(console) if console.is_terminal and not console.is_dumb_terminal else Lines(console)
