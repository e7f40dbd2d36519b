"""Whether a model reads the system message, which is all that a run changes; found by counting tokens.

A chat template may drop the system message (an Ollama model made from a GGUF gets `{{ .Prompt }}` if Ollama does not
know its template), or refuse it. Neither is an error that a run would notice.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from localgif.endpoint.received import number
from localgif.errors import LocalGifError, PreflightError

#: Much longer than the text that templates add when a request has no system message, and short enough for a slow CPU.
_WORDS = "amber basalt cedar dune ember fjord grove harbor island juniper kelp lagoon meadow nectar orchid pebble "
_SHORT, _LONG = 1, 5
QUESTION = "Answer with one word: yes."
#: At least this share of the words' tokens must arrive.
_SHARE = 0.5

#: A chat request -> the server's answer, an object of the Ollama API.
Asked = Callable[[dict[str, Any]], dict[str, Any]]


def moved(body: dict[str, Any], system: str) -> dict[str, Any]:
    """A request of the Ollama API; with system "user" its system texts stand at the head of the first user message."""
    if system != "user":
        return body
    if isinstance(prompt := body.get("prompt"), str):
        texts = [text for text in (body.get("system"), prompt) if text]
        return {**{name: value for name, value in body.items() if name != "system"}, "prompt": "\n\n".join(texts)}
    messages = body.get("messages") or []
    texts = [str(message.get("content") or "") for message in messages if message.get("role") == "system"]
    rest = [dict(message) for message in messages if message.get("role") != "system"]
    first = next((message for message in rest if message.get("role") == "user"), None)
    if not any(texts):
        return {**body, "messages": rest}
    if first is None:
        rest.insert(0, first := {"role": "user", "content": ""})
    first["content"] = "\n\n".join(text for text in (*texts, first.get("content") or "") if text)
    return {**body, "messages": rest}


def probes(body: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    """Three requests like `body`: a short system message, a long one, a short one with the rest before the question.

    Each begins with a word of its own. A server that had it in its cache might count only the tokens that it read anew.
    """

    def request(system: int, user: int) -> dict[str, Any]:
        texts = (f"{secrets.token_hex(4)} {_WORDS * system}", f"{_WORDS * user}{QUESTION}")
        roles = zip(("system", "user"), texts, strict=True)
        return {**body, "messages": [{"role": role, "content": text} for role, text in roles]}

    return request(_SHORT, 0), request(_LONG, 0), request(_SHORT, _LONG - _SHORT)


def check_system(place: str, name: str, table: str, ask: Asked, body: dict[str, Any]) -> str:
    """Ask a model three times for one token and compare what it read; returns a note if the server does not count.

    Args:
        place: The server, for messages; `name` is the model, `table` its place in models.toml.
        ask: Sends one chat request; raises a LocalGifError if the server refuses it.
        body: The fields of each request besides its messages.

    Raises:
        PreflightError: The model does not read the system message, or the server refuses one.
        LocalGifError: The server answers no request at all.
    """
    asked_for = probes(body)

    def counted() -> list[int | None]:
        return [number(ask(each).get("prompt_eval_count")) for each in asked_for]

    try:
        read = counted()
    except LocalGifError:
        ask(moved(asked_for[0], "user"))  # raises if something else than the system message is wrong
        try:
            read = counted()  # the server may only have been busy
        except LocalGifError as error:
            raise _unread(place, name, table, f"the server refuses it: {error.message}") from error
    if all(count is None for count in read):
        return (
            f"{place} does not say how many tokens {name} reads, "
            "so localgif cannot tell whether it reads the system message"
        )
    first, system, asked = (count or 0 for count in read)
    if asked - first < len(_WORDS.split()):  # it counts something else
        return f"{place} does not count what {name} reads, so localgif cannot tell whether it reads the system message"
    if system - first < _SHARE * (asked - first):
        tokens = f"{asked - first} tokens in the user's message and {max(0, system - first)} in the system message"
        raise _unread(place, name, table, f"the same words add {tokens}")
    return ""


def _unread(place: str, name: str, table: str, evidence: str) -> PreflightError:
    return PreflightError(
        f"{name} at {place} does not read the system message, which is all that a run changes: {evidence}",
        f'write system = "user" into {table} of models.toml: the text then stands at the head of the user\'s message; '
        "or give the model a chat template with a system part (an Ollama: TEMPLATE in its Modelfile, with "
        "{{ .System }}; llama.cpp and vLLM: --chat-template)",
        code="E-MODEL-SYSTEM",
    )
