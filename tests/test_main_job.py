"""The main job on the embedded endpoint with the real SmolLM2-135M, as a user starts it; nothing is left afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from localgif.models.find import Weights
from tests.conftest import WEIGHTS
from tests.support.commands import SOON, started
from tests.support.kit import tiny_models

#: Short answers: a model of that size writes no program worth having, however long.
MODELS = tiny_models(32)


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "HOME": str(folder), "TMPDIR": str(folder), "LOCALGIF_HOME": str(WEIGHTS.cache.parent)}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "localgif", "optimize", "--samples", "1", *arguments]


@pytest.fixture
def folder(tmp_path: Path, smollm2: Weights) -> Path:
    (tmp_path / "models.toml").write_text(MODELS)
    return tmp_path


def test_the_whole_job_runs_on_real_weights_and_leaves_nothing_but_its_folder(folder: Path) -> None:
    run = subprocess.run(
        command("--metric-calls", "2", "--fresh", "1", "--minutes", "0.5", "--json", "--name", "real"),
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    result = json.loads(run.stdout)
    assert result["metric_calls"] >= 1, "a reflector of 135 million parameters may have nothing to propose"
    assert result["animator"]["digest"].startswith("b179c9523d0e")
    assert result["output_tokens"]["animator"] > 0 and result["output_tokens"]["reflector"] > 0
    assert result["memory"]["endpoint"] > 100e6, "the weights are in the endpoint's process"
    assert {p.name for p in folder.iterdir()} <= {"models.toml", "runs", ".cache"}, "no temp directory is left"
    assert list((folder / "runs" / "real").glob("report.html"))


def test_ctrl_c_ends_the_job_and_leaves_no_process(folder: Path) -> None:
    arguments = ("optimize", "--samples", "1", "--metric-calls", "50", "--name", "cut")
    with started(folder, *arguments, **environment(folder)) as process:
        assert process.stderr is not None
        assert any("call  1" in line for line in process.stderr)
        family = psutil.Process(process.pid).children(recursive=True)
        assert len(family) >= 2, "gateway and engine"
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=SOON)
    assert process.returncode == 130
    _, alive = psutil.wait_procs(family, timeout=SOON)
    assert not alive
    assert not list(folder.glob(f"{tempfile.gettempprefix()}*")) and not list(folder.glob("localgif-*"))
    assert json.loads((folder / "runs" / "cut" / "run.json").read_text())["status"] == "interrupted"


def test_a_file_that_is_no_model_is_refused_by_name_before_anything_starts(folder: Path) -> None:
    (folder / "mine.gguf").write_bytes(b"GGUF" + b"\0" * 5000)
    models = (folder / "models.toml").read_text()
    (folder / "models.toml").write_text(models.replace('"smollm2:135m"', '"mine:1b"\ngguf = "mine.gguf"'))
    run = subprocess.run(command(), cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=120)
    assert run.returncode == 3
    assert "mine.gguf" in run.stderr
    assert "Traceback" not in run.stderr
    assert not (folder / "runs").exists()
