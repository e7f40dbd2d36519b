"""The two clients of an endpoint: ChatOllama for the animator, LiteLLM for the reflector.

The only module that imports them, because each has habits that must be met in one place: ChatOllama takes a stream
that ends without `done` for a success; litellm asks /api/show at another address than it was given, fetches a price
list on import, and retries a refused request three times within a second.
"""

from __future__ import annotations

import base64
import contextlib
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from localgif.config import ModelSettings
from localgif.endpoint.transport import whole_prompts
from localgif.environment import pin_environment
from localgif.errors import EndpointError

if TYPE_CHECKING:
    from langchain_core.messages.ai import UsageMetadata
    from langchain_ollama import ChatOllama

#: A message: ("system" | "user" | "assistant", text).
Message = tuple[str, str]

#: Asked while an answer streams: "" to go on, else the word for why it is enough, "closed" or "loop".
Finished = Callable[[str], str]

CONNECT_SECONDS = 5.0
#: Between two bytes of an answer. A small model on a slow CPU may read a long prompt for minutes before the first one.
IDLE_SECONDS = 900.0
#: Whole reflection: LiteLLM does not stream, so this is the time of a complete answer, queueing included.
REFLECTION_SECONDS = 3600.0
KEEP_ALIVE = "30m"


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

    A context manager: leaving it closes the connections.
    """

    def __init__(self, model: ModelSettings, url: str) -> None:
        pin_environment(url)
        self.model = model
        self.url = url
        self._said: dict[tuple[Message, ...], Reply] = {}
        self._transport = whole_prompts()
        self._chat = self._make_chat()

    def __enter__(self) -> Animator:
        return self

    def __exit__(self, *_: object) -> None:
        self._transport.close()

    def _make_chat(self) -> ChatOllama:
        import httpx
        from langchain_ollama import ChatOllama

        return ChatOllama(
            model=self.model.model,
            base_url=self.url,
            num_ctx=self.model.num_ctx,
            num_predict=self.model.num_predict,
            temperature=self.model.temperature,
            keep_alive=KEEP_ALIVE,
            reasoning=False,
            # A proxy in the environment must not see (or break) calls to this machine.
            client_kwargs={"trust_env": False, "timeout": httpx.Timeout(IDLE_SECONDS, connect=CONNECT_SECONDS)},
            # Ours to close: ChatOllama has no close of its own.
            sync_client_kwargs={"transport": self._transport},
        )

    def write(self, messages: Sequence[Message], seed: int, finished: Finished) -> Reply:
        """Ask for an answer and stream it until it ends or `finished(text so far)` gives a word for why it is enough.

        At temperature 0 a question that was asked before is not sent again: its answer is given back, at no cost.

        Raises:
            EndpointError: the server refused, failed, went away, or ended the stream without saying that it is done.
        """
        known = self._said.get(tuple(messages)) if self.model.temperature == 0 else None
        if known is not None:
            # At temperature 0 the same question has the same answer, whatever the seed.
            return replace(known, prompt_tokens=None, output_tokens=0, seconds=0.0)
        reply = self._stream(messages, seed, finished)
        self._said[tuple(messages)] = reply
        return reply

    def _stream(self, messages: Sequence[Message], seed: int, finished: Finished) -> Reply:
        # A copy shares the HTTP client; bind(options=...) would replace every other option instead.
        chat = self._chat.model_copy(update={"seed": seed})
        started = time.monotonic()
        text, chunks = "", 0
        metadata: dict[str, Any] = {}
        usage: UsageMetadata | None = None
        try:
            stream = chat.stream(list(messages))
            for chunk in stream:
                # langchain appends an empty chunk of its own after the server's last one.
                metadata.update(chunk.response_metadata)
                usage = getattr(chunk, "usage_metadata", None) or usage
                piece = chunk.text
                if not piece:
                    continue
                text += piece
                chunks += 1
                word = finished(text) if _worth_asking(piece) else ""
                if word:
                    stream.close()  # type: ignore[attr-defined]  # a generator, typed as Iterator
                    return Reply(text, word, None, chunks, time.monotonic() - started)
        except Exception as error:
            raise self._failure(error) from error
        if metadata.get("done") is not True:
            raise _unfinished(self.url, self.model.model, chunks)
        return Reply(
            text,
            str(metadata.get("done_reason") or "stop"),
            usage["input_tokens"] if usage else None,
            usage["output_tokens"] if usage else chunks,
            time.monotonic() - started,
        )

    def _failure(self, error: Exception) -> EndpointError:
        return _endpoint_error(self.url, self.model.model, error)


def _unfinished(url: str, model: str, tokens: int) -> EndpointError:
    return EndpointError(
        f"{url}: the answer of {model} ended without its last line (after {tokens} tokens): the server stopped in the "
        "middle",
        "Look at the server's log; what was measured so far is kept.",
    )


def _worth_asking(piece: str) -> bool:
    """Only a line end can complete a code block; asking less often keeps this linear."""
    return "\n" in piece or "`" in piece


def _endpoint_error(url: str, model: str, error: Exception) -> EndpointError:
    """What went wrong with the server, in one line, from any exception of httpx, ollama or litellm."""
    text = " ".join(str(error).split()) or type(error).__name__
    if "exceeds the available context size" in text or "input length exceeds the context length" in text:
        return EndpointError(
            f"{url}: the prompt does not fit into the window of {model}: {text[:400]}",
            "Raise num_ctx of this model in models.toml.",
        )
    return EndpointError(
        f"{url}: {model} gave no answer ({type(error).__name__}: {text[:400]})",
        "Look at the server's log; what was measured so far is kept.",
    )


class Reflector:
    """The reflector's model through LiteLLM, streamed, so that an answer can be ended when it is complete.

    Args:
        model: The role's settings.
        url: Address of the endpoint.
    """

    def __init__(self, model: ModelSettings, url: str) -> None:
        self.model = model
        self.url = url
        self._arguments = reflector_arguments(model, url)

    def write(self, prompt: str, seed: int, finished: Finished, longest: int, images: Sequence[bytes] = ()) -> Reply:
        """Ask for an answer and stream it until it ends or `finished(text so far)` gives a word for why it is enough.

        Args:
            prompt: The request.
            seed: The model's seed.
            finished: Asked at every line.
            longest: Most tokens of the answer; the model's own num_predict bounds it too.
            images: PNGs that the model is shown with the request, for a model that can see.

        Raises:
            EndpointError: the server refused, failed, went away, or ended the stream without saying that it is done.
        """
        started = time.monotonic()
        most = min(longest, self.model.num_predict)
        text, chunks, usage = "", 0, None
        try:
            with _quiet():
                stream, watched = self._stream(_content(prompt, images), seed, most)
                for part in stream:
                    usage = getattr(part, "usage", None) or usage
                    piece = (part.choices[0].delta.content if part.choices else None) or ""
                    if not piece:
                        continue
                    text += piece
                    chunks += 1
                    word = finished(text) if _worth_asking(piece) else ""
                    if word:
                        _hang_up(watched.inner)
                        return Reply(text, word, None, chunks, time.monotonic() - started)
        except Exception as error:
            raise _endpoint_error(self.url, self.model.model, error) from error
        if not watched.done:
            raise _unfinished(self.url, self.model.model, chunks)
        written = usage.completion_tokens if usage else chunks
        return Reply(
            text,
            # litellm's `ollama/` says "stop" whatever happened, so the count decides.
            "length" if written >= most else "stop",
            usage.prompt_tokens if usage else None,
            written,
            time.monotonic() - started,
        )

    def _stream(self, content: str | list[dict[str, Any]], seed: int, longest: int) -> tuple[Any, _Watched]:
        import litellm

        stream: Any = litellm.completion(
            messages=[{"role": "user", "content": content}],
            stream=True,
            stream_options={"include_usage": True},
            seed=seed,
            drop_params=True,
            **{**self._arguments, "max_tokens": longest},
        )
        watched = _Watched(stream.completion_stream)
        stream.completion_stream = watched
        return stream, watched


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


class _Watched:
    """The chunks under a LiteLLM stream, and whether the server said that it is done: LiteLLM says "stop" anyway."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.done = False

    def __iter__(self) -> _Watched:
        return self

    def __next__(self) -> Any:
        part = next(self.inner)
        if isinstance(part, dict):
            self.done = self.done or bool(part.get("is_finished"))
        else:
            self.done = self.done or any(choice.finish_reason for choice in part.choices)
        return part


def _hang_up(stream: Any) -> None:
    """Close the connection under the chunks of a LiteLLM stream: the server stops writing when its reader is gone."""
    response = getattr(stream, "http_response", None)
    if response is not None:
        response.close()
    close = getattr(getattr(stream, "streaming_response", None), "close", None)
    if close is not None:
        close()


def reflector_arguments(model: ModelSettings, url: str) -> dict[str, Any]:
    """Keyword arguments for gepa's LM (they go on to litellm.completion): the same window and life time as ChatOllama.

    `keep_alive` and `truncate` go through extra_body because `ollama/` would put them among the options; retries are
    off because litellm repeats a refused request at once, four times.
    """
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
        "think": False,
        "extra_body": {"keep_alive": KEEP_ALIVE, "truncate": False},
    }


def reflector_failure(model: ModelSettings, url: str, error: Exception) -> EndpointError:
    """Translate what litellm raised."""
    return _endpoint_error(url, model.model, error)


def _prepare_litellm(model: ModelSettings) -> None:
    import litellm

    litellm.suppress_debug_info = True
    litellm.telemetry = False
    # Without an entry litellm asks /api/show twice per completion.
    entry = {"max_tokens": model.num_ctx, "input_cost_per_token": 0.0, "output_cost_per_token": 0.0, "mode": "chat"}
    names = [f"{provider}/{model.model}" for provider in ("ollama", "ollama_chat")]
    litellm.register_model(
        {name: {**entry, "litellm_provider": name.split("/")[0]} for name in dict.fromkeys([*names, model.litellm])}
    )
