"""Starts gateway and engines in one process, announces the address, stops with its stdin.

`python -m localgif.endpoint.server` is the managed form: it reads one JSON line of `ServeConfig` from stdin, writes one
JSON line to stdout when the first model answers (or cannot), and ends when its stdin ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
import signal
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from typing import Any

from aiohttp import web

from localgif import offline
from localgif.endpoint.engine import Engine, usable_cores
from localgif.endpoint.gateway import Gateway, is_local
from localgif.endpoint.llama import SLOTS
from localgif.endpoint.ollama_request import FOREVER
from localgif.endpoint.upstream import Backend, LoadFailed, LoadKilled, remote_backend
from localgif.errors import EndpointUnreachable, ModelMissing, PreflightError
from localgif.records import ServeConfig

#: Ollama's default, for a server that a person starts. In a run, minutes of rendering must not unload the model.
_UNMANAGED_KEEP_ALIVE = 300.0
#: A connection without a request is closed after this many seconds; httpx keeps one for a shorter time.
IDLE_SECONDS = 75.0
#: At the end, running requests get this many seconds before they are cut.
_GRACE = 0.2


@contextlib.asynccontextmanager
async def listening(
    backends: Sequence[Backend], port: int = 0, max_queue: int = 512, slots: int = 1, host: str = "127.0.0.1"
) -> AsyncIterator[str]:
    """The address of a gateway in this event loop; at the end, running requests are cut and the backends closed.

    Raises:
        EndpointUnreachable: The port is in use, or `host` is not an address of this machine.
    """
    authority = f"[{host}]" if ":" in host else host
    runner = web.AppRunner(
        Gateway(backends, max_queue, slots).app(everybody=not is_local(authority)),
        handler_cancellation=True,
        access_log=None,
        keepalive_timeout=IDLE_SECONDS,
        shutdown_timeout=_GRACE,
    )
    await runner.setup()
    try:
        listener = _bound_socket(host, port)
        await web.SockSite(runner, listener).start()  # closes the socket at the end
        yield f"http://{authority}:{listener.getsockname()[1]}"
    finally:
        await runner.cleanup()
        await asyncio.gather(*(backend.close() for backend in backends))


def _bound_socket(host: str, port: int) -> socket.socket:
    other_host = "name one of this machine's addresses with --host, or 0.0.0.0 for all of them"
    try:
        with offline.lifted():  # resolves the user's --host; nothing connects to it
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        # It sets SO_REUSEADDR: a server can come back while connections of its predecessor linger.
        return socket.create_server(address[:2], family=family)
    except socket.gaierror as error:
        raise EndpointUnreachable(f"{host} is not an address of this machine ({error})", other_host) from error
    except OSError as error:
        reason = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
        other_port = "choose another one with --port, or --port 0 for any free port"
        raise EndpointUnreachable(
            f"port {port} on {host} {reason}",
            other_host if error.errno == errno.EADDRNOTAVAIL else other_port,
            code="E-PORT",
        ) from error


def check_port(host: str, port: int) -> None:
    """Check, before weights are looked for, that `serve` can listen there; raises EndpointUnreachable if not."""
    _bound_socket(host, port).close()


def serve(config: ServeConfig) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises:
        PreflightError: The port is in use, or llama.cpp refuses the first model.
    """
    asyncio.run(_serve(config, managed=False))


async def _serve(config: ServeConfig, *, managed: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if managed:
        loop.add_reader(sys.stdin.fileno(), _end_of_stdin, loop, stop)
    threads = config.threads or usable_cores()
    engines = [Engine(model, threads, FOREVER if managed else _UNMANAGED_KEEP_ALIVE) for model in config.models]
    if config.swap:
        for engine in engines:
            engine.rivals = tuple(other for other in engines if other is not engine)
    remotes = [remote_backend(model) for model in config.remotes]
    slots = SLOTS if engines else config.slots
    async with listening([*engines, *remotes], config.port, config.max_queue, slots, config.host) as url:
        if engines and not await _load_first(engines[0], stop):
            return
        if managed:
            _say({"event": "ready", "url": url})
        else:
            _greet(url, config)
        await stop.wait()


async def _load_first(engine: Engine, stop: asyncio.Event) -> bool:
    """Load the first model; returns False if we are stopped before it is loaded."""
    load = asyncio.create_task(engine.acquire())
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({load, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if not load.done():
        load.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await load
        return False
    try:
        await load
    except LoadKilled as error:
        remedy = "free some memory (free -m), or use a smaller model or num_ctx; then run the same command again"
        raise EndpointUnreachable(str(error), remedy, code="E-ENGINE") from error
    except LoadFailed as error:
        remedy = f"download the weights again: localgif models pull {engine.card.name}"
        raise ModelMissing(str(error), remedy, code="E-WEIGHTS-REFUSED") from error
    except OSError as error:
        raise EndpointUnreachable(f"the engine process cannot be started: {error}", code="E-ENGINE") from error
    await engine.release(None)
    return True


def _end_of_stdin(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """Nothing follows the configuration, so stdin can be read again only at its end."""
    loop.remove_reader(sys.stdin.fileno())
    stop.set()


def _greet(url: str, config: ServeConfig) -> None:
    print(f"localgif serves the Ollama API at {url}")
    for model in config.models:
        print(f"  {model.name}  {model.description}".rstrip() + f"  (context {model.num_ctx})")
    for remote in config.remotes:
        print(f"  {remote.name}  on {remote.server} at {remote.url}/v1  (context {remote.window})")
    if not is_local(url.removeprefix("http://")):
        print(
            f"warning: everyone who can reach {config.host} can use these models, without password or encryption",
            file=sys.stderr,
        )
    print("Ctrl-C stops it.", flush=True)


def _say(event: dict[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps(event), flush=True)


def main() -> None:
    """Run the managed form; ends with the error's exit code after writing the error to stdout."""
    offline.own_process()
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    config = ServeConfig.model_validate_json(sys.stdin.buffer.readline())
    # Engines are on loopback. Beyond it, a gateway connects only to the servers behind it.
    offline.guard(remote.url for remote in config.remotes)
    try:
        asyncio.run(_serve(config, managed=True))
    except PreflightError as error:
        failure = {"message": error.message, "remedy": error.remedy, "code": error.code}
        _say({"event": "failed", "kind": type(error).__name__, **failure})
        raise SystemExit(error.exit_code) from None


if __name__ == "__main__":
    main()
