"""Which server is at an address, what models it has, and what a run needs of it."""

from __future__ import annotations

import difflib
import json
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from localgif.endpoint.ollama_request import same_model
from localgif.errors import EndpointUnreachable, ModelMissing, PreflightError
from localgif.records import Dialect, RemoteModel

#: These three answers need no model: a server that takes longer than this is not well.
TIMEOUT_SECONDS = 5.0

_SHOWN_NAMES = 5

#: Key of models.toml -> the capability that a server lists, and what the model can do with it.
_ABILITIES = {"vision": ("vision", "look at pictures"), "think": ("thinking", "think")}


@dataclass(frozen=True)
class ServerInfo:
    """What the server says about itself and one model.

    Attributes:
        version: Of the server, e.g. "0.33.0".
        model: The model's name as the server lists it.
        digest: sha256 of the model; None when the server does not say.
        details: Family, size, quantisation, as the server words them.
        capabilities: E.g. ("completion", "thinking"); None when the server does not say (an Ollama before 0.6.4).
        context_length: The window that the model was trained for, tokens; not the one that will be allocated.
    """

    version: str
    model: str
    digest: str | None
    details: dict[str, Any] = field(default_factory=dict)
    capabilities: tuple[str, ...] | None = None
    context_length: int | None = None


def check_ollama(url: str, model: str, cloud: bool = False) -> ServerInfo:
    """Ask the server at `url` for its version and for `model`. No proxy: an endpoint is local.

    Args:
        cloud: Whether a model will do that the server has computed by somebody else.

    Raises:
        PreflightError: The model is such a one, and it will not.
        EndpointUnreachable: Nobody answers, or something that is no Ollama server.
        ModelMissing: The server lists no such model; the message names the nearest that it has.
    """
    url = url.rstrip("/")
    if not cloud:
        _refuse_cloud(url, model, {})
    version = _get(url, "/api/version").get("version")
    if not isinstance(version, str):
        raise _not_ollama(url, "/api/version names no version")
    entries = _listed(url)
    found = next((entry for entry in entries if same_model(_name(entry), model)), None)
    if found is None:
        raise missing(url, model, [_name(entry) for entry in entries], f"ollama pull {model}")
    name = _name(found)
    shown = _get(url, "/api/show", {"model": name})
    if not cloud:
        _refuse_cloud(url, name, found | shown)
    info = shown.get("model_info") or {}
    able = shown.get("capabilities")
    return ServerInfo(
        version=version,
        model=name,
        digest=_digest(found),
        details=shown.get("details") or found.get("details") or {},
        capabilities=tuple(map(str, able)) if isinstance(able, list) else None,
        context_length=next(
            (value for key, value in info.items() if key.endswith(".context_length") and isinstance(value, int)), None
        ),
    )


def listed_weights(url: str, model: str) -> str | None:
    """The sha256 that the server lists for `model` now; None when it does not answer, does not say, or has none."""
    try:
        return next((_digest(entry) for entry in _listed(url.rstrip("/")) if same_model(_name(entry), model)), None)
    except PreflightError:
        return None


def _listed(url: str) -> list[dict[str, Any]]:
    listed = _get(url, "/api/tags").get("models")
    return [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []


def _name(entry: dict[str, Any]) -> str:
    return str(entry.get("model") or entry.get("name") or "")


def _digest(entry: dict[str, Any]) -> str | None:
    digest = entry.get("digest")
    return digest.removeprefix("sha256:") if isinstance(digest, str) and digest else None


def _refuse_cloud(url: str, model: str, said: dict[str, Any]) -> None:
    """Ollama's own servers compute models whose tag is or ends in "cloud"; any name can stand for one of them.

    Raises:
        PreflightError: It is one of these.
    """
    where = said.get("remote_host")
    tag = model.lower().rpartition(":")[2]
    if where or said.get("remote_model") or tag == "cloud" or tag.endswith("-cloud"):
        raise PreflightError(
            f"{model} at {url} does not run there: the server sends what it is asked to {where or 'the cloud'}",
            "name a model whose weights are on the machine (ollama list shows their size; OLLAMA_NO_CLOUD=1 keeps a "
            "server from offering others), or write offline = false at the top of models.toml",
            code="E-MODEL-CLOUD",
        )


def check_abilities(url: str, server: ServerInfo, wanted: Sequence[str]) -> str:
    """Whether the model of check_ollama can do what models.toml wants of it.

    A server that says nothing is believed to have what the user says it has: other servers of this API, and an Ollama
    before 0.6.4, have models that see or think and no word for it.

    Args:
        url: The server's address.
        server: What it said.
        wanted: Keys of models.toml that are true, "vision" or "think".

    Returns:
        "" when the server says that it can, else a note for the user.

    Raises:
        PreflightError: The server says what the model can do, and this is not among it.
    """
    notes = []
    for key in wanted:
        capability, words = _ABILITIES[key]
        if server.capabilities is None:
            notes.append(
                f"{url} does not say whether {server.model} can {words}; it is asked to because of {key} = true "
                "(an Ollama says so from version 0.6.4 on; a model that cannot may just ignore it)"
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


def _get(url: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """One JSON object from the server; GET, or POST with a body."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url + path, data=data, headers={"Content-Type": "application/json"})
        with opener.open(request, timeout=TIMEOUT_SECONDS) as response:
            value = json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            raise _not_ollama(url, f"{path} answers {error.code} {error.reason}") from None
    except OSError as error:  # URLError and timeouts are among them
        reason = getattr(error, "reason", None) or error
        raise EndpointUnreachable(
            f"no answer from {url}: {reason}", "is the server running? try: ollama serve"
        ) from None
    except ValueError as error:  # no URL, or no JSON
        raise _not_ollama(url, f"{path}: {error}") from None
    except Exception as error:  # http.client's own family: something that does not speak HTTP
        raise _not_ollama(url, f"{path}: {type(error).__name__} {error}") from None
    if not isinstance(value, dict):
        raise _not_ollama(url, f"{path} does not answer with an object")
    return value


def _not_ollama(url: str, reason: str) -> EndpointUnreachable:
    return EndpointUnreachable(
        f"{url} does not speak the Ollama API: {reason}",
        "check the url of this endpoint in models.toml",
        code="E-NOT-OLLAMA",
    )


def missing(url: str, model: str, names: list[str], remedy: str) -> ModelMissing:
    """A server does not have a model: what it has instead, the most similar names first."""
    near = difflib.get_close_matches(model, names, n=_SHOWN_NAMES, cutoff=0.4) or names[:_SHOWN_NAMES]
    has = f"it has {', '.join(near)}" if near else "it has no models"
    return ModelMissing(f"{url} has no model {model!r}; {has}", remedy)


@dataclass(frozen=True)
class Tag:
    """A model as a server lists it.

    Attributes:
        name: With its tag, e.g. "llama3.2:3b".
        size: Bytes; None when the server does not say, as for the digest.
        digest: sha256, hex.
    """

    name: str
    size: int | None
    digest: str | None


def list_models(url: str) -> tuple[Tag, ...]:
    """Everything that the server at `url` has, in its order.

    Raises:
        EndpointUnreachable: Nobody answers, or something that is no Ollama server.
    """
    listed = _get(url.rstrip("/"), "/api/tags").get("models")
    found = []
    for entry in listed if isinstance(listed, list) else []:
        name = (entry.get("model") or entry.get("name")) if isinstance(entry, dict) else None
        if isinstance(name, str):
            size, digest = entry.get("size"), entry.get("digest")
            found.append(
                Tag(
                    name,
                    size if isinstance(size, int) else None,
                    digest.removeprefix("sha256:") if isinstance(digest, str) and digest else None,
                )
            )
    return tuple(found)


def licence_of(url: str, model: str) -> str | None:
    """The first line of the licence that a server shows for a model; None when it shows none.

    Raises:
        EndpointUnreachable: As list_models.
    """
    shown = _get(url.rstrip("/"), "/api/show", {"model": model}).get("license")
    lines = [line.strip() for line in shown.splitlines()] if isinstance(shown, str) else []
    return next((line[:60] for line in lines if line), None)


def allocated_window(url: str, model: str) -> int | None:
    """Tokens that a loaded model can really use; None when it is not loaded or the server does not say.

    Raises:
        EndpointUnreachable: As list_models.
    """
    running = _get(url.rstrip("/"), "/api/ps").get("models")
    for entry in running if isinstance(running, list) else []:
        if isinstance(entry, dict) and same_model(str(entry.get("model") or entry.get("name") or ""), model):
            window = entry.get("context_length")
            return window if isinstance(window, int) and window > 0 else None
    return None


#: These answers need no model: a server that takes longer than this is not well.

#: How long a server may say that it is still loading, and how often it is asked.
LOAD_SECONDS = 900.0

POLL_SECONDS = 0.5


def find_models(url: str, key: str = "") -> tuple[RemoteModel, ...]:
    """The models of the server at `url`, waiting while it says that it is loading. No proxy: an endpoint is local.

    Args:
        url: With `/v1` at its end, e.g. "http://127.0.0.1:8000/v1".
        key: Bearer token; empty when the server wants none.

    Raises:
        EndpointUnreachable: Nobody answers, somebody who is no OpenAI-compatible server, or one that wants another key.
    """
    listed = _get_openai(url, "/models", key)
    entries = listed.get("data") if isinstance(listed, dict) else None
    if not isinstance(entries, list):
        raise _not_openai(url, "/models lists no models")
    named = [entry for entry in entries if isinstance(entry, dict) and isinstance(entry.get("id"), str) and entry["id"]]
    dialect = _dialect(named)
    root = url.removesuffix("/v1")
    props = _extra(root, "/props", key) if dialect == "llama.cpp" else {}
    server = _server_name(dialect, props, _extra(root, "/version", key) if dialect == "vllm" else {})
    return tuple(_model(entry, root, key, dialect, server, props) for entry in named)


def find_model(url: str, key: str, name: str, num_ctx: int, where: str) -> RemoteModel:
    """One model of the server, with a window that is known and large enough.

    Args:
        url: As in `find_models`, `key` too.
        name: The server's own name for the model.
        num_ctx: The window that requests will ask for, tokens.
        where: The table of models.toml that this is about, for the remedy.

    Raises:
        EndpointUnreachable: As in `find_models`.
        ModelMissing: The server lists no such model; the message names the nearest that it has.
        PreflightError: Its window is smaller than `num_ctx`.
    """
    models = find_models(url, key)
    found = next((model for model in models if same_model(model.name, name)), None)
    if found is None:
        remedy = "write the server's own name for it into models.toml"
        raise missing(url, name, [model.name for model in models], remedy)
    if found.window and found.window < num_ctx:
        raise PreflightError(
            f"{url} serves {found.name} with a window of {found.window} tokens, but num_ctx is {num_ctx}",
            f"write num_ctx = {found.window} into {where} of models.toml, or start the server with a larger window "
            "(vLLM: --max-model-len; llama.cpp: -c, which is shared by its -np slots)",
            code="E-WINDOW",
        )
    return found if found.window else found.model_copy(update={"window": num_ctx})


def _dialect(entries: Sequence[dict[str, Any]]) -> Dialect:
    owners = {entry.get("owned_by") for entry in entries}
    if "vllm" in owners or any("max_model_len" in entry for entry in entries):
        return "vllm"
    return "llama.cpp" if "llamacpp" in owners else "other"


def _server_name(dialect: Dialect, props: dict[str, Any], version: dict[str, Any]) -> str:
    if dialect == "vllm":
        return f"vLLM {version.get('version') or ''}".rstrip()
    if dialect == "llama.cpp":
        return f"llama.cpp {props.get('build_info') or ''}".rstrip()
    return "OpenAI-compatible server"


def _model(
    entry: dict[str, Any], root: str, key: str, dialect: Dialect, server: str, props: dict[str, Any]
) -> RemoteModel:
    meta = entry.get("meta") if isinstance(entry.get("meta"), dict) else {}
    assert isinstance(meta, dict)
    settings = props.get("default_generation_settings")
    # Older llama.cpp servers tell the window of one slot in /props only.
    slot = settings.get("n_ctx") if isinstance(settings, dict) else None
    template = props.get("chat_template")
    return RemoteModel(
        name=entry["id"],
        url=root,
        key=key,
        dialect=dialect,
        server=server,
        window=_number(entry.get("max_model_len")) or _number(meta.get("n_ctx")) or _number(slot),
        slots=_number(props.get("total_slots")),
        context_length=_number(meta.get("n_ctx_train")),
        parameters=_number(meta.get("n_params")),
        size=_number(meta.get("size")),
        created=_number(entry.get("created")),
        quantisation=meta["ftype"] if isinstance(meta.get("ftype"), str) and meta["ftype"] else "unknown",
        template=template if isinstance(template, str) else None,
    )


def _number(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**62 else 0


def _extra(root: str, path: str, key: str) -> dict[str, Any]:
    """What a server need not have: an empty object when it refuses."""
    try:
        value = _get_openai(root, path, key)
    except EndpointUnreachable:
        return {}
    return value if isinstance(value, dict) else {}


def _get_openai(url: str, path: str, key: str) -> Any:
    """JSON from the server."""
    deadline = time.monotonic() + LOAD_SECONDS
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    while True:
        try:
            with opener.open(urllib.request.Request(url + path, headers=headers), timeout=TIMEOUT_SECONDS) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                loading = error.code == 503 and b"oading" in error.read(4096)
            if not loading or time.monotonic() > deadline:
                raise _refusal(url, path, error, key) from None
        except OSError as error:  # URLError and timeouts are among them
            reason = getattr(error, "reason", None) or error
            raise EndpointUnreachable(
                f"no answer from {url}: {reason}", "is the server running, and is this its address?"
            ) from None
        except ValueError as error:
            raise _not_openai(url, f"{path}: {error}") from None
        except Exception as error:  # http.client's own family: something that does not speak HTTP
            raise _not_openai(url, f"{path}: {type(error).__name__} {error}") from None
        time.sleep(POLL_SECONDS)


def _refusal(url: str, path: str, error: urllib.error.HTTPError, key: str) -> EndpointUnreachable:
    if error.code in (401, 403):
        given = "refuses the key that it was given" if key else "wants an API key"
        return EndpointUnreachable(
            f"{url} {given} ({error.code} {error.reason})",
            'name the variable that holds the key in its table of models.toml, e.g. api_key_env = "VLLM_API_KEY"',
            code="E-API-KEY-REFUSED",
        )
    return _not_openai(url, f"{path} answers {error.code} {error.reason}")


def _not_openai(url: str, reason: str) -> EndpointUnreachable:
    return EndpointUnreachable(
        f"{url} is no OpenAI-compatible server: {reason}",
        "check the address; it ends with /v1 for most servers",
        code="E-NOT-OPENAI",
    )
