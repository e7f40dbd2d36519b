"""Weights that are on this machine: a path, the cache, the store of an Ollama."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial as bind
from pathlib import Path
from typing import Any, Literal

from localgif.models import catalog
from localgif.models.catalog import KnownModel, canonical
from localgif.models.download import OnBytes, Partial, Refused, Stamps, Verified, file_size, reason_of, verify

_MANIFESTS = ("manifests-v2", "manifests")

#: Folders between a manifests folder and a tag, the tag included: host, namespace, model, tag.
_DEPTH = 4

_WEIGHTS = "application/vnd.ollama.image.model"

_ADAPTER = "application/vnd.ollama.image.adapter"

_DIGEST = re.compile(r"sha256[:-]([0-9a-f]{64})")

#: Manifests and configurations are a few hundred bytes; a larger file is something else.
_LARGEST_JSON = 2**20


@dataclass(frozen=True)
class Manifest:
    """A name in a store."""

    name: str
    """Canonical."""
    file: Path
    store: Path


@dataclass(frozen=True)
class StoredModel:
    """The weights behind a name, as the manifest tells; the blob itself was not looked at."""

    name: str
    digest: str
    """sha256, hex."""
    size: int | None
    """Bytes; None when the manifest does not say."""
    blob: Path
    title: str
    """Family, size and quantisation for people, as far as the store tells; else the name."""


@dataclass(frozen=True)
class Listing:
    """All names in some stores."""

    manifests: Mapping[str, Manifest]
    """Canonical name -> manifest; the first store that has a name wins."""
    problems: tuple[str, ...]
    """Stores that exist but cannot be read."""


def read_stores(stores: Iterable[Path]) -> Listing:
    """Every name in the stores, without opening a file. Never fails."""
    manifests: dict[str, Manifest] = {}
    problems: list[str] = []
    for store in stores:
        for folder in _MANIFESTS:
            for host, space, model, tag in _leaves(store / folder, _DEPTH, problems):
                name = canonical(f"{host}/{space}/{model}:{tag}")
                manifests.setdefault(name, Manifest(name, store / folder / host / space / model / tag, store))
    return Listing(manifests, tuple(problems))


def read(manifest: Manifest) -> StoredModel:
    """The weights that a manifest names.

    Raises:
        Refused: It cannot be read, is not a manifest, or its model is more than one file of weights.
    """
    content = _read_object(manifest.file)
    layers = content.get("layers")
    layers = [layer for layer in layers if isinstance(layer, dict)] if isinstance(layers, list) else []
    weights = [layer for layer in layers if layer.get("mediaType") == _WEIGHTS]
    if len(weights) != 1:
        raise Refused(f"{manifest.file} names {len(weights)} files of weights, expected 1")
    if any(layer.get("mediaType") == _ADAPTER for layer in layers):
        # Without its adapter the model would silently be another one.
        raise Refused(f"{manifest.name} has an adapter, which localgif does not apply")
    digest = _digest(weights[0].get("digest"))
    if digest is None:
        raise Refused(f"{manifest.file} names its weights by something else than a sha256")
    size = weights[0].get("size")
    return StoredModel(
        name=manifest.name,
        digest=digest,
        size=size if isinstance(size, int) else None,
        blob=_blob(manifest.store, digest),
        title=_title(manifest, content),
    )


def find_blob(digest: str, stores: Iterable[Path]) -> Path | None:
    """A blob with that sha256 (hex) in any of the stores, whichever name it has there; not verified."""
    return next((blob for store in stores if file_size(blob := _blob(store, digest)) is not None), None)


def _blob(store: Path, digest: str) -> Path:
    return store / "blobs" / f"sha256-{digest}"


def _digest(text: object) -> str | None:
    found = _DIGEST.fullmatch(text) if isinstance(text, str) else None
    return found[1] if found else None


def _title(manifest: Manifest, content: dict[str, Any]) -> str:
    """What the model's configuration blob says about it. Only for people, so every problem is ignored."""
    config = content.get("config")
    digest = _digest(config.get("digest")) if isinstance(config, dict) else None
    if digest is None:
        return manifest.name
    try:
        facts = _read_object(_blob(manifest.store, digest))
    except Refused:
        return manifest.name
    words = [facts.get(key) for key in ("model_family", "model_type", "file_type")]
    return " ".join(word for word in words if isinstance(word, str) and word) or manifest.name


def _read_object(path: Path) -> dict[str, Any]:
    """A small JSON object from a file. Raises Refused."""
    try:
        with path.open("rb") as file:
            content = json.loads(file.read(_LARGEST_JSON))
    except OSError as error:
        raise Refused(f"{path}: {reason_of(error)}") from error
    except (ValueError, RecursionError) as error:
        raise Refused(f"{path} is not JSON") from error
    if not isinstance(content, dict):
        raise Refused(f"{path} is not a JSON object")
    return content


def _leaves(folder: Path, depth: int, problems: list[str]) -> Iterator[tuple[str, ...]]:
    """Paths, as tuples of names, of the files exactly `depth` levels below `folder`, sorted."""
    try:
        with os.scandir(folder) as found:
            entries = sorted((entry for entry in found if not entry.name.startswith(".")), key=lambda e: e.name)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        problems.append(f"{folder}: {reason_of(error)}")
        return
    for entry in entries:
        if depth == 1:
            if file_size(Path(entry.path)) is not None:
                yield (entry.name,)
        else:
            yield from ((entry.name, *rest) for rest in _leaves(Path(entry.path), depth - 1, problems))


Progress = Callable[[int, int, str], None]

"""Called with done bytes, total bytes (0: unknown) and what is going on."""

Source = Literal["path", "cache", "ollama", "wheels", "url"]


@dataclass(frozen=True)
class Places:
    """Folders to look in."""

    cache: Path
    """Ours; made when it is needed."""
    ollama: tuple[Path, ...]
    """Stores of Ollama, in order: the folders that hold manifests/ and blobs/. They need not exist."""


@dataclass(frozen=True)
class Weights:
    """A verified file of weights."""

    name: str
    """Canonical model name."""
    path: Path
    """Absolute."""
    digest: str
    """sha256, hex."""
    size: int
    """Bytes."""
    title: str
    """For people."""
    source: Source
    notes: tuple[str, ...] = ()
    """Sources before this one that had something wrong, one line each, worth telling the user."""


@dataclass
class Search:
    """One look for a model: what is known about it, and what became of each source so far."""

    name: str
    known: KnownModel | None
    places: Places
    progress: Progress | None
    tried: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """Those of `tried` where something was there, but not the right thing."""

    def __post_init__(self) -> None:
        self.stamps = Stamps(self.places.cache)
        self.size = self.known.size if self.known else None
        self.sha256 = self.known.sha256 if self.known else None

    def miss(self, source: str, why: object) -> None:
        self.tried.append(f"{source}: {why}")

    def refuse(self, source: str, why: object) -> None:
        self.miss(source, why)
        self.wrong.append(self.tried[-1])

    def say(self, done: int, what: str) -> None:
        if self.progress is not None:
            self.progress(done, self.size or 0, what)

    def verify(self, path: Path, size: int | None, sha256: str | None) -> Verified:
        report: OnBytes | None = None
        if self.progress is not None:
            report = bind(_report_check, self.progress, size or file_size(path) or 0, f"checking {path.name}")
        return verify(path, self.stamps, size, sha256, report)

    def weights(self, path: Path, found: Verified, title: str, source: Source) -> Weights:
        title = self.known.title if self.known else title
        return Weights(self.name, path.absolute(), found.digest, found.size, title, source, tuple(self.wrong))


def places_for(localgif_home: str | None, ollama_models: str | None) -> Places:
    """The folders that follow from the values of LOCALGIF_HOME and OLLAMA_MODELS (None or "" when not set)."""
    import platformdirs

    base = Path(localgif_home) if localgif_home else Path(platformdirs.user_cache_dir("localgif"))
    stores = [Path(ollama_models)] if ollama_models else []
    with suppress(RuntimeError):  # a user without a home folder
        stores.append(Path.home() / ".ollama" / "models")
    stores.append(Path("/usr/share/ollama/.ollama/models"))
    return Places(base.absolute() / "models", tuple(dict.fromkeys(stores)))


def cache_file(cache: Path, known: KnownModel) -> Path:
    """Where our copy of a known file is. The digest is in the name: other bytes are another file."""
    return cache / f"{re.sub(r'[^a-z0-9.]+', '-', known.name)}-{known.sha256[:12]}.gguf"


def look_at_path(search: Search, path: Path) -> Weights | None:
    """The file that the user names."""
    try:
        return search.weights(path, search.verify(path, search.size, search.sha256), path.stem, "path")
    except Refused as why:
        search.refuse("path", why)
        return None


def look_in_cache(search: Search) -> Weights | None:
    """Our own copy; there is one only of known models."""
    if search.known is None:
        return None
    target = cache_file(search.places.cache, search.known)
    if file_size(target) is None:
        search.miss("cache", f"{target} is not there")
        return None
    try:
        return search.weights(target, search.verify(target, search.size, search.sha256), search.name, "cache")
    except Refused as why:
        search.refuse("cache", why)
        return None


def look_in_ollama(search: Search) -> Weights | None:
    """A blob in one of the stores of Ollama."""
    stores = search.places.ollama
    if search.known is not None:
        # Any blob with the right bytes will do, whatever Ollama calls it.
        blob = find_blob(search.known.sha256, stores)
        if blob is not None:
            try:
                return search.weights(blob, search.verify(blob, search.size, search.sha256), search.name, "ollama")
            except Refused as why:
                search.refuse("Ollama", why)
                return None
    listing = read_stores(stores)
    manifest = listing.manifests.get(search.name)
    if manifest is None:
        search.miss("Ollama", f"no store here has {search.name}")
        for problem in listing.problems:
            search.miss("Ollama", problem)
        return None
    try:
        stored = read(manifest)
        if search.sha256 is None:
            found = search.verify(stored.blob, stored.size, stored.digest)
            return search.weights(stored.blob, found, stored.title, "ollama")
    except Refused as why:
        search.refuse("Ollama", why)
        return None
    search.refuse("Ollama", other_bytes(search.name, stored.digest, search.sha256))
    return None


def other_bytes(name: str, found: str, wanted: str) -> str:
    return f"has {name}, but other bytes: sha256 {found}, expected {wanted}"


def _report_check(progress: Progress, total: int, what: str, done: int) -> None:
    progress(done, total, what)


@dataclass(frozen=True)
class Listed:
    """A model that can be asked for, for lists: its bytes were not read."""

    name: str
    title: str
    size: int | None
    """Bytes."""
    licence: str | None
    """SPDX identifier; None when it is not ours to say."""
    digest: str | None
    """sha256 that the file should have."""
    source: Source | None
    """Where it is; None when it is not on this machine."""
    path: Path | None
    checked: bool
    """Whether the sha256 of this very file is on record."""
    partial: int = 0
    """Bytes that an interrupted pull left."""
    note: str = ""
    """What is wrong, if anything."""


def known_here(places: Places) -> list[Listed]:
    """Every known model, present or not, then every other name in the Ollama stores. Reads no weights; never fails."""
    stamps = Stamps(places.cache)
    stored = read_stores(places.ollama).manifests
    rows = [_list_known(known, places, stamps, stored.get(known.name)) for known in catalog.CATALOG.values()]
    rows += [_list_stored(stored[name], stamps) for name in sorted(stored) if name not in catalog.CATALOG]
    return rows


def _list_known(known: KnownModel, places: Places, stamps: Stamps, manifest: Manifest | None) -> Listed:
    target = cache_file(places.cache, known)
    blob = find_blob(known.sha256, places.ollama)
    kept = Partial(target, known.sha256, known.size).kept()
    row = bind(Listed, known.name, known.title, known.size, known.licence, known.sha256, partial=kept)
    note = ""
    candidates: list[tuple[Source, Path | None]] = [("cache", target), ("ollama", blob)]
    for source, path in candidates:
        size = file_size(path) if path else None
        if path is None or size is None:
            continue
        digest = _stamped(stamps, path)
        if size == known.size and digest in (None, known.sha256):
            return row(source=source, path=path, checked=digest is not None, note=note)
        note = note or f"{path} holds other bytes"
    if manifest is not None and not note:
        try:
            note = f"Ollama {other_bytes(known.name, read(manifest).digest, known.sha256)}"
        except Refused as why:
            note = f"Ollama: {why}"
    return row(source=None, path=None, checked=False, note=note)


def _list_stored(manifest: Manifest, stamps: Stamps) -> Listed:
    try:
        stored = read(manifest)
    except Refused as why:
        return Listed(manifest.name, manifest.name, None, None, None, None, None, False, note=str(why))
    row = bind(Listed, stored.name, stored.title, stored.size, None, stored.digest)
    size = file_size(stored.blob)
    if size is None or stored.size not in (None, size):
        return row(source=None, path=None, checked=False, note=f"{stored.blob} is missing or cut")
    return row(source="ollama", path=stored.blob, checked=_stamped(stamps, stored.blob) == stored.digest)


def _stamped(stamps: Stamps, path: Path) -> str | None:
    try:
        return stamps.digest_of(path, path.stat())
    except OSError:
        return None
