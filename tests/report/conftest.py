"""One large run for all tests of the report that need one: making it takes longer than reading it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.report.big import make_run


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 samples, and more bytes of GIFs than a page may hold."""
    return make_run(tmp_path_factory.mktemp("large"), samples=300, noise=48)
