"""Is there an Ollama server at this address, and does it have this model? Asked once, before anything is started."""

from __future__ import annotations

import difflib
import json
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import Any

from localgif.endpoint.translate import same_model
from localgif.errors import EndpointUnreachable, ModelMissing

#: These three answers need no model: a server that takes longer than this is not well.
TIMEOUT_SECONDS = 5.0
_SHOWN_NAMES = 5


@dataclass(frozen=True)
class ServerInfo:
    """What the server says about itself and one model.

    Attributes:
        version: Of the server, e.g. "0.33.0".
        model: The model's name as the server lists it.
        digest: sha256 of the model; None when the server does not say.
        details: Family, size, quantisation, as the server words them.
        capabilities: E.g. ("completion", "thinking").
        context_length: The window that the model was trained for, tokens; not the one that will be allocated.
    """

    version: str
    model: str
    digest: str | None
    details: dict[str, Any] = field(default_factory=dict)
    capabilities: tuple[str, ...] = ()
    context_length: int | None = None


def check_ollama(url: str, model: str) -> ServerInfo:
    """Ask the server at `url` for its version and for `model`. No proxy: an endpoint is local.

    Raises:
        EndpointUnreachable: Nobody answers, or something that is no Ollama server.
        ModelMissing: The server lists no such model; the message names the nearest that it has.
    """
    url = url.rstrip("/")
    version = _get(url, "/api/version").get("version")
    if not isinstance(version, str):
        raise _not_ollama(url, "/api/version names no version")
    listed = _get(url, "/api/tags").get("models")
    entries = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    names = [str(entry.get("model") or entry.get("name") or "") for entry in entries]
    found = next((entry for entry, name in zip(entries, names, strict=True) if same_model(name, model)), None)
    if found is None:
        raise _missing(url, model, names)
    name = str(found.get("model") or found.get("name"))
    shown = _get(url, "/api/show", {"model": name})
    info = shown.get("model_info") or {}
    digest = found.get("digest")
    return ServerInfo(
        version=version,
        model=name,
        digest=digest.removeprefix("sha256:") if isinstance(digest, str) and digest else None,
        details=shown.get("details") or found.get("details") or {},
        capabilities=tuple(shown.get("capabilities") or ()),
        context_length=next(
            (value for key, value in info.items() if key.endswith(".context_length") and isinstance(value, int)), None
        ),
    )


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
        f"{url} does not speak the Ollama API: {reason}", "check the url of this endpoint in models.toml"
    )


def _missing(url: str, model: str, names: list[str]) -> ModelMissing:
    near = difflib.get_close_matches(model, names, n=_SHOWN_NAMES, cutoff=0.4) or names[:_SHOWN_NAMES]
    has = f"it has {', '.join(near)}" if near else "it has no models"
    return ModelMissing(f"{url} has no model {model!r}; {has}", f"ollama pull {model}")
