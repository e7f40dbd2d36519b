"""Runs that are killed: a model server whose answers depend on the request alone, and a process that dies on cue.

`just check kills 200` kills 200 runs.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from localgif import files
from localgif.models.toml import ModelsFile, load_models_file
from localgif.offline import pin_environment
from localgif.records import Proposal, Sample
from localgif.run.optimize import optimize
from localgif.run.resume import resume
from localgif.search.progress import Silent
from localgif.settings import Settings
from localgif.store import write
from localgif.store.log import Answer, ProgramRun, read_log
from localgif.store.read import ANSWERS, PROGRAMS, load_record
from tests.support import masked
from tests.support.kit import fenced, program, settings
from tests.support.scripted import MODEL, Entry, Scripted

RULES = ("Draw each frame on a new image.", "Save 24 frames.", "Use a delay of 40 ms.", "Move the square in a circle.")


class Deterministic(Scripted):
    """Answers follow from the request and its seed, so that a repeated request gets a repeated answer."""

    def next(self, path: str, body: dict[str, Any]) -> Entry:
        text = json.dumps([body.get("messages"), body.get("prompt")], sort_keys=True)
        with self.lock:
            self.history.append((path, body))
            if len(self.history) == self.fail_at:
                return self.fault
        dice = random.Random(hashlib.sha256(f"{text} {body['options']['seed']}".encode()).digest())
        drawn = fenced(program(dice.choice((12, 20, 23, 24)), dice.choice((40, 40, 90))))
        if path == "/api/chat":
            known = body["messages"][0]["content"].count("```")
            bad = ["no program", fenced("def make_gif(path):\n    imige\n")]
            replies: list[Entry] = [drawn, *bad, *[drawn] * 2 * known]
            return dice.choice(replies)
        if "Rule:" in text:
            return f"Rule: {dice.choice(RULES)}"
        return dice.choice([drawn, drawn, "Let me think about it."])


MODELS = """
[roles]
animator = "scripted"
reflector = "scripted"
[endpoints.ollama]
kind = "ollama"
url = "{url}"
[models.scripted]
endpoint = "ollama"
model = "{model}"
num_ctx = 4096
temperature = 0.2
"""


def chosen(url: str, **changes: Any) -> Settings:
    """Settings of a small grounded run that uses all that a run can: several samples, a re-test, other numbers."""
    small = {"reflection": "grounded", "metric_calls": 6, "samples": 2, "fresh": 2, "target": 0.99}
    return settings(url, **{**small, **changes})


def models_file(folder: Path, url: str) -> ModelsFile:
    path = folder / "models.toml"
    path.write_text(MODELS.format(url=url, model=MODEL))
    return load_models_file(path)


VOLATILE = {"started", "at", "seconds", "llm_seconds", "sandbox_seconds"}


def scrubbed(value: Any) -> Any:
    """A stored value without times."""
    if isinstance(value, dict):
        return {key: scrubbed(part) for key, part in value.items() if key not in VOLATILE}
    return [scrubbed(part) for part in value] if isinstance(value, list) else value


class End(NamedTuple):
    """The end of a run, without times."""

    samples: list[Any]
    answers: list[Any]
    proposals: list[Any]
    programs: list[tuple[str, str | None, str]]
    result: dict[str, Any]
    prompt: str


def end_of(folder: Path) -> End:
    """Of a run that is done; no line of its logs is damaged."""
    logs = (
        read_log(folder / "samples.jsonl", Sample),
        read_log(folder / ANSWERS, Answer),
        read_log(folder / "proposals.jsonl", Proposal),
        read_log(folder / PROGRAMS, ProgramRun),
    )
    assert not any(log.damaged or log.torn for log in logs)
    rows = [[scrubbed(record.model_dump(mode="json")) for record in log.records] for log in logs]
    result = load_record(folder).result
    assert result is not None
    kept = {
        k: v
        for k, v in result.model_dump(mode="json").items()
        if k not in ("run", "folder", "memory", "seconds", "programs_run")
        # Another process of a masked run misses other things, so its notes differ.
        and not (masked.ON and k == "sandbox")
    }
    # Programs of an attempt that was lost with its sample are stored before the sample is made again.
    programs = sorted({(row["code"], row["start"], row["verdict"]) for row in rows[3]}, key=str)
    return End(rows[0], rows[1], rows[2], programs, kept, (folder / "best_prompt.md").read_text())


def in_child(work: Callable[[], object], wait: float | None) -> int:
    """Do the work in a forked process, killed after `wait` seconds if it still runs; its exit status, -9 if killed."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        finally:
            os._exit(status)
    deadline = None if wait is None else time.monotonic() + wait
    while True:
        pid, status = os.waitpid(child, 0 if deadline is None else os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        if deadline is not None and time.monotonic() >= deadline:
            os.kill(child, signal.SIGKILL)
            deadline = None
        else:
            time.sleep(0.002)


def die_in_a_write(dice: random.Random) -> None:
    """Arm this process: it dies in one of its next writes, halfway through."""
    left = dice.randrange(40)
    append, replace = files.append, files.replace_file

    def due() -> bool:
        nonlocal left
        left -= 1
        return left < 0

    def torn(path: Path, data: bytes, *, durable: bool = True) -> None:
        if due():
            with path.open("ab") as file:
                file.write(data[: dice.randrange(len(data))])
            os.kill(os.getpid(), signal.SIGKILL)
        append(path, data, durable=durable)

    def halved(path: Path, data: bytes) -> None:
        if due():
            path.with_name(f".{path.name}.{os.getpid()}.tmp").write_bytes(data[: dice.randrange(len(data) + 1)])
            os.kill(os.getpid(), signal.SIGKILL)
        replace(path, data)

    write.append = torn  # type: ignore[attr-defined]
    write.replace_file = halved  # type: ignore[attr-defined]


def preload(url: str) -> None:
    """Import here what every run imports: a child then begins with its work."""
    pin_environment(url)  # or litellm asks the internet for its prices as soon as it is imported
    for name in ("gepa.optimize_anything", "gepa.lm", "litellm", "langchain_ollama", "langgraph.graph", "scipy.stats"):
        importlib.import_module(name)


class Killer:
    """Kill runs and resume them until they end.

    Args:
        folder: Where runs lie.
        url: Of a server with deterministic answers.
    """

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.settings = chosen(url)
        self.file = models_file(folder, url)
        preload(url)
        began = time.monotonic()
        assert in_child(lambda: optimize(self.settings, folder, "undisturbed", Silent()), None) == 0
        self.seconds = time.monotonic() - began
        self.wanted = end_of(folder / "undisturbed")
        self.deaths: Counter[str] = Counter()

    def round(self, number: int) -> int:
        """One run, killed at least once if it can be; returns how often it was."""
        dice = random.Random(number)
        name = f"killed-{number}"
        killed = 0
        while True:
            in_write = dice.random() < 0.4
            often = killed < 1 or (killed < 4 and dice.random() < 0.4)
            wait = dice.uniform(0, self.seconds) if often and not in_write else None
            status = in_child(self._work(name, dice if often and in_write else None), wait)
            assert status in (0, -9), f"round {number} ended with {status}"
            if status == 0:
                break
            killed += 1
            self.deaths["write" if in_write else "moment"] += 1
        end = end_of(self.folder / name)
        for part in End._fields:
            assert getattr(end, part) == getattr(self.wanted, part), f"round {number}: other {part}"
        return killed

    def _work(self, name: str, dice: random.Random | None) -> Callable[[], object]:
        def work() -> None:
            if dice is not None:
                die_in_a_write(dice)
            folder = self.folder / name
            if (folder / "run.json").exists():
                resume(folder, self.file, Silent(), {})
                return
            with contextlib.suppress(FileNotFoundError):  # it died before it had a run.json: nothing was done
                for path in sorted(folder.rglob("*"), reverse=True):
                    path.rmdir() if path.is_dir() else path.unlink()
                folder.rmdir()
            optimize(self.settings, self.folder, name, Silent())

        return work


@contextlib.contextmanager
def server_process() -> Iterator[str]:
    """A deterministic server in its own process, so that this one has no threads when it forks."""
    from tests.support.scripted import serving

    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with serving(Deterministic()) as server:
            os.write(writing, server.url.encode())
            os.close(writing)
            signal.pause()
    os.close(writing)
    try:
        yield os.read(reading, 100).decode()
    finally:
        os.close(reading)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as name, server_process() as url:
        killer = Killer(Path(name), url)
        print(f"undisturbed: {killer.seconds:.1f} s, {len(killer.wanted.samples)} samples", flush=True)
        how: Counter[int] = Counter()
        for number in range(rounds):
            how[killer.round(number)] += 1
        print(f"{rounds} of {rounds} runs ended as the undisturbed one; killed so often: {dict(sorted(how.items()))}")
        print(f"where: {dict(killer.deaths)}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
