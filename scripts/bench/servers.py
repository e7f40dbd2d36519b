"""The servers that benchmarks compare, each in its own process, and the requests to them.

`bare` is llama.cpp's own server with its defaults, `engine` is the one that localgif starts, `front` is localgif's
gateway in front of either. The embedded endpoint is the last two; here a benchmark knows the engine's key, so it can
also ask the engine directly.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import psutil

from localgif.endpoint.child import embedded_endpoint
from localgif.endpoint.engine import usable_cores
from localgif.endpoint.llama import SLOTS, EngineConfig
from localgif.models.fetch import pull
from localgif.models.find import places_for
from localgif.offline import weights_environment
from localgif.records import RemoteModel, ServeConfig

KEY = "known here"
NAME = "measured"
SAMPLING = {"temperature": 0.2, "top_k": 40, "top_p": 0.9, "min_p": 0.0, "repeat_penalty": 1.0}
Messages = list[dict[str, str]]


@dataclass(frozen=True)
class Server:
    """A started server."""

    url: str
    pid: int

    def memory(self) -> int:
        """Resident bytes."""
        return int(psutil.Process(self.pid).memory_info().rss)


def weights(name: str) -> str:
    """The path of a known model's verified weights; downloads missing ones."""
    return str(pull(name, places_for(*weights_environment())).path)


@contextlib.contextmanager
def _started(*arguments: str, line: bytes = b"") -> Iterator[tuple[int, str]]:
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-m", *arguments], stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(line)
            process.stdin.flush()
            said = process.stdout.readline().decode().strip()
            if not said:
                raise SystemExit(f"{' '.join(arguments)} ended with exit code {process.wait()} before it was ready")
            yield process.pid, said
        finally:
            process.stdin.close()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


@contextlib.contextmanager
def bare(gguf: str, num_ctx: int) -> Iterator[Server]:
    """llama.cpp's server with its defaults, a free port, and the same window as ours."""
    with _started(__name__, gguf, str(num_ctx)) as (pid, url):
        yield Server(url, pid)


@contextlib.contextmanager
def engine(gguf: str, num_ctx: int) -> Iterator[Server]:
    """The engine of the embedded endpoint."""
    config = EngineConfig(gguf, NAME, num_ctx, usable_cores(), KEY, os.getpid(), slots=SLOTS)
    with _started("localgif.endpoint.llama", line=config.to_line()) as (pid, said):
        event = json.loads(said)
        if event["event"] != "ready":
            raise SystemExit(event["message"])
        yield Server(event["url"], pid)


@contextlib.contextmanager
def front(server: Server, num_ctx: int) -> Iterator[Server]:
    """The gateway in front of a server, without counting prompts, as in the embedded endpoint."""
    remote = RemoteModel(name=NAME, url=server.url, key=KEY, dialect="other", server="", window=num_ctx)
    with embedded_endpoint(ServeConfig(remotes=(remote,), slots=SLOTS)) as running:
        yield Server(running.url, running.pid)


@dataclass(frozen=True)
class Timed:
    """One streamed answer."""

    first: float
    """Seconds to the first token."""
    total: float
    tokens: int
    timings: dict[str, Any]
    """llama.cpp's own, over /v1."""

    @property
    def rate(self) -> float:
        """Tokens a second after the first."""
        return (self.tokens - 1) / (self.total - self.first)

    @property
    def read_again(self) -> float:
        """The part of the prompt that was not in the cache, 0 to 1."""
        return float(self.timings["prompt_n"] / (self.timings["prompt_n"] + self.timings["cache_n"]))


def client(timeout: float = 600) -> httpx.Client:
    """A client that presents the known key."""
    return httpx.Client(trust_env=False, timeout=timeout, headers={"Authorization": f"Bearer {KEY}"})


def openai(server: Server, messages: Messages, tokens: int, seed: int) -> Timed:
    """An answer of llama.cpp over /v1."""
    body = {"model": NAME, "messages": messages, "max_tokens": tokens, "seed": seed, **SAMPLING}
    return _timed(
        server.url + "/v1/chat/completions", {**body, "stream": True, "stream_options": {"include_usage": True}}
    )


def ollama(server: Server, messages: Messages, tokens: int, seed: int) -> Timed:
    """An answer over the Ollama API, as the animator gets it."""
    options = {**SAMPLING, "num_predict": tokens, "seed": seed}
    return _timed(server.url + "/api/chat", {"model": NAME, "messages": messages, "options": options})


def _timed(url: str, body: dict[str, Any]) -> Timed:
    started, first = time.perf_counter(), 0.0
    last: dict[str, Any] = {}
    with client() as http, http.stream("POST", url, json=body) as response:
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


def main() -> None:
    """The process of `bare`: serves until its stdin is closed."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = sys.argv[1]
    params.model_alias = {NAME}
    params.n_ctx = int(sys.argv[2])
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    while os.read(0, 4096):
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
