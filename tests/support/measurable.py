"""An Ollama that reads, counts and cuts prompts as a test sets it; the roles get scripted answers."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.scripted import DIGEST, MODEL, Scripted, handler_of, listening

RULE = "Rule: Draw 24 frames so that the last one leads back to the first.\n"
READ, WRITE = 500.0, 20.0
"""Tokens per second that the server claims."""


@dataclass
class Server(Scripted):
    """What the server does besides answering the roles."""

    window: int | None = 4096
    """Allocated; None: not reported."""
    cut: int | None = None
    """Prompts longer than this lose their beginning silently."""
    counts: bool = True
    """Whether it reports how many tokens it read."""
    weak: bool = False
    """Whether its answers are wrong."""
    silent: bool = False
    """Whether its answers are empty."""
    refuse_from: int | None = None
    """Prompts of this many tokens get 400."""
    answers: list[str] = field(default_factory=lambda: ["It falls. It rises."])
    """To repeated requests, in turns."""
    asked_whole: list[dict[str, Any]] = field(default_factory=list)


def _answer(server: Server, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    words = body["messages"][0]["content"].split()
    total = len(words)
    server.asked_whole.append(body)
    if server.refuse_from is not None and total >= server.refuse_from:
        return 400, {"error": f"request ({total} tokens) exceeds the available context size"}
    if server.cut is not None and total > server.cut:
        words = words[-server.cut :]
    prompt = " ".join(words)
    said = re.search(r"The code word is (\w+)\.", prompt)
    text = server.answers[len(server.asked_whole) % len(server.answers)]
    if "code word" in prompt:
        text = said[1].upper() if said and not server.weak else "blue"
    text = "" if server.silent else text
    counts = {
        "prompt_eval_count": len(words),
        "prompt_eval_duration": int(len(words) / READ * 1e9),
        "eval_count": 10,
        "eval_duration": int(10 / WRITE * 1e9),
    }
    return 200, {
        "model": MODEL,
        "message": {"role": "assistant", "content": text},
        "done": True,
        "done_reason": "stop",
        **(counts if server.counts else {}),
    }


def _wider(server: Server) -> type[BaseHTTPRequestHandler]:
    scripted: Any = handler_of(server)

    class Handler(scripted):  # type: ignore[misc]
        rfile: Any

        def do_GET(self) -> None:
            if self.path == "/api/ps":
                told = {} if server.window is None else {"context_length": server.window}
                self._json({"models": [{"name": MODEL, "model": MODEL, "digest": DIGEST, **told}]})
            else:
                super().do_GET()

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = json.loads(raw or b"{}")
            if self.path == "/api/chat" and body.get("stream") is False:
                status, said = _answer(server, body)
                self._json(said, status)
                return
            stream: Any = self.rfile
            self.rfile = io.BytesIO(raw)
            try:
                super().do_POST()
            finally:
                self.rfile = stream

    return Handler


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    """Serve on loopback."""
    with listening(_wider(server)) as server.url:
        yield server
