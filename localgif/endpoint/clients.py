"""The two clients of an endpoint: ChatOllama for the animator, LiteLLM for the reflector.

The only module that imports them, because each has habits that must be met in one place: litellm asks /api/show at
another address than it was given, fetches a price list on import, and retries a refused request three times within a
second. What came over the wire is judged in transport.py, what is tried again in retry.py.
"""

from __future__ import annotations

import base64
import contextlib
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from localgif import offline
from localgif.endpoint.child import death_at
from localgif.endpoint.discover import listed_weights
from localgif.endpoint.http import POLICY, Failure, Patience, Policy, explain
from localgif.endpoint.ollama_reply import Thoughts
from localgif.errors import EndpointError
from localgif.offline import pin_environment
from localgif.settings import ModelSettings

if TYPE_CHECKING:
    from langchain_core.messages.ai import UsageMetadata
    from langchain_ollama import ChatOllama

    from localgif.endpoint.http import Wire

#: A message: ("system" | "user" | "assistant", text).
Message = tuple[str, str]

#: Asked while an answer streams: "" to go on, else the word for why it is enough, "closed" or "loop".
Finished = Callable[[str], str]

#: Between two parts of an answer that has begun.
BETWEEN_SECONDS = 180.0
#: Before the first byte of an answer. A small model on a slow CPU may read a long prompt for minutes.
IDLE_SECONDS = 900.0
#: Whole reflection: gepa's LM does not stream, so this is the time of a complete answer, queueing included.
REFLECTION_SECONDS = 3600.0
KEEP_ALIVE = "30m"


def _unheard(_: str) -> None: ...


@dataclass(frozen=True)
class Reply:
    """One answer of the animator."""

    text: str
    done_reason: str
    """ "stop", "length"; "closed" or "loop" when we ended the stream: the answer was complete, or repeated itself."""
    prompt_tokens: int | None
    """None for a closed stream: the server sends the counts at the end only."""
    output_tokens: int
    """The server's count; for a closed stream the number of chunks, which is one per token."""
    seconds: float


class Animator:
    """The animator's model behind an endpoint that speaks the Ollama API.

    Args:
        model: The role's settings.
        url: Address of the endpoint, e.g. "http://127.0.0.1:11434".
        notice: Told when the server failed and is asked again.
        policy: How much patience there is with a server that fails.
        idle: Seconds before the first byte of an answer that are too long.

    A context manager: leaving it closes the connections.
    """

    def __init__(
        self,
        model: ModelSettings,
        url: str,
        notice: Callable[[str], None] = _unheard,
        policy: Policy = POLICY,
        idle: float = IDLE_SECONDS,
    ) -> None:
        from localgif.endpoint.http import Wire

        pin_environment(url)
        self.model = model
        self.url = url
        self._said: dict[tuple[Message, ...], Reply] = {}
        self._patience = _patience(model, url, notice, policy)
        self._wire = Wire(between=min(idle, BETWEEN_SECONDS))
        self._chat = self._make_chat(idle)

    def __enter__(self) -> Animator:
        return self

    def __exit__(self, *_: object) -> None:
        self._wire.close()

    def _make_chat(self, idle: float) -> ChatOllama:
        from langchain_ollama import ChatOllama

        return ChatOllama(
            model=self.model.model,
            base_url=self.url,
            num_ctx=self.model.num_ctx,
            num_predict=self.model.num_predict,
            temperature=self.model.temperature,
            keep_alive=KEEP_ALIVE,
            reasoning=self.model.think,
            # A proxy in the environment must not see (or break) calls to this machine.
            client_kwargs={"trust_env": False, "timeout": idle},
            # Ours to close: ChatOllama has no close of its own.
            sync_client_kwargs={"transport": self._wire},
        )

    def write(self, messages: Sequence[Message], seed: int, finished: Finished) -> Reply:
        """Ask for an answer and stream it until it ends or `finished(text so far)` gives a word for why it is enough.

        At temperature 0 a question that was asked before is not sent again: its answer is given back, at no cost.

        Raises:
            EndpointError: the server refused, or failed and did not come back in time.
        """
        known = self._said.get(tuple(messages)) if self.model.temperature == 0 else None
        if known is not None:
            # At temperature 0 the same question has the same answer, whatever the seed.
            return replace(known, prompt_tokens=None, output_tokens=0, seconds=0.0)
        reply = self._patience.ask(lambda: self._stream(messages, seed, finished))
        self._said[tuple(messages)] = reply
        return reply

    def _stream(self, messages: Sequence[Message], seed: int, finished: Finished) -> Reply:
        """One attempt.

        Raises:
            Failed: there is no answer, or none that may be used.
        """
        # A copy shares the HTTP client; bind(options=...) would replace every other option instead.
        chat = self._chat.model_copy(update={"seed": seed})
        started = time.monotonic()
        text, chunks, thoughts = "", 0, Thoughts()
        metadata: dict[str, Any] = {}
        usage: UsageMetadata | None = None
        try:
            stream = chat.stream(list(messages))
            for chunk in stream:
                # langchain appends an empty chunk of its own after the server's last one.
                metadata.update(chunk.response_metadata)
                usage = getattr(chunk, "usage_metadata", None) or usage
                if not chunk.text:
                    continue
                chunks += 1
                piece = thoughts.feed(chunk.text)[0]
                text += piece
                word = finished(text) if _worth_asking(piece) else ""
                if word:
                    stream.close()  # type: ignore[attr-defined]  # a generator, typed as Iterator
                    return Reply(text, word, None, chunks, time.monotonic() - started)
        except Exception as error:
            raise offline.cause(error) or self._wire.failed(error) from error
        reply = Reply(
            text + thoughts.end()[0],
            str(metadata.get("done_reason") or "stop"),
            usage["input_tokens"] if usage else None,
            usage["output_tokens"] if usage else chunks,
            time.monotonic() - started,
        )
        self._wire.check(reply, "\n".join(said for _, said in messages), self.model.think)
        return reply


def _patience(model: ModelSettings, url: str, notice: Callable[[str], None], policy: Policy) -> Patience:
    return Patience(url, model.model, lambda: listed_weights(url, model.model), notice, lambda: death_at(url), policy)


def _worth_asking(piece: str) -> bool:
    """Only a line end can complete a code block; asking less often keeps this linear."""
    return "\n" in piece or "`" in piece


class Reflector:
    """The reflector's model through LiteLLM, streamed, so that an answer can be ended when it is complete.

    Args: As of `Animator`.
    """

    def __init__(
        self,
        model: ModelSettings,
        url: str,
        notice: Callable[[str], None] = _unheard,
        policy: Policy = POLICY,
        idle: float = IDLE_SECONDS,
    ) -> None:
        from localgif.endpoint.http import Wire

        self.model = model
        self.url = url
        self._patience = _patience(model, url, notice, policy)
        self._wire = Wire(between=min(idle, BETWEEN_SECONDS))
        self._arguments = {**reflector_arguments(model, url), "client": _litellm_client(self._wire), "timeout": idle}

    def write(self, prompt: str, seed: int, finished: Finished, longest: int, images: Sequence[bytes] = ()) -> Reply:
        """Ask for an answer and stream it until it ends or `finished(text so far)` gives a word for why it is enough.

        Args:
            prompt: The request.
            seed: The model's seed.
            finished: Asked at every line.
            longest: Most tokens of the answer; the model's own num_predict bounds it too.
            images: PNGs that the model is shown with the request, for a model that can see.

        Raises:
            EndpointError: the server refused, or failed and did not come back in time.
        """
        most = min(longest, self.model.num_predict)
        return self._patience.ask(lambda: self._write(prompt, seed, finished, most, images))

    def _write(self, prompt: str, seed: int, finished: Finished, most: int, images: Sequence[bytes]) -> Reply:
        """One attempt.

        Raises:
            Failed: there is no answer, or none that may be used.
        """
        started = time.monotonic()
        text, chunks, usage, thoughts = "", 0, None, Thoughts()
        try:
            with _quiet():
                for part in self._stream(_content(prompt, images), seed, most):
                    usage = getattr(part, "usage", None) or usage
                    piece = (part.choices[0].delta.content if part.choices else None) or ""
                    if not piece:
                        continue
                    chunks += 1
                    text += (piece := thoughts.feed(piece)[0])
                    word = finished(text) if _worth_asking(piece) else ""
                    if word:
                        self._wire.hang_up()
                        return Reply(text, word, None, chunks, time.monotonic() - started)
        except Exception as error:
            raise offline.cause(error) or self._wire.failed(error) from error
        written = _number(usage.completion_tokens if usage else None, chunks)
        reply = Reply(
            text + thoughts.end()[0],
            # litellm's `ollama/` says "stop" whatever happened, so the count decides.
            "length" if written >= most else "stop",
            _number(usage.prompt_tokens, 0) if usage else None,
            written,
            time.monotonic() - started,
        )
        self._wire.check(reply, prompt, self.model.think)
        return reply

    def _stream(self, content: str | list[dict[str, Any]], seed: int, longest: int) -> Any:
        import litellm

        return litellm.completion(
            messages=[{"role": "user", "content": content}],
            stream=True,
            stream_options={"include_usage": True},
            seed=seed,
            drop_params=True,
            **{**self._arguments, "max_tokens": longest},
        )


def _number(value: object, otherwise: int) -> int:
    """A count, where the server gave one."""
    return value if isinstance(value, int) and value >= 0 else otherwise


def _litellm_client(wire: Wire) -> Any:
    """LiteLLM's own client with our transport in it."""
    import httpx
    from litellm.llms.custom_httpx.http_handler import HTTPHandler

    return HTTPHandler(client=httpx.Client(transport=wire, trust_env=False, follow_redirects=True))


def _content(prompt: str, images: Sequence[bytes]) -> str | list[dict[str, Any]]:
    """The content of a message: LiteLLM makes of each PNG an entry of `images`, byte for byte (others become JPEGs)."""
    if not images:
        return prompt
    parts = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64.b64encode(image).decode('ascii')}"}}
        for image in images
    ]
    return [{"type": "text", "text": prompt}, *parts]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """LiteLLM's stream types make pydantic warn about their own declarations, which is no news to a user of ours."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*`ReadOnly` qualifier", category=UserWarning)
        yield


def reflector_arguments(
    model: ModelSettings, url: str, notice: Callable[[str], None] = _unheard, policy: Policy = POLICY
) -> dict[str, Any]:
    """Keyword arguments for gepa's LM (they go on to litellm.completion): the same window and life time as ChatOllama.

    `keep_alive` and `truncate` go through extra_body because `ollama/` would put them among the options; retries are
    off because litellm repeats a refused request at once, four times. Ours are in its client's transport.
    """
    from localgif.endpoint.http import Wire

    pin_environment(url)
    _prepare_litellm(model)
    return {
        "model": model.litellm,
        "temperature": model.temperature,
        "max_tokens": model.num_predict,
        "num_ctx": model.num_ctx,
        "api_base": url,
        "num_retries": 0,
        "timeout": REFLECTION_SECONDS,
        "think": model.think,
        "extra_body": {"keep_alive": KEEP_ALIVE, "truncate": False},
        "client": _litellm_client(Wire(_patience(model, url, notice, policy))),
    }


def reflector_failure(model: ModelSettings, url: str, error: Exception) -> EndpointError:
    """Translate what gepa's LM raised: our own error, which litellm wraps, or one of litellm's about the answer."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, EndpointError):
            return cause
        cause = cause.__cause__ or cause.__context__
    return explain(url, model.model, [Failure("garbled", f"{type(error).__name__}: {error}")], 0.0)


def _prepare_litellm(model: ModelSettings) -> None:
    import litellm

    litellm.suppress_debug_info = True
    litellm.telemetry = False
    # A model that repeats itself has written a bad answer, which is ours to end: no failure of the server.
    litellm.REPEATED_STREAMING_CHUNK_LIMIT = 2**31  # type: ignore[attr-defined]
    # Without an entry litellm asks /api/show twice per completion.
    entry = {"max_tokens": model.num_ctx, "input_cost_per_token": 0.0, "output_cost_per_token": 0.0, "mode": "chat"}
    names = [f"{provider}/{model.model}" for provider in ("ollama", "ollama_chat")]
    litellm.register_model(
        {name: {**entry, "litellm_provider": name.split("/")[0]} for name in dict.fromkeys([*names, model.litellm])}
    )
