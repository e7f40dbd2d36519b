"""What the reflector of grounded reflection is asked: one thing at a time, in a form that a small model can fill. Pure.

What stays the same stands first, so that a server finds it in its prompt cache. The facts are general ones about Pillow
and GIFs; no text here or in facts.txt draws anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources

from localgif.task import Targets, Task
from localgif.tasks.suite import Suite


def facts(targets: Targets) -> str:
    """The background facts with the targets' numbers filled in, one a line."""
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
    """Asks for a new program."""
    return (
        f"{_opening(task, background)}\nWrite a Python program with one function make_gif(path) that draws this "
        f"animation and saves it as a GIF to path. {_order(task)}{_said(remark)}"
    )


def adapt_program(task: Task, background: str, other: Task, code: str) -> str:
    """Asks for a program in the form of one that draws another animation well."""
    return (
        f"{_known(background)}This program draws another animation, {other.brief}, and is good:\n"
        f"```python\n{code.strip()}\n```\n\nAnimation: {task.brief}.\nWrite a program for this animation in the same "
        f"form: one function make_gif(path), changed in what is drawn and how it moves. {_order(task)}"
    )


def repair_program(task: Task, background: str, code: str, feedback: str) -> str:
    """Asks for a program again, with what was measured about it."""
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
    """Asks for one more rule, or a better one.

    Args:
        suite: The tasks of the run.
        task: The one of the worst program.
        background: Facts.
        rules: Those that the prompt has.
        worst: What was measured of the worst program.
        best: The same of the best one; "" for none.
        standing: Brief -> mean score, of the tasks that the candidate was measured on.
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
    """Asks for one rule in better words; arguments as for write_rule."""
    return (
        f"{_animations(suite, task, background, standing)}\nA small model writes a Pillow program for "
        f"{'this animation' if suite.mode == 'single' else 'each of them'}. It was given this "
        f"rule:\n{old}\n\nStill its worst program had this problem:\n{worst}\n\nWrite the rule again, more exact, one "
        f'sentence of at most 25 words, no code. Answer with one line that begins with "Rule:".{_said(remark)}'
    )


def _animations(suite: Suite, task: Task, background: str, standing: Mapping[str, float]) -> str:
    """The animation; of several the ones that were measured, with what the prompt wins and loses."""
    if suite.mode == "single":
        return _opening(task, background)
    lines = "".join(f"- {brief}: {score:.2f} of 1\n" for brief, score in standing.items())
    return f"{_known(background)}Animations, and how well the programs for them did:\n{lines}"


def _said(remark: str) -> str:
    return f"\n{remark}" if remark else ""
