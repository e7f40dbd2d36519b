"""The texts of the animator's conversation: facts and orders, never a program.

A system prompt is a fixed contract and, below it, what the search may change: rules and worked examples. render() puts
the contract in front of every candidate, so that no proposal can drop or contradict it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from localgif.agent import form, phrasebook
from localgif.tasks.outline import Outline
from localgif.tasks.task import Targets

#: The article's seed prompt: what `--reflection plain` starts from.
SEED_PROMPT = (
    "You are a Python animator. Write one function make_gif(path) that draws the requested animation with Pillow and "
    "saves it as a GIF to path. Output only code."
)


class Example(NamedTuple):
    """A worked example."""

    brief: str
    """What the program draws."""
    code: str
    """A whole program whose GIF was measured."""


@dataclass(frozen=True)
class Parts:
    """What the search may change in a prompt."""

    rules: tuple[str, ...] = ()
    """Short orders, one line each."""
    examples: tuple[Example, ...] = ()
    others: bool = False
    """Whether the model will get requests that no example answers. The run's mode decides, not the candidate."""


def contract(targets: Targets) -> str:
    """The fixed part of every prompt: function, library, output, and the targets in words."""
    delay = targets.delay_ms
    return (
        f"{SEED_PROMPT}\n"
        "Requirements:\n"
        f"- Exactly {targets.frames} frames, each drawn on a new image, no two neighbours equal.\n"
        f"- The loop closes: after the last frame the first one follows without a jump.\n"
        f"- One loop plays in about {targets.loop_ms / 1000:g} s: duration={delay} ms per frame, loop=0.\n"
        f"- The file stays under {targets.max_bytes // 1024} KB.\n"
        "- Only the Python standard library and Pillow; no files, no fonts."
    )


def render(targets: Targets, parts: Parts) -> str:
    """The whole system prompt.

    The last example in the form is shown whole, without the drawing functions; of the others only the lines inside the
    loop are shown. What most prompts of a run share comes first, so that a server reads it once.
    """
    pieces = [contract(targets)]
    scenes = [(each, form.read(each.code)) for each in parts.examples]
    phrased = [(each.brief, scene) for each, scene in scenes if scene is not None]
    if phrased:
        pieces.append(f"{_FUNCTIONS}{form.FUNCTIONS}{_FENCE}{_WAY}")
    if parts.rules:
        pieces.append("Rules:\n" + "\n".join(f"- {rule}" for rule in parts.rules))
    for brief, scene in phrased[:-1]:
        lines = "\n".join(form.steps(scene, brief))
        pieces.append(f"Example request: {request(brief)}\n```python\n{lines}\n```")
    # Shown as a request and its answer: a 0.5B model that sees only a program begins to talk about it.
    pieces += [_answered(each.brief, each.code.strip()) for each, scene in scenes if scene is None]
    if phrased:
        brief, scene = phrased[-1]
        pieces.append(_answered(brief, form.program(scene, brief, targets, functions=False).strip()))
        # The phrasebook comes last: small models look up what is near the request.
        pieces.append(f"{_BOOK}{phrasebook.listing()}\n{_FENCE}".rstrip())
    if parts.examples:
        pieces[-1] += "\nAnswer in this form: one ```python block and nothing else. " + (
            "To a request that is answered above give the same answer; for another animation keep the form of the "
            "program and change what is drawn and how it moves."
            if parts.others
            else "To the same request give the same answer."
        )
    return "\n\n".join(pieces)


#: What stands around the drawing functions and the phrasebook.
_FUNCTIONS, _BOOK = "Every program begins with these lines:\n```python\n", "What phrases decide:\n```python\n"
_FENCE = "```\n"
#: How to write a program in the form.
_WAY = (
    "Inside the loop go through the request phrase by phrase: quote each phrase in a comment, and below it write the "
    "one assignment that it decides. Paint each thing once, after its phrases."
)


def shortened(system_prompt: str, read: Outline) -> str:
    """What an answer phrase by phrase needs of a prompt: reading the rest takes longer than writing the answer.

    localgif puts the drawing functions in front of the program itself, so their names are enough, and of the phrasebook
    the lines for this request. What all requests of a prompt share comes first, so that a server reads it once.
    """
    before, functions, rest = _cut(system_prompt, _FUNCTIONS)
    shared, book, end = _cut(before + (form.NAMES if functions else "") + rest, _BOOK)
    lines = phrasebook.looked_up(book, read)
    return shared + end + (f"\n{_BOOK}{lines}\n{_FENCE}" if lines else "")


def _cut(text: str, opening: str) -> tuple[str, str, str]:
    """The text before a fenced block that is announced so, the block, and the text after it."""
    before, _, rest = text.partition(opening)
    block, _, after = rest.partition(_FENCE)
    return before, block, after


def _answered(brief: str, code: str) -> str:
    return f"Example request: {request(brief)}\nExample answer:\n```python\n{code}\n```"


def request(brief: str) -> str:
    """The user message of every sample."""
    return f"Write the function. Animation: {brief}"


def repair(reason: str, *, had_code: bool) -> str:
    """The user message after a failed run; the assistant message before it holds the program itself."""
    if not had_code:
        return "The answer held no Python program. Write the whole function make_gif(path). Output only code."
    return f"The program failed:\n{reason}\nWrite the whole corrected function make_gif(path). Output only code."
