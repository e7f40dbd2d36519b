"""What /api/tags, /api/show and /api/ps say. Reads what is known; never waits for an engine."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from localgif.endpoint.backend import Backend, Card
from localgif.endpoint.wire import timestamp


def capabilities(card: Card) -> list[str]:
    """Ollama's words for what the model is known to be able to do."""
    return ["completion", "thinking"] if card.facts.can_think else ["completion"]


def details(card: Card) -> dict[str, Any]:
    """The `details` object of a model."""
    facts = card.facts
    return {
        "parent_model": "",
        "format": "gguf" if facts.quantisation != "unknown" else "unknown",
        "family": facts.architecture,
        "families": [facts.architecture],
        "parameter_size": facts.parameter_size,
        "quantization_level": facts.quantisation,
    }


def listed_name(card: Card) -> str:
    """The name with its tag: ChatOllama looks for `name:latest` in the listing when it is asked for it."""
    return card.name if ":" in card.name.rpartition("/")[2] else f"{card.name}:latest"


def tag(backend: Backend) -> dict[str, Any]:
    """One entry of /api/tags."""
    card = backend.card
    return {
        "name": listed_name(card),
        "model": listed_name(card),
        "modified_at": timestamp(_modified(card)),
        "size": card.size,
        "digest": card.digest,
        "details": details(card),
        "capabilities": capabilities(card),
    }


def running(backend: Backend) -> dict[str, Any] | None:
    """One entry of /api/ps; None when the model is not loaded. `context_length` is the allocated window."""
    upstream = backend.loaded()
    if upstream is None:
        return None
    card = backend.card
    return {
        "name": listed_name(card),
        "model": listed_name(card),
        "size": card.size,
        "digest": card.digest,
        "details": details(card),
        "expires_at": timestamp(ahead=backend.expires_in()),
        "size_vram": 0,
        "context_length": upstream.window,
    }


def show(backend: Backend) -> dict[str, Any]:
    """The answer of /api/show. Exactly one key of `model_info` contains "context_length": litellm takes the first."""
    card, facts = backend.card, backend.card.facts
    info = {name: value for name, value in facts.metadata.items() if "context_length" not in name}
    info |= {
        "general.architecture": facts.architecture,
        "general.parameter_count": facts.parameters,
        f"{facts.architecture}.context_length": facts.context_length or card.num_ctx,
    }
    return {
        "modelfile": f"# {card.description or card.name}\nFROM {card.source}\n",
        "parameters": f"num_ctx {card.num_ctx}",
        "template": facts.template or "",
        "system": "",
        "license": str(facts.metadata.get("general.license", "")),
        "details": details(card),
        "model_info": info,
        "capabilities": capabilities(card),
        "modified_at": timestamp(_modified(card)),
    }


def _modified(card: Card) -> datetime:
    return datetime.fromtimestamp(card.modified, UTC)
