"""What the endpoint withstands, with SmolLM2: `just storm-endpoint [--requests 500] [--json]`.

- 64 requests at once on two slots: each asks for its own number, all must be answered, none lost;
- 500 requests of which most leave at a random moment, before, while or after the model works for them. Afterwards no
  slot may be busy and no connection open, and the memory of gateway and engine is told.
"""

from __future__ import annotations

import argparse
import random
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psutil

from scripts.endpoint_servers import KEY, NAME, Server, bare, engine, front, weights
from scripts.figures import conditions, show

NUM_CTX = 1024


def ask(url: str, text: str, tokens: int) -> dict[str, Any]:
    """A whole answer, as an object."""
    body = {
        "model": NAME, "stream": False, "messages": [{"role": "user", "content": text}],
        "options": {"num_predict": tokens, "temperature": 0},
    }  # fmt: skip
    with httpx.Client(trust_env=False, timeout=600) as client:
        said: dict[str, Any] = client.post(url + "/api/chat", json=body).raise_for_status().json()
    return said


def at_once(gguf: str, count: int) -> dict[str, Any]:
    """So many requests at once on two slots; each has a prompt of another length, by which its answer is known."""
    with bare(gguf, NUM_CTX, slots=2) as server, front(server, NUM_CTX, slots=2) as gateway:
        texts = [f"Say hello. {'Again. ' * number}" for number in range(count)]
        expected = [ask(gateway.url, text, 1)["prompt_eval_count"] for text in texts]
        started = time.perf_counter()
        with ThreadPoolExecutor(count) as threads:
            answers = list(threads.map(lambda text: ask(gateway.url, text, 16), texts))
        seconds = time.perf_counter() - started
        assert len(set(expected)) == count, "the prompts must be of different lengths"
        return {
            "requests": count,
            "slots": 2,
            "answered": sum(answer["done"] for answer in answers),
            "with another's prompt": sum(
                answer["prompt_eval_count"] != tokens for answer, tokens in zip(answers, expected, strict=True)
            ),
            "seconds": round(seconds, 1),
            "busy slots afterwards": busy(server),
        }


def busy(server: Server) -> int:
    """Slots of llama.cpp that work, when it has had two seconds to stop."""
    headers = {"Authorization": f"Bearer {KEY}"}
    deadline = time.monotonic() + 2
    with httpx.Client(trust_env=False, headers=headers, timeout=60) as client:
        while True:
            count = sum(slot["is_processing"] for slot in client.get(server.url + "/slots").json())
            if not count or time.monotonic() > deadline:
                return count


def restless(url: str, number: int) -> str:
    """One client that may leave; what became of it."""
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
            httpx.Client(trust_env=False, timeout=timeout) as client,
            client.stream("POST", url + "/api/chat", json=body) as response,
        ):
            for _ in response.iter_lines():
                if dice.random() < 0.1:
                    return "left in the middle"
            return "answered" if response.status_code == 200 else f"refused with {response.status_code}"
    except httpx.ReadTimeout:
        return "left while it waited"


def disconnects(gguf: str, count: int) -> dict[str, Any]:
    with engine(gguf, NUM_CTX) as server, front(server, NUM_CTX) as gateway:
        for number in range(20):
            restless(gateway.url, -number - 1)
        ask(gateway.url, "hello", 1)
        before = {name: (one.memory(), one.descriptors()) for name, one in (("gateway", gateway), ("engine", server))}
        started = time.perf_counter()
        with ThreadPoolExecutor(8) as threads:
            fates = list(threads.map(lambda number: restless(gateway.url, number), range(count)))
        seconds = time.perf_counter() - started
        still = busy(server)
        said = ask(gateway.url, "hello", 4)
        after = {"gateway": gateway, "engine": server}
        return {
            "requests": count,
            "seconds": round(seconds, 1),
            **{fate: fates.count(fate) for fate in sorted(set(fates))},
            "busy slots afterwards": still,
            "answers afterwards": said["done"],
            **{f"{name}, MB more": round((one.memory() - before[name][0]) / 2**20, 1) for name, one in after.items()},
            **{f"{name}, descriptors more": one.descriptors() - before[name][1] for name, one in after.items()},
            "open connections of the gateway": len(
                [one for one in psutil.Process(gateway.pid).net_connections("tcp") if one.status == "ESTABLISHED"]
            ),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=500, help="requests that may leave")
    parser.add_argument("--at-once", type=int, default=64, help="requests at once on two slots")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    name = "smollm2:135m"
    gguf = str(weights(name).path)
    found = conditions(1, model=name)
    for part, figures in (
        ("at once", at_once(gguf, arguments.at_once)),
        ("leaving", disconnects(gguf, arguments.requests)),
    ):
        found |= {f"{part}: {what}": value for what, value in figures.items()}
    show(found, as_json=arguments.json)


if __name__ == "__main__":
    main()
