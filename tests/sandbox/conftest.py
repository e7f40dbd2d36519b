"""Where the programs of a test run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from localgif.sandbox import jobs
from tests.support.ground import Ground, grounds


@pytest.fixture
def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ground]:
    """A directory for jobs that must be empty, and a canary that must be untouched, when the test ends."""
    with grounds(tmp_path, monkeypatch) as ground:
        yield ground
        ground.check()


@pytest.fixture
def fresh_keeper() -> Iterator[None]:
    """The test starts a keeper of its own, and leaves none."""
    jobs.stop()
    yield
    jobs.stop()
