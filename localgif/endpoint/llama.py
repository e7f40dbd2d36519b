"""llama.cpp in a process of its own: `python -m localgif.endpoint.llama`. The only module that imports xllamacpp.

It runs in its own process because loading a model holds the interpreter's lock for seconds, and because llama.cpp
ends its process when it fails. The protocol is two lines: one JSON object of `EngineConfig` on stdin, and one
on stdout, `{"event": "ready", "url", "num_ctx"}` or `{"event": "failed", "message"}`. The engine then serves until its
stdin ends, so it never outlives the gateway.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

#: Tokens per step of reading a prompt. llama.cpp notices a client that left only between two steps: 512 (its default)
#: take many seconds on a small machine. With 64, a model of 1.5B on one core reads 3 % slower than with 128 and is free
#: 0.9 s after its client left instead of 2.5 s; with 32 it reads 20 % slower.
_BATCH = 64
#: Tokens that are guessed at a time. Reading a wrong guess is wasted, and an answer phrase by phrase needs only a few
#: tokens at a time: with 24 it takes 0.9 times as long as with 63, while a copied program takes 1.08 times as long.
_GUESS = 24
#: Memory for prompts that others replaced. A model of 1.5B needs about 28 KiB a token, so this holds six prompts of
#: 1,000 tokens. The default of 8 GiB would fill a small machine's memory with old prompts.
_KEPT_MIB = 176
#: This many short requests are answered together. Four bare contracts are written 1.6 times as fast as one; prompts in
#: the form are not, because guesses fill the processor too (docs/lab/benchmarks.md).
SLOTS = 4
#: What a chat template adds to a message, bytes at most.
_MARKUP = 64
#: Only errors: the reason for refusing a file is an error line on stderr.
_VERBOSITY = 1


@dataclass(frozen=True)
class EngineConfig:
    """What one engine serves."""

    gguf: str
    """Path of the weights."""
    name: str
    num_ctx: int
    """Window to allocate, tokens; llama.cpp rounds it up and cuts it at the training window."""
    threads: int
    api_key: str
    """Every request must carry it; only the gateway knows it."""
    parent: int
    """Process id of the gateway."""
    speculation: bool = True
    """Guess ahead from n-grams of prompt and answer: copied code comes almost twice as fast, with the same odds."""
    slots: int = 1
    """Requests at a time; together they must fit into the window."""

    def to_line(self) -> bytes:
        """The line for stdin."""
        return json.dumps(asdict(self)).encode() + b"\n"


def is_short(messages: Sequence[str], longest: int, window: int) -> bool:
    """Whether a request needs at most its share of a window in tokens; a token is at least one byte of its messages.

    Args:
        longest: Most tokens of the answer; negative for no limit.
    """
    read = sum(len(message.encode()) + _MARKUP for message in messages) + _MARKUP
    return longest >= 0 and (read + longest) * SLOTS <= window


def main() -> None:
    """Read the configuration, load, report, wait for the end of stdin. Never returns."""
    say = _claim_stdout()
    # Ctrl-C in a terminal reaches the whole group; the gateway decides when to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    config = EngineConfig(**json.loads(sys.stdin.buffer.readline()))
    _die_with_parent(config.parent)
    try:
        server = _load(config)
        window = _allocated_window(server.listening_address, config.api_key)
    except Exception as error:  # whatever the C++ side throws becomes the one line that the gateway waits for
        say({"event": "failed", "message": str(error)})
        os._exit(1)
    say({"event": "ready", "url": server.listening_address, "num_ctx": window})
    while os.read(0, 4096):
        pass
    # No orderly end: the destructors would wait for a running generation.
    os._exit(0)


def _claim_stdout() -> Callable[[dict[str, Any]], None]:
    """Keep the real stdout for our one line; everything else that is printed goes to stderr."""
    private = os.dup(1)
    os.dup2(2, 1)

    def say(event: dict[str, Any]) -> None:
        os.write(private, json.dumps(event).encode() + b"\n")

    return say


def _die_with_parent(parent: int) -> None:
    """Ask the kernel to kill us when the gateway dies: nothing here notices the end of stdin while a model loads.

    Only Linux has this. Elsewhere the engine ends with its stdin once it has loaded.
    """
    import ctypes

    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # 1: PR_SET_PDEATHSIG
    if os.getppid() != parent:  # it died before we asked
        os._exit(1)


def _load(config: EngineConfig) -> Any:
    """llama.cpp's own HTTP server with the model in it. Every default that matters is set explicitly."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = config.gguf
    params.model_alias = {config.name}
    params.n_ctx = config.num_ctx
    params.n_parallel = config.slots
    params.kv_unified = True  # one request may use the whole window
    params.n_batch = params.n_ubatch = _BATCH
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = config.threads
    params.fit_params = False  # it would load the model twice to shrink a window that we chose
    params.ctx_shift = False  # an over-long prompt is an error, never a prompt without its beginning
    # Keeps what was read of a prompt when another one takes its place: both roles and several tasks take turns.
    params.cache_ram_mib = _KEPT_MIB
    # By default, idle slots forget what they have read when another begins; their next requests would read it again.
    params.cache_idle_slots = False
    params.reasoning_format = xllamacpp.common_reasoning_format.COMMON_REASONING_FORMAT_DEEPSEEK
    if config.speculation:
        # Not ngram_map_k: what it keeps of earlier prompts stops it from guessing in later ones.
        params.speculative.types = [xllamacpp.common_speculative_type.COMMON_SPECULATIVE_TYPE_NGRAM_SIMPLE]
        params.speculative.ngram_simple.size_m = _GUESS
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [config.api_key]
    params.cors_origins = ""
    params.ui = False
    params.endpoint_slots = True
    params.endpoint_metrics = False
    params.sse_ping_interval = -1
    params.verbosity = _VERBOSITY
    return xllamacpp.Server(params)


def _allocated_window(url: str, api_key: str) -> int:
    """Tokens that one request may use, as llama.cpp allocated them."""
    request = urllib.request.Request(f"{url}/props", headers={"Authorization": f"Bearer {api_key}"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=30) as response:
        return int(json.load(response)["default_generation_settings"]["n_ctx"])


if __name__ == "__main__":
    main()
