"""An Ollama that reads, counts and cuts prompts as a test sets it; the roles get scripted answers."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from tests.support.scripted import DIGEST, MODEL, Act, Entry, Scripted, refuse

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

    def tells(self, path: str) -> dict[str, Any] | None:
        if path != "/api/ps":
            return super().tells(path)
        told = {} if self.window is None else {"context_length": self.window}
        return {"models": [{"name": MODEL, "model": MODEL, "digest": DIGEST, **told}]}

    def next(self, path: str, body: dict[str, Any]) -> Entry:
        if path == "/api/chat" and body.get("stream") is False:
            return self._whole(body)
        return super().next(path, body)

    def _whole(self, body: dict[str, Any]) -> Act:
        """The answer to one of the questions that measure."""
        words = body["messages"][0]["content"].split()
        total = len(words)
        self.asked_whole.append(body)
        if self.refuse_from is not None and total >= self.refuse_from:
            return refuse(400, f"request ({total} tokens) exceeds the available context size")
        if self.cut is not None and total > self.cut:
            words = words[-self.cut :]
        prompt = " ".join(words)
        said = re.search(r"The code word is (\w+)\.", prompt)
        text = self.answers[len(self.asked_whole) % len(self.answers)]
        if "code word" in prompt:
            text = said[1].upper() if said and not self.weak else "blue"
        counts = {
            "prompt_eval_count": len(words),
            "prompt_eval_duration": int(len(words) / READ * 1e9),
            "eval_count": 10,
            "eval_duration": int(10 / WRITE * 1e9),
        }
        message = {"role": "assistant", "content": "" if self.silent else text}
        whole = {"model": MODEL, "message": message, "done": True, "done_reason": "stop"}
        return lambda talk: talk.json({**whole, **(counts if self.counts else {})})
