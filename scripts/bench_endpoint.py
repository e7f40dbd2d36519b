"""What the embedded endpoint costs and gains: `just bench-endpoint [--model qwen2.5-coder:1.5b] [--json]`.

Against llama.cpp's own server with its defaults, in one run, in turns, so that both meet the same load; medians.
- the animator's tokens a second, with a worked example in its prompt, with the bare contract, with the example again;
- what the gateway adds to a call, and what it takes off the tokens a second, against the engine without it;
- the time to the first token of a prompt, and of the same prompt again, and how much of it is read again;
- how long the engine goes on after its client left, while it reads and while it writes;
- four streams at once.
Run it on an idle machine; the load average is printed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx

from localgif.agent import prompts
from localgif.agent.prompts import Example, Parts
from localgif.tasks.task import load_task
from scripts.endpoint_servers import KEY, NAME, Server, bare, engine, front, weights
from scripts.figures import conditions, show

NUM_CTX = 4096
EXAMPLE = """
import math
from PIL import Image, ImageDraw

def make_gif(path):
    frames = []
    for i in range(24):
        image = Image.new("RGB", (200, 200), (255, 255, 255))
        draw = ImageDraw.Draw(image)
        height = abs(math.sin(math.pi * i / 12))
        y = 170 - 120 * height
        draw.line((0, 191, 199, 191), fill=(90, 90, 90), width=2)
        draw.ellipse((80, y - 20, 120, y + 20), fill=(220, 40, 40), outline=(120, 0, 0), width=2)
        frames.append(image)
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=42, loop=0)
"""
SAMPLING = {"temperature": 0.2, "top_k": 40, "top_p": 0.9, "min_p": 0.0, "repeat_penalty": 1.0}


@dataclass(frozen=True)
class Timed:
    """One streamed answer."""

    first: float
    """Seconds to the first token."""
    total: float
    tokens: int
    timings: dict[str, Any]
    """What llama.cpp says of it, where it is asked itself."""

    @property
    def rate(self) -> float:
        """Tokens a second after the first."""
        return (self.tokens - 1) / (self.total - self.first)

    @property
    def read_again(self) -> float:
        """The part of the prompt that was not in the cache."""
        return float(self.timings["prompt_n"]) / (self.timings["prompt_n"] + self.timings["cache_n"])


def openai(server: Server, messages: list[dict[str, str]], tokens: int, seed: int) -> Timed:
    """An answer of llama.cpp itself, over /v1."""
    body = {
        "model": NAME, "messages": messages, "max_tokens": tokens, "seed": seed, "stream": True,
        "stream_options": {"include_usage": True}, **SAMPLING,
    }  # fmt: skip
    return _timed(server.url + "/v1/chat/completions", body)


def ollama(server: Server, messages: list[dict[str, str]], tokens: int, seed: int) -> Timed:
    """An answer over the Ollama API, as the animator gets it."""
    options = {**SAMPLING, "num_ctx": NUM_CTX, "num_predict": tokens, "seed": seed}
    return _timed(server.url + "/api/chat", {"model": NAME, "messages": messages, "options": options})


def _timed(url: str, body: dict[str, Any]) -> Timed:
    started, first = time.perf_counter(), 0.0
    last: dict[str, Any] = {}
    headers = {"Authorization": f"Bearer {KEY}"}
    with (
        httpx.Client(trust_env=False, timeout=600, headers=headers) as client,
        client.stream("POST", url, json=body) as response,
    ):
        response.raise_for_status()
        for line in response.iter_lines():
            data = line.removeprefix("data: ")
            if not data or data == "[DONE]":
                continue
            event = json.loads(data)
            said = event.get("message") or ((event.get("choices") or [{}])[0].get("delta") or {})
            first = first or (time.perf_counter() if said.get("content") else 0.0)
            if event.get("usage") or event.get("done"):
                last = event
    total = time.perf_counter() - started
    tokens = last["eval_count"] if "eval_count" in last else last["usage"]["completion_tokens"]
    return Timed((first or started + total) - started, total, tokens, last.get("timings") or {})


def median(values: list[float]) -> float:
    return statistics.median(values)


def animator_messages(example: bool) -> list[dict[str, str]]:
    task = load_task("bouncing-ball")
    parts = Parts(examples=(Example(task.brief, EXAMPLE),)) if example else Parts()
    return [
        {"role": "system", "content": prompts.render(task.targets, parts)},
        {"role": "user", "content": prompts.request(task.brief)},
    ]


def speed(ours: Server, theirs: Server, example: bool, tokens: int, repeat: int) -> dict[str, float]:
    messages = animator_messages(example)
    ollama(ours, messages, 2, 0)
    openai(theirs, messages, 2, 0)
    rates: tuple[list[float], list[float]] = [], []
    for seed in range(1, repeat + 1):
        rates[0].append(ollama(ours, messages, tokens, seed).rate)
        rates[1].append(openai(theirs, messages, tokens, seed).rate)
    return ratio("tokens/s", median(rates[0]), median(rates[1]))


def ratio(unit: str, ours: float, theirs: float) -> dict[str, float]:
    return {f"ours, {unit}": round(ours, 3), f"theirs, {unit}": round(theirs, 3), "ratio": round(ours / theirs, 3)}


def overhead(ours: Server, behind: Server, tokens: int, repeat: int) -> dict[str, float]:
    """What the gateway adds: to a call of one token, and to a long answer of the same engine."""
    messages = animator_messages(False)
    openai(behind, messages, 1, 1)
    calls: tuple[list[float], list[float]] = [], []
    for _ in range(6 * repeat):
        calls[0].append(1000 * ollama(ours, messages, 1, 1).total)
        calls[1].append(1000 * openai(behind, messages, 1, 1).total)
    rates: tuple[list[float], list[float]] = [], []
    for seed in range(1, repeat + 1):
        rates[0].append(ollama(ours, messages, tokens, seed).rate)
        rates[1].append(openai(behind, messages, tokens, seed).rate)
    return {
        "ms a call, with": round(median(calls[0]), 2),
        "ms a call, without": round(median(calls[1]), 2),
        "ms added": round(median(calls[0]) - median(calls[1]), 2),
        "tokens/s, with / without": round(median(rates[0]) / median(rates[1]), 3),
    }


def second_call(ask: Callable[[list[dict[str, str]]], Timed], repeat: int) -> dict[str, float]:
    """The first token of a prompt that was never seen, and of the same prompt again."""
    first, again = [], []
    for number in range(repeat):
        messages = animator_messages(True)
        messages[0]["content"] = f"{number} {time.time_ns()}\n{messages[0]['content']}"
        first.append(ask(messages))
        again.append(ask(messages))
    return {
        "seconds, new prompt": round(median([one.first for one in first]), 3),
        "seconds, again": round(median([one.first for one in again]), 3),
        "read again": round(median([one.read_again for one in again]), 4),
    }


def cancellation(gateway: Server, behind: Server, writing: bool, repeat: int) -> float:
    """Median seconds from the client's leaving until llama.cpp answers somebody else, less what that takes it anyway.

    Not asked with /slots: each answer to that sets the clock back by which llama.cpp looks for clients that left.
    """
    found = []
    headers = {"Authorization": f"Bearer {KEY}"}
    body_of_next = {"model": NAME, "messages": [{"role": "user", "content": "Hi."}], "max_tokens": 1}
    with httpx.Client(trust_env=False, timeout=600, headers=headers) as client:

        def answered() -> float:
            began = time.perf_counter()
            client.post(behind.url + "/v1/chat/completions", json=body_of_next).raise_for_status()
            return time.perf_counter() - began

        for _ in range(repeat):
            answered()
            usual = answered()
            filler = f"{time.time_ns()} " + ("" if writing else "A ball, a box and a boat go round. " * 300)
            body = {
                "model": NAME, "messages": [{"role": "user", "content": f"{filler}Tell a long story."}],
                "options": {"num_predict": 2000},
            }  # fmt: skip
            with httpx.Client(trust_env=False, timeout=600, headers=headers) as leaving:
                request = leaving.build_request("POST", gateway.url + "/api/chat", json=body)
                if writing:
                    stream = leaving.send(request, stream=True)
                    lines = stream.iter_lines()
                    for _ in range(8):
                        next(lines)
                    stream.close()
                else:
                    request.extensions["timeout"]["read"] = 1.0
                    with contextlib.suppress(httpx.ReadTimeout):  # the prompt takes longer
                        leaving.send(request, stream=True).read()
            found.append(max(0.0, answered() - usual))
    return round(median(found), 3)


def four_streams(ask: Callable[[list[dict[str, str]], int], Timed], repeat: int) -> float:
    """Median seconds until four answers that were asked for at once are all there."""
    messages = animator_messages(False)
    ask(messages, 0)
    found = []
    for number in range(repeat):
        started = time.perf_counter()
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda seed: ask(messages, seed), range(4 * number, 4 * number + 4)))
        found.append(time.perf_counter() - started)
    return median(found)


def measure(model: str, tokens: int, repeat: int) -> dict[str, Any]:
    found = conditions(repeat, model=model)
    gguf = str(weights(model).path)
    with bare(gguf, NUM_CTX) as theirs, engine(gguf, NUM_CTX) as behind, front(behind, NUM_CTX) as ours:
        found["with a worked example"] = speed(ours, theirs, True, tokens, repeat)
        found["with the seed prompt"] = speed(ours, theirs, False, tokens, repeat)
        # As a search alternates: what guesses remember of other prompts must not keep them from copying.
        found["with a worked example, again"] = speed(ours, theirs, True, tokens, repeat)
        found["the gateway"] = overhead(ours, behind, tokens, repeat)
        found["first token, ours"] = second_call(lambda messages: openai(behind, messages, 2, 1), repeat)
        found["first token, theirs"] = second_call(lambda messages: openai(theirs, messages, 2, 1), repeat)
        for phase, writing in (("reading", False), ("writing", True)):
            # Not of theirs: it has several slots, and another one answers while the first goes on.
            found[f"goes on after its client left, {phase}"] = {"s": cancellation(ours, behind, writing, repeat)}
        found["four streams at once"] = ratio(
            "s",
            four_streams(lambda messages, seed: ollama(ours, messages, 64, seed), repeat),
            four_streams(lambda messages, seed: openai(theirs, messages, 64, seed), repeat),
        )
        found["memory, MB"] = {
            name: round(server.memory() / 2**20)
            for name, server in (("gateway", ours), ("engine", behind), ("bare", theirs))
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="qwen2.5-coder:1.5b", help="a model that localgif knows")
    parser.add_argument("--tokens", type=int, default=200, help="length of the long answers")
    parser.add_argument("--repeat", type=int, default=5, help="how often each thing is timed")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    show(measure(arguments.model, arguments.tokens, max(1, arguments.repeat)), as_json=arguments.json)


if __name__ == "__main__":
    main()
