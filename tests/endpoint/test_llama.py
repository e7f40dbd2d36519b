"""The llama.cpp process with the real SmolLM2: who gets in, and that guessing ahead changes no text."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from localgif.endpoint.llama import SLOTS, EngineConfig, is_short
from localgif.records import ServedModel
from tests.support import SOON

KEY = "only this test knows"
#: Small, because on one core even a small model reads 80 tokens a second.
WINDOW = 1024
#: Longer than a guess: llama.cpp does not guess from less text.
PROGRAM = """frames = []
for frame in range(24):
    image = Image.new("RGB", (128, 128), (255, 255, 255))
    draw = ImageDraw.Draw(image)
    draw.ellipse((40, 40, 60, 60), fill=(255, 0, 0))
    draw.rectangle((0, 100, 128, 128), fill=(0, 0, 255))
    frames.append(image.copy())
frames[0].save("still.gif", save_all=True, append_images=frames[1:], duration=40, loop=0)
"""
#: Text that invites guessing: the answer repeats the question, as an animator repeats its worked example.
COPYING = [{"role": "user", "content": f"Repeat this program three times, word by word:\n```python\n{PROGRAM}```"}]


@contextlib.contextmanager
def engine(served: ServedModel, speculation: bool) -> Iterator[httpx.Client]:
    """A client of the engine that has its key."""
    config = EngineConfig(served.path, served.name, WINDOW, 1, KEY, os.getpid(), speculation, SLOTS)
    arguments = [sys.executable, "-m", "localgif.endpoint.llama"]
    pipe = subprocess.PIPE
    with subprocess.Popen(arguments, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(config.to_line())
            process.stdin.flush()
            url = json.loads(process.stdout.readline())["url"]
            headers = {"Authorization": f"Bearer {KEY}"}
            with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=120) as client:
                yield client
        finally:
            process.stdin.close()
            process.wait(SOON)


def written(client: httpx.Client, tokens: int, messages: Any = COPYING, **more: Any) -> dict[str, Any]:
    body = {"messages": messages, "temperature": 0, "max_tokens": tokens, "seed": 1, **more}
    said: dict[str, Any] = client.post("/v1/chat/completions", json=body).raise_for_status().json()
    return said


@pytest.fixture(scope="module")
def guessing(served: ServedModel) -> Iterator[httpx.Client]:
    with engine(served, speculation=True) as client:
        yield client


def test_nobody_gets_in_without_the_key(guessing: httpx.Client) -> None:
    for headers in ({"Authorization": ""}, {"Authorization": "Bearer wrong"}):
        for path in ("/slots", "/props", "/v1/chat/completions"):
            method = "POST" if path.startswith("/v1") else "GET"
            refused = guessing.request(method, path, headers=headers, json={"messages": COPYING, "max_tokens": 1})
            assert refused.status_code == 401, path


def test_web_pages_are_told_nothing_and_there_is_no_page(guessing: httpx.Client) -> None:
    answer = guessing.get("/props", headers={"Origin": "https://evil.example"})
    assert answer.headers.get("Access-Control-Allow-Origin", "") not in ("*", "https://evil.example")
    assert "text/html" not in guessing.get("/").headers.get("Content-Type", "")


def test_guessing_ahead_changes_no_text(served: ServedModel, guessing: httpx.Client) -> None:
    fast = written(guessing, 96)
    with engine(served, speculation=False) as client:
        slow = written(client, 96)
    assert fast["choices"][0]["message"]["content"] == slow["choices"][0]["message"]["content"]
    assert fast["usage"]["completion_tokens"] == slow["usage"]["completion_tokens"] > 40
    assert fast["timings"].get("draft_n_accepted", 0) > 20, "it did guess"
    assert not slow["timings"].get("draft_n")


def test_a_second_call_reads_almost_nothing_again(guessing: httpx.Client) -> None:
    written(guessing, 1)
    again = written(guessing, 1)["timings"]
    assert again["prompt_n"] <= 0.05 * (again["prompt_n"] + again["cache_n"])


def test_four_short_requests_share_the_window_and_a_long_one_may_take_more(guessing: httpx.Client) -> None:
    short = [[{"role": "user", "content": f"Count to {number}."}] for number in range(SLOTS)]
    with ThreadPoolExecutor(SLOTS) as pool:
        assert all(said["usage"]["completion_tokens"] for said in pool.map(lambda m: written(guessing, 8, m), short))
    said = written(guessing, 8, [{"role": "user", "content": "a ball, a box and a boat. " * 35}])
    assert said["usage"]["prompt_tokens"] > WINDOW / SLOTS and said["usage"]["completion_tokens"]


@pytest.mark.parametrize(
    ("text", "longest", "short"),
    [("a" * 300, 64, True), ("a" * 400, 64, False), ("ä" * 200, 64, False), ("", -1, False), ("", 400, False)],
)
def test_a_short_request_needs_at_most_its_share_of_the_window(text: str, longest: int, short: bool) -> None:
    assert is_short([text], longest, 2048) == short


def test_a_prompt_is_still_known_after_others_took_its_place(guessing: httpx.Client) -> None:
    long = [{"role": "user", "content": f"{number}: " + "a ball, a box and a boat. " * 9} for number in range(3)]
    for said in long:
        written(guessing, 1, [said], id_slot=0)
    written(guessing, 1, [{"role": "user", "content": "a boat"}], id_slot=SLOTS - 1)
    for said in long:
        again = written(guessing, 1, [said], id_slot=0)["timings"]
        assert again["prompt_n"] <= 0.05 * (again["prompt_n"] + again["cache_n"])
