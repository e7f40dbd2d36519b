"""What happened in a run, told from its records: candidates, how each proposal came about, what became of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from localgif.records import Proposal, Purpose, Sample
from localgif.report.diff import Word, word_diff
from localgif.runs.read import StoredRun

_MOVES = {
    "prompt": "A new prompt from the reflector",
    "example": "A worked example from the reflector",
    "instruction": "A rule from the reflector",
    "tune": "Other numbers in a program",
}
_REASONS = {
    "empty": "the answer was empty",
    "loop": "the answer repeated itself",
    "thinking": "the answer held only thoughts",
    "cut_off": "the answer was cut off at the longest allowed length",
    "no_program": "the answer held no program",
    "syntax": "the program was not valid Python",
    "no_function": "the program had no function make_gif",
    "other_library": "the program imported what is not there",
    "function_for_rule": "code came where one sentence was asked for",
    "monologue": "the answer talked around the rule",
    "too_long": "the rule was too long",
    "no_rule": "the answer held no rule",
    "contradiction": "the rule contradicted the task",
    "duplicate": "it was there already",
    "unchanged": "it said nothing that was not there",
}


@dataclass
class Candidate:
    """A prompt of the run. Scores are 0 to 1; a list is empty when nothing was measured."""

    hash: str
    name: str
    """ "seed", or c1, c2, ... in order of appearance."""
    text: str | None
    """None when its file is missing."""
    parent: str | None
    """Name of the candidate that it was made from."""
    winner: bool = False
    samples: list[Sample] = field(default_factory=list)
    children: list[Candidate] = field(default_factory=list)
    made_by: int | None = None
    """Number of the proposal that made it."""

    def scores(self, *purposes: Purpose) -> list[float]:
        """Of its samples with these purposes, or of all."""
        return [s.score.total for s in self.samples if not purposes or s.purpose in purposes]

    @property
    def mean(self) -> float | None:
        """Over all its samples."""
        return mean(self.scores())


@dataclass(frozen=True)
class Step:
    """One proposal."""

    number: int
    title: str
    parent: str
    child: str | None
    kept: bool
    why: str
    diff: list[Word]
    """From the parent's text to the child's; empty when there is no child."""
    rule_or_program: str
    """The program that was measured."""
    request: str
    reply: str
    tokens: int
    seconds: float
    score: float | None


def mean(scores: Sequence[float]) -> float | None:
    """None for nothing."""
    return sum(scores) / len(scores) if scores else None


def seed_of(run: StoredRun) -> str | None:
    """Hash of the candidate that the run started from; None before the first sample."""
    if run.record.result is not None:
        return str(run.record.result["seed"]["candidate"])
    if run.samples:
        return run.samples[0].candidate
    return run.proposals[0].parent if run.proposals else None


def candidates_of(run: StoredRun, texts: dict[str, str | None]) -> dict[str, Candidate]:
    """Every prompt of the run by hash, the seed first, then in order of appearance.

    Args:
        run: The run.
        texts: Hash -> text, None for a file that is missing.
    """
    seed = seed_of(run)
    found: dict[str, Candidate] = {}

    def see(name: str, parent: str | None = None, made_by: int | None = None) -> None:
        if name not in found:
            label = "seed" if name == seed else f"c{len(found)}"
            known = found.get(parent) if parent else None
            found[name] = Candidate(name, label, texts.get(name), known.name if known else None, made_by=made_by)
            if known is not None:
                known.children.append(found[name])

    if seed is not None:
        see(seed)
    for proposal in run.proposals:
        see(proposal.parent)
        if proposal.child is not None:
            see(proposal.child, proposal.parent, proposal.number)
    for sample in run.samples:
        see(sample.candidate)
        found[sample.candidate].samples.append(sample)
    winner = _winner(run, found)
    if winner is not None:
        winner.winner = True
    return found


def _winner(run: StoredRun, found: dict[str, Candidate]) -> Candidate | None:
    """The result's best; without a result, the best mean so far, if it is not the seed's."""
    if run.record.result is not None:
        return found.get(str(run.record.result["best"]["candidate"]))
    ranked = [c for c in found.values() if c.scores("search")]
    best = max(ranked, key=lambda c: mean(c.scores("search")) or 0.0, default=None)
    return best if best is not None and best.name != "seed" else None


def steps_of(run: StoredRun, candidates: dict[str, Candidate], programs: dict[str, str | None]) -> list[Step]:
    """The proposals in order, each with what became of it."""
    steps = []
    for p in run.proposals:
        parent, child = candidates[p.parent], candidates[p.child] if p.child is not None else None
        kept, why = _why(p, parent, child)
        diff = word_diff(parent.text, child.text) if child and parent.text and child.text else []
        steps.append(
            Step(
                number=p.number,
                title=_MOVES[p.move],
                parent=parent.name,
                child=child.name if child else None,
                kept=kept,
                why=why,
                diff=diff,
                rule_or_program=(programs.get(p.code) or "") if p.code else "",
                request=p.prompt,
                reply=p.reply,
                tokens=p.output_tokens,
                seconds=p.llm_seconds,
                score=p.score,
            )
        )
    return steps


def _why(p: Proposal, parent: Candidate, child: Candidate | None) -> tuple[bool, str]:
    """Whether it was kept, and a sentence that says why."""
    if p.outcome in ("rejected", "empty", "unchanged"):
        code = p.reason or p.outcome
        measured = "" if p.score is None else f" (a program that had scored {p.score:.3f} before)"
        return False, f"Rejected: {_REASONS.get(code, code)}{measured}. It cost no metric call."
    if p.outcome == "measured" and p.score is not None:
        if child is None:
            return False, f"Not kept: its program scored {p.score:.3f}, no more than the example before it."
        text = f"Kept: its program scored {p.score:.3f}, more than the example before it"
        return True, text + _measured(child, parent)
    if child is None:
        return False, "Nothing came of it."
    own, before = mean(child.scores("search")), mean(parent.scores("search"))
    if own is None:
        return True, "Kept for the next step; it was not measured by itself."
    if before is None:
        return True, f"Measured: {own:.3f} in the search."
    if own > before:
        return True, f"Better than its parent in the search: {own:.3f} against {before:.3f}."
    return False, f"Not better than its parent in the search: {own:.3f} against {before:.3f}."


def _measured(child: Candidate, parent: Candidate) -> str:
    own, before = mean(child.scores("search")), mean(parent.scores("search"))
    if own is None:
        return "; a better one came before it was tried as a prompt."
    against = f" (its parent {before:.3f})" if before is not None else ""
    return f". As a prompt it scored {own:.3f} in the search{against}."
