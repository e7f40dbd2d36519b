"""The OpenAI-compatible server behind the gateway: its models, its dialect, its stream."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from localgif.endpoint.gguf import GgufFacts
from localgif.endpoint.ollama_reply import ENDLESS, OVERFLOW, Delta, UpstreamBroken, read_delta, upstream_failure
from localgif.endpoint.ollama_request import FOREVER, ApiError, Call
from localgif.endpoint.received import ANSWER_BYTES, ERROR_BYTES, number, read_json
from localgif.records import Dialect, RemoteModel

#: How long a server may answer that it is still loading, and how often localgif asks it.
LOAD_SECONDS = 900.0
POLL_SECONDS = 0.5
_LOADING = re.compile(r"\bloading\b", re.I)
#: The longest line of a stream, and the largest answer: a fixed part and this much a token, bytes.
_LINE_BYTES, _FIXED_BYTES, _TOKEN_BYTES = 2**20, 2**20, 4096
#: An answer without a limit counts as this many tokens.
_MOST_TOKENS = 2**16


@dataclass(frozen=True)
class Upstream:
    """An OpenAI-compatible server that is ready to answer for one model; the first five as in `RemoteModel`."""

    url: str
    key: str
    model: str
    window: int
    dialect: Dialect = "llama.cpp"
    ours: bool = True
    """We started it with every default set. Another server may shift its window or refuse a long answer."""
    left_out: set[str] = field(default_factory=set, compare=False)
    """Fields of a request that it forbids; found out by its refusals."""


@dataclass(frozen=True)
class Card:
    """The facts about a model in listings; empty or 0 where they are unknown."""

    name: str
    facts: GgufFacts
    num_ctx: int
    """The window that it is served with, tokens."""
    digest: str = ""
    size: int = 0
    modified: float = 0.0
    """Seconds since 1970."""


class LoadFailed(Exception):
    """The model could not be loaded; the text is for the user and names the reason."""


class LoadKilled(LoadFailed):
    """The loading process was killed, so nothing is known about the weights."""


class Backend:
    """One model behind the gateway. The defaults suit a server that we neither start nor stop."""

    def __init__(self, card: Card, upstream: Upstream | None = None) -> None:
        self.card = card
        self._upstream = upstream

    def loaded(self) -> Upstream | None:
        """The server, if it is up; never waits."""
        return self._upstream

    def shares(self, call: Call) -> bool:
        """Whether the server can answer a request beside others."""
        return True

    def expires_in(self) -> float:
        """Seconds until the model is unloaded if no request comes; may be infinite."""
        return FOREVER

    async def acquire(self) -> Upstream:
        """Keep the model loaded until `release`, loading it first if needed; raises LoadFailed.

        A caller that is cancelled while it waits does not stop the load, and need not call `release`.
        """
        assert self._upstream is not None, "an engine, which loads its server, has an acquire of its own"
        return self._upstream

    async def release(self, keep_alive: float | None) -> None:
        """End one use; after the last one the model stays loaded for `keep_alive` seconds (None: the default)."""

    async def exit_reason(self) -> str:
        """Why the server ended, e.g. "killed by SIGKILL"; empty if it runs, or if we did not start it."""
        return ""

    async def close(self) -> None:
        """Stop at once, for good."""


def remote_backend(model: RemoteModel) -> Backend:
    """A model on a server that somebody else runs, as `discover.find_models` found it."""
    facts = GgufFacts(
        context_length=model.context_length or model.window,
        parameters=model.parameters,
        quantisation=model.quantisation,
        template=model.template,
    )
    card = Card(model.name, facts, model.window, size=model.size, modified=float(model.created))
    return Backend(card, Upstream(model.url, model.key, model.name, model.window, model.dialect, ours=False))


# --- dialects --------------------------------------------------------------------------------------------------------

#: vLLM has no name for these: it looks at the whole context for repetitions, and has no typical sampling.
_NOT_IN_VLLM = ("repeat_last_n", "typical_p", "repeat_penalty")
#: Fields that a request can do without.
_OPTIONAL = (
    "top_k", "min_p", "typical_p", "repeat_penalty", "repetition_penalty", "repeat_last_n", "chat_template_kwargs",
    "reasoning_effort", "presence_penalty", "frequency_penalty", "stream_options", "seed",
)  # fmt: skip
_FORBIDS = re.compile(
    r"extra|un(?:known|recogni|expected|supported)|not (?:permitted|allowed|supported|accepted)|forbid|(?:in|not )valid"
    r"|does ?n[o']t (?:support|accept|exist)",
    re.IGNORECASE,
)


def adapted(body: dict[str, Any], upstream: Upstream) -> dict[str, Any]:
    """The request body in the upstream's own words, with its own name for the model.

    `read_call` writes llama.cpp's dialect. vLLM silently ignores names that it does not know.
    """
    body = {**body, "model": upstream.model}
    if upstream.ours:
        # The prompt's counts come with the first token, because a client that has enough leaves before the last one.
        body["timings_per_token"] = True
    if upstream.dialect == "vllm":
        _translate_for_vllm(body)
    return {name: value for name, value in body.items() if name not in upstream.left_out}


def _translate_for_vllm(body: dict[str, Any]) -> None:
    if "repeat_penalty" in body:
        body["repetition_penalty"] = body["repeat_penalty"]
    for name in _NOT_IN_VLLM:
        body.pop(name, None)
    effort = body.get("chat_template_kwargs", {}).get("reasoning_effort")
    if effort is not None:
        body["reasoning_effort"] = effort
    body["messages"] = [
        {"reasoning" if name == "reasoning_content" else name: value for name, value in message.items()}
        for message in body["messages"]
    ]


def counting_request(body: dict[str, Any], upstream: Upstream) -> tuple[str, dict[str, Any], str] | None:
    """How the upstream counts a prompt: path, body, field with the number. None if servers of its kind do not count."""
    body = adapted(body, upstream)
    if upstream.dialect == "llama.cpp":
        return "/v1/chat/completions/input_tokens", body, "input_tokens"
    if upstream.dialect == "vllm":
        asked: dict[str, Any] = {
            name: body[name] for name in ("model", "messages", "chat_template_kwargs") if name in body
        }
        return "/tokenize", {**asked, "add_generation_prompt": True}, "count"
    return None


# --- requests --------------------------------------------------------------------------------------------------------


def new_session() -> aiohttp.ClientSession:
    """A client for upstreams: no time limit (a long prompt is silent for minutes), no proxy, and no kept connections,
    because a kept one to an engine that ended meanwhile would fail the next request.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
        trust_env=False,
    )


@contextlib.asynccontextmanager
async def _posted(
    session: aiohttp.ClientSession, upstream: Upstream, path: str, body: dict[str, Any]
) -> AsyncIterator[aiohttp.ClientResponse]:
    """The answer to one request; waits while the server says that it is still loading its model."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + LOAD_SECONDS
    headers = {"Authorization": f"Bearer {upstream.key}"} if upstream.key else {}
    try:
        while True:
            async with session.post(upstream.url + path, json=body, headers=headers) as response:
                if response.status != 503:
                    yield response
                    return
                text = await _text(response, ERROR_BYTES)
            if not _LOADING.search(text):
                raise upstream_failure(503, text)
            if loop.time() > deadline:
                raise ApiError(500, f"the upstream server did not load {upstream.model} within {LOAD_SECONDS:.0f} s")
            await asyncio.sleep(POLL_SECONDS)
    except (aiohttp.ClientError, OSError) as error:
        raise UpstreamBroken(f"the upstream server failed: {type(error).__name__}: {error}") from error


async def deltas(
    session: aiohttp.ClientSession, upstream: Upstream, body: dict[str, Any]
) -> AsyncGenerator[Delta, None]:
    """The events of one generation; the last has a finish reason. Closing the iterator closes the connection, which
    stops the generation. Options that the upstream forbids are left out of this request and of all later ones.

    Raises:
        ApiError: The upstream refused, failed, did not load its model in time, does not stop, or broke off.
    """
    while True:
        async with _posted(session, upstream, "/v1/chat/completions", adapted(body, upstream)) as response:
            if response.status == 200:
                async with aclosing(_answered(response, body)) as events:
                    async for delta in events:
                        yield delta
                return
            text = await _text(response, ERROR_BYTES)
        failure = upstream_failure(response.status, text)
        forbidden = _forbidden(text, adapted(body, upstream)) if response.status in (400, 422) else set()
        if not forbidden or OVERFLOW in failure.message:
            raise failure
        upstream.left_out.update(forbidden)


def _forbidden(text: str, body: dict[str, Any]) -> set[str]:
    """The fields of a request that a refusal names and that the request can do without."""
    if not _FORBIDS.search(text):
        return set()
    named = set(re.findall(r"\w{1,40}", text.replace("enable_thinking", "chat_template_kwargs")))
    return named.intersection(_OPTIONAL, body)


async def _answered(response: aiohttp.ClientResponse, body: dict[str, Any]) -> AsyncGenerator[Delta, None]:
    """The events of an answer, which may also be one object; it is complete with a finish reason or with `[DONE]`."""
    spoken = finished = done = False
    most = _FIXED_BYTES + _TOKEN_BYTES * min(body.get("max_tokens", _MOST_TOKENS), _MOST_TOKENS)
    if response.content_type == "application/json":
        lines = _once(await _text(response, most))
    else:
        lines = _data_lines(response.content, most)
    async with aclosing(lines):
        async for data in lines:
            if done := data == "[DONE]":
                break
            delta = read_delta(data)
            spoken, finished = spoken or bool(delta.content or delta.thinking), finished or delta.finish is not None
            yield delta
    if not finished and not (spoken and done):
        raise UpstreamBroken("the upstream server ended the answer without a finish reason")
    if not finished:
        yield Delta(finish="stop")


async def _once(text: str) -> AsyncGenerator[str, None]:
    yield text


async def _data_lines(stream: aiohttp.StreamReader, most: int) -> AsyncGenerator[str, None]:
    """Payloads of the `data:` lines, `most` bytes in all. Split by hand, because aiohttp's own line reader refuses long
    lines; a line ends at a line feed only."""
    held: list[bytes] = []
    size = line_size = 0
    async for block in stream.iter_any():
        size, line_size = size + len(block), line_size + len(block)
        if b"\n" in block:
            *lines, rest = b"".join([*held, block]).removeprefix(codecs.BOM_UTF8).split(b"\n")
            held, line_size = [rest], len(rest)
            for line in lines:
                if line.startswith(b"data:"):
                    yield line[5:].strip().decode("utf-8", "replace")
        else:
            held.append(block)
        if size > most or line_size > _LINE_BYTES:
            raise _endless(size)
    if (line := b"".join(held)).startswith(b"data:"):
        yield line[5:].strip().decode("utf-8", "replace")


async def _text(response: aiohttp.ClientResponse, most: int) -> str:
    """The body; of an error's body the first `most` bytes.

    Raises:
        ApiError: A good answer is longer than `most` bytes.
    """
    data = bytearray()
    async for block in response.content.iter_any():
        data += block
        if len(data) > most:
            if response.status == 200:
                raise _endless(len(data))
            break
    return bytes(data[:most]).decode("utf-8", "replace")


def _endless(size: int) -> ApiError:
    return ApiError(501, f"the upstream server {ENDLESS}: {size:,} bytes so far, more than any valid answer has")


async def _count_tokens(session: aiohttp.ClientSession, upstream: Upstream, body: dict[str, Any]) -> int | None:
    """Tokens of the prompt with the upstream's chat template; None if it cannot count."""
    way = counting_request(body, upstream)
    if way is None:
        return None
    path, asked, member = way
    async with _posted(session, upstream, path, asked) as response:
        if response.status in (404, 405, 501) and not upstream.ours:
            return None
        text = await _text(response, ANSWER_BYTES if response.status == 200 else ERROR_BYTES)
        if response.status != 200:
            raise upstream_failure(response.status, text)
        try:
            value = read_json(text)
        except ValueError:
            value = None
    count = number(value.get(member)) if isinstance(value, dict) else None
    if count is None:
        raise UpstreamBroken(f"the upstream server did not count the prompt's tokens: {text[:80]}")
    return count


async def fit_window(
    session: aiohttp.ClientSession, upstream: Upstream, body: dict[str, Any], num_ctx: int | None
) -> None:
    """Enforce the window that the request asks for, and shorten the answer to what is left of it.

    Our own engine enforces its allocated window itself. Another server may drop the beginning of the prompt while it
    writes (llama.cpp's context shift), or refuse a prompt that fits because the longest answer does not (vLLM).

    Raises:
        ApiError: 400; the prompt does not fit, or the window is larger than the allocated one.
    """
    if num_ctx is not None and num_ctx > upstream.window:
        raise ApiError(
            400,
            f"num_ctx {num_ctx} is larger than the context of {upstream.window} tokens that is allocated for "
            f"{upstream.model}; ask for at most {upstream.window}, or start the endpoint with a larger num_ctx",
        )
    window = upstream.window if num_ctx is None else num_ctx
    if upstream.ours and window == upstream.window:
        return
    prompt = await _count_tokens(session, upstream, body)
    if prompt is None:
        return
    if prompt >= window:
        raise ApiError(
            400, f"request ({prompt} tokens) exceeds the available context size ({window} tokens), try increasing it"
        )
    # At least one token: vLLM refuses 0.
    body["max_tokens"] = max(1, min(body.get("max_tokens", window), window - prompt))
