"""What a real server said, kept in a file: recorded once by a proxy in front of it, said again without it.

One line of the file is one exchange: method, path, whether a key was presented, the request's JSON, status, content
type and text of the answer. A replay answers exactly the requests that were recorded: a gateway that sends something
else is told so with a 500 that names the path, and the recording must be made again (`just check vllm --record FILE`).
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from tests.support.gateway_kit import serving_app


@dataclass(frozen=True)
class Exchange:
    """One request and its answer; of a request without a body `sent` is None."""

    method: str
    path: str
    with_key: bool
    sent: Any
    status: int
    content_type: str
    text: str

    def asks(self) -> tuple[str, str, bool, str]:
        """What the answer depends on."""
        return self.method, self.path, self.with_key, json.dumps(self.sent, sort_keys=True)


def read_exchanges(file: Path) -> list[Exchange]:
    return [Exchange(**json.loads(line)) for line in file.read_text().splitlines()]


def write_exchanges(file: Path, exchanges: list[Exchange]) -> None:
    """The first answer to each request; the others are the same but for ids and times."""
    first: dict[tuple[str, str, bool, str], Exchange] = {}
    for exchange in exchanges:
        first.setdefault(exchange.asks(), exchange)
    file.write_text("".join(json.dumps(asdict(one), ensure_ascii=False) + "\n" for one in first.values()))


async def _sent(request: web.Request) -> Any:
    body = await request.read()
    return json.loads(body) if body else None


@contextlib.asynccontextmanager
async def recording(root: str, exchanges: list[Exchange]) -> AsyncIterator[str]:
    """The address of a proxy in front of the server at `root` that adds every exchange to the list."""

    async def forward(request: web.Request) -> web.Response:
        key = request.headers.get("Authorization")
        headers = {"Authorization": key} if key else {}
        sent = await _sent(request)
        async with session.request(request.method, root + request.path, json=sent, headers=headers) as answer:
            text = await answer.text()
            kind = answer.content_type
            exchanges.append(Exchange(request.method, request.path, bool(key), sent, answer.status, kind, text))
            return web.Response(status=answer.status, text=text, content_type=kind)

    async with aiohttp.ClientSession(trust_env=False) as session:
        app = web.Application(client_max_size=2**26)
        app.router.add_route("*", "/{path:.*}", forward)
        async with serving_app(app) as url:
            yield url


@contextlib.asynccontextmanager
async def replaying(exchanges: list[Exchange]) -> AsyncIterator[str]:
    """The address of a server that says again what was recorded."""
    known = {exchange.asks(): exchange for exchange in exchanges}

    async def answer(request: web.Request) -> web.Response:
        asked = Exchange(
            request.method, request.path, "Authorization" in request.headers, await _sent(request), 0, "", ""
        )
        said = known.get(asked.asks())
        if said is None:
            return web.json_response(
                {"error": f"nobody recorded this request to {request.path}: {asked.sent}"}, status=500
            )
        return web.Response(status=said.status, text=said.text, content_type=said.content_type)

    app = web.Application(client_max_size=2**26)
    app.router.add_route("*", "/{path:.*}", answer)
    async with serving_app(app) as url:
        yield url
