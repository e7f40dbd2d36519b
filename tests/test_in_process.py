"""The benchmark's in-process way: what a program does there is told, and it reaches nothing beyond its output."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from localgif.records import Verdict
from scripts.in_process import InProcess
from tests.kit import program


@pytest.fixture(scope="module")
def child() -> Iterator[InProcess]:
    with InProcess(wall_seconds=1.0) as running:
        yield running


def test_a_program_is_run_and_measured(child: InProcess) -> None:
    first, second = child.render(program(24)), child.render(program(7))
    assert (first.verdict, second.verdict) == (Verdict.OK, Verdict.OK)
    assert first.measurements is not None and first.measurements.frames == 24
    assert second.measurements is not None and second.measurements.frames == 7
    assert second.measurements.size < first.measurements.size, "nothing of the file before is left"


@pytest.mark.parametrize(
    ("code", "verdict", "said"),
    [
        ("def make_gif(path):\n    imige\n", Verdict.ERROR, "NameError: name 'imige' is not defined"),
        ("def make_gif(path)\n", Verdict.ERROR, "SyntaxError"),
        ("def draw(path): ...\n", Verdict.ERROR, "KeyError: 'make_gif'"),
        ("import sys\nsys.exit(3)\n", Verdict.ERROR, "SystemExit: 3"),
        ("def make_gif(path): ...\n", Verdict.OUTPUT_MISSING, "wrote no"),
        ("def make_gif(path):\n    open(path, 'wb').write(b'GIF89a')\n", Verdict.OUTPUT_BAD, "cannot be read"),
        ("def make_gif(path):\n    while True: ...\n", Verdict.WALL_LIMIT, "did not end within 1 s"),
        ("import os\nos._exit(0)\n", Verdict.CRASHED, "ended the process"),
    ],
)
def test_what_goes_wrong_is_told_and_the_next_program_runs(
    child: InProcess, code: str, verdict: Verdict, said: str
) -> None:
    found = child.render(code)
    assert found.verdict is verdict
    assert said in found.reason
    assert found.measurements is None
    assert child.render(program(5)).verdict is Verdict.OK


@pytest.mark.parametrize(
    "line",
    ["open({}, 'w')", "__import__('socket').socket()", "__import__('os').fork()", "__import__('os').kill(1, 0)"],
)
def test_nothing_else_is_reached(child: InProcess, tmp_path: Path, line: str) -> None:
    target = tmp_path / "there"
    found = child.render(f"def make_gif(path):\n    {line.format(repr(str(target)))}\n")
    assert found.verdict is Verdict.ERROR
    assert "PermissionError" in found.reason
    assert not target.exists()
