"""`sandbox` and `serve`: run a program, check the sandbox, and report errors before anything is loaded."""

from __future__ import annotations

import hashlib
import json
import socket
from pathlib import Path

import pytest

from localgif.sandbox.probe import ATTACKS
from localgif.sandbox.protocol import FULL, LEVELS
from tests.cli.conftest import write_models
from tests.support.commands import localgif

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
