"""The move *example*: a worked program for the prompt, written, repaired or put right by its numbers, always measured.

Material comes from three sides: the reflector, the animator's own samples, and a search over numbers (tune.py). All
programs of a task lie in one pool, so that what was written for one proposal helps the next; what is good for one task
is shown as a model when a program for another one is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from localgif.agent.graph import enough
from localgif.gif import feedback
from localgif.records import Verdict
from localgif.search import reflector, reply_checks
from localgif.search.candidate import Candidate, prompt_of, slot
from localgif.search.evaluator import Evaluator
from localgif.search.number_search import tune
from localgif.search.programs import Programs, Trial, canonical, foreign_imports
from localgif.search.reflector import Ledger
from localgif.search.reply_checks import with_imports
from localgif.search.sight import Sight
from localgif.tasks.task import Task

#: Programs asked for in one move at most.
ATTEMPTS = 6
#: Longest program, tokens; a model that needs more is talking.
PROGRAM_TOKENS = 640
#: Programs that are given other numbers between two requests.
TUNED = 1
#: A program below this score is not worth other numbers or a repair: nearly nothing of it is right.
WORTH_TUNING = 0.05
#: A program for another task is shown as a model from this score on.
WORTH_ADAPTING = 0.8
#: A program below this score is no example: an animator that follows it does badly, and little better is no gain.
WORTH_SHOWING = 0.3
#: What a program must score above the present example, and above the samples, to replace it.
BEATS = 0.005


class ExampleMove:
    """Finds a better worked example of a task.

    Args:
        evaluator: Knows every sample that was made.
        programs: Runs programs and remembers them.
        ledger: Asks and records.
        sight: Contact sheets for a reflector that can see.
        background: Facts for the reflector; "" for none.
        goal: A program that scores this needs no more work.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        programs: Programs,
        ledger: Ledger,
        sight: Sight,
        background: str,
        goal: float,
    ) -> None:
        self._evaluator = evaluator
        self._suite = evaluator.suite
        self._programs = programs
        self._ledger = ledger
        self._sight = sight
        self._background = background
        self._goal = goal
        self._pools: dict[str, dict[str, Trial]] = {task.name: {} for task in self._suite.train}
        """Task -> text -> program, as it was measured for that task."""
        self._tuned: set[tuple[str, str]] = set()

    def score_of(self, candidate: Candidate, task: Task) -> float:
        """What a candidate's worked example of a task scored when it was run; 0 without one."""
        known = self._pools[task.name].get(candidate[slot(task)])
        return known.score.total if known else 0.0

    def propose(self, candidate: Candidate, task: Task) -> dict[str, str]:
        """The component of a task's example with a better program; empty when none was found."""
        followed = self._evaluator.mean_of(prompt_of(candidate, self._suite), [task])
        bar = max(self.score_of(candidate, task) + BEATS, followed + BEATS, WORTH_SHOWING)
        self._harvest(task)
        best = self._improve(candidate, task, bar)
        remark, crashed = "", None
        for attempt in range(ATTEMPTS):
            if self._good(best):
                break
            # What just crashed is put right once; what is nearly good now and then; the rest are new beginnings, which
            # leave a bad idea behind where a repair keeps it.
            base = crashed or (self._repairable(task) if attempt % 3 == 2 else None)
            request = self._request(candidate, task, base, remark, attempt)
            images = self._sight.of_program(base.code) if base else ()
            remark, trial = self._write_program(candidate, task, request, bar, images)
            ran = trial is None or trial.rendered.verdict is Verdict.OK
            crashed = None if ran or base is not None else trial
            best = self._improve(candidate, task, bar)
        return {slot(task): best.code} if best is not None else {}

    def _request(self, candidate: Candidate, task: Task, base: Trial | None, remark: str, attempt: int) -> str:
        """What is asked next: a repair, the form of what is good for another task, or a new beginning."""
        model = self._model(candidate, task) if attempt % 3 == 0 and base is None and not remark else None
        what = "repairing" if base else "adapting" if model else "writing"
        of = f" for {task.name}" if self._suite.mode != "single" else ""
        self._ledger.store.doing(f"reflecting: {what} a program{of} (try {attempt + 1})")
        if base:
            return reflector.repair_program(task, self._background, base.code, self._told(task, base))
        if model:
            return reflector.adapt_program(task, self._background, *model)
        return reflector.write_program(task, self._background, remark)

    def _model(self, candidate: Candidate, task: Task) -> tuple[Task, str] | None:
        """A good worked example of another task, the best one."""
        others = [other for other in self._suite.train if other is not task and candidate[slot(other)]]
        best = max(others, key=lambda other: self.score_of(candidate, other), default=None)
        if best is None or self.score_of(candidate, best) < WORTH_ADAPTING:
            return None
        return best, candidate[slot(best)]

    def _write_program(
        self, candidate: Candidate, task: Task, request: str, bar: float, images: tuple[bytes, ...]
    ) -> tuple[str, Trial | None]:
        """Ask for a program, run it, and remember it.

        Returns:
            What the next request should say about a bad reply, and what became of the program.
        """
        reply = self._ledger.ask(request, enough, PROGRAM_TOKENS, images)
        read = reply_checks.program(reply.text, reply.done_reason)
        if isinstance(read, reply_checks.Rejected):
            self._ledger.record("example", task, candidate, request, reply, outcome="rejected", reason=read.code)
            return read.remedy, None
        code = canonical(with_imports(read.code))
        assert code is not None  # the gate has parsed it
        known = self._pools[task.name].get(code)
        if known is not None:
            self._ledger.record(
                "example", task, candidate, request, reply, outcome="rejected", reason="duplicate", trial=known
            )
            return "", None
        trial = self._trial(code, task)
        beats = trial.score.total >= bar
        child = {**candidate, slot(task): code} if beats else None
        self._ledger.record("example", task, candidate, request, reply, outcome="measured", trial=trial, child=child)
        return "", trial

    def _trial(self, code: str, task: Task) -> Trial:
        trial = self._programs.trial(code, task)
        self._pools[task.name][code] = trial
        return trial

    def _harvest(self, task: Task) -> None:
        """The programs that the animator wrote during sampling are material too."""
        for sample in self._evaluator.samples:
            for attempt in sample.attempts:
                if attempt.code is None or sample.purpose == "fresh" or sample.task != task.name:
                    continue
                code = canonical(self._ledger.store.code(attempt.code))
                whole = canonical(with_imports(code)) if code is not None else None
                # What crashed is of use only when it did so for want of an import.
                if whole is None or (attempt.verdict is not Verdict.OK and whole == code):
                    continue
                if whole not in self._pools[task.name] and not foreign_imports(whole):
                    self._trial(whole, task)

    def _improve(self, candidate: Candidate, task: Task, bar: float) -> Trial | None:
        """Try other numbers in what is promising and new; the best program that beats the present example."""
        pool = self._pools[task.name].values()
        new = [t for t in pool if t.moves and (task.name, t.code) not in self._tuned and not self._good(t)]
        for trial in sorted(new, key=lambda t: t.rank, reverse=True)[:TUNED]:
            if self._good(self._best(task)) or trial.score.total < WORTH_TUNING:
                break
            self._ledger.store.doing(f"reflecting: other numbers for a program that scored {trial.score.total:.3f}")
            self._tuned.add((task.name, trial.code))
            found = self._programs.search(trial, task, self._tuner(task))
            self._tuned.add((task.name, found.code))
            if found is not trial:
                self._pools[task.name][found.code] = found
                child = {**candidate, slot(task): found.code} if found.score.total >= bar else None
                self._ledger.record_tuning(task, candidate, trial, found, child)
        best = self._best(task)
        return best if best is not None and best.score.total >= bar else None

    def _tuner(self, task: Task) -> Callable[[Trial, Callable[[Sequence[str]], Sequence[Trial]]], Trial]:
        return lambda start, measure: tune(start, measure, task.targets, self._goal)

    def _best(self, task: Task) -> Trial | None:
        return max(self._pools[task.name].values(), key=lambda t: t.rank, default=None)

    def _good(self, trial: Trial | None) -> bool:
        """Whether a program needs no more work."""
        return trial is not None and trial.score.total >= self._goal and not trial.flickers

    def _repairable(self, task: Task) -> Trial | None:
        """The best program so far, when it is worth a repair."""
        best = self._best(task)
        return best if best is not None and best.score.total >= WORTH_TUNING and not self._good(best) else None

    def _told(self, task: Task, trial: Trial) -> str:
        r = trial.rendered
        return feedback.sample_feedback(task.brief, r.measurements, trial.score, r.verdict, r.reason, trial.code)
