"""Reflection. `plain` is GEPA's stock reflection through LiteLLM, unchanged: the article's recipe and the control.

GEPA 0.1.4 swallows whatever a reflector raises and then returns the seed as if nothing had been found. So a failure of
the endpoint, of the sandbox or of the disk leaves a reflection as `Escape`, which is no Exception and therefore passes
through GEPA's net; the module that calls GEPA turns it back into the exception that it carries.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from localgif.config import ModelSettings
from localgif.endpoint.clients import Reply, reflector_arguments, reflector_failure
from localgif.records import Proposal
from localgif.runs.files import content_hash, now
from localgif.runs.store import RunStore
from localgif.search.answers import asked_once
from localgif.search.evaluate import sample_seed
from localgif.search.progress import Progress
from localgif.search.sight import split, written_down


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
