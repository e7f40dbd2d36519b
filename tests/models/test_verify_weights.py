"""A file is accepted for its bytes only, and a stamp is believed only for the very file it was made for."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from localgif.models import download
from localgif.models.download import Refused, Stamps, verify
from tests.models.weights_kit import CONTENT, sha


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one for each file that is really read."""
    calls: list[int] = []

    def counting() -> Any:
        calls.append(1)
        return hashlib.sha256()

    class Counting:
        sha256 = staticmethod(counting)

    monkeypatch.setattr(download, "hashlib", Counting)
    return calls


def weights(tmp_path: Path, content: bytes = CONTENT) -> Path:
    path = tmp_path / "w.gguf"
    path.write_bytes(content)
    return path


def test_a_right_file_is_read_once_and_then_stamped(tmp_path: Path, hashed: list[int]) -> None:
    path, stamps = weights(tmp_path), Stamps(tmp_path / "cache")
    seen: list[int] = []
    assert verify(path, stamps, len(CONTENT), sha(CONTENT), seen.append) == (sha(CONTENT), len(CONTENT))
    assert verify(path, Stamps(tmp_path / "cache"), len(CONTENT), sha(CONTENT)).digest == sha(CONTENT)
    assert len(hashed) == 1
    assert seen[-1] == len(CONTENT)


def test_a_changed_file_is_read_again(tmp_path: Path, hashed: list[int]) -> None:
    path, stamps = weights(tmp_path), Stamps(tmp_path)
    verify(path, stamps)
    other = CONTENT[:-1] + b"X"
    path.write_bytes(other)
    os.utime(path, ns=(1, 1))
    with pytest.raises(Refused, match=f"sha256 {sha(other)}, expected {sha(CONTENT)}"):
        verify(path, stamps, len(CONTENT), sha(CONTENT))
    assert len(hashed) == 2


def test_a_file_put_in_place_of_another_is_read_again(tmp_path: Path, hashed: list[int]) -> None:
    path, stamps = weights(tmp_path), Stamps(tmp_path)
    verify(path, stamps)
    times = path.stat().st_mtime_ns
    twin = tmp_path / "twin"
    twin.write_bytes(CONTENT)
    os.utime(twin, ns=(times, times))
    twin.replace(path)
    verify(path, stamps)
    assert len(hashed) == 2


@pytest.mark.parametrize(
    "rubbish",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b'{"version": 1}',
        b'{"version": 1, "files": 3}',
        b'{"version": 9, "files": {}}',
        b"[" * 200_000,
    ],
)
def test_a_corrupt_stamp_file_is_ignored_and_rewritten(tmp_path: Path, hashed: list[int], rubbish: bytes) -> None:
    path, stamps = weights(tmp_path), Stamps(tmp_path)
    (tmp_path / "stamps.json").write_bytes(rubbish)
    for _ in range(2):
        assert verify(path, stamps).digest == sha(CONTENT)
    assert len(hashed) == 1


def test_a_corrupt_stamp_is_ignored(tmp_path: Path, hashed: list[int]) -> None:
    path, stamps = weights(tmp_path), Stamps(tmp_path)
    stamps.remember(path, path.stat(), "0" * 64)
    stored = tmp_path / "stamps.json"
    stored.write_text(stored.read_text().replace('"inode"', '"inodes"'))
    assert verify(path, stamps).digest == sha(CONTENT)
    assert len(hashed) == 1


def test_stamps_of_files_that_are_gone_go_too(tmp_path: Path) -> None:
    path, stamps = weights(tmp_path), Stamps(tmp_path)
    stamps.remember(tmp_path / "gone", path.stat(), "0" * 64)
    verify(path, stamps)
    assert "gone" not in (tmp_path / "stamps.json").read_text()


def test_without_a_place_for_stamps_files_are_still_verified(tmp_path: Path) -> None:
    path = weights(tmp_path)
    assert verify(path, Stamps(path / "no-folder")).digest == sha(CONTENT)


def test_a_cut_file_is_refused_by_name_and_size(tmp_path: Path) -> None:
    path = weights(tmp_path, CONTENT[:-7])
    with pytest.raises(Refused, match=f"w.gguf has {len(CONTENT) - 7} bytes, expected {len(CONTENT)}"):
        verify(path, Stamps(tmp_path), len(CONTENT), sha(CONTENT))


@pytest.mark.parametrize("content", [b"", b"GGU", b"<html>not found</html>", b"PK\x03\x04"])
def test_what_is_not_gguf_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(Refused, match=r"w\.gguf does not begin with the bytes GGUF"):
        verify(weights(tmp_path, content), Stamps(tmp_path))


def test_missing_files_folders_and_pipes_are_refused_at_once(tmp_path: Path) -> None:
    stamps = Stamps(tmp_path)
    with pytest.raises(Refused, match="none: No such file"):
        verify(tmp_path / "none", stamps)
    with pytest.raises(Refused, match="not a regular file"):
        verify(tmp_path, stamps)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Refused, match="not a regular file"):
        verify(tmp_path / "pipe", stamps)


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = weights(tmp_path)

    def touch(_: int) -> None:
        os.utime(path, ns=(5, 5))

    with pytest.raises(Refused, match="changed while"):
        verify(path, Stamps(tmp_path), on_bytes=touch)
    assert not (tmp_path / "stamps.json").exists()
