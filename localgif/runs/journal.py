"""What a run has done already: a search that is repeated from its start is answered from here as far as it got.

The search is a function of its settings and of what models and programs gave. All of that is stored, so going on with a
run means to run the same search again and to give it the stored answers; where they end, it goes on by itself. Nothing
is unpickled, and GEPA's own state is rebuilt on the way.
"""

from __future__ import annotations

from collections import defaultdict, deque

from localgif.errors import RunMismatch
from localgif.records import Proposal, Purpose, Sample, Verdict
from localgif.runs.work import Answer, Log, ProgramRun

#: What must be the same in a proposal that is made again.
_SAME = ("parent", "child", "move", "outcome", "reason", "code", "reply")


class Journal:
    """Stored work by what asks for it.

    Args:
        log: The work.
        strict: Whether the search must ask for all of it before it does anything new: true for a run that goes on,
            false for one that shares another one's work, or whose logs were damaged.
    """

    def __init__(self, log: Log = Log(), *, strict: bool = True) -> None:  # noqa: B008 - immutable
        self.at = max((row.at or 0.0 for rows in log[:3] for row in rows), default=0.0)
        """Seconds that the run had been at work when the last of it was stored."""
        self._strict = strict
        self._samples = {(s.purpose, s.candidate, s.task, s.index): s for s in reversed(log.samples)}
        self._answers: dict[tuple[int, str], deque[Answer]] = defaultdict(deque)
        for answer in log.answers:
            self._answers[answer.seed, answer.request].append(answer)
        # Another run's proposals are its own: they follow from its answers.
        self._proposals = {p.number: p for p in log.proposals} if strict else {}
        self._programs: dict[str, ProgramRun] = {}
        self._limited: dict[str, deque[ProgramRun]] = defaultdict(deque)
        self._searches = {(run.start, run.task): run for run in log.programs if run.start is not None}
        for run in log.programs:
            if run.verdict is Verdict.WALL_LIMIT:
                self._limited[run.code].append(run)
            else:
                self._programs.setdefault(run.code, run)
        self.programs_run = sum(run.tried for run in log.programs)
        self.program_seconds = sum(run.seconds for run in log.programs)
        self._left = len(self._samples) + len(log.answers)

    @property
    def left(self) -> int:
        """Samples and answers that were not asked for yet."""
        return self._left

    def sample(self, purpose: Purpose, candidate: str, task: str, index: int) -> Sample | None:
        """A stored sample; given once."""
        found = self._samples.pop((purpose, candidate, task, index), None)
        self._left -= found is not None
        if found is not None:
            # What the wall limit did to its programs was asked for with it.
            for attempt in found.attempts:
                if attempt.verdict is Verdict.WALL_LIMIT and attempt.code is not None and self._limited[attempt.code]:
                    self._limited[attempt.code].popleft()
        return found

    def answer(self, seed: int, request: str) -> Answer | None:
        """The reflector's stored answer to a request; each given once."""
        waiting = self._answers.get((seed, request))
        if not waiting:
            return None
        self._left -= 1
        return waiting.popleft()

    def proposal(self, made: Proposal) -> Proposal | None:
        """The stored proposal of that number.

        Raises:
            RunMismatch: it is another one.
        """
        known = self._proposals.get(made.number)
        if known is not None and any(getattr(known, key) != getattr(made, key) for key in _SAME):
            raise _mismatch(f"proposal {made.number} ({made.move})")
        return known

    def program(self, code: str) -> ProgramRun | None:
        """What became of a program, by the hash of its text. A wall limit, which the machine's load can cause, is
        given once for each time that it was met."""
        if self._limited[code]:
            return self._limited[code].popleft()
        return self._programs.get(code)

    def search(self, start: str, task: str) -> ProgramRun | None:
        """What a search over the numbers of a program found."""
        return self._searches.get((start, task))

    def new_work(self, what: str) -> None:
        """Called before anything is asked of a model.

        Raises:
            RunMismatch: the run did something else at this place.
        """
        if self._strict and self._left:
            raise _mismatch(what)


def _mismatch(what: str) -> RunMismatch:
    return RunMismatch(
        f"the search comes to {what}, and the stored run did something else there",
        "Its files were changed, or another version wrote them. Start a run that shares what fits: "
        "localgif resume RUN --fork",
    )
