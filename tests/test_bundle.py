"""A bundle contains the project, wheels and weights, and none of the user's files. Weights and pip are real."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localgif import bundle
from localgif.bundle import (
    Bundle,
    collect,
    kind_here,
    models_to_carry,
    offline_by_default,
    project_files,
    project_root,
    write_project,
)
from localgif.errors import ConfigError, PreflightError
from localgif.files import sha256_of
from localgif.models.find import Weights
from localgif.models.toml import load_models_file, read_models
from tests.conftest import WEIGHTS
from tests.support.commands import localgif
from tests.support.weights import build_wheel

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
SHIPPED = (ROOT / "models.toml").read_text("utf-8")
ROLES = '[roles]\nanimator = "a"\nreflector = "a"\n'
MODELS = """
[roles]
animator = "small"
reflector = "same"
[endpoints.embedded]
kind = "embedded"
[endpoints.ollama]
kind = "ollama"
url = "http://127.0.0.1:11434"
[models.small]
endpoint = "embedded"
model = "smollm2:135m"
[models.same]
endpoint = "embedded"
model = "SmolLM2:135m"
[models.mine]
endpoint = "embedded"
model = "mine:1b"
gguf = "mine.gguf"
[models.served]
endpoint = "ollama"
model = "llama3.2:3b"
"""


@pytest.fixture
def models(tmp_path: Path) -> Path:
    path = tmp_path / "given.toml"
    path.write_text(MODELS)
    return path


def test_other_systems_make_no_bundle_and_say_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    file = read_models(tmp_path / "models.toml", MODELS)
    with pytest.raises(PreflightError, match="only on Linux, this is darwin") as raised:
        collect(tmp_path / "out", file, (), WEIGHTS, lambda _: None, lambda *_: None)
    assert raised.value.remedy and not (tmp_path / "out").exists()


# --- the project -----------------------------------------------------------------------------------------------------


def test_the_project_is_found_and_complete() -> None:
    assert project_root() == ROOT


@pytest.mark.skipif(shutil.which("git") is None or not (ROOT / ".git").exists(), reason="no git checkout")
def test_every_tracked_file_is_bundled() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    tracked = {name for name in listed.split("\0") if name and (ROOT / name).exists()}
    assert not tracked - set(project_files(ROOT))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A small project next to the user's own files."""
    root = tmp_path / "project"
    for name in ("Justfile", "LICENSE", "README.md", "models.toml", "pyproject.toml", "requirements.lock", "docs/a.md"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"# {name}\n")
    for name in ("localgif/a.py", "scripts/env"):
        (root / name).parent.mkdir()
        (root / name).write_text("#!/bin/sh\n")
    (root / "scripts" / "env").chmod(0o755)
    for name in (".env", "notes.txt", ".venv/bin/python", "runs/r/run.json", ".git/config", ".localgif/models/x.gguf"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("secret")
    for name in ("localgif/__pycache__/a.pyc", "localgif/b.pyc", "docs/.cache/x"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("cache")
    return root


def test_what_is_the_users_own_stays_here(tmp_path: Path, project: Path) -> None:
    write_project(project, read_models(tmp_path / "m.toml", ROLES), tmp_path / "project.tar")
    with tarfile.open(tmp_path / "project.tar") as archive:
        members = {member.name: member for member in archive.getmembers()}
        packed = (tmp_path / "project.tar").read_bytes()
        assert b"secret" not in packed and b"cache" not in packed
        read = archive.extractfile("models.toml")
        assert read is not None and tomllib.loads(read.read().decode())["offline"]
    assert members["scripts/env"].mode == 0o755 and members["localgif/a.py"].mode == 0o644
    assert {member.uid for member in members.values()} == {0}
    assert not [name for name in members if name.startswith("/") or ".." in name]
    (project / "localgif" / "a.py").touch()
    write_project(project, read_models(tmp_path / "m.toml", ROLES), tmp_path / "again.tar")
    assert (tmp_path / "again.tar").read_bytes() == packed, "the same tree gives the same bytes"


def test_the_shipped_models_file_becomes_an_offline_one() -> None:
    text = offline_by_default(read_models(Path("models.toml"), SHIPPED))
    assert tomllib.loads(text) == {"offline": True, **tomllib.loads(SHIPPED)}
    assert text.splitlines()[0] == SHIPPED.splitlines()[0], "what an editor reads on the first line stays there"


@pytest.mark.parametrize("line", ["offline = false", "offline=true", '"offline" = false', "  offline = false # mine"])
def test_a_file_that_sets_offline_is_unchanged(line: str) -> None:
    text = f"# a comment\n\n{line}\n{ROLES}"
    assert offline_by_default(read_models(Path("models.toml"), text)) == text


@given(st.lists(st.sampled_from(["# offline = false\n", "\n", "  # x\n"]), max_size=4))
def test_the_line_is_put_where_it_counts(head: list[str]) -> None:
    text = "".join([*head, ROLES])
    written = offline_by_default(read_models(Path("models.toml"), text))
    assert tomllib.loads(written) == {**tomllib.loads(text), "offline": True}


# --- a bundle --------------------------------------------------------------------------------------------------------


def test_the_weights_of_the_roles_are_bundled_unless_others_are_named(models: Path) -> None:
    file = load_models_file(models)
    assert [m.alias for m in models_to_carry(file, ())] == ["small"], "one file, named twice"
    assert [m.alias for m in models_to_carry(file, ["same"])] == ["same"]
    for alias, said in (("served", "cannot bundle the weights"), ("mine", "not in localgif.s catalogue")):
        with pytest.raises(ConfigError, match=said):
            models_to_carry(file, [alias])
    with pytest.raises(ConfigError, match="cannot bundle the weights of a server"):
        models_to_carry(file, ["unknown"])
    models.write_text(MODELS.replace('"small"\nreflector = "same"', '"served"\nreflector = "served"'))
    assert models_to_carry(load_models_file(models), ()) == ()


@pytest.fixture
def shelf(tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where pip finds the two packages of the project's lock that this machine needs."""
    shelf = tmp_path / "shelf"
    entries = ""
    for name in ("one", "two"):
        digest = sha256_of(build_wheel(shelf, name, "1.0", {}))
        entries += f"{name}==1.0 \\\n    --hash=sha256:{digest}\n"
    entries += "three==1.0 ; sys_platform == 'win32' \\\n    --hash=sha256:" + "00" * 32 + "\n"
    (project / "requirements.lock").write_text(entries)
    monkeypatch.setattr(bundle, "project_root", lambda: project)
    for name, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(shelf), "PIP_CONFIG_FILE": os.devnull}.items():
        monkeypatch.setenv(name, value)
    return shelf


def make(out: Path, models: Path, *aliases: str) -> Bundle:
    file = load_models_file(models)
    return collect(out, file, models_to_carry(file, aliases), WEIGHTS, lambda _: None, lambda *_: None)


def test_an_interrupted_bundle_is_finished(tmp_path: Path, models: Path, shelf: Path, smollm2: Weights) -> None:
    out = tmp_path / "deep" / "bundle"
    taken = shelf / "two-1.0-py3-none-any.whl"
    hidden = taken.rename(tmp_path / "hidden")
    with pytest.raises(PreflightError) as caught:
        make(out, models)
    assert "two==1.0" in caught.value.message and "continues where it stopped" in caught.value.remedy
    assert not (out / "SHA256SUMS").exists()
    hidden.rename(taken)
    (out / "weights").mkdir(exist_ok=True)
    (out / "weights" / "smollm2-135m-left.part").write_bytes(b"half a copy")
    (out / "wheels" / "stale-1.0-py3-none-any.whl").write_bytes(b"of another lock")
    whole = make(out, models)
    names = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    weights = f"weights/smollm2-135m-{smollm2.digest[:12]}.gguf"
    wheels = {f"wheels/{name}-1.0-py3-none-any.whl" for name in ("one", "two")}
    assert names == {"SHA256SUMS", "bundle.txt", "install.sh", "project.tar", weights, *wheels}
    assert sha256_of(out / weights) == smollm2.digest
    assert whole.sizes["wheels"][0] == 2 and whole.sizes["weights"] == (1, smollm2.size)
    assert whole.sizes[""][0] == len(names) and whole.digest == sha256_of(out / "SHA256SUMS")
    assert kind_here() in (out / "bundle.txt").read_text() and whole.kind[-1] == "glibc 2.17"
    with pytest.raises(ConfigError, match="already holds a complete bundle"):
        make(out, models)


def test_other_folders_are_refused(tmp_path: Path, models: Path, shelf: Path) -> None:
    (tmp_path / "a-file").write_text("")
    with pytest.raises(PreflightError, match="a-file"):
        make(tmp_path / "a-file", models)
    with pytest.raises(ConfigError, match="is not empty"):
        make(tmp_path, models)
    other = tmp_path / "other"
    other.mkdir()
    (other / "bundle.txt").write_text("localgif 0\npython 3.99\nmachine riscv\n")
    with pytest.raises(ConfigError, match=r"unfinished bundle of another kind .*python 3\.99"):
        make(other, models)


def test_an_unreachable_index_is_reported_in_pips_words(
    tmp_path: Path, models: Path, shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PIP_NO_INDEX", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(PreflightError, match=r"No matching distribution|did not answer"):
        make(tmp_path / "out", models)


def test_mistakes_on_the_command_line_have_exit_code_2(tmp_path: Path, models: Path) -> None:
    done = localgif(tmp_path, "bundle", "--output", "b", "--models", str(models), "--model", "served")
    assert done.returncode == 2 and "--model served" in done.stderr
    assert not (tmp_path / "b").exists()
