"""Runs for several tests of the report."""

from __future__ import annotations

from pathlib import Path

import pytest

from localgif.report.page import write_report
from localgif.run.optimize import optimize
from tests.support.kit import Notes, fenced, program, settings
from tests.support.reports import make_run
from tests.support.scripted import Scripted, serving


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with more bytes of GIFs than a page embeds."""
    return make_run(tmp_path_factory.mktemp("large"), samples=120, noise=110)


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a finished run."""
    return write_report(make_run(tmp_path_factory.mktemp("runs"), samples=40))


@pytest.fixture(scope="session")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("runs")
    tasks = "bouncing-ball,sliding-square"
    with serving(Scripted(animator=[fenced(program(24))], reflector=["```\nDraw it.\n```"])) as server:
        wanted = settings(server.url, mode="multi", task=tasks, metric_calls=4, samples=1, fresh=1)
        optimize(wanted, place, "several", Notes())
    return place / "several"
