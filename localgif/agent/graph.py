"""The animator as a LangGraph graph (generate, run, repair), which cuts off replies that repeat themselves."""

from __future__ import annotations

import dataclasses
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, TypedDict

from localgif.agent import extract, form, prompts
from localgif.agent.guide import Finished, Message, guided
from localgif.records import Measurements, Reply, Verdict
from localgif.tasks.outline import outline

#: Most attempts of one sample: the first program and its repairs.
MAX_ATTEMPTS = 3

#: This many equal blocks in a row are a loop.
_TIMES = 4
#: Shortest and longest block, characters (about 12 and 200 tokens). Shorter repetitions are common in tables of numbers
#: and in drawings.
SHORTEST, LONGEST = 48, 800
#: A line that is only a comment. Without \s, which would try every run of blank lines again at each of its lines.
_COMMENT = re.compile(r"\n[^\S\n]*#[^\n]*(?=\n)")

#: (messages, seed, finished) -> reply; `finished` returns "" to continue, or why the text so far is enough.
Write = Callable[[Sequence[Message], int, Callable[[str], str]], Reply]


@dataclass(frozen=True)
class Rendered:
    """The outcome of one program; `gif` and `measurements` are set if and only if the verdict is ok."""

    verdict: Verdict
    reason: str
    gif: bytes | None
    measurements: Measurements | None
    seconds: float


Render = Callable[[str], Rendered]


@dataclass(frozen=True)
class Try:
    """One attempt: a reply and the outcome of its program."""

    written: Reply
    code: str | None
    rendered: Rendered


class _State(TypedDict):
    seed: int
    messages: list[Message]
    written: Reply | None
    tries: Annotated[list[Try], operator.add]


#: How a reply can end before its program does, and what the reason then says.
_UNFINISHED = {
    "length": "the reply was cut off after {} tokens, so the program is not whole",
    "loop": "the reply repeated itself and was cut off after {} tokens",
}


def compile_animator(
    system_prompt: str, brief: str, write: Write, render: Render, attempts: int = MAX_ATTEMPTS
) -> Callable[[int], tuple[Try, ...]]:
    """Compiles the graph of one candidate for one brief.

    Returns:
        A callable that makes one sample: `animation(seed)` returns its attempts in order, at most `attempts`. The last
        one decides. Exceptions of `write` and `render` (our own failures) pass through.
    """
    from langgraph.graph import END, START, StateGraph

    frame, read = form.frame(system_prompt), outline(brief)
    phrased = frame is not None and read is not None
    system = prompts.shortened(system_prompt, read) if frame is not None and read is not None else system_prompt
    opening: list[Message] = [("system", system), ("user", prompts.request(brief))]

    def generate(state: _State) -> dict[str, object]:
        # With the same seed, a model that ignores the error would repeat itself word for word.
        seed = state["seed"] + len(state["tries"])

        def go_on(text: str, finished: Finished, turn: int) -> Reply:
            # Far from the seeds of repairs, and still below 2**31.
            return write([*state["messages"], ("assistant", text)], seed ^ (turn << 20), finished)

        if frame is None or read is None:
            return {"written": write(state["messages"], seed, enough)}
        return {"written": guided(read, frame, go_on, enough)}

    def run(state: _State) -> dict[str, object]:
        written = state["written"]
        assert written is not None
        code = extract.extract(written.text)
        code = form.whole(code) if code is not None and phrased else code
        if code is None:
            rendered = Rendered(Verdict.NO_CODE, "the reply holds no Python program", None, None, 0.0)
        else:
            rendered = render(code)
        return {"tries": [Try(written, code, _explained(rendered, written))]}

    def repair(state: _State) -> dict[str, object]:
        last = state["tries"][-1]
        # Only the latest program and its error, because a small model gets lost in a longer history. A reply that ended
        # right after its program goes back word for word: the server still has it in its prompt cache, and on a CPU
        # reading it again would take about a third of the repair's time.
        verbatim = last.code is None or last.written.done_reason == "closed"
        answer = last.written.text if verbatim else f"```python\n{last.code}```"
        complaint = prompts.repair(last.rendered.reason, had_code=last.code is not None)
        return {"messages": [*opening, ("assistant", answer), ("user", complaint)]}

    def after_run(state: _State) -> Literal["repair", "end"]:
        done = state["tries"][-1].rendered.verdict is Verdict.OK or len(state["tries"]) >= attempts
        return "end" if done else "repair"

    graph = StateGraph(_State)
    graph.add_node("generate", generate)
    graph.add_node("run", run)
    graph.add_node("repair", repair)
    graph.add_edge(START, "generate")
    graph.add_edge("generate", "run")
    graph.add_conditional_edges("run", after_run, {"repair": "repair", "end": END})
    graph.add_edge("repair", "generate")
    compiled = graph.compile()

    def animation(seed: int) -> tuple[Try, ...]:
        final = compiled.invoke({"seed": seed, "messages": opening, "written": None, "tries": []})
        return tuple(final["tries"])

    return animation


def _explained(rendered: Rendered, written: Reply) -> Rendered:
    """The outcome; a failure's reason also says how the reply ended, if that was before the program's end."""
    if rendered.verdict is Verdict.OK or written.done_reason not in _UNFINISHED:
        return rendered
    why = _UNFINISHED[written.done_reason].format(written.output_tokens)
    return dataclasses.replace(rendered, reason=f"{rendered.reason} ({why})")


def enough(text: str) -> str:
    """Why a reply needs no more text: "closed" if its program is whole, "loop" if it repeats itself, else ""."""
    if extract.complete(text):
        return "closed"
    return "loop" if loops(text) else ""


def loops(text: str) -> bool:
    """Whether the text ends in the same block of 48 to 800 characters four times.

    Lines that are only a comment do not count: "draw the third frame", "draw the fourth frame" above the same code.
    """
    return _ends_in_repeats(text) or ("#" in text and _ends_in_repeats(_COMMENT.sub("", text)))


def _ends_in_repeats(text: str) -> bool:
    longest = min(LONGEST, len(text) // _TIMES)
    for size in range(SHORTEST, longest + 1):
        block = text[-size:]
        if text[-2 * size : -size] == block and text.endswith(block * _TIMES):
            # A block of blanks or of one character is a drawing or indentation, not a loop.
            return len(set(block)) > 2
    return False
