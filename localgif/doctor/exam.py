"""Exams of both roles: three small questions for the reflector, one sample of the default task for the animator."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from localgif.agent.graph import Rendered, compile_animator
from localgif.endpoint.clients import Animator, Reflector
from localgif.errors import LocalGifError
from localgif.gif import score
from localgif.records import Reply
from localgif.run.checks import Check
from localgif.search import reply_checks
from localgif.search.evaluator import prompt_of, sample_seed, seed_of
from localgif.search.moves import RULE_TOKENS, one_line
from localgif.search.programs import render
from localgif.search.progress import Progress, counted
from localgif.search.reflector import facts, sharpen_rule, write_rule
from localgif.settings import Settings
from localgif.tasks.suite import Suite

#: Number of the exam's sample; no sample of a run has its seed.
_EXAM = 3_000_000
#: After this many seconds the animator gets no further attempt to repair its program.
_REPAIR_SECONDS = 15.0

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
    """What a good answer does, as the report says it."""
    request: str
    present: tuple[str, ...] = ()
    """Rules that the answer must not repeat."""
    about: re.Pattern[str] | None = None
    """What the answer must mention."""


def items(suite: Suite, settings: Settings) -> tuple[Item, ...]:
    """The questions, worded as in a run."""
    task, old = suite.train[0], (_OLD_RULE,)
    told, standing = facts(task.targets) if settings.facts else "", {task.brief: 0.31}
    return (
        Item("keeps the format", write_rule(suite, task, told, (), _FRAMES, "", standing)),
        Item("names the problem", write_rule(suite, task, told, old, _LOOP, "", standing), old, _ABOUT_LOOP),
        Item("changes one rule", sharpen_rule(suite, task, told, _OLD_RULE, _FRAMES, standing), old),
    )


def mark(item: Item, reply: str, finish: str, suite: Suite) -> str:
    """Why an answer does not pass; "" if it passes."""
    task = suite.train[0]
    read = reply_checks.rule(reply, finish, item.present, prompt_of(seed_of(suite), suite), task.targets)
    if isinstance(read, reply_checks.Rejected):
        return read.code
    if item.about is not None and not item.about.search(read):
        return "is about something else"
    return ""


def reflector_exam(settings: Settings, suite: Suite, url: str, progress: Progress) -> Check:
    """Ask the reflector for three rules through LiteLLM, as in a run."""
    reflector = Reflector(settings.reflector, url)
    started, wrong = time.monotonic(), []
    questions = items(suite, settings)
    for number, item in enumerate(questions, 1):
        progress.activity(f"the reflector's exam, question {number} of {len(questions)}")
        try:
            reply = reflector.write(item.request, number, one_line, RULE_TOKENS)
        except LocalGifError as error:
            return Check.raised("reflector", error)
        why = mark(item, reply.text, reply.done_reason, suite)
        if why:
            wrong.append(f"{item.what}: {why}")
    seconds = time.monotonic() - started
    words = f"{len(questions) - len(wrong)} of {len(questions)} questions answered in {seconds:.0f} s"
    if not wrong:
        return Check.passed("reflector", f"{words}: {', '.join(q.what for q in questions)}")
    return Check.warned(
        "reflector",
        f"{words}; failed: {'; '.join(wrong)}",
        "a run works, but gets fewer useful proposals; a larger reflector gives more "
        "(localgif models set reflector NAME)",
    )


class _Enough(Exception):
    """The time for repairs is over."""


def animator_exam(settings: Settings, suite: Suite, url: str, progress: Progress) -> tuple[Check, float | None]:
    """Draw one sample of the default task through agent and sandbox, as in a run, but with little time for repairs.

    Returns:
        The check, and the seconds of an attempt; None if none was finished.
    """
    task = suite.train[0]
    started = time.monotonic()
    written: list[Reply] = []
    rendered: list[Rendered] = []
    last: Rendered | None

    def write(messages: Sequence[tuple[str, str]], seed: int, finished: Callable[[str], str]) -> Any:
        if written and time.monotonic() - started > _REPAIR_SECONDS:
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
            last = animation(sample_seed(settings.seed, _EXAM))[-1].rendered
        except _Enough:
            last = rendered[-1] if rendered else None
        except LocalGifError as error:
            return Check.raised("animator", error), None
    seconds = time.monotonic() - started
    words = (
        f"{counted(len(written), 'attempt')}, {sum(reply.output_tokens for reply in written)} tokens, {seconds:.0f} s"
    )
    if last is not None and last.measurements is not None:
        total = score.of(settings.scorer, last.measurements, task).total
        evidence = f"{task.name}: a GIF of {last.measurements.frames} frames, score {total:.3f} ({words})"
        check = Check.passed("animator", evidence)
    else:
        why = "no reply held a program" if last is None else f"{last.verdict}: {' '.join(last.reason.split())[:200]}"
        check = Check.warned(
            "animator",
            f"{task.name}: no GIF; {why} ({words})",
            "this is usual for a small model with the seed prompt, which a run improves; a larger animator starts with "
            "a higher score (localgif models set animator NAME)",
        )
    return check, seconds / len(written) if written else None
