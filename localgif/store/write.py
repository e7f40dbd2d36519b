"""The run folder: the only truth about a run.

    runs/<name>/  run.json  samples.jsonl  answers.jsonl  programs.jsonl  proposals.jsonl  best_prompt.md  report.html
                  candidates/<hash>.md  code/<hash>.py  gifs/<hash>.gif  sheets/<hash>.png  gepa/  .lock  .now

run.json is written first with status "started" and replaced whole at the end, so a run that says "started" and whose
lock nobody holds has died. Samples, answers and proposals are appended, one JSON object a line (lines.py), and forced
to disk before the search goes on. Code, GIFs and candidates are stored once under the sha256 of their bytes; so are the
contact sheets that a reflector was shown, if it was shown any. `.now` says what is being done, for `localgif watch`.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from localgif.errors import ConfigError, RunCorrupt, RunError
from localgif.files import content_hash, content_path, now, replace_file, take_lock
from localgif.records import Proposal, Purpose, Record, RunResult, Sample, Status
from localgif.store.log import Answer, Journal, ProgramRun, RunLog, append_line
from localgif.store.read import (
    ANSWERS,
    PROGRAMS,
    PROPOSALS,
    SAMPLES,
    RunRecord,
    full,
    load_record,
    put_in_order,
    read_content,
)

NOW = ".now"


class Shared(NamedTuple):
    """Work of another run."""

    folder: Path
    log: RunLog


class RunStore:
    """One run folder, open for writing. Use `create` or `reopen`."""

    def __init__(self, folder: Path, record: RunRecord, journal: Journal, shared: Shared | None = None) -> None:
        self.folder = folder
        self.record = record
        self.journal = journal
        """What this run has done before this process."""
        self.repairs: tuple[str, ...] = ()
        """What was wrong with the stored files, and what was done about it."""
        self.told: Callable[[str], object] = lambda text: None
        """Hears what is being done."""
        self._shared = shared
        self._others = Journal(shared.log, strict=False) if shared is not None else Journal()
        self._opened = time.monotonic()

    @classmethod
    @contextlib.contextmanager
    def create(cls, runs_dir: Path, record: RunRecord, shared: Shared | None = None) -> Iterator[RunStore]:
        """Make the folder `runs_dir / record.name`, lock it and write run.json.

        Args:
            runs_dir: Where runs lie.
            record: What run.json says.
            shared: Work of another run that is as good as this one's own.

        Raises:
            ConfigError: a run of that name is there already.
            RunError: the folder cannot be written.
        """
        folder = runs_dir / record.name
        if folder.exists():
            raise ConfigError(
                f"there is a run named {record.name} already ({folder})",
                f"choose another --name, or go on with it: localgif resume {record.name}",
            )
        try:
            runs_dir.mkdir(parents=True, exist_ok=True)
            folder.mkdir()
            for part in ("candidates", "code", "gifs"):
                (folder / part).mkdir()
        except OSError as error:
            raise RunError(
                f"the run folder {folder} cannot be made: {error.strerror}", "choose another --runs-dir"
            ) from None
        lock = take_lock(folder)
        try:
            store = cls(folder, record, Journal(), shared)
            store._write_record()
            yield store
        finally:
            os.close(lock)  # the kernel lets go of the lock with the last descriptor

    @classmethod
    @contextlib.contextmanager
    def reopen(cls, folder: Path, shared: Shared | None = None) -> Iterator[RunStore]:
        """Lock a run folder that is there, put its files in order, and go on with it.

        Args:
            folder: The run's.
            shared: As for create.

        A torn last line is cut off. A log with damaged lines is set aside under another name and written again without
        them; what they held is done again.

        Raises:
            RunLocked: another process writes in it.
            RunCorrupt: run.json cannot be read.
            RunError: the folder cannot be written.
        """
        try:
            lock = take_lock(folder)
        except OSError as error:
            raise RunError(f"{folder} cannot be written: {error.strerror}", "check its permissions") from None
        try:
            record = load_record(folder)
            log, repairs, lossless = put_in_order(folder)
            store = cls(folder, record, Journal(log, strict=lossless), shared)
            store.repairs = tuple(repairs)
            store.update(status="started", ended=None, error=None)
            yield store
        finally:
            os.close(lock)

    def elapsed(self) -> float:
        """Seconds that the run has been at work, the processes before this one included."""
        return round(self.journal.at + time.monotonic() - self._opened, 3)

    def _write_record(self) -> None:
        self._guarded(self.folder / "run.json", self.record.model_dump_json(indent=2).encode() + b"\n")

    def _guarded(self, path: Path, data: bytes) -> None:
        try:
            replace_file(path, data)
        except OSError as error:
            raise full(path, error, "files") from None

    def _append(self, name: str, record: Record, *, durable: bool = True) -> None:
        path = self.folder / name
        try:
            append_line(path, record, durable=durable)
        except OSError as error:
            raise full(path, error, "lines") from None

    def append_sample(self, sample: Sample) -> None:
        """Add a sample; on return it is on the disk."""
        self._append(SAMPLES, sample)

    def append_answer(self, answer: Answer) -> None:
        """Add an answer of the reflector; on return it is on the disk."""
        self._append(ANSWERS, answer)

    def append_program(self, run: ProgramRun) -> None:
        """Add a program that was run. A power cut may take the last ones: they are run again."""
        self._append(PROGRAMS, run, durable=False)

    def append_proposal(self, proposal: Proposal) -> Proposal:
        """Add a proposal; on return it is on the disk. One that this run has stored before is given back as it is.

        Raises:
            RunMismatch: the stored one is another one.
        """
        known = self.journal.proposal(proposal)
        if known is not None:
            return known
        proposal = proposal.model_copy(update={"at": self.elapsed()})
        self._append(PROPOSALS, proposal)
        return proposal

    def known_sample(
        self, purpose: Purpose, candidate: str, task: str, index: int, scored: Callable[[Sample], Sample]
    ) -> Sample | None:
        """A sample that need not be made: this run's own, or a shared one, which becomes its own.

        Args:
            purpose, candidate, task, index: Which one.
            scored: Gives a shared sample this run's score.

        Raises:
            RunMismatch: this run has others that should have been asked for before.
        """
        own = self.journal.sample(purpose, candidate, task, index)
        other = self._others.sample(purpose, candidate, task, index) if own is None else None
        if other is None or self._shared is None:
            return own
        self.journal.new_work(f"a sample of {task}")
        for kind, names in (("code", [other.code, *(a.code for a in other.attempts)]), ("gifs", [other.gif])):
            for name in filter(None, names):
                self._put(kind, read_content(self._shared.folder, kind, name))
        sample = scored(other).model_copy(update={"at": self.elapsed()})
        self.append_sample(sample)
        return sample

    def known_answer(self, seed: int, request: str) -> Answer | None:
        """An answer that need not be asked for; as known_sample."""
        own = self.journal.answer(seed, request)
        other = self._others.answer(seed, request) if own is None else None
        if other is None:
            return own
        self.journal.new_work("an answer of the reflector")
        answer = other.model_copy(update={"at": self.elapsed()})
        self.append_answer(answer)
        return answer

    def known_program(self, code: str) -> ProgramRun | None:
        """What became of a program that need not be run, by the hash of its text."""
        return self.journal.program(code) or self._adopted(self._others.program(code))

    def known_search(self, start: str, task: str) -> ProgramRun | None:
        """What a search that need not be made found; its program is in this run's folder.

        Args:
            start: Hash of the program that it began with.
            task: What it was for.
        """
        own = self.journal.search(start, task)
        if own is not None and content_path(self.folder, "code", own.code).exists():
            return own
        other = self._others.search(start, task)
        if other is None or self._shared is None:
            return None
        try:
            self._put("code", read_content(self._shared.folder, "code", other.code))
        except RunCorrupt:
            return None
        return self._adopted(other)

    def _adopted(self, run: ProgramRun | None) -> ProgramRun | None:
        if run is None:
            return None
        run = run.model_copy(update={"at": self.elapsed()})
        self.append_program(run)
        return run

    def put_candidate(self, prompt: str) -> str:
        """Store a candidate's text; returns its hash."""
        return self._put("candidates", prompt.encode("utf-8", "surrogatepass"))

    def put_code(self, code: str) -> str:
        """Store a program; returns its hash."""
        return self._put("code", code.encode("utf-8", "surrogatepass"))

    def code(self, name: str) -> str:
        """A program that was stored by this run."""
        return content_path(self.folder, "code", name).read_text("utf-8", "surrogatepass")

    def put_gif(self, gif: bytes) -> str:
        """Store a GIF; returns its hash."""
        return self._put("gifs", gif)

    def gif(self, name: str) -> bytes:
        """A GIF that was stored by this run."""
        return content_path(self.folder, "gifs", name).read_bytes()

    def put_sheet(self, png: bytes) -> str:
        """Store a contact sheet that a reflector is shown; returns its hash. The first one makes the folder."""
        try:
            (self.folder / "sheets").mkdir(exist_ok=True)
        except OSError as error:
            raise full(self.folder / "sheets", error, "files") from None
        return self._put("sheets", png)

    def _put(self, kind: str, data: bytes) -> str:
        name = content_hash(data)
        path = content_path(self.folder, kind, name)
        if not path.exists():
            self._guarded(path, data)
        return name

    def write_best_prompt(self, prompt: str) -> None:
        """Write best_prompt.md."""
        self._guarded(self.folder / "best_prompt.md", prompt.rstrip("\n").encode("utf-8", "replace") + b"\n")

    def doing(self, text: str) -> None:
        """Say what is being done now: to `told`, and in a file for who watches from another terminal."""
        if self.journal.left:
            return  # told again, not done
        self.told(text)
        with contextlib.suppress(OSError):  # not worth a failure
            (self.folder / NOW).write_text(json.dumps({"text": text, "at": self.elapsed()}), "utf-8", "replace")

    def update(self, **changes: Any) -> None:
        """Replace fields of run.json."""
        self.record = self.record.model_copy(update=changes)
        self._write_record()

    def finish(self, status: Status, *, error: str | None = None, result: RunResult | None = None) -> None:
        """Rewrite run.json with how the run ended."""
        (self.folder / NOW).unlink(missing_ok=True)
        self.update(status=status, ended=now(), error=error, result=result)
