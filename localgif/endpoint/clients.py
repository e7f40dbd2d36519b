"""The two clients of an endpoint: ChatOllama for the animator, LiteLLM for the reflector.

No other module imports them, because this one works around their habits: litellm sends /api/show to another address
than the one it was given, downloads a price list on import, and retries a refused request three times within a second.
http.py judges what came over the wire and decides on retries.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from queue import LifoQueue
from typing import TYPE_CHECKING, Any

from localgif.endpoint.http import Failed, Failure, Patience, Wire, explain
from localgif.endpoint.ollama_reply import cut_silently
from localgif.errors import EndpointError
from localgif.offline import cause, pin_environment
from localgif.records import Reply
from localgif.settings import ModelSettings

if TYPE_CHECKING:
    from langchain_ollama import ChatOllama

#: A message: ("system" | "user" | "assistant", text).
Message = tuple[str, str]

#: Receives the text so far while an answer streams; returns "" to go on, or the reason to stop: "closed" or "loop".
Finished = Callable[[str], str]

#: Longest silence between two parts of an answer.
BETWEEN_SECONDS = 180.0
#: Longest silence before its first byte. A small model on a slow CPU may read a long prompt for minutes.
IDLE_SECONDS = 900.0
#: Longest time of a whole reflection with its queueing, because gepa's LM does not stream.
_REFLECTION_SECONDS = 3600.0
KEEP_ALIVE = "30m"


def _ignore(_: object) -> None: ...


@dataclass(frozen=True)
class _Part:
    """One chunk of a stream; counts and reason come with the last ones."""

    text: str = ""
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    done_reason: str = ""


class _Client:
    """What both roles share: one endpoint, one wire, one way to read a stream. `notice` receives each retry."""

    def __init__(self, model: ModelSettings, url: str, notice: Callable[[str], None] = _ignore) -> None:
        pin_environment(url)
        self.model = model
        self.url = url
        self._patience = Patience(url, model.model, notice, model.endpoint.url)
        self._wire = Wire(self._patience, BETWEEN_SECONDS, model.system)
        self.on_token: Callable[[int], object] = _ignore
        """Receives the number of tokens so far while an answer streams."""
        #: The animator's answers at temperature 0.
        self._known: dict[tuple[Message, ...], Reply] = {}

    def _read(self, parts: Generator[_Part, None, None], prompt: str, finished: Finished, beginning: str = "") -> Reply:
        """One attempt; raises `Failed` if there is no usable answer. `beginning` is what the answer must continue."""
        started = time.monotonic()
        text, chunks, reason, word = "", 0, "stop", ""
        read = counted = None
        try:
            with contextlib.closing(parts):
                for part in parts:
                    read = read if part.prompt_tokens is None else part.prompt_tokens
                    counted = counted if part.output_tokens is None else part.output_tokens
                    reason = part.done_reason or reason
                    if not part.text:
                        continue
                    chunks += 1
                    self.on_token(chunks)
                    text += part.text
                    # Only a line end or a fence can complete a code block; asking less often keeps this linear. A
                    # continuation has only a few tokens.
                    ask = beginning or "\n" in part.text or "`" in part.text
                    word = finished(joined(beginning, text)) if ask else ""
                    if word:
                        self._wire.hang_up()
                        break
        except Exception as error:
            raise cause(error) or self._wire.failed(error) from error
        if word:
            reason, read, counted = word, self._wire.prompt, None
        written = chunks + self._wire.swallowed if counted is None else counted
        seconds = time.monotonic() - started
        reply = Reply(joined(beginning, text), reason, read, written, seconds, self._wire.cached)
        if not word:
            self._check(reply, prompt)
        return reply

    def _check(self, reply: Reply, prompt: str) -> None:
        """Raise `Failed` unless this is a whole answer to the whole prompt.

        A model that may think, and only thinks, has answered with an empty text, which is scored as such.
        """
        self._wire.check_done(f"after {reply.output_tokens} tokens")
        read = reply.prompt_tokens
        if read and cut_silently(prompt, read):
            raise Failed(Failure("window", f"the server read only {read} tokens of it and silently dropped the rest"))
        if not self.model.think and not reply.text and reply.done_reason == "length":
            raise Failed(Failure("thought", f"all {reply.output_tokens} tokens of num_predict"))


def joined(beginning: str, text: str) -> str:
    """The whole answer of a model that was given its beginning.

    Where the chat template closes every message, the model starts a new answer instead, with a fence or an import; some
    servers return the beginning again. A line break in front marks an answer that does not continue.
    """
    return f"\n{text}" if beginning and _restarted(text) else beginning + text


def _restarted(text: str) -> bool:
    """Whether a model began a new answer instead of continuing one."""
    return text.lstrip().startswith(("```", "import ", "from "))


class Animator(_Client):
    """The animator's model, through ChatOllama. A context manager: leaving it closes the connections."""

    #: Whether the server continues an answer whose beginning is the last message; found out by the first reply.
    _continues = True

    def __enter__(self) -> Animator:
        return self

    def __exit__(self, *_: object) -> None:
        self._wire.close()

    @functools.cached_property
    def _chat(self) -> ChatOllama:
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
            client_kwargs={"trust_env": False, "timeout": IDLE_SECONDS},
            # We close it: ChatOllama has no close of its own.
            sync_client_kwargs={"transport": self._wire},
        )

    def write(self, messages: Sequence[Message], seed: int, finished: Finished) -> Reply:
        """Ask for an answer and stream it until it ends or `finished(text so far)` gives a reason to stop.

        A last message of role assistant is the beginning of the answer, and part of the reply's text. If the server
        does not continue it, later requests leave it out.

        At temperature 0 a repeated question gets the stored answer at no cost.

        Raises:
            EndpointError: The server refused, or failed and did not recover in time.
        """
        known = self._known.get(tuple(messages)) if self.model.temperature == 0 else None
        if known is not None:
            return replace(known, prompt_tokens=None, output_tokens=0, seconds=0.0, cached_tokens=None)
        sent = messages if self._continues or messages[-1][0] != "assistant" else messages[:-1]
        beginning = sent[-1][1] if sent[-1][0] == "assistant" else ""
        prompt = "\n".join(said for _, said in sent)
        # A copy shares the HTTP client; bind(options=...) would replace every other option instead.
        chat = self._chat.model_copy(update={"seed": seed})
        reply = self._patience.ask(lambda: self._read(_chat_parts(chat, sent), prompt, finished, beginning))
        if beginning and not reply.text.startswith(beginning):
            self._continues = False
        self._known[tuple(messages)] = reply
        return reply


class Animators:
    """`count` clients of the animator's model, for that many answers at a time; a context manager as `Animator`."""

    def __init__(self, model: ModelSettings, url: str, notice: Callable[[str], None], count: int) -> None:
        self._all = [Animator(model, url, notice) for _ in range(count)]
        self._clock = _Shares()
        # The client that was used last goes first, so requests one at a time share one client.
        self._idle: LifoQueue[Animator] = LifoQueue()
        for animator in self._all:
            self._idle.put(animator)

    def __enter__(self) -> Animators:
        return self

    def __exit__(self, *raised: object) -> None:
        for animator in self._all:
            animator.__exit__(*raised)

    def write(self, messages: Sequence[Message], seed: int, finished: Finished) -> Reply:
        """As `Animator.write`; may be called from several threads, and waits for a client that is not in use.

        The reply's seconds are its share of the time, so that all replies together took the time that passed.
        """
        animator = self._idle.get()
        try:
            with self._clock.measured() as share:
                reply = animator.write(messages, seed, finished)
            return replace(reply, seconds=reply.seconds * share())
        finally:
            self._idle.put(animator)


class _Shares:
    """Divides time among the requests that are being answered."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._active = 0
        self._at = self._each = 0.0
        """When the number of requests changed last, and the time that each one had until then."""

    @contextlib.contextmanager
    def measured(self) -> Iterator[Callable[[], float]]:
        """A request; afterwards the function returns which share of its time it had, more than 0 and at most 1."""
        began, each = self._change(1)
        ended = total = 0.0

        def share() -> float:
            return min(1.0, (total - each) / (ended - began)) if ended > began else 1.0

        try:
            yield share
        finally:
            ended, total = self._change(-1)

    def _change(self, by: int) -> tuple[float, float]:
        with self._lock:
            now = time.monotonic()
            if self._active:
                self._each += (now - self._at) / self._active
            self._at = now
            self._active += by
            return now, self._each


def _chat_parts(chat: ChatOllama, messages: Sequence[Message]) -> Generator[_Part, None, None]:
    for chunk in chat.stream(list(messages)):
        # langchain appends an empty chunk of its own after the server's last one.
        usage = getattr(chunk, "usage_metadata", None) or {}
        reason = str(chunk.response_metadata.get("done_reason") or "")
        yield _Part(chunk.text, usage.get("input_tokens"), usage.get("output_tokens"), reason)


class Reflector(_Client):
    """The reflector's model, through LiteLLM; streamed, so that a complete answer can be ended early."""

    def write(self, prompt: str, seed: int, finished: Finished, longest: int, images: Sequence[bytes] = ()) -> Reply:
        """As `Animator.write`, for at most `longest` tokens; `images` are PNGs to show to a model that can see."""
        asked = {
            **self._arguments,
            "messages": [{"role": "user", "content": _content(prompt, images)}],
            "seed": seed,
            "max_tokens": min(longest, self.model.num_predict),
        }
        return self._patience.ask(lambda: self._read(_litellm_parts(asked), prompt, finished))

    @functools.cached_property
    def _arguments(self) -> dict[str, Any]:
        return _litellm_arguments(self.model, self.url, self._wire, IDLE_SECONDS)


def _litellm_parts(arguments: dict[str, Any]) -> Generator[_Part, None, None]:
    import litellm

    chunks, read, written = 0, None, None
    with _quiet():
        stream: Any = litellm.completion(
            **arguments, stream=True, stream_options={"include_usage": True}, drop_params=True
        )
        for part in stream:
            if (usage := getattr(part, "usage", None)) is not None:
                read, written = usage.prompt_tokens, usage.completion_tokens
            text = (part.choices[0].delta.content if part.choices else None) or ""
            chunks += bool(text)
            yield _Part(text)
    # litellm's `ollama/` says "stop" whatever happened, so the count decides.
    written = chunks if written is None else written
    yield _Part("", read, written, "length" if written >= arguments["max_tokens"] else "stop")


def reflector_arguments(model: ModelSettings, url: str, notice: Callable[[str], None] = _ignore) -> dict[str, Any]:
    """Keyword arguments for gepa's LM, which hands them to litellm.completion; failures are retried on the wire."""
    pin_environment(url)
    wire = Wire(Patience(url, model.model, notice, model.endpoint.url), system=model.system)
    return _litellm_arguments(model, url, wire, _REFLECTION_SECONDS)


def reflector_failure(model: ModelSettings, url: str, error: Exception) -> EndpointError:
    """Translate what gepa's LM raised: our own error, which litellm wraps, or litellm's error about the answer."""
    failure = Failure("garbled", f"{type(error).__name__}: {error}")
    return cause(error) or explain(model.endpoint.url or url, model.model, [failure], 0.0)


def _litellm_arguments(model: ModelSettings, url: str, wire: Wire, seconds: float) -> dict[str, Any]:
    """Keyword arguments for litellm.completion: the same window and keep_alive as ChatOllama's.

    `keep_alive` and `truncate` go through extra_body because `ollama/` would put them among the options. Retries are
    off because litellm repeats a refused request four times at once.
    """
    import httpx
    import litellm
    from litellm.llms.custom_httpx.http_handler import HTTPHandler

    litellm.suppress_debug_info = True
    litellm.telemetry = False
    # A model that repeats itself has written a bad answer, which we end; that is not a failure of the server.
    litellm.REPEATED_STREAMING_CHUNK_LIMIT = 2**31
    # Without an entry litellm asks /api/show twice per completion.
    entry = {"max_tokens": model.num_ctx, "input_cost_per_token": 0.0, "output_cost_per_token": 0.0, "mode": "chat"}
    names = {f"ollama/{model.model}", f"ollama_chat/{model.model}", model.litellm}
    litellm.register_model({name: {**entry, "litellm_provider": name.split("/")[0]} for name in names})
    return {
        "model": model.litellm,
        "temperature": model.temperature,
        "max_tokens": model.num_predict,
        "num_ctx": model.num_ctx,
        "api_base": url,
        "num_retries": 0,
        "timeout": seconds,
        "think": model.think,
        "extra_body": {"keep_alive": KEEP_ALIVE, "truncate": False},
        "client": HTTPHandler(client=httpx.Client(transport=wire, trust_env=False, follow_redirects=True)),
    }


def _content(prompt: str, images: Sequence[bytes]) -> str | list[dict[str, Any]]:
    """The content of a message. LiteLLM puts each PNG into `images`, byte for byte (other formats become JPEGs)."""
    if not images:
        return prompt
    urls = (f"data:image/png;base64,{base64.b64encode(image).decode('ascii')}" for image in images)
    return [{"type": "text", "text": prompt}, *({"type": "image_url", "image_url": {"url": url}} for url in urls)]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """LiteLLM's stream types make pydantic warn about their own declarations, which does not concern the user."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*`ReadOnly` qualifier", category=UserWarning)
        yield
