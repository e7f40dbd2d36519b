"""`localgif demo`: a whole run in under a minute, with recorded answers instead of models.

A small server on loopback speaks the Ollama API and answers from demo.json, recorded in a run with a real model. The
rest is the same as in every run: sandbox, measurements, GEPA, comparison, report. run.json marks the run as `demo`, so
that no other command uses it as a result.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path
from typing import Any

from localgif.endpoint.discover import SYSTEM_QUESTION
from localgif.records import RunResult
from localgif.run.optimize import ready, record_of, work
from localgif.search.progress import Progress
from localgif.settings import EndpointSettings, ModelSettings, Role, Settings
from localgif.store.write import RunStore
from localgif.tasks.suite import chosen_suite

MODEL = "demo-recorded:1.5b"
_WINDOW = 8192


def demo(runs_dir: Path, progress: Progress) -> RunResult:
    """Evolve a prompt with recorded answers; the run's name is date, time and "demo".

    Raises:
        PreflightError: The sandbox does not work on this machine.
        RunError: The run folder cannot be written.
    """
    clock = time.monotonic()
    with _serving() as url:
        settings = _settings(url)
        suite = chosen_suite(settings)
        with ready(settings, runs_dir, progress) as roles:
            name = f"{datetime.now(UTC).astimezone():%Y-%m-%d-%H%M%S}-demo"
            record = record_of(settings, suite, roles, name).model_copy(update={"demo": True})
            with RunStore.create(runs_dir, record) as store:
                return work(suite, roles, store, progress, clock)


def _settings(url: str) -> Settings:
    """The settings of the recorded run."""
    temperatures: dict[Role, float] = {"animator": 0.2, "reflector": 0.7}
    animator, reflector = (
        ModelSettings(
            role=role,
            alias="demo",
            endpoint=EndpointSettings(name="demo", kind="ollama", url=url),
            model=MODEL,
            num_ctx=_WINDOW,
            temperature=temperature,
            path=None,
            litellm=f"ollama/{MODEL}",
        )
        for role, temperature in temperatures.items()
    )
    return Settings(animator=animator, reflector=reflector, task="spinning-square", transfer=False)


class _Answers:
    """The animator's recorded answers: one list for the seed prompt, one for prompts with an example. Each is used in
    order, and its last answer is repeated. The reflector has none: the search over formulas found the example."""

    def __init__(self) -> None:
        text = resources.files("localgif.run").joinpath("demo.json").read_text("utf-8")
        self._lists: dict[str, list[tuple[str, int]]] = json.loads(text)["answers"]
        self._said: Counter[str] = Counter()
        self._lock = threading.Lock()

    def next(self, body: dict[str, Any]) -> tuple[str, int]:
        """Text and tokens of the next answer to a request."""
        if "messages" not in body:
            return "", 1
        system = "".join(each["content"] for each in body["messages"] if each["role"] == "system")
        kind = "example" if "```" in system else "seed"
        with self._lock:
            place = min(self._said[kind], len(self._lists[kind]) - 1)
            self._said[kind] += 1
        return self._lists[kind][place]


class _Server(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers = _Answers()


class _Handler(BaseHTTPRequestHandler):
    """The part of the Ollama API that a run uses."""

    server: _Server

    def log_message(self, *_: object) -> None: ...

    def do_GET(self) -> None:
        entry = {"name": MODEL, "model": MODEL, "modified_at": "2026-01-01T00:00:00Z", "size": 1, "details": {}}
        self._send({"models": [entry]} if self.path == "/api/tags" else {"version": "0.0.0-demo"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/api/show":
            self._send({"details": {}, "model_info": {"demo.context_length": _WINDOW}, "capabilities": ["completion"]})
            return
        asked = body.get("prompt") or "\n".join(each["content"] for each in body["messages"])
        if asked.endswith(SYSTEM_QUESTION):  # does the model read system messages? words stand for tokens here
            self._send({**_part(body, "yes"), **_end(len(asked.split()), 1)})
            return
        text, tokens = self.server.answers.next(body)
        end = _end(max(7, len(asked) // 4), tokens)
        if not body.get("stream", True):
            self._send({**_part(body, text), **end})
            return
        lines = [{**_part(body, line), "done": False} for line in text.splitlines(keepends=True)]
        self._send(*lines, {**_part(body, ""), **end}, kind="application/x-ndjson")

    def _send(self, *values: dict[str, Any], kind: str = "application/json") -> None:
        data = b"".join(json.dumps(value).encode() + b"\n" for value in values)
        with contextlib.suppress(ConnectionError):  # localgif closes the stream after a whole program
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)


def _part(body: dict[str, Any], text: str) -> dict[str, Any]:
    said: dict[str, Any] = (
        {"response": text} if "prompt" in body else {"message": {"role": "assistant", "content": text}}
    )
    return {"model": MODEL, "created_at": "2026-01-01T00:00:00Z", **said}


def _end(read: int, written: int) -> dict[str, Any]:
    counts = {"prompt_eval_count": read, "eval_count": written, "total_duration": 1, "load_duration": 1}
    return {"done": True, "done_reason": "stop", **counts}


@contextlib.contextmanager
def _serving() -> Iterator[str]:
    """Run a server with the recorded answers; yields its address."""
    with _Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
