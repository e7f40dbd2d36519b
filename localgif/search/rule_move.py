"""The move *instruction*: adds one short rule, sharpens one, or drops one."""

from __future__ import annotations

from collections.abc import Sequence

from localgif.agent.graph import loops
from localgif.gif import feedback
from localgif.records import Sample
from localgif.search import reflector, reply_checks
from localgif.search.evaluator import INSTRUCTIONS, Candidate, Evaluator, prompt_of, rules_of, seed_of, with_rules
from localgif.search.reflector import Ledger
from localgif.tasks.task import Task

#: At most this many rules per prompt; one is dropped before another is added.
MAX_RULES = 4
#: Longest answer to a request for a rule, tokens.
RULE_TOKENS = 96


class InstructionMove:
    """Changes one rule, based on what was measured of the worst and the best sample."""

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
        if len(rules) >= MAX_RULES:
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
            read = reply_checks.rule(reply.text, reply.done_reason, rules, fixed, task.targets)
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
    if "\n" in text.strip() and reply_checks.labelled(text):
        return "closed"
    return "loop" if loops(text) else ""
