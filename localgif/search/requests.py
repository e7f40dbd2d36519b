"""What the reflector of grounded reflection is asked: one thing at a time, in a form that a small model can fill. Pure.

What stays the same stands first, so that a server finds it in its prompt cache. The facts are general ones about Pillow
and GIFs; no text here or in facts.txt draws anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources

from localgif.task import Task


def facts(task: Task) -> str:
    """The background facts with the task's numbers filled in, one a line."""
    text = resources.files(__package__).joinpath("facts.txt").read_text(encoding="utf-8")
    return text.format(frames=task.targets.frames, delay_ms=task.targets.delay_ms).strip()


def _opening(task: Task, background: str) -> str:
    known = "".join(f"- {line}\n" for line in background.splitlines())
    return (f"Facts about Pillow and GIFs:\n{known}\n" if known else "") + f"Animation: {task.brief}.\n"


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


def repair_program(task: Task, background: str, code: str, feedback: str) -> str:
    """Asks for a program again, with what was measured about it."""
    return (
        f"{_opening(task, background)}\nThis program was run:\n```python\n{code.strip()}\n```\n"
        f"What was measured:\n{feedback}\n\nWrite the whole program again with this put right: one function "
        f"make_gif(path). {_order(task)}"
    )


def write_rule(task: Task, background: str, rules: Sequence[str], worst: str, best: str, remark: str = "") -> str:
    """Asks for one more rule, or a better one."""
    present = "".join(f"{number}. {text}\n" for number, text in enumerate(rules, 1)) or "none yet\n"
    return (
        f"{_opening(task, background)}\nA small model writes a Pillow program for this animation. "
        f"The rules that it was given:\n{present}\n"
        f"Its worst program:\n{worst}\n\n"
        + (f"Its best program:\n{best}\n\n" if best else "")
        + "Write one new rule for the model, one sentence of at most 25 words, in English, no code, that avoids the "
        f'worst problem. Answer with one line that begins with "Rule:".{_said(remark)}'
    )


def sharpen_rule(task: Task, background: str, old: str, worst: str, remark: str = "") -> str:
    """Asks for one rule in better words."""
    return (
        f"{_opening(task, background)}\nA small model writes a Pillow program for this animation. It was given this "
        f"rule:\n{old}\n\nStill its worst program had this problem:\n{worst}\n\nWrite the rule again, more exact, one "
        f'sentence of at most 25 words, no code. Answer with one line that begins with "Rule:".{_said(remark)}'
    )


def _said(remark: str) -> str:
    return f"\n{remark}" if remark else ""
