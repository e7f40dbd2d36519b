"""The search: GEPA's optimize_anything, with its own or with grounded reflection, and the front that it leaves.

The only importer of gepa. How gepa 0.1.4 behaves: with a run_dir it would write pickles and replace sys.stdout, so it
gets none. An exception of the evaluator ends the run (raise_on_exception), but gepa swallows one of the reflector (see
`Escape`). Its own budget check overruns, so the evaluator keeps the budget.
"""

from __future__ import annotations

import base64
import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from localgif.endpoint.clients import reflector_arguments, reflector_failure
from localgif.files import content_hash, now
from localgif.records import Proposal, Reply, Sample
from localgif.search.evaluator import (
    TASK,
    Candidate,
    Evaluator,
    SideInfo,
    beats,
    mean_by_task,
    prompt_of,
    sample_seed,
    seed_of,
)
from localgif.search.grounded import GroundedReflector
from localgif.search.moves import OrderMove
from localgif.search.programs import split, written_down
from localgif.search.progress import CLOSE, FINALISTS, FRONT_SIZE
from localgif.search.reflector import asked_once
from localgif.tasks.task import Task

#: The search gives up after this many reflections in a row without a new measurement.
MAX_IDLE_REFLECTIONS = 5
#: Tasks per reflection in a run with several tasks.
MINIBATCH = 2
#: At most this many times GEPA merges two candidates.
MERGES = 5


class EmptyReply(Exception):
    """The reflector's reply was empty: GEPA drops the proposal and continues."""


class Escape(BaseException):
    """Carries an exception through GEPA's `except Exception`."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


@contextlib.contextmanager
def escaping() -> Iterator[None]:
    """Turn every exception except EmptyReply into an Escape."""
    try:
        yield
    except EmptyReply:
        raise
    except Exception as error:
        raise Escape(error) from error


class PlainReflector:
    """The reflector as GEPA's stock reflection calls it, prompt -> reply, through gepa's LM and LiteLLM."""

    #: Without it GEPA would count tokens by string length; local tokens cost nothing.
    total_cost = 0.0

    def __init__(self, url: str, evaluator: Evaluator) -> None:
        from gepa.lm import LM

        self.proposals: list[Proposal] = []
        self._url = url
        self._evaluator = evaluator
        self._store = evaluator.store
        self._progress = evaluator.progress
        self._model = evaluator.settings.reflector
        self._lm = LM(**reflector_arguments(self._model, url, self._progress.note))

    def __call__(self, prompt: str | list[dict[str, Any]]) -> str:
        """One reflection.

        Raises:
            Escape: The endpoint failed, or the run folder cannot be written.
            EmptyReply: The reply was empty.
        """
        with escaping():
            return self._reflect(prompt)

    def _reflect(self, prompt: str | list[dict[str, Any]]) -> str:
        number = len(self.proposals) + 1
        self._store.doing(f"reflecting (proposal {number})")
        # A new seed each time, never a sample's: the same prompt must not give the same proposal.
        seed = self._lm.completion_kwargs["seed"] = sample_seed(self._evaluator.settings.seed, -number)
        started = now()
        text, pictures = split(prompt)
        answer = asked_once(self._store, self._progress, seed, (text, *pictures), lambda: self._ask(prompt))
        child, parent = _proposed(answer.text), self._evaluator.last_prompt
        proposal = Proposal(
            number=number,
            parent=content_hash(parent),
            child=self._store.put("candidates", child) if child else None,
            outcome="empty" if not child else "unchanged" if child == parent else "evaluated",
            prompt=written_down(text, pictures, self._store),
            reply=answer.text,
            finish_reason=answer.done_reason,
            prompt_tokens=answer.prompt_tokens or 0,
            cached_tokens=answer.cached_tokens,
            output_tokens=answer.output_tokens,
            llm_seconds=answer.seconds,
            started=started,
        )
        proposal = self._store.append_proposal(proposal)
        self.proposals.append(proposal)
        self._progress.proposal(proposal)
        if not child:
            self._progress.note(f"proposal {number} is empty; GEPA drops it")
            raise EmptyReply
        if proposal.finish_reason == "length":
            self._progress.note(f"proposal {number} was cut off at num_predict = {self._model.num_predict} tokens")
        return answer.text

    def _ask(self, prompt: str | list[dict[str, Any]]) -> Reply:
        tokens_in, tokens_out = self._lm.total_tokens_in, self._lm.total_tokens_out
        began = time.monotonic()
        try:
            text = self._lm(prompt) or ""
        except Exception as error:
            raise reflector_failure(self._model, self._url, error) from error
        written = self._lm.total_tokens_out - tokens_out
        # `ollama/` always reports "stop", so the count decides.
        reason = "length" if written >= self._model.num_predict else "stop"
        return Reply(text, reason, self._lm.total_tokens_in - tokens_in, written, time.monotonic() - began)


def _proposed(reply: str) -> str:
    """The candidate that GEPA's stock extractor will take from a reply."""
    from gepa.strategies.instruction_proposal import InstructionProposalSignature

    return InstructionProposalSignature.output_extractor(reply.strip())["new_instruction"]


class _Grounded:
    """Grounded reflection as GEPA calls it (the seam `reflection_strategy`)."""

    total_cost = 0.0

    def __init__(self, reflector: GroundedReflector) -> None:
        self._reflector = reflector

    def reflect(
        self,
        candidate: Candidate,
        reflective_dataset: Mapping[str, Sequence[Mapping[str, Any]]],
        components_to_update: list[str],
    ) -> tuple[Any, _Grounded]:
        """One proposal; without new texts GEPA continues and spends no metric call.

        Raises:
            Escape: The endpoint or the sandbox failed, or the run folder cannot be written.
        """
        from gepa.proposer.reflective_mutation.reflection_lm import ReflectionProposal

        # Every component gets the same records: those of the tasks in GEPA's minibatch.
        records = next(iter(reflective_dataset.values()), ())
        with escaping():
            new, move = self._reflector.propose(candidate, [str(record[TASK]) for record in records if TASK in record])
        return ReflectionProposal(new_texts=new, metadata={"move": move}), self


class _Log:
    """GEPA's own log, gepa/log.txt. A resumed run starts it again. A failed write, as on a full disk, is ignored."""

    def __init__(self, path: Path) -> None:
        with contextlib.suppress(OSError):
            path.parent.mkdir(exist_ok=True)
            path.unlink(missing_ok=True)
        self._path = path

    def log(self, message: str) -> None:
        with contextlib.suppress(OSError), self._path.open("a", encoding="utf-8", errors="replace") as file:
            file.write(f"{message}\n")


class _Stop:
    """Ends the search: target held, budget spent, time over, or too many reflections without a new measurement."""

    def __init__(self, evaluator: Evaluator) -> None:
        self.reason = ""
        self._evaluator = evaluator
        self._settings = evaluator.settings
        self._store = evaluator.store
        self._asked = 0
        self._last_spent = 0
        self._idle = 0

    def __call__(self, gepa_state: Any) -> bool:
        self._asked += 1
        timed = self._store.record.search_end is None and not self._store.journal.left
        self.reason = self._store.search_end(self._asked, self._reason(timed=timed))
        return bool(self.reason)

    def _reason(self, *, timed: bool) -> str:
        """Why to stop now, or "". `timed`: whether the clock counts; it doesn't while stored work is replayed."""
        spent = self._evaluator.spent
        self._idle = 0 if spent > self._last_spent else self._idle + 1
        self._last_spent = spent
        minutes = self._settings.minutes
        if self._holds_target():
            return "target"
        if self._evaluator.remaining <= 0:
            return "budget"
        if timed and minutes is not None and self._store.elapsed() >= 60 * minutes:
            return "minutes"
        return "idle" if self._idle > MAX_IDLE_REFLECTIONS else ""

    def _holds_target(self) -> bool:
        """Whether the best candidate reaches the target in the search, and again in the re-test."""
        target, ranked = self._settings.target, self._evaluator.ranking()
        if target is None or not ranked or self._evaluator.mean_of(ranked[0]) < target:
            return False
        return mean_by_task(self._evaluator.retest(ranked[0], self._settings.samples)) >= target


class _Paired:
    """GEPA's acceptance criterion: a child must beat its parent on the tasks and sample indices that both have."""

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator

    def should_accept(self, proposal: Any, state: Any) -> bool:
        parent = state.program_candidates[proposal.parent_program_ids[0]]
        return beats(self._by_index(proposal.candidate), self._by_index(parent))

    def reject_reason(self, proposal: Any, state: Any) -> str:
        """For GEPA's log."""
        return "not better than its parent on the samples that both have"

    def _by_index(self, candidate: Candidate) -> dict[tuple[str, int], float]:
        prompt = prompt_of(candidate, self._evaluator.suite)
        return {(s.task, s.index): s.score.total for s in self._evaluator.samples_of(prompt)}


def search_plain(seed_prompt: str, evaluator: Evaluator, reflector: PlainReflector) -> tuple[str, str]:
    """Evolve the seed prompt with GEPA's stock reflection; the candidate is one bare text.

    Returns:
        The best candidate by GEPA's choice, and why the search ended: "target", "budget", "minutes" or "idle".

    Raises:
        EndpointError: A model could no longer be reached.
        SandboxError: The sandbox failed.
    """
    from gepa.optimize_anything import ReflectionConfig

    best, ended = _run(
        seed_prompt,
        evaluator.metric_call,
        evaluator,
        objective=evaluator.suite.objective,
        reflection=ReflectionConfig(reflection_lm=reflector),
    )
    assert isinstance(best, str)  # the seed is a bare string, so GEPA returns one
    return best, ended


def search_grounded(evaluator: Evaluator, reflector: GroundedReflector) -> tuple[str, str]:
    """Evolve rules and worked examples below the contract; see grounded.py.

    Returns:
        The prompt that won the re-test, and why the search ended, as for search_plain.

    Raises:
        EndpointError: A model could no longer be reached.
        SandboxError: The sandbox failed.
    """
    from gepa.optimize_anything import ReflectionConfig

    suite = evaluator.suite

    def measure(candidate: Candidate, task: Task) -> tuple[float, SideInfo]:
        prompt = prompt_of(candidate, suite)
        evaluator.candidates[prompt] = candidate
        return evaluator.metric_call(prompt, task, reflector.parent_prompt)

    _, ended = _run(
        seed_of(suite),
        measure,
        evaluator,
        # The moves write their own requests, so GEPA's template is never rendered.
        reflection=ReflectionConfig(
            reflection_lm=None,
            reflection_prompt_template=None,
            reflection_strategy=_Grounded(reflector),
            module_selector="all",
        ),
        acceptance=_Paired(evaluator),
    )
    # A candidate that held the target has been re-tested already.
    best = evaluator.ranking()[0] if ended == "target" else _winner(evaluator)
    if suite.mode == "general":
        _widen(evaluator, best)
    return best, ended


def _winner(evaluator: Evaluator) -> str:
    """The best of the leading candidates on new samples, because luck decides among the old ones."""
    ranked = evaluator.ranking()
    close = [p for p in ranked[:FINALISTS] if evaluator.mean_of(p) >= evaluator.mean_of(ranked[0]) - CLOSE]
    if len(close) == 1:
        return close[0]
    means = {prompt: mean_by_task(evaluator.retest(prompt, evaluator.settings.samples)) for prompt in close}
    return max(close, key=lambda prompt: means[prompt])  # of equal ones the better ranked


def _run(
    seed: str | Candidate,
    measure: Callable[[Any, Task], tuple[float, SideInfo]],
    evaluator: Evaluator,
    *,
    reflection: Any,
    objective: str | None = None,
    acceptance: Any = "strict_improvement",
) -> tuple[Any, str]:
    """Run GEPA; returns its best candidate, and why the search ended."""
    from gepa.optimize_anything import EngineConfig, GEPAConfig, MergeConfig, TrackingConfig, optimize_anything

    suite = evaluator.suite
    stop = _Stop(evaluator)
    several: dict[str, Any] = {}
    merge = None
    if suite.mode != "single":
        reflection.reflection_minibatch_size = min(MINIBATCH, len(suite.train))
        several["dataset"] = [task.name for task in suite.train]
        if suite.mode == "general":
            several["valset"] = [task.name for task in suite.val]
        if not isinstance(seed, str):  # a bare text has no components to merge
            merge = MergeConfig(max_merge_invocations=MERGES, merge_val_overlap_floor=min(5, len(suite.val)))
    config = GEPAConfig(
        engine=EngineConfig(
            seed=evaluator.settings.seed,
            parallel=False,
            max_workers=1,
            use_cloudpickle=False,
            raise_on_exception=True,
            acceptance_criterion=acceptance,
        ),
        reflection=reflection,
        merge=merge,
        tracking=TrackingConfig(logger=_Log(evaluator.store.folder / "gepa" / "log.txt")),
        stop_callbacks=[stop],
    )

    # GEPA looks at parameter names: without a dataset there must be no `example`.
    def evaluate_one(candidate: Any) -> tuple[float, SideInfo]:
        return _with_images(*measure(candidate, suite.train[0]))

    def evaluate_any(candidate: Any, example: str) -> tuple[float, SideInfo]:
        return _with_images(*measure(candidate, suite.task(example)))

    evaluate = evaluate_any if several else evaluate_one
    try:
        result = optimize_anything(
            seed_candidate=seed, evaluator=evaluate, objective=objective, config=config, **several
        )
    except Escape as escape:
        raise escape.error from escape
    return result.best_candidate, stop.reason


def _with_images(score: float, info: SideInfo) -> tuple[float, SideInfo]:
    """The score and the side info, PNGs as GEPA's images."""
    from gepa.image import Image

    def shown(value: Any) -> Any:
        if not isinstance(value, bytes):
            return value
        return Image(base64_data=base64.b64encode(value).decode("ascii"), media_type="image/png")

    return score, {key: shown(value) for key, value in info.items()}


# --- the front --------------------------------------------------------------------------------------------------------

#: A prompt joins the front if its mean is at most this far below the best one's; a worse one rarely helps.
_WITHIN = 0.25


def front(evaluator: Evaluator, best: str) -> list[str]:
    """The best prompt on average, then those that add most to it: each raises the mean of the best scores per task.

    One prompt cannot be the best at everything. All are asked for the same drawing; the best measured answer is kept.
    """
    chosen = [best]
    left = [p for p in evaluator.ranking() if p != best and evaluator.mean_of(p) >= evaluator.mean_of(best) - _WITHIN]
    while left and len(chosen) < FRONT_SIZE:
        # Of equal ones the better ranked; a prompt that adds nothing here may help with what was not measured.
        chosen.append(max(left, key=lambda prompt: _together(evaluator, [*chosen, prompt])))
        left.remove(chosen[-1])
    return chosen


def _together(evaluator: Evaluator, prompts: Sequence[str]) -> float:
    """Mean over validation tasks of the best mean of any of these prompts."""
    tasks = evaluator.suite.val
    return math.fsum(max(evaluator.mean_of(p, [task]) for p in prompts) for task in tasks) / len(tasks)


def _widen(evaluator: Evaluator, best: str) -> None:
    """Measure other orders of the best prompt's examples, so that the front of a general run has several prompts.

    Raises:
        EndpointError, SandboxError, RunError: As for any metric call.
    """
    candidate = evaluator.candidates.get(best)
    moves = OrderMove(evaluator)
    while candidate is not None and len(front(evaluator, best)) < FRONT_SIZE and evaluator.samples_left > 0:
        new = moves.propose(candidate)
        if not new:
            return
        other = {**candidate, **new}
        prompt = prompt_of(other, evaluator.suite)
        evaluator.candidates[prompt] = other
        for task in evaluator.suite.val:
            evaluator.metric_call(prompt, task)


# --- the control without reflection -----------------------------------------------------------------------------------


def sample_only(prompt: str, evaluator: Evaluator) -> str:
    """Spend the budget on samples of one prompt; the tasks take turns.

    Returns:
        Why it ended: "target" (each task has a sample that reaches it), "budget" or "minutes".

    Raises:
        EndpointError: The animator could no longer be reached.
        SandboxError: The sandbox failed.
    """
    tasks, store = evaluator.suite.train, evaluator.store
    asked = 0
    while True:
        if reason := store.search_end(asked, _why_over(evaluator)):
            return reason
        evaluator.more(prompt, tasks[asked % len(tasks)])
        asked += 1


def _why_over(evaluator: Evaluator) -> str:
    settings, store = evaluator.settings, evaluator.store
    if settings.target is not None:
        best = [best_sample(evaluator.samples, task) for task in evaluator.suite.train]
        if all(sample is not None and sample.score.total >= settings.target for sample in best):
            return "target"
    if evaluator.samples_left <= 0:
        return "budget"
    minutes = settings.minutes
    over = minutes is not None and not store.journal.left and store.elapsed() >= 60 * minutes
    return "minutes" if over else ""


def best_sample(samples: Sequence[Sample], task: Task) -> Sample | None:
    """The best search sample of a task, the first of equal ones; None without a sample."""
    mine = [sample for sample in samples if sample.task == task.name and sample.purpose == "search"]
    return max(mine, key=lambda sample: sample.score.total, default=None)
