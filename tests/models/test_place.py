"""Which models.toml a command uses, and where its runs are: each place goes before the next."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from localgif.errors import ConfigError
from localgif.models.place import built_in, models_file, runs_folder
from localgif.models.toml import load_models_file

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of a user who is in its folder work/inner."""
    inner = tmp_path / "work" / "inner"
    inner.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.chdir(inner)
    return tmp_path


def test_each_place_goes_before_the_next(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (models_file(), runs_folder()) == (built_in(), Path("runs"))
    settings = user / ".config" / "localgif"
    settings.mkdir(parents=True)
    (settings / "models.toml").touch()
    assert (models_file(), runs_folder()) == (settings / "models.toml", Path("runs"))
    (user / "work" / "models.toml").touch()
    assert (models_file(), runs_folder()) == (user / "work" / "models.toml", user / "work" / "runs")
    Path("models.toml").touch()
    assert (models_file(), runs_folder()) == (Path("models.toml"), Path("runs"))
    (user / "named.toml").touch()
    monkeypatch.setenv("LOCALGIF_MODELS", "~/named.toml")
    assert (models_file(), runs_folder()) == (user / "named.toml", Path("runs"))


def test_a_variable_that_names_nothing_is_an_error(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALGIF_MODELS", str(user / "gone.toml"))
    with pytest.raises(ConfigError, match=r"LOCALGIF_MODELS names .*gone\.toml, which does not exist"):
        models_file()


def test_a_file_of_somebody_else_above_does_not_count(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (user / "work" / "models.toml").touch()
    owner = (user / "work" / "models.toml").stat().st_uid
    assert models_file() == user / "work" / "models.toml"
    monkeypatch.setattr("os.getuid", lambda: owner + 1)
    if owner != 0:
        assert models_file() == built_in()
    else:  # what root owns counts for everybody
        assert models_file() == user / "work" / "models.toml"


def test_a_folder_that_was_removed_has_the_built_in_file(user: Path) -> None:
    Path.cwd().rmdir()
    assert models_file() == built_in()


def test_the_wheel_brings_the_file_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["force-include"] == {"models.toml": "localgif/models.toml"}
    assert built_in() == ROOT / "models.toml", "in a checkout there is one file, not a copy"
    assert load_models_file(built_in()).named("animator") == "qwen-coder-1.5b"


@pytest.mark.slow
def test_an_installed_localgif_works_in_an_empty_folder(tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    site, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    zipfile.ZipFile(next(tmp_path.glob("*.whl"))).extractall(site)
    environment = {**os.environ, "PYTHONPATH": str(site), "HOME": str(empty)}
    for name in ("LOCALGIF_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        environment.pop(name, None)
    words = [sys.executable, "-m", "localgif", "models", "list"]
    done = subprocess.run(words, cwd=empty, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"in {site}/localgif/models.toml (built-in"), "and not the file of this checkout"
    assert (site / "localgif" / "models.toml").read_bytes() == (ROOT / "models.toml").read_bytes()
