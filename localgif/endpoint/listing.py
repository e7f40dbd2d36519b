"""What /api/tags, /api/show, /api/ps and /v1/models say. Reads what is known; never waits for an engine."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from localgif.endpoint.backend import Backend
from localgif.endpoint.wire import timestamp


def capabilities(backend: Backend) -> list[str]:
    """Ollama's words for what the model can do."""
    extra = {"tools": backend.facts.can_use_tools, "thinking": backend.facts.can_think}
    return ["completion", *(name for name, can in extra.items() if can)]


def details(backend: Backend) -> dict[str, Any]:
    """The `details` object of a model."""
    facts = backend.facts
    return {
        "parent_model": "",
        "format": "gguf",
        "family": facts.architecture,
        "families": [facts.architecture],
        "parameter_size": facts.parameter_size,
        "quantization_level": facts.quantisation,
    }


def tag(backend: Backend) -> dict[str, Any]:
    """One entry of /api/tags."""
    model = backend.model
    return {
        "name": model.name,
        "model": model.name,
        "modified_at": timestamp(_modified(model.path)),
        "size": model.size,
        "digest": model.digest,
        "details": details(backend),
        "capabilities": capabilities(backend),
    }


def running(backend: Backend) -> dict[str, Any] | None:
    """One entry of /api/ps; None when the model is not loaded. `context_length` is the allocated window."""
    upstream = backend.loaded()
    if upstream is None:
        return None
    model = backend.model
    return {
        "name": model.name,
        "model": model.name,
        "size": model.size,
        "digest": model.digest,
        "details": details(backend),
        "expires_at": timestamp(ahead=backend.expires_in()),
        "size_vram": 0,
        "context_length": upstream.window,
    }


def show(backend: Backend) -> dict[str, Any]:
    """The answer of /api/show. Exactly one key of `model_info` contains "context_length": litellm takes the first."""
    model, facts = backend.model, backend.facts
    info = {name: value for name, value in facts.metadata.items() if "context_length" not in name}
    info |= {
        "general.architecture": facts.architecture,
        "general.parameter_count": facts.parameters,
        f"{facts.architecture}.context_length": facts.context_length or model.num_ctx,
    }
    return {
        "modelfile": f"# {model.description or model.name}\nFROM {Path(model.path).name}\n",
        "parameters": f"num_ctx {model.num_ctx}",
        "template": facts.template,
        "system": "",
        "license": str(facts.metadata.get("general.license", "")),
        "details": details(backend),
        "model_info": info,
        "capabilities": capabilities(backend),
        "modified_at": timestamp(_modified(model.path)),
    }


def openai_model(backend: Backend) -> dict[str, Any]:
    """One entry of /v1/models."""
    created = int(_modified(backend.model.path).timestamp())
    return {"id": backend.model.name, "object": "model", "created": created, "owned_by": "localgif"}


def _modified(path: str) -> datetime:
    try:
        return datetime.fromtimestamp(Path(path).stat().st_mtime, UTC)
    except OSError:
        return datetime.fromtimestamp(0, UTC)
