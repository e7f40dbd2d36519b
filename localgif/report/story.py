"""What a run did, for its report: candidates, proposals, costs, and the verdict as a sentence."""

from __future__ import annotations

import difflib
import itertools
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple

from localgif.records import UNASKED, BestOf, Proposal, Purpose, RunResult, Sample
from localgif.report.plots import Band, Trace
from localgif.search.progress import counted
from localgif.store.read import StoredRun

#: Texts with more words together are not compared: the time grows with the product of their lengths.
_MAX_WORDS = 6_000

#: Unchanged words to show on each side of a change.
_CONTEXT = 12


class Word(NamedTuple):
    """A piece of a comparison of two texts."""

    kind: Literal["same", "added", "removed", "left out"]
    text: str


def _word_diff(before: str, after: str) -> list[Word]:
    """The changes between two texts: "same" and "removed" pieces give `before`, "same" and "added" ones give `after`.

    A piece "left out" replaces a long unchanged part. Empty if the texts are equal, or too long to compare.
    """
    old, new = _words(before), _words(after)
    if before == after or len(old) + len(new) > _MAX_WORDS:
        return []
    pieces: list[Word] = []
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    codes = matcher.get_opcodes()
    for place, (code, a, b, c, d) in enumerate(codes):
        if code == "equal":
            pieces += _shortened(old[a:b], first=place == 0, last=place == len(codes) - 1)
            continue
        if b > a:
            pieces.append(Word("removed", "".join(old[a:b])))
        if d > c:
            pieces.append(Word("added", "".join(new[c:d])))
    return pieces


def _words(text: str) -> list[str]:
    """The words of a text with their trailing space; a line break is a word too. Joined they give the text."""
    return re.findall(r"\n|[^\S\n]*[^\s]+[^\S\n]*|[^\S\n]+", text)


def _shortened(words: list[str], *, first: bool, last: bool) -> list[Word]:
    head, tail = (0 if first else _CONTEXT), (0 if last else _CONTEXT)
    if len(words) <= head + tail + _CONTEXT:
        return [Word("same", "".join(words))]
    left = sum(word != "\n" for word in words[head : len(words) - tail])
    pieces = [
        Word("same", "".join(words[:head])),
        Word("left out", f"{left:,} unchanged words"),
        Word("same", "".join(words[len(words) - tail :])),
    ]
    return [piece for piece in pieces if piece.text]


_MOVES = {
    "prompt": "A new prompt from the reflector",
    "example": "A worked example from the reflector",
    "instruction": "A rule from the reflector",
    "tune": "A search for better formulas and numbers",
    "order": "Another choice or order of the examples",
}

_REASONS = {
    "empty": "the answer was empty",
    "loop": "the answer repeated itself",
    "thinking": "the answer contained only thoughts",
    "cut_off": "the answer was cut off at the maximum length",
    "no_program": "the answer contained no program",
    "syntax": "the program was not valid Python",
    "no_function": "the program had no function make_gif",
    "other_library": "the program imported a library that is not available",
    "function_for_rule": "the answer was code, not one sentence",
    "monologue": "the answer discussed the rule instead of stating it",
    "too_long": "the rule was too long",
    "no_rule": "the answer contained no rule",
    "contradiction": "the rule contradicted the task",
    "duplicate": "the run had tried it already",
    "unchanged": "it changed nothing",
}


@dataclass
class Candidate:
    """A prompt of the run. Scores are 0 to 1."""

    hash: str
    name: str
    """ "seed", or c1, c2, ... in order of appearance."""
    text: str | None
    """None if its file is missing."""
    parent: str | None
    """Name of its parent."""
    winner: bool = False
    samples: list[Sample] = field(default_factory=list)
    """Samples of the run's tasks."""
    carried: list[Sample] = field(default_factory=list)
    """Samples of neighbouring tasks."""
    children: list[Candidate] = field(default_factory=list)
    made_by: int | None = None
    """Number of the proposal that made it."""
    change: str = ""
    """How it differs from its parent, and why, as a sentence."""

    def scores(self, *purposes: Purpose) -> list[float]:
        """The scores of its samples with these purposes; without arguments, of all its samples."""
        return [s.score.total for s in self.samples if not purposes or s.purpose in purposes]

    @property
    def mean(self) -> float | None:
        """The mean score of its samples; None without any."""
        return mean(self.scores())


class Step(NamedTuple):
    """A proposal and its outcome."""

    proposal: Proposal
    title: str
    parent: Candidate
    child: Candidate | None
    kept: bool
    why: str
    diff: list[Word]
    """The changes from the parent's text to the child's; empty without a child."""

    @property
    def same(self) -> tuple[object, ...]:
        """Equal for rejections that may be shown as one."""
        return (self.title, self.why) if self.child is None and not self.kept else (self.proposal.number,)


def mean(scores: Sequence[float]) -> float | None:
    """The mean; None without scores."""
    return sum(scores) / len(scores) if scores else None


def candidates_of(run: StoredRun, texts: dict[str, str | None]) -> dict[str, Candidate]:
    """Hash -> candidate, the seed prompt first, then in order of appearance; `texts` are their texts by hash."""
    result, found = run.record.result, dict[str, Candidate]()
    stored = [s.candidate for s in run.samples[:1]] + [p.parent for p in run.proposals[:1]]
    seed = result.seed.candidate if result is not None else next(iter(stored), None)

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
        of = found[sample.candidate]
        (of.carried if sample.purpose == "transfer" else of.samples).append(sample)
    ranked = [c for c in found.values() if c.scores("search")]
    so_far = max(ranked, key=lambda c: mean(c.scores("search")) or 0.0, default=None)
    winner = so_far if result is None else found.get(result.best.candidate)
    if winner is not None:
        winner.winner = result is not None or winner.name != "seed"
    return found


def steps_of(run: StoredRun, candidates: dict[str, Candidate]) -> list[Step]:
    """All proposals in order, each with its outcome; sets `change` of the candidates that they made."""
    steps = []
    for p in run.proposals:
        parent, child = candidates[p.parent], candidates[p.child] if p.child is not None else None
        diff = _word_diff(parent.text, child.text) if child and parent.text and child.text else []
        if child is not None and child.made_by == p.number:
            child.change = _change(p, parent, len(run.record.drawn) > 1)
        steps.append(Step(p, _MOVES[p.move], parent, child, *_why(p, parent, child), diff))
    return steps


def folded(steps: Iterable[Step]) -> list[list[Step]]:
    """The steps in groups; consecutive equal rejections are one group."""
    return [list(group) for _, group in itertools.groupby(steps, key=lambda step: step.same)]


def _change(p: Proposal, parent: Candidate, several: bool) -> str:
    """How a proposal's child differs from its parent, and why, as a sentence."""
    of = f" for {p.task}" if several and p.task else ""
    if p.move == "order":
        return "Shows other examples, or the same ones in another order, because no other step found an improvement."
    if p.move == "prompt":
        return f"A whole new prompt, which the reflector wrote after reading the samples of {parent.name}."
    if p.move == "instruction":
        if p.prompt.startswith(_DROPPED):
            return f'Drops the rule "{_shortened_rule(p.prompt[len(_DROPPED) :])}", to make room for another.'
        said = re.search(r"Rule:\s*(.+)", p.reply)
        rule = f' "{_shortened_rule(said[1])}"' if said else ""
        return f"Adds the rule{rule}, because of the worst sample of {parent.name}."
    source = "searched by localgif without a model" if p.move == "tune" else "written by the reflector"
    had = "Replaces the worked example" if parent.text and "```" in parent.text else "Adds a worked example"
    before = mean(parent.scores("search"))
    against = f", {parent.name} only {before:.3f}" if before is not None else ""
    scored = f"scored {p.score:.3f}{against}" if p.score is not None else "ran"
    return f"{had}{of}, {source}, because that program {scored}."


_DROPPED = "dropped the rule: "


def _shortened_rule(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 160 else text[:160] + "..."


def marked(text: str) -> list[tuple[bool, str]]:
    """A prompt as pieces (is a worked example, text); a worked example is a fenced block of code."""
    pieces = re.split(r"(^```[^\n]*\n.*?^```[^\n]*(?:\n|\Z))", text, flags=re.MULTILINE | re.DOTALL)
    return [(bool(place % 2), piece) for place, piece in enumerate(pieces) if piece]


def _why(p: Proposal, parent: Candidate, child: Candidate | None) -> tuple[bool, str]:
    """Whether a proposal was kept, and why, as a sentence."""
    if p.outcome in ("rejected", "empty", "unchanged"):
        code = p.reason or p.outcome
        measured = "" if p.score is None else f" (that program had scored {p.score:.3f})"
        return False, f"Rejected: {_REASONS.get(code, code)}{measured}. It cost no metric call."
    tried = p.outcome == "measured" and p.score is not None
    if child is None:
        if tried:
            return False, f"Not kept: its program scored {p.score:.3f}, which does not beat the current example."
        return False, "It did not lead to a new prompt."
    own, before = mean(child.scores("search")), mean(parent.scores("search"))
    if tried:
        text = f"Kept: its program scored {p.score:.3f}, more than the current example. "
        if own is None:
            return True, text + "A better program replaced it before this prompt was tried."
        against = f" (its parent {before:.3f})" if before is not None else ""
        return True, f"{text}The prompt with it scored {own:.3f} in the search{against}."
    if own is None:
        return True, "Kept for the next step; not measured on its own."
    if before is None:
        return True, f"Measured: {own:.3f} in the search."
    if own > before:
        return True, f"Better than its parent in the search: {own:.3f} against {before:.3f}."
    return False, f"Not better than its parent in the search: {own:.3f} against {before:.3f}."


_PHASES: tuple[tuple[str, Purpose], ...] = (
    ("search", "search"),
    ("re-test", "retest"),
    ("final", "fresh"),
    ("other tasks", "transfer"),
)


@dataclass(frozen=True)
class Phase:
    """A row of the table of costs; `model` and `sandbox` in seconds."""

    name: str
    requests: int
    tokens: int
    model: float
    sandbox: float

    @property
    def writer(self) -> str:
        """The role that wrote the tokens."""
        return "reflector" if self.name == "reflection" else "animator"

    @property
    def colour(self) -> str:
        """The name of its colour on the page."""
        return "other" if self.name == "reflection" else "best"


def phases_of(run: StoredRun) -> list[Phase]:
    """The costs of samples by purpose, then of the reflector."""
    rows = []
    for name, purpose in _PHASES:
        attempts = [a for s in run.samples if s.purpose == purpose for a in s.attempts]
        if attempts:
            rows.append(
                Phase(
                    name,
                    len(attempts),
                    sum(a.output_tokens for a in attempts),
                    math.fsum(a.llm_seconds for a in attempts),
                    math.fsum(a.sandbox_seconds for a in attempts),
                )
            )
    asked = [p for p in run.proposals if p.move not in UNASKED]
    if asked:
        tokens = sum(p.output_tokens for p in asked)
        seconds = math.fsum(p.llm_seconds for p in asked)
        # Number searches run many programs without samples, so reflection gets the rest of the sandbox time.
        known = run.record.result.seconds.sandbox if run.record.result else 0.0
        rest = max(0.0, known - sum(row.sandbox for row in rows))
        rows.append(Phase("reflection", len(asked), tokens, seconds, rest))
    return rows


def total_seconds(run: StoredRun) -> float | None:
    """Working time of a run, of an unfinished one up to its last record; None if unknown."""
    if run.record.result is not None:
        return run.record.result.seconds.total
    stored: list[Sample | Proposal] = [*run.samples, *run.proposals]
    times = [t for t in (worked(run, record) for record in stored) if t is not None]
    return 60 * max(times) if times else None


def worked(run: StoredRun, record: Sample | Proposal) -> float | None:
    """Minutes of work when a record was stored; None if unknown. Version 1 stored only the date and time; there it is
    the time since the start of the run."""
    if record.at is not None:
        return record.at / 60
    try:
        since = datetime.fromisoformat(record.started) - datetime.fromisoformat(run.record.started)
    except (ValueError, TypeError):
        return None
    return since.total_seconds() / 60


def noise_of(candidates: Iterable[Candidate], per_call: int, seed: Candidate | None) -> tuple[Band | None, str]:
    """The band where 95 % of metric calls of an unchanged seed prompt are expected, and a sentence about it.

    The standard deviation of single samples is pooled over all candidates with two or more. The mean of `per_call`
    samples has this deviation divided by sqrt(per_call). The band is clipped to 0 to 1, the range of scores.
    """
    from localgif.significance import pooled_deviation  # loads numpy, which `localgif show` does not need

    pooled = pooled_deviation([scores for c in candidates if (scores := c.scores())])
    if seed is None or (around := seed.mean) is None:
        return None, "The seed prompt is not measured yet."
    if pooled is None:
        return None, "No prompt has two samples, so the effect of chance is unknown."
    spread, _ = pooled
    half = 1.96 * spread / math.sqrt(max(1, per_call))
    calls = f"{per_call} sample{'s' if per_call != 1 else ''}"
    if half == 0:
        return Band(around, around), "All samples of a prompt scored the same, so the band has no width."
    text = (
        f"By chance alone, 95 % of the seed prompt's metric calls ({calls}) fall into the band: single samples of one "
        f"prompt have a standard deviation of {spread:.3f}. A call outside the band is probably not luck."
    )
    return Band(max(0.0, around - half), min(1.0, around + half)), text


def traces_of(run: StoredRun) -> tuple[Trace, Trace]:
    """The scores over metric calls, and over minutes of work."""
    calls, clock = Trace(), Trace()
    grouped: dict[int, list[Sample]] = {}
    for sample in run.samples:
        if sample.purpose == "transfer":
            continue
        at, score = worked(run, sample), sample.score.total
        if sample.metric_call is not None:
            calls.samples.append((sample.metric_call, score))
            grouped.setdefault(sample.metric_call, []).append(sample)
        if at is not None:
            (clock.samples if sample.metric_call is not None else clock.later).append((at, score))
    clock.programs = [
        (at, p.score) for p in run.proposals if p.score is not None and (at := worked(run, p)) is not None
    ]
    of: dict[str, list[float]] = {}
    best = -1.0
    for number, samples in sorted(grouped.items()):
        scores = [s.score.total for s in samples]
        of.setdefault(samples[0].candidate, []).extend(scores)
        at = worked(run, samples[-1])
        places = [(calls, float(number)), *([(clock, at)] if at is not None else [])]
        best_now = max(mean(seen) or 0.0 for seen in of.values())
        for trace, place in places:
            trace.means.append((place, sum(scores) / len(scores)))
            if best_now != best:
                trace.best.append((place, best_now))
        best = best_now
    return calls, clock


class PartRow(NamedTuple):
    """A candidate in the table of parts."""

    candidate: Candidate
    parts: list[float]
    front: bool
    """Whether it is on the Pareto front, as in `front`."""


def parts_of(candidates: Iterable[Candidate]) -> tuple[list[str], list[PartRow]]:
    """The names of the parts, and the means of each measured candidate; a sample without a GIF counts as 0."""
    measured = [c for c in candidates if c.samples]
    names = list(dict.fromkeys(part.name for c in measured for s in c.samples for part in s.score.parts))
    values = []
    for c in measured:
        by_sample = [{part.name: part.value for part in s.score.parts} for s in c.samples]
        values.append([sum(parts.get(name, 0.0) for parts in by_sample) / len(by_sample) for name in names])
    return names, [PartRow(*row) for row in zip(measured, values, front(values), strict=True)]


def front(points: Sequence[Sequence[float]]) -> list[bool]:
    """Whether each point is on the Pareto front: no other one is at least as good in every part and better in one."""

    def beats(one: Sequence[float], other: Sequence[float]) -> bool:
        return tuple(one) != tuple(other) and all(a >= b for a, b in zip(one, other, strict=True))

    return [not any(beats(other, own) for other in points) for own in points]


def most_telling(names: Sequence[str], rows: Sequence[PartRow]) -> tuple[int, int] | None:
    """The two parts to plot: two with different best candidates, else the two with the largest range; None if fewer
    than two differ between candidates."""
    spread = [max(column) - min(column) for column in zip(*(row.parts for row in rows), strict=True)]
    varied = sorted((i for i in range(len(names)) if spread and spread[i] > 0), key=lambda i: -spread[i])
    for i in varied:
        for j in varied:
            points = [(row.parts[i], row.parts[j]) for row in rows]
            if i < j and len(set(itertools.compress(points, front(points)))) > 1:
                return i, j
    return (varied[0], varied[1]) if len(varied) > 1 else None


def verdict_sentence(result: RunResult) -> str:
    """The verdict of a run in one or two sentences."""
    if result.best_of is not None:
        return _best_of_sentence(result.best_of)
    if result.best.is_seed:
        return "Verdict: no proposal beat the seed prompt, so the run keeps the seed prompt."
    verdict, best = result.verdict, result.best
    word = {
        "better": "the evolved prompt is better",
        "worse": "the evolved prompt is worse",
        "not shown": "no difference was shown",
    }[verdict.word]
    count = len(best.scores)
    if verdict.by_copying:
        what = "a program that draws the task" if result.mode == "single" else "programs from the prompt"
        text = f"Verdict: the evolved prompt makes the model copy {what} ({best.copies} of {count} samples). "
        text += f"The gain comes from copying: {_verdict_numbers(result)}."
    else:
        text = f"Verdict: {word} ({_verdict_numbers(result)})."
        if best.copies:
            text += f" Copies of a program in the evolved prompt: {best.copies} of {count} samples."
    if best.programs is not None and count > 1:
        kinds = f"{best.programs} different programs" if best.programs != 1 else "one program"
        text += f" Its {count} samples ran {kinds}."
    if verdict.smallest_possible_p_value > 0.05:
        if verdict.unit == "task":
            text += f" {verdict.tasks} tasks are too few to show a difference; it takes at least 6."
        else:
            count = (verdict.planned or verdict.pairs or len(result.seed.scores)) // verdict.tasks
            few = "1 fresh sample per prompt is" if count == 1 else f"{count} fresh samples per prompt are"
            text += f" {few} too few to show a difference; use --fresh 4 or more."
    return text


def _best_of_sentence(found: BestOf) -> str:
    """The result of a run without reflection as a sentence."""
    each = ", ".join(f"{task} {score:.3f}" for task, score in zip(found.tasks, found.scores, strict=True))
    return f"No prompt was evolved. Best of {counted(found.samples, 'sample')} of the seed prompt: {each or 'none'}."


def _verdict_numbers(result: RunResult) -> str:
    """Difference, interval, p, and what was resampled. Old runs have neither an interval nor a number of pairs."""
    verdict = result.verdict
    parts = [f"{verdict.difference:+.3f} on average"]
    if verdict.interval is not None and verdict.interval[0] < verdict.interval[1]:
        parts.append(f"95 % interval {verdict.interval[0]:+.3f} to {verdict.interval[1]:+.3f}")
    elif verdict.interval is not None:
        parts.append(f"the same in each {'pair' if verdict.unit == 'sample' else 'task'}")
    parts.append(f"p = {verdict.p_value:.3f}" if verdict.p_value >= 0.0005 else "p < 0.001")
    if verdict.pairs is None:
        parts.append(f"{len(result.seed.scores)} fresh samples each")
        return ", ".join(parts)
    early = verdict.planned is not None and verdict.pairs < verdict.planned
    made = f"{verdict.pairs} of {verdict.planned}" if early else f"{verdict.pairs}"
    if verdict.tasks == 1:
        parts.append(f"{made} pairs of fresh samples")
    else:
        by = "tasks" if verdict.unit == "task" else "pairs within each task"
        parts.append(f"{made} pairs of fresh samples of {verdict.tasks} tasks, {by} resampled")
    if early:
        parts.append("the others could not have changed the verdict")
    return ", ".join(parts)
