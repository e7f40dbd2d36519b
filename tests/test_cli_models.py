"""localgif models: what is listed, and a role's model changed in one line of the file."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from localgif.cli.app import app
from localgif.models.toml import load_models_file
from tests.scripted import DIGEST, MODEL, Scripted, serving
from tests.support.commands import Done, localgif

ROOT = Path(__file__).parent.parent


def models(folder: Path, *arguments: str) -> Done:
    return localgif(folder, "models", *arguments, LOCALGIF_HOME=str(folder / "home"))


def write(folder: Path, url: str) -> Path:
    path = folder / "models.toml"
    path.write_text(
        f'# mine\n[roles]\nanimator  = "s"      # draws\nreflector = "s"\n\n[endpoints.ollama]\nkind = "ollama"\n'
        f'url = "{url}"\n[endpoints.embedded]\nkind = "embedded"\n[endpoints.gone]\nkind = "ollama"\n'
        f'url = "http://127.0.0.1:9"\n[models.s]\nendpoint = "ollama"\nmodel = "{MODEL}"\n'
        '[models.other]\nendpoint = "ollama"\nmodel = "other:1b"\n[models.far]\nendpoint = "gone"\nmodel = "far:1b"\n'
        '[models.small]\nendpoint = "embedded"\nmodel = "smollm2:135m"\n'
        '[models.own]\nendpoint = "embedded"\nmodel = "own:1b"\ngguf = "own.gguf"\n'
        '[models.broken]\nendpoint = "nowhere"\nmodel = "x"\n'
    )
    return path


def rows(folder: Path) -> dict[str, dict[str, Any]]:
    listed = models(folder, "list", "--json")
    assert listed.returncode == 0, listed.stderr
    return {row["name"]: row for row in json.loads(listed.stdout)}


def test_the_list_tells_role_place_size_and_digest_of_each(tmp_path: Path) -> None:
    (tmp_path / "own.gguf").write_bytes(b"GGUF" + bytes(96))
    with serving(Scripted()) as server:
        write(tmp_path, server.url)
        found = rows(tmp_path)
        text = models(tmp_path, "list").stdout
    s = found["s"]
    assert (s["roles"], s["endpoint"], s["present"]) == (["animator", "reflector"], "ollama", True)
    assert (s["size"], s["digest"], s["where"]) == (1, DIGEST, server.url)
    assert (found["other"]["present"], found["far"]["present"]) == (False, None)
    assert "ollama pull other:1b" in found["other"]["where"]
    assert "no answer from http://127.0.0.1:9" in found["far"]["where"]
    small = found["small"]
    assert (small["present"], small["size"], small["licence"]) == (False, 98_362_432, "Apache-2.0")
    assert small["digest"].startswith("b179c952")
    assert (found["own"]["present"], found["own"]["size"]) == (True, 100)
    assert "nowhere" in found["broken"]["where"]
    assert found["qwen2.5-coder:1.5b"]["found"] == "weights"
    assert "ollama:" + MODEL not in found, "it has a table"
    assert f"  s                        {MODEL} on ollama   <- animator, reflector" in text
    assert "NOT HERE" in text and "weights for the embedded endpoint that no table is about:" in text


def test_what_an_ollama_has_is_listed_by_the_name_that_it_can_be_named_by(tmp_path: Path) -> None:
    with serving(Scripted()) as server:
        (tmp_path / "models.toml").write_text(
            '[roles]\nanimator = "small"\nreflector = "small"\n[endpoints.embedded]\nkind = "embedded"\n'
            f'[endpoints.ollama]\nkind = "ollama"\nurl = "{server.url}"\n'
            '[models.small]\nendpoint = "embedded"\nmodel = "smollm2:135m"\n'
        )
        name = f"ollama:{MODEL}"
        assert rows(tmp_path)[name]["found"] == "ollama"
        done = models(tmp_path, "set", "reflector", name)
        assert done.returncode == 0, done.stderr
        assert rows(tmp_path)[name]["roles"] == ["reflector"]
    assert load_models_file(tmp_path / "models.toml").role("reflector").model == MODEL


def test_set_changes_one_line_and_shows_it(tmp_path: Path) -> None:
    with serving(Scripted()) as server:
        path = write(tmp_path, server.url)
        before = path.read_text()
        path.chmod(0o640)
        done = models(tmp_path, "set", "animator", f"ollama:{MODEL}")
    assert done.returncode == 0, done.stderr
    assert path.read_text() == before.replace('animator  = "s"', f'animator  = "ollama:{MODEL}"')
    assert f'models.toml:3\n- animator  = "s"      # draws\n+ animator  = "ollama:{MODEL}"' in done.stdout
    assert f"{server.url} answers" in done.stdout
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".models")] == []


def test_weights_that_the_next_run_fetches_are_no_reason_to_refuse(tmp_path: Path) -> None:
    path = write(tmp_path, "http://127.0.0.1:9")
    done = models(tmp_path, "set", "animator", "small")
    assert done.returncode == 0, done.stderr
    assert "the next run downloads 98 MB" in done.stdout
    assert load_models_file(path).named("animator") == "small"


@pytest.mark.parametrize(
    ("role", "name", "code", "said"),
    [
        ("animator", "other", 3, "ollama pull other:1b"),
        ("reflector", "far", 3, "no answer from http://127.0.0.1:9"),
        ("animator", "own", 3, "own.gguf"),
        ("animator", "ollama:nothing:1b", 3, "ollama pull nothing:1b"),
        ("animator", "smal", 2, 'did you mean "small"?'),
        ("animator", "broken", 2, "nowhere"),
        ("animater", "s", 2, 'did you mean "animator"?'),
    ],
)
def test_a_model_that_is_not_there_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, role: str, name: str, code: int, said: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LOCALGIF_HOME", str(tmp_path / "home"))
    with serving(Scripted()) as server:
        path = write(tmp_path, server.url)
        before = path.read_bytes()
        done = CliRunner().invoke(app, ["models", "set", role, name, "--models", str(path)])
    assert done.exit_code == code, done.output
    assert said in done.stderr
    assert done.stdout == ""
    assert path.read_bytes() == before


def test_the_same_model_again_is_said_and_nothing_written(tmp_path: Path) -> None:
    with serving(Scripted()) as server:
        path = write(tmp_path, server.url)
        inode = path.stat().st_ino
        done = models(tmp_path, "set", "reflector", "s")
    assert "reflector is s already" in done.stdout
    assert path.stat().st_ino == inode
