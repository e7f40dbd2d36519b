"""What doctor measured is kept for each model and role, and a file that somebody spoilt is no measurement."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localgif.doctor.models import StoredPace, recall, remember
from tests.kit import settings

FIRST = settings("http://127.0.0.1:1")
OTHER = settings("http://127.0.0.1:2")


def test_a_measurement_comes_back_for_its_models_alone(tmp_path: Path) -> None:
    assert recall(tmp_path / "new", FIRST) is None
    remember(tmp_path / "new", FIRST, 12.3456, 7)
    kept = recall(tmp_path / "new", FIRST)
    assert kept is not None and (kept.attempt, kept.reflection) == (12.346, 7)
    assert recall(tmp_path / "new", OTHER) is None
    mixed = FIRST.model_copy(update={"reflector": OTHER.reflector})
    assert recall(tmp_path / "new", mixed) is None
    remember(tmp_path / "new", OTHER, 1, 2)
    assert recall(tmp_path / "new", FIRST) == kept
    assert recall(tmp_path / "new", mixed) == StoredPace(12.346, 2, kept.at)


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    remember(tmp_path / "file", FIRST, 1, 2)
    assert recall(tmp_path / "file", FIRST) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(entry=JSON, seconds=JSON, whole=st.sampled_from(["file", "models", "entry", "seconds"]))
def test_a_spoilt_file_is_no_measurement(
    tmp_path_factory: pytest.TempPathFactory, entry: object, seconds: object, whole: str
) -> None:
    folder = tmp_path_factory.mktemp("cache")
    remember(folder, FIRST, 1, 2)
    (file,) = folder.iterdir()
    stored = json.loads(file.read_text())
    one = next(iter(stored["models"]))
    if whole == "seconds":
        stored["models"][one]["seconds"] = seconds
    elif whole == "entry":
        stored["models"][one] = entry
    else:
        stored = entry if whole == "file" else {**stored, "models": entry}
    file.write_text(json.dumps(stored))
    found = recall(folder, FIRST)
    assert found is None or (whole == "seconds" and isinstance(seconds, int | float) and seconds > 0)
    remember(folder, FIRST, 3, 4)
    kept = recall(folder, FIRST)
    assert kept is not None and (kept.attempt, kept.reflection) == (3, 4)
