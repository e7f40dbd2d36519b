"""localgif doctor as users run it: on a machine with everything, on one with nothing, against a server that cheats."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from localgif.doctor.doctor import examine, table
from localgif.doctor.models import minutes, recall
from localgif.models.toml import load_models_file, make_settings
from localgif.search.progress import Silent
from localgif.tasks.suite import load_suite
from tests.conftest import WEIGHTS
from tests.doctor.kit import RULE, Server, serving
from tests.kit import fenced, program
from tests.scripted import MODEL

ROOT = Path(__file__).parents[2]


def doctor(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "localgif", "doctor", *arguments],
        cwd=folder,
        env={**os.environ, "HOME": str(folder), "LOCALGIF_HOME": str(WEIGHTS.cache.parent), **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def write(folder: Path, url: str, model: str = MODEL) -> None:
    (folder / "models.toml").write_text(
        f'[roles]\nanimator = "s"\nreflector = "s"\n[endpoints.here]\nkind = "ollama"\nurl = "{url}"\n'
        f'[models.s]\nendpoint = "here"\nmodel = "{model}"\nnum_ctx = 4096\n'
    )


def statuses(found: dict[str, Any]) -> dict[str, str]:
    return {check["name"]: check["status"] for check in found["checks"]}


def test_a_machine_with_everything_passes_and_gets_an_estimate(tmp_path: Path) -> None:
    with serving(Server(animator=[fenced(program(24))], reflector=[RULE])) as server:
        write(tmp_path, server.url)
        done = doctor(tmp_path, "--json", OPENAI_API_KEY="a secret value", LOCALGIF_HOME=str(tmp_path / "cache"))
    found = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert found["ok"] and "a secret value" not in done.stdout + done.stderr
    seen = statuses(found)
    assert seen["variables"] == "WARN"
    models = (f"endpoint {MODEL}", f"speed {MODEL}", f"canary {MODEL}", "reflector", "animator", "estimate")
    assert [seen[name] for name in models] == ["PASS"] * 6, found
    assert 0 < found["minutes"]["least"] < found["minutes"]["most"]
    settings = make_settings(load_models_file(tmp_path / "models.toml"))
    kept = recall(tmp_path / "cache" / "models", settings)
    assert kept is not None and kept.attempt > 0 and kept.reflection > 0
    most = minutes(settings, load_suite(settings.mode, settings.task), kept.attempt, kept.reflection).most
    assert most == pytest.approx(found["minutes"]["most"], abs=0.06)
    assert 0 < found["seconds"]["cheap"] < found["seconds"]["whole"]
    assert not (tmp_path / "runs").exists(), "nothing is left behind"
    reflector = next(check for check in found["checks"] if check["name"] == "reflector")
    assert "3 of 3" in reflector["evidence"]
    page = (ROOT / "docs" / "doctor.md").read_text()
    documented = re.findall(r"^\| `([a-z0-9]+)", page, re.MULTILINE)
    assert {name.split()[0] for name in seen} <= {*documented}
    assert set(found) <= set(re.findall(r"`(\w+)`", page))


def test_a_server_that_cuts_and_models_that_know_nothing_are_told(tmp_path: Path) -> None:
    with serving(Server(cut=2050, animator=["no program"], reflector=["Okay, let me think."])) as server:
        write(tmp_path, server.url)
        found = examine(make_settings(load_models_file(tmp_path / "models.toml")), tmp_path / "runs", Silent())
    assert found.failed
    text = table(found.checks)
    assert re.search(rf"^FAIL  canary {MODEL} +the server read 2050 of about \d+ tokens", text, re.MULTILINE)
    assert re.search(r"^WARN  reflector +0 of 3 questions .*monologue", text, re.MULTILINE)
    assert re.search(r"^WARN  animator +bouncing-ball: no GIF; no_code", text, re.MULTILINE)
    assert "-> update the server" in text


def test_a_machine_with_nothing_fails_early_and_skips_the_rest(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text(
        '[roles]\nanimator = "s"\nreflector = "far"\n[endpoints.embedded]\nkind = "embedded"\n'
        '[endpoints.gone]\nkind = "ollama"\nurl = "http://127.0.0.1:9"\n'
        '[models.s]\nendpoint = "embedded"\nmodel = "smollm2:135m"\n[models.far]\nendpoint = "gone"\nmodel = "x:1b"\n'
    )
    done = doctor(tmp_path, "--offline", "--json", LOCALGIF_HOME=str(tmp_path / "empty"))
    assert done.returncode == 3
    found = json.loads(done.stdout)
    seen = statuses(found)
    assert (seen["weights smollm2:135m"], seen["server gone, x:1b"]) == ("FAIL", "FAIL")
    assert {seen[name] for name in ("reflector", "animator", "estimate", "canary x:1b")} == {"SKIP"}
    assert found["minutes"] is None
    assert not (tmp_path / "empty").exists(), "nothing was fetched"
    assert all(check["remedy"] for check in found["checks"] if check["status"] == "FAIL")
    # A run would fetch them, so without --offline they are a warning; the server still fails.
    again = statuses(json.loads(doctor(tmp_path, "--json", LOCALGIF_HOME=str(tmp_path / "empty")).stdout))
    assert again["weights smollm2:135m"] == "WARN"


def test_a_mistake_in_the_file_is_exit_2(tmp_path: Path) -> None:
    write(tmp_path, "http://127.0.0.1:9")
    (tmp_path / "models.toml").write_text((tmp_path / "models.toml").read_text() + "num_ctxx = 1\n")
    done = doctor(tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "models.toml: unknown key [models.s] num_ctxx" in done.stderr
