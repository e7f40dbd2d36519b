"""Files are replaced whole, read up to a limit, and locked against other processes."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from localgif.errors import RunLocked
from localgif.files import append, check_free, is_locked, locked, read_bounded, replace_file, sha256_of, take_lock


def test_a_replaced_file_keeps_its_permissions_and_its_link(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_bytes(b"old")
    real.chmod(0o600)
    link.symlink_to(real)
    replace_file(link, b"new")
    assert link.is_symlink() and real.read_bytes() == b"new"
    assert real.stat().st_mode & 0o777 == 0o600
    replace_file(tmp_path / "first", b"x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "link", "real"]


def test_a_file_that_cannot_be_written_is_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for write in (replace_file, append):
        with pytest.raises(OSError, match="No space left"):
            write(path, b"new")
        assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_reading_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 2048)
    assert len(read_bounded(path, 2048)) == 2048
    with pytest.raises(OSError, match="larger than 1 KiB"):
        read_bounded(path, 1024)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        read_bounded(tmp_path / "pipe", 1024)
    with pytest.raises(FileNotFoundError):
        read_bounded(tmp_path / "none", 1024)


def test_the_digest_is_that_of_sha256sum(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"localgif")
    said = subprocess.run(["sha256sum", tmp_path / "file"], capture_output=True, text=True, check=True).stdout
    assert said.split()[0] == sha256_of(tmp_path / "file")


def test_a_locked_folder_names_its_holder(tmp_path: Path) -> None:
    assert not is_locked(tmp_path)
    handle = take_lock(tmp_path)
    assert is_locked(tmp_path)
    with pytest.raises(RunLocked, match=f"being written by pid {os.getpid()}"):
        check_free(tmp_path)
    os.close(handle)
    check_free(tmp_path)


def test_a_lock_is_waited_for_and_the_wait_reported(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom localgif.files import locked\n"
        "with locked(Path(sys.argv[1]), lambda: None):\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "w")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin is not None and other.stdout is not None
        assert other.stdout.readline() == "held\n"
        waits: list[bool] = []

        def on_wait() -> None:
            assert other.stdin is not None
            waits.append(True)
            other.stdin.close()  # the other process ends, and its lock with it

        with locked(tmp_path / "w", on_wait):
            assert waits == [True]
