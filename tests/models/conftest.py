"""Fixtures of the tests of localgif.models."""

from __future__ import annotations

from pathlib import Path

import pytest

from localgif.models import download
from tests.support.weights import Machine


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine without weights, on which retries take no time."""
    monkeypatch.setattr(download, "RETRY_SECONDS", 0.0)
    return Machine(tmp_path, monkeypatch)
