"""Grounded reflection: one small step at a time, each checked or measured before it may cost a metric call.

GEPA keeps parents, acceptance, the Pareto front and the budget; this module makes its proposals. There are three moves
(moves.py):

- *example*: a search over formulas and numbers finds programs without a model; where it fails, the reflector writes or
  repairs them. localgif measures each one; only a program that beats the present example enters the prompt.
- *order*: other examples, or another order. It asks no model, and is tried when no other move found anything.
- *instruction*: adds one short rule, sharpens one, or drops an old one.

The diagnosis chooses between *example* (there is no good example yet) and *instruction* (there is one, but the animator
doesn't follow it). A move that gained far more per token goes first. A move that finds nothing proposes nothing and
costs no metric call.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from localgif.endpoint.clients import Reflector
from localgif.records import Move, Proposal
from localgif.search import reflector as reflector_module
from localgif.search.evaluator import Candidate, Evaluator, prompt_of
from localgif.search.moves import ExampleMove, InstructionMove, OrderMove
from localgif.search.reflector import Ledger
from localgif.settings import TARGET
from localgif.tasks.task import Task

#: Assumed of a move before its first use: gain in score, tokens.
_PRIOR = (0.2, 1500)
#: The other move goes first when it gained this many times more per token.
_FAR_BETTER = 4
#: An animator follows its worked example when its samples score at most this much lower.
_FOLLOWS = 0.05


@dataclass
class _Payoff:
    """What a move gained and cost so far."""

    gain: float = 0.0
    tokens: int = 0

    @property
    def rate(self) -> float:
        """Gain per token, prior included."""
        return (self.gain + _PRIOR[0]) / (self.tokens + _PRIOR[1])


class GroundedReflector:
    """Makes GEPA's proposals; `settings.moves` says which moves are allowed."""

    def __init__(self, reflector: Reflector, evaluator: Evaluator) -> None:
        settings = evaluator.settings
        self.parent_prompt: str | None = None
        """The prompt of the last reflection; a child races against its samples."""
        self._evaluator = evaluator
        self._allowed = settings.moves
        self._suite = evaluator.suite
        self._goal = settings.target if settings.target is not None else TARGET
        background = reflector_module.facts(self._suite.targets) if settings.facts else ""
        self._ledger = Ledger(reflector, self._suite, evaluator.store, evaluator.progress)
        self._example = ExampleMove(evaluator, self._ledger, background, self._goal)
        self._instruction = InstructionMove(evaluator, self._ledger, background)
        self._order = OrderMove(evaluator)
        self._payoff: dict[Move, _Payoff] = {"example": _Payoff(), "instruction": _Payoff()}
        self._pending: tuple[Move, float] | None = None
        self._vain: Counter[str] = Counter()
        """Task -> reflections on it that found nothing."""

    @property
    def proposals(self) -> list[Proposal]:
        """All proposals so far, in order."""
        return self._ledger.proposals

    def propose(self, candidate: Candidate, names: Sequence[str]) -> tuple[dict[str, str], Move]:
        """Components with new texts (empty when nothing was found), and the move that made them.

        Args:
            candidate: The parent.
            names: Tasks to reflect on; the first one that the run trains on when empty.

        Raises:
            EndpointError, SandboxError, RunError: The endpoint, the sandbox or the run folder failed.
        """
        tasks = [self._suite.task(name) for name in dict.fromkeys(names)] or list(self._suite.train[:1])
        self._settle()
        prompt = self.parent_prompt = prompt_of(candidate, self._suite)
        # The task with the lowest score has most to gain, unless earlier reflections on it found nothing; of equal ones
        # the first of GEPA's minibatch.
        task = min(tasks, key=lambda each: (self._vain[each.name], self._evaluator.mean_of(prompt, [each])))
        move = self._choose(candidate, task)
        before = self._ledger.tokens
        new = (
            self._example.propose(candidate, task) if move == "example" else self._instruction.propose(candidate, tasks)
        )
        if not new and "example" in self._allowed:
            new = self._order.propose(candidate)
            if new:
                self._ledger.record_order(task, candidate, {**candidate, **new})
        child = {**candidate, **new}
        if new and self._evaluator.samples_of(prompt_of(child, self._suite)):
            # The same child again: GEPA rejected it because the animator doesn't follow the example. Say it as a rule.
            new = {**new, **self._instruction.propose(child, tasks)} if "instruction" in self._allowed else {}
            if self._evaluator.samples_of(prompt_of({**candidate, **new}, self._suite)):
                new = {}
        self._vain[task.name] += not new
        self._payoff[move].tokens += self._ledger.tokens - before
        if new:
            self._pending = (move, self._evaluator.best_mean())
        return new, move

    def _settle(self) -> None:
        """Credit the last proposal's move with its gain."""
        if self._pending is not None:
            move, before = self._pending
            self._payoff[move].gain += max(0.0, self._evaluator.best_mean() - before)
            self._pending = None

    def _choose(self, candidate: Candidate, task: Task) -> Move:
        """The move that the diagnosis asks for, unless the other one gained far more per token."""
        if len(self._allowed) == 1:
            return self._allowed[0]
        example = self._example.score_of(candidate, task)
        followed = self._evaluator.mean_of(prompt_of(candidate, self._suite), [task]) >= example - _FOLLOWS
        wanted: Move = "example" if example < self._goal or followed else "instruction"
        other: Move = "instruction" if wanted == "example" else "example"
        return other if self._payoff[other].rate > _FAR_BETTER * self._payoff[wanted].rate else wanted
