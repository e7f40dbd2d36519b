"""`localgif sandbox run` and `check`, as users run them: exit codes, JSON, messages."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from localgif.sandbox.probe import ATTACKS
from localgif.sandbox.protocol import FULL, LEVELS
from tests.support.commands import Done, localgif

PROGRAM = """
from PIL import Image
def make_gif(path):
    frames = [Image.new("RGB", (8, 8), (n, n, n)) for n in (0, 100, 200)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
"""


def sandbox(folder: Path, *arguments: str) -> Done:
    return localgif(folder, "sandbox", *arguments)


def test_a_good_program_leaves_its_gif(tmp_path: Path) -> None:
    (tmp_path / "good.py").write_text(PROGRAM)
    run = sandbox(tmp_path, "run", "good.py", "-o", "out.gif", "--json")
    assert run.returncode == 0, run.stderr
    found, data = json.loads(run.stdout), (tmp_path / "out.gif").read_bytes()
    assert found["verdict"] == "ok" and found["level"] in LEVELS
    assert found["gif"] == {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), "frames": 3}
    assert set(found["seconds"]) == {"cpu", "wall"} and found["peak_rss"] > 0
    assert "ok: wrote a GIF of" in sandbox(tmp_path, "run", "good.py", "-o", "out.gif").stdout


@pytest.mark.parametrize(
    ("source", "verdict", "said"),
    [
        ("def make_gif(path):\n    1 / 0\n", "error", "ZeroDivisionError: division by zero (line 2: 1 / 0)"),
        ("def make_gif(path):\n    open(path, 'w').write('<html>')\n", "output_bad", "not a GIF"),
        (b"x = '\xff'\n", "error", "not valid text"),
        ("#" * 300_000, "error", "bytes long, the limit is"),
    ],
)
def test_any_other_verdict_is_exit_1_and_no_gif(source: str | bytes, verdict: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_bytes(source if isinstance(source, bytes) else source.encode())
    run = sandbox(tmp_path, "run", "bad.py", "-o", "out.gif", "--json")
    assert run.returncode == 1, run.stderr
    found = json.loads(run.stdout)
    assert (found["verdict"], found["gif"]) == (verdict, None) and said in found["reason"]
    assert not (tmp_path / "out.gif").exists()


def test_a_gif_that_cannot_be_decoded_is_output_bad(tmp_path: Path) -> None:
    data = b"GIF89a\x08\x00\x08\x00\x80\x00\x00\0\0\0\xff\xff\xff,\0\0\0\0\x08\0\x08\0\0\x02\x02\x01\x44\0;"
    (tmp_path / "bad.py").write_text(f"def make_gif(path):\n    open(path, 'wb').write({data!r})\n")
    run = sandbox(tmp_path, "run", "bad.py", "-o", "out.gif", "--json")
    assert (run.returncode, json.loads(run.stdout)["verdict"]) == (1, "output_bad")
    assert "cannot be decoded" in json.loads(run.stdout)["reason"]


def test_mistakes_are_named_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "good.py").write_text(PROGRAM)
    for arguments, said in [
        (("run", "none.py", "-o", "out.gif"), "none.py cannot be read"),
        (("run", "good.py", "-o", "no/out.gif"), "no/out.gif cannot be written"),
        (("run", "good.py", "-o", "out.gif", "--sandbox-level", "fall"), 'did you mean "full"?'),
    ]:
        run = sandbox(tmp_path, *arguments)
        assert run.returncode == 2 and said in run.stderr and "Traceback" not in run.stderr


def test_the_check_names_every_probe_and_exits_0_at_level_full_only(tmp_path: Path) -> None:
    run = sandbox(tmp_path, "check", "--json")
    found = json.loads(run.stdout)
    assert [each["name"] for each in found["probes"]] == [attack.name for attack in ATTACKS]
    assert all(set(each) == {"name", "refused", "layer"} for each in found["probes"])
    assert (run.returncode == 0) == (found["level"] == FULL)
    words = sandbox(tmp_path, "check").stdout
    assert words.startswith(f"level {found['level']}: ") and all(attack.name in words for attack in ATTACKS)


def test_every_command_that_runs_programs_knows_the_levels(tmp_path: Path) -> None:
    (tmp_path / "some.gif").write_bytes(b"GIF89a")
    (tmp_path / "models.toml").write_text(
        '[roles]\nanimator = "s"\nreflector = "s"\n[endpoints.e]\nkind = "embedded"\n'
        '[models.s]\nendpoint = "e"\nmodel = "qwen2.5-coder:1.5b"\n'
    )
    for arguments in (["optimize"], ["score", "some.gif"]):
        run = localgif(tmp_path, *arguments, "--sandbox-level", "weaker")
        assert run.returncode == 2
        assert run.stderr.startswith('error [E-USAGE]: --sandbox-level weaker: there is no sandbox level "weaker"')
        assert 'did you mean "weak"?' in run.stderr
