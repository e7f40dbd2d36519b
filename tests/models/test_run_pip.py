"""pip and uv get the user's way to the index and nothing else, and uv installs a lock by its hashes."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from localgif.models import run_pip
from localgif.models.run_pip import pin_of, with_uv
from tests.support.weights import build_wheel


def test_only_the_way_to_the_index_is_taken_from_pips_settings() -> None:
    listed = (
        ":env:.index-url='http://shell/simple'\n:env:.user='1'\ndownload.timeout='5'\nglobal.timeout='60'\n"
        "global.extra-index-url='\\nhttp://a\\nhttp://b'\nglobal.index-url='http://file/simple'\n"
        "global.require-virtualenv='true'\ninstall.prefix='/p'\ninstall.target='/t'\nwheel.timeout='9'\n"
    )
    assert run_pip.settings(listed) == {
        "PIP_INDEX_URL": "http://shell/simple",
        "PIP_EXTRA_INDEX_URL": "http://a http://b",
        "PIP_TIMEOUT": "5",
    }


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """An empty environment with the real uv in it."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    found = shutil.which("uv")
    assert found, "the lock contains uv"
    (tmp_path / "venv" / "bin" / "uv").symlink_to(found)
    return tmp_path / "venv"


def locked(tmp_path: Path, digest: str | None = None) -> Path:
    """A lock of one wheel, in an index of its own; the digest is the wheel's."""
    (tmp_path / "index").mkdir()
    wheel = build_wheel(tmp_path / "index", "tiny-whole", "1.0", {"w.txt": b"w"})
    lock = tmp_path / "a.lock"
    digest = digest or hashlib.sha256(wheel.read_bytes()).hexdigest()
    lock.write_text(f"tiny-whole==1.0 \\\n    --hash=sha256:{digest}\n")
    return lock


def install(target: Path, lock: Path) -> tuple[int, bool]:
    """uv's exit code, and whether the package is there; the user has a setting of uv that would put it elsewhere."""
    pips = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(lock.parent / "index")}
    variables = {**os.environ, "UV_TARGET": str(lock.parent / "elsewhere")}
    code = with_uv(target / "bin" / "uv", str(target / "bin" / "python"), lock, pips, variables)
    assert not (lock.parent / "elsewhere").exists() and not list((target / "bin").glob("uv-*"))
    return code, bool(list(target.glob("lib/*/site-packages/tiny_whole-1.0.dist-info")))


def test_the_lock_pins_the_uv_that_installs_it() -> None:
    lines = pin_of("uv", (Path(__file__).parents[2] / "requirements.lock").read_text("utf-8")).splitlines()
    assert lines[0].startswith("uv==") and len(lines) > 10
    assert all(line.strip().startswith("--hash=sha256:") for line in lines[1:])
    assert pin_of("a", "b==1 \\\n    --hash=x\na==2 \\\n    --hash=y\n") == "a==2 \\\n    --hash=y\n"
    assert pin_of("c", "b==1\n") == ""


@pytest.mark.slow
def test_uv_installs_a_lock_from_where_pips_settings_lead(target: Path, tmp_path: Path) -> None:
    assert install(target, locked(tmp_path)) == (0, True)


@pytest.mark.slow
def test_a_file_with_another_hash_is_not_installed(target: Path, tmp_path: Path) -> None:
    code, installed = install(target, locked(tmp_path, digest="0" * 64))
    assert code and not installed


def test_pips_settings_have_the_same_names_in_uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, str] = {}
    calls: list[list[str]] = []

    def called(command: list[str], env: dict[str, str], check: bool) -> subprocess.CompletedProcess[str]:
        seen.update(env)
        calls.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", called)
    pips = {
        "PIP_INDEX_URL": "http://a/simple",
        "PIP_FIND_LINKS": "/b /c",
        "PIP_PROXY": "http://p",
        "PIP_CACHE_DIR": "/d",
    }
    with_uv(tmp_path / "uv", "python", tmp_path / "lock", pips, {"HOME": "/h", "UV_INDEX": "http://other"})
    proxies = {"HTTP_PROXY": "http://p", "HTTPS_PROXY": "http://p"}
    assert seen == {"HOME": "/h", "UV_DEFAULT_INDEX": "http://a/simple", "UV_FIND_LINKS": "/b,/c", **proxies}
    assert "--no-index" not in calls[0] and "--require-hashes" in calls[0]
