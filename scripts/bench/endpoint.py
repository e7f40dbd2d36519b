"""The embedded endpoint against llama.cpp's own server with its defaults; medians, in turns.

- the animator's tokens a second: with a worked example in its prompt, with the bare contract, with the example again;
- the time that the gateway adds to a call, and its effect on tokens per second, against the engine alone;
- the time to the first token of a new prompt and of a repeated one, and how much of it the server reads again;
- four streams at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from statistics import median
from typing import Any

from localgif.agent import prompts
from localgif.agent.prompts import Example, Parts
from localgif.tasks.task import load_task
from scripts.bench.figures import conditions, in_turns, seconds
from scripts.bench.servers import Messages, Server, Timed, bare, engine, front, ollama, openai, weights
from tests.support.kit import program

NUM_CTX = 4096


def animator_messages(example: bool) -> Messages:
    """The animator's request, with or without a worked example in its prompt."""
    task = load_task("bouncing-ball")
    parts = Parts(examples=(Example(task.brief, program(24)),)) if example else Parts()
    system = prompts.render(task.targets, parts)
    return [{"role": "system", "content": system}, {"role": "user", "content": prompts.request(task.brief)}]


def ratio(unit: str, ours: float, theirs: float) -> dict[str, float]:
    """One row of a table."""
    return {f"ours, {unit}": round(ours, 3), f"theirs, {unit}": round(theirs, 3), "ratio": round(ours / theirs, 3)}


def rates(ours: Server, theirs: Server, example: bool, tokens: int, repeat: int) -> tuple[float, float]:
    """Tokens a second of our endpoint over the Ollama API, and of another server over /v1."""
    messages = animator_messages(example)
    ollama(ours, messages, 2, 0)
    openai(theirs, messages, 2, 0)
    seeds = iter(range(2, 2 * repeat + 2))
    found = in_turns(
        {
            "ours": lambda: ollama(ours, messages, tokens, next(seeds) // 2).rate,
            "theirs": lambda: openai(theirs, messages, tokens, next(seeds) // 2).rate,
        },
        repeat,
    )
    return median(found["ours"]), median(found["theirs"])


def overhead(ours: Server, behind: Server, tokens: int, repeat: int) -> dict[str, float]:
    """The gateway's cost for a call of one token, and for a long answer of the same engine."""
    messages = animator_messages(False)
    openai(behind, messages, 1, 1)
    calls = in_turns(
        {
            "with": lambda: 1000 * ollama(ours, messages, 1, 1).total,
            "without": lambda: 1000 * openai(behind, messages, 1, 1).total,
        },
        6 * repeat,
    )
    with_, without = median(calls["with"]), median(calls["without"])
    fast, bare_fast = rates(ours, behind, False, tokens, repeat)
    return {
        "ms a call, with": round(with_, 2),
        "ms a call, without": round(without, 2),
        "ms added": round(with_ - without, 2),
        "tokens/s, with / without": round(fast / bare_fast, 3),
    }


def second_call(server: Server, repeat: int) -> dict[str, float]:
    """Times to the first token of a new prompt and of the same prompt again."""
    pairs: list[tuple[Timed, Timed]] = []
    for number in range(repeat):
        messages = animator_messages(True)
        messages[0]["content"] = f"{number} {time.time_ns()}\n{messages[0]['content']}"
        pairs.append((openai(server, messages, 2, 1), openai(server, messages, 2, 1)))
    return {
        "seconds, new prompt": round(median(first.first for first, _ in pairs), 3),
        "seconds, again": round(median(again.first for _, again in pairs), 3),
        "read again": round(median(again.read_again for _, again in pairs), 4),
    }


def four_streams(ask: Callable[..., Timed], server: Server, repeat: int) -> float:
    """Median seconds until four answers, requested at once, have all arrived."""
    messages = animator_messages(False)
    ask(server, messages, 64, 0)

    def at_once(first: int) -> None:
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda seed: ask(server, messages, 64, seed), range(first, first + 4)))

    return median(seconds(partial(at_once, 4 * number)) for number in range(repeat))


def measure(model: str = "qwen2.5-coder:1.5b", tokens: int = 200, repeat: int = 5) -> dict[str, Any]:
    """All figures; long answers have `tokens` tokens."""
    found = conditions(repeat, model=model)
    gguf = weights(model)
    with bare(gguf, NUM_CTX) as theirs, engine(gguf, NUM_CTX) as behind, front(behind, NUM_CTX) as ours:
        # The example again, after another prompt, as a search alternates: guesses must forget other prompts.
        for name, example in (
            ("a worked example", True),
            ("the seed prompt", False),
            ("a worked example, again", True),
        ):
            found[f"with {name}"] = ratio("tokens/s", *rates(ours, theirs, example, tokens, repeat))
        found["the gateway"] = overhead(ours, behind, tokens, repeat)
        found["first token, ours"] = second_call(behind, repeat)  # the gateway reports no timings
        found["first token, theirs"] = second_call(theirs, repeat)
        streams = four_streams(ollama, ours, repeat), four_streams(openai, theirs, repeat)
        found["four streams at once"] = ratio("s", *streams)
        servers = {"gateway": ours, "engine": behind, "bare": theirs}
        found["memory, MB"] = {name: round(server.memory() / 2**20) for name, server in servers.items()}
    return found
