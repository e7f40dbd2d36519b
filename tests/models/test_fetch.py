"""Weights on this machine are found without a network; what is missing comes from the first source that has it."""

from __future__ import annotations

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import NamedTuple

import pytest

from localgif.errors import ModelMissing
from localgif.models.fetch import locate, pull
from localgif.models.find import Weights, known_here
from tests.support.weights import (
    CONTENT,
    NAME,
    PARTS,
    WHOLE,
    Machine,
    build_parts,
    send,
    sha,
    store_blob,
    store_manifest,
)

pytestmark = pytest.mark.slow

WRONG = CONTENT[:-1] + b"?"
TAG = "registry.ollama.ai/library/tiny/1m"

# --- on this machine -------------------------------------------------------------------------------------------------


def test_without_weights_nothing_is_found_and_no_folder_made(machine: Machine) -> None:
    assert locate(NAME, machine.places) is None
    assert locate("unheard-of", machine.places) is None
    assert not machine.cache.exists()


def test_a_given_path_comes_first_and_is_left_alone(machine: Machine, tmp_path: Path) -> None:
    machine.cached()
    mine = tmp_path / "mine.bin"
    mine.write_bytes(CONTENT)
    before = mine.stat()
    found = locate("Tiny:1M", machine.places, mine)
    assert found == Weights(NAME, mine, sha(CONTENT), len(CONTENT), "Tiny 1M Q4", "path")
    after = mine.stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_nlink) == (before.st_ino, before.st_mtime_ns, 1)


def test_a_wrong_path_is_an_error_even_if_the_cache_has_the_file(machine: Machine, tmp_path: Path) -> None:
    machine.cached()
    mine = tmp_path / "mine.gguf"
    mine.write_bytes(WRONG)
    with pytest.raises(ModelMissing) as missing:
        locate(NAME, machine.places, mine)
    assert f"{mine} has sha256 {sha(WRONG)}, expected {sha(CONTENT)}" in missing.value.message
    assert "models.toml" in missing.value.remedy
    assert missing.value.exit_code == 3


def test_any_gguf_file_can_be_given_under_a_name_of_its_own(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "My Model.gguf"
    mine.write_bytes(WRONG)
    monkeypatch.chdir(tmp_path)
    found = locate("mine", machine.places, Path(mine.name))
    assert found == Weights("mine:latest", mine, sha(WRONG), len(WRONG), "My Model", "path")
    mine.write_bytes(b"not a model")
    for call in (locate, pull):
        with pytest.raises(ModelMissing, match=r"My Model\.gguf does not begin with the bytes GGUF"):
            call("mine", machine.places, mine)


def test_the_cache_is_found_and_a_damaged_copy_is_not(machine: Machine) -> None:
    target = machine.cached()
    found = locate(NAME, machine.places)
    assert found is not None
    assert (found.source, found.path) == ("cache", target)
    machine.cached(CONTENT[:-1])
    assert locate(NAME, machine.places) is None


def test_a_blob_with_the_right_bytes_is_used_in_place_under_any_name(machine: Machine) -> None:
    machine.cached(WRONG)
    blob = store_blob(machine.store, CONTENT)
    found = locate(NAME, machine.places)
    assert found is not None
    assert (found.source, found.path, found.digest) == ("ollama", blob, sha(CONTENT))
    assert len(found.notes) == 1
    assert sha(WRONG) in found.notes[0]


def test_other_bytes_under_a_known_name_are_never_used_silently(machine: Machine) -> None:
    store_blob(machine.store, WRONG)
    store_manifest(machine.store, TAG, sha(WRONG), len(WRONG))
    assert locate(NAME, machine.places) is None
    machine.fails(f"Ollama: has {NAME}, but other bytes: sha256 {sha(WRONG)}")


def test_any_model_of_ollama_can_be_used(machine: Machine) -> None:
    blob = store_blob(machine.store, WRONG)
    store_manifest(machine.store, "hf.co/Me/Mine/Q4_0", sha(WRONG), len(WRONG))
    found = locate("hf.co/me/mine:q4_0", machine.places)
    assert found is not None
    assert (found.path, found.digest, found.source) == (blob, sha(WRONG), "ollama")


def test_a_damaged_or_missing_blob_is_refused_by_name(machine: Machine) -> None:
    store_manifest(machine.store, "registry.ollama.ai/library/other/1m", sha(CONTENT), len(CONTENT))
    with pytest.raises(ModelMissing, match=f"sha256-{sha(CONTENT)}: No such file"):
        pull("other:1m", machine.places)
    store_blob(machine.store, WRONG, sha(CONTENT))
    assert locate("other:1m", machine.places) is None
    for name in ("other:1m", NAME):
        with pytest.raises(ModelMissing, match=f"has sha256 {sha(WRONG)}, expected {sha(CONTENT)}"):
            pull(name, machine.places)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("tiny:1", "Did you mean tiny:1m"),
        ("me/paintr:7b", "Did you mean me/painter:7b?"),
        ("xyzzy", "Known names: me/painter:7b, tiny:1m"),
    ],
)
def test_an_unknown_name_gets_the_nearest_names(machine: Machine, name: str, hint: str) -> None:
    store_manifest(machine.store, "registry.ollama.ai/me/painter/7b", "0" * 64, 1)
    with pytest.raises(ModelMissing) as missing:
        pull(name, machine.places)
    assert hint in missing.value.remedy
    assert "gguf =" in missing.value.remedy


# --- downloads -------------------------------------------------------------------------------------------------------


def test_every_source_that_failed_is_listed_with_its_reason(machine: Machine, tmp_path: Path) -> None:
    mine = tmp_path / "mine.gguf"
    mine.write_bytes(WRONG)
    store_blob(machine.store, CONTENT[:-2], sha(CONTENT))
    with machine.serving(lambda request, _: request.send_error(404), PARTS):
        machine.cached(CONTENT[:-1])
        error = machine.fails("was not found", mine)
    lines = error.message.splitlines()
    starts = ["tiny:1m (Tiny 1M Q4, 0 MiB) was not found", "  path:", "  cache:", "  Ollama:", "  wheels:", "  http:"]
    assert all(line.startswith(start) for line, start in zip(lines, starts, strict=True))
    for expected in (sha(WRONG), f"has {len(CONTENT) - 1} bytes", f"has {len(CONTENT) - 2} bytes", "tiny-part1", "404"):
        assert expected in error.message
    for remedy in ('gguf = "/where/it/is.gguf"', "models.toml", "LOCALGIF_HOME", "index", machine.target.name):
        assert remedy in error.remedy


def test_the_next_source_is_tried_and_the_refusals_are_noted(machine: Machine, tmp_path: Path) -> None:
    mine = tmp_path / "mine.gguf"
    mine.write_bytes(WRONG)
    with machine.serving(lambda request, _: send(request), WHOLE):
        machine.cached(WRONG)
        found = machine.pull(mine)
    assert (found.source, found.path.read_bytes()) == ("url", CONTENT)
    assert [note.partition(":")[0] for note in found.notes] == ["path", "cache", "wheels"]
    assert mine.read_bytes() == WRONG


def test_wheels_continue_what_the_url_began(machine: Machine) -> None:
    with machine.serving(lambda request, _: send(request, stop_after=1_500), PARTS):
        machine.fails("last after 12000 bytes")
    machine.know(PARTS)
    machine.fails("No matching distribution found for tiny-part2")
    assert [row.partial for row in known_here(machine.places)] == [12_000]
    build_parts(machine.index)
    seen: list[str] = []
    machine.pull(progress=lambda _done, _total, what: seen.append(what))
    assert not any(what.startswith("tiny-part1") for what in seen)


def test_bad_old_bytes_cost_one_more_try_from_the_start(machine: Machine) -> None:
    with machine.serving(lambda request, _: send(request)) as server:
        machine.begun(b"GGUF" + b"?" * 5_000)
        assert machine.pull().path.read_bytes() == CONTENT
    assert server.ranges == ["bytes=5004-", None]


class Usage(NamedTuple):
    total: int
    used: int
    free: int


@pytest.mark.parametrize("kept", [0, 10_000])
def test_too_little_space_fails_before_anything_is_downloaded(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    machine.know(PARTS)
    machine.begun(CONTENT[:kept])
    needed = len(CONTENT) - kept + max(PARTS.sizes) + 64 * 2**20
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, needed - 1))
    error = machine.fails("65 MiB needed, 64 MiB free")
    assert str(machine.cache) in error.message
    assert "LOCALGIF_HOME" in error.remedy
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, needed))
    machine.fails("No matching distribution")


def test_a_cache_that_cannot_be_made_is_reported(machine: Machine) -> None:
    machine.know(PARTS)
    machine.cache.parent.write_text("a file where the folder should be")
    assert "LOCALGIF_HOME" in machine.fails("home/models: Not a directory").remedy


def test_the_second_of_two_pulls_waits_and_finds_the_file(machine: Machine) -> None:
    arrived, waiting = threading.Event(), threading.Event()

    def answer(request: BaseHTTPRequestHandler, _: int) -> None:
        arrived.set()
        assert waiting.wait(60)
        send(request)

    def second_says(_done: int, _total: int, what: str) -> None:
        if what.startswith("waiting for another process"):
            waiting.set()

    with machine.serving(answer) as server, ThreadPoolExecutor(2) as pool:
        first = pool.submit(machine.pull)
        assert arrived.wait(60)
        second = pool.submit(machine.pull, None, second_says)
        assert (first.result(60).source, second.result(60).source) == ("url", "cache")
        assert first.result().path.read_bytes() == CONTENT
    assert server.ranges == [None]
