"""Progress on stderr: of a run, of a run in another terminal (`watch`), and of a sweep."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from localgif.errors import ConfigError, LocalGifError, nearest
from localgif.records import Proposal, Sample
from localgif.sandbox.text import printable
from localgif.search.progress import Plan, Progress, Silent, Standing, Tally, duration, plan_of, standing_of
from localgif.store.log import read_log
from localgif.store.read import PROPOSALS, SAMPLES, activity_of, load_record, status_of

if TYPE_CHECKING:
    from rich.console import Console

    from localgif.sweep.execute import CellEnd
    from localgif.sweep.plan import Cell

#: Separates the parts of a line.
_GAP = "   "


def _sample_word(sample: Sample) -> str:
    """One sample in a few characters: its score, and its frames or its verdict."""
    what = f"{sample.measurements.frames} fr" if sample.measurements else sample.verdict.value
    return f"{sample.score.total:.3f} ({what})"


def _proposal_word(proposal: Proposal) -> str:
    """One proposal in a line; "" for plain reflection, whose proposals appear as metric calls."""
    said = f"{proposal.output_tokens} tokens" + (f", {proposal.reason}" if proposal.reason else "")
    if proposal.move == "example":
        what = f"program {proposal.score:.3f}" if proposal.score is not None else "no program"
        return f"reflector: {what}  ({said})"
    if proposal.move == "tune":
        return f"search for {proposal.task}: program {proposal.score:.3f}"
    if proposal.move == "order":
        return "other examples, or in another order"
    if proposal.move == "instruction":
        return f"reflector: {'no rule' if proposal.reason else 'a rule'}  ({said})"
    return ""


def place_parts(tally: Tally) -> list[str]:
    """The state of a run in words: phase, sample k of n, tokens, best score, the seed's score and its noise, time."""
    phase, (place, count) = tally.phase, tally.place
    parts = [f"{phase}: sample {place} of {count}"] if count else []
    tokens, seconds = tally.tokens.total(), tally.seconds["animator"] + tally.seconds["reflector"]
    if seconds > 0:
        parts.append(f"{tokens:,} tokens, {tokens / seconds:.0f} tokens/s")
    if tally.standing is not None:
        noise = "" if tally.standing.noise is None else f", one sample +-{tally.standing.noise:.3f}"
        parts.append(f"best {tally.standing.best:.3f} (seed {tally.standing.seed:.3f}{noise})")
    left = tally.remaining_seconds()
    # A search ends early if it reaches its target or runs out of ideas.
    about = "at most" if phase == "search" else "about"
    parts.append(f"{duration(tally.elapsed)} elapsed" + ("" if left is None else f", {about} {duration(left)} left"))
    return parts


def time_parts(tally: Tally) -> list[str]:
    """The share of time by role, with tokens per second; empty before the first sample."""
    elapsed, written = tally.elapsed, tally.seconds["animator"] + tally.seconds["reflector"]
    if not tally.tokens or elapsed <= 0:
        return []
    parts = [
        f"{role} {min(100.0, 100 * tally.seconds[role] / elapsed):.0f} % of the time "
        f"({tally.tokens[role] / tally.seconds[role]:.0f} tokens/s)"
        for role in ("animator", "reflector")
        if tally.seconds[role] > 0
    ]
    return [*parts, f"sandbox and rest {100 * max(0.0, elapsed - written) / elapsed:.0f} %"]


def fitted(parts: Sequence[str], width: int) -> list[str]:
    """The parts in as few lines as possible, without breaking a part."""
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1]) + len(_GAP) + len(part) <= width:
            lines[-1] += _GAP + part
        else:
            lines.append(part)
    return lines


class Lines:
    """Progress as plain lines, for a pipe or a terminal that cannot move its cursor."""

    def __init__(self, console: Console) -> None:
        self.tally = Tally()
        self.run: str | None = None
        """Name of the run; None until it has a folder."""
        self._console = console
        self._percent: int | str = -1
        self._muted = False

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None: ...

    def say(self, text: str) -> None:
        """Print a permanent line."""
        if not self._muted:
            self._console.print(printable(text), markup=False, highlight=False, soft_wrap=True)

    def replay(self, on: bool) -> None:
        if self._muted and not on:
            self._muted = False
            self.say(f"continues: {_GAP.join(place_parts(self.tally))}")
        self._muted = on

    def activity(self, text: str) -> None:
        # Samples and answers get their line when they are done; other long work is announced at its start.
        if "sample" not in text and not text.startswith("try"):
            self.say(f"  {text}")

    def download(self, done: int, total: int, what: str) -> None:
        # The text changes with each file of a download; its first word is the kind of work.
        percent, kind = 10 * (10 * done // max(1, total)), what.split(" ")[0]
        if kind == "checking":
            if self._percent != kind:
                self.say(what)
            self._percent = kind
        elif percent != self._percent:
            self._percent = percent
            self.say(f"{what}: {percent} % of {total / 1e6:,.0f} MB")

    def started(self, name: str, lines: tuple[str, ...], plan: Plan, elapsed: float) -> None:
        self.run = name
        self.tally.begin(plan, elapsed)
        self._announce(name, lines, plan)

    def _announce(self, name: str, lines: tuple[str, ...], plan: Plan) -> None:
        for line in (f"run {name}", *(f"  {line}" for line in lines)):
            self.say(line)

    def sample(self, sample: Sample) -> None:
        seconds = duration(self.tally.sample(sample))
        self.say(f"    {sample.purpose} sample  {_sample_word(sample)}  {len(sample.attempts)} attempts  {seconds}")

    def metric_call(self, number: int, mean: float, what: str, task: str, standing: Standing | None) -> None:
        words = "  ".join(_sample_word(s) for s in self.tally.metric_call(standing))
        of = f"{task:<20} " if task else ""
        self.say(f"call {number:>2}  mean {mean:.3f}  {what:<11} {of}{words}")
        self.standing()

    def standing(self) -> None:
        """Print the state of the run after a metric call."""
        width = self._console.width - 2 if self._console.is_terminal else sys.maxsize
        for line in fitted(place_parts(self.tally), width):
            self.say(f"  {line}")

    def proposal(self, proposal: Proposal) -> None:
        self.tally.proposal(proposal)
        word = _proposal_word(proposal)
        if word:
            self.say(f"  {word}")

    def note(self, text: str) -> None:
        self.say(f"  {text}")


class LiveLines(Lines):
    """The same lines above a status block that refreshes itself."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        from rich.live import Live

        self._activity, self._since = "starting", time.monotonic()
        self._live = Live(console=console, get_renderable=self.block, transient=True, redirect_stdout=False)

    def __enter__(self) -> LiveLines:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def block(self) -> Any:
        """The status block: the state of the run, the use of time, the current activity."""
        from rich.text import Text

        now = f"now: {self._activity}  {duration(time.monotonic() - self._since)}"
        width = self._console.width
        lines = [*fitted(place_parts(self.tally), width), *fitted(time_parts(self.tally), width), printable(now)]
        return Text("\n".join(lines), style="dim", overflow="ellipsis", no_wrap=True)

    def activity(self, text: str) -> None:
        # "try 1 of 4: 120 tokens" is the same activity as "try 1 of 4: 90 tokens".
        if text.partition(": ")[0] != self._activity.partition(": ")[0]:
            self._since = time.monotonic()
        self._activity = text

    def standing(self) -> None: ...  # the block always shows it

    def sample(self, sample: Sample) -> None:
        self.tally.sample(sample)
        if sample.purpose != "search":
            self.say(f"  {sample.purpose} sample  {_sample_word(sample)}")

    def download(self, done: int, total: int, what: str) -> None:
        self._activity = f"{what}: {done / 1e6:,.0f} of {total / 1e6:,.0f} MB ({100 * done // max(1, total)} %)"


class JsonLines(Lines):
    """Progress for other programs: one JSON object per event and line; docs/json.md lists the events."""

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

    def _announce(self, name: str, lines: tuple[str, ...], plan: Plan) -> None:
        self._event("started", run=name, search_samples=plan.search, fresh_samples=plan.fresh + plan.transfer)

    def sample(self, sample: Sample) -> None:
        self.tally.sample(sample)
        kept = {"candidate", "task", "index", "purpose", "metric_call", "verdict", "gif"}
        self._event("sample", **sample.model_dump(mode="json", include=kept), score=sample.score.total)

    def metric_call(self, number: int, mean: float, what: str, task: str, standing: Standing | None) -> None:
        self.tally.metric_call(standing)
        left = self.tally.remaining_seconds()
        self._event(
            "metric_call",
            phase=self.tally.phase,
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
    """Prints nothing, but counts."""

    def say(self, text: str) -> None: ...


def make_progress(console: Console, display: str | None = None) -> Lines:
    """The display with a name; None and "rich" choose by the terminal. Raises ConfigError for an unknown name."""
    displays = ("rich", "plain", "json", "none")
    if display is not None and display not in displays:
        raise ConfigError(f'--display {display}: there is no display "{display}"', nearest(display, displays))
    if display == "json":
        return JsonLines(console, sys.stderr)
    if display == "none":
        return NoLines(console)
    able = console.is_terminal and not console.is_dumb_terminal
    return LiveLines(console) if able and display != "plain" else Lines(console)


#: Seconds between two reads of the folder.
_PAUSE = 1.0


class Watcher:
    """Shows on a display what happens in a run folder."""

    def __init__(self, folder: Path, display: Lines) -> None:
        self._folder = folder
        self._display = display
        self._seen: list[Sample] = []
        self._proposals = 0
        self._call: list[Sample] = []
        self._doing = ""
        record = load_record(folder)
        settings = record.settings
        tasks = [task.name for task in record.drawn] or [settings.task]
        self._several = len(tasks) > 1
        self._deciding = set(record.split["val"]) if record.split else set(tasks)
        models = tuple(f"{m.role:<10}{m.model} on {m.endpoint} ({m.server})" for m in record.models)
        display.started(record.name, models, plan_of(record), 0.0)

    def look(self) -> bool:
        """Show what is new; returns whether the run is still running."""
        # Read the status first, so that everything that the run wrote before its end is read below.
        running = status_of(self._folder, load_record(self._folder)) == "running"
        # An incomplete last line is read the next time; `show` and `report` mention damaged lines.
        samples = read_log(self._folder / SAMPLES, Sample).records[len(self._seen) :]
        proposals = read_log(self._folder / PROPOSALS, Proposal).records[self._proposals :]
        self._proposals += len(proposals)
        news: list[Sample | Proposal] = [*samples, *proposals]
        for record in sorted(news, key=lambda each: each.at or 0.0):
            self._display.tally.at(record.at or 0.0)
            if isinstance(record, Sample):
                self._sample(record)
            else:
                self._end_call()
                self._display.proposal(record)
        if not running:
            self._end_call()
        doing, at, _ = activity_of(self._folder)
        if running and doing and doing != self._doing:
            self._doing = doing
            self._display.tally.at(at)
            self._display.activity(doing)
        return running

    def _sample(self, sample: Sample) -> None:
        if self._call and sample.metric_call != self._call[0].metric_call:
            self._end_call()
        self._seen.append(sample)
        self._display.sample(sample)
        if sample.metric_call is not None:
            self._call.append(sample)

    def _end_call(self) -> None:
        """Show the metric call whose samples are complete."""
        if not self._call:
            return
        first, number = self._call[0], self._call[0].metric_call
        assert number is not None
        before = [s for s in self._seen if s.purpose == "search"][: -len(self._call)]
        known = any((s.candidate, s.task) == (first.candidate, first.task) for s in before)
        seed = (before or self._call)[0].candidate
        what = "re-measured" if known else "seed" if first.candidate == seed else "proposal"
        mean = sum(s.score.total for s in self._call) / len(self._call)
        task = first.task if self._several else ""
        self._call = []
        self._display.metric_call(number, mean, what, task, standing_of(self._seen, self._deciding))


def watch(folder: Path, display: Lines, pause: Callable[[float], None] = time.sleep) -> str:
    """Show what a run does until it ends; returns its final status. Raises RunCorrupt if run.json cannot be read."""
    watcher = Watcher(folder, display)
    while watcher.look():
        pause(_PAUSE)
    return status_of(folder, load_record(folder))


class _CellProgress(Silent):
    """The progress of one cell of a sweep, in a line that refreshes itself."""

    def __init__(self, head: str, say: Callable[[str], None]) -> None:
        self._head, self._say = head, say
        self._standing = ""
        say(f"{head}  starts")

    def metric_call(self, number: int, mean: float, what: str, task: str, standing: Standing | None) -> None:
        self._standing = f"  call {number}" + (f", {standing.seed:.3f} -> {standing.best:.3f}" if standing else "")

    def activity(self, text: str) -> None:
        self._say(f"{self._head}{self._standing}  {text}")

    def download(self, done: int, total: int, what: str) -> None:
        self._say(f"{self._head}  {what}: {100 * done // max(1, total)} % of {total / 1e6:,.0f} MB")


class SweepLines:
    """One line per cell on stderr, and on a terminal the progress of the running cells. Calls `finished` with the
    folder of each cell that has just run."""

    def __init__(self, console: Console, finished: Callable[[Path], object]) -> None:
        from rich.status import Status

        self._console = console
        self._finished = finished
        self._status = Status("", console=console) if console.is_terminal and not console.is_dumb_terminal else None
        self._running: set[str] = set()
        self._ended = 0

    def begins(self, cell: Cell, number: int, cells: int) -> Progress:
        self._running.add(cell.name)
        if self._status is None:
            return Silent()
        self._status.start()
        return _CellProgress(f"[{number}/{cells}] {cell.name}", self._show)

    def _show(self, text: str) -> None:
        from rich.text import Text

        if self._status is not None:
            several = f"{len(self._running)} at once, {self._ended} ended  " if len(self._running) > 1 else ""
            self._status.update(Text(printable(several + text), overflow="ellipsis", no_wrap=True))

    def ended(self, end: CellEnd, number: int, cells: int) -> None:
        self.stop()
        self._running.discard(end.cell.name)
        self._ended += 1
        head = f"[{number}/{cells}] {end.cell.name}  {end.status}"
        result, error, trace, _ = end.outcome
        if result is not None:
            seed, best, luck = result.seed.mean, result.best.mean, result.best_of
            if luck is None:
                head += f"  {seed:.3f} -> {best:.3f}  {result.verdict.word}"
            else:
                head += f"  best of {luck.samples} samples: {' '.join(f'{score:.3f}' for score in luck.scores)}"
        head += "  (already done)" if end.known else f"  {duration(end.seconds)}"
        head += f"  on {end.worker}" if end.worker else ""
        self._say(head)
        for line in [*error.splitlines(), *trace.splitlines()]:
            self._say(f"    {line}")
        if result is not None and not end.known:
            try:
                self._finished(Path(result.folder))
            except (LocalGifError, OSError) as failure:  # no reason to stop: the report can be written again
                self._say(f"    its report could not be written: {failure}")
        if self._running and self._status is not None:
            self._status.start()

    def note(self, text: str) -> None:
        """Print a note."""
        self._say(f"note: {text}")

    def stop(self) -> None:
        if self._status is not None:
            self._status.stop()

    def _say(self, text: str) -> None:
        self._console.print(printable(text), markup=False, highlight=False, soft_wrap=True)
