"""Serves the page of a running run on loopback: it follows the run folder and shows each new GIF.

It uses the report's templates and reads the folder as the report does, so a stranger's run is also only text and
pictures. When the run ends, the same address shows its report.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from aiohttp import web

from localgif.errors import LocalGifError
from localgif.records import Sample
from localgif.report import story
from localgif.report.page import PURPOSES, Gallery, asset, environment, headline, page_of, script_hash
from localgif.search.progress import Tally, plan_of, standing_of
from localgif.store.read import StoredRun, activity_of, load_record, load_run, status_of

#: Milliseconds between two requests of the page.
PAUSE = 500
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class State(NamedTuple):
    """The answer to a request of the page."""

    running: bool
    head: str
    """HTML: phase, time left, and current activity."""
    tiles: list[str]
    """HTML of the samples that the page does not have yet."""
    total: int
    """Number of all samples."""


class Follower:
    """Reads a run folder as it grows, and turns each new sample into a tile."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._templates = environment()
        self._tally = Tally()
        self._tally.begin(plan_of(load_record(folder)), 0.0)
        self._gallery: Gallery | None = None
        self._tiles: list[str] = []
        self._counts: Counter[tuple[str, str]] = Counter()
        self._proposals = 0
        self._seen: object = None
        self._run: StoredRun | None = None

    def page(self) -> str:
        """The page that follows the run; after the end of the run, its report."""
        if not self._running():
            return page_of(self._folder)
        from markupsafe import Markup

        script = asset("live.js")
        return self._templates.get_template("live.html").render(
            **self._words(self._look()),
            style=Markup(asset("report.css")),
            script=Markup(script),
            script_hash=script_hash(script),
            pause=PAUSE,
        )

    def state(self, after: int) -> State:
        """The news for a page that has the first `after` samples."""
        running = self._running()
        run = self._look()
        head = self._templates.get_template("live_head.html").render(**self._words(run), **self._numbers(run))
        return State(running, head, self._tiles[max(0, after) :], len(self._tiles))

    def _running(self) -> bool:
        return status_of(self._folder, load_record(self._folder)) == "running"

    def _look(self) -> StoredRun:
        """The run as it is now; adds what is new to tally and tiles."""
        seen = [path.stat().st_mtime_ns for path in sorted(self._folder.glob("*.json*")) if path.is_file()]
        if self._run is not None and seen == self._seen:
            return self._run
        self._seen, run = seen, load_run(self._folder)
        samples, proposals = run.samples[len(self._tiles) :], run.proposals[self._proposals :]
        self._proposals = len(run.proposals)
        self._tally.replay([*samples, *proposals])
        self._run, self._gallery = run, self._gallery or Gallery(run, {})
        candidates = story.candidates_of(run, {})
        for candidate in candidates.values():
            candidate.winner = False  # tiles are not redrawn when another prompt becomes the best
        for sample in samples:
            self._tiles.append(self._tile(run, self._gallery, candidates[sample.candidate], sample))
        return run

    def _tile(self, run: StoredRun, gallery: Gallery, candidate: story.Candidate, sample: Sample) -> str:
        tile = gallery.tile(candidate, sample)
        self._counts[candidate.hash, sample.purpose] += 1
        tile.labels.append(f"{PURPOSES[sample.purpose]} {self._counts[candidate.hash, sample.purpose]}")
        tile.purposes.add(sample.purpose)
        parts: Any = self._templates.get_template("parts.html").make_module(self._words(run))
        return str(parts.tile_of(tile, len(self._tiles) + 1, {}))

    def _words(self, run: StoredRun) -> dict[str, Any]:
        from markupsafe import Markup

        record = run.record
        return {
            "record": record,
            "result": None,
            "brief": headline(record),
            "every_brief": {task.name: task.brief for task in (*record.drawn, *record.neighbours)},
            "data": Markup,
        }

    def _numbers(self, run: StoredRun) -> dict[str, Any]:
        """The state of the run, for the template."""
        tally, (doing, at, age) = self._tally, activity_of(self._folder)
        if doing and at + age > tally.elapsed:
            tally.at(at + age)
        place, count = tally.place
        return {
            "phase": tally.phase,
            "place": place,
            "count": count,
            "standing": standing_of(run.samples, tally.plan.deciding),
            "tokens": tally.tokens.total(),
            "writing": tally.seconds["animator"] + tally.seconds["reflector"],
            "elapsed": tally.elapsed,
            "left": tally.remaining_seconds(),
            "doing": doing,
        }


async def serve(folder: Path, ready: Callable[[str], object]) -> None:
    """Serve the page of a run on loopback until it is cancelled.

    Args:
        ready: Called with the address, once the page can be opened.
    """
    follower, lock = await asyncio.to_thread(Follower, folder), asyncio.Lock()
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]

    async def ours(request: web.Request, handler: Any) -> web.StreamResponse:
        # Another site may point its own name at this address (DNS rebinding), but it cannot forge this header.
        if request.host not in (f"127.0.0.1:{port}", f"localhost:{port}"):
            raise web.HTTPForbidden(text="this page is only for this machine")
        try:
            async with lock:
                response: web.StreamResponse = await handler(request)
        except (LocalGifError, OSError) as error:
            response = web.Response(status=500, text=str(error))
        response.headers.update(_HEADERS)
        return response

    async def page(request: web.Request) -> web.Response:
        return web.Response(text=await asyncio.to_thread(follower.page), content_type="text/html")

    async def state(request: web.Request) -> web.Response:
        after = request.query.get("after", "0")
        found = await asyncio.to_thread(follower.state, int(after[:9]) if after.isdecimal() else 0)
        return web.json_response(found._asdict())

    app = web.Application(middlewares=[web.middleware(ours)])
    app.add_routes([web.get("/", page), web.get("/state", state)])
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.SockSite(runner, listener).start()
        ready(f"http://127.0.0.1:{port}/")
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
    finally:
        await runner.cleanup()
