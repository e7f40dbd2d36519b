"""Grounded reflection: one small move at a time, each checked or measured before it may cost a metric call.

GEPA stays in charge of parents, acceptance, the Pareto front and the budget; this is its ReflectionLM (the seam
`reflection_strategy`). A reflection is one of two moves:

- *example* (example.py): programs are written anew or repaired by the reflector, taken from the animator's own samples,
  and given other numbers; each is run and measured, and only one that beats the present example enters the prompt.
- *instruction* (instruction.py): one short rule is added or put in better words, or an old one is dropped.

Which one follows from what is wrong (no good example yet, or a good one that the animator does not follow) and from
what each has paid so far for its tokens. A move that yields nothing proposes nothing, and costs no metric call.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from localgif.endpoint.clients import Reflector
from localgif.records import Move, Proposal
from localgif.search import reflector as reflector_module
from localgif.search.candidate import Candidate, prompt_of
from localgif.search.controls import escaping
from localgif.search.evaluator import TASK, Evaluator
from localgif.search.example_move import ExampleMove
from localgif.search.programs import Programs
from localgif.search.progress import Progress
from localgif.search.reflector import Ledger
from localgif.search.rule_move import InstructionMove
from localgif.search.sight import Sight
from localgif.settings import TARGET, Settings
from localgif.store.write import RunStore
from localgif.tasks.task import Task

#: Assumed of a move that was never tried: gain in score, tokens.
_PRIOR = (0.2, 1500)
#: A move is left for the other one when that has paid so many times more for its tokens.
_FAR_BETTER = 4
#: An animator whose samples are this far below its worked example does not follow it.
_FOLLOWS = 0.05


@dataclass
class _Payoff:
    """What a move has brought so far."""

    gain: float = 0.0
    tokens: int = 0

    @property
    def rate(self) -> float:
        """Gain per token, with the prior counted in."""
        return (self.gain + _PRIOR[0]) / (self.tokens + _PRIOR[1])


class GroundedReflector:
    """The ReflectionLM of grounded reflection.

    Args:
        settings: Of the run; `moves` says which moves are allowed.
        reflector: The model.
        evaluator: Knows every sample that was made.
        programs: Runs programs and remembers them.
        sight: Contact sheets for a reflector that can see.
        store: Where proposals are recorded.
        progress: Who is told.
    """

    #: GEPA asks for it; local tokens cost nothing.
    total_cost = 0.0

    def __init__(
        self,
        settings: Settings,
        reflector: Reflector,
        evaluator: Evaluator,
        programs: Programs,
        sight: Sight,
        store: RunStore,
        progress: Progress,
    ) -> None:
        self.parent_prompt: str | None = None
        """The prompt that the last reflection started from: its samples are what a child races against."""
        self._evaluator = evaluator
        self._allowed = settings.moves
        self._suite = evaluator.suite
        self._goal = settings.target if settings.target is not None else TARGET
        background = reflector_module.facts(self._suite.targets) if settings.facts else ""
        self._ledger = Ledger(settings, reflector, self._suite, store, progress)
        self._example = ExampleMove(evaluator, programs, self._ledger, sight, background, self._goal)
        self._instruction = InstructionMove(evaluator, self._ledger, sight, background)
        self._payoff: dict[Move, _Payoff] = {"example": _Payoff(), "instruction": _Payoff()}
        self._pending: tuple[Move, float] | None = None
        self._vain: Counter[str] = Counter()
        """Task -> reflections on it that led to nothing."""

    @property
    def proposals(self) -> list[Proposal]:
        """All answers so far, in order."""
        return self._ledger.proposals

    def reflect(
        self,
        candidate: Candidate,
        reflective_dataset: Mapping[str, Sequence[Mapping[str, Any]]],
        components_to_update: list[str],
    ) -> tuple[Any, GroundedReflector]:
        """One proposal, or none (then GEPA goes on without paying for a candidate).

        Raises:
            Escape: the endpoint or the sandbox failed, or the run folder cannot be written.
        """
        from gepa.proposer.reflective_mutation.reflection_lm import ReflectionProposal

        with escaping():
            new, move = self._reflect(candidate, self._tasks(reflective_dataset))
        return ReflectionProposal(new_texts=new, metadata={"move": move}), self

    def _reflect(self, candidate: Candidate, tasks: list[Task]) -> tuple[dict[str, str], Move]:
        """Components with new texts, and the move that found them."""
        self._settle()
        self.parent_prompt = prompt_of(candidate, self._suite)
        # Where most is to gain, but for what was tried in vain; of equal ones the first of GEPA's minibatch.
        task = min(
            tasks, key=lambda each: (self._vain[each.name], self._evaluator.mean_of(self.parent_prompt or "", [each]))
        )
        move = self._choose(candidate, task)
        before = self._ledger.tokens
        new = (
            self._example.propose(candidate, task) if move == "example" else self._instruction.propose(candidate, tasks)
        )
        child = {**candidate, **new}
        if new and self._evaluator.samples_of(prompt_of(child, self._suite)):
            # The same child again: GEPA did not accept it, since the animator does not follow it. So say it in a rule.
            new = {**new, **self._instruction.propose(child, tasks)} if "instruction" in self._allowed else {}
            if self._evaluator.samples_of(prompt_of({**candidate, **new}, self._suite)):
                new = {}
        self._vain[task.name] += not new
        self._payoff[move].tokens += self._ledger.tokens - before
        if new:
            self._pending = (move, self._evaluator.best_mean())
        return new, move

    def _tasks(self, reflective_dataset: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Task]:
        """The tasks of GEPA's minibatch; every component gets the same records."""
        records = next(iter(reflective_dataset.values()), ())
        names = dict.fromkeys(str(record[TASK]) for record in records if TASK in record)
        return [self._suite.task(name) for name in names] or list(self._suite.train[:1])

    def _settle(self) -> None:
        """Credit the last proposal's move with what it brought."""
        if self._pending is not None:
            move, before = self._pending
            self._payoff[move].gain += max(0.0, self._evaluator.best_mean() - before)
            self._pending = None

    def _choose(self, candidate: Candidate, task: Task) -> Move:
        """The move that the diagnostics ask for, unless the other one has paid far better for its tokens."""
        if len(self._allowed) == 1:
            return self._allowed[0]
        example = self._example.score_of(candidate, task)
        followed = self._evaluator.mean_of(prompt_of(candidate, self._suite), [task]) >= example - _FOLLOWS
        wanted: Move = "example" if example < self._goal or followed else "instruction"
        other: Move = "instruction" if wanted == "example" else "example"
        return other if self._payoff[other].rate > _FAR_BETTER * self._payoff[wanted].rate else wanted
