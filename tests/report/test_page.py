"""The report's HTML: complete for every run, and text from strangers stays text."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localgif.errors import SandboxError
from localgif.records import TaskResult
from localgif.report.page import render, write_report
from localgif.store.read import load_run
from localgif.store.write import RunStore
from localgif.tasks.task import load_task
from tests.support.reports import ALL, BRIEF, Maker, make_run, record

pytestmark = pytest.mark.slow


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "source", "br", "path", "use", "rect", "link", "base"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            assert self.open.pop() == tag, f"</{tag}> closes something else"


def tags(page: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = Tags()
    parser.feed(page)
    assert not parser.open
    return parser.tags


def page_of(folder: Path) -> str:
    return write_report(folder).read_text("utf-8")


def test_text_of_models_and_programs_stays_text(tmp_path: Path) -> None:
    page = page_of(make_run(tmp_path, samples=20, text=ALL))
    plain = page_of(make_run(tmp_path, "plain", samples=20, text="x"))
    found = tags(page)
    # The hostile page has the same elements as the plain page, and its only script.
    assert {tag for tag, _ in found} <= {tag for tag, _ in tags(plain)} | {"ins", "del", "mark"}
    assert sum(tag == "script" for tag, _ in found) == 1
    assert not [name for _, attributes in found for name in attributes if name.startswith("on")]
    for tag, attributes in found:
        for name in ("src", "href", "srcset"):
            value = attributes.get(name) or "#"
            assert value.startswith(("#", "data:image/gif;base64,", "data:image/png;base64,")), (tag, value[:80])
    assert "{{ 7 * 7 }}" in page, "text is no template either"
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", page)


def test_the_page_asks_for_nothing(report: Path) -> None:
    page = report.read_text("utf-8")
    (policy,) = [a["content"] for tag, a in tags(page) if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert re.fullmatch(
        r"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-[\w+/]{43}='; "
        r"base-uri 'none'; form-action 'none'",
        policy,
    )
    assert not re.search(r"(?:src|href|srcset)=\"(?!data:image/|#)", page)
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page), "clip paths of a plot are in the page itself"
    assert "http://" not in page and "https://" not in page


@settings(max_examples=12)
@given(st.text(max_size=80))
def test_any_text_makes_a_page(tmp_path_factory: Any, text: str) -> None:
    folder = tmp_path_factory.mktemp("runs")
    with RunStore.create(folder, record("one", text)) as store:
        store.finish("failed", error=text)
    assert render(load_run(folder / "one"), "failed").rstrip().endswith("</html>")
    shutil.rmtree(folder)


def test_a_run_at_any_moment_has_a_page(tmp_path: Path) -> None:
    """Runs with no measurements, with half of the samples, with an incomplete last line."""
    with RunStore.create(tmp_path, record("empty")) as store:
        page = page_of(store.folder)
        assert "no sample has been measured yet" in page
        assert "running" in page
    assert "died" in page_of(tmp_path / "empty")
    half = make_run(tmp_path, "half", samples=20, finished=False)
    lines = (half / "samples.jsonl").read_bytes()
    (half / "samples.jsonl").write_bytes(lines[: len(lines) - 40])
    page = page_of(half)
    assert "No verdict: this run is not finished (<code>localgif resume half</code> continues it)." in page
    assert "So far the best prompt has a search mean of" in page
    assert "A crash cut off the last line of 1 log;" in page


def test_missing_and_changed_files_are_named_and_the_rest_is_shown(tmp_path: Path) -> None:
    folder = make_run(tmp_path, samples=20)
    gifs = sorted((folder / "gifs").iterdir())
    gifs[0].unlink()
    gifs[1].write_bytes(b"GIF89a something else")
    program = sorted((folder / "code").iterdir())[0]
    program.unlink()
    page = page_of(folder)
    assert "3 files of the run are missing or changed" in page
    assert f"code/{program.name}" in page
    assert "its file is missing or was changed" in page


def test_the_verdict_the_table_and_the_reasons_are_there(report: Path) -> None:
    page = report.read_text("utf-8")
    assert re.search(
        r"The evolved prompt is better\s+<span class=\"numbers\">\(\+0\.\d{3} on average, 95 % interval", page
    )
    assert BRIEF in page
    assert "Rejected: the rule was too long. It cost no metric call." in page
    assert "Not better than its parent in the search" in page
    assert "<ins>- Rule 0 of" in page
    assert "Rule: number 4 &lt;b&gt;is&lt;/b&gt; bold &amp; short" in page
    assert "localgif optimize --animator scripted --reflector scripted --reflection plain" in page
    assert "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046" in page


def test_a_moving_gif_has_a_still_for_who_wants_no_motion(report: Path) -> None:
    page = report.read_text("utf-8")
    boxes = re.findall(r"<span class=\"gif( moves)?\">(.*?)</span>", page, re.DOTALL)
    assert {bool(moves) for moves, _ in boxes} == {True, False}
    for moves, inside in boxes:
        assert bool(moves) == ('media="(prefers-reduced-motion: reduce)"' in inside)
        assert "no picture" in inside or re.search(r'alt="GIF by [^"]+; brief: a red ball', inside)


def test_strips_of_frames_come_from_the_sandbox_and_the_page_can_do_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_run(tmp_path, samples=20)
    page = page_of(folder)
    strips = re.findall(r'<img class="strip" src="data:image/png;base64,iVBOR', page)
    assert len(strips) >= 4, "the fresh ones of the evolved prompt at least"

    def broken(*_: object) -> bytes:
        raise SandboxError("it does not work here")

    monkeypatch.setattr("localgif.report.page.picture_gif", broken)
    without = page_of(folder)
    assert 'class="strip"' not in without
    assert without.count('class="tile"') == page.count('class="tile"')


@pytest.mark.full
def test_a_large_run_gets_a_small_page_fast_and_with_little_memory(large: Path) -> None:
    folder = large
    assert sum(f.stat().st_size for f in (folder / "gifs").iterdir()) > 15 * 2**20, "more than a page may hold"
    # The child reports its own memory: its ru_maxrss starts with the value of this process.
    code = (
        "import json, re, time; from pathlib import Path; from localgif.report.page import write_report; "
        f"write_report(Path({str(folder)!r})); "
        "peak = int(re.search(r'VmHWM:\\s*(\\d+) kB', Path('/proc/self/status').read_text())[1]); "
        "print(json.dumps([time.process_time(), peak]))"
    )
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], check=True, timeout=120, capture_output=True)
    elapsed = time.monotonic() - start
    cpu, memory = json.loads(done.stdout)
    assert cpu < 5, f"{cpu:.1f} s of CPU, {elapsed:.1f} s elapsed"
    assert memory < 500 * 1024, f"{memory / 1024:.0f} MB"
    page = folder / "report.html"
    assert page.stat().st_size < 25e6
    assert "GIFs are not embedded, to keep the page small" in page.read_text("utf-8")


def test_a_page_written_in_a_hurry_says_how_to_get_the_rest(tmp_path: Path) -> None:
    page = write_report(make_run(tmp_path, samples=20, finished=False), whole=False).read_text("utf-8")
    assert "<code>localgif report big</code> adds them" in page
    assert "<svg" not in page


def test_each_gif_says_its_brief(several: Path) -> None:
    page = render(load_run(several), "done")
    for name in ("bouncing-ball", "sliding-square"):
        assert f"brief: {load_task(name).brief}" in page
    assert "<h1>bouncing-ball, sliding-square " in page, "the headline names them all"


def test_the_parts_of_a_split_are_listed(tmp_path: Path) -> None:
    run = load_run(make_run(tmp_path, samples=20))
    split = {"train": ("two-balls", "spinning-bar"), "val": ("pulsing-circle",), "held-out": ("bouncing-ball",)}
    page = render(run._replace(record=run.record.model_copy(update={"split": split})), "done", plotted=False)
    assert '<tr><th scope="row">train tasks</th><td>two-balls, spinning-bar</td></tr>' in page
    assert '<tr><th scope="row">held-out tasks</th><td>bouncing-ball</td></tr>' in page
    assert "held-out tasks" not in render(run, "done", plotted=False)


def test_samples_of_other_tasks_have_their_own_table_and_change_no_mean(tmp_path: Path) -> None:
    run = load_run(make_run(tmp_path, samples=20))
    before = render(run, "done", plotted=False)
    row = TaskResult(
        task="spinning-bar", brief="a bar", family="spin", seed_scores=(0.125,), best_scores=(0.25,),
        seed_mean=0.125, best_mean=0.25, difference=0.125,
    )  # fmt: skip
    assert run.record.result is not None
    result = run.record.result.model_copy(update={"transfer": (row,)})
    other = run.samples[-1].model_copy(update={"purpose": "transfer", "task": row.task})
    record = run.record.model_copy(update={"result": result, "neighbours": (load_task(row.task),)})
    after = render(run._replace(record=record, samples=(*run.samples, other)), "done", plotted=False)
    assert "carries over" in after and "+0.125" in after and "other task 1" in after
    assert "carries over" not in before
    parts = [page[page.index('id="parts"') : page.index('id="settings"')] for page in (before, after)]
    assert parts[0] == parts[1]


def test_the_prompt_is_whole_and_its_examples_are_marked(tmp_path: Path) -> None:
    text = "Draw it.\n\nExample answer:\n```python\nx = 1 < 2\n```\nAnswer like this.\n" + "x" * 30_000
    run = load_run(make_run(tmp_path, samples=20, text=text))
    page = render(run, "done", plotted=False)
    shown = re.search(r'<pre class="whole" id="prompt-text">(.*?)</pre>', page, re.DOTALL)
    assert shown is not None and "x" * 30_000 in shown[1]
    assert re.findall(r"<mark>(.*?)</mark>", shown[1], re.DOTALL) == ["```python\nx = 1 &lt; 2\n```\n"]
    assert "Marked: the worked examples" in page


def test_times_are_local(report: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        page = render(load_run(report.parent), "done", plotted=False)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert '<time datetime="2026-11-25T09:00:00Z">2026-11-25 18:00</time>' in page


def test_a_plot_needs_four_points(tmp_path: Path) -> None:
    with RunStore.create(tmp_path, record("few")) as store:
        maker = Maker(store)
        for index in range(3):
            maker.sample("Draw.", index, "search", index + 1, 24, index)
        store.finish("interrupted")
        page = render(load_run(store.folder), "interrupted")
        assert "Too few samples for a plot." in page and "<svg" not in page
        maker.sample("Draw.", 3, "search", 4, 24, 3)
        assert "<svg" in render(load_run(store.folder), "interrupted")


def test_equal_rejections_in_a_row_are_one_row(tmp_path: Path) -> None:
    with RunStore.create(tmp_path, record("r")) as store:
        maker = Maker(store)
        maker.sample("Draw.", 0, "search", 1, 24, 1)
        for number, reason in enumerate(["too_long", "too_long", "too_long", "empty", "too_long"], 1):
            maker.proposal(number, "Draw.", None, reason=reason)
        page = render(load_run(store.folder), "running", plotted=False)
    assert "3 times, proposals 1 to 3: A rule from the reflector. Rejected: the rule was too long." in page
    assert page.count('<li class="several">') == 1
    assert page.count('<li id="step-') == 5


def test_a_demo_says_so(tmp_path: Path) -> None:
    run = load_run(make_run(tmp_path, samples=20))
    page = render(run._replace(record=run.record.model_copy(update={"demo": True})), "done", plotted=False)
    assert "<title>DEMO big - localgif</title>" in page and "Recorded answers replaced the models." in page
    assert re.search(r"DEMO: the evolved prompt is better", page) and 'aria-label="Command">localgif demo</pre>' in page
    assert "DEMO" not in render(run, "done", plotted=False)
