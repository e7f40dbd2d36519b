"""Asking the reflector, and writing down every answer before anything is made of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from localgif.config import Settings
from localgif.endpoint.clients import Reflector, Reply
from localgif.records import Move, Proposal
from localgif.runs.files import now
from localgif.runs.store import RunStore
from localgif.search.answers import asked_once
from localgif.search.candidate import Candidate, prompt_of
from localgif.search.evaluate import sample_seed
from localgif.search.programs import Trial
from localgif.search.progress import Progress
from localgif.search.sight import CAPTION, written_down
from localgif.task import Task
from localgif.tasks.suite import Suite


class Ledger:
    """The reflector's side of a run: each request, each answer, what it cost and what became of it.

    Args:
        settings: Of the run.
        reflector: The model.
        suite: What is drawn.
        store: Where proposals are recorded.
        progress: Who is told.
    """

    def __init__(
        self, settings: Settings, reflector: Reflector, suite: Suite, store: RunStore, progress: Progress
    ) -> None:
        self.proposals: list[Proposal] = []
        self.asked = 0
        """Requests so far."""
        self.store = store
        self.progress = progress
        self._run_seed = settings.seed
        self._reflector = reflector
        self._suite = suite
        self._shown: tuple[bytes, ...] = ()
        """The pictures of the last request."""

    @property
    def tokens(self) -> int:
        """Tokens that the reflector has written."""
        return sum(proposal.output_tokens for proposal in self.proposals)

    def ask(self, request: str, finished: Callable[[str], str], longest: int, images: Sequence[bytes] = ()) -> Reply:
        """One request, with the contact sheets that belong to it.

        Raises:
            EndpointError: the endpoint failed.
        """
        self.asked += 1
        self._shown = tuple(images)
        # Other seeds than the samples', and a new one each time: the same request must not give the same answer.
        seed = sample_seed(self._run_seed, -self.asked)
        text = self._captioned(request)
        return asked_once(
            self.store,
            self.progress,
            seed,
            (text, *self._shown),
            lambda: self._reflector.write(text, seed, finished, longest, self._shown),
        )

    def record(
        self,
        move: Move,
        task: Task,
        parent: Candidate,
        request: str,
        reply: Reply,
        *,
        outcome: Any,
        reason: str = "",
        trial: Trial | None = None,
        child: Candidate | None = None,
    ) -> None:
        """Write down the answer to the last request and what was made of it."""
        self._append(
            move,
            task,
            parent,
            child,
            trial,
            outcome=outcome,
            reason=reason,
            prompt=written_down(self._captioned(request), self._shown, self.store),
            reply=reply.text,
            finish_reason=reply.done_reason,
            prompt_tokens=reply.prompt_tokens or 0,
            output_tokens=reply.output_tokens,
            llm_seconds=round(reply.seconds, 3),
        )

    def _captioned(self, request: str) -> str:
        return CAPTION + request if self._shown else request

    def record_tuning(self, task: Task, parent: Candidate, start: Trial, found: Trial, child: Candidate | None) -> None:
        """Write down a program that a search over numbers found."""
        words = f"other numbers for program {self.store.put_code(start.code)} (score {start.score.total})"
        self._append("tune", task, parent, child, found, outcome="measured", prompt=words)

    def record_dropped(self, task: Task, parent: Candidate, rule: str, child: Candidate) -> None:
        """Write down that a rule was taken out to make room."""
        self._append("instruction", task, parent, child, None, outcome="evaluated", prompt=f"dropped the rule: {rule}")

    def _append(
        self, move: Move, task: Task, parent: Candidate, child: Candidate | None, trial: Trial | None, **fields: Any
    ) -> None:
        unasked = {
            "reply": "",
            "finish_reason": "stop",
            "prompt_tokens": 0,
            "output_tokens": 0,
            "llm_seconds": 0.0,
        }
        proposal = Proposal(
            number=len(self.proposals) + 1,
            started=now(),
            move=move,
            task=task.name,
            parent=self._hash(parent),
            child=self._hash(child) if child else None,
            code=self.store.put_code(trial.code) if trial else None,
            score=trial.score.total if trial else None,
            **{**unasked, **fields},
        )
        proposal = self.store.append_proposal(proposal)
        self.proposals.append(proposal)
        self.progress.proposal(proposal)

    def _hash(self, candidate: Candidate) -> str:
        return self.store.put_candidate(prompt_of(candidate, self._suite))
