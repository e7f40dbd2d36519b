"""Checks that must pass before a run starts, and all other checks that use no model."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from localgif.endpoint.discover import check_abilities, check_ollama, find_model
from localgif.endpoint.gguf import lacking, read_facts
from localgif.errors import LocalGifError, PreflightError, RunError
from localgif.models.catalog import CATALOG, canonical
from localgif.models.download import GGUF_MAGIC, file_size, reason_of
from localgif.models.fetch import locate
from localgif.models.find import Places, listed, places_for
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


def make_sure(settings: Settings, runs_dir: Path) -> None:
    """Check the folder of the runs, Python, packages, disk and memory before a run starts anything.

    Warnings are left to doctor. The run itself then tries sandbox, servers and weights, in this order.

    Raises:
        RunError: A run folder cannot be created.
        PreflightError: Another check failed.
    """
    check_writable(runs_dir)
    for check in (this_python(), these_packages(), disk(runs_dir), _memory(settings)):
        if check.status == "FAIL":
            raise PreflightError(
                f"{check.name}: {check.evidence}",
                check.remedy,
                code="E-DISK" if check.name == "disk" else "E-MACHINE",
            )


def check_writable(runs_dir: Path) -> None:
    """Check that runs can be stored in `runs_dir`, which may not exist yet. Leaves no trace; raises RunError."""
    try:
        there = next(each for each in (runs_dir.absolute(), *runs_dir.absolute().parents) if each.exists())
        tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        why = error.strerror or str(error)
        raise RunError(f"runs cannot be stored in {runs_dir}: {why}", "choose another --runs-dir") from None


def cheap_checks(settings: Settings, runs_dir: Path, offline: bool = False) -> Iterator[Check]:
    """All checks of machine, environment, models and sandbox, one after another, in about a second.

    With `offline` they connect only to loopback, and missing weights are a failure.
    """
    yield this_python()
    yield these_packages()
    yield variables(variable_names())
    yield disk(runs_dir)
    yield sandbox(settings.sandbox_level)
    shown: set[Check] = set()
    for model in different(settings):
        found = server(model, offline)
        if found not in shown:  # all embedded models have the same server
            yield found
        shown.add(found)
    places = places_for(*weights_environment())
    for model in different(settings):
        if model.endpoint.kind == "embedded":
            yield weights(model, places, offline)
    yield _memory(settings)


def different(settings: Settings) -> tuple[ModelSettings, ...]:
    """The models of both roles, without duplicates.

    A model of both roles gets the larger window, and the reflector's settings if the reflector has vision.
    """
    found: dict[tuple[str, str], ModelSettings] = {}
    for model in (settings.animator, settings.reflector):
        key = (model.endpoint.name, model.model)
        known = found.get(key, model)
        chosen = model if model.role == "reflector" and model.vision else known
        found[key] = chosen.model_copy(update={"num_ctx": max(known.num_ctx, model.num_ctx)})
    return tuple(found.values())


def sandbox(level: str) -> Check:
    """What the sandbox refuses on this machine, found by attacking it; `level` is the weakest acceptable one."""
    try:
        found = probe.decide(level)
    except LocalGifError as error:
        return Check.raised("sandbox", error)
    refused = sum(each.refused for each in found.probes)
    words = f"level {found.level}: {refused} of {len(found.probes)} attacks refused"
    if found.level == FULL:
        return Check.passed("sandbox", words)
    possible = ", ".join(each.name for each in found.probes if not each.refused)
    return Check.warned(
        "sandbox",
        "\n".join([f"{words}; possible: {possible}", *(f"not {line}" for line in found.missing)]),
        "use a kernel and a container that offer seccomp and Landlock (docs/security.md)",
    )


# --- weights of embedded models --------------------------------------------------------------------------------------


def weights(model: ModelSettings, places: Places, offline: bool) -> Check:
    """Whether the weights of an embedded model are on this machine. Looks up their sha256 without computing it.

    With `offline` missing weights are a failure, because they cannot be downloaded.
    """
    name = f"weights {model.model}"
    if model.path is not None:
        return _own_file(name, model, Path(model.path))
    found = listed(model.model, places)
    if found is not None and found.path is not None:
        size = f"{found.size / 1e6:,.0f} MB" if found.size else "size unknown"
        word = "verified" if found.checked else "not checked yet (the next run does it)"
        return Check.passed(name, f"{found.path}, {size}, sha256 {(found.digest or '?')[:12]} {word}")
    note = "no store has that name" if found is None else found.note
    if found is not None and not note:
        note = f"{found.partial / 1e6:,.0f} MB of it downloaded" if found.partial else "no store has it"
    known = CATALOG.get(canonical(model.model))
    if known is None:
        return Check.failed(
            name,
            f"not on this machine, and localgif does not know where to download them ({note})",
            'set gguf = "/where/it/is.gguf" in its table of models.toml, or pull it with an Ollama on this machine',
        )
    words = f"not on this machine ({note})"
    pull = f"localgif models pull {model.alias}"
    if offline:
        return Check.failed(
            name,
            words,
            f"run {pull} on a machine with a network, copy the file to this machine, and set "
            f'gguf = "/where/it/is.gguf" in [models."{model.alias}"]',
        )
    missing = f"{words}; the next run downloads {known.size / 1e6:,.0f} MB"
    return Check.warned(name, missing, f"download them now: {pull}")


def digest(model: ModelSettings, places: Places) -> Check:
    """Whether the weights of an embedded model have the right sha256; reads them once and remembers the result."""
    name = f"sha256 {model.model}"
    try:
        found = locate(model.model, places, Path(model.path) if model.path is not None else None)
    except LocalGifError as error:
        return Check.raised(name, error)
    if found is None:
        remedy = f"download it again: localgif models pull {model.alias}"
        return Check.failed(name, "the file on this machine has another sha256", remedy)
    return Check.passed(name, f"{found.digest} ({found.title})")


def _own_file(name: str, model: ModelSettings, path: Path) -> Check:
    """The check of a file that models.toml names."""
    remedy = "correct gguf in its table of models.toml"
    size = file_size(path)
    if size is None:
        return Check.failed(name, f"{path} is not a readable file", remedy)
    try:
        with path.open("rb") as file:
            begins = file.read(len(GGUF_MAGIC))
    except OSError as error:
        return Check.failed(name, f"{path}: {reason_of(error)}", remedy)
    if begins != GGUF_MAGIC:
        return Check.failed(name, f"{path} is not a GGUF file", remedy)
    known = CATALOG.get(canonical(model.model))
    if known is not None and known.size != size:
        return Check.failed(
            name,
            f"{path} has {size:,} bytes, but {known.name} has {known.size:,}: it is not that model",
            f"change `model` in that table to another name than {known.name}",
        )
    if known is None and (missing := lacking(path)):
        return Check.failed(name, f"{path} is not a whole GGUF file: {missing}", "copy it again")
    return Check.passed(name, f"{path}, {size / 1e6:,.0f} MB")


# --- servers and memory ----------------------------------------------------------------------------------------------


def server(model: ModelSettings, offline: bool) -> Check:
    """Whether the endpoint of a model answers and has the model; with `offline`, connects only to loopback."""
    endpoint = model.endpoint
    name = f"server {endpoint.name}, {model.model}"
    if endpoint.url is None:
        engine = f"llama.cpp through xllamacpp {metadata.version('xllamacpp')}"
        return Check.passed(f"server {endpoint.name}", f"{engine}, started with each run")
    if offline and not is_here(endpoint.url):
        return Check.skipped(name, f"{endpoint.url} is on another machine, which --offline does not ask")
    try:
        if endpoint.kind == "openai":
            key = api_key(endpoint.api_key_env, f"endpoints.{endpoint.name}.api_key_env")
            found = find_model(endpoint.url, key, model.model, model.num_ctx, f"[models.{model.alias}]")
            return Check.passed(name, f"{endpoint.url}: {found.server}, {found.name}, window {found.window}")
        return _ollama(name, model, endpoint.url)
    except LocalGifError as error:
        return Check.raised(name, error)


def _ollama(name: str, model: ModelSettings, url: str) -> Check:
    found = check_ollama(url, model.model, model.endpoint.cloud)
    note = check_abilities(url, found, model.abilities)
    digest = f", digest {found.digest[:12]}" if found.digest else ""
    words = f"{url}: Ollama API {found.version}, {found.model}{digest}" + (f"\n{note}" if note else "")
    if found.context_length is not None and model.num_ctx > found.context_length:
        trained = f"num_ctx is {model.num_ctx}, but the model was trained for {found.context_length} tokens"
        remedy = f"num_ctx = {found.context_length} in its table of models.toml"
        return Check.warned(name, f"{words}\n{trained}", remedy)
    return Check.warned(name, words, "") if note else Check.passed(name, words)


def load_of(model: ModelSettings, places: Places) -> Load | None:
    """The memory that an embedded model needs; None if its weights are not on this machine."""
    found = listed(model.model, places) if model.path is None else None
    path = Path(model.path) if model.path is not None else found.path if found else None
    size = file_size(path) if path is not None else None
    if path is None or size is None:
        return None
    return Load(model.model, size, window_bytes(read_facts(path), model.num_ctx))


def _memory(settings: Settings) -> Check:
    """Whether this machine has the memory that the embedded models need."""
    places = places_for(*weights_environment())
    embedded = [model for model in different(settings) if model.endpoint.kind == "embedded"]
    loads = [load for load in (load_of(model, places) for model in embedded) if load is not None]
    if embedded and not loads:
        return Check.skipped("memory", "the weights are not on this machine")
    return memory(this_memory(), loads)
