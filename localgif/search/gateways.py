"""Which endpoints need a gateway of ours before them, and what is behind it: found, and the same on every server."""

from __future__ import annotations

from collections.abc import Sequence

from localgif.config import EndpointSettings, ModelSettings
from localgif.endpoint.preflight import ServerInfo, check_ollama
from localgif.endpoint.upstream import differences, find_model
from localgif.environment import api_key
from localgif.errors import PreflightError
from localgif.served import PooledServer, RemoteModel, ServeConfig


def needs_gateway(endpoint: EndpointSettings) -> bool:
    """Whether its clients cannot simply be given its address."""
    return endpoint.kind == "openai" or len(endpoint.urls) > 1


def remote_models(model: ModelSettings) -> tuple[RemoteModel, ...]:
    """A model on the OpenAI-compatible server or servers of its endpoint, found there.

    Raises:
        ConfigError: the variable with the key is not set.
        PreflightError: no such server, no such model, a window smaller than num_ctx, or another model on one of them.
    """
    endpoint = model.endpoint
    key = api_key(endpoint.api_key_env, f"endpoints.{endpoint.name}.api_key_env")
    found = [find_model(url, key, model.model, model.num_ctx, f"[models.{model.alias}]") for url in endpoint.addresses]
    for other in found[1:]:
        if different := differences(found[0], other):
            raise _not_the_same(endpoint, found[0].url, other.url, model.model, different)
    return tuple(found)


def ollama_servers(model: ModelSettings) -> tuple[ServerInfo, ...]:
    """What each Ollama server of the model's endpoint says of it.

    Raises:
        PreflightError: one does not answer, does not have the model, or has other weights under its name.
    """
    urls = model.endpoint.addresses
    found = [check_ollama(url, model.model, model.endpoint.cloud) for url in urls]
    for url, server in zip(urls[1:], found[1:], strict=True):
        if server.digest != found[0].digest:
            said = [f"sha256 {one.digest[:12]}" if one.digest else "no sha256" for one in (found[0], server)]
            raise _not_the_same(model.endpoint, urls[0], url, model.model, " and ".join(said))
    return tuple(found)


def gateway_config(models: Sequence[ModelSettings]) -> ServeConfig:
    """What the gateway in front of an endpoint serves.

    Two windows for one model are both allowed: the gateway holds each request to its own.

    Args:
        models: Of one endpoint, which needs a gateway.

    Raises:
        ConfigError: as `remote_models`.
        PreflightError: as `remote_models` and `ollama_servers`.
    """
    endpoint = models[0].endpoint
    if endpoint.kind == "ollama":
        weights = tuple({model.model: ollama_servers(model)[0].digest or "" for model in models}.items())
        slots = endpoint.slots or 1  # no Ollama tells its OLLAMA_NUM_PARALLEL
        servers = (PooledServer(url=url, slots=slots, weights=weights) for url in endpoint.addresses)
        return ServeConfig(servers=tuple(servers))
    there: list[dict[str, RemoteModel]] = [{} for _ in endpoint.addresses]
    for model in models:
        for known, remote in zip(there, remote_models(model), strict=True):
            before = known.get(model.model)
            known[model.model] = before if before is not None and before.window > remote.window else remote
    found = [tuple(known.values()) for known in there]
    if len(found) == 1:
        return ServeConfig(remotes=found[0], slots=slots_of(found[0], endpoint.slots))
    return ServeConfig(
        servers=tuple(
            PooledServer(url=remotes[0].url, slots=slots_of(remotes, endpoint.slots), remotes=remotes)
            for remotes in found
        )
    )


def slots_of(remotes: Sequence[RemoteModel], given: int | None = None) -> int:
    """Requests that a server gets at once: as many as the user says, else the server, else one."""
    return given or max(1, min(remote.slots for remote in remotes))


def behind(config: ServeConfig, model: str) -> str:
    """Which servers are behind a gateway, for the run's record; "" when the servers tell it themselves."""
    remotes = config.servers[0].remotes if config.servers else config.remotes
    name = next((remote.server for remote in remotes if remote.name == model), "")
    return ", ".join(filter(None, (name, f"{len(config.servers)} servers" if config.servers else "")))


def _not_the_same(endpoint: EndpointSettings, one: str, other: str, model: str, different: str) -> PreflightError:
    return PreflightError(
        f"{one} and {other} have different models under the name {model}: {different}",
        f"load the same weights on both, or take one of them out of [endpoints.{endpoint.name}] in models.toml",
    )
