"""Which server is at an address, which models it has, and whether a run can use one. Asked before anything starts."""

from __future__ import annotations

import difflib
import functools
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from localgif.endpoint.ollama_reply import error_text
from localgif.endpoint.ollama_request import same_model
from localgif.endpoint.received import ANSWER_BYTES, number, read_json
from localgif.errors import EndpointError, EndpointUnreachable, LocalGifError, ModelMissing, PreflightError
from localgif.records import Dialect, RemoteModel

#: None of these answers needs a model: a server that takes longer is broken.
TIMEOUT_SECONDS = 5.0
#: One question to a model, which may have to be loaded first.
_ASK_SECONDS = 600.0
#: How long a server may answer that it is still loading, and how often localgif asks it.
LOAD_SECONDS = 900.0
POLL_SECONDS = 0.5
_SHOWN_NAMES = 5
#: Longest name that counts and longest other text of a server, characters; most abilities of a model.
_LONGEST, _MOST = 500, 50
#: Key of models.toml -> the capability that a server lists, and what the model can do with it.
_ABILITIES = {"vision": ("vision", "look at pictures"), "think": ("thinking", "think")}


# --- Ollama ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ServerInfo:
    """What a server of the Ollama API says about itself and one model; None where it says nothing."""

    version: str
    model: str
    """The name as the server lists it."""
    digest: str | None
    """sha256, hex."""
    capabilities: tuple[str, ...] | None
    """E.g. ("completion", "thinking"). An Ollama before 0.6.4 does not say."""
    context_length: int | None
    """The window that the model was trained for, tokens; not the one that will be allocated."""


@dataclass(frozen=True)
class Tag:
    """A model as a server lists it; None where the server says nothing."""

    name: str
    """With its tag, e.g. "llama3.2:3b"."""
    size: int | None
    """Bytes."""
    digest: str | None
    """sha256, hex."""
    entry: dict[str, Any]
    """The whole entry of the list."""


def check_ollama(url: str, model: str, cloud: bool = False) -> ServerInfo:
    """Ask the server at `url` for its version and for `model`; with `cloud`, the model may run elsewhere.

    Raises:
        PreflightError: The model runs elsewhere, and `cloud` is false.
        EndpointUnreachable: No server answers, or it does not speak the Ollama API.
        ModelMissing: The server does not list the model; the message names the nearest ones.
    """
    if not cloud:
        _refuse_cloud(url, model, {})
    version = _ask_ollama(url, "/api/version").get("version")
    if not isinstance(version, str):
        raise _not_ollama(url, "/api/version names no version")
    version = version[:_LONGEST]
    tags = list_models(url)
    found = _named(tags, model)
    if found is None:
        raise _missing(url, model, [tag.name for tag in tags], f"ollama pull {model}")
    # For a server without /api/show, the listing is enough.
    shown = found.entry | _shown(url, found.name)
    if not cloud:
        _refuse_cloud(url, found.name, shown)
    told = shown.get("model_info")
    info = told if isinstance(told, dict) else {}
    able = shown.get("capabilities")
    return ServerInfo(
        version=version,
        model=found.name,
        digest=found.digest,
        capabilities=tuple(str(each)[:_LONGEST] for each in able[:_MOST]) if isinstance(able, list) else None,
        context_length=next(
            (value for key, value in info.items() if key.endswith(".context_length") and isinstance(value, int)), None
        ),
    )


def check_abilities(url: str, server: ServerInfo, wanted: Sequence[str]) -> str:
    """A note for the user if the server does not say whether its model can do what models.toml wants; else "".

    `wanted` are the keys that are true, "vision" or "think". If the server says nothing, models.toml decides.

    Raises:
        PreflightError: The server lists what the model can do, and this is missing.
    """
    notes = []
    for key in wanted:
        capability, words = _ABILITIES[key]
        if server.capabilities is None:
            notes.append(
                f"{url} does not say whether {server.model} can {words}; localgif asks for it because of {key} = true "
                "(an Ollama says so from version 0.6.4 on; a model that cannot may ignore the request)"
            )
        elif capability not in server.capabilities:
            raise PreflightError(
                f"{server.model} at {url} cannot {words}, and models.toml says {key} = true: the server lists "
                f"its capabilities as {', '.join(server.capabilities) or 'none'}",
                f"name a model with the capability {capability} (ollama show {server.model} lists them), "
                f"or remove the line {key} = true",
                code="E-MODEL-VISION" if key == "vision" else "E-MODEL-THINK",
            )
    return "\n".join(notes)


def list_models(url: str, path: str = "/api/tags") -> tuple[Tag, ...]:
    """Every model of the server at `url`, in its order; with "/api/ps" those that are loaded.

    Raises:
        EndpointUnreachable: No server answers, or it does not speak the Ollama API.
    """
    listed = _ask_ollama(url, path).get("models")
    found = []
    for entry in listed if isinstance(listed, list) else []:
        name = (entry.get("model") or entry.get("name")) if isinstance(entry, dict) else None
        if isinstance(name, str) and len(name) <= _LONGEST:
            size, digest = entry.get("size"), entry.get("digest")
            known = digest.removeprefix("sha256:") if isinstance(digest, str) and digest else None
            found.append(Tag(name, size if isinstance(size, int) else None, known, entry))
    return tuple(found)


def _named(tags: Sequence[Tag], model: str) -> Tag | None:
    return next((tag for tag in tags if same_model(tag.name, model)), None)


def listed_weights(url: str, model: str) -> str | None:
    """The sha256 that the server lists for `model` now; None if it does not answer, say, or have the model."""
    try:
        found = _named(list_models(url), model)
    except PreflightError:
        return None
    return found.digest if found is not None else None


def _shown(url: str, model: str) -> dict[str, Any]:
    """What /api/show says; an empty object from a server that refuses to show this model, or anything."""
    response = _answer(url.rstrip("/"), "/api/show", {"model": model}, {}, _not_ollama, _START_OLLAMA)
    if 400 <= response.status_code < 500 or response.status_code == 501:
        return {}
    value = _json(url, "/api/show", response, _not_ollama)
    return value if isinstance(value, dict) else {}


def licence_of(url: str, model: str) -> str | None:
    """The first line of the licence that a server shows for a model, or None. Raises as `list_models` does."""
    shown = _shown(url, model).get("license")
    lines = [line.strip() for line in shown.splitlines()] if isinstance(shown, str) else []
    return next((line[:60] for line in lines if line), None)


def allocated_window(url: str, model: str) -> int | None:
    """Tokens that a loaded model can really use, None if the server does not say. Raises as `list_models` does."""
    found = _named(list_models(url, "/api/ps"), model)
    return (_number(found.entry.get("context_length")) or None) if found is not None else None


def _refuse_cloud(url: str, model: str, said: dict[str, Any]) -> None:
    """Refuse a model of Ollama's cloud: its tag is or ends in "cloud", or the server names a remote host or model."""
    where = str(said.get("remote_host") or "")[:_LONGEST]
    tag = model.lower().rpartition(":")[2]
    if where or said.get("remote_model") or tag == "cloud" or tag.endswith("-cloud"):
        raise PreflightError(
            f"{model} at {url} does not run there: the server sends its prompts to {where or 'the cloud'}",
            "name a model whose weights are on the machine (ollama list shows their size; OLLAMA_NO_CLOUD=1 keeps a "
            "server from offering others), or write offline = false at the top of models.toml",
            code="E-MODEL-CLOUD",
        )


# --- OpenAI-compatible servers ---------------------------------------------------------------------------------------
# Three kinds are known: llama.cpp's own (`owned_by` "llamacpp", `meta`, /props), vLLM (`owned_by` "vllm",
# `max_model_len`, /version), and others, which only need to list the names of their models.


def find_models(url: str, key: str = "") -> tuple[RemoteModel, ...]:
    """The models of a server; waits while it says that it is loading.

    Args:
        url: With `/v1` at its end, e.g. "http://127.0.0.1:8000/v1".
        key: Bearer token; empty if the server wants none.

    Raises:
        EndpointUnreachable: No server answers, it is not OpenAI-compatible, or it wants another key.
    """
    deadline = time.monotonic() + LOAD_SECONDS
    while (listed := _ask_openai(url, "/models", key, deadline)) is None:
        time.sleep(POLL_SECONDS)
    entries = listed.get("data") if isinstance(listed, dict) else None
    if not isinstance(entries, list):
        raise _not_openai(url, "/models lists no models")
    named = [entry for entry in entries if isinstance(entry, dict) and isinstance(entry.get("id"), str)]
    named = [entry for entry in named if 0 < len(entry["id"]) <= _LONGEST]
    owners = {entry.get("owned_by") for entry in named if isinstance(entry.get("owned_by"), str)}
    root = url.removesuffix("/v1")
    dialect: Dialect = "other"
    server, props = "OpenAI-compatible server", {}
    if "vllm" in owners or any("max_model_len" in entry for entry in named):
        dialect = "vllm"
        server = f"vLLM {_extra(root, '/version', key).get('version') or ''}"[:_LONGEST].rstrip()
    elif "llamacpp" in owners:
        dialect, props = "llama.cpp", _extra(root, "/props", key)
        server = f"llama.cpp {props.get('build_info') or ''}"[:_LONGEST].rstrip()
    return tuple(_remote_model(entry, root, key, dialect, server, props) for entry in named)


def find_model(url: str, key: str, name: str, num_ctx: int, where: str) -> RemoteModel:
    """One model of the server, with a window that is known and has `num_ctx` tokens; `where` is its table.

    Raises:
        EndpointUnreachable: As `find_models` does.
        ModelMissing: The server does not list the model; the message names the nearest ones.
        PreflightError: Its window is smaller than `num_ctx`.
    """
    models = find_models(url, key)
    found = next((model for model in models if same_model(model.name, name)), None)
    if found is None:
        names = [model.name for model in models]
        raise _missing(url, name, names, "write the server's own name for it into models.toml")
    if found.window and found.window < num_ctx:
        raise PreflightError(
            f"{url} serves {found.name} with a window of {found.window} tokens, but num_ctx is {num_ctx}",
            f"write num_ctx = {found.window} into {where} of models.toml, or start the server with a larger window "
            "(vLLM: --max-model-len; llama.cpp: -c, which is shared by its -np slots)",
            code="E-WINDOW",
        )
    return found if found.window else found.model_copy(update={"window": num_ctx})


def _remote_model(
    entry: dict[str, Any], root: str, key: str, dialect: Dialect, server: str, props: dict[str, Any]
) -> RemoteModel:
    meta, settings = (
        value if isinstance(value, dict) else {}
        for value in (entry.get("meta"), props.get("default_generation_settings"))
    )
    template, quantisation = props.get("chat_template"), meta.get("ftype")
    return RemoteModel(
        name=entry["id"],
        url=root,
        key=key,
        dialect=dialect,
        server=server,
        # Older llama.cpp servers tell the window of one slot in /props only.
        window=_number(entry.get("max_model_len")) or _number(meta.get("n_ctx")) or _number(settings.get("n_ctx")),
        slots=_number(props.get("total_slots")),
        context_length=_number(meta.get("n_ctx_train")),
        parameters=_number(meta.get("n_params")),
        size=_number(meta.get("size")),
        created=_number(entry.get("created")),
        quantisation=quantisation[:_LONGEST] if isinstance(quantisation, str) and quantisation else "unknown",
        template=template if isinstance(template, str) else None,
    )


def _number(value: object) -> int:
    """A positive whole number, else 0."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**62 else 0


def _extra(root: str, path: str, key: str) -> dict[str, Any]:
    """An optional answer of a server; an empty object if it refuses."""
    try:
        value = _ask_openai(root, path, key)
    except EndpointUnreachable:
        return {}
    return value if isinstance(value, dict) else {}


# --- asking ----------------------------------------------------------------------------------------------------------


@functools.cache
def _client() -> httpx.Client:
    """One client for all questions, without a proxy and without kept connections."""
    return httpx.Client(trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))


def _ask_object(
    url: str,
    path: str,
    body: dict[str, Any] | None,
    wrong: Callable[[str, str], LocalGifError],
    remedy: str,
    seconds: float = TIMEOUT_SECONDS,
) -> dict[str, Any]:
    """One JSON object from a server (GET, or POST with a body) that is silent for at most `seconds`.

    Raises:
        EndpointUnreachable: No server answers; the user reads `remedy`.
        LocalGifError: What `wrong` makes of the address and the reason, for any other answer.
    """
    url = url.rstrip("/")
    value = _json(url, path, _answer(url, path, body, {}, wrong, remedy, seconds), wrong)
    if not isinstance(value, dict):
        raise wrong(url, f"{path} does not answer with an object")
    return value


_START_OLLAMA = "start the server: ollama serve"


def _ask_ollama(url: str, path: str) -> dict[str, Any]:
    return _ask_object(url, path, None, _not_ollama, _START_OLLAMA)


def ask_once(url: str, body: dict[str, Any], place: str | None = None) -> dict[str, Any]:
    """The whole answer to one chat request of the Ollama API; `place` is the server's address for messages.

    Raises:
        LocalGifError: The server does not answer, or refuses.
    """

    def wrong(_: str, reason: str) -> EndpointError:
        return _unanswered(place or url, reason)

    return _ask_object(url, "/api/chat", body, wrong, "start the server", _ASK_SECONDS)


def ask_remote_once(model: RemoteModel, body: dict[str, Any]) -> dict[str, Any]:
    """As `ask_once`, from an OpenAI-compatible server; the answer holds the count of the prompt only."""
    headers = {"Authorization": f"Bearer {model.key}"} if model.key else {}
    asked = {"model": model.name, "messages": body["messages"], "max_tokens": 1, "temperature": 0.0}
    path = "/v1/chat/completions"
    response = _answer(model.url, path, asked, headers, _unanswered, "start the server", _ASK_SECONDS)
    value = _json(model.url, path, response, _unanswered)
    usage = value.get("usage") if isinstance(value, dict) else None
    return {"prompt_eval_count": usage.get("prompt_tokens") if isinstance(usage, dict) else None}


def _ask_openai(url: str, path: str, key: str, deadline: float = 0.0) -> Any:
    """JSON from the server; None while it is loading, until `deadline` on the monotonic clock."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    response = _answer(url, path, None, headers, _not_openai, "start the server, or correct its url in models.toml")
    if response.status_code == 503 and b"oading" in response.content and time.monotonic() < deadline:
        return None
    if response.status_code in (401, 403):
        given = "refuses the key that it was given" if key else "wants an API key"
        raise EndpointUnreachable(
            f"{url} {given} ({response.status_code} {response.reason_phrase})",
            'name the variable that holds the key in its table of models.toml, e.g. api_key_env = "VLLM_API_KEY"',
            code="E-API-KEY-REFUSED",
        )
    return _json(url, path, response, _not_openai)


def _answer(
    url: str,
    path: str,
    body: dict[str, Any] | None,
    headers: dict[str, str],
    wrong: Callable[[str, str], LocalGifError],
    remedy: str,
    seconds: float = TIMEOUT_SECONDS,
) -> httpx.Response:
    """The whole answer; `wrong` for one that is too large or takes twice as long as the server may be silent."""
    method, headers = "GET" if body is None else "POST", {**headers, "Accept-Encoding": "identity"}
    deadline, content = time.monotonic() + 2 * seconds, bytearray()
    try:
        with _client().stream(method, url + path, json=body, headers=headers, timeout=seconds) as response:
            if (coding := response.headers.get("Content-Encoding", "identity").lower()) != "identity":
                raise wrong(url, f"the answer to {path} is compressed ({coding}), and localgif asks for plain text")
            for block in response.iter_raw():
                content += block
                if len(content) > ANSWER_BYTES or time.monotonic() > deadline:
                    raise wrong(url, f"the answer to {path} does not end ({len(content):,} bytes so far)")
            return httpx.Response(response.status_code, content=bytes(content))
    except (httpx.NetworkError, httpx.TimeoutException) as error:
        raise EndpointUnreachable(f"no answer from {url}: {error}", remedy) from None
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:  # not an address, or not HTTP
        raise wrong(url, f"{path}: {type(error).__name__} {error}") from None


def _json(url: str, path: str, response: httpx.Response, wrong: Callable[[str, str], LocalGifError]) -> Any:
    if response.status_code != 200:
        words = " ".join(error_text(response.text).split())[:300]
        raise wrong(url, f"{path} answers {response.status_code} {response.reason_phrase}: {words}")
    try:
        return read_json(response.content)
    except ValueError as error:
        raise wrong(url, f"{path}: {error}") from None


def _unanswered(url: str, reason: str) -> EndpointError:
    return EndpointError(f"{url} did not answer the question: {reason}", "read the server's log")


def _not_ollama(url: str, reason: str) -> EndpointUnreachable:
    return EndpointUnreachable(
        f"{url} does not speak the Ollama API: {reason}",
        "check the url of this endpoint in models.toml",
        code="E-NOT-OLLAMA",
    )


def _not_openai(url: str, reason: str) -> EndpointUnreachable:
    return EndpointUnreachable(
        f"{url} is not an OpenAI-compatible server: {reason}",
        "check the address; it ends with /v1 for most servers",
        code="E-NOT-OPENAI",
    )


def _missing(url: str, model: str, names: list[str], remedy: str) -> ModelMissing:
    """The error for a model that a server does not have; lists its most similar names first."""
    near = difflib.get_close_matches(model, names, n=_SHOWN_NAMES, cutoff=0.4) or names[:_SHOWN_NAMES]
    has = f"it has {', '.join(near)}" if near else "it has no models"
    return ModelMissing(f"{url} has no model {model!r}; {has}", remedy)


# --- the system message -----------------------------------------------------------------------------------------------
#
# It is all that a run changes. A chat template may drop it (an Ollama model made from a GGUF gets `{{ .Prompt }}` if
# Ollama does not know its template), or refuse it. Neither is an error that a run would notice: tokens are counted.

#: Much longer than the text that templates add when a request has no system message, and short enough for a slow CPU.
_WORDS = "amber basalt cedar dune ember fjord grove harbor island juniper kelp lagoon meadow nectar orchid pebble "
_SHORT, _LONG = 1, 5
SYSTEM_QUESTION = "Answer with one word: yes."
#: At least this share of the words' tokens must arrive.
_SHARE = 0.5

#: A chat request -> the server's answer, an object of the Ollama API.
Asked = Callable[[dict[str, Any]], dict[str, Any]]


def with_system_at(body: dict[str, Any], system: str) -> dict[str, Any]:
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


def _probes(body: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    """Three requests like `body`: a short system message, a long one, a short one with the rest before the question.

    Each begins with a word of its own. A server that had it in its cache might count only the tokens that it read anew.
    """

    def request(system: int, user: int) -> dict[str, Any]:
        texts = (f"{secrets.token_hex(4)} {_WORDS * system}", f"{_WORDS * user}{SYSTEM_QUESTION}")
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
    asked_for = _probes(body)

    def counted() -> list[int | None]:
        return [number(ask(each).get("prompt_eval_count")) for each in asked_for]

    try:
        read = counted()
    except LocalGifError:
        ask(with_system_at(asked_for[0], "user"))  # raises if something else than the system message is wrong
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
