"""Names in a store of Ollama are found in any spelling, and an odd one is reported, never guessed."""

from __future__ import annotations

from pathlib import Path

import pytest

from localgif.models.download import Refused
from localgif.models.fetch import locate
from localgif.models.find import StoredModel, known_here, places_for, read_manifest, read_stores
from tests.support.weights import CONTENT, NAME, Machine, sha, store_blob, store_manifest

LIBRARY = "registry.ollama.ai/library"
TAG = f"{LIBRARY}/tiny/1m"
WRONG = CONTENT[:-1] + b"?"


def tiny(store: Path) -> StoredModel:
    return read_manifest(read_stores([store])[0][NAME])


def test_names_of_every_kind_are_listed(tmp_path: Path) -> None:
    for name in (TAG, f"{LIBRARY}/tiny/latest", "registry.ollama.ai/Me/Mine/v1", "hf.co/Qwen/Q/Q4_K_M"):
        store_manifest(tmp_path, name, "0" * 64, 1)
    (tmp_path / "manifests" / LIBRARY / ".DS_Store").write_bytes(b"")
    (tmp_path / "manifests" / "stray").write_bytes(b"")
    manifests, problems = read_stores([tmp_path, tmp_path / "none"])
    assert sorted(manifests) == ["hf.co/qwen/q:q4_k_m", "me/mine:v1", "tiny:1m", "tiny:latest"]
    assert problems == []


def test_the_newer_folder_of_names_is_read_too(tmp_path: Path) -> None:
    old = store_manifest(tmp_path, TAG, "0" * 64, 1)
    new = tmp_path / "manifests-v2" / "ollama.com" / "library" / "tiny" / "1m"
    new.parent.mkdir(parents=True)
    new.symlink_to(store_blob(tmp_path, old.read_text().replace("0" * 64, "1" * 64).encode()))
    assert list(read_stores([tmp_path])[0]) == [NAME]
    assert tiny(tmp_path).digest == "1" * 64


def test_an_unreadable_store_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: Path) -> None:  # the kernel's answer to users; tests may run as root
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr("localgif.models.find.os.scandir", refuse)
    manifests, problems = read_stores([tmp_path])
    assert not manifests
    assert any("Permission denied" in problem for problem in problems)


def test_the_title_comes_from_the_configuration(tmp_path: Path) -> None:
    config = store_blob(tmp_path, b'{"model_family": "qwen2", "model_type": "1.5B", "file_type": "Q4_K_M"}')
    digest = config.name.replace("-", ":")
    store_manifest(tmp_path, TAG, sha(CONTENT), len(CONTENT), config={"digest": digest})
    blob = tmp_path / "blobs" / f"sha256-{sha(CONTENT)}"
    assert tiny(tmp_path) == (NAME, sha(CONTENT), len(CONTENT), blob, "qwen2 1.5B Q4_K_M")
    config.write_bytes(b"rubbish")
    assert tiny(tmp_path).title == NAME


WEIGHTS = '{"mediaType": "application/vnd.ollama.image.model", "digest": "%s"}'
ADAPTER = '{"mediaType": "application/vnd.ollama.image.adapter"}'


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is not JSON"),
        ("{", "is not JSON"),
        ("[1]", "is not a JSON object"),
        ("[" * 100_000, "is not JSON"),
        (" " * (2**20 + 1), "larger than 1024 KiB"),
        ("{}", "names 0 files of weights"),
        ('{"layers": 7}', "names 0 files of weights"),
        ('{"layers": [1, null, {}]}', "names 0 files of weights"),
        (f'{{"layers": [{WEIGHTS % "sha256:12"}]}}', "does not name its weights by a sha256"),
        (f'{{"layers": [{WEIGHTS % ("sha256:../../" + "0" * 58)}]}}', "does not name its weights by a sha256"),
        (f'{{"layers": [{WEIGHTS % 1}, {WEIGHTS % 2}]}}', "names 2 files of weights"),
        (f'{{"layers": [{WEIGHTS % ("sha256:" + "0" * 64)}, {ADAPTER}]}}', "adapter"),
    ],
)
def test_odd_manifests_are_refused_by_name(tmp_path: Path, text: str, reason: str) -> None:
    store_manifest(tmp_path, TAG, "0" * 64, 1).write_text(text)
    with pytest.raises(Refused, match=reason) as refusal:
        tiny(tmp_path)
    assert "tiny" in str(refusal.value)


def test_the_list_says_what_is_where(machine: Machine) -> None:
    assert [(row.name, row.path, row.partial) for row in known_here(machine.places)] == [(NAME, None, 0)]
    machine.begun(CONTENT[:100])
    store_manifest(machine.store, TAG, sha(WRONG), len(WRONG))
    (row,) = known_here(machine.places)
    assert (row.partial, row.path) == (100, None)
    assert "but other bytes" in row.note

    machine.cached()
    store_manifest(machine.store, f"{LIBRARY}/other/latest", sha(WRONG), len(WRONG))
    store_manifest(machine.store, f"{LIBRARY}/odd/latest", "0" * 64, 1).write_text("{")
    blob = store_blob(machine.store, WRONG)
    rows = {row.name: row for row in known_here(machine.places)}
    assert list(rows) == [NAME, "odd:latest", "other:latest"]
    assert (rows[NAME].path, rows[NAME].checked) == (machine.target, False)
    assert rows["other:latest"].path == blob
    assert "not JSON" in rows["odd:latest"].note


def test_the_list_knows_what_was_checked_and_what_is_damaged(machine: Machine) -> None:
    machine.cached()
    locate(NAME, machine.places)
    assert [row.checked for row in known_here(machine.places)] == [True]
    machine.cached(CONTENT[:-1])
    (row,) = known_here(machine.places)
    assert row.path is None
    assert "other bytes" in row.note


def test_folders_follow_from_the_two_variables(tmp_path: Path) -> None:
    found = places_for(str(tmp_path), str(tmp_path / "o"))
    assert found.cache == tmp_path / "models"
    assert found.ollama[0] == tmp_path / "o"
    assert found.ollama[-1] == Path("/usr/share/ollama/.ollama/models")
    assert places_for(None, None).cache.parts[-2:] == ("localgif", "models")
