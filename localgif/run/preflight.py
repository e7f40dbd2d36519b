"""What must hold before a run starts, and every other check that asks no model."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from localgif.endpoint.discover import check_abilities, check_ollama, find_model
from localgif.endpoint.gguf import read_facts
from localgif.errors import LocalGifError, PreflightError
from localgif.models.catalog import CATALOG, canonical
from localgif.models.download import GGUF_MAGIC, file_size
from localgif.models.fetch import locate
from localgif.models.find import Listed, Places, known_here, places_for
from localgif.offline import api_key, is_here, variable_names, weights_environment
from localgif.run.checks import (
    Check,
    Load,
    disk,
    memory,
    these_packages,
    this_memory,
    this_python,
    variables,
    window_bytes,
)
from localgif.sandbox import probe
from localgif.sandbox.protocol import FULL
from localgif.settings import ModelSettings, Settings


def weights_file(model: ModelSettings, places: Places) -> Path | None:
    """The file of an embedded model, by name and size only; None when it is not here."""
    if model.path is not None:
        return Path(model.path) if file_size(Path(model.path)) is not None else None
    return next((each.path for each in known_here(places) if each.name == canonical(model.model)), None)


def weights(model: ModelSettings, places: Places, offline: bool) -> Check:
    """Whether the weights of an embedded model are here. Their sha256 is looked up, not computed.

    Args:
        model: Whose endpoint is embedded.
        places: Where to look.
        offline: Nothing can be fetched: weights that are not here are a failure.
    """
    name = f"weights {model.model}"
    if model.path is not None:
        return _own_file(name, model, Path(model.path))
    listed = next((each for each in known_here(places) if each.name == canonical(model.model)), None)
    if listed is not None and listed.path is not None:
        return Check(name=name, status="PASS", evidence=_there(listed))
    known = CATALOG.get(canonical(model.model))
    if known is None:
        return Check(
            name=name,
            status="FAIL",
            evidence=f"not on this machine, and localgif does not know where to get them ({_note(listed)})",
            remedy='give the file as gguf = "/where/it/is.gguf" in its table of models.toml, or pull it with an Ollama '
            "on this machine",
        )
    words = f"not on this machine ({_note(listed)})"
    if offline:
        return Check(
            name=name,
            status="FAIL",
            evidence=words,
            remedy=f"on a machine with network: localgif models pull {model.alias}; bring the file, and give it as "
            f'gguf = "/where/it/is.gguf" in [models."{model.alias}"]',
        )
    return Check(
        name=name,
        status="WARN",
        evidence=f"{words}; the next run fetches {known.size / 1e6:,.0f} MB",
        remedy=f"fetch them now: localgif models pull {model.alias}",
    )


def digest(model: ModelSettings, places: Places) -> Check:
    """Whether the weights of an embedded model hold the right bytes; reads them once, a stamp remembers the result."""
    name = f"sha256 {model.model}"
    try:
        found = locate(model.model, places, Path(model.path) if model.path is not None else None)
    except LocalGifError as error:
        return Check(name=name, status="FAIL", evidence=error.message, remedy=error.remedy)
    if found is None:
        return Check(
            name=name,
            status="FAIL",
            evidence="the file that is here holds other bytes",
            remedy=f"fetch it again: localgif models pull {model.alias}",
        )
    return Check(name=name, status="PASS", evidence=f"{found.digest} ({found.title})")


def _own_file(name: str, model: ModelSettings, path: Path) -> Check:
    remedy = "correct gguf in its table of models.toml"
    size = file_size(path)
    if size is None:
        return Check(name=name, status="FAIL", evidence=f"{path} is no file that can be read", remedy=remedy)
    try:
        with path.open("rb") as file:
            begins = file.read(len(GGUF_MAGIC))
    except OSError as error:
        return Check(name=name, status="FAIL", evidence=f"{path}: {error.strerror}", remedy=remedy)
    if begins != GGUF_MAGIC:
        return Check(name=name, status="FAIL", evidence=f"{path} is no GGUF file", remedy=remedy)
    known = CATALOG.get(canonical(model.model))
    if known is not None and known.size != size:
        return Check(
            name=name,
            status="FAIL",
            evidence=f"{path} has {size:,} bytes, but {known.name} has {known.size:,}: it is another file",
            remedy=f"give the model of that table another name than {known.name}",
        )
    return Check(name=name, status="PASS", evidence=f"{path}, {size / 1e6:,.0f} MB")


def _there(listed: Listed) -> str:
    size = f"{listed.size / 1e6:,.0f} MB" if listed.size else "size unknown"
    word = "verified" if listed.checked else "not checked yet: a run does"
    return f"{listed.path}, {size}, sha256 {(listed.digest or '?')[:12]} {word}"


def _note(listed: Listed | None) -> str:
    if listed is None:
        return "no store has that name"
    return listed.note or (f"{listed.partial / 1e6:,.0f} MB of it downloaded" if listed.partial else "no store has it")


def server(model: ModelSettings, offline: bool) -> Check:
    """Whether the endpoint of a model answers and has it.

    Args:
        model: Its endpoint is of any kind.
        offline: Only loopback may be asked.
    """
    endpoint = model.endpoint
    name = f"server {endpoint.name}, {model.model}"
    if endpoint.url is None:
        engine = f"llama.cpp through xllamacpp {metadata.version('xllamacpp')}"
        return Check(name=f"server {endpoint.name}", status="PASS", evidence=f"{engine}, started with each run")
    if offline and not is_here(endpoint.url):
        return Check(name=name, status="SKIP", evidence=f"{endpoint.url} is not this machine: not asked (--offline)")
    try:
        if endpoint.kind == "openai":
            key = api_key(endpoint.api_key_env, f"endpoints.{endpoint.name}.api_key_env")
            found = find_model(endpoint.url, key, model.model, model.num_ctx, f"[models.{model.alias}]")
            words = f"{endpoint.url}: {found.server}, {found.name}, window {found.window}"
            return Check(name=name, status="PASS", evidence=words)
        return _ollama(name, model, endpoint.url)
    except LocalGifError as error:
        return Check(name=name, status="FAIL", evidence=error.message, remedy=error.remedy)


def _ollama(name: str, model: ModelSettings, url: str) -> Check:
    found = check_ollama(url, model.model, model.endpoint.cloud)
    note = check_abilities(url, found, model.abilities)
    digest = f", digest {found.digest[:12]}" if found.digest else ""
    words = f"{url}: Ollama API {found.version}, {found.model}{digest}" + (f"\n{note}" if note else "")
    if found.context_length is not None and model.num_ctx > found.context_length:
        trained = f"num_ctx is {model.num_ctx}, but the model was trained for {found.context_length} tokens"
        return Check(
            name=name,
            status="WARN",
            evidence=f"{words}\n{trained}",
            remedy=f"num_ctx = {found.context_length} in its table of models.toml",
        )
    return Check(name=name, status="WARN" if note else "PASS", evidence=words)


def load_of(model: ModelSettings, places: Places) -> Load | None:
    """What an embedded model takes in memory; None when its weights are not here."""
    path = weights_file(model, places)
    size = file_size(path) if path is not None else None
    if path is None or size is None:
        return None
    return Load(model.model, size, window_bytes(read_facts(path), model.num_ctx))


def make_sure(settings: Settings, runs_dir: Path) -> None:
    """What every run looks at before it starts anything, in silence: Python, packages, disk, memory.

    Sandbox, weights and servers are not among it: a run tries these itself, each with an error of its own. What is
    only a warning is doctor's to tell.

    Raises:
        PreflightError: one of them failed.
    """
    for check in (this_python(), these_packages(), disk(runs_dir), _room(settings)):
        if check.status == "FAIL":
            raise PreflightError(
                f"{check.name}: {check.evidence}",
                check.remedy,
                code="E-DISK" if check.name == "disk" else "E-MACHINE",
            )


def cheap_checks(settings: Settings, runs_dir: Path, offline: bool = False) -> Iterator[Check]:
    """Every check of the machine, the environment, the models and the sandbox, one after another, a second in all.

    Args:
        settings: Of the run that is to come.
        runs_dir: Where its folder will be.
        offline: Nothing but loopback is asked, and nothing could be fetched.
    """
    yield this_python()
    yield these_packages()
    yield variables(variable_names())
    yield disk(runs_dir)
    yield sandbox(settings.sandbox_level)
    places = places_for(*weights_environment())
    for model in different(settings):
        if model.endpoint.kind == "embedded":
            yield weights(model, places, offline)
    asked: set[Check] = set()
    for model in different(settings):
        found = server(model, offline)
        if found not in asked:  # one embedded server serves all embedded models
            yield found
        asked.add(found)
    yield _room(settings)


def _room(settings: Settings) -> Check:
    """Memory against what the embedded models take."""
    places = places_for(*weights_environment())
    embedded = [model for model in different(settings) if model.endpoint.kind == "embedded"]
    loads = [load for load in (load_of(model, places) for model in embedded) if load is not None]
    if embedded and not loads:
        return Check(name="memory", status="SKIP", evidence="the weights are not here")
    return memory(this_memory(), loads)


def different(settings: Settings) -> tuple[ModelSettings, ...]:
    """The models of the roles, each once: of one with two windows the larger, as a reflector when that one sees."""
    found: dict[tuple[str, str], ModelSettings] = {}
    for model in (settings.animator, settings.reflector):
        key = (model.endpoint.name, model.model)
        known = found.get(key, model)
        chosen = model if model.role == "reflector" and model.vision else known
        found[key] = chosen.model_copy(update={"num_ctx": max(known.num_ctx, model.num_ctx)})
    return tuple(found.values())


def sandbox(level: str) -> Check:
    """What the sandbox refuses here, tried; `level` is the weakest that a run accepts."""
    try:
        found = probe.decide(level)
    except LocalGifError as error:
        return Check(name="sandbox", status="FAIL", evidence=error.message, remedy=error.remedy)
    refused = sum(each.refused for each in found.probes)
    words = f"level {found.level}: {refused} of {len(found.probes)} attacks refused"
    if found.level == FULL:
        return Check(name="sandbox", status="PASS", evidence=words)
    possible = ", ".join(each.name for each in found.probes if not each.refused)
    return Check(
        name="sandbox",
        status="WARN",
        evidence="\n".join([f"{words}; possible: {possible}", *(f"not {line}" for line in found.missing)]),
        remedy="a kernel and a container that offer seccomp and Landlock (docs/security.md)",
    )
