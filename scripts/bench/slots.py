"""Whether several slots are faster on this machine: four answers in turn and together, with and without guesses.

Only one engine runs at a time, because each needs the memory of the whole model; so compare only rows of one run. There
are two prompts: the bare contract, where guesses find nothing, and a worked example, where they find almost everything.
The times include reading: each slot reads the prompt once ("cold").
"""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Any

from scripts.bench.endpoint import NUM_CTX, animator_messages
from scripts.bench.figures import conditions, seconds
from scripts.bench.servers import Messages, Server, engine, openai, weights

#: Answers per comparison: the fresh samples of a default run.
_ANSWERS = 4


def rate(server: Server, messages: Messages, tokens: int, slots: int, first: int) -> float:
    """Tokens per second of one comparison, whose seeds begin with `first`, with `slots` answers at a time."""
    written: list[int] = []

    def ask(seed: int) -> None:
        written.append(openai(server, messages, tokens, seed).tokens)

    def together() -> None:
        with ThreadPoolExecutor(slots) as pool:
            list(pool.map(ask, range(first, first + _ANSWERS)))

    spent = seconds(together)
    return sum(written) / spent


def measure(model: str = "qwen2.5-coder:1.5b", tokens: int = 200, repeat: int = 3) -> dict[str, Any]:
    """Median tokens/s of each number of slots, with and without guesses, for both prompts; cold: the first time."""
    found = conditions(repeat, model=model)
    gguf = weights(model)
    for slots, guesses in itertools.product((1, 2, _ANSWERS), (False, True)):
        with engine(gguf, NUM_CTX, slots, guesses) as server:
            row: dict[str, float] = {}
            for name, example in (("bare contract", False), ("worked example", True)):
                messages = animator_messages(example)
                rates = [rate(server, messages, tokens, slots, _ANSWERS * number) for number in range(repeat + 1)]
                row |= {f"{name}, cold": round(rates[0], 1), name: round(median(rates[1:]), 1)}
        found[f"{slots} slot{'s' if slots > 1 else ''}, {'with' if guesses else 'without'} guesses"] = row
    return found
