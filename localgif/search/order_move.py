"""The move *order*: which earned examples a prompt shows, in which order, and which one whole. It asks no model.

The order of the examples affects small models as much as their words do, and the last one affects them most.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from localgif.search.evaluator import ORDER, Candidate, Evaluator, prompt_of, shown, slot
from localgif.tasks.suite import Suite
from localgif.tasks.task import Task

#: At most this many examples per prompt.
MAX_EXAMPLES = 10


def first_order(candidate: Candidate, suite: Suite) -> str:
    """An order for all examples of a candidate: neighbours of different families, as far as there are several."""
    left = [task for task in suite.train if candidate[slot(task)]]
    ordered: list[Task] = []
    while left:
        used = [task.family for task in ordered]
        task = min(left, key=lambda each: (used.count(each.family), each.family in used[-1:]))
        left.remove(task)
        ordered.append(task)
    return "\n".join(task.name for task in ordered[:MAX_EXAMPLES])


class OrderMove:
    """Proposes other selections and orders of a candidate's examples."""

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator
        self._suite = evaluator.suite
        self._made = 0

    def propose(self, candidate: Candidate) -> dict[str, str]:
        """The component `order`, changed into one that no prompt had; empty if there is nothing to order."""
        names = [task.name for task in shown(candidate, self._suite)]
        if len(names) < 2:
            return {}
        for order in self._changes(names, [t.name for t in self._suite.train if candidate[slot(t)]]):
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
