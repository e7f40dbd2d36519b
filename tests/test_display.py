"""The terminal's side: what is drawn, and that nothing a model wrote can steer the terminal."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from localgif.cli.progress import Lines, LiveLines, make_progress
from localgif.records import RunResult, RunVerdict
from localgif.report.story import verdict_sentence
from localgif.sandbox.text import printable
from localgif.search.progress import Standing, duration
from tests.kit import run_result


@given(st.text())
def test_printable_text_has_no_controls_and_is_stable(text: str) -> None:
    shown = printable(text)
    assert not any(ord(c) < 32 and c not in "\n\t" for c in shown)
    assert "\x7f" not in shown and "\x9b" not in shown
    assert printable(shown) == shown


def test_an_escape_sequence_goes_whole() -> None:
    assert printable("\x1b[2Jhello\x07\u202e") == "hello"


def test_durations_are_readable() -> None:
    said = [duration(s) for s in (None, -3, 4.24, 42, 59.6, 65, 3725)]
    assert said == ["-", "0.0 s", "4.2 s", "42 s", "1 min 00 s", "1 min 05 s", "1 h 02 min"]


def test_a_terminal_gets_the_live_block_and_a_pipe_plain_lines() -> None:
    def chosen(terminal: bool, term: str) -> type[Lines]:
        return type(make_progress(Console(file=io.StringIO(), force_terminal=terminal, _environ={"TERM": term})))

    assert chosen(True, "xterm") is LiveLines
    assert chosen(True, "dumb") is Lines
    assert chosen(False, "xterm") is Lines


def test_the_live_block_shows_call_best_and_what_is_going_on() -> None:
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=100, _environ={"TERM": "xterm"})
    with LiveLines(console) as progress:
        progress.started("run", ("animator x",), 12, 4, 0.0)
        progress.metric_call(1, 0.25, "seed", "", Standing(0.25, 0.25))
        progress.metric_call(2, 0.5, "proposal", "", Standing(0.25, 0.5))
        progress.activity("reflecting (proposal 2)")
        block = str(progress._block())
    assert "sample 0 of 12" in block
    assert "best 0.500 (seed 0.250)" in block
    assert "now: reflecting (proposal 2)" in block
    assert "animator x" in output.getvalue()


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
        progress.started("läuft", ("animator x",), 12, 4, 0.0)
        progress.activity("reflecting: writing a program (try 1)")
        progress.metric_call(1, 0.25, "seed", "", Standing(0.25, 0.25, 0.08))
        progress.note("größer\x1b[31m")
    file.flush()
    shown = raw.getvalue().decode(encoding)
    assert "call  1  mean 0.250" in shown
    assert "\x1b[31m" not in shown


def test_a_run_that_goes_on_tells_only_what_is_new() -> None:
    output = io.StringIO()
    progress = Lines(Console(file=output, width=120))
    progress.started("run", (), 4, 2, 600.0)
    progress.replay(True)
    progress.metric_call(1, 0.25, "seed", "", Standing(0.25, 0.25))
    progress.replay(False)
    progress.replay(False)
    progress.metric_call(2, 0.5, "proposal", "", Standing(0.25, 0.5))
    shown = output.getvalue()
    assert "call  1" not in shown and "call  2" in shown
    assert shown.count("goes on: sample 0 of 4   best 0.250 (seed 0.250)   10 min 00 s elapsed") == 1


def result(word: str, fresh: int = 4, smallest: float = 0.03, **more: Any) -> RunResult:
    numbers = {"difference": 0.1, "interval": None, "p_value": 0.4, "smallest_possible_p_value": smallest}
    verdict = RunVerdict.model_validate({"word": word, **numbers, **more})
    return run_result(verdict, seed={"scores": (0.0,) * fresh})


def test_the_verdict_is_a_sentence_that_claims_what_was_shown() -> None:
    assert "the evolved prompt is better" in verdict_sentence(result("better"))
    assert "no difference was shown" in verdict_sentence(result("not shown"))
    assert "1 fresh samples per prompt are too few" in verdict_sentence(result("not shown", 1, 1.0))
    assert "keeps the seed prompt" in verdict_sentence(run_result(best={"is_seed": True}))


def test_the_verdict_says_the_interval_and_what_was_resampled() -> None:
    one: dict[str, Any] = {"unit": "sample", "pairs": 4, "tasks": 1}
    assert "95 % interval -0.020 to +0.300, p = 0.400, 4 pairs" in verdict_sentence(
        result("not shown", interval=(-0.02, 0.3), **one)
    )
    assert "the same in each pair" in verdict_sentence(result("better", interval=(0.1, 0.1), **one))
    assert "interval" not in verdict_sentence(result("not shown", 1, 1.0, **one))
    several = verdict_sentence(result("not shown", 2, 0.25, interval=(0, 1), unit="task", pairs=6, tasks=3))
    assert "6 pairs of fresh samples of 3 tasks, tasks resampled" in several
    assert "3 tasks are too few to show a difference; at least 6 are needed." in several
