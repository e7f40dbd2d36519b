"""install.sh verifies a bundle and the kind of the machine, then installs it. The bundle is small, the sh real."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from localgif.bundle import SUMS, kind_here, seal

pytestmark = pytest.mark.slow

INSTALL = Path(__file__).parent.parent / "localgif" / "install.sh"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
KIND = f"localgif 0\n{kind_here()}glibc 2.17\n"

#: Stands for the project's own scripts/env: says what it was given.
ENV = """#!/bin/sh
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
printf '%s\\n' "python $LOCALGIF_PYTHON" "wheels $LOCALGIF_WHEELS" "ran $*" >"$root/said"
"""


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A whole bundle with a project of one script, in a folder whose name asks for quotes."""
    folder = tmp_path / "a bundle's folder"
    folder.mkdir()
    (folder / "bundle.txt").write_text(KIND)
    shutil.copy(INSTALL, folder)
    for name, content in {"wheels/a-1-py3-none-any.whl": b"a", "wheels/pip-1-py3-none-any.whl": b"p"}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "weights").mkdir()
    (folder / "weights" / "tiny-123.gguf").write_bytes(b"GGUF")
    source = tmp_path / "env"
    source.write_text(ENV)
    source.chmod(0o755)
    with tarfile.open(folder / "project.tar", "w") as archive:
        archive.add(source, "scripts/env")
    seal(folder)
    return folder


def install(bundle: Path, target: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", str(bundle / "install.sh"), str(target)],
        env={**os.environ, "LOCALGIF_PYTHON": sys.executable, **environment},
        cwd=bundle.parent,
        capture_output=True,
        text=True,
        timeout=60,
    )


def refused(done: subprocess.CompletedProcess[str], said: str, target: Path) -> None:
    assert done.returncode == 3, done.stderr
    assert said in done.stderr, done.stderr
    assert not target.exists() or not any(target.iterdir()), "nothing was installed"


def test_a_whole_bundle_is_installed(bundle: Path, tmp_path: Path) -> None:
    target = tmp_path / "the target"
    done = install(bundle, target)
    assert done.returncode == 0, done.stderr
    assert f"Run:  {target}/scripts/just optimize" in done.stdout
    said = (target / "said").read_text().splitlines()
    assert said == [f"python {sys.executable}", f"wheels {bundle}/wheels", "ran true"]
    assert (target / ".localgif" / "models" / "tiny-123.gguf").read_bytes() == b"GGUF"
    assert not (target / ".localgif-installing").exists()
    refused_again = install(bundle, target)
    assert refused_again.returncode == 3 and "is not an empty folder" in refused_again.stderr


def test_a_relative_target_and_one_without_weights(bundle: Path) -> None:
    shutil.rmtree(bundle / "weights")
    seal(bundle)
    done = install(bundle, "here/below")
    assert done.returncode == 0, done.stderr
    assert (bundle.parent / "here" / "below" / "said").exists()


@pytest.mark.parametrize("name", ["wheels/a-1-py3-none-any.whl", "weights/tiny-123.gguf", "project.tar", "bundle.txt"])
def test_a_missing_or_changed_file_is_refused_by_name(bundle: Path, tmp_path: Path, name: str) -> None:
    target, path = tmp_path / "t", bundle / name
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    refused(install(bundle, target), f"{name} is not the file that was bundled", target)
    path.write_bytes(good + b"\0")
    refused(install(bundle, target), f"{name} is not the file that was bundled", target)
    path.unlink()
    refused(install(bundle, target), f"{name} is missing from this bundle", target)
    path.symlink_to("/etc/passwd")
    refused(install(bundle, target), f"{name} is missing from this bundle", target)
    path.unlink()
    path.write_bytes(good)
    assert install(bundle, target).returncode == 0


@pytest.mark.parametrize("name", ["wheels/pip-99-py3-none-any.whl", "wheels/a", "more.txt", ".hidden", "a b/c"])
def test_a_file_that_was_not_bundled_is_refused_by_name(bundle: Path, tmp_path: Path, name: str) -> None:
    (bundle / name).parent.mkdir(exist_ok=True)
    (bundle / name).write_bytes(b"x")
    refused(install(bundle, tmp_path / "t"), f"{name} is not part of this bundle", tmp_path / "t")


def test_an_incomplete_bundle_is_refused(bundle: Path, tmp_path: Path) -> None:
    (bundle / SUMS).write_bytes(b"")
    refused(install(bundle, tmp_path / "t"), "SHA256SUMS is empty", tmp_path / "t")
    (bundle / SUMS).unlink()
    refused(install(bundle, tmp_path / "t"), "this bundle is incomplete", tmp_path / "t")
    seal(bundle)
    assert install(bundle, tmp_path / "t").returncode == 0


def test_the_sums_are_those_of_sha256sum_and_name_every_file(bundle: Path) -> None:
    checked = subprocess.run(["sha256sum", "-c", SUMS], cwd=bundle, capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0, checked.stdout
    files = {p.relative_to(bundle).as_posix() for p in bundle.rglob("*") if p.is_file()} - {SUMS}
    assert {line[66:] for line in (bundle / SUMS).read_text().splitlines()} == files
    assert seal(bundle) == hashlib.sha256((bundle / SUMS).read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("machine riscv", "this bundle is for Linux on riscv"),
        ("python 3.99", "is not CPython 3.99, which this bundle is for"),
        ("libc other", "this bundle is for other"),
        ("glibc 2.999", "this bundle is for glibc 2.999 or newer, this machine has glibc 2."),
    ],
)
def test_a_machine_of_another_kind_is_refused(bundle: Path, tmp_path: Path, line: str, said: str) -> None:
    key = line.split()[0]
    lines = [line if old.split()[0] == key else old for old in KIND.splitlines()]
    (bundle / "bundle.txt").write_text("\n".join(lines) + "\n")
    seal(bundle)
    done = install(bundle, tmp_path / "t")
    refused(done, said, tmp_path / "t")
    assert "localgif bundle -o DIR" in done.stderr


def test_without_the_right_python_on_the_path_its_version_is_named(bundle: Path, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "dirname", "sha256sum", "find", "cut", "grep", "uname", "ls", "tar", "mkdir", "cp", "mv", "rm"):
        found = shutil.which(name)
        assert found, name
        (tools / name).symlink_to(found)
    done = install(bundle, tmp_path / "t", PATH=str(tools), LOCALGIF_PYTHON="")
    refused(done, f"this bundle is for CPython {PYTHON}, which is not on PATH", tmp_path / "t")
    (tools / f"python{PYTHON}").symlink_to(sys.executable)
    assert install(bundle, tmp_path / "t", PATH=str(tools), LOCALGIF_PYTHON="").returncode == 0


@pytest.mark.parametrize("words", [[], ["", ""], ["-h"], ["a", "b"], [""]])
def test_how_it_is_called_is_said(bundle: Path, words: list[str]) -> None:
    done = subprocess.run(
        ["sh", str(bundle / "install.sh"), *words], capture_output=True, text=True, cwd=bundle.parent, timeout=60
    )
    assert done.returncode == 2 and "usage: sh" in done.stderr and "TARGET" in done.stderr


def test_a_target_inside_the_bundle_or_in_use_is_refused(bundle: Path, tmp_path: Path) -> None:
    refused(install(bundle, bundle / "inside"), "is inside the bundle", bundle / "inside")
    used = tmp_path / "used"
    used.mkdir()
    (used / "mine").write_text("mine")
    done = install(bundle, used)
    assert done.returncode == 3 and "is not an empty folder" in done.stderr
    assert [p.name for p in used.iterdir()] == ["mine"]


def test_an_install_that_fails_says_so_and_can_be_repeated(bundle: Path, tmp_path: Path) -> None:
    target = tmp_path / "t"
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    good = (bundle / "project.tar").read_bytes()
    with tarfile.open(bundle / "project.tar", "w") as archive:
        archive.add(broken, "scripts/env")
    seal(bundle)
    done = install(bundle, target)
    assert done.returncode == 3 and "The install is not complete." in done.stderr and done.stdout == ""
    (bundle / "project.tar").write_bytes(good)
    seal(bundle)
    assert install(bundle, target).returncode == 0
