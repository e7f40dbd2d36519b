"""Which weights go along, and a whole small bundle with real weights and a real pip, from a shelf, not an index."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from localgif import bundle
from localgif.bundle import ALSO, NEEDED, collect, models_to_carry, sha256_of, this_target
from localgif.errors import ConfigError, PreflightError
from localgif.models.find import Weights
from localgif.models.toml import load_models_file
from tests.bundle.wheel import make_wheel
from tests.conftest import WEIGHTS

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


def test_the_roles_weights_go_along_unless_others_are_named(models: Path) -> None:
    file = load_models_file(models)
    assert [m.alias for m in models_to_carry(file, ())] == ["small"], "one file, named twice"
    assert [m.alias for m in models_to_carry(file, ["same"])] == ["same"]
    for alias, said in (("served", "it has no weights here"), ("mine", "none of the known weights")):
        with pytest.raises(ConfigError, match=said):
            models_to_carry(file, [alias])
    with pytest.raises(ConfigError, match="does not have"):
        models_to_carry(file, ["nobody"])
    models.write_text(MODELS.replace('"small"\nreflector = "same"', '"served"\nreflector = "served"'))
    assert models_to_carry(load_models_file(models), ()) == ()


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a lock of two small packages, and the shelf that pip finds them on."""
    root, shelf = tmp_path / "project", tmp_path / "shelf"
    for folder in (root, shelf):
        folder.mkdir()
    for name in (*NEEDED, *ALSO):
        (root / name).write_text("")
    entries = ""
    for name in ("one", "two"):
        digest = sha256_of(make_wheel(shelf, name, "1.0"))
        entries += f"{name}==1.0 \\\n    --hash=sha256:{digest}\n"
    entries += "three==1.0 ; sys_platform == 'win32' \\\n    --hash=sha256:" + "00" * 32 + "\n"
    (root / "requirements.lock").write_text(entries)
    monkeypatch.setattr(bundle, "project_root", lambda: root)
    for name, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(shelf), "PIP_CONFIG_FILE": "/dev/null"}.items():
        monkeypatch.setenv(name, value)
    return shelf


def test_a_bundle_is_made_and_one_that_was_interrupted_is_finished(
    tmp_path: Path, models: Path, shelf: Path, smollm2: Weights
) -> None:
    file = load_models_file(models)
    said: list[str] = []
    out = tmp_path / "deep" / "bundle"
    carried = models_to_carry(file, ["small"])

    def make() -> bundle.Bundle:
        return collect(out, file, carried, this_target(), WEIGHTS, said.append, lambda *_: None)

    taken = shelf / "two-1.0-py3-none-any.whl"
    hidden = taken.rename(tmp_path / "hidden")
    with pytest.raises(PreflightError) as caught:
        make()
    assert "two==1.0" in caught.value.message and "goes on there" in caught.value.remedy
    assert not (out / "SHA256SUMS").exists()
    hidden.rename(taken)
    (out / "weights").mkdir(exist_ok=True)
    (out / "weights" / "smollm2-135m-left.part").write_bytes(b"half a copy")
    whole = make()
    names = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    weights = f"weights/smollm2-135m-{smollm2.digest[:12]}.gguf"
    wheels = {f"wheels/{name}-1.0-py3-none-any.whl" for name in ("one", "two")}
    assert names == {"SHA256SUMS", "bundle.txt", "install.sh", "project.tar", weights, *wheels}
    assert sha256_of(out / weights) == smollm2.digest
    assert whole.sizes["wheels"][0] == 2 and whole.sizes["weights"] == (1, smollm2.size)
    assert whole.sizes[""][0] == len(names) and whole.digest == sha256_of(out / "SHA256SUMS")
    with pytest.raises(ConfigError, match="whole bundle already"):
        make()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, models: Path, shelf: Path) -> None:
    file = load_models_file(models)
    (tmp_path / "a-file").write_text("")
    with pytest.raises(PreflightError, match="a-file"):
        collect(tmp_path / "a-file", file, (), this_target(), WEIGHTS, lambda _: None, lambda *_: None)


def test_mistakes_on_the_command_line_have_exit_code_2(tmp_path: Path, models: Path) -> None:
    for words, said in (
        (["--python-version", "2.7"], "--python-version 2.7"),
        (["--platform", "x86"], 'did you mean "x86_64"'),
        (["--model", "served"], "--model served"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "localgif", "bundle", "--out", "b", "--models", str(models), *words],
            cwd=tmp_path,
            env={**os.environ, "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 2 and said in done.stderr, done.stderr
        assert not (tmp_path / "b").exists()
