"""Writing a run folder: durable, content-addressed, locked."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localgif.errors import ConfigError, RunError
from localgif.files import content_hash
from localgif.store.read import load_record, load_run, status_of
from localgif.store.write import RunStore
from tests.support.kit import proposal, record


def test_a_run_says_started_until_it_is_finished(tmp_path: Path) -> None:
    with RunStore.create(tmp_path, record()) as store:
        assert load_record(store.folder).status == "started"
        assert status_of(store.folder, load_record(store.folder)) == "running"
        result = load_record(Path(__file__).parent.parent / "runs" / "v2").result
        store.finish("done", result=result)
    assert load_record(tmp_path / "one").result == result is not None


def test_a_name_is_given_once(tmp_path: Path) -> None:
    with RunStore.create(tmp_path, record()):
        pass
    with pytest.raises(ConfigError, match="already"), RunStore.create(tmp_path, record()):
        pass


def test_an_unwritable_place_is_a_run_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be created"), RunStore.create(tmp_path / "file", record()):
        pass


@settings(max_examples=30)
@given(st.lists(st.text(max_size=60), max_size=5))
def test_lines_come_back_as_they_were_written(tmp_path_factory: pytest.TempPathFactory, replies: list[str]) -> None:
    folder = tmp_path_factory.mktemp("runs")
    with RunStore.create(folder, record()) as store:
        written = [store.append_proposal(proposal(i, reply)) for i, reply in enumerate(replies, 1)]
    assert list(load_run(folder / "one").proposals) == written


@settings(max_examples=30)
@given(st.text())
def test_any_text_of_a_model_can_be_stored(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.mktemp("runs")
    with RunStore.create(folder, record()) as store:
        store.write_best_prompt(text)
        assert store.code(store.put("code", text)) == text
        assert store.put("candidates", text) == content_hash(text)


def test_bytes_that_are_no_text_are_read_as_one(tmp_path: Path) -> None:
    """A stranger may have put them into the folder, named after their hash."""
    with RunStore.create(tmp_path, record()) as store:
        assert store.code(store.put("code", b"x = 1 # \xff")) == "x = 1 # \ufffd"
