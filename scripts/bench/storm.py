"""How the endpoint behaves under load, with SmolLM2.

- 64 requests at once on two slots: each has a prompt of another length, and each must get its own answer;
- 500 requests, most of whose clients leave at a random moment, before, while or after the model works for them.
  Afterwards no slot may be busy and no connection open.
"""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psutil

from scripts.bench.figures import conditions, seconds
from scripts.bench.servers import NAME, Server, bare, client, engine, front, weights

NUM_CTX = 1024
MODEL = "smollm2:135m"


def ask(url: str, text: str, tokens: int) -> dict[str, Any]:
    """A complete answer, as an object."""
    body = {
        "model": NAME, "stream": False, "messages": [{"role": "user", "content": text}],
        "options": {"num_predict": tokens, "temperature": 0},
    }  # fmt: skip
    with client() as http:
        said: dict[str, Any] = http.post(url + "/api/chat", json=body).raise_for_status().json()
    return said


def busy(server: Server) -> int:
    """The number of slots of llama.cpp that are still busy after two seconds."""
    deadline = time.monotonic() + 2
    with client(60) as http:
        while True:
            count = sum(bool(slot["is_processing"]) for slot in http.get(server.url + "/slots").json())
            if not count or time.monotonic() > deadline:
                return count


def at_once(gguf: str, count: int) -> dict[str, Any]:
    """Send this many requests at once to two slots."""
    with bare(gguf, NUM_CTX, slots=2) as server, front(server, NUM_CTX, slots=2) as gateway:
        texts = [f"Say hello. {'Again. ' * number}" for number in range(count)]
        expected = [ask(gateway.url, text, 1)["prompt_eval_count"] for text in texts]
        assert len(set(expected)) == count, "the prompts must have different lengths"
        answers: list[dict[str, Any]] = []
        with ThreadPoolExecutor(count) as threads:
            took = seconds(lambda: answers.extend(threads.map(lambda text: ask(gateway.url, text, 16), texts)))
        right = [answer["prompt_eval_count"] == tokens for answer, tokens in zip(answers, expected, strict=True)]
        return {
            "requests": count,
            "slots": 2,
            "answered": sum(answer["done"] for answer in answers),
            "with another's prompt": right.count(False),
            "seconds": round(took, 1),
            "busy slots afterwards": busy(server),
        }


def restless(url: str, number: int) -> str:
    """Run one client that may leave; returns what it saw."""
    dice = random.Random(number)
    words = "word " * dice.choice((1, 40, 300))
    body = {
        "model": NAME, "stream": dice.random() < 0.8,
        "messages": [{"role": "user", "content": f"{number} {words} Tell a story."}],
        "options": {"num_predict": dice.choice((1, 12, 200))},
    }  # fmt: skip
    timeout = httpx.Timeout(600, read=dice.choice((0.02, 0.1, 0.5, 2.0, 60.0)))
    try:
        with (
            httpx.Client(trust_env=False, timeout=timeout) as http,
            http.stream("POST", url + "/api/chat", json=body) as response,
        ):
            for _ in response.iter_lines():
                if dice.random() < 0.1:
                    return "left in the middle"
            return "answered" if response.status_code == 200 else f"refused with {response.status_code}"
    except httpx.ReadTimeout:
        return "left while it waited"


def leaving(gguf: str, count: int) -> dict[str, Any]:
    """Send this many requests, eight at a time, most of whose clients leave."""
    with engine(gguf, NUM_CTX) as server, front(server, NUM_CTX) as gateway:
        for number in range(20):
            restless(gateway.url, -number - 1)
        ask(gateway.url, "hello", 1)
        processes = {"gateway": psutil.Process(gateway.pid), "engine": psutil.Process(server.pid)}
        before = {name: (each.memory_info().rss, each.num_fds()) for name, each in processes.items()}
        fates: list[str] = []
        with ThreadPoolExecutor(8) as threads:
            took = seconds(
                lambda: fates.extend(threads.map(lambda number: restless(gateway.url, number), range(count)))
            )
        found = {
            "requests": count,
            "seconds": round(took, 1),
            **{fate: fates.count(fate) for fate in sorted(set(fates))},
        }
        found |= {"busy slots afterwards": busy(server), "answers afterwards": ask(gateway.url, "hello", 4)["done"]}
        for name, each in processes.items():
            found[f"{name}, MB more"] = round((each.memory_info().rss - before[name][0]) / 2**20, 1)
            found[f"{name}, descriptors more"] = each.num_fds() - before[name][1]
        connections = processes["gateway"].net_connections("tcp")
        return found | {"open connections of the gateway": sum(one.status == "ESTABLISHED" for one in connections)}


def measure(requests: int = 500, many: int = 64) -> dict[str, Any]:
    """Both storms."""
    found, gguf = conditions(1, model=MODEL), weights(MODEL)
    for part, figures in (("at once", at_once(gguf, many)), ("leaving", leaving(gguf, requests))):
        found |= {f"{part}: {what}": value for what, value in figures.items()}
    return found
