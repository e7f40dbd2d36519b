"""One llama.cpp process per model: start on first use, notice its end, unload when idle, stop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import re
import secrets
import signal
import tempfile
from pathlib import Path
from typing import IO

from localgif.endpoint.child import exit_words, tail
from localgif.endpoint.gguf import read_facts
from localgif.endpoint.llama import SLOTS, EngineConfig, is_short
from localgif.endpoint.ollama_request import FOREVER, Call
from localgif.endpoint.upstream import Backend, Card, LoadFailed, LoadKilled, Upstream
from localgif.offline import our_python
from localgif.records import ServedModel

#: Gigabytes from a cold network disk take minutes; a load that is stuck must still end.
LOAD_SECONDS = 900.0
#: After a broken connection, how long to wait for the end of the process behind it.
_DEATH_SECONDS = 0.5
#: Signals from outside: the kernel when memory runs out, or a user. llama.cpp ends itself by SIGABRT or SIGSEGV.
_KILLED = (-signal.SIGKILL, -signal.SIGTERM)
_TAIL = 16 * 2**10
_REASON_LINES = 3

#: llama.cpp's error lines: "0.00.014.903 E gguf_init_from_reader: invalid magic characters".
_ERROR_LINE = re.compile(r"^[\d.]+ E (.*)$", re.M)


class Engine(Backend):
    """A model in our own llama.cpp process; it stays loaded for `keep_alive` seconds if a request does not say."""

    def __init__(self, model: ServedModel, threads: int, keep_alive: float = FOREVER) -> None:
        path = Path(model.path)
        modified = path.stat().st_mtime if path.exists() else 0.0
        super().__init__(Card(model.name, read_facts(path), model.num_ctx, model.digest, model.size, modified))
        self._model = model
        self.rivals: tuple[Engine, ...] = ()
        """Engines whose models do not fit into memory beside this one's."""
        self._threads = threads
        self._default = keep_alive
        self._users = 0
        self._process: asyncio.subprocess.Process | None = None
        self._log: IO[bytes] | None = None
        self._loading: asyncio.Task[Upstream] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._unloading: set[asyncio.Task[None]] = set()
        self._closed = False

    def loaded(self) -> Upstream | None:
        alive = self._process is not None and self._process.returncode is None
        return self._upstream if alive else None

    def shares(self, call: Call) -> bool:
        upstream = self.loaded()
        if upstream is None or self.rivals:  # a rival can be loaded only while nobody uses this model
            return False
        texts = [text for message in call.body["messages"] for text in message.values()]
        return is_short(texts, call.options.num_predict, upstream.window)

    def expires_in(self) -> float:
        if self._timer is None:
            return self._default if self._users else FOREVER
        return max(0.0, self._timer.when() - asyncio.get_running_loop().time())

    async def acquire(self) -> Upstream:
        self._stop_timer()
        self._users += 1
        try:
            if (upstream := self.loaded()) is not None:
                return upstream
            if self._loading is None:
                self._loading = asyncio.create_task(self._load())
                self._loading.add_done_callback(self._load_ended)
            # Shielded: the next client needs the model too, if this one leaves now.
            return await asyncio.shield(self._loading)
        except BaseException:
            self._users -= 1
            raise

    async def release(self, keep_alive: float | None) -> None:
        self._users -= 1
        seconds = self._default if keep_alive is None else keep_alive
        if self._users:
            return
        if seconds <= 0:
            await self._stop()
        else:
            self._start_timer(seconds)

    async def exit_reason(self) -> str:
        process = self._process
        if process is None:
            return ""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), _DEATH_SECONDS)
        if process.returncode is None:
            return ""
        return _ended(process.returncode, self._reason())

    async def close(self) -> None:
        self._closed = True
        self._stop_timer()
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.wait([self._loading])
        await self._stop()
        if self._unloading:
            await asyncio.wait(self._unloading)

    async def make_room(self) -> None:
        """Unload the model for another engine, unless it is in use."""
        if not self._users and self._loading is None:
            self._stop_timer()
            await self._stop()

    # --- keep_alive ------------------------------------------------------------------------------------------------

    def _start_timer(self, seconds: float) -> None:
        self._stop_timer()
        if seconds != FOREVER:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._expire)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        self._timer = None
        task = asyncio.create_task(self._stop())
        self._unloading.add(task)
        task.add_done_callback(self._unloading.discard)

    # --- the process -----------------------------------------------------------------------------------------------

    def _load_ended(self, task: asyncio.Task[Upstream]) -> None:
        self._loading = None
        failed = task.cancelled() or task.exception() is not None
        # If every client left meanwhile, the model stays loaded as long as after a request.
        if not failed and not self._users and not self._closed:
            self._start_timer(self._default)

    async def _load(self) -> Upstream:
        await self._stop()
        for rival in self.rivals:
            await rival.make_room()
        config = EngineConfig(
            gguf=self._model.path,
            name=self._model.name,
            num_ctx=self._model.num_ctx,
            threads=self._threads,
            api_key=secrets.token_urlsafe(24),
            parent=os.getpid(),
            slots=SLOTS,
        )
        pipe = asyncio.subprocess.PIPE
        self._log = tempfile.TemporaryFile(prefix="localgif-engine-")  # noqa: SIM115 - _stop closes it
        process = await asyncio.create_subprocess_exec(
            *our_python("localgif.endpoint.llama"), stdin=pipe, stdout=pipe, stderr=self._log
        )
        self._process = process
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(config.to_line())
            # stdin stays open: the engine ends with it.
            line = await asyncio.wait_for(process.stdout.readline(), LOAD_SECONDS)
            event = json.loads(line) if line else {}
        except TimeoutError:
            await self._stop()
            raise LoadFailed(f"llama.cpp did not load {self._model.path} within {LOAD_SECONDS:.0f} s") from None
        except BaseException:
            await self._stop()
            raise
        if event.get("event") != "ready":
            reason = await self._refusal(process, event.get("message", ""))
            raise (LoadKilled if process.returncode in _KILLED else LoadFailed)(reason)
        self._upstream = Upstream(event["url"], config.api_key, self._model.name, event["num_ctx"])
        return self._upstream

    async def _refusal(self, process: asyncio.subprocess.Process, message: str) -> str:
        """Why the model did not load: llama.cpp's error lines, else the exception, else how the process ended."""
        code = await process.wait()
        reason = self._reason() or message
        if not message:  # killed before it could report, or llama.cpp called abort()
            reason = _ended(code, reason)
        return f"llama.cpp could not load {self._model.path} ({self._model.name}): {reason}"

    def _reason(self) -> str:
        text = tail(self._log, _TAIL) if self._log is not None else ""
        # The first error lines are closest to the cause; the others repeat that something failed.
        lines = list(dict.fromkeys(_ERROR_LINE.findall(text)))[:_REASON_LINES]
        return "; ".join(lines or text.splitlines()[-_REASON_LINES:])

    async def _stop(self) -> None:
        """Kill the process, if there is one: an engine has nothing to clean up."""
        process, self._process, self._upstream = self._process, None, None
        log, self._log = self._log, None
        if log is not None:
            log.close()
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        if process.stdin is not None:
            process.stdin.close()


def _ended(code: int, reason: str) -> str:
    return f"the engine process {exit_words(code)}" + (reason and f": {reason}")


# --- threads ---------------------------------------------------------------------------------------------------------


def usable_cores() -> int:
    """Physical cores among the allowed CPUs, at most the container's CPU quota; at least 1.

    More threads slow llama.cpp down.
    """
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    cores = physical_cores(allowed)
    return max(1, min(cores, quota_cores(_read(Path("/sys/fs/cgroup/cpu.max"))) or cores))


def physical_cores(allowed: set[int], cpus: Path = Path("/sys/devices/system/cpu")) -> int:
    """Physical cores of the allowed CPUs; the number of these CPUs if the system does not say."""
    siblings = [_read(cpus / f"cpu{number}" / "topology" / "thread_siblings_list") for number in allowed]
    return len(set(siblings)) if all(siblings) else len(siblings)


def quota_cores(cpu_max: str) -> int:
    """Whole cores in the text of cgroup v2's cpu.max, rounded up ("150000 100000" is 2); 0 if there is no quota."""
    quota, _, period = cpu_max.strip().partition(" ")
    if not (quota.isdigit() and period.isdigit()) or int(period) == 0:
        return 0
    return math.ceil(int(quota) / int(period))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
