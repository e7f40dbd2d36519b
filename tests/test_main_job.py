"""The main job on the embedded endpoint with the real SmolLM2-135M: what it leaves, and that it reaches nothing else.

Where that is possible, it runs in a namespace without a network, and every connect is listed. `./scripts/just check
offline` does the same with every command.
"""

from __future__ import annotations

import json
import signal
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from localgif.models.find import Weights
from tests.conftest import WEIGHTS, one_core
from tests.support import SOON, masked, tracing
from tests.support.commands import localgif, started
from tests.support.tracing import HOSTILE, Reached, Traced, read_trace

HERE = {"LOCALGIF_HOME": str(WEIGHTS.cache.parent)}


class Done(NamedTuple):
    """A job that is done, in a folder that was also HOME and TMPDIR."""

    folder: Path
    environment: dict[str, str]
    run: Traced


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory, smollm2: Weights) -> Done:
    folder = tmp_path_factory.mktemp("job")
    environment = tracing.home(folder, WEIGHTS.cache.parent, tracing.hostile(folder, HOSTILE))
    # Without the form, so that the reflector is asked, too.
    # A masked run is slower, and the reflector comes last.
    minutes = "2" if masked.ON else "0.4"
    budget = f"--samples 1 --metric-calls 2 --fresh 1 --minutes {minutes} --no-form --no-transfer".split()
    words = ("optimize", *budget, "--json", "--name", "real", *masked.ACCEPTING)
    with one_core():
        run = tracing.localgif(folder, environment, *words, watched=not tracing.why_not())
    return Done(folder, environment, run)


def test_the_whole_job_runs_on_real_weights_and_leaves_nothing_but_its_folder(job: Done) -> None:
    assert job.run.status == 0, job.run.stderr
    result = json.loads(job.run.stdout)
    assert result["metric_calls"] >= 1, "a reflector of 135 million parameters may have nothing to propose"
    assert result["animator"]["digest"].startswith("b179c9523d0e")
    assert result["output_tokens"]["animator"] > 0 and result["output_tokens"]["reflector"] > 0
    assert result["memory"]["endpoint"] > 100e6, "the weights are in the endpoint's process"
    left = {p.name for p in job.folder.iterdir()}
    assert left <= {"models.toml", ".env", "runs", ".cache"}, "no temp directory is left"
    assert list((job.folder / "runs" / "real").glob("report.html"))


def test_a_run_and_an_export_reach_only_this_machine(job: Done) -> None:
    tracing.need_namespace()
    runs = [job.run, tracing.localgif(job.folder, job.environment, "export", "--to", "modelfile")]
    for run in runs:
        assert run.status == 0, run.stderr
        assert "localgif blocked a connection" not in run.stderr, "nothing even tries"
    assert not tracing.leaks(runs)
    assert any(place.family == "AF_INET" for place in job.run.reached), "the models are asked over loopback"


def test_ctrl_c_ends_the_job_and_leaves_no_process(tmp_path: Path, smollm2: Weights) -> None:
    (tmp_path / "models.toml").write_text(tracing.MODELS)
    arguments = ("optimize", "--samples", "1", "--metric-calls", "50", "--name", "cut", *masked.ACCEPTING)
    with started(tmp_path, *arguments, TMPDIR=str(tmp_path), **HERE) as process:
        assert process.stderr is not None
        assert any("call  1" in line for line in process.stderr)
        family = psutil.Process(process.pid).children(recursive=True)
        assert len(family) >= 2, "gateway and engine"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=SOON)
    assert process.returncode == 130 and "Traceback" not in errors
    _, alive = psutil.wait_procs(family, timeout=SOON)
    assert not alive
    assert not list(tmp_path.glob(f"{tempfile.gettempprefix()}*")) and not list(tmp_path.glob("localgif-*"))
    assert json.loads((tmp_path / "runs" / "cut" / "run.json").read_text())["status"] == "interrupted"


def test_a_file_that_is_no_model_is_refused_by_name_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "mine.gguf").write_bytes(b"GGUF" + b"\0" * 5000)
    models = tracing.MODELS.replace('"smollm2:135m"', '"mine:1b"\ngguf = "mine.gguf"')
    (tmp_path / "models.toml").write_text(models)
    run = localgif(tmp_path, "optimize", "--samples", "1", **HERE)
    assert run.returncode == 3
    assert "mine.gguf" in run.stderr
    assert not (tmp_path / "runs").exists()


# --- what lists the connections --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_trace_shows_connections_elsewhere(tmp_path: Path) -> None:
    """What finds none in a job can find some."""
    tracing.need_namespace()
    code = (
        "import socket, subprocess, sys\n"
        "def tried(call):\n"
        "    try: call()\n"
        "    except OSError: pass\n"
        "tried(lambda: socket.socket().connect(('192.0.2.1', 443)))\n"
        "tried(lambda: socket.socket(socket.AF_INET6).connect(('2001:db8::1', 443)))\n"
        "tried(lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.2', 9)))\n"
        "tried(lambda: socket.socket(socket.AF_UNIX).connect('/nowhere'))\n"
        "subprocess.run([sys.executable, '-c', 'import socket; socket.getaddrinfo(\"name.invalid\", 80)'],"
        " stderr=subprocess.DEVNULL)\n"
    )
    seen = tracing.traced(tmp_path, {"PATH": "/usr/bin:/bin"}, "control", sys.executable, "-c", code)
    assert seen.status == 0, seen.stderr
    for place in (
        Reached("AF_INET", "192.0.2.1", 443, False),
        Reached("AF_INET6", "2001:db8::1", 443, False),
        Reached("AF_INET", "192.0.2.2", 9, False),
    ):
        assert place in seen.elsewhere
    assert Reached("AF_UNIX", "/nowhere", None, False) in seen.reached
    assert seen.look_ups, "a name that a child process looks up"


def test_a_trace_is_read_as_strace_writes_it() -> None:
    trace = """\
12 connect(3, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("127.0.0.1")}, 16) = 0
12 connect(4, {sa_family=AF_INET6, sin6_port=htons(8080), sin6_flowinfo=htonl(0), \
inet_pton(AF_INET6, "::ffff:192.0.2.1", &a), sin6_scope_id=0}, 28 <un...>
13 <... connect resumed>) = -1 ENETUNREACH (Network is unreachable)
13 connect(5, {sa_family=AF_UNIX, sun_path="/var/run/nscd/socket"}, 110) = -1 ENOENT (No such file or directory)
13 connect(5, {sa_family=AF_UNIX, sun_path="/run/nscd/socket"}, 110) = 0
13 sendto(3, ""..., 43, MSG_NOSIGNAL, NULL, 0) = 43
13 sendto(6, ""..., 43, 0, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("127.0.0.53")}, 16) = 43
14 sendmsg(7, {msg_name={sa_family=AF_INET, sin_port=htons(5), sin_addr=inet_addr("192.0.2.9")}, msg_namelen=16}, 0) = 1
14 connect(3, {sa_family=AF_UNSPEC, sa_data=""...}, 16) = 0
14 connect(9, {sa_family=AF_VSOCK, svm_cid=VMADDR_CID_HOST, svm_port=0x400}, 16) = 0
15 connect(6, {sa_family=AF_UNIX, sun_path="/run/nscd/socket"}, 110 <unfinished ...>
16 connect(6, {sa_family=AF_UNIX, sun_path="/run/nscd/socket"}, 110 <unfinished ...>
15 <... connect resumed>)                  = -1 ENOENT (No such file or directory)
16 <... connect resumed>)                  = 0
14 +++ exited with 0 +++
"""
    found = read_trace(trace)
    assert found == [
        Reached("AF_INET", "127.0.0.1", 80),
        Reached("AF_INET6", "::ffff:192.0.2.1", 8080),
        Reached("AF_UNIX", "/var/run/nscd/socket", None, False),
        Reached("AF_UNIX", "/run/nscd/socket", None),
        Reached("AF_INET", "127.0.0.53", 53),
        Reached("AF_INET", "192.0.2.9", 5),
        Reached("AF_UNSPEC", "", None),
        Reached("AF_VSOCK", "", None),
        Reached("AF_UNIX", "/run/nscd/socket", None, False),
        Reached("AF_UNIX", "/run/nscd/socket", None),
    ]
    assert [place.here for place in found] == [True, False, True, True, True, False, True, False, True, True]
    assert [place.looks_up for place in found] == [False, False, False, True, True, False, False, False, False, True]
