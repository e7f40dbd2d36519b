"""A candidate as GEPA holds it (named texts) and as the animator reads it (one system prompt).

With grounded reflection a candidate has the component `instructions` (one rule per line) and one component per trained
task for a worked example, a whole program, empty at first. So GEPA can merge what two candidates found for different
tasks. The contract is not a component, so no proposal can change it. With plain reflection a candidate is one text.
"""

from __future__ import annotations

from localgif.agent import prompts
from localgif.agent.prompts import Example, Parts
from localgif.tasks.suite import Suite
from localgif.tasks.task import Task

INSTRUCTIONS = "instructions"

Candidate = dict[str, str]


def slot(task: Task) -> str:
    """The component with the worked example of a task."""
    return f"example {task.name}"


def seed_of(suite: Suite) -> Candidate:
    """What a grounded search starts from: the contract alone."""
    return {INSTRUCTIONS: "", **{slot(task): "" for task in suite.train}}


def rules_of(candidate: Candidate) -> tuple[str, ...]:
    """The rules of a candidate, in order."""
    return tuple(line for line in candidate[INSTRUCTIONS].splitlines() if line.strip())


def with_rules(rules: tuple[str, ...]) -> str:
    """The text of the component `instructions`."""
    return "\n".join(rules)


def prompt_of(candidate: Candidate | str, suite: Suite) -> str:
    """The whole system prompt of a candidate."""
    if isinstance(candidate, str):
        return candidate
    examples = tuple(Example(task.brief, candidate[slot(task)]) for task in suite.train if candidate[slot(task)])
    return prompts.render(suite.targets, Parts(rules_of(candidate), examples, others=suite.mode != "single"))
