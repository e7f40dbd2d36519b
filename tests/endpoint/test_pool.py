"""Several servers under one name: the choice as a function, the queue on an event loop, the whole over real HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import ollama
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from localgif.config import EndpointSettings, load_models_file
from localgif.endpoint import pool as pools
from localgif.endpoint.pool import Exhausted, Member, Pool, choose
from localgif.endpoint.serve import Site, spreading
from localgif.endpoint.upstream import differences
from localgif.endpoint.wire import ApiError
from localgif.errors import ConfigError, PreflightError
from localgif.runs.read import load_run
from localgif.search.gateways import gateway_config
from localgif.search.roles import check_role, open_roles
from localgif.search.run import optimize
from localgif.served import PooledServer, RemoteModel
from tests.endpoint.gateway_kit import (
    Hold,
    Script,
    Status,
    Step,
    answer,
    event,
    in_thread,
    post_and_keep,
    serving_app,
)
from tests.gremlin import ACTS, Act, Gremlin, misbehaving
from tests.gremlin import answer as spoken
from tests.kit import Notes, fenced, model, program, settings
from tests.scripted import DIGEST, MODEL

CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}


# --- the choice ------------------------------------------------------------------------------------------------------

MEMBERS = st.lists(
    st.builds(
        Member,
        st.sampled_from(["http://a", "http://b"]),
        slots=st.integers(1, 4),
        busy=st.integers(0, 4),
        out=st.sampled_from(["", "", "it is dead"]),
        last=st.integers(0, 9),
    ),
    max_size=6,
)


@given(MEMBERS, st.data())
def test_the_least_loaded_of_the_free_ones_is_chosen(members: list[Member], data: st.DataObject) -> None:
    avoid = data.draw(st.sets(st.sampled_from(members))) if members else set()
    chosen = choose(members, avoid)
    free = [one for one in members if not one.out and one.busy < one.slots and one not in avoid]
    assert (chosen is None) == (not free)
    if chosen is not None:
        assert chosen in free
        assert all(chosen.busy / chosen.slots <= one.busy / one.slots for one in free)
        assert all(chosen.last >= one.last for one in free if one.busy / one.slots == chosen.busy / chosen.slots)


async def well(_: Member) -> str:
    return ""


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=60), st.integers(1, 3))
def test_no_slot_is_lost_or_given_twice_whoever_leaves(steps: list[tuple[int, bool]], slots: int) -> None:
    async def go() -> None:
        members = [Member("http://a", slots), Member("http://b", 1)]
        async with Pool(members, 100, well) as pool:
            running: list[tuple[asyncio.Task[None], asyncio.Event]] = []

            async def client(done: asyncio.Event) -> None:
                async with pool.lend() as member:
                    assert member.busy <= member.slots
                    await done.wait()

            for step, flag in steps:
                if step == 0 or not running:
                    done = asyncio.Event()
                    running.append((asyncio.create_task(client(done)), done))
                else:
                    task, done = running.pop(0 if flag else -1)
                    done.set() if step == 1 else task.cancel()
                if flag:
                    await asyncio.sleep(0)
                assert all(0 <= member.busy <= member.slots for member in members)
            for _, done in running:
                done.set()
            await asyncio.wait_for(asyncio.gather(*(t for t, _ in running), return_exceptions=True), 5)
            for _ in range(5):
                await asyncio.sleep(0)
            assert [member.busy for member in members] == [0, 0]

    asyncio.run(go())


def test_waiters_are_served_in_order_and_fail_when_nobody_is_left() -> None:
    async def go() -> None:
        a = Member("http://a")
        async with Pool([a], 2, well) as pool:
            order: list[int] = []

            async def client(number: int) -> None:
                async with pool.lend():
                    order.append(number)

            async with pool.lend():
                waiting = [asyncio.create_task(client(number)) for number in range(2)]
                await asyncio.sleep(0)
                with pytest.raises(ApiError, match="maximum pending requests"):
                    await client(9)
            await asyncio.gather(*waiting)
            assert order == [0, 1]
            async with pool.lend():
                last = asyncio.create_task(client(2))
                await asyncio.sleep(0)
                pool.leave_out(a, "it is dead")
                with pytest.raises(Exhausted, match="http://a: it is dead"):
                    await last
            with pytest.raises(Exhausted, match="it is dead"):
                await client(3)

    asyncio.run(go())


# --- over HTTP -------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _quick_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "PROBE_FIRST", 0.02)
    monkeypatch.setattr(pools, "PROBE_LONGEST", 0.05)


@contextlib.contextmanager
def pooled(*servers: Gremlin, slots: int = 1, max_queue: int = 512) -> Iterator[str]:
    """One address in front of servers of the Ollama API."""
    behind = [PooledServer(url=one.url, slots=slots, weights=((MODEL, DIGEST),)) for one in servers]
    with in_thread(lambda: spreading(behind, 0, max_queue)) as site:
        yield site.url


def chat(url: str, text: str = "hi", timeout: float = 20) -> httpx.Response:
    body = {"model": MODEL, "messages": [{"role": "user", "content": text}]}
    with httpx.Client(trust_env=False, timeout=timeout) as client:
        return client.post(url + "/api/chat", json=body)


def text_of(response: httpx.Response) -> str:
    assert response.status_code == 200, response.text
    lines = [json.loads(line) for line in response.text.splitlines()]
    assert lines[-1]["done"] is True
    return "".join(line["message"]["content"] for line in lines)


def until(holds: Callable[[], object], seconds: float = 10.0) -> None:
    """Poll with a deadline: what is waited for happens on the pool's own event loop."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never happened"


def echo(talk: Any) -> None:
    """An answer that names its question, in two pieces."""
    talk.head()
    question = talk.body["messages"][0]["content"]
    talk.line(question[:3])
    talk.line(question[3:])
    talk.last()


def test_64_requests_at_once_are_all_answered_none_mixed_up_none_lost() -> None:
    with misbehaving(echo) as a, misbehaving(echo) as b, pooled(a, b) as url, ThreadPoolExecutor(64) as threads:
        asked = [threads.submit(chat, url, f"question {number}") for number in range(64)]
        assert [text_of(one.result(30)) for one in asked] == [f"question {number}" for number in range(64)]
        questions = [body["messages"][0]["content"] for server in (a, b) for body in server.asked]
        assert sorted(questions) == sorted(f"question {number}" for number in range(64)), "each was asked once"
        assert a.asked and b.asked


def test_64_requests_survive_servers_that_die_and_refuse_in_between() -> None:
    """Before the first byte the pool asks another one; who got half an answer is told, and asks again."""
    faults: list[Act] = [echo, ACTS["dies before a token"], echo, ACTS["503"], ACTS["500"]]
    with misbehaving(*faults * 20, echo) as a, misbehaving(echo) as b, pooled(a, b, slots=2) as url:
        with ThreadPoolExecutor(64) as threads:
            asked = [threads.submit(chat, url, f"question {number}") for number in range(64)]
            said = [text_of(one.result(30)) for one in asked]
        assert said == [f"question {number}" for number in range(64)]


def test_a_server_that_dies_in_the_middle_is_left_out_and_comes_back() -> None:
    with misbehaving(ACTS["dies in the middle"], echo) as a, misbehaving(echo) as b, pooled(a, b) as url:
        broken = chat(url, "first")
        last = json.loads(broken.text.splitlines()[-1])
        assert last.keys() == {"error"} and a.url in last["error"], "the truth instead of a clean end"
        a.stop()
        assert text_of(chat(url, "second")) == "second" and len(a.asked) == 1
        a.start()
        # Two at once need both servers; while one is out they wait for each other.
        until(lambda: _both_busy(url, a))
        assert {body["messages"][0]["content"] for body in a.asked} > {"first"}


def _both_busy(url: str, server: Gremlin) -> bool:
    before = len(server.asked)
    with ThreadPoolExecutor(2) as threads:
        for one in [threads.submit(chat, url, f"more {number}") for number in range(2)]:
            text_of(one.result(20))
    return len(server.asked) > before


def test_the_same_server_is_asked_while_it_is_well_and_free() -> None:
    """Its cache holds the prompt's beginning."""
    with misbehaving(echo) as a, misbehaving(echo) as b, pooled(a, b) as url:
        for number in range(6):
            assert text_of(chat(url, f"question {number}")) == f"question {number}"
        assert sorted([len(a.asked), len(b.asked)]) == [0, 6]


def test_other_weights_do_not_come_back() -> None:
    with misbehaving(ACTS["dies before a token"], echo) as a, misbehaving(echo) as b, pooled(a, b) as url:
        a.listed = "cd" * 32
        assert text_of(chat(url)) == "hi" and (len(a.asked), len(b.asked)) == (1, 1)
        b.stop()

        def told() -> bool:
            refused = chat(url)
            return refused.status_code == 502 and "other weights" in refused.json()["error"]

        until(told)
        assert len(a.asked) == 1
        a.listed = DIGEST
        until(lambda: chat(url).status_code == 200)


def test_when_all_are_gone_each_is_named_with_its_reason() -> None:
    with misbehaving() as a, misbehaving() as b, pooled(a, b) as url:
        a.stop()
        b.stop()
        refused = chat(url)
        assert refused.status_code == 502
        again = chat(url).json()["error"]
        assert a.url in again and b.url in again and "onnect" in again


def test_a_client_that_leaves_frees_its_slot_and_its_server() -> None:
    with misbehaving(ACTS["hangs between tokens"], echo) as a, pooled(a) as url:
        connection = post_and_keep(url, "/api/chat", CHAT)
        assert b"200 OK" in connection.recv(65536)
        queued = post_and_keep(url, "/api/chat", CHAT)
        queued.close()
        connection.close()
        assert a.wait_for_fates(1) == ["left"]
        assert text_of(chat(url, "next")) == "next"
        assert [body["messages"][0]["content"] for body in a.asked] == ["hi", "next"], "who left was never asked for"


def test_questions_and_refusals_pass_as_they_are() -> None:
    with misbehaving(ACTS["does not fit"], ACTS["429"]) as a, pooled(a) as url:
        with ollama.Client(url, trust_env=False) as client:
            (entry,) = client.list().models
            assert (entry.model, entry.digest) == (MODEL, DIGEST)
        refused, slow = chat(url), chat(url)
        assert refused.status_code == 400 and "9000 tokens" in refused.json()["error"]
        assert (slow.status_code, slow.headers["Retry-After"]) == (429, "7")
        with httpx.Client(base_url=url, trust_env=False) as http:
            assert http.get("/api/version").json() == {"version": "0.99.0"}
            assert http.post("/api/show", json={"model": MODEL}).status_code == 200
            assert http.post("/api/pull", json={"model": MODEL}).status_code == 501
            assert http.get("/nowhere").status_code == 404
            assert http.get("/api/tags", headers={"Host": "evil.example"}).status_code == 403


# --- OpenAI-compatible servers, each behind a gateway of its own ------------------------------------------------------


@contextlib.contextmanager
def openai_pool(*scripts: Script, slots: int = 1) -> Iterator[str]:
    @contextlib.asynccontextmanager
    async def all_of_it() -> AsyncIterator[Site]:
        async with contextlib.AsyncExitStack() as stack:
            servers = []
            for script in scripts:
                app = script.app()
                app.router.add_get("/v1/models", _models)
                url = await stack.enter_async_context(serving_app(app))
                remote = RemoteModel(name=MODEL, url=url, dialect="other", server="", window=4096)
                servers.append(PooledServer(url=url, slots=slots, remotes=(remote,)))
            yield await stack.enter_async_context(spreading(servers, 0, 512))

    with in_thread(all_of_it) as site:
        yield site.url


async def _models(_: web.Request) -> web.Response:
    return web.json_response({"data": [{"id": MODEL}]})


def test_openai_servers_are_pooled_behind_a_gateway_each() -> None:
    a, b = Script([event("slow"), Hold(), *answer("ly")]), Script(answer("quick"))
    with openai_pool(a, b) as url, ThreadPoolExecutor(2) as threads:
        first = threads.submit(chat, url)
        a.wait_for(lambda s: bool(s._held))
        assert text_of(chat(url)) == "quick"
        a.release()
        assert text_of(first.result(20)) == "slowly"


def test_an_openai_server_that_fails_is_left_out_until_it_lists_its_models() -> None:
    a, b = Script([Status(500, "boom")], answer("back")), Script(answer("quick"))
    with openai_pool(a, b) as url:
        assert text_of(chat(url)) == "quick" and len(a.bodies) == 1

        def answered() -> bool:
            with ThreadPoolExecutor(2) as threads:
                return "back" in {text_of(one.result(20)) for one in [threads.submit(chat, url) for _ in range(2)]}

        until(answered)


def test_slots_are_used_and_not_exceeded() -> None:
    held: list[Step] = [event("x"), Hold(), *answer("y")]
    a = Script(held, held, held)
    with openai_pool(a, slots=2) as url, ThreadPoolExecutor(3) as threads:
        asked = [threads.submit(chat, url) for _ in range(3)]
        a.wait_for(lambda s: len(s._held) == 2)
        assert len(a.bodies) == 2
        a.release()
        a.wait_for(lambda s: len(s.bodies) == 3)
        a.wait_for(lambda s: len(s._held) == 2)
        a.release()
        a.release()
        assert [text_of(one.result(20)) for one in asked] == ["xy"] * 3


# --- what is found before anything starts -----------------------------------------------------------------------------


def several(*servers: Gremlin) -> EndpointSettings:
    urls = tuple(server.url for server in servers)
    return EndpointSettings(name="both", kind="ollama", url=urls[0], urls=urls)


def roles(a: Gremlin, b: Gremlin) -> dict[str, Any]:
    endpoint = several(a, b)
    return {
        "animator": model("animator", a.url, endpoint=endpoint),
        "reflector": model("reflector", a.url, endpoint=endpoint),
    }


def test_different_weights_are_refused_and_both_servers_named() -> None:
    with misbehaving() as a, misbehaving(listed="cd" * 32) as b:
        chosen = model("animator", a.url, endpoint=several(a, b))
        for check in (lambda: check_role(chosen), lambda: gateway_config([chosen])):
            with pytest.raises(PreflightError) as caught:
                check()
            assert caught.value.exit_code == 3 and "[endpoints.both]" in caught.value.remedy
            assert all(word in caught.value.message for word in (a.url, b.url, "abababababab", "cdcdcdcdcdcd"))


def test_models_that_servers_tell_apart_are_different() -> None:
    one = RemoteModel(name=MODEL, url="http://a", dialect="llama.cpp", server="", window=4096, size=10, parameters=5)
    assert differences(one, one.model_copy(update={"url": "http://b", "size": 0})) == ""
    assert differences(one, one.model_copy(update={"size": 11})) == "size 10 and 11"
    assert "quantisation Q8_0 and Q4_0" in differences(
        one.model_copy(update={"quantisation": "Q8_0"}), one.model_copy(update={"quantisation": "Q4_0"})
    )


def test_every_server_is_checked_and_told() -> None:
    with misbehaving() as a, misbehaving() as b:
        lines = check_role(model("animator", a.url, endpoint=several(a, b))).splitlines()
        assert len(lines) == 2 and a.url in lines[0] and b.url in lines[1]


def test_a_run_on_two_servers_survives_the_end_of_one(tmp_path: Path) -> None:
    poor = spoken(fenced(program(12, 100)))
    with misbehaving(poor) as a, misbehaving(poor) as b:

        class Ending(Notes):
            def metric_call(self, *arguments: Any, **more: Any) -> None:
                a.stop()

        chosen = settings(a.url, **roles(a, b), metric_calls=3, samples=1, fresh=1)
        optimize(chosen, tmp_path, "r", Ending())
        assert a.asked and b.asked
        run = load_run(tmp_path / "r")
    assert run.record.status == "done"
    assert [identity.server for identity in run.record.models] == ["Ollama API 0.99.0, 2 servers"] * 2


def test_both_roles_get_one_gateway() -> None:
    with misbehaving() as a, misbehaving() as b, open_roles(settings(a.url, **roles(a, b)), Notes()) as opened:
        assert opened.animator_url == opened.reflector_url not in (a.url, b.url)
        assert len(opened.gateways) == 1


MODELS = """
[roles]
animator = "m"
reflector = "m"
[endpoints.e]
kind = "ollama"
{line}
[models.m]
endpoint = "e"
model = "scripted:1b"
"""


def endpoint_of(folder: Path, line: str) -> EndpointSettings:
    (folder / "models.toml").write_text(MODELS.format(line=line))
    return load_models_file(folder / "models.toml").role("animator").endpoint


def test_models_toml_lists_servers(tmp_path: Path) -> None:
    found = endpoint_of(tmp_path, 'url = ["http://a:11434/", "http://b:11434"]\nslots = 2\nallow_remote = true')
    assert (found.url, found.urls, found.slots) == ("http://a:11434", ("http://a:11434", "http://b:11434"), 2)
    assert found.addresses == found.urls
    single = endpoint_of(tmp_path, 'url = "http://a:11434"\nallow_remote = true')
    assert (single.url, single.urls, single.slots) == ("http://a:11434", (), None)
    assert single.addresses == ("http://a:11434",)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("url = []", "must be an address, or a list"),
        ('url = ["http://a:1", "http://a:1/"]', "must not name the same server twice"),
        ('url = ["http://a:1", 5]', "must be an address, or a list"),
        ('url = ["http://a:1", "b"]', "must be a URL such as"),
        ('url = ["http://a:1", "http://b:1/v1"]', "must have no path"),
        ('url = "http://a:1"\nslots = 0', "endpoints.e.slots = 0"),
    ],
)
def test_a_list_that_cannot_be_is_named(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(ConfigError, match=r"endpoints\.e") as caught:
        endpoint_of(tmp_path, line)
    assert said in caught.value.message


def test_serve_puts_the_servers_of_one_model_under_one_address(tmp_path: Path) -> None:
    with misbehaving(spoken("one")) as first, misbehaving(spoken("two")) as second:
        (tmp_path / "models.toml").write_text(
            f'[roles]\nanimator = "m"\nreflector = "m"\n[endpoints.both]\nkind = "ollama"\n'
            f'url = ["{first.url}", "{second.url}"]\n[models.m]\nendpoint = "both"\nmodel = "{MODEL}"\nnum_ctx = 4096\n'
        )
        command = [sys.executable, "-m", "localgif", "serve", "--model", "m", "--port", "0"]
        with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            url = process.stdout.readline().split()[-1]
            second.stop()  # then everybody is answered by the one that is left
            said = {text_of(chat(url)) for _ in range(2)}
            process.terminate()
            assert process.wait(10) == 0
    assert said == {"one"}
    assert len(first.asked) == 2
