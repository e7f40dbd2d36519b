"""What an OpenAI-compatible server is, and which models it has. Asked once, before anything is started.

The answers of three kinds of servers are read: llama.cpp's own (`owned_by` "llamacpp", `meta`, /props), vLLM
(`owned_by` "vllm", `max_model_len`, /version), and any other, of which nothing but the names is expected.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any

from localgif.endpoint.preflight import missing
from localgif.endpoint.translate import same_model
from localgif.errors import EndpointUnreachable, PreflightError
from localgif.served import Dialect, RemoteModel

#: These answers need no model: a server that takes longer than this is not well.
TIMEOUT_SECONDS = 5.0
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
    listed = _get(url, "/models", key)
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
        value = _get(root, path, key)
    except EndpointUnreachable:
        return {}
    return value if isinstance(value, dict) else {}


def _get(url: str, path: str, key: str) -> Any:
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
