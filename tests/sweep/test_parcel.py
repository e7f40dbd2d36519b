"""A copy of a run folder that takes the pieces becomes the folder, whatever became of it in between, and never less."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localgif.errors import RunCorrupt
from localgif.files import content_hash
from localgif.store.read import load_record
from localgif.sweep.parcel import Piece, State, begun, lacking, pack, take, unpack
from tests.sweep.kit import stored

LINES = st.lists(st.binary(max_size=12).map(lambda data: data.replace(b"\n", b"") + b"\n"), max_size=4).map(b"".join)
#: What a run may do to its folder between two looks: add lines, leave one half written, set a log aside, add a
#: content, replace run.json.
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("lines"), st.sampled_from(["samples.jsonl", "answers.jsonl", "gepa/log.txt"]), LINES),
        st.tuples(st.just("torn"), st.just("samples.jsonl"), st.binary(min_size=1, max_size=5)),
        st.tuples(st.just("rewritten"), st.just("samples.jsonl"), LINES),
        st.tuples(st.just("aside"), st.just("samples.jsonl"), st.just(b"")),
        st.tuples(st.just("content"), st.sampled_from(["code", "gifs"]), st.binary(max_size=20)),
        st.tuples(st.just("record"), st.just("run.json"), st.binary(max_size=5)),
    ),
    max_size=5,
)


def done_to(folder: Path, steps: list[tuple[str, str, bytes]]) -> None:
    for kind, name, data in steps:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        if kind == "content":
            suffix = {"code": "py", "gifs": "gif"}[name]
            path.mkdir(exist_ok=True)
            (path / f"{content_hash(data)}.{suffix}").write_bytes(data)
        elif kind in ("record", "rewritten"):
            path.write_bytes(data)
        elif kind == "aside" and path.exists():
            number = len(list(folder.glob("*.damaged-*"))) + 1
            path.rename(folder / f"{name}.damaged-{number}")
        elif kind in ("lines", "torn"):
            with path.open("ab") as file:
                file.write(data)


def files(folder: Path) -> dict[str, bytes]:
    """Whole lines of logs, everything else as it is."""
    found = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    logs = ("samples.jsonl", "answers.jsonl", "gepa/log.txt")
    return {name: data[: data.rfind(b"\n") + 1] if name in logs else data for name, data in found.items()}


@given(STEPS, STEPS, STEPS, st.booleans())
def test_a_copy_becomes_what_the_folder_is(
    before: list[tuple[str, str, bytes]],
    first: list[tuple[str, str, bytes]],
    second: list[tuple[str, str, bytes]],
    heard: bool,
) -> None:
    """Begun here, sent there, changed there twice; the news of the first change may get lost on the way back."""
    with TemporaryDirectory() as name:
        here, there = Path(name, "here"), Path(name, "there")
        here.mkdir()
        (here / "run.json").write_bytes(b"{}")
        done_to(here, before)
        copy = unpack(there, pack(here))
        done_to(there, first)
        pieces = lacking(there, copy)
        if heard:
            take(here, pieces)
            copy.update((piece.path, piece.state) for piece in pieces)
        done_to(there, second)
        take(here, lacking(there, copy))
        wanted, found = files(there), files(here)
        kept = {n: d for n, d in found.items() if n in wanted}
        assert kept == wanted
        assert lacking(there, {n: State(len(d), hashlib.sha256(d).hexdigest()) for n, d in found.items()}) == ()


def test_a_grown_log_comes_as_its_new_lines_and_contents_come_once(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    done_to(folder, [("record", "run.json", b"{}"), ("lines", "samples.jsonl", b"one\n"), ("content", "gifs", b"GIF")])
    pieces = lacking(folder, {})
    assert [piece.path for piece in pieces] == [f"gifs/{content_hash(b'GIF')}.gif", "samples.jsonl", "run.json"]
    copy = {piece.path: piece.state for piece in pieces}
    done_to(folder, [("lines", "samples.jsonl", b"two\nthr"), ("content", "code", b"x = 1")])
    again = lacking(folder, copy)
    assert [(piece.path, piece.offset, piece.data) for piece in again] == [
        (f"code/{content_hash(b'x = 1')}.py", 0, b"x = 1"),
        ("samples.jsonl", 4, b"two\n"),
    ]


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("../outside.md", b""),
        ("/tmp/outside.md", b""),
        ("code/0123456789abcdef.sh", b""),
        ("report.html", b""),
        (".lock", b""),
        ("gifs/0123456789abcdef.gif", b"another content"),
    ],
)
def test_what_no_run_folder_has_is_not_taken(path: str, data: bytes, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(RunCorrupt):
        take(tmp_path / "run", [Piece(path, 0, data, hashlib.sha256(data).hexdigest())])
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_a_piece_that_does_not_come_to_its_digest_changes_nothing(tmp_path: Path) -> None:
    log = tmp_path / "samples.jsonl"
    log.write_bytes(b"one\n")
    right = hashlib.sha256(b"one\ntwo\n").hexdigest()
    for piece in (
        Piece("samples.jsonl", 4, b"twx\n", right),
        Piece("samples.jsonl", 9, b"two\n", right),
        Piece("samples.jsonl", 0, b"two\n", right),
    ):
        with pytest.raises(RunCorrupt, match=r"samples\.jsonl: what came back of it is not what was sent"):
            take(tmp_path, [piece])
        assert log.read_bytes() == b"one\n"
    take(tmp_path, [Piece("samples.jsonl", 4, b"two\n", right)])
    assert log.read_bytes() == b"one\ntwo\n"


def test_a_copy_says_started_until_all_of_it_is_there(tmp_path: Path) -> None:
    folder = stored(tmp_path, "r", [0.1], [0.9])
    pieces = lacking(folder, {})
    first = begun(pieces)
    assert first is not None
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "run.json").write_bytes(first)
    assert (load_record(copy).status, load_record(copy).result) == ("started", None)
    take(copy, pieces)
    assert load_record(copy) == load_record(folder)
    assert begun(pieces[:-1]) is None
    assert json.loads(first)["settings"] == json.loads((folder / "run.json").read_bytes())["settings"]
