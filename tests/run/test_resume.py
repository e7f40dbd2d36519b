"""Resuming a run: it ends as without a stop, repeats no finished work, and refuses other settings."""

from __future__ import annotations

import json
import os
import resource
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from localgif.errors import ConfigError, EndpointError, RunError, RunLocked, RunMismatch, SandboxTooWeak
from localgif.models.toml import load_models_file
from localgif.records import Limits, ModelIdentity, RunResult
from localgif.run.optimize import optimize
from localgif.run.resume import differences, resume, shareable
from localgif.sandbox import probe
from localgif.store.read import RunRecord, find_unfinished, load_record, load_run, read_work
from localgif.store.write import RunStore
from tests.support.kills import Deterministic, End, Killer, chosen, end_of, models_file, server_process
from tests.support.kit import Notes
from tests.support.scripted import DIGEST, ILL, serving

pytestmark = pytest.mark.slow  # whole runs

GoOn = Callable[..., RunResult]
#: Folder of an undisturbed run, its outcome, and its number of requests.
Whole = tuple[Path, End, int]
V1 = Path(__file__).parent.parent / "runs" / "v1"


@pytest.fixture(scope="module")
def killer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Killer]:
    with server_process() as url:
        yield Killer(tmp_path_factory.mktemp("runs"), url)


@pytest.mark.parametrize("number", [0, pytest.param(1, marks=pytest.mark.full)])
def test_a_killed_run_ends_as_an_undisturbed_one(killer: Killer, number: int) -> None:
    killer.round(number)


@pytest.fixture(scope="module")
def server() -> Iterator[Deterministic]:
    server = Deterministic()
    with serving(server):
        yield server


@pytest.fixture(scope="module")
def whole(server: Deterministic, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """The folder of an undisturbed run, its outcome, and its number of requests."""
    folder = tmp_path_factory.mktemp("whole")
    before = len(server.history)
    optimize(chosen(server.url), folder, "r", Notes())
    return folder / "r", end_of(folder / "r"), len(server.history) - before


@pytest.fixture
def go_on(server: Deterministic, tmp_path: Path) -> GoOn:
    """Resume a run folder with the server's models.toml."""
    return lambda folder, notes=None: resume(folder, models_file(tmp_path, server.url), notes or Notes(), {})


def copied(whole: Whole, tmp_path: Path, **changes: Any) -> Path:
    """A copy of that run's folder, with changed values in its run.json."""
    folder = tmp_path / "r"
    shutil.copytree(whole[0], folder)
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(record | {"status": "interrupted", "result": None} | changes))
    return folder


def cut(folder: Path, name: str, lines: int) -> None:
    """Keep only the first lines of a log."""
    path = folder / name
    path.write_bytes(b"".join(line + b"\n" for line in path.read_bytes().splitlines()[:lines]))


def requests(server: Deterministic, since: int) -> Counter[str]:
    return Counter(json.dumps([path, body], sort_keys=True) for path, body in server.history[since:])


@pytest.mark.parametrize("at", [4, 18])
def test_after_a_server_failed_nothing_finished_is_asked_again(
    server: Deterministic, go_on: GoOn, whole: Whole, tmp_path: Path, at: int
) -> None:
    since = len(server.history)
    server.fail_at, server.fault = since + at, ILL
    try:
        with pytest.raises(EndpointError):
            optimize(chosen(server.url), tmp_path, "r", Notes())
    finally:
        server.fail_at = None
    assert load_record(tmp_path / "r").status == "failed"
    failed = load_run(tmp_path / "r")
    notes = Notes()
    go_on(tmp_path / "r", notes)
    assert end_of(tmp_path / "r") == whole[1]
    asked = requests(server, since)
    again = asked - Counter(asked.keys())
    # The failed request, and the earlier attempts of its sample.
    assert sum(again.values()) <= 3
    stored = {answer["seed"] for answer in whole[1].answers}
    assert len(stored) == len(whole[1].answers)
    assert notes.samples[: len(failed.samples)] == list(failed.samples), "what was stored is told again"
    assert notes.replays[-1] is False


def test_a_run_that_is_done_gives_its_result_and_asks_nothing(
    server: Deterministic, go_on: GoOn, whole: Whole, tmp_path: Path
) -> None:
    since = len(server.history)
    result = go_on(whole[0])
    assert result.best.mean == whole[1].result["best"]["mean"]
    assert len(server.history) == since


def test_only_the_comparison_is_left(
    server: Deterministic, go_on: GoOn, whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copied(whole, tmp_path)
    samples = load_run(folder).samples
    cut(folder, "samples.jsonl", sum(s.purpose != "fresh" for s in samples))
    since = len(server.history)
    go_on(folder)
    assert end_of(folder) == whole[1]
    assert {path for path, _ in server.history[since:]} == {"/api/chat"}


def test_a_run_that_its_clock_ended_ends_there_again(server: Deterministic, go_on: GoOn, tmp_path: Path) -> None:
    settings = chosen(server.url, minutes=1e-6)
    optimize(settings, tmp_path, "r", Notes())
    wanted = end_of(tmp_path / "r")
    assert wanted.result["ended_by"] == "minutes"
    record = json.loads((tmp_path / "r" / "run.json").read_text())
    (tmp_path / "r" / "run.json").write_text(json.dumps(record | {"status": "failed", "result": None}))
    cut(tmp_path / "r", "samples.jsonl", len(wanted.samples) - 1)
    go_on(tmp_path / "r")
    assert end_of(tmp_path / "r") == wanted


def test_a_run_with_the_split_of_an_earlier_version_goes_on(server: Deterministic, go_on: GoOn, tmp_path: Path) -> None:
    lists = {"train": "two-balls,spinning-bar", "val": "pulsing-circle", "test": "bouncing-ball"}
    optimize(chosen(server.url, mode="general", split="own", minutes=1e-6, fresh=1, **lists), tmp_path, "r", Notes())
    folder = tmp_path / "r"
    wanted = end_of(folder)
    record = json.loads((folder / "run.json").read_text())
    settings = {key: value for key, value in record["settings"].items() if key not in ("split", "fold", *lists)}
    old = {"settings": settings | {"task": "shipped-split"}, "status": "interrupted", "result": None}
    (folder / "run.json").write_text(json.dumps(record | old))
    cut(folder, "samples.jsonl", len(wanted.samples) - 1)
    result = go_on(folder)
    assert (result.task, result.split) == ("shipped-split", load_record(folder).split)
    assert [row.task for row in result.tasks] == ["bouncing-ball"]
    assert end_of(folder).samples == wanted.samples


def test_what_differs_is_listed_and_refused(server: Deterministic, whole: Whole, tmp_path: Path) -> None:
    folder = copied(whole, tmp_path)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    path = models_file(tmp_path, server.url).path
    path.write_text(path.read_text().replace("num_ctx = 4096", "num_ctx = 2048"))
    with pytest.raises(RunMismatch) as caught:
        resume(folder, load_models_file(path), Notes(), {"metric_calls": 9})
    assert caught.value.exit_code == 5
    assert "animator.num_ctx: 4096, now 2048" in caught.value.message
    assert "metric_calls: 6, now 9" in caught.value.message
    assert "--fork" in caught.value.remedy
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("part", "changes", "said"),
    [
        ("versions", {"gepa": "0.0.1"}, r"gepa: 0\.0\.1, now"),
        ("models", {"digest": "cd" * 32}, f"animator: digest: {'cd' * 32}, now {DIGEST}"),
    ],
)
def test_other_versions_and_weights_are_refused(
    go_on: GoOn, whole: Whole, tmp_path: Path, part: str, changes: dict[str, str], said: str
) -> None:
    stored = json.loads((whole[0] / "run.json").read_text())[part]
    other = [model | changes for model in stored] if part == "models" else stored | changes
    with pytest.raises(RunMismatch, match=said):
        go_on(copied(whole, tmp_path, **{part: other}))


def test_a_log_that_another_search_wrote_is_noticed(go_on: GoOn, whole: Whole, tmp_path: Path) -> None:
    folder = copied(whole, tmp_path, settings=load_record(whole[0]).settings.model_dump() | {"seed": 5})
    cut(folder, "samples.jsonl", 6)
    with pytest.raises(RunMismatch, match="did something else"):
        go_on(folder)


def test_a_fork_with_a_larger_budget_shares_the_work(server: Deterministic, whole: Whole, tmp_path: Path) -> None:
    folder = copied(whole, tmp_path)
    since = len(server.history)
    file = models_file(tmp_path, server.url)
    result = resume(folder, file, Notes(), {"metric_calls": 7}, fork=True, name="larger")
    child = load_run(tmp_path / "larger")
    assert child.record.parent == "r" and result.run == "larger"
    assert result.metric_calls >= 7 or result.ended_by != "budget"
    shared = {(s.purpose, s.candidate, s.task, s.index) for s in load_run(folder).samples}
    mine = [(s.purpose, s.candidate, s.task, s.index) for s in child.samples]
    assert len(mine) == len(set(mine))
    assert len(set(mine) & shared) > 8
    attempts = sum(len(s.attempts) for s in child.samples if (s.purpose, s.candidate, s.task, s.index) not in shared)
    assert sum(path == "/api/chat" for path, _ in server.history[since:]) == attempts
    for sample in child.samples:
        if sample.gif is not None:
            child.data("gifs", sample.gif)
        if sample.code is not None:
            child.data("code", sample.code)
    # The same run without a parent ends the same way.
    optimize(chosen(server.url, metric_calls=7), tmp_path, "alone", Notes())
    alone, forked = end_of(tmp_path / "alone"), end_of(tmp_path / "larger")
    assert (alone.samples, alone.answers, alone.proposals) == (forked.samples, forked.answers, forked.proposals)


def test_a_fork_by_another_rule_scores_the_shared_samples_anew(
    server: Deterministic, whole: Whole, tmp_path: Path
) -> None:
    folder = copied(whole, tmp_path)
    resume(
        folder,
        models_file(tmp_path, server.url),
        Notes(),
        {"scorer": "strict", "metric_calls": 2, "target": 0.01},
        fork=True,
    )
    child = load_run(tmp_path / "r-fork")
    assert {s.score.scorer for s in child.samples} == {child.record.scorer}
    assert child.record.scorer.startswith("strict-")
    first, before = child.samples[0], load_run(folder).samples[0]
    assert first.attempts == before.attempts and first.score != before.score


def test_damaged_lines_are_set_aside_and_done_again(go_on: GoOn, whole: Whole, tmp_path: Path) -> None:
    folder = copied(whole, tmp_path)
    for name in ("samples.jsonl", "answers.jsonl"):
        path = folder / name
        path.write_bytes(path.read_bytes().replace(b'"seed":', b'"seeb":', 1) + b'{"torn')
    notes = Notes()
    go_on(folder, notes)
    end = end_of(folder)
    assert sorted(map(str, end.samples)) == sorted(map(str, whole[1].samples))
    assert sorted(map(str, end.answers)) == sorted(map(str, whole[1].answers))
    assert (end.proposals, end.result) == (whole[1].proposals, whole[1].result)
    told = "\n".join(notes.notes)
    assert "samples.jsonl: 1 line lost (line 1: its checksum does not match)" in told
    assert "samples.jsonl: the last line was incomplete" in told
    assert (folder / "samples.jsonl.damaged-1").exists() and (folder / "answers.jsonl.damaged-1").exists()


def test_a_sample_whose_gif_is_gone_is_made_again(go_on: GoOn, whole: Whole, tmp_path: Path) -> None:
    folder = copied(whole, tmp_path)
    gif = next(s.gif for s in load_run(folder).samples if s.gif)
    (folder / "gifs" / f"{gif}.gif").write_bytes(b"GIF89a of somebody else")
    go_on(folder)
    assert sorted(map(str, end_of(folder).samples)) == sorted(map(str, whole[1].samples))
    assert load_run(folder).data("gifs", gif).startswith(b"GIF8")


def test_a_full_disk_leaves_what_was_written_and_the_run_goes_on_later(
    server: Deterministic, go_on: GoOn, whole: Whole, tmp_path: Path
) -> None:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            # The log of samples is the first to exceed this limit.
            limit = 2 * max(len(line) for line in (whole[0] / "samples.jsonl").read_bytes().splitlines())
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            optimize(chosen(server.url), tmp_path, "r", Notes())
        except RunError as error:
            status = 7 if "free some disk space" in error.remedy and "localgif resume r" in error.remedy else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    run = load_run(tmp_path / "r")
    assert run.samples and not run.torn and not run.damaged
    go_on(tmp_path / "r")
    assert end_of(tmp_path / "r") == whole[1]


def test_a_log_of_gepas_that_cannot_be_written_ends_no_run(go_on: GoOn, whole: Whole, tmp_path: Path) -> None:
    """On a full disk, run.json may be the first file that does not fit."""
    folder = copied(whole, tmp_path)
    shutil.rmtree(folder / "gepa")
    (folder / "gepa").write_text("")
    go_on(folder)
    assert end_of(folder) == whole[1]


def test_a_run_that_is_being_written_is_left_alone(go_on: GoOn, whole: Whole, tmp_path: Path) -> None:
    folder = copied(whole, tmp_path)
    with RunStore.reopen(folder), pytest.raises(RunLocked, match="pid"):
        go_on(folder)


def test_the_newest_unfinished_run_is_found(whole: Whole, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no unfinished run"):
        find_unfinished(tmp_path)
    copied(whole, tmp_path)
    shutil.copytree(tmp_path / "r", tmp_path / "done")
    record = json.loads((tmp_path / "r" / "run.json").read_text())
    newer = {"status": "done", "started": "2999-01-01T00:00:00Z"}
    (tmp_path / "done" / "run.json").write_text(json.dumps(record | newer))
    assert find_unfinished(tmp_path) == tmp_path / "r"


def test_a_run_of_version_1_cannot_be_resumed(go_on: GoOn, tmp_path: Path) -> None:
    folder = tmp_path / "old"
    shutil.copytree(V1, folder)
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(record | {"status": "failed", "result": None}))
    with pytest.raises(RunMismatch, match="version 1, which lacks data"):
        go_on(folder)


@pytest.mark.parametrize(
    ("stored", "changes", "level"),
    [
        ("limits-only", {}, "no-read-confinement"),
        ("full", {}, "full"),
        ("full", {"sandbox_level": "limits-only"}, "limits-only"),
    ],
)
@pytest.mark.parametrize("fork", [False, True])
def test_a_run_folder_cannot_lower_the_sandbox_level(
    server: Deterministic,
    whole: Whole,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stored: str,
    changes: dict[str, Any],
    level: str,
    fork: bool,
) -> None:
    def decide(accept: str) -> None:
        raise SandboxTooWeak(accept, "")

    monkeypatch.setattr(probe, "decide", decide)
    settings = json.loads((whole[0] / "run.json").read_text())["settings"]
    folder = copied(whole, tmp_path, settings=settings | {"sandbox_level": stored})
    notes = Notes()
    with pytest.raises(SandboxTooWeak) as caught:
        resume(folder, models_file(tmp_path, server.url), notes, changes, fork=fork)
    assert caught.value.message == level
    assert bool(notes.notes) is (stored == "limits-only")


def test_differences_name_the_place() -> None:
    assert list(differences({"a": {"b": 1, "c": 2}, "d": [1]}, {"a": {"b": 1, "c": 3}, "e": None})) == [
        "a.c: 2, now 3",
        "d: [1], now None",
    ]


def _record(whole: Whole, **changes: Any) -> RunRecord:
    record = load_record(whole[0])
    settings = record.settings.model_copy(update=changes.pop("settings", {}))
    return record.model_copy(update={"settings": settings, **changes})


def test_only_what_is_as_good_is_shared(whole: Whole) -> None:
    work, record = read_work(whole[0]), load_record(whole[0])

    def counts(child: RunRecord) -> tuple[bool, bool, bool]:
        shared = shareable(work, record, child)
        return bool(shared.samples), bool(shared.answers), bool(shared.programs)

    def with_model(role: str, **changes: Any) -> RunRecord:
        models: tuple[ModelIdentity, ...] = record.models
        return _record(whole, models=tuple(m.model_copy(update=changes) if m.role == role else m for m in models))

    assert counts(record) == (True, True, True)
    assert counts(with_model("animator", digest="x")) == (False, True, True)
    assert counts(with_model("animator", alias="other name of the same")) == (True, True, True)
    assert counts(with_model("reflector", temperature=1.0)) == (True, False, True)
    assert counts(_record(whole, settings={"seed": 1})) == (False, True, True)
    assert counts(_record(whole, versions={**record.versions, "pillow": "1"})) == (False, True, False)
    assert counts(_record(whole, settings={"limits": Limits(processes=2)})) == (False, True, False)
    assert record.task is not None
    other_brief = record.task.model_copy(update={"brief": "something else"})
    assert counts(_record(whole, task=other_brief)) == (False, True, True)
    assert any(run.start for run in work.programs), "a search over numbers is among them"
    by_rule = shareable(work, record, _record(whole, scorer="strict-99"))
    assert by_rule.samples and not any(run.start for run in by_rule.programs)


def test_the_samples_of_other_tasks_are_resumed_and_a_fork_may_add_them(
    server: Deterministic, go_on: GoOn, whole: Whole, tmp_path: Path
) -> None:
    alone = resume(copied(whole, tmp_path), models_file(tmp_path, server.url), Notes(), {}, fork=True, name="none")
    assert alone.transfer == ()
    changes = {"transfer": True}
    models = models_file(tmp_path, server.url)
    whole_run = resume(tmp_path / "none", models, Notes(), changes, fork=True, name="more")
    assert [row.family == "bounce" for row in whole_run.transfer] == [True, False]
    folder = tmp_path / "more"
    cut(folder, "samples.jsonl", len(load_run(folder).samples) - 3)
    record = load_record(folder).model_copy(update={"status": "interrupted", "result": None})
    (folder / "run.json").write_text(record.model_dump_json())
    before = len(server.history)
    assert go_on(folder).transfer == whole_run.transfer
    assert len(server.history) - before >= 3
