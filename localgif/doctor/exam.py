"""Exams of both roles: three small questions for the reflector, one sample of the default task for the animator."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from localgif.agent.graph import Rendered, compile_animator
from localgif.endpoint.clients import Animator, Reflector, Reply
from localgif.errors import LocalGifError
from localgif.gif import score
from localgif.run.checks import Check
from localgif.search import reflector as reflector_module
from localgif.search import reply_checks
from localgif.search.candidate import prompt_of, seed_of
from localgif.search.evaluator import sample_seed
from localgif.search.programs import render
from localgif.search.progress import Progress
from localgif.search.rule_move import RULE_TOKENS, one_line
from localgif.settings import Settings
from localgif.tasks.suite import Suite

#: Number of the exam's sample, whose seed no sample of a run has.
EXAM = 3_000_000
#: After so long no repair is asked for.
REPAIR_SECONDS = 15.0

_OLD_RULE = "Use nice colours for everything that is drawn."
_FRAMES = "score 0.310\nframes: 12 frames, target 24: the loop over the frames runs 12 times"
_LOOP = "score 0.460\nloop: the step from the last frame to the first is 6.2 times a normal step: it jumps there"
_ABOUT_LOOP = re.compile(
    r"\b(loop\w*|seam\w*|first|last|jump\w*|smooth\w*|clos\w+|cycle\w*|end\w*|start\w*|return\w*)\b", re.IGNORECASE
)


@dataclass(frozen=True)
class Item:
    """One question of the reflector's exam."""

    what: str
    """What it shows, as it is told."""
    request: str
    present: tuple[str, ...]
    """Rules that the answer must not repeat."""
    about: re.Pattern[str] | None = None
    """What the answer must speak of."""


def items(suite: Suite, settings: Settings) -> tuple[Item, ...]:
    """The questions, in the words that a run asks them in."""
    task = suite.train[0]
    background = reflector_module.facts(task.targets) if settings.facts else ""
    standing = {task.brief: 0.31}
    return (
        Item("keeps the format", reflector_module.write_rule(suite, task, background, (), _FRAMES, "", standing), ()),
        Item(
            "names the problem",
            reflector_module.write_rule(suite, task, background, (_OLD_RULE,), _LOOP, "", standing),
            (_OLD_RULE,),
            _ABOUT_LOOP,
        ),
        Item(
            "changes one rule",
            reflector_module.sharpen_rule(suite, task, background, _OLD_RULE, _FRAMES, standing),
            (_OLD_RULE,),
        ),
    )


def mark(item: Item, reply: str, finish: str, suite: Suite) -> str:
    """Why an answer does not pass; "" when it does."""
    task = suite.train[0]
    read = reply_checks.rule(reply, finish, item.present, prompt_of(seed_of(suite), suite), task.targets)
    if isinstance(read, reply_checks.Rejected):
        return read.code
    if item.about is not None and not item.about.search(read.text):
        return "speaks of something else"
    return ""


def reflector_exam(settings: Settings, suite: Suite, url: str, progress: Progress) -> Check:
    """Three requests for a rule through LiteLLM, as in a run."""
    reflector = Reflector(settings.reflector, url)
    started, wrong = time.monotonic(), []
    questions = items(suite, settings)
    for number, item in enumerate(questions, 1):
        progress.activity(f"the reflector's exam, question {number} of {len(questions)}")
        try:
            reply = reflector.write(item.request, number, one_line, RULE_TOKENS)
        except LocalGifError as error:
            return Check(name="reflector", status="FAIL", evidence=error.message, remedy=error.remedy)
        why = mark(item, reply.text, reply.done_reason, suite)
        if why:
            wrong.append(f"{item.what}: {why}")
    seconds = time.monotonic() - started
    words = f"{len(questions) - len(wrong)} of {len(questions)} questions answered in {seconds:.0f} s"
    if not wrong:
        return Check(name="reflector", status="PASS", evidence=f"{words}: {', '.join(q.what for q in questions)}")
    return Check(
        name="reflector",
        status="WARN",
        evidence=f"{words}; not: {'; '.join(wrong)}",
        remedy="a run works all the same, with fewer useful proposals; a larger model as reflector makes more of them "
        "(localgif models set reflector NAME)",
    )


class _Enough(Exception):
    """The time for repairs is over."""


@dataclass(frozen=True)
class Sampled:
    """What the animator's exam found; seconds are None when no attempt came to its end."""

    check: Check
    seconds_per_attempt: float | None


def animator_exam(settings: Settings, suite: Suite, url: str, progress: Progress) -> Sampled:
    """One sample of the default task through agent and sandbox, as in a run, but with little time for repairs."""
    task = suite.train[0]
    started = time.monotonic()
    written: list[Reply] = []
    rendered: list[Rendered] = []
    last: Rendered | None

    def write(messages: Sequence[tuple[str, str]], seed: int, finished: Callable[[str], str]) -> Any:
        if written and time.monotonic() - started > REPAIR_SECONDS:
            raise _Enough
        progress.activity(f"the animator's exam: writing code, attempt {len(written) + 1}")
        written.append(animator.write(messages, seed, finished))
        return written[-1]

    def run(code: str) -> Rendered:
        progress.activity("the animator's exam: running and measuring")
        rendered.append(render(code, settings.limits))
        return rendered[-1]

    with Animator(settings.animator, url) as animator:
        animation = compile_animator(prompt_of(seed_of(suite), suite), task.brief, write, run)
        try:
            last = animation(sample_seed(settings.seed, EXAM))[-1].rendered
        except _Enough:
            last = rendered[-1] if rendered else None
        except LocalGifError as error:
            return Sampled(Check(name="animator", status="FAIL", evidence=error.message, remedy=error.remedy), None)
    seconds = time.monotonic() - started
    tokens = sum(reply.output_tokens for reply in written)
    words = f"{len(written)} attempts, {tokens} tokens, {seconds:.0f} s"
    if last is not None and last.measurements is not None:
        given = score.of(settings.scorer, last.measurements, task)
        evidence = f"{task.name}: a GIF of {last.measurements.frames} frames, score {given.total:.3f} ({words})"
        check = Check(name="animator", status="PASS", evidence=evidence)
    else:
        why = "no reply held a program" if last is None else f"{last.verdict}: {' '.join(last.reason.split())[:200]}"
        check = Check(
            name="animator",
            status="WARN",
            evidence=f"{task.name}: no GIF; {why} ({words})",
            remedy="with the seed prompt that is usual for a small model: improving it is what a run is for. A larger "
            "animator starts from further up (localgif models set animator NAME)",
        )
    return Sampled(check, seconds / len(written) if written else None)
