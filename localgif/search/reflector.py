"""The reflector: its requests, each asked once, and its answers, each recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from typing import Any

from localgif.endpoint.clients import Reflector
from localgif.files import content_hash, now
from localgif.records import Move, Proposal, Reply
from localgif.search.evaluator import Candidate, prompt_of, sample_seed
from localgif.search.programs import CAPTION, Trial, written_down
from localgif.search.progress import Progress
from localgif.store.log import Answer
from localgif.store.write import RunStore
from localgif.tasks.suite import Suite
from localgif.tasks.task import Targets, Task


def asked_once(
    store: RunStore, progress: Progress, seed: int, request: Sequence[str | bytes], ask: Callable[[], Reply]
) -> Reply:
    """The answer to a request: the stored one, else a new one, stored before it is returned.

    Args:
        request: Text and pictures.
        ask: Asks the model.

    Raises:
        EndpointError: The endpoint failed.
        RunMismatch: The stored run did something else at this point.
    """
    name = content_hash("\n".join(content_hash(part) for part in request))
    answer = store.known_answer(seed, name)
    if answer is None:
        store.journal.new_work("a question to the reflector")
        progress.replay(False)
        started = now()
        reply = ask()
        answer = Answer(
            seed=seed,
            request=name,
            text=reply.text,
            done_reason=reply.done_reason,
            prompt_tokens=reply.prompt_tokens,
            cached_tokens=reply.cached_tokens,
            output_tokens=reply.output_tokens,
            seconds=round(reply.seconds, 3),
            started=started,
            at=store.elapsed(),
        )
        store.append(answer)
    counts = answer.prompt_tokens, answer.output_tokens
    return Reply(answer.text, answer.done_reason, *counts, answer.seconds, answer.cached_tokens)


def facts(targets: Targets) -> str:
    """The background facts with the targets' numbers, one per line."""
    text = resources.files(__package__).joinpath("facts.txt").read_text(encoding="utf-8")
    return text.format(frames=targets.frames, delay_ms=targets.delay_ms).strip()


def _known(background: str) -> str:
    known = "".join(f"- {line}\n" for line in background.splitlines())
    return f"Facts about Pillow and GIFs:\n{known}\n" if known else ""


def _opening(task: Task, background: str) -> str:
    return f"{_known(background)}Animation: {task.brief}.\n"


def _order(task: Task) -> str:
    t = task.targets
    return (
        f"It must save exactly {t.frames} frames, one loop of about {t.loop_ms / 1000:g} s that closes without a "
        f"jump, under {t.max_bytes // 1024} KB. Use only Pillow and the standard library. At most 40 lines, no "
        "comments. Answer with one ```python block and nothing else."
    )


def write_program(task: Task, background: str, remark: str = "") -> str:
    """The request for a new program."""
    return (
        f"{_opening(task, background)}\nWrite a Python program with one function make_gif(path) that draws this "
        f"animation and saves it as a GIF to path. {_order(task)}{_said(remark)}"
    )


def adapt_program(task: Task, background: str, other: Task, code: str) -> str:
    """The request for a program modelled on one that draws another animation well."""
    return (
        f"{_known(background)}This program draws another animation, {other.brief}, and is good:\n"
        f"```python\n{code.strip()}\n```\n\nAnimation: {task.brief}.\nWrite a program for this animation in the same "
        f"form: one function make_gif(path), changed in what is drawn and how it moves. {_order(task)}"
    )


def repair_program(task: Task, background: str, code: str, feedback: str) -> str:
    """The request for a corrected program, with what was measured."""
    return (
        f"{_opening(task, background)}\nThis program was run:\n```python\n{code.strip()}\n```\n"
        f"What was measured:\n{feedback}\n\nWrite the whole program again with this put right: one function "
        f"make_gif(path). {_order(task)}"
    )


def write_rule(
    suite: Suite,
    task: Task,
    background: str,
    rules: Sequence[str],
    worst: str,
    best: str,
    standing: Mapping[str, float],
    remark: str = "",
) -> str:
    """The request for one more rule.

    Args:
        suite: The tasks of the run.
        task: The task of the worst program.
        background: Facts.
        rules: The rules of the prompt.
        worst: What was measured of the worst program.
        best: What was measured of the best one, or "".
        standing: Brief -> mean score, for the measured tasks.
        remark: What was wrong with the last answer.
    """
    present = "".join(f"{number}. {text}\n" for number, text in enumerate(rules, 1)) or "none yet\n"
    return (
        f"{_animations(suite, task, background, standing)}\nA small model writes a Pillow program for "
        f"{'this animation' if suite.mode == 'single' else 'each of them'}. "
        f"The rules that it was given:\n{present}\n"
        f"Its worst program:\n{worst}\n\n"
        + (f"Its best program:\n{best}\n\n" if best else "")
        + "Write one new rule for the model, one sentence of at most 25 words, in English, no code, that avoids the "
        + f"worst problem{'' if suite.mode == 'single' else ' and is right for every animation'}. "
        + f'Answer with one line that begins with "Rule:".{_said(remark)}'
    )


def sharpen_rule(
    suite: Suite,
    task: Task,
    background: str,
    old: str,
    worst: str,
    standing: Mapping[str, float],
    remark: str = "",
) -> str:
    """The request for one rule in better words; arguments as for write_rule."""
    return (
        f"{_animations(suite, task, background, standing)}\nA small model writes a Pillow program for "
        f"{'this animation' if suite.mode == 'single' else 'each of them'}. It was given this "
        f"rule:\n{old}\n\nStill its worst program had this problem:\n{worst}\n\nWrite the rule again, more exact, one "
        f'sentence of at most 25 words, no code. Answer with one line that begins with "Rule:".{_said(remark)}'
    )


def _animations(suite: Suite, task: Task, background: str, standing: Mapping[str, float]) -> str:
    """The animation; with several tasks the measured ones, each with its score."""
    if suite.mode == "single":
        return _opening(task, background)
    lines = "".join(f"- {brief}: {score:.2f} of 1\n" for brief, score in standing.items())
    return f"{_known(background)}Animations, and how well the programs for them did:\n{lines}"


def _said(remark: str) -> str:
    return f"\n{remark}" if remark else ""


class Ledger:
    """The reflector's side of a run: each request, its answer, its cost and its outcome."""

    def __init__(self, reflector: Reflector, suite: Suite, store: RunStore, progress: Progress) -> None:
        self.proposals: list[Proposal] = []
        self.asked = 0
        """Requests so far."""
        self.store = store
        self.progress = progress
        self._reflector = reflector
        self._suite = suite
        self._shown: tuple[bytes, ...] = ()
        """The pictures of the last request."""

    @property
    def tokens(self) -> int:
        """Tokens that the reflector wrote."""
        return sum(proposal.output_tokens for proposal in self.proposals)

    def ask(self, request: str, finished: Callable[[str], str], longest: int, images: Sequence[bytes] = ()) -> Reply:
        """The answer to one request with its contact sheets.

        Raises:
            EndpointError: The endpoint failed.
        """
        self.asked += 1
        self._shown = tuple(images)
        # A new seed each time, never a sample's: the same request must not give the same answer.
        seed = sample_seed(self.store.settings.seed, -self.asked)
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
        """Store the answer to the last request and its outcome."""
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
            cached_tokens=reply.cached_tokens,
            output_tokens=reply.output_tokens,
            llm_seconds=round(reply.seconds, 3),
        )

    def _captioned(self, request: str) -> str:
        return CAPTION + request if self._shown else request

    def record_search(self, task: Task, parent: Candidate, start: Trial, found: Trial, child: Candidate | None) -> None:
        """Store a program that a search over formulas or numbers found."""
        words = (
            f"other formulas or numbers for program {self.store.put('code', start.code)} (score {start.score.total})"
        )
        self._append("tune", task, parent, child, found, outcome="measured", prompt=words)

    def record_dropped(self, task: Task, parent: Candidate, rule: str, child: Candidate) -> None:
        """Store that a rule was dropped to make room."""
        self._append("instruction", task, parent, child, None, outcome="evaluated", prompt=f"dropped the rule: {rule}")

    def record_order(self, task: Task, parent: Candidate, child: Candidate) -> None:
        """Store another choice or order of examples."""
        self._append("order", task, parent, child, None, outcome="evaluated", prompt="other examples or another order")

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
            code=self.store.put("code", trial.code) if trial else None,
            score=trial.score.total if trial else None,
            **{**unasked, **fields},
        )
        proposal = self.store.append_proposal(proposal)
        self.proposals.append(proposal)
        self.progress.proposal(proposal)

    def _hash(self, candidate: Candidate) -> str:
        return self.store.put("candidates", prompt_of(candidate, self._suite))
