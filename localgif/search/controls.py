"""The controls: GEPA's own reflection, and the best of all samples of the seed prompt."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from localgif.endpoint.clients import Reply, reflector_arguments, reflector_failure
from localgif.files import content_hash, now
from localgif.records import BestOf, Proposal, Sample, SearchEnd
from localgif.search.evaluator import Evaluator, sample_seed
from localgif.search.progress import Progress
from localgif.search.reflector import asked_once
from localgif.search.sight import split, written_down
from localgif.settings import ModelSettings, Settings
from localgif.store.write import RunStore
from localgif.tasks.task import Task


class EmptyReply(Exception):
    """The reflector said nothing: GEPA drops the proposal and goes on."""


class Escape(BaseException):
    """Carries an exception through GEPA's `except Exception`."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


@contextlib.contextmanager
def escaping() -> Iterator[None]:
    """Let what is raised inside a reflection through GEPA, but for an empty reply.

    Raises:
        Escape: with the exception.
    """
    try:
        yield
    except EmptyReply:
        raise
    except Exception as error:
        raise Escape(error) from error


class PlainReflector:
    """A language model as GEPA wants it, `(prompt) -> reply`, through gepa's own LM and a LiteLLM `ollama/...` string.

    Args:
        model: The reflector's settings.
        url: The endpoint's address.
        run_seed: Seed of the run; each reflection gets its own model seed from it.
        parent: Gives the candidate that is being reflected on.
        store: Where proposals are recorded.
        progress: Who is told.
    """

    #: GEPA would count tokens by string length without it; local tokens cost nothing.
    total_cost = 0.0

    def __init__(
        self,
        model: ModelSettings,
        url: str,
        run_seed: int,
        parent: Callable[[], str],
        store: RunStore,
        progress: Progress,
    ) -> None:
        from gepa.lm import LM

        self.proposals: list[Proposal] = []
        self._model = model
        self._url = url
        self._run_seed = run_seed
        self._parent = parent
        self._store = store
        self._progress = progress
        self._lm = LM(**reflector_arguments(model, url, progress.note))

    def __call__(self, prompt: str | list[dict[str, Any]]) -> str:
        """One reflection.

        Raises:
            Escape: the endpoint failed, or the run folder cannot be written.
            EmptyReply: the model gave an empty answer.
        """
        with escaping():
            return self._reflect(prompt)

    def _reflect(self, prompt: str | list[dict[str, Any]]) -> str:
        number = len(self.proposals) + 1
        self._store.doing(f"reflecting (proposal {number})")
        # Other seeds than the samples', and a new one each time: the same prompt must not give the same proposal.
        seed = self._lm.completion_kwargs["seed"] = sample_seed(self._run_seed, -number)
        started = now()
        text, pictures = split(prompt)
        answer = asked_once(self._store, self._progress, seed, (text, *pictures), lambda: self._ask(prompt))
        reply, written = answer.text, answer.output_tokens
        child = _proposed(reply)
        parent = self._parent()
        proposal = Proposal(
            number=number,
            parent=content_hash(parent),
            child=self._store.put_candidate(child) if child else None,
            outcome="empty" if not child else "unchanged" if child == parent else "evaluated",
            prompt=written_down(text, pictures, self._store),
            reply=reply,
            finish_reason=answer.done_reason,
            prompt_tokens=answer.prompt_tokens or 0,
            output_tokens=written,
            llm_seconds=answer.seconds,
            started=started,
        )
        proposal = self._store.append_proposal(proposal)
        self.proposals.append(proposal)
        self._progress.proposal(proposal)
        if not child:
            self._progress.note(f"proposal {number} is empty and was dropped")
            raise EmptyReply
        if proposal.finish_reason == "length":
            self._progress.note(f"proposal {number} was cut at num_predict = {self._model.num_predict} tokens")
        return reply

    def _ask(self, prompt: str | list[dict[str, Any]]) -> Reply:
        tokens_in, tokens_out = self._lm.total_tokens_in, self._lm.total_tokens_out
        clock = time.monotonic()
        try:
            text = self._lm(prompt) or ""
        except Exception as error:
            raise reflector_failure(self._model, self._url, error) from error
        written = self._lm.total_tokens_out - tokens_out
        # `ollama/` reports "stop" whatever happened, so the count decides.
        reason = "length" if written >= self._model.num_predict else "stop"
        return Reply(text, reason, self._lm.total_tokens_in - tokens_in, written, time.monotonic() - clock)


def _proposed(reply: str) -> str:
    """The candidate that GEPA's stock extractor will take from a reply."""
    from gepa.strategies.instruction_proposal import InstructionProposalSignature

    return InstructionProposalSignature.output_extractor(reply.strip())["new_instruction"]


def sample_only(prompt: str, evaluator: Evaluator, settings: Settings, store: RunStore) -> str:
    """Spend the budget on samples of one prompt, task by task in turns.

    Returns:
        Why it ended: "target" (each task has a sample that reaches it), "budget" or "minutes".

    Raises:
        EndpointError: the animator could not be reached any more.
        SandboxError: our sandbox failed.
    """
    tasks = evaluator.suite.train
    asked = 0
    while True:
        end = store.record.search_end
        reason = _reason(evaluator, settings, store)
        if end is not None:  # a run that goes on stops where it did, whatever the clock says
            reason = end.reason if asked >= end.asked else ""
        elif reason:
            store.update(search_end=SearchEnd(reason=reason, asked=asked))
        if reason:
            return reason
        evaluator.more(prompt, tasks[asked % len(tasks)])
        asked += 1


def _reason(evaluator: Evaluator, settings: Settings, store: RunStore) -> str:
    if settings.target is not None:
        best = [best_sample(evaluator.samples, task) for task in evaluator.suite.train]
        if all(sample is not None and sample.score.total >= settings.target for sample in best):
            return "target"
    if evaluator.samples_left <= 0:
        return "budget"
    timed = settings.minutes is not None and not store.journal.left
    return "minutes" if timed and store.elapsed() >= 60 * (settings.minutes or 0) else ""


def best_sample(samples: Sequence[Sample], task: Task) -> Sample | None:
    """The best search sample of a task, of equal ones the first; None when it has none."""
    mine = [sample for sample in samples if sample.task == task.name and sample.purpose == "search"]
    return max(mine, key=lambda sample: sample.score.total, default=None)


def best_of(samples: Sequence[Sample], tasks: Sequence[Task]) -> BestOf:
    """The best search sample of each task; a task without a sample has no entry."""
    found = [best for best in (best_sample(samples, task) for task in tasks) if best is not None]
    return BestOf(
        samples=sum(sample.purpose == "search" for sample in samples),
        tasks=tuple(sample.task for sample in found),
        scores=tuple(sample.score.total for sample in found),
        also=scores_by_rule(found),
        gifs=tuple(sample.gif for sample in found),
    )


def scores_by_rule(samples: Sequence[Sample]) -> dict[str, tuple[float, ...]]:
    """Name and version of each rule that the run did not optimise -> its scores; 0 for a sample without a GIF."""
    rules = sorted({score.scorer for sample in samples for score in sample.also})
    return {
        rule: tuple(next((s.total for s in sample.also if s.scorer == rule), 0.0) for sample in samples)
        for rule in rules
    }
