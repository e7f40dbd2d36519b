"""`localgif watch`: a run as its own terminal shows it, read from its folder. The run knows nothing of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import ValidationError

from localgif.records import Proposal, Record, Sample

if TYPE_CHECKING:
    from localgif.display import Lines

#: Seconds between two looks at the folder.
PAUSE = 0.5

R = TypeVar("R", bound=Record)


class Tail(Generic[R]):
    """The lines that were added to a log since the last look."""

    def __init__(self, path: Path, kind: type[R]) -> None:
        self._path = path
        self._kind = kind
        self._read = 0

    def new(self) -> list[R]:
        """Whole, undamaged lines only; a line that is being written comes at the next look."""
        from localgif.runs.lines import unframed

        try:
            with self._path.open("rb") as file:
                file.seek(self._read)
                data = file.read()
        except OSError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._read += len(whole)
        found = []
        for line in whole.splitlines():
            body = unframed(line)
            try:
                if body is not None:
                    found.append(self._kind.model_validate_json(body))
            except ValidationError:
                continue  # reading commands say what is damaged
        return found


class Watcher:
    """Tells a display what happens in a run folder.

    Args:
        folder: The run's.
        display: Where it is told.
    """

    def __init__(self, folder: Path, display: Lines) -> None:
        from localgif.runs.read import PROPOSALS, SAMPLES, load_record

        self._folder = folder
        self._display = display
        self._samples = Tail(folder / SAMPLES, Sample)
        self._proposals = Tail(folder / PROPOSALS, Proposal)
        self._seen: list[Sample] = []
        self._call: list[Sample] = []
        self._doing = ""
        record = load_record(folder)
        settings = record.settings
        tasks = [str(task.get("name", "")) for task in record.drawn] or [str(settings.get("task", ""))]
        self._several = len(tasks) > 1
        self._deciding = set(record.split["val"]) if record.split else set(tasks)
        tested = len(record.split["held-out"]) if record.split else len(tasks)
        models = tuple(f"{m.role:<10}{m.model} on {m.endpoint} ({m.server})" for m in record.models)
        display.started(
            record.name,
            models,
            int(settings.get("metric_calls", 0)) * int(settings.get("samples", 0)),
            int(settings.get("fresh", 0)) * tested,
            0.0,
        )

    def look(self) -> bool:
        """Tell what is new; whether the run is still at work."""
        from localgif.runs.read import load_record, status_of

        # The status first: what a run writes before it ends is then read below.
        running = status_of(self._folder, load_record(self._folder)) == "running"
        for at, kind, record in self._news():
            self._display.tally.at(at)
            if kind == "sample":
                self._sample(record)
            else:
                self._end_call()
                self._display.proposal(record)
        if not running:
            self._end_call()
        doing, at = self._now()
        if running and doing and doing != self._doing:
            self._doing = doing
            self._display.tally.at(at)
            self._display.activity(doing)
        return running

    def _news(self) -> list[tuple[float, str, Any]]:
        """New samples and proposals in the order in which they came."""
        samples = [(s.at or 0.0, "sample", s) for s in self._samples.new()]
        proposals = [(p.at or 0.0, "proposal", p) for p in self._proposals.new()]
        merged: list[tuple[float, str, Any]] = [*samples, *proposals]
        return sorted(merged, key=lambda item: item[0])

    def _sample(self, sample: Sample) -> None:
        if self._call and sample.metric_call != self._call[0].metric_call:
            self._end_call()
        self._seen.append(sample)
        self._display.sample(sample)
        if sample.metric_call is not None:
            self._call.append(sample)

    def _end_call(self) -> None:
        """Tell of the metric call whose samples are all there."""
        from localgif.search.progress import standing_of

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

    def _now(self) -> tuple[str, float]:
        try:
            value = json.loads((self._folder / ".now").read_text("utf-8", "replace"))
            return str(value["text"]), float(value["at"])
        except (OSError, ValueError, KeyError, TypeError):
            return "", 0.0


def watch(folder: Path, display: Lines, pause: Callable[[float], None] = time.sleep) -> str:
    """Tell what a run does until it ends; returns its status then.

    Raises:
        RunCorrupt: run.json cannot be read.
    """
    from localgif.runs.read import load_record, status_of

    watcher = Watcher(folder, display)
    while watcher.look():
        pause(PAUSE)
    return status_of(folder, load_record(folder))
