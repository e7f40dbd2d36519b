"""`sandbox`, `serve` and `models`: a program, the sandbox, errors before anything is loaded, and changes of models."""

from __future__ import annotations

import hashlib
import json
import socket
import stat
from pathlib import Path
from typing import Any

import pytest

from localgif.models.catalog import CATALOG
from localgif.models.find import cache_file
from localgif.models.toml import built_in, load_models_file
from localgif.sandbox.probe import ATTACKS
from localgif.sandbox.protocol import FULL, LEVELS
from localgif.tasks.task import load_task
from tests.cli.conftest import write_models
from tests.support.commands import localgif
from tests.support.scripted import DIGEST, MODEL, Scripted, serving

PROGRAM = """
from PIL import Image
def make_gif(path):
    frames = [Image.new("RGB", (8, 8), (n, n, n)) for n in (0, 100, 200)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
"""


def test_a_good_program_leaves_its_gif(tmp_path: Path) -> None:
    (tmp_path / "good.py").write_text(PROGRAM)
    run = localgif(tmp_path, "sandbox", "run", "good.py", "-o", "out.gif", "--json")
    assert run.returncode == 0, run.stderr
    found, data = json.loads(run.stdout), (tmp_path / "out.gif").read_bytes()
    assert found["verdict"] == "ok" and found["level"] in LEVELS
    assert found["gif"] == {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), "frames": 3}
    assert set(found["seconds"]) == {"cpu", "wall"} and found["peak_rss"] > 0
    assert "ok: wrote a GIF of" in localgif(tmp_path, "sandbox", "run", "good.py", "-o", "out.gif").stdout


#: A GIF whose pixels end too early.
BROKEN = b"GIF89a\x08\x00\x08\x00\x80\x00\x00\0\0\0\xff\xff\xff,\0\0\0\0\x08\0\x08\0\0\x02\x02\x01\x44\0;"


@pytest.mark.parametrize(
    ("source", "verdict", "said"),
    [
        ("def make_gif(path):\n    1 / 0\n", "error", "ZeroDivisionError: division by zero (line 2: 1 / 0)"),
        ("def make_gif(path):\n    open(path, 'w').write('<html>')\n", "output_bad", "not a GIF"),
        (b"x = '\xff'\n", "error", "not valid text"),
        ("#" * 300_000, "error", "bytes long, the limit is"),
        (f"def make_gif(path):\n    open(path, 'wb').write({BROKEN!r})\n", "output_bad", "cannot be decoded"),
    ],
)
def test_any_other_verdict_is_exit_1_and_no_gif(source: str | bytes, verdict: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_bytes(source if isinstance(source, bytes) else source.encode())
    run = localgif(tmp_path, "sandbox", "run", "bad.py", "-o", "out.gif", "--json")
    assert run.returncode == 1, run.stderr
    found = json.loads(run.stdout)
    assert (found["verdict"], found["gif"]) == (verdict, None) and said in found["reason"]
    assert not (tmp_path / "out.gif").exists()


def test_the_check_names_every_probe_and_exits_0_at_level_full_only(tmp_path: Path) -> None:
    run = localgif(tmp_path, "sandbox", "check", "--json")
    found = json.loads(run.stdout)
    assert [each["name"] for each in found["probes"]] == [attack.name for attack in ATTACKS]
    assert all(set(each) == {"name", "refused", "layer"} for each in found["probes"])
    assert (run.returncode == 0) == (found["level"] == FULL)
    words = localgif(tmp_path, "sandbox", "check").stdout
    assert words.startswith(f"level {found['level']}: ") and all(attack.name in words for attack in ATTACKS)


def test_a_wrong_model_of_serve_is_named_by_its_option(tmp_path: Path) -> None:
    write_models(tmp_path, "http://127.0.0.1:9")
    done = localgif(tmp_path, "serve", "--model", "ollama:")
    assert (
        done.returncode == 2 and '--model: "ollama:" names no model' in done.stderr and "--animator" not in done.stderr
    )


def test_a_port_in_use_is_told_before_weights_are_looked_for(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        # Its weights are missing, and there is no index to download them from.
        words = ("serve", "-m", "smollm2:135m", "--port", str(port), "--offline")
        done = localgif(tmp_path, *words)
    assert done.returncode == 3 and f"port {port} on 127.0.0.1 is in use" in done.stderr
    assert "E-WEIGHTS" not in done.stderr


def test_a_program_is_not_run_if_its_gif_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "good.py").write_text(PROGRAM)
    done = localgif(tmp_path, "sandbox", "run", "good.py", "-o", "none/out.gif")
    assert done.returncode == 2 and "none/out.gif cannot be written" in done.stderr and done.stdout == ""


# --- models -----------------------------------------------------------------------------------------------------------


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
    listed = localgif(folder, "models", "list", "--json")
    assert listed.returncode == 0, listed.stderr
    return {row["name"]: row for row in json.loads(listed.stdout)}


def test_the_list_tells_role_place_size_and_digest_of_each(tmp_path: Path) -> None:
    (tmp_path / "own.gguf").write_bytes(b"GGUF" + bytes(96))
    with serving(Scripted()) as server:
        write(tmp_path, server.url)
        found = rows(tmp_path)
        text = localgif(tmp_path, "models", "list").stdout
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
    assert "NOT HERE" in text and "weights for the embedded endpoint, usable by these names:" in text


def test_what_an_ollama_has_is_listed_by_the_name_that_it_can_be_named_by(tmp_path: Path) -> None:
    with serving(Scripted()) as server:
        (tmp_path / "models.toml").write_text(
            '[roles]\nanimator = "small"\nreflector = "small"\n[endpoints.embedded]\nkind = "embedded"\n'
            f'[endpoints.ollama]\nkind = "ollama"\nurl = "{server.url}"\n'
            '[models.small]\nendpoint = "embedded"\nmodel = "smollm2:135m"\n'
        )
        name = f"ollama:{MODEL}"
        assert rows(tmp_path)[name]["found"] == "ollama"
        done = localgif(tmp_path, "models", "set", "reflector", name)
        assert done.returncode == 0, done.stderr
        assert rows(tmp_path)[name]["roles"] == ["reflector"]
    assert load_models_file(tmp_path / "models.toml").role("reflector").model == MODEL


def test_set_changes_one_line_and_shows_it(tmp_path: Path) -> None:
    with serving(Scripted()) as server:
        path = write(tmp_path, server.url)
        before = path.read_text()
        path.chmod(0o640)
        done = localgif(tmp_path, "models", "set", "animator", f"ollama:{MODEL}")
        inode = path.stat().st_ino
        again = localgif(tmp_path, "models", "set", "animator", f"ollama:{MODEL}")
    assert f"animator is already ollama:{MODEL}" in again.stdout
    assert path.stat().st_ino == inode, "nothing is written the second time"
    assert done.returncode == 0, done.stderr
    assert path.read_text() == before.replace('animator  = "s"', f'animator  = "ollama:{MODEL}"')
    assert f'models.toml:3\n- animator  = "s"      # draws\n+ animator  = "ollama:{MODEL}"' in done.stdout
    assert f"{server.url} answers" in done.stdout
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".models")] == []


def test_weights_that_the_next_run_downloads_are_not_a_reason_to_refuse(tmp_path: Path) -> None:
    path = write(tmp_path, "http://127.0.0.1:9")
    done = localgif(tmp_path, "models", "set", "animator", "small")
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
        ("animator", "nothing:1b", 3, "ollama pull nothing:1b"),
        ("animator", "smal", 2, 'did you mean "small"?'),
        ("animator", "broken", 2, "nowhere"),
        ("animater", "s", 2, 'did you mean "animator"?'),
    ],
)
def test_a_model_that_is_not_there_changes_nothing(tmp_path: Path, role: str, name: str, code: int, said: str) -> None:
    with serving(Scripted()) as server:
        path = write(tmp_path, server.url)
        before = path.read_bytes()
        done = localgif(tmp_path, "models", "set", role, name)
    assert done.returncode == code, done.output
    assert said in done.stderr
    assert done.stdout == ""
    assert path.read_bytes() == before


def test_a_models_own_name_is_written_so_that_it_means_one_thing(tmp_path: Path) -> None:
    with serving(Scripted()) as server:
        path = write(tmp_path, server.url)
        done = localgif(tmp_path, "models", "set", "animator", f"ollama/{MODEL}")
        small = localgif(tmp_path, "models", "set", "reflector", "smollm2:135m")
    assert f'+ animator  = "ollama:{MODEL}"' in done.stdout
    assert 'reflector is "smollm2:135m"' not in small.stdout and load_models_file(path).named("reflector") == "small"
    assert '"smollm2:135m" means the embedded model ("small" in models.toml)' in small.stderr


def test_the_built_in_file_is_not_changed(tmp_path: Path) -> None:
    done = localgif(tmp_path, "models", "set", "animator", "smollm2-135m")
    assert done.returncode == 2 and "belongs to localgif" in done.stderr and "localgif init" in done.stderr


def test_init_writes_a_models_file_and_a_task_that_work(tmp_path: Path) -> None:
    done = localgif(tmp_path, "init", LOCALGIF_CALLED="../x/scripts/just")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "models.toml").read_text()
    assert "#:schema" not in text and "../x/scripts/just models set animator NAME" in text
    assert load_models_file(tmp_path / "models.toml").aliases == load_models_file(built_in()).aliases
    task = load_task(str(tmp_path / "my-task.toml"))
    assert task.name == "my-task" and task.subjects[0].shape == "triangle"
    again = localgif(tmp_path, "init")
    assert again.returncode == 2 and "models.toml exists in this folder" in again.stderr
    assert (tmp_path / "models.toml").read_text() == text
    assert localgif(tmp_path, "models", "set", "reflector", "smollm2-135m").returncode == 0, "now it is the user's"


def test_what_the_weights_take_is_told_and_they_can_be_removed(tmp_path: Path) -> None:
    write(tmp_path, "http://127.0.0.1:9")
    cache = tmp_path / "cache" / "models"
    cache.mkdir(parents=True)
    known = CATALOG["smollm2:135m"]
    whole, partial, old = cache_file(cache, known), cache_file(cache, CATALOG["qwen2.5-coder:0.5b"]), cache / "old.gguf"
    whole.write_bytes(bytes(2_000_000))
    partial.with_name(f"{partial.name}.partial").write_bytes(bytes(1_000_000))
    old.write_bytes(bytes(100_000))
    here = {"LOCALGIF_HOME": str(tmp_path / "cache")}
    lines = [line.split(maxsplit=2) for line in localgif(tmp_path, "models", "size", **here).stdout.splitlines()]
    assert [line[0] for line in lines] == ["2.0", "1.0", "0.1", "3.1"]
    assert lines[1][2] == "qwen2.5-coder:0.5b (incomplete download)" and lines[2][2] == "old.gguf"
    facts = json.loads(localgif(tmp_path, "models", "size", "--json", **here).stdout)
    assert [each["whole"] for each in facts["files"]] == [True, False, True]
    gone = localgif(tmp_path, "models", "rm", "small", "qwen2.5-coder:0.5b", **here)
    assert gone.returncode == 0 and "removed smollm2:135m: 2.0 MB" in gone.stdout, gone.stderr
    assert list(cache.iterdir()) == [old]
