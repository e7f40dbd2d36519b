"""A run folder for what writes into one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from localgif.records import RunRecord
from localgif.store.write import RunStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RunStore]:
    fields: dict[str, Any] = {"settings": {}, "versions": {}, "sandbox": {}, "scorer": "article-1"}
    with RunStore.create(tmp_path, RunRecord(name="r", status="started", started="x", **fields)) as store:
        yield store
