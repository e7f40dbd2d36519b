"""Reading a run folder: incomplete, damaged and changed files are reported, old versions stay readable."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localgif.errors import ConfigError, RunCorrupt, RunError
from localgif.records import Limits
from localgif.report.page import write_report
from localgif.store.log import framed
from localgif.store.read import find_run, list_runs, load_record, load_run, put_in_order, read_work, status_of
from localgif.store.write import RunStore
from tests.support.kit import proposal, record

STORED = Path(__file__).parent.parent / "runs"


def test_a_started_run_that_nobody_holds_has_died(tmp_path: Path) -> None:
    with RunStore.create(tmp_path, record()):
        pass
    assert status_of(tmp_path / "one", load_record(tmp_path / "one")) == "died"


@settings(max_examples=30)
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
        name = store.put("code", "print(1)\n")
        assert store.put("code", "print(1)\n") == name
    run = load_run(tmp_path / "one")
    assert run.text("code", name) == "print(1)\n"
    (tmp_path / "one" / "code" / f"{name}.py").write_text("print(2)\n")
    with pytest.raises(RunCorrupt, match="was changed"):
        run.text("code", name)


def test_a_report_that_cannot_be_written_is_said_with_a_remedy(tmp_path: Path) -> None:
    with RunStore.create(tmp_path, record()):
        pass
    (tmp_path / "one" / "report.html").mkdir()
    with pytest.raises(RunError, match=r"report\.html cannot be written: Is a directory") as caught:
        write_report(tmp_path / "one", whole=False)
    assert "copy the run folder" in caught.value.remedy


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


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_stored_run_of_each_version_can_be_read_and_reported(version: str, tmp_path: Path) -> None:
    folder = shutil.copytree(STORED / version, tmp_path / version)
    run = load_run(folder)
    assert run.samples and run.proposals and not run.damaged and run.record.settings.task == "bouncing-ball"
    assert run.record.result is not None and run.record.result.sandbox == run.record.sandbox
    assert run.record.result.best.prompt.split()[-1] in write_report(folder, whole=False).read_text()
    stored = json.loads((folder / "run.json").read_text())["result"]
    assert holds(run.record.result.model_dump(mode="json"), stored)


def holds(now: Any, stored: Any) -> bool:
    """Whether a result still has the stored values; newer keys may be added at any depth."""
    if isinstance(stored, dict):
        return all(key in now and holds(now[key], value) for key, value in stored.items())
    return bool(now == stored)


def test_keys_of_another_version_are_passed_over(tmp_path: Path) -> None:
    folder = shutil.copytree(STORED / "v2", tmp_path / "v2")
    stored = json.loads((folder / "run.json").read_text())
    stored["settings"]["retired"] = stored["result"]["seed"]["retired"] = stored["retired"] = 1
    del stored["settings"]["limits"], stored["result"]["best"]["also"], stored["result"]["verdict"]["pairs"]
    (folder / "run.json").write_text(json.dumps(stored))
    record = load_record(folder)
    assert record.settings.limits == Limits()
    assert record.result is not None and record.result.verdict.pairs is None


def test_a_run_folder_of_a_newer_version_says_so(tmp_path: Path) -> None:
    folder = shutil.copytree(STORED / "v2", tmp_path / "v2")
    stored = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(stored | {"schema_version": 99}))
    with pytest.raises(RunCorrupt, match="newer localgif"):
        load_run(folder)


def stranger(tmp_path: Path, name: str = "v2") -> Path:
    """A copy of a stored run, to be changed as a stranger would."""
    return Path(shutil.copytree(STORED / name, tmp_path / "runs" / name))


@pytest.mark.parametrize("evil", ["{outside}/main", "../../main", "../../../main", "\0", "main"])
def test_a_sample_that_names_another_file_touches_none(tmp_path: Path, evil: str) -> None:
    folder = stranger(tmp_path)
    (tmp_path / "main.py").write_text("mine")
    path = folder / "samples.jsonl"
    line = json.loads(path.read_bytes().split(b"\n")[0])
    del line["check"]
    line["code"] = evil.format(outside=tmp_path)
    path.write_bytes(framed(json.dumps(line).encode()))
    assert read_work(folder).samples == () and (tmp_path / "main.py").read_text() == "mine"
    log, repairs, lossless = put_in_order(folder)
    assert not log.samples and not lossless and "is not the name of a stored file" in repairs[0]
    assert (tmp_path / "main.py").read_text() == "mine"


def test_a_folder_with_links_is_read_but_never_continued(tmp_path: Path) -> None:
    folder = stranger(tmp_path)
    (tmp_path / "mine").write_text("mine")
    (folder / "report.html").symlink_to(tmp_path / "mine")
    (folder / "gepa").symlink_to(tmp_path)
    assert write_report(folder, whole=False).is_file() and not (folder / "report.html").is_symlink()
    with pytest.raises(RunCorrupt, match="gepa is neither a file nor a folder"):
        put_in_order(folder)
    assert (tmp_path / "mine").read_text() == "mine"


@pytest.mark.parametrize("log", ["samples.jsonl", "proposals.jsonl", "run.json"])
def test_a_log_that_is_a_link_or_a_pipe_is_not_read(tmp_path: Path, log: str) -> None:
    folder = stranger(tmp_path)
    (folder / log).unlink()
    (folder / log).symlink_to("/dev/zero")
    with pytest.raises(RunCorrupt, match="cannot be read: a link"):
        load_run(folder)
    (folder / log).unlink()
    os.mkfifo(folder / log)
    with pytest.raises(RunCorrupt, match="cannot be read: not a regular file"):
        load_run(folder)
    (folder / log).unlink()
    with (folder / log).open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(RunCorrupt, match="cannot be read: larger than"):
        load_run(folder)


@pytest.mark.parametrize("value", ["8192,\n)\nimport os", "8192 ", 1e400, float("nan"), 10**400, [8192], "0x2000"])
@pytest.mark.parametrize("key", ["num_ctx", "temperature"])
def test_a_setting_has_its_type_when_it_is_read(tmp_path: Path, key: str, value: object) -> None:
    folder = stranger(tmp_path)
    record = json.loads((folder / "run.json").read_bytes())
    record["settings"]["animator"][key] = value
    (folder / "run.json").write_text(json.dumps(record))
    try:
        read = getattr(load_record(folder).settings.animator, key)
    except RunCorrupt as error:
        assert key in error.message
    else:
        assert type(read) is (int if key == "num_ctx" else float) and read == 8192
