"""One request to an endpoint with the server's own clock: how fast it reads and writes. Clients do not tell."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

from localgif.config import ModelSettings
from localgif.endpoint.clients import KEEP_ALIVE
from localgif.errors import EndpointError

#: A model may have to be loaded first, and a long prompt be read on a slow CPU.
PATIENCE_SECONDS = 600.0
_NANO = 1e9


@dataclass(frozen=True)
class Said:
    """An answer.

    Attributes:
        text: What was said.
        prompt_tokens: What the server says that it read; None when it does not say, like the next three.
        read_seconds: For the part of the prompt that was not in its cache.
        output_tokens: Written.
        write_seconds: For writing them.
        seconds: The whole request, as we saw it.
    """

    text: str
    prompt_tokens: int | None
    read_seconds: float | None
    output_tokens: int | None
    write_seconds: float | None
    seconds: float


def ask(url: str, model: ModelSettings, prompt: str, *, longest: int, seed: int = 1) -> Said:
    """Ask a model once, with the window of a run and its prompt never cut. No proxy.

    Args:
        url: Address of the endpoint.
        model: The role's settings.
        prompt: One user message.
        longest: Most tokens of the answer.
        seed: The model's seed.

    Raises:
        EndpointError: the server refuses, fails or goes away.
    """
    body = {
        "model": model.model,
        "messages": [{"role": "user", "content": prompt}],
        "stream": False,
        "think": False,
        "truncate": False,
        "keep_alive": KEEP_ALIVE,
        "options": {
            "num_ctx": model.num_ctx,
            "num_predict": longest,
            "temperature": model.temperature,
            "seed": seed,
        },
    }
    started = time.monotonic()
    answer = _post(f"{url}/api/chat", body)
    message = answer.get("message")
    text = message.get("content") if isinstance(message, dict) else None
    if not isinstance(text, str):
        raise EndpointError(f"{url}: the answer of {model.model} holds no text", "is this an Ollama server?")
    return Said(
        text,
        _count(answer.get("prompt_eval_count")),
        _seconds(answer.get("prompt_eval_duration")),
        _count(answer.get("eval_count")),
        _seconds(answer.get("eval_duration")),
        time.monotonic() - started,
    )


def _post(url: str, body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=PATIENCE_SECONDS) as response:
            answer = json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            said = error.read(2000).decode("utf-8", "replace")
        raise EndpointError(f"{url} answers {error.code}: {said}", "look at the server's log") from None
    except (OSError, ValueError) as error:
        raise EndpointError(f"{url} gave no answer: {error}", "look at the server's log") from None
    except Exception as error:  # http.client's own family
        what = f"{type(error).__name__} {error}"
        raise EndpointError(f"{url} gave no answer: {what}", "look at the server's log") from None
    if not isinstance(answer, dict):
        raise EndpointError(f"{url} does not answer with an object", "is this an Ollama server?")
    return answer


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _seconds(value: object) -> float | None:
    return value / _NANO if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 else None
