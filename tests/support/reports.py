"""Stored runs for tests of the report: of any size, with real GIFs of many kinds, or full of hostile text."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from localgif.gif.score import article, no_gif
from localgif.records import (
    Attempt,
    Measurements,
    ModelIdentity,
    Proposal,
    Purpose,
    RunResult,
    Sample,
    SandboxRecord,
    Score,
    SecondsByPart,
    Verdict,
)
from localgif.run.result import Pairs, compare, prompt_result
from localgif.settings import EndpointSettings
from localgif.store.read import RunRecord
from localgif.store.write import RunStore
from localgif.tasks.task import Targets, Task
from tests.support import kit
from tests.support.kit import model, numbers, run_result, settings

START = datetime(2026, 11, 25, 9, 0, tzinfo=UTC)
BRIEF = "a red ball bouncing up and down on a white background"
FRESH = 1_000_000
EMBEDDED = EndpointSettings(name="embedded", kind="embedded", url=None)


def gif(frames: int, place: int, *, noise: int = 0) -> bytes:
    """A dot that moves; `noise` pixels a side of random colour make the file large."""
    draw = random.Random(place)
    images = []
    for i in range(frames):
        image = Image.new("RGB", (160, 160), "white")
        y = 24 + (place * 7) % 40 + 70 * abs((i / max(1, frames)) * 2 - 1)
        ImageDraw.Draw(image).ellipse((60 + place % 30, y, 90 + place % 30, y + 30), fill="red")
        if noise:  # with a palette already: finding one for random colours takes ten times as long as writing them
            image = image.convert("P")
            image.paste(Image.frombytes("P", (noise, noise), draw.randbytes(noise * noise)), (0, 0))
        images.append(image)
    file = io.BytesIO()
    images[0].save(file, "GIF", save_all=True, append_images=images[1:], duration=40, loop=0)
    return file.getvalue()


def measured(data: bytes, frames: int, gap: float = 1.0) -> Measurements:
    return numbers(frames, width=160, height=160, size=len(data), motion=9e3 if frames > 1 else 0, gap=9e3 * gap)


class Maker:
    """Writes a run folder sample by sample, a quarter of a minute each."""

    def __init__(self, store: RunStore, *, noise: int = 0, text: str = "") -> None:
        self.store = store
        self.noise = noise
        self.text = text
        self.samples: list[Sample] = []
        self._clock = 0

    def stamp(self) -> str:
        self._clock += 1
        return (START + timedelta(seconds=15 * self._clock)).strftime("%Y-%m-%dT%H:%M:%SZ")

    def sample(
        self, prompt: str, index: int, purpose: Purpose, call: int | None, frames: int, place: int, task: str = "t"
    ) -> Sample:
        """One sample; 0 frames is a program that failed."""
        code = self.store.put("code", f"# {self.text}\n# {place} {frames}\nprint('no drawing here')\n")
        numbers = name = None
        score: Score = no_gif("article")
        if frames:
            data = gif(frames, place, noise=self.noise)
            name, numbers = self.store.put("gifs", data), measured(data, frames, 1 + place % 3)
            score = article(numbers)
        verdict = Verdict.OK if frames else Verdict.ERROR
        attempt = Attempt(
            reply=self.text or "a program",
            code=code,
            verdict=verdict,
            reason=self.text or ("" if frames else "NameError: name 'math' is not defined (line 3)"),
            done_reason="closed",
            prompt_tokens=None,
            output_tokens=160 + place,
            llm_seconds=8.0 + place % 5,
            sandbox_seconds=0.2,
        )
        made = Sample(
            candidate=self.store.put("candidates", prompt),
            task=task,
            index=index,
            purpose=purpose,
            metric_call=call,
            seed=index,
            attempts=(attempt,) if frames else (attempt,) * 3,
            verdict=verdict,
            code=code,
            gif=name,
            measurements=numbers,
            score=score,
            started=self.stamp(),
        )
        self.store.append(made)
        self.samples.append(made)
        return made

    def proposal(self, number: int, parent: str, child: str | None, **changes: Any) -> None:
        values: dict[str, Any] = {
            "number": number,
            "parent": self.store.put("candidates", parent),
            "child": self.store.put("candidates", child) if child is not None else None,
            "outcome": "evaluated" if child is not None else "rejected",
            "move": "instruction",
            "reason": "" if child is not None else "too_long",
            "prompt": self.text or f"What went wrong: {number}\nWrite one rule.",
            "reply": self.text or f"Rule: number {number} <b>is</b> bold & short",
            "finish_reason": "stop",
            "prompt_tokens": 400,
            "output_tokens": 30 + number,
            "llm_seconds": 4.5,
            "started": self.stamp(),
        }
        self.store.append_proposal(Proposal(**{**values, **changes}))


def record(name: str, text: str = "") -> RunRecord:
    models = tuple(
        ModelIdentity(
            role=role,
            alias=text or "qwen-coder-1.5b",
            model=text or "qwen2.5-coder:1.5b",
            endpoint="embedded",
            kind="embedded",
            server=text or "xllamacpp 2026.10.11549",
            digest="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
            num_ctx=8192,
            num_predict=1024,
            temperature=0.2,
        )
        for role in ("animator", "reflector")
    )
    return kit.record(
        name,
        START.strftime("%Y-%m-%dT%H:%M:%SZ"),
        settings=settings(
            "",
            animator=model("animator", "", endpoint=EMBEDDED),
            reflector=model("reflector", "", endpoint=EMBEDDED, alias=text or "scripted"),
            task=text or "bouncing-ball",
        ),
        models=models,
        versions={"python": "3.11.7", "localgif": "0.1.0", "gepa": text or "0.1.4"},
        sandbox=SandboxRecord(level=text or "full", notes=(text or "programs see only Python's libraries and fonts",)),
        task=Task(
            name=text or "bouncing-ball",
            brief=text[:400] if len(text) >= 3 else BRIEF,
            targets=Targets(frames=24, loop_ms=1000, max_bytes=100 * 1024),
        ),
    )


def prompts(count: int, text: str = "") -> Iterator[str]:
    """A seed prompt and children that each change a few words."""
    base = f"You are a Python animator. Write one function that draws what is asked. {text}\nRules:\n"
    for number in range(count):
        rules = [f"- Rule {i} of {number}: draw {24 - i} frames and close the loop." for i in range(number % 5)]
        yield base + "\n".join(rules)


def make_run(
    runs: Path, name: str = "big", *, samples: int = 40, noise: int = 0, text: str = "", finished: bool = True
) -> Path:
    """A run of about this many samples: metric calls of two, re-tests, and four fresh samples of each prompt."""
    with RunStore.create(runs, record(name, text)) as store:
        maker = Maker(store, noise=noise, text=text)
        calls = max(2, (samples - 12) // 2)
        texts = list(prompts(calls, text))
        place = 0
        for call, prompt in enumerate(texts, 1):
            if call > 1:
                if call % 4 == 0:
                    maker.proposal(2 * call - 1, texts[max(0, call - 3)], None)
                maker.proposal(2 * call, texts[max(0, call - 2 - call % 3)], prompt)
            for index in range(2):
                place += 1
                frames = 0 if place % 7 == 3 else (1, 8, 24, 12, 30)[(call + index) % 5]
                maker.sample(prompt, index, "search", call, frames, place)
        best = texts[min(2, len(texts) - 1)]
        if not finished:
            store.finish("interrupted", error=text or "stopped by Ctrl-C")
            return store.folder
        for index in range(4):
            maker.sample(best, 500_000 + index, "retest", None, 24, index % 2)
        fresh = [
            [maker.sample(prompt, FRESH + i, "fresh", None, frames, 50 + i + frames) for i in range(4)]
            for prompt, frames in ((texts[0], 1), (best, 24))
        ]
        store.finish("done", result=_result(store, texts[0], best, fresh))
    return store.folder


def _result(store: RunStore, seed: str, best: str, fresh: list[list[Sample]]) -> RunResult:
    first, second = prompt_result(seed, fresh[0]), prompt_result(best, fresh[1])
    return run_result(
        verdict=compare({"t": Pairs(first.scores, second.scores)}).rounded(),
        seed=dict(first) | {"search_scores": (0.3,)},
        best=dict(second) | {"search_scores": (0.9, 0.8), "retest_scores": (0.9,), "is_seed": False},
        run=store.record.name,
        folder="runs/big",
        scorer="article",
        reflection="plain",
        ended_by="budget",
        programs_run=40,
        seconds=SecondsByPart(total=900.0, load=5.0, llm=600.0, sandbox=40.0),
        sandbox=store.record.sandbox,
    )


#: Texts that would run, load, break out of a page or rearrange it, were they anything but text.
HOSTILE = [
    "<script>window.broken = 1</script>",
    "</script><script>window.broken = 1</script>",
    "<img src=x onerror='window.broken = 1'>",
    "<svg onload=window.broken=1><animate onbegin=window.broken=1></svg>",
    "\"><iframe src=javascript:window.broken=1></iframe>",
    "' autofocus onfocus='window.broken=1' x='",
    "\" onmouseover=\"window.broken=1\" style=\"position:fixed;inset:0",
    "</pre></details></main></body></html><h1>mine</h1>",
    "</title></head><body onload=window.broken=1>",
    "</style><style>*{display:none!important}</style>",
    "<link rel=stylesheet href=http://127.0.0.1:9/x.css><base href=http://127.0.0.1:9/>",
    "<meta http-equiv=refresh content='0;url=http://127.0.0.1:9/'>",
    "<object data=http://127.0.0.1:9/x></object><embed src=http://127.0.0.1:9/x>",
    "<form action=http://127.0.0.1:9/><button>press</button></form>",
    "<!-- ", "--><script>window.broken=1</script>", "<![CDATA[ ", "<plaintext>", "<noscript><style>",
    "{{ 7 * 7 }} {% raw %} {# note #} ${7*7} <%= 7*7 %>",
    "$x_{1}$ \\frac{1}{2} \\unknownmacro $",
    "javascript:window.broken=1", "data:text/html,<script>window.broken=1</script>",
    "../../../../etc/passwd", "C:\\nul", "\x00\x01\x1b[31m\x1b]0;title\x07\x7f\x9b31m",
    "\u202egnp.exe\u2066\u2069\u200f", "&lt;script&gt;&#x3c;b&#x3e;&nbsp", "\ufeff\ufffe\uffff\ud800",
    "a" * 5000, "word " * 3000, "\n" * 400, "\t\r\n\x0b\x0c\u2028\u2029", "Z\u0351\u036b\u0343\u036a\u0302\u036b" * 40,
    "`; rm -rf /; $(reboot) 'x' \"y\" \\", "%s %d {0} {x!r}", "';--\" or 1=1", "@import url(http://127.0.0.1:9/x)",
]  # fmt: skip

#: A record never holds half a surrogate pair: JSON could not carry it.
HOSTILE = [text.encode("utf-8", "replace").decode() for text in HOSTILE]
ALL = "\n".join(HOSTILE)
