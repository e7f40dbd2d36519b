"""Grounded reflection: one small move at a time, each checked or measured before it may cost a metric call.

GEPA stays in charge of parents, acceptance, the Pareto front and the budget; this is its ReflectionLM (the seam
`reflection_strategy`). A reflection is one of two moves:

- *example*: programs are written anew or repaired by the reflector, taken from the animator's own samples, and given
  other numbers (tune.py); each is run and measured, and only one that beats the present example enters the prompt.
- *instruction*: one short rule is added or put in better words, or an old one is dropped.

Which one follows from what is wrong (no good example yet, or a good one that the animator does not follow) and from
what each has paid so far for its tokens. A move that yields nothing proposes nothing, and costs no metric call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from localgif.agent.graph import enough
from localgif.agent.repetition import loops
from localgif.config import TARGET, Settings
from localgif.endpoint.clients import Reflector, Reply
from localgif.errors import EndpointError
from localgif.gif import feedback
from localgif.records import Move, Proposal, Sample, Verdict
from localgif.runs.store import RunStore, now
from localgif.search import gate, requests
from localgif.search.candidate import EXAMPLE, INSTRUCTIONS, Candidate, prompt_of, rules_of, with_rules
from localgif.search.evaluate import Evaluator, sample_seed
from localgif.search.programs import Programs, Trial, canonical, foreign_imports
from localgif.search.progress import Progress
from localgif.search.reflect import ReflectorDown
from localgif.search.tune import tune

#: Programs asked for in one example move at most.
ATTEMPTS = 6
#: A program below this score is not worth other numbers or a repair: it hardly moves.
WORTH_TUNING = 0.3
#: Longest program and longest rule, tokens; a model that needs more is talking.
PROGRAM_TOKENS, RULE_TOKENS = 640, 96
#: Programs that are given other numbers between two requests.
TUNED = 1
#: What a program must score above the present example to replace it.
BEATS = 0.005
#: Rules that a prompt may have; beyond, one is dropped or put in better words.
MAX_RULES = 4
#: Assumed of a move that was never tried: gain in score, tokens.
_PRIOR = (0.2, 1500)


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
        store: RunStore,
        progress: Progress,
    ) -> None:
        self.proposals: list[Proposal] = []
        self._settings = settings
        self._reflector = reflector
        self._evaluator = evaluator
        self._programs = programs
        self._store = store
        self._progress = progress
        self._task = evaluator.task
        self._background = requests.facts(self._task) if settings.facts else ""
        self._goal = settings.target if settings.target is not None else TARGET
        self._pool: dict[str, Trial] = {}
        self._tuned: set[str] = set()
        self._payoff: dict[Move, _Payoff] = {"example": _Payoff(), "instruction": _Payoff()}
        self._pending: tuple[Move, float] | None = None
        self._asked = 0
        self.parent_prompt: str | None = None
        """The prompt that the last reflection started from: its samples are what a child races against."""

    def reflect(
        self,
        candidate: Candidate,
        reflective_dataset: Mapping[str, Sequence[Mapping[str, Any]]],
        components_to_update: list[str],
    ) -> tuple[Any, GroundedReflector]:
        """One proposal, or none (then GEPA goes on without paying for a candidate).

        Raises:
            ReflectorDown: the endpoint failed.
        """
        from gepa.proposer.reflective_mutation.reflection_lm import ReflectionProposal

        self._settle()
        self.parent_prompt = prompt_of(candidate, self._task)
        move = self._choose(candidate)
        before = sum(p.output_tokens for p in self.proposals)
        new = self._example(candidate) if move == "example" else self._instruction(candidate)
        self._payoff[move].tokens += sum(p.output_tokens for p in self.proposals) - before
        if new:
            self._pending = (move, self._evaluator.best_mean())
        return ReflectionProposal(new_texts=new, metadata={"move": move}), self

    # --- which move ----------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Credit the last proposal's move with what it brought."""
        if self._pending is not None:
            move, before = self._pending
            self._payoff[move].gain += max(0.0, self._evaluator.best_mean() - before)
            self._pending = None

    def _choose(self, candidate: Candidate) -> Move:
        """The move that the diagnostics ask for, unless the other one has paid far better for its tokens."""
        allowed = self._settings.moves
        if len(allowed) == 1:
            return allowed[0]
        example = self._example_score(candidate)
        followed = self._evaluator.mean_of(prompt_of(candidate, self._task))
        wanted: Move = "example" if example < self._goal or followed >= example - 0.05 else "instruction"
        other: Move = "instruction" if wanted == "example" else "example"
        return other if self._payoff[other].rate > 4 * self._payoff[wanted].rate else wanted

    def _example_score(self, candidate: Candidate) -> float:
        known = self._pool.get(candidate[EXAMPLE])
        return known.score.total if known else 0.0

    # --- move: example -------------------------------------------------------------------------------------------

    def _example(self, candidate: Candidate) -> dict[str, str]:
        followed = self._evaluator.mean_of(prompt_of(candidate, self._task))
        bar = max(self._example_score(candidate), followed) + BEATS
        self._harvest()
        best = self._improve(candidate, bar)
        remark, crashed = "", None
        for attempt in range(ATTEMPTS):
            if self._good(best):
                break
            # What just crashed is put right once; what is nearly good now and then; the rest are new beginnings, which
            # leave a bad idea behind where a repair keeps it.
            base = crashed or (self._repairable() if attempt % 3 == 2 else None)
            self._progress.activity(f"reflecting: {'repairing' if base else 'writing'} a program (try {attempt + 1})")
            request = (
                requests.repair_program(self._task, self._background, base.code, self._told(base))
                if base
                else requests.write_program(self._task, self._background, remark)
            )
            remark, trial = self._write_program(candidate, request, bar)
            crashed = trial if trial is not None and base is None and trial.rendered.gif is None else None
            best = self._improve(candidate, bar)
        return {EXAMPLE: best.code} if best is not None else {}

    def _write_program(self, candidate: Candidate, request: str, bar: float) -> tuple[str, Trial | None]:
        """Ask for a program, run it, and remember it.

        Returns:
            What the next request should say about a bad reply, and what became of the program.
        """
        reply = self._ask(request, enough, PROGRAM_TOKENS)
        read = gate.program(reply.text, reply.done_reason)
        if isinstance(read, gate.Rejected):
            self._record("example", candidate, request, reply, outcome="rejected", reason=read.code)
            return read.remedy, None
        code = canonical(read.code)
        assert code is not None  # the gate has parsed it
        known = self._pool.get(code)
        if known is not None:
            self._record("example", candidate, request, reply, outcome="rejected", reason="duplicate", trial=known)
            return "", None
        trial = self._trial(code)
        beats = trial.score.total >= bar
        child = {**candidate, EXAMPLE: code} if beats else None
        self._record("example", candidate, request, reply, outcome="measured", trial=trial, child=child)
        return "", trial

    def _trial(self, code: str) -> Trial:
        trial = self._programs.trial(code)
        self._pool[code] = trial
        return trial

    def _harvest(self) -> None:
        """The programs that the animator wrote during sampling are material too."""
        for sample in self._evaluator.samples:
            for attempt in sample.attempts:
                if attempt.verdict is not Verdict.OK or attempt.code is None or sample.purpose == "fresh":
                    continue
                code = canonical(self._store.code(attempt.code))
                if code is not None and code not in self._pool and not foreign_imports(code):
                    self._trial(code)

    def _improve(self, candidate: Candidate, bar: float) -> Trial | None:
        """Try other numbers in what is promising and new; the best program that beats the present example."""
        new = [t for t in self._pool.values() if t.moves and t.code not in self._tuned and not self._good(t)]
        for trial in sorted(new, key=lambda t: t.rank, reverse=True)[:TUNED]:
            if self._good(self._best()) or trial.score.total < WORTH_TUNING:
                break
            self._progress.activity(f"reflecting: other numbers for a program that scored {trial.score.total:.3f}")
            self._tuned.add(trial.code)
            found = tune(trial, self._trial, self._task.targets, self._goal)
            self._tuned.add(found.code)
            if found is not trial:
                child = {**candidate, EXAMPLE: found.code} if found.score.total >= bar else None
                self._record_tuning(candidate, trial, found, child)
        best = self._best()
        return best if best is not None and best.score.total >= bar else None

    def _best(self) -> Trial | None:
        return max(self._pool.values(), key=lambda t: t.rank, default=None)

    def _good(self, trial: Trial | None) -> bool:
        """Whether a program needs no more work."""
        return trial is not None and trial.score.total >= self._goal and not trial.flickers

    def _repairable(self) -> Trial | None:
        """The best program so far, when it is worth a repair."""
        best = self._best()
        return best if best is not None and best.score.total >= WORTH_TUNING and not self._good(best) else None

    # --- move: instruction ---------------------------------------------------------------------------------------

    def _instruction(self, candidate: Candidate) -> dict[str, str]:
        rules = rules_of(candidate)
        samples = self._evaluator.samples_of(prompt_of(candidate, self._task))
        worst, best = _extremes(samples)
        told_worst = self._sample_told(worst) if worst else "nothing was measured yet"
        told_best = self._sample_told(best) if best and best is not worst else ""
        if len(rules) >= MAX_RULES:
            # Full: drop the oldest rule, so that the next reflection has room. No model is needed for that.
            return {INSTRUCTIONS: with_rules(rules[1:])}
        sharpen = bool(rules) and self._asked % 2 == 1
        remark = ""
        for _ in range(2):
            request = (
                requests.sharpen_rule(self._task, self._background, rules[-1], told_worst, remark)
                if sharpen
                else requests.write_rule(self._task, self._background, rules, told_worst, told_best, remark)
            )
            self._progress.activity("reflecting: writing a rule")
            reply = self._ask(request, _one_line, RULE_TOKENS)
            fixed = prompt_of({INSTRUCTIONS: "", EXAMPLE: ""}, self._task)
            read = gate.rule(reply.text, reply.done_reason, rules, fixed, self._task.targets)
            if isinstance(read, gate.Rule):
                new = (*rules[:-1], read.text) if sharpen else (*rules, read.text)
                child = {**candidate, INSTRUCTIONS: with_rules(new)}
                self._record("instruction", candidate, request, reply, outcome="evaluated", child=child)
                return {INSTRUCTIONS: child[INSTRUCTIONS]}
            self._record("instruction", candidate, request, reply, outcome="rejected", reason=read.code)
            remark = read.remedy
        return {}

    def _sample_told(self, sample: Sample) -> str:
        return feedback.sample_feedback(
            self._task.brief,
            sample.measurements,
            sample.score,
            sample.verdict,
            sample.attempts[-1].reason,
            self._store.code(sample.code) if sample.code else "",
        )

    def _told(self, trial: Trial) -> str:
        r = trial.rendered
        return feedback.sample_feedback(self._task.brief, r.measurements, trial.score, r.verdict, r.reason, trial.code)

    # --- asking and recording ------------------------------------------------------------------------------------

    def _ask(self, request: str, finished: Callable[[str], str], longest: int) -> Reply:
        self._asked += 1
        # Other seeds than the samples', and a new one each time: the same request must not give the same answer.
        seed = sample_seed(self._settings.seed, -self._asked)
        try:
            return self._reflector.write(request, seed, finished, longest)
        except EndpointError as error:
            raise ReflectorDown(error) from error

    def _record(
        self,
        move: Move,
        parent: Candidate,
        request: str,
        reply: Reply,
        *,
        outcome: Any,
        reason: str = "",
        trial: Trial | None = None,
        child: Candidate | None = None,
    ) -> None:
        self._append(
            move=move,
            parent=self._hash(parent),
            child=self._hash(child) if child else None,
            outcome=outcome,
            reason=reason,
            code=self._store.put_code(trial.code) if trial else None,
            score=trial.score.total if trial else None,
            prompt=request,
            reply=reply.text,
            finish_reason=reply.done_reason,
            prompt_tokens=reply.prompt_tokens or 0,
            output_tokens=reply.output_tokens,
            llm_seconds=round(reply.seconds, 3),
        )

    def _record_tuning(self, parent: Candidate, start: Trial, found: Trial, child: Candidate | None) -> None:
        self._append(
            move="tune",
            parent=self._hash(parent),
            child=self._hash(child) if child else None,
            outcome="measured",
            code=self._store.put_code(found.code),
            score=found.score.total,
            prompt=f"other numbers for program {self._store.put_code(start.code)} (score {start.score.total})",
            reply="",
            finish_reason="stop",
            prompt_tokens=0,
            output_tokens=0,
            llm_seconds=0.0,
        )

    def _append(self, **fields: Any) -> None:
        proposal = Proposal(number=len(self.proposals) + 1, started=now(), **fields)
        self._store.append_proposal(proposal)
        self.proposals.append(proposal)
        self._progress.proposal(proposal)

    def _hash(self, candidate: Candidate) -> str:
        return self._store.put_candidate(prompt_of(candidate, self._task))


def _one_line(text: str) -> str:
    """A rule is one line: what comes after it is of no interest."""
    if "\n" in text.strip() and gate.labelled(text):
        return "closed"
    return "loop" if loops(text) else ""


def _extremes(samples: Sequence[Sample]) -> tuple[Sample | None, Sample | None]:
    """The worst and the best sample."""
    ordered = sorted(samples, key=lambda s: s.score.total)
    return (ordered[0], ordered[-1]) if ordered else (None, None)
