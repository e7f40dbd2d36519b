"""Nothing leaves the machine: a whole run on real weights in a namespace without network, every connect listed.

`./scripts/just check offline` does the same with every command.
"""

from __future__ import annotations

import sys
from pathlib import Path

from localgif.models.find import Weights
from tests.conftest import WEIGHTS
from tests.support import tracing
from tests.support.tracing import HOSTILE, Reached, read_trace


def test_a_run_a_report_and_an_export_reach_only_this_machine(tmp_path: Path, smollm2: Weights) -> None:
    tracing.need_namespace()
    environment = tracing.home(tmp_path, WEIGHTS.cache.parent, tracing.hostile(tmp_path, HOSTILE))
    budget = ("--metric-calls", "1", "--samples", "1", "--fresh", "1", "--minutes", "0.1", "--name", "r")
    runs = [
        tracing.localgif(tmp_path, environment, "optimize", "--reflection", "plain", *budget),
        tracing.localgif(tmp_path, environment, "report"),
        tracing.localgif(tmp_path, environment, "export", "--to", "modelfile"),
    ]
    for run in runs:
        assert run.status == 0, run.stderr
        assert "nothing left this machine" not in run.stderr, "nothing even tries"
    assert not tracing.leaks(runs)
    assert any(place.family == "AF_INET" for place in runs[0].reached), "the models are asked over loopback"
    assert (tmp_path / "runs" / "r" / "report.html").exists()


def test_the_trace_shows_connections_elsewhere(tmp_path: Path) -> None:
    """The test above can fail only if this one passes."""
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
    ]
    assert [place.here for place in found] == [True, False, True, True, True, False, True, False]
    assert [place.looks_up for place in found] == [False, False, False, True, True, False, False, False]
