"""The move *example*: finds worked programs for the prompt by searching, writing and repairing; each one is measured.

A search over formulas and numbers comes first, because it asks no model: it starts from what the briefs name and from
the animator's own samples, and leads to a program in the form. Where it fails, or without the form, the reflector
writes and repairs programs. All programs of a task are in one pool, so that each proposal can use the earlier ones.
"""

from __future__ import annotations

from localgif.agent import form
from localgif.agent.graph import enough
from localgif.gif import feedback
from localgif.records import Verdict
from localgif.search import assignments, reflector, reply_checks
from localgif.search.evaluator import ORDER, Candidate, Evaluator, prompt_of, slot
from localgif.search.number_search import tune
from localgif.search.order_move import first_order
from localgif.search.programs import Trial, canonical, foreign_imports
from localgif.search.reflector import Ledger
from localgif.search.reply_checks import with_imports
from localgif.tasks.task import Task

#: At most this many programs are requested per move.
ATTEMPTS = 6
#: Longest program, tokens; a model that needs more is not writing a program.
PROGRAM_TOKENS = 640
#: Programs tuned between two requests.
TUNED = 1
#: A program below this score is neither tuned nor repaired: almost nothing in it is right.
WORTH_TUNING = 0.05
#: A program for another task needs at least this score to be shown as a model.
WORTH_ADAPTING = 0.8
#: A program below this score is not used as an example: an animator that follows it scores badly.
WORTH_SHOWING = 0.3
#: With several tasks, a program needs at least this score to become an example.
EARNED = 0.9
#: Per reflection, at most this many drafts of a task start a search over formulas.
DRAFTS = 2
#: A program replaces the example if it scores this much more than the example and the samples.
BEATS = 0.005


class ExampleMove:
    """Finds a better worked example of a task.

    Args:
        background: Facts for the reflector, or "".
        goal: A program with this score needs no more work.
    """

    def __init__(self, evaluator: Evaluator, ledger: Ledger, background: str, goal: float) -> None:
        self._evaluator = evaluator
        self._suite = evaluator.suite
        self._programs = evaluator.programs
        self._ledger = ledger
        self._sight = evaluator.sight
        self._background = background
        self._goal = goal
        self._pools: dict[str, dict[str, Trial]] = {task.name: {} for task in self._suite.train}
        """Task -> text -> program, measured for that task."""
        self._tuned: set[tuple[str, str]] = set()
        self._searched: set[tuple[str, str]] = set()
        """Task and the draft from which a search over formulas started; "" for a start from the task's brief."""

    def score_of(self, candidate: Candidate, task: Task) -> float:
        """Measured score of a candidate's worked example of a task; 0 without one."""
        known = self._pools[task.name].get(candidate[slot(task)])
        return known.score.total if known else 0.0

    def propose(self, candidate: Candidate, task: Task) -> dict[str, str]:
        """The component of a task's example with a better program; empty if none was found."""
        followed = self._evaluator.mean_of(prompt_of(candidate, self._suite), [task])
        bar = max(self.score_of(candidate, task) + BEATS, followed + BEATS, WORTH_SHOWING)
        earned = self._earn(candidate)
        if earned or (self._good(self._best(task)) and candidate[slot(task)]):
            return earned  # empty if the prompt already shows the best programs
        best = self._improve(candidate, task, bar)
        remark, crashed = "", None
        for attempt in range(ATTEMPTS):
            if self._good(best):
                break
            # A program that just crashed is repaired once, a nearly good one every third attempt. All other attempts
            # start from scratch, because a repair keeps a bad idea.
            base = crashed or (self._repairable(task) if attempt % 3 == 2 else None)
            request = self._request(candidate, task, base, remark, attempt)
            images = self._sight.of_program(base.code) if base else ()
            remark, trial = self._write_program(candidate, task, request, bar, images)
            ran = trial is None or trial.rendered.verdict is Verdict.OK
            crashed = None if ran or base is not None else trial
            self._search(candidate, task)
            best = self._improve(candidate, task, bar)
        return {slot(task): best.code} if best is not None else {}

    def _earn(self, candidate: Candidate) -> dict[str, str]:
        """The components with better programs that a search without a model finds, for all tasks of the run at once.

        A prompt with an example of only one of several tasks is worse than one without examples, so all tasks are
        searched before the first example is shown.
        """
        for each in self._suite.train:
            self._harvest(each)
            self._search(candidate, each)
        new: dict[str, str] = {}
        for each in self._suite.train:
            best = self._best(each)
            if best is None or not form.uses(best.code) or best.code == candidate[slot(each)]:
                continue
            shown = self._evaluator.mean_of(prompt_of(candidate, self._suite), [each])
            least = max(self.score_of(candidate, each), shown, WORTH_SHOWING) if len(self._suite.train) == 1 else EARNED
            if best.score.total >= least + BEATS or self._good(best):
                new[slot(each)] = best.code
        if new and len(self._suite.train) > 1:
            new[ORDER] = first_order({**candidate, **new}, self._suite)
        return new

    def _search(self, candidate: Candidate, task: Task) -> None:
        """Search over formulas and numbers for a task, once from its brief and once from each new draft."""
        settings = self._ledger.store.settings
        # Without subjects, or with the article's rule, the score cannot tell a right formula from a wrong one.
        if not settings.form or settings.scorer != "strict" or not task.subjects or self._good(self._best(task)):
            return
        drafts = sorted(self._pools[task.name].values(), key=lambda t: t.rank, reverse=True)
        codes = ["", *[t.code for t in drafts if (task.name, t.code) not in self._searched][:DRAFTS]]
        starts = [
            form.read(code) or assignments.glimpse(code, task) if code else assignments.first_scene(task.brief)
            for code in codes
            if (task.name, code) not in self._searched
        ]
        self._searched |= {(task.name, code) for code in codes}
        for scene in dict.fromkeys(scene for scene in starts if scene is not None):
            if self._good(self._best(task)):
                break
            code = form.program(scene, task.brief, task.targets)
            start = self._trial(code, task)
            self._ledger.store.doing(f"reflecting: trying formulas for {task.name}")
            found = self._programs.search(start, task, assignments.finder(scene, task, self._goal))
            self._pools[task.name][found.code] = found
            done = {(task.name, code), (task.name, found.code)}  # their numbers were searched, too
            self._searched |= done
            self._tuned |= done
            child = {**candidate, slot(task): found.code} if found.score.total >= WORTH_SHOWING else None
            self._ledger.record_search(task, candidate, start, found, child)

    def _request(self, candidate: Candidate, task: Task, base: Trial | None, remark: str, attempt: int) -> str:
        """The next request: a repair, an adaptation of another task's example, or a new program."""
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
        """The best worked example of another task, if it is good."""
        others = [other for other in self._suite.train if other is not task and candidate[slot(other)]]
        best = max(others, key=lambda other: self.score_of(candidate, other), default=None)
        if best is None or self.score_of(candidate, best) < WORTH_ADAPTING:
            return None
        return best, candidate[slot(best)]

    def _write_program(
        self, candidate: Candidate, task: Task, request: str, bar: float, images: tuple[bytes, ...]
    ) -> tuple[str, Trial | None]:
        """Request a program, run it, and add it to the pool.

        Returns:
            What the next request should say about a bad reply, and the program's trial.
        """
        reply = self._ledger.ask(request, enough, PROGRAM_TOKENS, images)
        read = reply_checks.program(reply.text, reply.done_reason)
        if isinstance(read, reply_checks.Rejected):
            self._ledger.record("example", task, candidate, request, reply, outcome="rejected", reason=read.code)
            return read.remedy, None
        code = self._written(read, task)
        assert code is not None  # reply_checks has parsed it
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

    def _written(self, code: str, task: Task) -> str | None:
        """A program as it is measured: written in the form if it can be read so, else canonical with its imports."""
        scene = form.read(code) if self._ledger.store.settings.form else None
        return canonical(with_imports(code)) if scene is None else form.program(scene, task.brief, task.targets)

    def _trial(self, code: str, task: Task) -> Trial:
        trial = self._programs.trial(code, task)
        self._pools[task.name][code] = trial
        return trial

    def _harvest(self, task: Task) -> None:
        """Add the programs of the animator's samples to the pool."""
        for sample in self._evaluator.samples:
            for attempt in sample.attempts:
                if attempt.code is None or sample.purpose == "fresh" or sample.task != task.name:
                    continue
                code = canonical(self._ledger.store.code(attempt.code))
                whole = self._written(code, task) if code is not None else None
                # A crashed program is useful only if an import was missing.
                if whole is None or (attempt.verdict is not Verdict.OK and whole == code):
                    continue
                if whole not in self._pools[task.name] and not foreign_imports(whole):
                    self._trial(whole, task)

    def _improve(self, candidate: Candidate, task: Task, bar: float) -> Trial | None:
        """Tune a promising new program; returns the best program if it reaches `bar`."""
        pool = self._pools[task.name].values()
        new = [t for t in pool if t.moves and (task.name, t.code) not in self._tuned and not self._good(t)]
        for trial in sorted(new, key=lambda t: t.rank, reverse=True)[:TUNED]:
            if self._good(self._best(task)) or trial.score.total < WORTH_TUNING:
                break
            self._ledger.store.doing(f"reflecting: other numbers for a program that scored {trial.score.total:.3f}")
            self._tuned.add((task.name, trial.code))
            found = self._programs.search(
                trial, task, lambda start, measure: tune(start, measure, task.targets, self._goal)
            )
            self._tuned.add((task.name, found.code))
            if found is not trial:
                self._pools[task.name][found.code] = found
                child = {**candidate, slot(task): found.code} if found.score.total >= bar else None
                self._ledger.record_search(task, candidate, trial, found, child)
        best = self._best(task)
        return best if best is not None and best.score.total >= bar else None

    def _best(self, task: Task) -> Trial | None:
        """The best program; among good ones, one in the form, because it helps with other tasks too."""
        return max(
            self._pools[task.name].values(), key=lambda t: (self._good(t) and form.uses(t.code), t.rank), default=None
        )

    def _good(self, trial: Trial | None) -> bool:
        """Whether a program needs no more work."""
        return trial is not None and trial.score.total >= self._goal and not trial.flickers

    def _repairable(self, task: Task) -> Trial | None:
        """The best program so far, if it is worth a repair."""
        best = self._best(task)
        return best if best is not None and best.score.total >= WORTH_TUNING and not self._good(best) else None

    def _told(self, task: Task, trial: Trial) -> str:
        r = trial.rendered
        return feedback.sample_feedback(task.brief, r.measurements, trial.score, r.verdict, r.reason, trial.code)
