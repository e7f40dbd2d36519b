"""The move *example*: a worked program for the prompt, written, repaired or put right by its numbers, always measured.

Material comes from three sides: the reflector, the animator's own samples, and a search over numbers (tune.py). All
programs of the run lie in one pool, so that what was written for one proposal helps the next.
"""

from __future__ import annotations

from localgif.agent.graph import enough
from localgif.gif import feedback
from localgif.records import Verdict
from localgif.search import gate, requests
from localgif.search.candidate import EXAMPLE, Candidate, prompt_of
from localgif.search.evaluate import Evaluator
from localgif.search.ledger import Ledger
from localgif.search.programs import Programs, Trial, canonical, foreign_imports
from localgif.search.tune import tune

#: Programs asked for in one move at most.
ATTEMPTS = 6
#: Longest program, tokens; a model that needs more is talking.
PROGRAM_TOKENS = 640
#: Programs that are given other numbers between two requests.
TUNED = 1
#: A program below this score is not worth other numbers or a repair: nearly nothing of it is right.
WORTH_TUNING = 0.05
#: What a program must score above the present example, and above the samples, to replace it.
BEATS = 0.005


class ExampleMove:
    """Finds a better worked example.

    Args:
        evaluator: Knows every sample that was made.
        programs: Runs programs and remembers them.
        ledger: Asks and records.
        background: Facts for the reflector; "" for none.
        goal: A program that scores this needs no more work.
    """

    def __init__(self, evaluator: Evaluator, programs: Programs, ledger: Ledger, background: str, goal: float) -> None:
        self._evaluator = evaluator
        self._programs = programs
        self._ledger = ledger
        self._task = evaluator.task
        self._background = background
        self._goal = goal
        self._pool: dict[str, Trial] = {}
        self._tuned: set[str] = set()

    def score_of(self, candidate: Candidate) -> float:
        """What the worked example of a candidate scored when it was run; 0 without one."""
        known = self._pool.get(candidate[EXAMPLE])
        return known.score.total if known else 0.0

    def propose(self, candidate: Candidate) -> dict[str, str]:
        """The component `example` with a better program; empty when none was found."""
        followed = self._evaluator.mean_of(prompt_of(candidate, self._task))
        bar = max(self.score_of(candidate), followed) + BEATS
        self._harvest()
        best = self._improve(candidate, bar)
        remark, crashed = "", None
        for attempt in range(ATTEMPTS):
            if self._good(best):
                break
            # What just crashed is put right once; what is nearly good now and then; the rest are new beginnings, which
            # leave a bad idea behind where a repair keeps it.
            base = crashed or (self._repairable() if attempt % 3 == 2 else None)
            self._ledger.progress.activity(
                f"reflecting: {'repairing' if base else 'writing'} a program (try {attempt + 1})"
            )
            request = (
                requests.repair_program(self._task, self._background, base.code, self._told(base))
                if base
                else requests.write_program(self._task, self._background, remark)
            )
            remark, trial = self._write_program(candidate, request, bar)
            crashed = trial if trial is not None and base is None and trial.rendered.gif is None else None
            best = self._improve(candidate, bar)
        return {EXAMPLE: best.code} if best is not None else {}

    def _write_program(self, candidate: Candidate, request: str, bar: float) -> tuple[str, Trial | None]:
        """Ask for a program, run it, and remember it.

        Returns:
            What the next request should say about a bad reply, and what became of the program.
        """
        reply = self._ledger.ask(request, enough, PROGRAM_TOKENS)
        read = gate.program(reply.text, reply.done_reason)
        if isinstance(read, gate.Rejected):
            self._ledger.record("example", candidate, request, reply, outcome="rejected", reason=read.code)
            return read.remedy, None
        code = canonical(read.code)
        assert code is not None  # the gate has parsed it
        known = self._pool.get(code)
        if known is not None:
            self._ledger.record(
                "example", candidate, request, reply, outcome="rejected", reason="duplicate", trial=known
            )
            return "", None
        trial = self._trial(code)
        beats = trial.score.total >= bar
        child = {**candidate, EXAMPLE: code} if beats else None
        self._ledger.record("example", candidate, request, reply, outcome="measured", trial=trial, child=child)
        return "", trial

    def _trial(self, code: str) -> Trial:
        trial = self._programs.trial(code, self._task)
        self._pool[code] = trial
        return trial

    def _harvest(self) -> None:
        """The programs that the animator wrote during sampling are material too."""
        for sample in self._evaluator.samples:
            for attempt in sample.attempts:
                if attempt.verdict is not Verdict.OK or attempt.code is None or sample.purpose == "fresh":
                    continue
                code = canonical(self._ledger.store.code(attempt.code))
                if code is not None and code not in self._pool and not foreign_imports(code):
                    self._trial(code)

    def _improve(self, candidate: Candidate, bar: float) -> Trial | None:
        """Try other numbers in what is promising and new; the best program that beats the present example."""
        new = [t for t in self._pool.values() if t.moves and t.code not in self._tuned and not self._good(t)]
        for trial in sorted(new, key=lambda t: t.rank, reverse=True)[:TUNED]:
            if self._good(self._best()) or trial.score.total < WORTH_TUNING:
                break
            self._ledger.progress.activity(
                f"reflecting: other numbers for a program that scored {trial.score.total:.3f}"
            )
            self._tuned.add(trial.code)
            found = tune(trial, self._trial, self._task.targets, self._goal)
            self._tuned.add(found.code)
            if found is not trial:
                child = {**candidate, EXAMPLE: found.code} if found.score.total >= bar else None
                self._ledger.record_tuning(candidate, trial, found, child)
        best = self._best()
        return best if best is not None and best.score.total >= bar else None

    def _best(self) -> Trial | None:
        return max(self._pool.values(), key=lambda t: t.rank, default=None)

    def _good(self, trial: Trial | None) -> bool:
        """Whether a program needs no more work."""
        return trial is not None and trial.score.total >= self._goal and not trial.flickers

    def _repairable(self) -> Trial | None:
        """The best program so far, when it is worth a repair."""
        best = self._best()
        return best if best is not None and best.score.total >= WORTH_TUNING and not self._good(best) else None

    def _told(self, trial: Trial) -> str:
        r = trial.rendered
        return feedback.sample_feedback(self._task.brief, r.measurements, trial.score, r.verdict, r.reason, trial.code)
