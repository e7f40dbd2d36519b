"""The report: one file that asks for nothing, and in which nothing that a model wrote is anything but text."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from localgif.gif.score import article, no_gif
from localgif.records import Attempt, Measurements, Proposal, RunRecord, Sample, Verdict
from localgif.report.html import render
from localgif.runs.store import RunStore, load_run

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'`{{ 7*7 }}"


def stored(folder: Path, text: str) -> Path:
    """A run whose every text is the given one: one good sample, one failed, one proposal, no result."""
    record = RunRecord(
        name="one", status="failed", started="t", settings={}, versions={"x": text}, sandbox={"level": "l"}, scorer="s"
    )
    numbers = Measurements(
        frames=2, width=8, height=8, size=9, delays_ms=(40, 40), loop=0, motion=9e3, gap=1, colours=2, distinct_frames=2
    )
    with RunStore.create(folder, record) as store:
        candidate, code, gif = store.put_candidate(text), store.put_code(text), store.put_gif(b"GIF89a")
        common: dict[str, Any] = {"candidate": candidate, "task": "t", "seed": 1, "started": "t", "metric_call": 1}
        attempt = Attempt(
            reply=text,
            code=code,
            verdict=Verdict.ERROR,
            reason=text,
            done_reason="stop",
            prompt_tokens=1,
            output_tokens=1,
            llm_seconds=1,
            sandbox_seconds=1,
        )
        good = {"verdict": Verdict.OK, "code": code, "gif": gif, "measurements": numbers, "score": article(numbers)}
        bad = {"verdict": Verdict.ERROR, "code": code, "gif": None, "measurements": None, "score": no_gif("article")}
        store.append_sample(Sample(index=0, purpose="search", attempts=(attempt,), **common, **good))
        store.append_sample(Sample(index=1, purpose="search", attempts=(attempt,), **common, **bad))
        store.append_proposal(
            Proposal(
                number=1,
                parent=candidate,
                child=None,
                outcome="empty",
                prompt=text,
                reply=text,
                finish_reason="stop",
                prompt_tokens=1,
                output_tokens=1,
                llm_seconds=1,
                started="t",
            )
        )
        store.finish("failed", error=text)
    return folder / "one"


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def tags(page: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = Tags()
    parser.feed(page)
    return parser.tags


def test_text_of_models_and_programs_stays_text(tmp_path: Path) -> None:
    page = render(load_run(stored(tmp_path, EVIL)))
    found = tags(page)
    assert not [tag for tag, _ in found if tag in ("script", "iframe", "link", "object", "form")]
    assert not [name for _, attributes in found for name in attributes if name.startswith("on")]
    assert [a["src"] for tag, a in found if tag == "img"] == ["data:image/gif;base64,R0lGODlh"]
    assert "{{ 7*7 }}" in page, "text is no template either"


def test_the_page_asks_for_nothing(tmp_path: Path) -> None:
    page = render(load_run(stored(tmp_path, "text")))
    (policy,) = [a["content"] for tag, a in tags(page) if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert not re.search(r"(?:src|href)=\"(?!data:)", page)
    assert "url(" not in page and "@import" not in page


@given(st.text(max_size=80))
def test_any_text_makes_a_page(tmp_path_factory: Any, text: str) -> None:
    page = render(load_run(stored(tmp_path_factory.mktemp("runs"), text)))
    assert page.rstrip().endswith("</html>")
