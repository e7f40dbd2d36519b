"""A sweep on three hosts, each a network namespace: scheduler and command on one, a worker and a model server on two.

`python tests/support/netns.py python -m tests.sweep.hosts FOLDER` runs it, as root, and prints the result as JSON. The
model servers have one address, 127.0.0.1:11434, each on its own host. In the middle of the first cell its host is cut
off; when the sweep has gone on elsewhere the host is there again, and its worker finishes the cell for nobody.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from localgif.models.toml import load_models_file
from localgif.sweep.conduct import run_on_cluster
from localgif.sweep.execute import run_sweep
from localgif.sweep.plan import parse_plan
from tests.scripted import Entry, handler_of, serving
from tests.search.kills import Deterministic, end_of
from tests.sweep import cluster_kit as kit
from tests.sweep.test_execute import Told

URL, PORT = "http://127.0.0.1:11434", 11434
SEEDS = (0, 1, 2)
_NETNS = kit.ROOT / "tests" / "support" / "netns.py"


class Holding(Deterministic):
    """Keeps the request of a number (from 1) until a file is there."""

    at = 0
    until = Path("/")

    def next(self, path: str, body: dict[str, Any]) -> Entry:
        said = super().next(path, body)
        if len(self.history) == self.at:
            kit.until(self.until.exists, 120)
        return said


def serve(ready: Path, at: int, until: Path) -> None:
    """A model server at the usual address of this host, until it is killed."""
    from http.server import ThreadingHTTPServer

    held = Holding()
    held.at, held.until = at, until
    server = ThreadingHTTPServer(("127.0.0.1", PORT), handler_of(held))
    server.daemon_threads = True
    ready.touch()
    server.serve_forever()


class Host:
    """A box with a network of its own, and one cable to the host that we are on."""

    def __init__(self, folder: Path, number: int, at: int) -> None:
        self.name, self.released, self._folder, self._number = f"box{number}", folder / "released", folder, number
        ready = folder / f"{self.name}.ready"
        command = ["-m", "tests.sweep.hosts", "serve", str(ready), str(at), str(self.released)]
        with (folder / f"{self.name}-server.log").open("wb") as log:
            self.server = subprocess.Popen(
                [sys.executable, str(_NETNS), sys.executable, *command], cwd=kit.ROOT, stdout=log, stderr=log
            )
        kit.until(ready.exists)
        self.inside = ["nsenter", "-t", str(self.server.pid), "-n"]
        ip("link", "add", "name", self.name, "type", "veth", "peer", "name", "eth0", "netns", str(self.server.pid))
        for where, end, address in (([], self.name, 1), (self.inside, "eth0", 2)):
            ip("addr", "add", f"10.77.{number}.{address}/24", "dev", end, inside=where)
            ip("link", "set", end, "up", inside=where)

    @contextlib.contextmanager
    def worker(self) -> Iterator[subprocess.Popen[bytes]]:
        scheduler, own = (f"10.77.{self._number}.{end}" for end in (1, 2))
        started = kit.worker(self._folder, f"tcp://{scheduler}:8786", self.name, "--host", own, inside=self.inside)
        with kit.process(started) as running:
            yield running

    def cable(self, state: str) -> None:
        ip("link", "set", self.name, state)


def ip(*arguments: str, inside: list[str] | None = None) -> None:
    subprocess.run([*(inside or []), "ip", *arguments], check=True, timeout=10)


def main(folder: Path) -> dict[str, Any]:
    (folder / "models.toml").write_text(kit.models_text(URL))
    models = load_models_file(folder / "models.toml")
    plan = parse_plan(kit.TINY + f"[axes]\nseed = {list(SEEDS)}\n", "s", "s.toml", models)
    alone = Deterministic()
    with serving(alone, PORT):
        run_sweep(plan, models, folder / "undisturbed", plan.cells[:1], Told())
        asked = len(alone.history)
        run_sweep(plan, models, folder / "undisturbed", plan.cells, Told())
    told, runs = Told(), folder / "runs"
    first, second = Host(folder, 1, asked), Host(folder, 2, 0)
    seen: dict[str, Any] = {}

    def disturb() -> None:
        kit.until(lambda: kit.lines_in(runs / "s" / "seed=0" / "samples.jsonl") >= 1)
        first.cable("down")
        seen["cut"] = time.monotonic()
        stack.enter_context(second.worker())
        kit.until(lambda: any("is gone" in note for note in told.notes))
        seen["noticed"] = round(time.monotonic() - seen.pop("cut"), 1)
        first.cable("up")
        first.released.touch()

    with contextlib.ExitStack() as stack:
        for host in (first, second):
            stack.enter_context(kit.process(host.server))
        stack.enter_context(kit.scheduler(folder, "0.0.0.0", 8786))
        lost = stack.enter_context(first.worker())
        thread = threading.Thread(target=disturb, daemon=True)
        thread.start()
        summary = run_on_cluster(plan, models, runs, plan.cells, told, "tcp://127.0.0.1:8786", 3)
        thread.join(60)
        ended = [end_of(runs / "s" / cell.name) for cell in plan.cells]
        kit.until(lambda: lost.poll() is not None, 60)  # it found its scheduler gone, and ended
        after = [end_of(runs / "s" / cell.name) for cell in plan.cells]
    wanted = [end_of(folder / "undisturbed" / "s" / cell.name) for cell in plan.cells]
    return {
        **seen,
        "summary": {key: summary[key] for key in ("done", "failed", "left")},
        "where": [end.where for end in told.ends],
        "notes": told.notes,
        "equal": ended == wanted,
        "untouched": after == ended,
    }


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(Path(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
    else:
        print(json.dumps(main(Path(sys.argv[1]))))
