"""A run folder for what writes into one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from localgif.records import SandboxRecord
from localgif.store.read import RunRecord
from localgif.store.write import RunStore
from tests.support.kit import settings


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RunStore]:
    fields: dict[str, Any] = {"versions": {}, "sandbox": SandboxRecord(), "scorer": "article-1"}
    fields["settings"] = settings("http://127.0.0.1:1")
    with RunStore.create(tmp_path, RunRecord(name="r", status="started", started="x", **fields)) as store:
        yield store
