"""Small things for tests: settings for a scripted server, programs, records, recorded events, CPU time of a call."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from localgif.records import Measurements, Proposal, RunResult, RunVerdict, Sample, SandboxRecord
from localgif.search.progress import Plan, Standing
from localgif.settings import EndpointSettings, ModelSettings, Role, Settings
from localgif.store.read import RunRecord, load_record
from tests.support.scripted import MODEL


def model(role: Role, url: str, **changes: Any) -> ModelSettings:
    values = {
        "role": role,
        "alias": "scripted",
        "endpoint": EndpointSettings(name="ollama", kind="ollama", url=url),
        "model": MODEL,
        "num_ctx": 4096,
        "num_predict": 1024,
        "temperature": 0.2,
        "path": None,
        "litellm": f"ollama/{MODEL}",
    }
    return ModelSettings(**{**values, **changes})


def settings(url: str, **changes: Any) -> Settings:
    """Settings of a plain run with the article's score that spends its whole budget; `changes` are other fields."""
    roles = {"animator": model("animator", url), "reflector": model("reflector", url)}
    plain = {"reflection": "plain", "target": None, "scorer": "article", "form": False, "transfer": False}
    return Settings(**{**roles, **plain, **changes})


def run_result(verdict: RunVerdict | None = None, seed: Any = None, best: Any = None, **changes: Any) -> RunResult:
    """The result of the stored run in tests/runs/v2; `seed` and `best` are changes of the two prompts."""
    stored = load_record(Path(__file__).parents[1] / "runs" / "v2").result
    assert stored is not None
    return stored.model_copy(
        update={
            "verdict": verdict or stored.verdict,
            "seed": stored.seed.model_copy(update=seed),
            "best": stored.best.model_copy(update=best),
            **changes,
        }
    )


def numbers(frames: int = 24, delay: int = 40, **changes: Any) -> Measurements:
    """The measurements of a GIF that is perfect by the article's score, except for the changes."""
    base = {
        "frames": frames,
        "width": 200,
        "height": 200,
        "size": 10_000,
        "delays_ms": (delay,) * frames,
        "loop": 0,
        "motion": 50_000.0,
        "gap": 50_000.0,
        "colours": 2,
        "distinct_frames": frames,
    }
    return Measurements.model_validate({**base, **changes})


def program(frames: int, duration: int = 40) -> str:
    """A program that draws a square going in a circle: `frames` frames in a closed loop."""
    return f"""
import math
from PIL import Image, ImageDraw

def make_gif(path):
    frames = []
    for i in range({frames}):
        image = Image.new("RGB", (96, 96), "white")
        x, y = 48 + 30 * math.cos(2 * math.pi * i / {frames}), 48 + 30 * math.sin(2 * math.pi * i / {frames})
        ImageDraw.Draw(image).rectangle((x - 9, y - 9, x + 9, y + 9), fill="black")
        frames.append(image)
    frames[0].save(path, save_all=True, append_images=frames[1:], duration={duration}, loop=0)
"""


def fenced(code: str) -> str:
    return f"Here you are:\n```python\n{code}```\nThis program draws the animation."


class Notes:
    """A progress that records its events."""

    def __init__(self) -> None:
        self.activities: list[str] = []
        self.notes: list[str] = []
        self.replays: list[bool] = []
        self.samples: list[Sample] = []
        self.calls: list[tuple[int, float, str]] = []
        self.lines: tuple[str, ...] = ()
        self.proposals: list[Proposal] = []

    def activity(self, text: str) -> None:
        self.activities.append(text)

    def download(self, done: int, total: int, what: str) -> None: ...

    def replay(self, on: bool) -> None:
        self.replays.append(on)

    def started(self, name: str, lines: tuple[str, ...], plan: Plan, elapsed: float) -> None:
        self.lines = lines

    def sample(self, sample: Sample) -> None:
        self.samples.append(sample)

    def metric_call(self, number: int, mean: float, what: str, task: str, standing: Standing | None) -> None:
        self.calls.append((number, mean, what))

    def proposal(self, proposal: Proposal) -> None:
        self.proposals.append(proposal)

    def note(self, text: str) -> None:
        self.notes.append(text)


def tiny_models(num_predict: int) -> str:
    """A models.toml with the real SmolLM2-135M in both roles, on the embedded endpoint."""
    return f"""
[roles]
animator  = "tiny"
reflector = "tiny"
[endpoints.embedded]
kind = "embedded"
[models.tiny]
endpoint    = "embedded"
model       = "smollm2:135m"
num_ctx     = 4096
num_predict = {num_predict}
"""


def record(name: str = "one", started: str = "2026-01-01T00:00:00Z", **changes: Any) -> RunRecord:
    values: dict[str, Any] = {
        "name": name,
        "status": "started",
        "started": started,
        "settings": settings("http://127.0.0.1:1"),
        "versions": {},
        "sandbox": SandboxRecord(level="x"),
        "scorer": "article-1",
    }
    return RunRecord(**{**values, **changes})


def proposal(number: int, reply: str = "text") -> Proposal:
    return Proposal(
        number=number,
        parent="p",
        child=None,
        outcome="empty",
        prompt="",
        reply=reply,
        finish_reason="stop",
        prompt_tokens=1,
        output_tokens=1,
        llm_seconds=0.5,
        started="2026-01-01T00:00:00Z",
    )


def seconds(call: Callable[[], object]) -> float:
    """The CPU time of one call, in seconds; other work on the machine does not count.

    For tests that no input makes it slow, with a generous bound that only a wrong growth exceeds.
    """
    began = time.thread_time()
    call()
    return time.thread_time() - began
