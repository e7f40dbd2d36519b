"""The report: a pure function from a stored run to one self-contained HTML page.

The page asks for nothing from anywhere (its Content-Security-Policy forbids it) and has no script: what a model or a
program wrote is escaped text, a GIF is a data: URL of bytes that were measured in the sandbox.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

from localgif.records import Sample
from localgif.runs.store import StoredRun

#: Samples whose GIF is embedded: beyond this the page would grow past what mail and browsers like.
MAX_GIFS = 200


@dataclass(frozen=True)
class _Picture:
    """One sample as the page shows it."""

    sample: Sample
    source: str | None
    code: str
    loop: str


@dataclass(frozen=True)
class _Call:
    number: int
    candidate: str
    mean: float
    pictures: list[_Picture]


def render(run: StoredRun) -> str:
    """The page of a run, finished or not."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("localgif.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    used = {sample.candidate for sample in run.samples}
    return environment.get_template("report.html").render(
        record=run.record,
        result=run.record.result,
        calls=_calls(run),
        fresh=_fresh(run),
        proposals=run.proposals,
        prompts={name: run.text("candidates", name) for name in used},
        torn=run.torn,
    )


def _calls(run: StoredRun) -> list[_Call]:
    groups: dict[int, list[Sample]] = {}
    for sample in run.samples:
        if sample.metric_call is not None:
            groups.setdefault(sample.metric_call, []).append(sample)
    return [
        _Call(
            number,
            samples[0].candidate,
            sum(s.score.total for s in samples) / len(samples),
            [_picture(run, s) for s in samples],
        )
        for number, samples in sorted(groups.items())
    ]


def _fresh(run: StoredRun) -> list[tuple[str, list[_Picture]]]:
    """Fresh samples by prompt: the seed's first, then the evolved one's."""
    groups: dict[str, list[_Picture]] = {}
    for sample in run.samples:
        if sample.purpose == "fresh":
            groups.setdefault(sample.candidate, []).append(_picture(run, sample))
    seed = run.samples[0].candidate if run.samples else ""
    return [("seed prompt" if name == seed else "evolved prompt", pictures) for name, pictures in groups.items()]


def _picture(run: StoredRun, sample: Sample) -> _Picture:
    source = None
    if sample.gif is not None and run.samples.index(sample) < MAX_GIFS:
        source = "data:image/gif;base64," + base64.b64encode(run.data("gifs", sample.gif)).decode()
    measured: Any = sample.measurements
    loop = f"{measured.gap / measured.motion:.1f}" if measured is not None and measured.motion > 0 else "-"
    return _Picture(sample, source, run.text("code", sample.code) if sample.code else "", loop)
