"""What is on this machine is found without a network, verified, and left as it is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from localgif.errors import ModelMissing
from localgif.models.download import Partial
from localgif.models.fetch import locate, pull
from localgif.models.find import Weights, cache_file, known_here, places_for
from tests.models.weights_kit import CONTENT, NAME, know, places, sha, store_blob, store_manifest

WRONG = CONTENT[:-1] + b"?"
TAG = "registry.ollama.ai/library/tiny/1m"


def in_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes = CONTENT) -> Path:
    target = cache_file(places(tmp_path).cache, know(monkeypatch))
    target.parent.mkdir(parents=True)
    target.write_bytes(content)
    return target


def test_nothing_here_is_none_and_makes_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    know(monkeypatch)
    assert locate(NAME, places(tmp_path)) is None
    assert locate("unheard-of", places(tmp_path)) is None
    assert list(tmp_path.iterdir()) == []


def test_a_given_path_comes_first_and_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_cache(tmp_path, monkeypatch)
    mine = tmp_path / "mine.bin"
    mine.write_bytes(CONTENT)
    before = mine.stat()
    found = locate("Tiny:1M", places(tmp_path), mine)
    assert found == Weights(NAME, mine, sha(CONTENT), len(CONTENT), "Tiny 1M Q4", "path")
    after = mine.stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_nlink) == (before.st_ino, before.st_mtime_ns, 1)


def test_a_wrong_path_is_an_error_even_when_the_cache_has_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_cache(tmp_path, monkeypatch)
    mine = tmp_path / "mine.gguf"
    mine.write_bytes(WRONG)
    with pytest.raises(ModelMissing) as missing:
        locate(NAME, places(tmp_path), mine)
    assert f"{mine} has sha256 {sha(WRONG)}, expected {sha(CONTENT)}" in missing.value.message
    assert "models.toml" in missing.value.remedy
    assert missing.value.exit_code == 3


def test_any_gguf_file_can_be_given_under_a_name_of_its_own(tmp_path: Path) -> None:
    mine = tmp_path / "My Model.gguf"
    mine.write_bytes(WRONG)
    found = locate("mine", places(tmp_path), mine)
    assert found == Weights("mine:latest", mine, sha(WRONG), len(WRONG), "My Model", "path")
    mine.write_bytes(b"not a model")
    for call in (locate, pull):
        with pytest.raises(ModelMissing, match=r"My Model\.gguf does not begin with the bytes GGUF"):
            call("mine", places(tmp_path), mine)


def test_a_relative_path_comes_back_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m.gguf").write_bytes(CONTENT)
    found = locate("m", places(tmp_path), Path("m.gguf"))
    assert found is not None
    assert found.path == tmp_path / "m.gguf"


def test_the_cache_is_found_and_a_damaged_copy_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = in_cache(tmp_path, monkeypatch)
    found = locate(NAME, places(tmp_path))
    assert found is not None
    assert (found.source, found.path) == ("cache", target)
    target.write_bytes(CONTENT[:-1])
    assert locate(NAME, places(tmp_path)) is None


def test_a_blob_with_the_right_bytes_is_used_in_place_whatever_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_cache(tmp_path, monkeypatch, WRONG)
    blob = store_blob(tmp_path / "ollama", CONTENT)
    found = locate(NAME, places(tmp_path))
    assert found is not None
    assert (found.source, found.path, found.digest) == ("ollama", blob, sha(CONTENT))
    assert len(found.notes) == 1
    assert sha(WRONG) in found.notes[0]


def test_other_bytes_under_a_known_name_are_never_used_silently(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    know(monkeypatch)
    store_blob(tmp_path / "ollama", WRONG)
    store_manifest(tmp_path / "ollama", TAG, sha(WRONG), len(WRONG))
    assert locate(NAME, places(tmp_path)) is None
    with pytest.raises(ModelMissing, match=f"Ollama: has {NAME}, but other bytes: sha256 {sha(WRONG)}"):
        pull(NAME, places(tmp_path))


def test_any_model_of_ollama_can_be_used(tmp_path: Path) -> None:
    blob = store_blob(tmp_path / "ollama", WRONG)
    store_manifest(tmp_path / "ollama", "hf.co/Me/Mine/Q4_0", sha(WRONG), len(WRONG))
    found = locate("hf.co/me/mine:q4_0", places(tmp_path))
    assert found is not None
    assert (found.path, found.digest, found.source) == (blob, sha(WRONG), "ollama")


def test_a_damaged_or_missing_blob_is_refused_by_name(tmp_path: Path) -> None:
    store_manifest(tmp_path / "ollama", TAG, sha(CONTENT), len(CONTENT))
    with pytest.raises(ModelMissing, match=f"sha256-{sha(CONTENT)}: No such file"):
        pull(NAME, places(tmp_path))
    store_blob(tmp_path / "ollama", WRONG, sha(CONTENT))
    assert locate(NAME, places(tmp_path)) is None
    with pytest.raises(ModelMissing, match=f"has sha256 {sha(WRONG)}, expected {sha(CONTENT)}"):
        pull(NAME, places(tmp_path))


def test_a_damaged_blob_of_a_known_file_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    know(monkeypatch)
    store_blob(tmp_path / "ollama", CONTENT[:-5], sha(CONTENT))
    with pytest.raises(ModelMissing, match=f"has {len(CONTENT) - 5} bytes, expected {len(CONTENT)}"):
        pull(NAME, places(tmp_path))


def test_a_malformed_manifest_is_said(tmp_path: Path) -> None:
    store_manifest(tmp_path / "ollama", TAG, "0" * 64, 1).write_text("{")
    assert locate(NAME, places(tmp_path)) is None
    with pytest.raises(ModelMissing, match="1m is not JSON"):
        pull(NAME, places(tmp_path))


def test_an_unknown_name_gets_the_nearest_names(tmp_path: Path) -> None:
    store_manifest(tmp_path / "ollama", "registry.ollama.ai/me/painter/7b", "0" * 64, 1)
    with pytest.raises(ModelMissing) as missing:
        pull("qwen2.5-coder:1.5", places(tmp_path))
    assert "Did you mean qwen2.5-coder:1.5b" in missing.value.remedy
    with pytest.raises(ModelMissing) as missing:
        pull("me/paintr:7b", places(tmp_path))
    assert "Did you mean me/painter:7b?" in missing.value.remedy
    with pytest.raises(ModelMissing) as missing:
        pull("xyzzy", places(tmp_path))
    assert "Known names: me/painter:7b, qwen2.5-coder:0.5b" in missing.value.remedy
    assert "gguf =" in missing.value.remedy


def test_the_list_tells_what_is_where_without_reading_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known, here = know(monkeypatch), places(tmp_path)
    assert [(row.name, row.source, row.partial) for row in known_here(here)] == [(NAME, None, 0)]
    target = cache_file(here.cache, known)
    target.parent.mkdir(parents=True)
    with Partial(target, known.sha256, known.size) as partial:
        partial.write(CONTENT[:100])
        partial.commit()
    store_manifest(here.ollama[0], TAG, sha(WRONG), len(WRONG))
    (row,) = known_here(here)
    assert (row.partial, row.source) == (100, None)
    assert "but other bytes" in row.note

    target.write_bytes(CONTENT)
    store_manifest(here.ollama[0], "registry.ollama.ai/library/other/latest", sha(WRONG), len(WRONG))
    store_manifest(here.ollama[0], "registry.ollama.ai/library/odd/latest", "0" * 64, 1).write_text("{")
    blob = store_blob(here.ollama[0], WRONG)
    monkeypatch.setattr("localgif.models.download.hashlib", None)  # reading a file to the end would fail now
    rows = {row.name: row for row in known_here(here)}
    assert list(rows) == [NAME, "odd:latest", "other:latest"]
    assert (rows[NAME].source, rows[NAME].path, rows[NAME].checked) == ("cache", target, False)
    assert (rows["other:latest"].source, rows["other:latest"].path) == ("ollama", blob)
    assert "not JSON" in rows["odd:latest"].note


def test_the_list_knows_what_was_checked_and_what_is_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = in_cache(tmp_path, monkeypatch)
    locate(NAME, places(tmp_path))
    assert [row.checked for row in known_here(places(tmp_path))] == [True]
    target.write_bytes(CONTENT[:-1])
    (row,) = known_here(places(tmp_path))
    assert (row.source, row.path) == (None, None)
    assert "other bytes" in row.note


def test_folders_follow_from_the_two_variables(tmp_path: Path) -> None:
    found = places_for(str(tmp_path), str(tmp_path / "o"))
    assert found.cache == tmp_path / "models"
    assert found.ollama[0] == tmp_path / "o"
    assert found.ollama[-1] == Path("/usr/share/ollama/.ollama/models")
    assert places_for(None, None).cache.parts[-2:] == ("localgif", "models")


def test_importing_is_light() -> None:
    code = "import sys, localgif.models.fetch; print([m for m in ('httpx', 'platformdirs', 'pip') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"
