"""The terminal's side of a run: live progress on stderr.

With a terminal: a status block that renews itself below lines that stay. Without one (a pipe, CI, a dumb terminal):
the lines alone. For programs: one JSON object an event. All model text is stripped of control characters before it is
shown to people.
"""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any, Literal, TextIO

from localgif.records import Proposal, Sample
from localgif.sandbox.text import printable
from localgif.tally import Tally, clock, proposal_word, sample_word

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

    from localgif.search.progress import Standing

Display = Literal["rich", "plain", "json", "none"]


class Lines:
    """Progress as plain lines: no terminal, or none that can move its cursor."""

    def __init__(self, console: Console) -> None:
        self.tally = Tally()
        self.run: str | None = None
        """Name of the run, once it has a folder."""
        self._console = console
        self._percent: int | str = -1
        self._muted = False

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None: ...

    def say(self, text: str) -> None:
        """A line that stays."""
        if not self._muted:
            self._console.print(printable(text), markup=False, highlight=False, soft_wrap=True)

    def replay(self, on: bool) -> None:
        if self._muted and not on:
            self._muted = False
            self.say(f"goes on: {self.tally.line()}")
        self._muted = on

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

    def started(
        self, name: str, lines: tuple[str, ...], search_samples: int, fresh_samples: int, elapsed: float
    ) -> None:
        self.run = name
        self.say(f"run {name}")
        for line in lines:
            self.say(f"  {line}")
        self.tally.begin(search_samples, fresh_samples, elapsed)

    def sample(self, sample: Sample) -> None:
        self.tally.sample(sample)
        seconds = clock(self.tally.last_seconds)
        self.say(f"    {sample.purpose} sample  {sample_word(sample)}  {len(sample.attempts)} attempts  {seconds}")

    def metric_call(self, number: int, mean: float, what: str, task: str, standing: Standing | None) -> None:
        words = "  ".join(sample_word(s) for s in self.tally.metric_call(standing))
        of = f"{task:<20} " if task else ""
        self.say(f"call {number:>2}  mean {mean:.3f}  {what:<11} {of}{words}")
        self.standing()

    def standing(self) -> None:
        """Where the run stands, after a metric call."""
        self.say(f"  {self.tally.line()}")

    def proposal(self, proposal: Proposal) -> None:
        self.tally.proposal(proposal)
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
        lines = (self.tally.line(), self.tally.split(), printable(now))
        return Text("\n".join(filter(None, lines)), style="dim", overflow="ellipsis", no_wrap=True)

    def activity(self, text: str) -> None:
        self._activity, self._since = text, time.monotonic()

    def standing(self) -> None: ...  # the block shows it all the time

    def sample(self, sample: Sample) -> None:
        self.tally.sample(sample)
        if sample.purpose != "search":
            self.say(f"  {sample.purpose} sample  {sample_word(sample)}")

    def download(self, done: int, total: int, what: str) -> None:
        self._activity = f"{what}: {done / 1e6:,.0f} of {total / 1e6:,.0f} MB ({100 * done // max(1, total)} %)"


class JsonLines(Lines):
    """One JSON object a line for each event, for programs that watch; docs/json.md lists them."""

    def __init__(self, console: Console, out: TextIO) -> None:
        super().__init__(console)
        self._out = out

    def _event(self, event: str, **values: Any) -> None:
        if not self._muted:
            self._out.write(json.dumps({"event": event, "elapsed": round(self.tally.elapsed, 1), **values}) + "\n")
            self._out.flush()

    def replay(self, on: bool) -> None:
        self._muted = on

    def activity(self, text: str) -> None:
        self._event("activity", text=text)

    def download(self, done: int, total: int, what: str) -> None:
        self._event("download", done=done, total=total, what=what)

    def started(
        self, name: str, lines: tuple[str, ...], search_samples: int, fresh_samples: int, elapsed: float
    ) -> None:
        self.run = name
        self.tally.begin(search_samples, fresh_samples, elapsed)
        self._event("started", run=name, search_samples=search_samples, fresh_samples=fresh_samples)

    def sample(self, sample: Sample) -> None:
        self.tally.sample(sample)
        kept = {"candidate", "task", "index", "purpose", "metric_call", "verdict", "gif"}
        self._event("sample", **sample.model_dump(mode="json", include=kept), score=sample.score.total)

    def metric_call(self, number: int, mean: float, what: str, task: str, standing: Standing | None) -> None:
        self.tally.metric_call(standing)
        left = self.tally.remaining_seconds()
        self._event(
            "metric_call",
            number=number,
            mean=round(mean, 4),
            what=what,
            task=task,
            standing=standing._asdict() if standing else None,
            remaining_seconds=None if left is None else round(left),
        )

    def proposal(self, proposal: Proposal) -> None:
        self.tally.proposal(proposal)
        kept = {"number", "move", "task", "outcome", "reason", "score", "output_tokens", "llm_seconds"}
        self._event("proposal", **proposal.model_dump(mode="json", include=kept))

    def note(self, text: str) -> None:
        self._event("note", text=text)


class NoLines(Lines):
    """Counts and says nothing."""

    def say(self, text: str) -> None: ...


def make_progress(console: Console, display: Display | None = None) -> Lines:
    """The display that was asked for, by default the one that fits the terminal."""
    if display == "json":
        return JsonLines(console, sys.stderr)
    if display == "none":
        return NoLines(console)
    able = console.is_terminal and not console.is_dumb_terminal
    return LiveLines(console) if able and display != "plain" else Lines(console)
