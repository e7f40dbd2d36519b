"""The gateway in front of vLLM: a real one when VLLM_URL names it (`just check vllm`), else what a real one once said.

VLLM_RECORD=FILE writes what the real one says to the file.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import ollama
import pytest
from aiohttp import web

from localgif.endpoint.clients import Animator, Reflector, reflector_arguments
from localgif.endpoint.discover import find_model, find_models
from localgif.endpoint.ollama_reply import upstream_failure
from localgif.errors import EndpointError, EndpointUnreachable, PreflightError
from localgif.records import RemoteModel
from tests.support.gateway_kit import GREEDY, HI, gateway_to, in_thread, never, serving_app
from tests.support.kit import model

REAL, RECORD = os.environ.get("VLLM_URL"), os.environ.get("VLLM_RECORD")
KEY = "sesame"
NAME = "smollm2:135m"
WINDOW = 2048
RECORDED = Path(__file__).parent / "recorded" / "vllm-0.32.0.jsonl"


# --- what a real server said, in a file -------------------------------------------------------------------------------
#
# One line is one exchange: method, path, whether a key was presented, the request's JSON, status, content type and text
# of the answer. A replay answers exactly the requests that were recorded: a gateway that sends something else is told
# so with a 500 that names the path, and the recording must be made again (`just check vllm --record FILE`).


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


# --- the gateway in front of it ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The server's address, with `/v1` at its end."""
    if REAL is None:
        with in_thread(lambda: replaying(read_exchanges(RECORDED))) as root:
            yield f"{root}/v1"
        return
    heard: list[Exchange] = []
    with in_thread(lambda: recording(REAL, heard)) as root:
        yield f"{root}/v1"
    if RECORD:
        write_exchanges(Path(RECORD), heard)


@pytest.fixture(scope="module")
def found(url: str) -> RemoteModel:
    return find_model(url, KEY, NAME, WINDOW, "[models.x]")


@pytest.fixture(scope="module")
def front(found: RemoteModel) -> Iterator[str]:
    with gateway_to(found) as address:
        yield address


@pytest.fixture
def client(front: str) -> Iterator[ollama.Client]:
    with ollama.Client(front, trust_env=False) as client:
        yield client


def settings(role: Any, front: str, **changes: Any) -> Any:
    values = {"model": NAME, "litellm": f"ollama/{NAME}", "num_ctx": WINDOW, "num_predict": 16, "temperature": 0.0}
    # A copy: the recording has shorter answers than models.toml allows.
    return model(role, front, **values).model_copy(update=changes)


def direct(url: str, **body: Any) -> httpx.Response:
    """A request of our own, past the gateway."""
    with httpx.Client(trust_env=False, timeout=120, headers={"Authorization": f"Bearer {KEY}"}) as http:
        return http.post(f"{url}/chat/completions", json={"model": NAME, "messages": HI, **body})


def test_it_is_known_for_what_it_is(found: RemoteModel) -> None:
    assert (found.name, found.dialect, found.server, found.window) == (NAME, "vllm", "vLLM 0.32.0", WINDOW)
    assert found.template is None and found.created > 0


def test_a_missing_key_and_a_larger_window_are_refused(url: str) -> None:
    with pytest.raises(EndpointUnreachable, match="wants an API key"):
        find_models(url)
    with pytest.raises(PreflightError, match="window of 2048 tokens, but num_ctx is 4096") as caught:
        find_model(url, KEY, NAME, 4096, "[models.x]")
    assert "--max-model-len" in caught.value.remedy


def test_chat_streamed_and_whole(client: ollama.Client) -> None:
    whole = client.chat(NAME, HI, options=GREEDY)
    pieces = list(client.chat(NAME, HI, options=GREEDY, stream=True))
    assert "".join(piece.message.content or "" for piece in pieces) == whole.message.content != ""
    assert "Red" in (whole.message.content or "")
    assert (whole.done_reason, whole.eval_count, whole.prompt_eval_count) == ("length", 12, 34)


def test_the_animator_and_both_reflectors(front: str) -> None:
    with Animator(settings("animator", front, num_predict=6), front) as animator:
        said = animator.write([("system", "You are brief."), ("user", "Count to fifty in words.")], 1, never)
    assert said.text and (said.done_reason, said.output_tokens) == ("length", 6) and (said.prompt_tokens or 0) > 10
    for provider in ("ollama", "ollama_chat"):
        chosen = settings("reflector", front, litellm=f"{provider}/{NAME}")
        said = Reflector(chosen, front).write("Name one colour.", 1, never, 16)
        assert said.text and 0 < said.output_tokens <= 16 and (said.prompt_tokens or 0) > 10
        from gepa.lm import LM

        assert LM(**reflector_arguments(chosen, front))("Name one colour.")


def test_a_prompt_that_does_not_fit_is_counted_and_refused(front: str, client: ollama.Client) -> None:
    prompt = "word " * 3000
    with pytest.raises(ollama.ResponseError, match=r"request \(3031 tokens\) exceeds .* \(2048 tokens\)") as caught:
        client.chat(NAME, [{"role": "user", "content": prompt}])
    assert caught.value.status_code == 400
    with pytest.raises(EndpointError, match="does not fit into the window"):
        Reflector(settings("reflector", front), front).write(prompt, 1, never, 16)


def test_its_own_refusals_are_understood(url: str) -> None:
    """Where nothing counts first, for instance because a proxy blocks /tokenize."""
    refused = direct(url, messages=[{"role": "user", "content": "word " * 3000}], max_tokens=5)
    error = upstream_failure(refused.status_code, refused.text)
    words = "request (at least 2049 tokens) exceeds the available context size (2048 tokens), try increasing it"
    assert (error.status, error.message) == (400, words)
    refused = direct(url, max_tokens=3000)
    assert refused.status_code == 400 and "max_tokens" in upstream_failure(400, refused.text).message
    refused = direct(url, model="nope")
    assert upstream_failure(refused.status_code, refused.text).status == 404


def test_an_answer_may_ask_for_more_than_the_window_has_left(client: ollama.Client) -> None:
    filler = [{"role": "user", "content": "word " * 2000}]
    said = client.chat(NAME, filler, options={**GREEDY, "num_predict": 3000})
    assert (said.prompt_eval_count or 0) + (said.eval_count or 0) <= WINDOW and (said.prompt_eval_count or 0) == 2031


def test_formats_and_stop(client: ollama.Client) -> None:
    schema = {"type": "object", "properties": {"count": {"type": "integer"}}, "required": ["count"]}
    said = client.chat(NAME, HI, format=schema, options={"temperature": 0, "num_predict": 60})
    assert isinstance(json.loads(said.message.content or "")["count"], int)
    said = client.chat(NAME, HI, options={**GREEDY, "stop": ["Red"]})
    assert said.done_reason == "stop" and "Red" not in (said.message.content or "")
    assert client.chat(NAME, HI, think=False, options=GREEDY).message.content
