"""The gateway in front of an OpenAI-compatible endpoint: which models are behind it."""

from __future__ import annotations

from collections.abc import Sequence

from localgif.config import ModelSettings
from localgif.endpoint.upstream import find_model
from localgif.environment import api_key
from localgif.served import RemoteModel, ServeConfig


def remote_model(model: ModelSettings) -> RemoteModel:
    """A model on the OpenAI-compatible server of its endpoint, found there.

    Raises:
        ConfigError: the variable with the key is not set.
        PreflightError: no such server, no such model, or a window smaller than num_ctx.
    """
    endpoint = model.endpoint
    assert endpoint.url is not None  # config refuses an openai endpoint without one
    key = api_key(endpoint.api_key_env, f"endpoints.{endpoint.name}.api_key_env")
    return find_model(endpoint.url, key, model.model, model.num_ctx, f"[models.{model.alias}]")


def gateway_config(models: Sequence[ModelSettings]) -> ServeConfig:
    """What the gateway in front of an endpoint serves.

    Two windows for one model are both allowed: the gateway holds each request to its own.

    Args:
        models: Of one OpenAI-compatible endpoint.

    Raises:
        ConfigError, PreflightError: as `remote_model`.
    """
    found: dict[str, RemoteModel] = {}
    for model in models:
        before, remote = found.get(model.model), remote_model(model)
        found[model.model] = before if before is not None and before.window > remote.window else remote
    remotes = tuple(found.values())
    return ServeConfig(remotes=remotes, slots=slots_of(remotes))


def slots_of(remotes: Sequence[RemoteModel]) -> int:
    """Requests that a server works on at once: as many as it says, else one."""
    return max(1, min((remote.slots for remote in remotes), default=1))
