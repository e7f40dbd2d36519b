"""The page of a running run in a real Chromium: it follows the folder, connects to nothing else, becomes the report."""

from __future__ import annotations

import asyncio
import http.client
import json
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from localgif.report.view import PAUSE, Follower, serve
from localgif.store.write import RunStore
from tests.report.test_browser import serious
from tests.support import SOON
from tests.support.reports import ALL, Maker, record

pytestmark = pytest.mark.slow

#: Counts the requests of the page before it shows the next sample.
COUNT = """() => {
    const fetched = window.fetch;
    window.asked = 0;
    window.fetch = (...what) => { window.asked += 1; return fetched(...what); };
    new MutationObserver(() => { window.askedBefore ??= window.asked; })
        .observe(document.getElementById("gallery"), {childList: true});
}"""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of the page of a run."""
    address: queue.Queue[str] = queue.Queue()
    loop = asyncio.new_event_loop()
    task = loop.create_task(serve(folder, address.put))
    thread = threading.Thread(target=loop.run_until_complete, args=(task,))
    thread.start()
    try:
        yield address.get(timeout=SOON)
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()
        loop.close()


def asked(address: str, path: str, **headers: str) -> tuple[int, str, dict[str, str]]:
    connection = http.client.HTTPConnection(address.split("/")[2], timeout=SOON)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text, dict(answer.headers)


def test_a_stored_sample_appears_within_two_seconds_and_no_request_leaves(browser: Any, tmp_path: Path) -> None:
    with RunStore.create(tmp_path, record("r")) as store, served(store.folder) as address:
        maker = Maker(store)
        maker.sample("Draw.", 0, "search", 1, 24, 1)
        context = browser.new_context(reduced_motion="reduce")
        page = context.new_page()
        requests: list[str] = []
        said: list[str] = []
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(address)
        tiles = page.locator("#gallery .tile")
        tiles.first.wait_for()
        assert page.locator(".place").inner_text().startswith("search, sample 1 of at most")
        assert serious(page) == []
        # Two requests of the page take less than two seconds, even on a busy machine.
        assert 2 * PAUSE < 2000
        page.evaluate(COUNT)
        maker.sample("Draw it.", 0, "search", 2, 12, 2)
        tiles.nth(1).wait_for()
        assert page.evaluate("window.askedBefore") <= 2
        assert (
            page.locator("#gallery img").first.evaluate("image => image.decode().then(() => image.naturalWidth)") == 160
        )
        store.doing("metric call 3, sample 1 of 2: writing code")
        page.get_by_text("now: metric call 3, sample 1 of 2: writing code").wait_for()
        store.finish("interrupted")
        page.locator(".verdict").wait_for()
        assert page.locator("#gallery .tile").count() == 2, "the report is at the same address"
        assert all(url.startswith((address, "data:image/")) for url in requests)
        assert said == []
        context.close()


def test_text_of_a_stranger_stays_text(browser: Any, tmp_path: Path) -> None:
    with RunStore.create(tmp_path, record("r", ALL)) as store, served(store.folder) as address:
        Maker(store, text=ALL).sample("Draw.", 0, "search", 1, 0, 3)
        store.doing(ALL)
        context = browser.new_context(reduced_motion="reduce")
        page = context.new_page()
        page.goto(address)
        page.locator("#gallery .tile").first.wait_for()
        page.get_by_text("now:").wait_for()
        assert page.evaluate("window.broken") is None
        assert page.locator("h1").count() == page.locator("footer").count() == 1
        context.close()


def test_only_this_machine_and_this_page_may_ask(tmp_path: Path) -> None:
    with RunStore.create(tmp_path, record("r")) as store, served(store.folder) as address:
        assert address.startswith("http://127.0.0.1:")
        assert asked(address, "/", Host="evil.example")[0] == 403
        status, text, headers = asked(address, "/state?after=nonsense")
        assert status == 200 and json.loads(text)["total"] == 0
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin" and headers["Cache-Control"] == "no-store"
        assert asked(address, "/run.json")[0] == 404
        (store.folder / "run.json").write_text("{")
        status, text, _ = asked(address, "/state")
        assert status == 500 and "run.json" in text


def test_each_sample_is_sent_once(tmp_path: Path) -> None:
    with RunStore.create(tmp_path, record("r")) as store:
        maker = Maker(store)
        for index in range(3):
            maker.sample("Draw.", index, "search", 1, 24, index)
        follower = Follower(store.folder)
        first = follower.state(0)
        assert first.running and len(first.tiles) == first.total == 3
        assert [f"search {number}<br>" in tile for number, tile in enumerate(first.tiles, 1)] == [True] * 3
        maker.sample("Draw it.", 0, "search", 2, 0, 3)
        later = follower.state(first.total)
        assert (len(later.tiles), later.total) == (1, 4) and "no picture: error" in later.tiles[0]
        assert follower.state(99).tiles == []
