"""The three moves of grounded reflection: a better example, a better rule, another order of the examples."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from localgif.agent import form
from localgif.agent.graph import enough, loops
from localgif.records import Sample, Verdict
from localgif.search import assignments, feedback, reflector
from localgif.search.evaluator import (
    INSTRUCTIONS,
    ORDER,
    Candidate,
    Evaluator,
    prompt_of,
    rules_of,
    seed_of,
    shown,
    slot,
    with_rules,
)
from localgif.search.number_search import tune
from localgif.search.programs import Trial, canonical, foreign_imports, with_imports
from localgif.search.reflector import Ledger
from localgif.tasks.suite import Suite
from localgif.tasks.task import Task

#: At most this many programs are requested per move.
ATTEMPTS = 6
#: Longest program, tokens; a model that needs more is not writing a program.
_PROGRAM_TOKENS = 640
#: Programs tuned between two requests.
_TUNED = 1
#: A program below this score is neither tuned nor repaired: almost nothing in it is right.
_WORTH_TUNING = 0.05
#: A program for another task needs at least this score to be shown as a model.
_WORTH_ADAPTING = 0.8
#: A program below this score is not used as an example: an animator that follows it scores badly.
_WORTH_SHOWING = 0.3
#: With several tasks, a program needs at least this score to become an example.
_EARNED = 0.9
#: Per reflection, at most this many drafts of a task start a search over formulas.
_DRAFTS = 2
#: A program replaces the example if it scores this much more than the example and the samples.
_BEATS = 0.005


class ExampleMove:
    """The move *example*: finds a better worked example of a task; each program is measured.

    A search over formulas and numbers comes first, because it asks no model: it starts from what the briefs name and
    from the animator's own samples, and leads to a program in the form. Where it fails, or without the form, the
    reflector writes and repairs programs. All programs of a task are in one pool, so that each proposal can use the
    earlier ones.

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
        self._pools: dict[str, dict[str, Trial]] = {task.name: {} for task in self._suite.showable}
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
        bar = max(self.score_of(candidate, task) + _BEATS, followed + _BEATS, _WORTH_SHOWING)
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
        for given in self._suite.given:
            if given.code not in self._pools[given.task.name]:
                self._trial(given.code, given.task)
        new: dict[str, str] = {}
        for each in self._suite.showable:
            best = self._best(each)
            if best is None or not form.uses(best.code) or best.code == candidate[slot(each)]:
                continue
            shown = self._evaluator.mean_of(prompt_of(candidate, self._suite), [each])
            alone = len(self._suite.train) == 1 and each in self._suite.train
            least = max(self.score_of(candidate, each), shown, _WORTH_SHOWING) if alone else _EARNED
            if best.score.total >= least + _BEATS or self._good(best):
                new[slot(each)] = best.code
        if new and len(self._suite.showable) > 1:
            new[ORDER] = _first_order({**candidate, **new}, self._suite)
        return new

    def _search(self, candidate: Candidate, task: Task) -> None:
        """Search over formulas and numbers for a task, once from its brief and once from each new draft."""
        settings = self._ledger.store.settings
        # Without subjects, or with the article's rule, the score cannot tell a right formula from a wrong one.
        if not settings.form or settings.scorer != "strict" or not task.subjects or self._good(self._best(task)):
            return
        drafts = sorted(self._pools[task.name].values(), key=lambda t: t.rank, reverse=True)
        codes = ["", *[t.code for t in drafts if (task.name, t.code) not in self._searched][:_DRAFTS]]
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
            child = {**candidate, slot(task): found.code} if found.score.total >= _WORTH_SHOWING else None
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
        others = [other for other in self._suite.showable if other is not task and candidate[slot(other)]]
        best = max(others, key=lambda other: self.score_of(candidate, other), default=None)
        if best is None or self.score_of(candidate, best) < _WORTH_ADAPTING:
            return None
        return best, candidate[slot(best)]

    def _write_program(
        self, candidate: Candidate, task: Task, request: str, bar: float, images: tuple[bytes, ...]
    ) -> tuple[str, Trial | None]:
        """Request a program, run it, and add it to the pool.

        Returns:
            What the next request should say about a bad reply, and the program's trial.
        """
        reply = self._ledger.ask(request, enough, _PROGRAM_TOKENS, images)
        read = reflector.read_program(reply.text, reply.done_reason)
        if isinstance(read, reflector.Rejected):
            self._ledger.record("example", task, candidate, request, reply, outcome="rejected", reason=read.code)
            return read.remedy, None
        code = self._written(read, task)
        assert code is not None  # read_program has parsed it
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
        for trial in sorted(new, key=lambda t: t.rank, reverse=True)[:_TUNED]:
            if self._good(self._best(task)) or trial.score.total < _WORTH_TUNING:
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
        return best if best is not None and best.score.total >= _WORTH_TUNING and not self._good(best) else None

    def _told(self, task: Task, trial: Trial) -> str:
        r = trial.rendered
        return feedback.sample_feedback(task.brief, r.measurements, trial.score, r.verdict, r.reason, trial.code)


# --- instruction ------------------------------------------------------------------------------------------------------

#: At most this many rules per prompt; one is dropped before another is added.
_MAX_RULES = 4
#: Longest answer to a request for a rule, tokens.
RULE_TOKENS = 96


class InstructionMove:
    """The move *instruction*: changes one rule, based on what was measured of the worst and the best sample."""

    def __init__(self, evaluator: Evaluator, ledger: Ledger, background: str) -> None:
        self._evaluator = evaluator
        self._ledger = ledger
        self._sight = evaluator.sight
        self._suite = evaluator.suite
        self._background = background

    def propose(self, candidate: Candidate, tasks: Sequence[Task]) -> dict[str, str]:
        """The component `instructions` with one rule changed; empty if two replies held no usable rule."""
        rules = rules_of(candidate)
        prompt = prompt_of(candidate, self._suite)
        samples = [s for task in tasks for s in self._evaluator.samples_of(prompt, task)]
        samples.sort(key=lambda s: s.score.total)
        worst, best = (samples[0], samples[-1]) if samples else (None, None)
        task = self._suite.task(worst.task) if worst else tasks[0]
        told_worst = self._told(worst) if worst else "nothing was measured yet"
        told_best = self._told(best) if best and best is not worst else ""
        if len(rules) >= _MAX_RULES:
            # Full: drop the oldest rule without asking a model, so that the next reflection has room.
            fewer = {**candidate, INSTRUCTIONS: with_rules(rules[1:])}
            self._ledger.record_dropped(task, candidate, rules[0], fewer)
            return {INSTRUCTIONS: fewer[INSTRUCTIONS]}
        sharpen = bool(rules) and self._ledger.asked % 2 == 1
        standing = self._standing(prompt)
        fixed = prompt_of(seed_of(self._suite), self._suite)
        remark = ""
        for _ in range(2):
            request = (
                reflector.sharpen_rule(self._suite, task, self._background, rules[-1], told_worst, standing, remark)
                if sharpen
                else reflector.write_rule(
                    self._suite, task, self._background, rules, told_worst, told_best, standing, remark
                )
            )
            self._ledger.store.doing("reflecting: writing a rule")
            reply = self._ledger.ask(request, one_line, RULE_TOKENS, self._sight.of_sample(worst))
            read = reflector.read_rule(reply.text, reply.done_reason, rules, fixed, task.targets)
            if isinstance(read, str):
                new = (*rules[:-1], read) if sharpen else (*rules, read)
                child = {**candidate, INSTRUCTIONS: with_rules(new)}
                self._ledger.record("instruction", task, candidate, request, reply, outcome="evaluated", child=child)
                return {INSTRUCTIONS: child[INSTRUCTIONS]}
            self._ledger.record("instruction", task, candidate, request, reply, outcome="rejected", reason=read.code)
            remark = read.remedy
        return {}

    def _standing(self, prompt: str) -> dict[str, float]:
        """Brief -> mean score of a candidate, for the measured training tasks."""
        return {
            task.brief: self._evaluator.mean_of(prompt, [task])
            for task in self._suite.train
            if self._evaluator.samples_of(prompt, task)
        }

    def _told(self, sample: Sample) -> str:
        return feedback.sample_feedback(
            self._suite.task(sample.task).brief,
            sample.measurements,
            sample.score,
            sample.verdict,
            sample.attempts[-1].reason,
            self._ledger.store.code(sample.code) if sample.code else "",
        )


def one_line(text: str) -> str:
    """Why a reply with a rule needs no more text: a rule is one line, and what follows it does not matter."""
    if "\n" in text.strip() and reflector.labelled(text):
        return "closed"
    return "loop" if loops(text) else ""


# --- order ------------------------------------------------------------------------------------------------------------

#: At most this many examples per prompt.
_MAX_EXAMPLES = 10
#: Of a prompt for other briefs, whose examples are in the form: nine draw no better than four, and take twice as long
#: to read.
_MAX_SHOWN = 4


def _first_order(candidate: Candidate, suite: Suite) -> str:
    """An order for all examples of a candidate: neighbours of different families, as far as there are several."""
    left = [task for task in suite.showable if candidate[slot(task)]]
    ordered: list[Task] = []
    while left:
        used = [task.family for task in ordered]
        task = min(left, key=lambda each: (used.count(each.family), each.family in used[-1:]))
        left.remove(task)
        ordered.append(task)
    others = (suite.mode == "general" or bool(suite.given)) and all(form.uses(candidate[slot(t)]) for t in ordered)
    most = _MAX_SHOWN if others else _MAX_EXAMPLES
    if suite.given:  # the run's own ones come last, where they count most
        own = [task for task in ordered if task in suite.train][:most]
        ordered = [*[task for task in ordered if task not in suite.train][: most - len(own)], *own]
    return "\n".join(task.name for task in ordered[:most])


class OrderMove:
    """The move *order*: proposes other selections and orders of a candidate's examples, without a model.

    The order of the examples affects small models as much as their words do, and the last one affects them most.
    """

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator
        self._suite = evaluator.suite
        self._made = 0

    def propose(self, candidate: Candidate) -> dict[str, str]:
        """The component `order`, changed into one that no prompt had; empty if there is nothing to order."""
        names = [task.name for task in shown(candidate, self._suite)]
        if len(names) < 2:
            return {}
        for order in self._changes(names, [t.name for t in self._suite.showable if candidate[slot(t)]]):
            new = {ORDER: "\n".join(order)}
            if not self._evaluator.samples_of(prompt_of({**candidate, **new}, self._suite)):
                return new
        return {}

    def _changes(self, names: list[str], known: list[str]) -> Iterator[list[str]]:
        """Orders one change away; the kind of change rotates from proposal to proposal."""
        self._made += 1
        chance = random.Random(f"{self._evaluator.settings.seed}:{self._made}")
        for turn in range(8):
            kind = (self._made + turn) % 4
            one, other = chance.sample(range(len(names)), 2)
            order = list(names)
            if kind == 1:  # another last one
                order.append(order.pop(one))
            elif kind == 2 and len(names) > 3:
                del order[one]
            elif kind == 3:
                order[one], order[other] = order[other], order[one]
            elif missing := [name for name in known if name not in names]:
                order[one] = chance.choice(missing)
            else:
                chance.shuffle(order)
            yield order
