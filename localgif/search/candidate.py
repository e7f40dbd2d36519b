"""A candidate as GEPA holds it (named texts) and as the animator reads it (one system prompt).

With grounded reflection a candidate has two components: `instructions`, one rule a line, and `example`, a whole
program. The contract is no component, so no proposal can touch it. With plain reflection a candidate is one bare text.
"""

from __future__ import annotations

from localgif.agent import prompts
from localgif.agent.prompts import Parts
from localgif.task import Task

INSTRUCTIONS = "instructions"
EXAMPLE = "example"

Candidate = dict[str, str]

#: What a grounded search starts from: the contract alone.
SEED: Candidate = {INSTRUCTIONS: "", EXAMPLE: ""}


def rules_of(candidate: Candidate) -> tuple[str, ...]:
    """The rules of a candidate, in order."""
    return tuple(line for line in candidate[INSTRUCTIONS].splitlines() if line.strip())


def with_rules(rules: tuple[str, ...]) -> str:
    """The text of the component `instructions`."""
    return "\n".join(rules)


def prompt_of(candidate: Candidate | str, task: Task) -> str:
    """The whole system prompt of a candidate."""
    if isinstance(candidate, str):
        return candidate
    return prompts.render(task.targets, Parts(rules_of(candidate), candidate[EXAMPLE], task.brief))
