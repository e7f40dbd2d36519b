"""The run folder: durable, content-addressed, locked, and honest about what is torn or changed."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localgif.errors import ConfigError, RunCorrupt, RunError, RunLocked
from localgif.files import content_hash, replace_file, take_lock
from localgif.records import Limits, Proposal, SandboxRecord
from localgif.report.page import write_report
from localgif.store.read import RunRecord, find_run, list_runs, load_record, load_run, status_of
from localgif.store.write import RunStore
from tests.kit import settings

STORED = Path(__file__).parent


def record(name: str = "one", started: str = "2026-01-01T00:00:00Z") -> RunRecord:
    return RunRecord(
        name=name,
        status="started",
        started=started,
        settings=settings("http://127.0.0.1:1"),
        versions={},
        sandbox=SandboxRecord(level="x"),
        scorer="article-1",
    )


def proposal(number: int, reply: str = "text") -> Proposal:
    return Proposal(
        number=number,
        parent="p",
        child=None,
        outcome="empty",
        prompt="",
        reply=reply,
        finish_reason="stop",
        prompt_tokens=1,
        output_tokens=1,
        llm_seconds=0.5,
        started="2026-01-01T00:00:00Z",
    )


def test_a_run_says_started_until_it_is_finished(tmp_path: Path) -> None:
    with RunStore.create(tmp_path, record()) as store:
        assert load_record(store.folder).status == "started"
        assert status_of(store.folder, load_record(store.folder)) == "running"
        result = load_record(STORED / "v2").result
        store.finish("done", result=result)
    assert load_record(tmp_path / "one").result == result is not None


def test_a_started_run_that_nobody_holds_has_died(tmp_path: Path) -> None:
    with RunStore.create(tmp_path, record()):
        pass
    assert status_of(tmp_path / "one", load_record(tmp_path / "one")) == "died"


def test_a_name_is_given_once(tmp_path: Path) -> None:
    with RunStore.create(tmp_path, record()):
        pass
    with pytest.raises(ConfigError, match="already"), RunStore.create(tmp_path, record()):
        pass


def test_a_second_writer_is_told_who_holds_the_folder(tmp_path: Path) -> None:
    with RunStore.create(tmp_path, record()) as store, pytest.raises(RunLocked, match="pid"):
        take_lock(store.folder)


def test_an_unwritable_place_is_a_run_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be created"), RunStore.create(tmp_path / "file", record()):
        pass


@given(st.lists(st.text(max_size=60), max_size=5))
def test_lines_come_back_as_they_were_written(tmp_path_factory: pytest.TempPathFactory, replies: list[str]) -> None:
    folder = tmp_path_factory.mktemp("runs")
    with RunStore.create(folder, record()) as store:
        written = [store.append_proposal(proposal(i, reply)) for i, reply in enumerate(replies, 1)]
    assert list(load_run(folder / "one").proposals) == written


@given(st.integers(1, 40))
def test_a_torn_last_line_is_left_out_and_counted(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    folder = tmp_path_factory.mktemp("runs")
    with RunStore.create(folder, record()) as store:
        store.append_proposal(proposal(1))
        store.append_proposal(proposal(2))
    path = folder / "one" / "proposals.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    run = load_run(folder / "one")
    assert (len(run.proposals), run.torn) == (1, 1)


def test_a_damaged_line_in_the_middle_is_named_and_hides_no_other(tmp_path: Path) -> None:
    with RunStore.create(tmp_path, record()) as store:
        store.append_proposal(proposal(1))
        store.append_proposal(proposal(2))
    path = tmp_path / "one" / "proposals.jsonl"
    path.write_bytes(b"{}" + path.read_bytes())
    run = load_run(tmp_path / "one")
    assert [p.number for p in run.proposals] == [2]
    assert run.damaged[0].startswith("proposals.jsonl, line 1: ")


def test_a_changed_program_is_not_passed_off_as_the_stored_one(tmp_path: Path) -> None:
    with RunStore.create(tmp_path, record()) as store:
        name = store.put_code("print(1)\n")
        assert store.put_code("print(1)\n") == name
    run = load_run(tmp_path / "one")
    assert run.text("code", name) == "print(1)\n"
    (tmp_path / "one" / "code" / f"{name}.py").write_text("print(2)\n")
    with pytest.raises(RunCorrupt, match="was changed"):
        run.text("code", name)


@given(st.text())
def test_any_text_of_a_model_can_be_stored(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.mktemp("runs")
    with RunStore.create(folder, record()) as store:
        store.write_best_prompt(text)
        assert store.put_candidate(text) == content_hash(text)


def test_a_failed_replacement_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.json"
    replace_file(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("localgif.files.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        replace_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def _hold_and_die(folder: str) -> None:
    import os

    take_lock(Path(folder))
    os._exit(9)


def test_a_dead_holder_holds_nothing(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_hold_and_die, args=(str(tmp_path),))
    process.start()
    process.join(30)
    assert process.exitcode == 9
    import os

    os.close(take_lock(tmp_path))


def test_the_newest_run_is_found_and_a_wrong_name_lists_the_known(tmp_path: Path) -> None:
    for name, started in (("b", "2026-01-01T00:00:00Z"), ("a", "2026-01-02T00:00:00Z")):
        with RunStore.create(tmp_path, record(name, started)):
            pass
    assert [f.name for f in list_runs(tmp_path)] == ["a", "b"]
    assert find_run(tmp_path, None).name == "a"
    assert find_run(tmp_path, "b").name == "b"
    with pytest.raises(ConfigError) as caught:
        find_run(tmp_path, "c")
    assert "a, b" in caught.value.remedy


def test_run_json_is_plain_json_in_the_order_of_the_record(tmp_path: Path) -> None:
    with RunStore.create(tmp_path, record()) as store:
        keys = list(json.loads((store.folder / "run.json").read_text()))
    assert keys == list(RunRecord.model_fields)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_stored_run_of_each_version_can_be_read_and_reported(version: str, tmp_path: Path) -> None:
    folder = shutil.copytree(STORED / version, tmp_path / version)
    run = load_run(folder)
    assert run.samples and run.proposals and not run.damaged and run.record.settings.task == "bouncing-ball"
    assert run.record.result is not None and run.record.result.sandbox == run.record.sandbox
    assert run.record.result.best.prompt.split()[-1] in write_report(folder, whole=False).read_text()
    stored = json.loads((folder / "run.json").read_text())["result"]
    assert run.record.result.model_dump(mode="json") | stored == run.record.result.model_dump(mode="json")


def test_keys_of_another_version_are_passed_over(tmp_path: Path) -> None:
    folder = shutil.copytree(STORED / "v2", tmp_path / "v2")
    stored = json.loads((folder / "run.json").read_text())
    stored["settings"]["retired"] = stored["result"]["seed"]["retired"] = stored["retired"] = 1
    del stored["settings"]["limits"], stored["result"]["best"]["also"], stored["result"]["verdict"]["pairs"]
    (folder / "run.json").write_text(json.dumps(stored))
    record = load_record(folder)
    assert record.settings.limits == Limits()
    assert record.result is not None and record.result.verdict.pairs is None
