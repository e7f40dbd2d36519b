"""The servers that bench_endpoint.py and storm_endpoint.py measure, each in a process of its own.

`bare` is llama.cpp's own server as it comes, `engine` is the one that localgif starts, `front` is localgif's gateway in
front of either. The embedded endpoint is the last two; here the engine's key is known, so that it can be asked itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import psutil

from localgif.endpoint.child import embedded_endpoint
from localgif.endpoint.engine import usable_cores
from localgif.endpoint.llama import EngineConfig
from localgif.models.fetch import pull
from localgif.models.find import Weights, places_for
from localgif.offline import weights_environment
from localgif.records import RemoteModel, ServeConfig

KEY = "known here"
NAME = "measured"


@dataclass(frozen=True)
class Server:
    """A started server."""

    url: str
    pid: int

    def memory(self) -> int:
        """Resident bytes."""
        return int(psutil.Process(self.pid).memory_info().rss)

    def descriptors(self) -> int:
        return int(psutil.Process(self.pid).num_fds())


def weights(name: str) -> Weights:
    """The verified weights of a known model, fetched when they are not here."""
    return pull(name, places_for(*weights_environment()))


@contextlib.contextmanager
def _started(arguments: list[str], line: bytes = b"") -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    pipe = subprocess.PIPE
    with subprocess.Popen(arguments, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(line)
            process.stdin.flush()
            said = process.stdout.readline().decode().strip()
            if not said:
                raise SystemExit(f"{' '.join(arguments)} said nothing and ended with {process.wait()}")
            yield process, said
        finally:
            process.stdin.close()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


@contextlib.contextmanager
def bare(gguf: str, num_ctx: int, slots: int | None = None) -> Iterator[Server]:
    """llama.cpp's server with every default but the window of a slot, which is the same as ours, and a free port.

    Args:
        slots: None leaves their number to its default.
    """
    arguments = [sys.executable, __file__, gguf, str(num_ctx), str(slots or 0)]
    with _started(arguments) as (process, url):
        yield Server(url, process.pid)


@contextlib.contextmanager
def engine(gguf: str, num_ctx: int, speculation: bool = True) -> Iterator[Server]:
    """The engine as the embedded endpoint starts it."""
    config = EngineConfig(gguf, NAME, num_ctx, usable_cores(), KEY, os.getpid(), speculation)
    with _started([sys.executable, "-m", "localgif.endpoint.llama"], config.to_line()) as (process, said):
        event = json.loads(said)
        if event["event"] != "ready":
            raise SystemExit(event["message"])
        yield Server(event["url"], process.pid)


@contextlib.contextmanager
def front(server: Server, num_ctx: int, slots: int = 1) -> Iterator[Server]:
    """The gateway in front of a server; as in the embedded endpoint it counts no prompts."""
    remote = RemoteModel(name=NAME, url=server.url, key=KEY, dialect="other", server="", window=num_ctx)
    with embedded_endpoint(ServeConfig(remotes=(remote,), slots=slots)) as running:
        yield Server(running.url, running.pid)


def main() -> None:
    """The process of `bare`."""
    import xllamacpp

    gguf, num_ctx, slots = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    params = xllamacpp.CommonParams()
    params.model.path = gguf
    params.model_alias = {NAME}
    params.n_ctx = num_ctx * max(1, slots)
    if slots:
        params.n_parallel = slots
        params.kv_unified = False
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    while os.read(0, 4096):
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
