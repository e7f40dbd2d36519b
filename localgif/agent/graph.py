"""The animator as a LangGraph graph: generate, run, repair; decoding loops are cut off."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol, TypedDict

from localgif.agent import extract, prompts
from localgif.records import Measurements, Verdict

#: So many equal blocks in a row are a loop.
TIMES = 4

#: Shortest block, characters (about 12 tokens); shorter repetitions are common in tables of numbers and in drawings.
SHORTEST = 48

#: Longest block, characters (about 200 tokens).
LONGEST = 800


def loops(text: str) -> bool:
    """Whether the text ends in the same block of 48 to 800 characters four times."""
    longest = min(LONGEST, len(text) // TIMES)
    for size in range(SHORTEST, longest + 1):
        block = text[-size:]
        if text[-2 * size : -size] == block and text.endswith(block * TIMES):
            # A block of blanks or of one sign is a drawing or an indentation, not a thought.
            return len(set(block)) > 2
    return False


MAX_ATTEMPTS = 3

Message = tuple[str, str]


class Written(Protocol):
    """What `write` gives back (see endpoint.clients.Reply)."""

    @property
    def text(self) -> str: ...
    @property
    def done_reason(self) -> str: ...
    @property
    def prompt_tokens(self) -> int | None: ...
    @property
    def output_tokens(self) -> int: ...
    @property
    def seconds(self) -> float: ...


Write = Callable[[Sequence[Message], int, Callable[[str], str]], Written]

"""(messages, seed, finished) -> reply; `finished` gives "" to go on, or why the text so far is enough."""


@dataclass(frozen=True)
class Rendered:
    """What became of one program: `gif` and `measurements` are there exactly when the verdict is ok."""

    verdict: Verdict
    reason: str
    gif: bytes | None
    measurements: Measurements | None
    seconds: float


Render = Callable[[str], Rendered]


@dataclass(frozen=True)
class Try:
    """One attempt: what was written and what became of it."""

    written: Written
    code: str | None
    rendered: Rendered


class _State(TypedDict):
    seed: int
    messages: list[Message]
    written: Written | None
    tries: Annotated[list[Try], operator.add]


#: How a reply can end before its program does, and what is said of it.
_UNFINISHED = {
    "length": "the reply was cut off after {} tokens, so the program is not whole",
    "loop": "the reply repeated itself and was cut off after {} tokens",
}


def enough(text: str) -> str:
    """Why a reply needs no more text: "closed" when its program is whole, "loop" when it repeats itself, else ""."""
    if extract.complete(text):
        return "closed"
    return "loop" if loops(text) else ""


class Animation(Protocol):
    """A compiled animator."""

    def __call__(self, seed: int) -> tuple[Try, ...]: ...


def compile_animator(system_prompt: str, brief: str, write: Write, render: Render) -> Animation:
    """Compile the graph of one candidate for one brief.

    Returns:
        A callable that makes one sample: `animation(seed)` gives its 1 to 3 attempts in order, the last one decides.
        Exceptions of `write` and `render` (our own failures) pass through.
    """
    from langgraph.graph import END, START, StateGraph

    opening: list[Message] = [("system", system_prompt), ("user", prompts.request(brief))]

    def generate(state: _State) -> dict[str, object]:
        # A repair gets another seed, or a model that ignores the error would repeat itself word by word.
        return {"written": write(state["messages"], state["seed"] + len(state["tries"]), enough)}

    def run(state: _State) -> dict[str, object]:
        written = state["written"]
        assert written is not None
        code = extract.extract(written.text)
        if code is None:
            rendered = Rendered(Verdict.NO_CODE, "the reply holds no Python program", None, None, 0.0)
        else:
            rendered = render(code)
        if rendered.verdict is not Verdict.OK and written.done_reason in _UNFINISHED:
            why = _UNFINISHED[written.done_reason].format(written.output_tokens)
            rendered = dataclasses.replace(rendered, reason=f"{rendered.reason} ({why})")
        return {"tries": [Try(written, code, rendered)]}

    def repair(state: _State) -> dict[str, object]:
        last = state["tries"][-1]
        # Only the latest program and its error: a small model loses itself in a longer history. A reply that was closed
        # right after its program goes back word by word: the server still has it in its prompt cache, and reading it
        # again costs a CPU about a third of the repair.
        verbatim = last.code is None or last.written.done_reason == "closed"
        answer = last.written.text if verbatim else f"```python\n{last.code}```"
        complaint = prompts.repair(last.rendered.reason, had_code=last.code is not None)
        return {"messages": [*opening, ("assistant", answer), ("user", complaint)]}

    def after_run(state: _State) -> Literal["repair", "end"]:
        done = state["tries"][-1].rendered.verdict is Verdict.OK or len(state["tries"]) >= MAX_ATTEMPTS
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
