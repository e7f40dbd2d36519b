"""localgif doctor as users run it: on a machine with everything, with nothing, and with a server that cuts prompts."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from localgif.doctor.doctor import Found, as_object, estimate, examine, table
from localgif.doctor.models import Pace, minutes, recall
from localgif.models.toml import load_models_file, make_settings
from localgif.run.checks import Check
from localgif.search.progress import Silent
from localgif.tasks.suite import chosen_suite, load_suite
from tests.cli.conftest import write_models
from tests.conftest import WEIGHTS
from tests.support.commands import Done, localgif
from tests.support.kit import fenced, program, settings
from tests.support.measurable import RULE, Server
from tests.support.scripted import MODEL, serving

ROOT = Path(__file__).parents[2]
SUITE = load_suite("single", "bouncing-ball")


def doctor(folder: Path, *arguments: str, **environment: str) -> Done:
    return localgif(folder, "doctor", *arguments, **{"LOCALGIF_HOME": str(WEIGHTS.cache.parent), **environment})


def statuses(found: dict[str, Any]) -> dict[str, str]:
    return {check["name"]: check["status"] for check in found["checks"]}


def test_a_machine_with_everything_passes_and_gets_an_estimate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localgif.run.preflight.variable_names", lambda: ["OPENAI_API_KEY"])
    with serving(Server(animator=[fenced(program(24))], reflector=[RULE])) as server:
        write_models(tmp_path, server.url)
        done = doctor(tmp_path, "--json", OPENAI_API_KEY="a secret value", LOCALGIF_HOME=str(tmp_path / "cache"))
    found = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert found["ok"] and "a secret value" not in done.stdout + done.stderr
    seen = statuses(found)
    assert seen["variables"] == "WARN"
    models = (f"endpoint {MODEL}", f"speed {MODEL}", f"canary {MODEL}", "reflector", "animator", "estimate")
    assert [seen[name] for name in models] == ["PASS"] * 6, found
    # Tenths of a minute: on a fast machine, the scripted server's least rounds to 0.
    assert 0 <= found["minutes"]["least"] < found["minutes"]["most"]
    used = make_settings(load_models_file(tmp_path / "models.toml"))
    kept = recall(tmp_path / "cache" / "models", used)
    assert kept is not None and kept.attempt > 0 and kept.reflection > 0
    most = minutes(used, chosen_suite(used), kept.attempt, kept.reflection).most
    assert most == pytest.approx(found["minutes"]["most"], abs=0.06)
    assert 0 < found["seconds"]["cheap"] < found["seconds"]["whole"]
    assert not (tmp_path / "runs").exists(), "nothing is left behind"
    reflector = next(check for check in found["checks"] if check["name"] == "reflector")
    assert "3 of 3" in reflector["evidence"]
    page = (ROOT / "docs" / "doctor.md").read_text()
    documented = re.findall(r"^\| `([a-z0-9]+)", page, re.MULTILINE)
    assert {name.split()[0] for name in seen} <= {*documented}
    assert set(found) <= set(re.findall(r"`(\w+)`", page))


def test_a_server_that_cuts_and_weak_models_are_reported(tmp_path: Path) -> None:
    with serving(Server(cut=2050, animator=["no program"], reflector=["Okay, let me think."])) as server:
        write_models(tmp_path, server.url)
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


def test_minutes_follow_the_budget() -> None:
    given_settings = settings("http://x", metric_calls=12, samples=2, fresh=4)
    found = minutes(given_settings, SUITE, attempt_seconds=15, reflection_seconds=30)
    assert (found.least, found.most) == (8.0, 30.0)
    assert "8 to 30 minutes" in estimate(given_settings, found, 15).evidence
    assert Pace(40, 200 / 15).seconds(600, 200) == pytest.approx(30)
    assert Pace(40, 0).seconds(600, 200) is None


ROWS = [
    Check(name="python", status="PASS", evidence="cpython"),
    Check(name="sandbox level", status="FAIL", evidence="too weak\nby far", remedy="another kernel\nor none"),
    Check(name="x", status="WARN", evidence="odd", remedy="look"),
    Check(name="y", status="SKIP", evidence="not now"),
]


def test_the_table_is_aligned_and_ends_with_a_summary() -> None:
    assert table(ROWS).splitlines() == [
        "PASS  python         cpython",
        "FAIL  sandbox level  too weak",
        "                     by far",
        "                     -> another kernel",
        "                        or none",
        "WARN  x              odd",
        "                     -> look",
        "SKIP  y              not now",
        "",
        "1 of 4 checks passed, 1 warning (x), 1 skipped, 1 FAILED (sandbox level)",
    ]
    assert table(ROWS[:1]).endswith("\n1 of 1 check passed")


def test_the_object_says_whether_anything_failed() -> None:
    bad = as_object(Found(tuple(ROWS), None, 0.123, 4.567))
    assert (bad["ok"], bad["minutes"], bad["seconds"]) == (False, None, {"cheap": 0.12, "whole": 4.57})
    assert bad["checks"][1] == {
        "name": "sandbox level",
        "status": "FAIL",
        "evidence": "too weak\nby far",
        "remedy": "another kernel\nor none",
    }
    assert as_object(Found(tuple(ROWS[:1]), None, 0, 0))["ok"]
