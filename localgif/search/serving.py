"""What `localgif serve` is to serve: models of models.toml, or those of one OpenAI-compatible server."""

from __future__ import annotations

from collections.abc import Sequence

from localgif.addresses import is_here, openai_url
from localgif.config import ModelSettings, nearest
from localgif.endpoint.upstream import find_models
from localgif.errors import ConfigError, ModelMissing, PreflightError
from localgif.search.gateways import remote_model, slots_of
from localgif.search.progress import Progress
from localgif.search.roles import fetch_weights, serve_config
from localgif.served import RemoteModel, ServeConfig


def config_of_models(models: Sequence[ModelSettings], port: int, progress: Progress) -> ServeConfig:
    """The embedded models and those behind OpenAI-compatible servers.

    Raises:
        ConfigError: none is left, or two servers have a model of the same name.
        PreflightError: weights, servers or models are missing.
    """
    ours = [model for model in models if model.endpoint.kind != "ollama"]
    if not ours:
        raise ConfigError(
            f"no model to serve: {', '.join(m.alias for m in models)} run on an Ollama, which serves them itself",
            "name one: --model ALIAS, an alias whose endpoint has kind embedded or openai",
            code="E-SERVE",
        )
    places: dict[str, str] = {}
    for model in ours:
        if places.setdefault(model.model, model.endpoint.name) != model.endpoint.name:
            raise ConfigError(
                f'two models are called "{model.model}", on {places[model.model]} and on {model.endpoint.name}; '
                "one server cannot offer both",
                "serve one of them: --model ALIAS",
                code="E-SERVE",
            )
    remotes: dict[str, RemoteModel] = {}
    for model in ours:
        if model.endpoint.kind == "openai":
            remotes[model.model] = remote_model(model)
    weights = tuple((model, fetch_weights(model, progress)) for model in ours if model.endpoint.kind == "embedded")
    served = tuple(remotes.values())
    return serve_config(weights, port).model_copy(update={"remotes": served, "slots": slots_of(served)})


def config_of_upstream(url: str, names: Sequence[str], port: int) -> ServeConfig:
    """The models of one server: those in `names`, or all.

    Raises:
        ConfigError: `url` is none, or one of another machine.
        PreflightError: no such server or model, or one whose window it does not tell.
    """
    try:
        address = openai_url(url)
    except ValueError as error:
        raise ConfigError(f"--upstream {url}: {error}", "vLLM listens on port 8000, llama.cpp on 8080") from None
    if not is_here(address):
        raise ConfigError(
            f"--upstream {address} is not on this machine",
            "write it into models.toml, as an endpoint of kind openai with allow_remote = true and a model on it, and "
            "serve that: localgif serve --model ALIAS",
            code="E-CONFIG-REMOTE",
        )
    there = {model.name: model for model in find_models(address)}
    if not there:
        raise ModelMissing(f"{address} has no models", "load one there first")
    for name in names:
        if name not in there:
            raise ModelMissing(f'{address} has no model "{name}"', nearest(name, there))
    chosen = [there[name] for name in names or there]
    for model in chosen:
        if not model.window:
            raise PreflightError(
                f"{address} does not tell the context window of {model.name}",
                "write the model into models.toml, with its num_ctx and an endpoint of kind openai, and serve that: "
                "localgif serve --model ALIAS",
                code="E-WINDOW",
            )
    return ServeConfig(remotes=tuple(chosen), slots=slots_of(chosen), port=port)
