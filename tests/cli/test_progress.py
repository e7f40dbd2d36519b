"""Progress: what each display shows, and watching a run from its folder, even a damaged one."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from localgif.cli.progress import JsonLines, Lines, LiveLines, NoLines, Watcher, make_progress, time_parts, watch
from localgif.run.optimize import optimize
from localgif.search.progress import Plan, Standing, plan_of
from localgif.store.read import load_run
from localgif.store.write import RunStore
from tests.support.kills import Deterministic, chosen
from tests.support.scripted import serving


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[str]]]:
    """A run of several samples, and the lines of its own display."""
    folder = tmp_path_factory.mktemp("runs")
    output = io.StringIO()
    with serving(Deterministic()) as server, Lines(Console(file=output, width=200)) as display:
        optimize(chosen(server.url), folder, "r", display)
    yield folder / "r", output.getvalue().splitlines()


def timeless(lines: list[str]) -> list[str]:
    """The lines about events, without durations and current activities."""
    return [line for line in lines if line.startswith(("call ", "  reflector:", "  other numbers:"))]


def test_who_watches_reads_what_the_run_itself_said(told: tuple[Path, list[str]]) -> None:
    folder, lines = told
    output = io.StringIO()
    assert watch(folder, Lines(Console(file=output, width=200))) == "done"
    seen = output.getvalue().splitlines()
    calls = [line for line in timeless(lines) if line.startswith("call ")]
    assert len(calls) >= 6
    assert [line for line in timeless(seen) if line.startswith("call ")] == calls
    assert sorted(timeless(seen)) == sorted(timeless(lines))
    assert sum(" sample  " in line for line in seen) == len(load_run(folder).samples)


class Growing:
    """Copies a run into another folder piece by piece, one at each pause of the watcher."""

    def __init__(self, source: Path, store: RunStore) -> None:
        self.left = (source / "samples.jsonl").read_bytes()
        self.store = store
        self.pauses = 0

    def __call__(self, seconds: float) -> None:
        assert seconds > 0
        self.pauses += 1
        piece, self.left = self.left[:7_001], self.left[7_001:]
        with (self.store.folder / "samples.jsonl").open("ab") as file:
            file.write(piece)
        self.store.doing(f"sample, step {self.pauses}")
        if not self.left:
            self.store.finish("failed", error="the server is gone")


def test_lines_that_are_being_written_are_told_once_and_whole(told: tuple[Path, list[str]], tmp_path: Path) -> None:
    run = load_run(told[0])
    output = io.StringIO()
    with RunStore.create(tmp_path, run.record.model_copy(update={"status": "started", "result": None})) as store:
        growing = Growing(told[0], store)
        status = watch(store.folder, JsonLines(Console(file=io.StringIO()), output), growing)
    assert status == "failed" and growing.pauses > 3
    events = [json.loads(line) for line in output.getvalue().splitlines()]
    samples = [e for e in events if e["event"] == "sample"]
    assert [(e["candidate"], e["index"], e["purpose"], e["score"]) for e in samples] == [
        (s.candidate, s.index, s.purpose, s.score.total) for s in run.samples
    ]
    calls = [e for e in events if e["event"] == "metric_call"]
    assert [e["number"] for e in calls] == sorted({s.metric_call for s in run.samples if s.metric_call})
    assert calls[-1]["standing"]["best"] >= calls[-1]["standing"]["seed"]
    assert any(e["event"] == "activity" and e["text"].startswith("sample, step") for e in events)


def test_a_damaged_line_and_rubbish_beside_it_are_passed_over(told: tuple[Path, list[str]], tmp_path: Path) -> None:
    run = load_run(told[0])
    with RunStore.create(tmp_path, run.record) as store:
        lines = (told[0] / "samples.jsonl").read_bytes().splitlines(keepends=True)
        (store.folder / "samples.jsonl").write_bytes(b"".join([lines[0], b"\x00\xff{\n", b"[]\n", lines[1]]))
        (store.folder / ".now").write_bytes(b"\xff{")
        display = NoLines(Console(file=io.StringIO()))
        Watcher(store.folder, display).look()
    assert display.tally.done == 2


@pytest.mark.parametrize(
    ("display", "terminal", "term", "kind"),
    [
        ("plain", True, "xterm", Lines),
        ("json", True, "xterm", JsonLines),
        ("none", True, "xterm", NoLines),
        ("rich", False, "xterm", Lines),
        (None, True, "xterm", LiveLines),
        (None, True, "dumb", Lines),
        (None, False, "xterm", Lines),
    ],
)
def test_a_terminal_gets_the_live_block_unless_another_display_is_chosen(
    display: str | None, terminal: bool, term: str, kind: type[Lines]
) -> None:
    console = Console(file=io.StringIO(), force_terminal=terminal, _environ={"TERM": term})
    assert type(make_progress(console, display)) is kind


def test_no_display_says_nothing_and_counts(told: tuple[Path, list[str]]) -> None:
    output = io.StringIO()
    display = NoLines(Console(file=output))
    watch(told[0], display)
    assert output.getvalue() == "" and display.tally.done > 0
    assert any(part.startswith("animator") for part in time_parts(display.tally))


def test_the_live_block_shows_call_best_and_what_is_going_on() -> None:
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=100, _environ={"TERM": "xterm"})
    with LiveLines(console) as progress:
        progress.started("run", ("animator x",), Plan(12, 2, 4), 0.0)
        progress.metric_call(1, 0.25, "seed", "", Standing(0.25, 0.25))
        progress.metric_call(2, 0.5, "proposal", "", Standing(0.25, 0.5))
        progress.activity("reflecting (proposal 2)")
        console.print(progress.block())
    shown = output.getvalue()
    assert "sample 0 of 12" in shown
    assert "best 0.500 (seed 0.250)" in shown
    assert "now: reflecting (proposal 2)" in shown
    assert "animator x" in shown


@pytest.mark.parametrize(
    ("terminal", "environment"),
    [(True, {"TERM": "xterm", "NO_COLOR": "1"}), (False, {"TERM": "xterm"}), (True, {"TERM": "dumb"})],
)
@pytest.mark.parametrize("width", [20, 80])
@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_any_terminal_is_served(terminal: bool, environment: dict[str, str], width: int, encoding: str) -> None:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, errors="backslashreplace")  # as Python opens stderr
    console = Console(file=file, force_terminal=terminal, width=width, _environ=environment)
    with make_progress(console) as progress:
        progress.started("läuft", ("animator x",), Plan(12, 2, 4), 0.0)
        progress.activity("reflecting: writing a program (try 1)")
        progress.metric_call(1, 0.25, "seed", "", Standing(0.25, 0.25, 0.08))
        progress.note("größer\x1b[31m")
    file.flush()
    shown = raw.getvalue().decode(encoding)
    assert "call  1  mean 0.250" in shown
    assert "\x1b[31m" not in shown


def test_a_continued_run_shows_only_what_is_new() -> None:
    output = io.StringIO()
    progress = Lines(Console(file=output, width=120))
    progress.started("run", (), Plan(4, 1, 2), 600.0)
    progress.replay(True)
    progress.metric_call(1, 0.25, "seed", "", Standing(0.25, 0.25))
    progress.replay(False)
    progress.replay(False)
    progress.metric_call(2, 0.5, "proposal", "", Standing(0.25, 0.5))
    shown = output.getvalue()
    assert "call  1" not in shown and "call  2" in shown
    assert shown.count("continues: search: sample 0 of 4   best 0.250 (seed 0.250)   10 min 00 s elapsed") == 1


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_block_says_everything_at_each_width(told: tuple[Path, list[str]], width: int) -> None:
    run = load_run(told[0])
    console = Console(file=io.StringIO(), force_terminal=True, width=width, _environ={"TERM": "xterm"})
    live = LiveLines(console)
    live.started("r", (), plan_of(run.record), 4000.0)
    for sample in run.samples[:5]:
        live.tally.sample(sample)
    live.tally.metric_call(Standing(0.25, 0.5, 0.081))
    live.activity("metric call 3, sample 1 of 2: writing code")
    lines = live.block().plain.splitlines()
    assert all(len(line) <= width for line in lines)
    text = "\n".join(lines)
    for part in (
        r"^search: sample 5 of 12 ",
        r" [\d,]+ tokens, \d+ tokens/s\b",
        r"best 0\.500 \(seed 0\.250, one sample \+-0\.081\)",
        r"1 h 06 min elapsed, at most .* left$",
        r"animator \d+ % of the time \(\d+ tokens/s\)",
        r"^now: metric call 3, ",
    ):
        assert re.search(part, text, re.MULTILINE), (part, text)
    assert len(lines) <= {60: 6, 80: 5, 120: 4}[width], text
