"""What more must hold for some programs of the corpus than their headers can say (see test_corpus.py)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from localgif.records import Limits, Verdict
from localgif.sandbox.protocol import LAYERS, LIMITS_ONLY
from tests.sandbox.guest_kit import SMALL, Ground, grounds, source_of

V = Verdict


@pytest.fixture
def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ground]:
    with grounds(tmp_path, monkeypatch) as ground:
        yield ground


def test_the_same_program_draws_the_same_bytes_twice(ground: Ground) -> None:
    source = source_of("b11_sets_and_chance.py")
    first, second = ground.run(source), ground.run(source)
    assert first.gif and first.gif == second.gif


def test_the_end_of_endless_output_is_kept_and_no_more(ground: Ground) -> None:
    result = ground.run(source_of("r62_prints_for_ever.py"))
    assert SMALL.output_kept - 2000 < len(result.output) <= SMALL.output_kept


def test_exit_handlers_of_the_program_do_not_run(ground: Ground) -> None:
    assert "late writer ran" not in ground.run(source_of("o87_late_writers.py")).output


def test_nothing_that_moves_a_terminal_is_left_in_output(ground: Ground) -> None:
    result = ground.run(source_of("o88_terminal_sequences.py"))
    assert result.output.startswith("red 2J end\n")
    assert "\x1b" not in result.output + result.reason


def test_a_late_writer_cannot_swap_what_was_read(ground: Ground) -> None:
    limits = SMALL.model_copy(update={"processes": 2, "threads": 8})
    result = ground.run(source_of("f24_late_writer.py"), limits, LAYERS[LIMITS_ONLY])
    assert result.verdict is V.OK
    assert result.gif is not None and result.gif.startswith(b"GIF8")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("x = 1\0", "NUL"),
        ("#" * (SMALL.source_bytes + 1), "bytes long, the limit is"),
        ("x = '\ud800'", "not valid text"),
    ],
)
def test_what_is_no_program_is_refused_without_running(source: str, said: str, ground: Ground) -> None:
    result = ground.run(source)
    assert (result.verdict, result.wall_seconds) == (V.ERROR, 0.0)
    assert said in result.reason


def test_a_file_of_exactly_the_limit_is_taken(ground: Ground) -> None:
    gif = ground.run(source_of("b6_bytes_io.py")).gif
    assert gif is not None
    exact = Limits(**{**SMALL.model_dump(), "file_size": len(gif)})
    assert ground.run(source_of("b6_bytes_io.py"), exact).verdict is V.OK
    short = Limits(**{**SMALL.model_dump(), "file_size": len(gif) - 1})
    assert ground.run(source_of("b6_bytes_io.py"), short).verdict is V.OUTPUT_TOO_BIG
