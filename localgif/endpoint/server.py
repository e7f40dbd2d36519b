"""The endpoint as a whole: gateway and engines, started, announced and stopped.

`python -m localgif.endpoint.server` is the managed form: one JSON line of `ServeConfig` on stdin, one JSON line on
stdout when the first model answers (or cannot), and it ends when its stdin ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from localgif import offline
from localgif.endpoint.engine import Engine, usable_cores
from localgif.endpoint.gateway import Gateway, is_local
from localgif.endpoint.ollama_request import FOREVER
from localgif.endpoint.upstream import Backend, LoadFailed, Remote
from localgif.errors import EndpointUnreachable, LocalGifError, ModelMissing, PreflightError
from localgif.records import ServeConfig

HOST = "127.0.0.1"
#: Ollama's default for a server that people start; in a run, rendering for minutes must not unload the model.
UNMANAGED_KEEP_ALIVE = 300.0
#: A connection that does not bring a request for so long, seconds, is closed.
IDLE_SECONDS = 75.0
#: What running requests get at the end before they are cut.
_GRACE = 0.2
_OTHER_ADDRESS = "name one of this machine's with --host, or 0.0.0.0 for all of them"


@dataclass(frozen=True)
class Site:
    """A gateway that listens."""

    url: str
    port: int


@contextlib.asynccontextmanager
async def listening(
    backends: Sequence[Backend], port: int, max_queue: int, slots: int = 1, host: str = HOST
) -> AsyncIterator[Site]:
    """A gateway in front of the backends, in this event loop; at the end requests are cut and backends closed.

    Raises:
        EndpointUnreachable: The port is in use.
    """
    app = Gateway(backends, max_queue, slots).app(everybody=not is_local(_authority(host)))
    try:
        async with _listening_app(app, port, host) as site:
            yield site
    finally:
        await asyncio.gather(*(backend.close() for backend in backends))


@contextlib.asynccontextmanager
async def _listening_app(app: web.Application, port: int, host: str) -> AsyncIterator[Site]:
    # A client that reads and writes in turns may hold its connection for a while; 75 s is longer than httpx keeps it.
    runner = web.AppRunner(
        app, handler_cancellation=True, access_log=None, keepalive_timeout=IDLE_SECONDS, shutdown_timeout=_GRACE
    )
    await runner.setup()
    try:
        listener = _bound_socket(host, port)
        actual = int(listener.getsockname()[1])
        await web.SockSite(runner, listener).start()  # closes it at the end
        yield Site(f"http://{_authority(host)}:{actual}", actual)
    finally:
        await runner.cleanup()


def _authority(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _bound_socket(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise EndpointUnreachable(f"{host} is no address of this machine ({error})", _OTHER_ADDRESS) from error
    try:
        # Lets a server come back while connections of its predecessor linger; two at once are still refused.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        reason = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
        remedy = "choose another one with --port, or --port 0 for any free port"
        raise EndpointUnreachable(
            f"port {port} on {host} {reason}",
            _OTHER_ADDRESS if error.errno == errno.EADDRNOTAVAIL else remedy,
            code="E-PORT",
        ) from error
    return listener


def serve(config: ServeConfig, *, managed: bool) -> None:
    """Serve until SIGINT or SIGTERM, managed also until the end of stdin. Leaves no process behind.

    Args:
        managed: A program started us: talk JSON on stdout, live no longer than it.

    Raises:
        PreflightError: Only unmanaged: port in use, or llama.cpp refuses the first model.
        SystemExit: Only managed, after the failure was said on stdout.
    """
    if not managed:
        asyncio.run(_serve(config, managed=False))
        return
    # Engines are on loopback; a gateway has no other business than with the servers that it stands in front of.
    offline.guard(remote.url for remote in config.remotes)
    try:
        asyncio.run(_serve(config, managed=True))
    except PreflightError as error:
        said = {"message": error.message, "remedy": error.remedy, "code": error.code}
        _say({"event": "failed", "kind": type(error).__name__, **said})
        raise SystemExit(error.exit_code) from None


async def _serve(config: ServeConfig, *, managed: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if managed:
        threading.Thread(target=_wait_for_end_of_stdin, args=(loop, stop), daemon=True).start()
    threads = config.threads or usable_cores()
    keep_alive = FOREVER if managed else UNMANAGED_KEEP_ALIVE
    engines = [Engine(model, threads, keep_alive) for model in config.models]
    if config.swap:
        for engine in engines:
            engine.rivals = tuple(other for other in engines if other is not engine)
    remotes = [Remote(model) for model in config.remotes]
    async with listening([*engines, *remotes], config.port, config.max_queue, _slots(config), config.host) as site:
        if not await _load_first(engines, stop):
            return
        if managed:
            _say({"event": "ready", "url": site.url, "pid": os.getpid()})
        else:
            _greet(site, config)
        await stop.wait()


def _slots(config: ServeConfig) -> int:
    """Engines share the cores: beside one of them nothing else runs."""
    return 1 if config.models else config.slots


async def _load_first(engines: Sequence[Engine], stop: asyncio.Event) -> bool:
    """Load the first model; False when we are told to stop before it is there.

    Raises:
        ModelMissing: With llama.cpp's reason.
    """
    if not engines:
        return True
    load = asyncio.create_task(_load(engines[0]))
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({load, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if not load.done():
        load.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await load
        return False
    await load
    return True


async def _load(engine: Engine) -> None:
    try:
        await engine.acquire()
    except LoadFailed as error:
        name = engine.model.name
        raise ModelMissing(
            str(error), f"fetch the weights again: localgif models pull {name}", code="E-WEIGHTS-REFUSED"
        ) from error
    except OSError as error:
        raise EndpointUnreachable(f"the engine process cannot be started: {error}", code="E-ENGINE") from error
    await engine.release(None)


def _wait_for_end_of_stdin(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    with contextlib.suppress(RuntimeError):  # the loop is gone already
        loop.call_soon_threadsafe(stop.set)


def _greet(site: Site, config: ServeConfig) -> None:
    print(f"localgif serves the Ollama API at {site.url}")
    for model in config.models:
        print(f"  {model.name}  {model.description}".rstrip() + f"  (context {model.num_ctx})")
    for remote in config.remotes:
        print(f"  {remote.name}  on {remote.server} at {remote.url}/v1  (context {remote.window})")
    if not is_local(_authority(config.host)):
        print(f"warning: all who reach {config.host} can use these models; no password, no encryption", file=sys.stderr)
    print("Ctrl-C stops it.", flush=True)


def _say(event: dict[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps(event), flush=True)


def main() -> None:
    """The managed form."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    line = sys.stdin.buffer.readline()
    try:
        serve(ServeConfig.model_validate_json(line), managed=True)
    except LocalGifError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
