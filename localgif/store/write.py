"""Writes the run folder, which contains everything about a run.

    runs/<name>/  run.json  samples.jsonl  answers.jsonl  programs.jsonl  proposals.jsonl  best_prompt.md  report.html
                  seed.gif  best.gif
                  candidates/<hash>.md  code/<hash>.py  gifs/<hash>.gif  sheets/<hash>.png  gepa/  .lock  .now

run.json is written at the start with status "started" and replaced at the end, so a run with status "started" and a
free lock has died. Samples, answers and proposals are appended as lines of JSON (log.py) and flushed to disk before the
search continues. Code, GIFs, candidates, and contact sheets for the reflector are stored once, named after their
sha256. `.now` describes the current activity for `localgif watch`.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from localgif.errors import RunCorrupt, RunError
from localgif.files import (
    append,
    content_hash,
    content_name,
    is_file,
    is_name,
    now,
    open_inside,
    remove_inside,
    replace_inside,
    take_lock,
    text_of,
)
from localgif.records import FrontResult, Proposal, Purpose, Record, RunResult, Sample, SearchEnd, Status
from localgif.settings import Settings
from localgif.store.log import Answer, Journal, ProgramRun, RunLog, framed
from localgif.store.read import (
    ANSWERS,
    NOW,
    PROGRAMS,
    PROPOSALS,
    SAMPLES,
    RunRecord,
    full,
    load_record,
    put_in_order,
    read_content,
    taken,
)
from localgif.tasks.task import load_task, task_names, toml_of

#: The log of each kind of record.
_LOGS: dict[type[Record], str] = {Sample: SAMPLES, Answer: ANSWERS, ProgramRun: PROGRAMS, Proposal: PROPOSALS}


class Shared(NamedTuple):
    """The work of another run."""

    folder: Path
    log: RunLog


class RunStore:
    """One run folder, open for writing; use `create` or `reopen`."""

    def __init__(self, folder: Path, record: RunRecord, journal: Journal, shared: Shared | None = None) -> None:
        self.folder = folder
        self.record = record
        self.journal = journal
        """Work that earlier processes stored."""
        self.repairs: tuple[str, ...] = ()
        """Repairs of the stored files, in words."""
        self.on_activity: Callable[[str], object] = lambda text: None
        """Receives the current activity."""
        self._shared = shared
        self._others = Journal(shared.log, strict=False) if shared is not None else Journal()
        self._opened = time.monotonic()

    @classmethod
    @contextlib.contextmanager
    def create(cls, runs_dir: Path, record: RunRecord, shared: Shared | None = None) -> Iterator[RunStore]:
        """Create and lock the folder `runs_dir / record.name`, and write run.json.

        Args:
            shared: Work of another run that is valid for this one.

        Raises:
            ConfigError: A run with that name exists.
            RunError: The folder cannot be written.
        """
        folder = runs_dir / record.name
        try:
            runs_dir.mkdir(parents=True, exist_ok=True)
            folder.mkdir()
        except OSError as error:
            if folder.is_dir():
                raise taken(folder) from None
            raise RunError(
                f"the run folder {folder} cannot be created: {error.strerror}", "choose another --runs-dir"
            ) from None
        lock = take_lock(folder)
        try:
            store = cls(folder, record, Journal(), shared)
            store._write_record()
            for task in record.drawn:
                if task.name not in task_names() or load_task(task.name) != task:
                    # The name comes from a sentence or from the user's file, so it may not be a file name.
                    name = task.name if is_name(task.name) else content_hash(task.name)
                    store._guarded(f"tasks/{name}.toml", toml_of(task).encode("utf-8", "replace"))
            yield store
        finally:
            os.close(lock)  # releases the lock

    @classmethod
    @contextlib.contextmanager
    def reopen(cls, folder: Path, shared: Shared | None = None) -> Iterator[RunStore]:
        """Lock an existing run folder and repair its files; `shared` as for create.

        An incomplete last line is removed. A log with damaged lines is renamed and written again without them; the run
        repeats the lost work.

        Raises:
            RunLocked: Another process is writing to it.
            RunCorrupt: run.json cannot be read.
            RunError: The folder cannot be written.
        """
        lock = take_lock(folder)
        try:
            record = load_record(folder)
            log, repairs, lossless = put_in_order(folder)
            store = cls(folder, record, Journal(log, strict=lossless), shared)
            store.repairs = tuple(repairs)
            store.update(status="started", ended=None, error=None)
            yield store
        finally:
            os.close(lock)

    @property
    def settings(self) -> Settings:
        """The settings of the run."""
        return self.record.settings

    def elapsed(self) -> float:
        """Seconds of work, including earlier processes."""
        return round(self.journal.at + time.monotonic() - self._opened, 3)

    def _write_record(self) -> None:
        self._guarded("run.json", self.record.model_dump_json(indent=2).encode() + b"\n")

    def _guarded(self, name: str, data: bytes) -> None:
        try:
            replace_inside(self.folder, name, data)
        except OSError as error:
            raise full(self.folder / name, error) from None

    def append(self, record: Sample | Answer | ProgramRun | Proposal) -> None:
        """Append a record to its log and flush it to disk; programs without the flush, because they can run again."""
        path = self.folder / _LOGS[type(record)]
        try:
            append(path, framed(record.model_dump_json().encode()), durable=not isinstance(record, ProgramRun))
        except OSError as error:
            raise full(path, error) from None

    def append_proposal(self, proposal: Proposal) -> Proposal:
        """Append a proposal and return it; if it is already stored, return the stored one.

        Raises:
            RunMismatch: The stored one differs.
        """
        known = self.journal.proposal(proposal)
        if known is not None:
            return known
        proposal = proposal.model_copy(update={"at": self.elapsed()})
        self.append(proposal)
        return proposal

    def known_sample(
        self, purpose: Purpose, candidate: str, task: str, index: int, scored: Callable[[Sample], Sample]
    ) -> Sample | None:
        """A stored sample of this run, or a shared one: `scored` gives it this run's score, and it is copied here.

        Raises:
            RunMismatch: The stored run did something else at this point.
        """
        own = self.journal.sample(purpose, candidate, task, index)
        other = self._others.sample(purpose, candidate, task, index) if own is None else None
        if other is None or self._shared is None:
            return own
        self.journal.new_work(f"a sample of {task}")
        for kind, names in (("code", [other.code, *(a.code for a in other.attempts)]), ("gifs", [other.gif])):
            for name in filter(None, names):
                self.put(kind, read_content(self._shared.folder, kind, name))
        sample = scored(other).model_copy(update={"at": self.elapsed()})
        self.append(sample)
        return sample

    def known_answer(self, seed: int, request: str) -> Answer | None:
        """A stored or shared answer of the reflector; raises as known_sample."""
        own = self.journal.answer(seed, request)
        other = self._others.answer(seed, request) if own is None else None
        if other is None:
            return own
        self.journal.new_work("an answer of the reflector")
        answer = other.model_copy(update={"at": self.elapsed()})
        self.append(answer)
        return answer

    def known_program(self, code: str) -> ProgramRun | None:
        """The stored or shared outcome of a program, by the hash of its text."""
        return self.journal.program(code) or self._adopted(self._others.program(code))

    def known_search(self, start: str, task: str) -> ProgramRun | None:
        """The stored or shared result of a number search from the program with the hash `start`. Copies a shared
        program into this run."""
        own = self.journal.search(start, task)
        if own is not None and is_file(self.folder / content_name("code", own.code)):
            return own
        other = self._others.search(start, task)
        if other is None or self._shared is None:
            return None
        try:
            self.put("code", read_content(self._shared.folder, "code", other.code))
        except RunCorrupt:
            return None
        return self._adopted(other)

    def _adopted(self, run: ProgramRun | None) -> ProgramRun | None:
        if run is None:
            return None
        run = run.model_copy(update={"at": self.elapsed()})
        self.append(run)
        return run

    def put(self, kind: str, data: str | bytes) -> str:
        """Store a content once and return its hash; `kind` is a key of files.SUFFIXES."""
        name = content_hash(data)
        inner = content_name(kind, name)
        if not is_file(self.folder / inner):
            self._guarded(inner, data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data)
        return name

    def code(self, name: str) -> str:
        """A stored program."""
        return text_of(read_content(self.folder, "code", name))

    def gif(self, name: str) -> bytes:
        """A stored GIF."""
        return read_content(self.folder, "gifs", name)

    def write_best_prompt(self, prompt: str) -> None:
        """Write best_prompt.md."""
        self._guarded("best_prompt.md", prompt.rstrip("\n").encode("utf-8", "replace") + b"\n")

    def write_front(self, front: FrontResult) -> None:
        """Write front.json."""
        self._guarded("front.json", front.model_dump_json(indent=2).encode("ascii", "replace") + b"\n")

    def write_gif(self, name: str, samples: Sequence[Sample]) -> None:
        """Write NAME.gif: the GIF of the best sample; nothing if no sample has a GIF."""
        with_gif = [sample for sample in samples if sample.gif is not None]
        if with_gif:
            best = max(with_gif, key=lambda sample: sample.score.total)
            self._guarded(f"{name}.gif", self.gif(str(best.gif)))

    def doing(self, text: str) -> None:
        """Announce the current activity: to `on_activity`, and in `.now` for `localgif watch`."""
        if self.journal.left:
            return  # the run is replaying stored work
        self.on_activity(text)
        line = json.dumps({"text": text, "at": self.elapsed()}).encode()
        with contextlib.suppress(OSError):  # only information for other terminals
            handle = open_inside(self.folder, NOW, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.write(handle, line)
            os.close(handle)

    def search_end(self, asked: int, reason: str) -> str:
        """Why the search ends now, or "". A resumed run ends at the same check as before, whatever `reason` is now."""
        end = self.record.search_end
        if end is not None:
            return end.reason if asked >= end.asked else ""
        if reason:
            self.update(search_end=SearchEnd(reason=reason, asked=asked))
        return reason

    def update(self, **changes: Any) -> None:
        """Replace fields of run.json."""
        self.record = self.record.model_copy(update=changes)
        self._write_record()

    def finish(self, status: Status, *, error: str | None = None, result: RunResult | None = None) -> None:
        """Record in run.json how the run ended."""
        with contextlib.suppress(OSError):
            remove_inside(self.folder, NOW)
        self.update(status=status, ended=now(), error=error, result=result)


def remove_run(folder: Path) -> None:
    """Remove a run folder and its contents.

    Raises:
        RunLocked: A process is writing to it.
        RunError: It cannot be removed, or is a link.
    """
    lock = take_lock(folder)
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise RunError(f"{folder} cannot be removed: {error.strerror or error}", "check its permissions") from None
    finally:
        os.close(lock)
