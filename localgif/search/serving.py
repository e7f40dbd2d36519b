"""What `localgif serve` is to serve: models of models.toml, or those of one OpenAI-compatible server."""

from __future__ import annotations

from collections.abc import Sequence

from localgif.addresses import openai_url
from localgif.config import ModelSettings, nearest
from localgif.endpoint.upstream import find_models
from localgif.errors import ConfigError, ModelMissing, PreflightError
from localgif.search.progress import Progress
from localgif.search.roles import fetch_weights, remote_model, serve_config
from localgif.served import RemoteModel, ServeConfig


def config_of_models(models: Sequence[ModelSettings], port: int, progress: Progress) -> ServeConfig:
    """The embedded models and those behind OpenAI-compatible servers; an Ollama serves its own.

    Raises:
        ConfigError: none is left, or two servers have a model of the same name.
        PreflightError: weights, servers or models are missing.
    """
    ours = [model for model in models if model.endpoint.kind != "ollama"]
    if not ours:
        raise ConfigError(
            f"no model to serve: {', '.join(m.alias for m in models)} run on an Ollama, which serves them itself",
            "name one: --model ALIAS, an alias whose endpoint has kind embedded or openai",
        )
    places: dict[str, str] = {}
    for model in ours:
        if places.setdefault(model.model, model.endpoint.name) != model.endpoint.name:
            raise ConfigError(
                f'two models are called "{model.model}", on {places[model.model]} and on {model.endpoint.name}; '
                "one server cannot offer both",
                "serve one of them: --model ALIAS",
            )
    remotes: dict[str, RemoteModel] = {}
    for model in ours:
        if model.endpoint.kind == "openai":
            remotes[model.model] = remote_model(model)
    weights = tuple((model, fetch_weights(model, progress)) for model in ours if model.endpoint.kind == "embedded")
    return serve_config(weights, port).model_copy(update={"remotes": tuple(remotes.values())})


def config_of_upstream(url: str, names: Sequence[str], port: int) -> ServeConfig:
    """The models of one server: those in `names`, or all.

    Raises:
        ConfigError: `url` is none.
        PreflightError: no such server or model, or one whose window it does not tell.
    """
    try:
        address = openai_url(url)
    except ValueError as error:
        raise ConfigError(f"--upstream {url}: {error}", "vLLM listens on port 8000, llama.cpp on 8080") from None
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
            )
    return ServeConfig(remotes=tuple(chosen), port=port)
