"""What of the project goes along, and what stays."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localgif import bundle
from localgif.bundle import ALSO, NEEDED, offline_by_default, project_files, project_root, write_project

ROOT = Path(__file__).parent.parent.parent
MODELS = (ROOT / "models.toml").read_text("utf-8")


def test_the_project_is_found_and_whole() -> None:
    assert project_root() == ROOT


@pytest.mark.skipif(shutil.which("git") is None or not (ROOT / ".git").exists(), reason="no git checkout")
def test_every_tracked_file_goes_along() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    tracked = {name for name in listed.split("\0") if name and (ROOT / name).exists()}
    assert not tracked - set(project_files(ROOT))


def small(root: Path) -> Path:
    for name in (*NEEDED, *ALSO):
        if "." in name.lstrip(".") or name in ("Justfile", "LICENSE"):
            (root / name).write_text(f"# {name}\n")
        else:
            (root / name).mkdir()
            (root / name / "a.py").write_text("a = 1\n")
    (root / "scripts" / "env").write_text("#!/bin/sh\n")
    (root / "scripts" / "env").chmod(0o755)
    return root


def test_what_is_the_users_own_stays(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    root = small(tmp_path / "p")
    for name in (".env", "notes.txt", ".venv/bin/python", "runs/r/run.json", ".git/config", ".localgif/models/x.gguf"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("secret")
    for name in ("localgif/__pycache__/a.pyc", "localgif/b.pyc", "tests/.hypothesis/x"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("cache")
    write_project(root, "[roles]\n", tmp_path / "project.tar")
    with tarfile.open(tmp_path / "project.tar") as archive:
        members = {member.name: member for member in archive.getmembers()}
        assert b"secret" not in (tmp_path / "project.tar").read_bytes()
        assert b"cache" not in (tmp_path / "project.tar").read_bytes()
        read = archive.extractfile("models.toml")
        assert read is not None and read.read().decode() == f"{bundle.OFFLINE}\n[roles]\n"
    assert members["scripts/env"].mode == 0o755 and members["localgif/a.py"].mode == 0o644
    assert {member.uid for member in members.values()} == {0}
    assert not [name for name in members if name.startswith("/") or ".." in name]


def test_the_same_tree_gives_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    root = small(tmp_path / "p")
    for name in ("one.tar", "two.tar"):
        write_project(root, "[roles]\n", tmp_path / name)
        (root / "localgif" / "a.py").touch()
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()


def test_the_shipped_models_file_becomes_an_offline_one() -> None:
    text = offline_by_default(MODELS)
    assert tomllib.loads(text) == {"offline": True, **tomllib.loads(MODELS)}
    assert text.splitlines()[0] == MODELS.splitlines()[0], "what an editor reads on the first line stays there"


@pytest.mark.parametrize("line", ["offline = false", "offline=true", '"offline" = false', "  offline = false # mine"])
def test_what_the_file_says_already_is_kept(line: str) -> None:
    text = f"# a comment\n\n{line}\n[roles]\n"
    assert offline_by_default(text) == text


@given(
    st.lists(st.sampled_from(["# offline = false\n", "\n", "  # x\n"]), max_size=4),
    st.booleans(),
    st.lists(st.sampled_from(["[a]\n", "offline = 1\n", "b = 2\n"]), max_size=1),
)
def test_the_line_is_put_where_it_counts(head: list[str], other: bool, tables: list[str]) -> None:
    text = "".join([*head, "top = 1\n" if other else "", "[t]\n", *tables])
    assert tomllib.loads(offline_by_default(text)) == {**tomllib.loads(text), "offline": True}
