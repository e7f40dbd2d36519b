"""Files are replaced atomically, read up to a limit, and locked against other processes."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from localgif.errors import ConfigError, RunCorrupt, RunError, RunLocked
from localgif.files import (
    append,
    check_free,
    content_name,
    exists,
    is_file,
    is_locked,
    is_name,
    locked,
    odd_entry,
    parse_toml,
    read_bounded,
    read_inside,
    remove_inside,
    replace_file,
    replace_inside,
    sizes_below,
    sync_folder,
    take_lock,
)


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


def test_a_locked_folder_names_its_holder(tmp_path: Path) -> None:
    assert not is_locked(tmp_path)
    handle = take_lock(tmp_path)
    assert is_locked(tmp_path)
    with pytest.raises(RunLocked, match=f"being written by pid {os.getpid()}"):
        check_free(tmp_path)
    os.close(handle)
    check_free(tmp_path)


def test_a_path_that_no_file_can_have_is_none_and_links_that_lead_to_each_other_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "one").symlink_to(tmp_path / "other")
    (tmp_path / "other").symlink_to(tmp_path / "one")
    for path in (tmp_path / "one", tmp_path / ("x" * 300), Path("\0"), tmp_path / "gone"):
        assert not exists(path) and not is_file(path)
    assert exists(tmp_path) and not is_file(tmp_path)
    if sys.version_info < (3, 13):
        with pytest.raises(OSError, match="lead to each other"):
            replace_file(tmp_path / "one", b"x")


def test_who_may_only_read_a_run_sees_that_it_is_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open

    def read_only(path: Any, flags: int, *rest: Any, **more: Any) -> int:
        if flags & os.O_ACCMODE != os.O_RDONLY:
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return opened(path, flags, *rest, **more)

    handle = take_lock(tmp_path)
    monkeypatch.setattr(os, "open", read_only)
    assert is_locked(tmp_path)
    os.close(handle)
    assert not is_locked(tmp_path)


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


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A folder with links that lead outside, next to a file that must not be touched."""
    (tmp_path / "mine").write_bytes(b"mine")
    folder = tmp_path / "run"
    (folder / "code").mkdir(parents=True)
    (folder / "link").symlink_to(tmp_path / "mine")
    (folder / "gifs").symlink_to(tmp_path)
    os.link(tmp_path / "mine", folder / "hard")
    os.mkfifo(folder / "pipe")
    return folder


@pytest.mark.parametrize(
    "name", ["link", "gifs/mine", "../mine", "code/../../mine", "/etc/passwd", "", ".", "code", "pipe", "a\0b", "none"]
)
def test_only_regular_files_inside_a_folder_are_read(run: Path, name: str) -> None:
    with pytest.raises(OSError, match=r".+"):
        read_inside(run, name, 100)


def test_nothing_is_written_or_removed_behind_a_link(run: Path) -> None:
    for name in ("link", "hard", "pipe"):
        with pytest.raises(OSError, match=r"a link|not a regular file|No such device"):
            append(run / name, b"more")
    for name in ("gifs/mine", "../mine", "gifs/new"):
        with pytest.raises(OSError, match=r"Not a directory|not a name"):
            replace_inside(run, name, b"new")
        with pytest.raises(OSError, match=r"Not a directory|not a name"):
            remove_inside(run, name)
    assert odd_entry(run) in (run / "link", run / "gifs", run / "pipe")
    for name in ("link", "hard", "pipe", "new/inner"):
        replace_inside(run, name, b"new")
        assert read_inside(run, name, 100) == b"new"
    assert (run.parent / "mine").read_bytes() == b"mine" and len(list(run.parent.iterdir())) == 2
    assert odd_entry(run) == run / "gifs"


def test_a_temporary_file_cannot_be_foreseen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda _: seen.extend(path.name for path in tmp_path.iterdir()))
    for _ in range(2):
        replace_inside(tmp_path, "a", b"")
    assert len({name for name in seen if name.endswith(".tmp")}) == 2


@pytest.mark.parametrize(
    "name", ["../x", "/etc/passwd", "0123456789abcde", "0123456789ABCDEF", "0123456789abcdef\n", ""]
)
def test_a_content_has_a_hash_for_a_name(name: str) -> None:
    assert content_name("gifs", "0123456789abcdef") == "gifs/0123456789abcdef.gif"
    with pytest.raises(RunCorrupt, match="not the name of a stored file"):
        content_name("gifs", name)


@pytest.mark.parametrize("name", ["", ".x", "-x", "a/b", "..", "a\0", "x" * 121, "\udcff", "\U0001f600" * 60])
def test_a_run_has_a_name_that_a_folder_can_have(name: str) -> None:
    assert is_name("2026-11-29 a[b]'c") and not is_name(name)


def test_a_lock_that_is_a_link_is_refused_and_its_target_stays(tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(b"mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(tmp_path / "mine")
    with pytest.raises(RunError, match="a link"):
        take_lock(tmp_path / "run")
    assert not is_locked(tmp_path / "run") and (tmp_path / "mine").read_bytes() == b"mine"


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_without_locks_a_process_that_runs_here_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def none(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", none)
    os.close(take_lock(tmp_path))
    assert not is_locked(tmp_path), "ours counts as free"
    (tmp_path / ".lock").write_text(f"pid 1 on {socket.gethostname()}, since now\n")
    assert is_locked(tmp_path)
    with pytest.raises(RunLocked, match="being written by pid 1"):
        take_lock(tmp_path)
    (tmp_path / ".lock").write_text("pid 1 on elsewhere, since now\n")
    os.close(take_lock(tmp_path))
    with locked(tmp_path / "w", lambda: None):
        pass


def test_a_file_system_without_fsync_for_folders_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(_: int) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", none)
    sync_folder(tmp_path)
    replace_file(tmp_path / "a", b"a")
    append(tmp_path / "a", b"b")
    assert (tmp_path / "a").read_bytes() == b"ab"


@pytest.mark.parametrize(
    "text",
    [
        ".".join(["a"] * 30_000) + " = 1",
        "[" + " . ".join(["a"] * 40) + "]",
        ".".join(['"a b"'] * 40) + " = 1",
        "a = " + "[" * 40 + "]" * 40,
        "a = " + "[" * 50_000,
        "a = " + "{a = " * 40 + "1" + "}" * 40,
    ],
    ids=["keys", "header", "quoted keys", "arrays", "open arrays", "tables"],
)
def test_toml_that_is_nested_too_deeply_is_refused_at_once(text: str) -> None:
    with pytest.raises(ConfigError, match=r"models\.toml is nested too deeply"):
        parse_toml(text, "models.toml", "E-CONFIG-FILE")


def test_a_number_that_python_does_not_read_is_no_toml() -> None:
    with pytest.raises(ConfigError, match="is not valid TOML"):
        parse_toml(f"a = {'1' * 5000}", "models.toml", "E-CONFIG-FILE")
    words = "A sentence. " * 100
    assert parse_toml(f'a.b.c = "{words}" # {words}', "x", "E")["a"]["b"]["c"] == words


def test_sizes_are_found_while_files_and_folders_vanish(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("a", "b", "sub/c"):
        (tmp_path / name).write_bytes(b"12")
    assert sorted(sizes_below(tmp_path)) == [2, 2, 2]
    sizes = sizes_below(tmp_path)
    assert next(sizes) == 2
    for name in ("a", "b"):
        (tmp_path / name).unlink()
    shutil.rmtree(tmp_path / "sub")
    assert list(sizes) == []
