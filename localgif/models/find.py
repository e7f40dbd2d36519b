"""Weights that are already on this machine: a file that the user names, our cache, the store of an Ollama."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial as bind
from pathlib import Path
from typing import Any, Literal, NamedTuple

from localgif.files import read_bounded
from localgif.models import catalog
from localgif.models.catalog import KnownModel, canonical
from localgif.models.download import Partial, Refused, Stamps, file_size, reason_of, verify
from localgif.offline import cache_folder, home_folder

#: Called with done bytes, total bytes (0: unknown) and what is going on.
Progress = Callable[[int, int, str], None]

Source = Literal["path", "cache", "ollama", "wheels", "url"]


@dataclass(frozen=True)
class Places:
    """Folders to look in; they need not exist."""

    cache: Path
    """Ours."""
    ollama: tuple[Path, ...]
    """Stores of Ollama, in order: the folders that hold manifests/ and blobs/."""


def places_for(localgif_home: str | Path | None, ollama_models: str | Path | None) -> Places:
    """The folders to look in.

    Args:
        localgif_home: Our folder for data (None: the usual one), which has the weights in models/.
        ollama_models: The store that OLLAMA_MODELS names (None: not set). It comes before the usual ones.
    """
    base, home = Path(localgif_home) if localgif_home else cache_folder(), home_folder()
    stores = [Path(ollama_models)] if ollama_models else []
    stores += [home / ".ollama" / "models"] if home is not None else []
    stores.append(Path("/usr/share/ollama/.ollama/models"))
    return Places(base.absolute() / "models", tuple(dict.fromkeys(stores)))


def cache_file(cache: Path, known: KnownModel) -> Path:
    """Where our copy of a known file is. The name contains the digest, so other bytes are another file."""
    return cache / f"{re.sub(r'[^a-z0-9.]+', '-', known.name)}-{known.sha256[:12]}.gguf"


# --- stores of Ollama ------------------------------------------------------------------------------------------------

#: Folders of a store; below them a manifest's path is host, namespace, model, tag.
_MANIFESTS = ("manifests-v2", "manifests")
_WEIGHTS = "application/vnd.ollama.image.model"
_ADAPTER = "application/vnd.ollama.image.adapter"
_DIGEST = re.compile(r"sha256[:-]([0-9a-f]{64})")

#: Manifests and configurations have a few hundred bytes.
_LARGEST_JSON = 2**20


class Manifest(NamedTuple):
    """A name in a store."""

    name: str
    """Canonical."""
    file: Path
    store: Path


class StoredModel(NamedTuple):
    """The weights of a manifest, as it describes them; the blob was not opened."""

    name: str
    digest: str
    """sha256, hex."""
    size: int | None
    """Bytes; None if the manifest does not say."""
    blob: Path
    title: str
    """Family, size and quantisation for people if the store knows them, else the name."""


def read_stores(stores: Iterable[Path]) -> tuple[dict[str, Manifest], list[str]]:
    """Every name in the stores, without opening a file: canonical name -> manifest of the first store that has it; and
    a line for each store that cannot be read.
    """
    manifests: dict[str, Manifest] = {}
    problems: list[str] = []
    for store, root in ((store, store / name) for store in stores for name in _MANIFESTS):
        try:
            os.scandir(root).close()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            problems.append(f"{root}: {reason_of(error)}")
            continue
        for file in sorted(root.glob("[!.]*/[!.]*/[!.]*/[!.]*")):
            host, space, model, tag = file.relative_to(root).parts
            if file_size(file) is not None:
                name = canonical(f"{host}/{space}/{model}:{tag}")
                manifests.setdefault(name, Manifest(name, file, store))
    return manifests, problems


def read_manifest(manifest: Manifest) -> StoredModel:
    """The weights that a manifest names. Raises Refused, also if the model is more than one file of weights."""
    content = _read_object(manifest.file)
    listed = content.get("layers")
    layers = [layer for layer in listed if isinstance(layer, dict)] if isinstance(listed, list) else []
    weights = [layer for layer in layers if layer.get("mediaType") == _WEIGHTS]
    if len(weights) != 1:
        raise Refused(f"{manifest.file} names {len(weights)} files of weights, expected 1")
    if any(layer.get("mediaType") == _ADAPTER for layer in layers):
        # Without its adapter this would be another model, and nothing would show that.
        raise Refused(f"{manifest.name} has an adapter, which localgif does not apply")
    digest = _sha256(weights[0].get("digest"))
    if digest is None:
        raise Refused(f"{manifest.file} does not name its weights by a sha256")
    size = weights[0].get("size")
    known_size = size if isinstance(size, int) else None
    return StoredModel(manifest.name, digest, known_size, _blob(manifest.store, digest), _title(manifest, content))


def _find_blob(digest: str, stores: Iterable[Path]) -> Path | None:
    """A blob with that sha256 (hex) in any store, under any model name; not verified."""
    return next((blob for store in stores if file_size(blob := _blob(store, digest)) is not None), None)


def _blob(store: Path, digest: str) -> Path:
    return store / "blobs" / f"sha256-{digest}"


def _sha256(text: object) -> str | None:
    found = _DIGEST.fullmatch(text) if isinstance(text, str) else None
    return found[1] if found else None


def _title(manifest: Manifest, content: dict[str, Any]) -> str:
    """The title from the model's configuration; its name if it has none."""
    config, facts = content.get("config"), {}
    digest = _sha256(config.get("digest")) if isinstance(config, dict) else None
    with suppress(Refused):
        facts = _read_object(_blob(manifest.store, digest)) if digest else {}
    words = [facts.get(key) for key in ("model_family", "model_type", "file_type")]
    return " ".join(word for word in words if isinstance(word, str) and word) or manifest.name


def _read_object(path: Path) -> dict[str, Any]:
    """A small JSON object from a file. Raises Refused."""
    try:
        content = json.loads(read_bounded(path, _LARGEST_JSON))
    except OSError as error:
        raise Refused(f"{path}: {reason_of(error)}") from error
    except (ValueError, RecursionError) as error:
        raise Refused(f"{path} is not JSON") from error
    if not isinstance(content, dict):
        raise Refused(f"{path} is not a JSON object")
    return content


# --- one model -------------------------------------------------------------------------------------------------------


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
    """Earlier sources that held something wrong, one line each, worth showing to the user."""


@dataclass
class Search:
    """One search for a model: what is known about it, and the result of each source so far."""

    name: str
    known: KnownModel | None
    places: Places
    progress: Progress
    tried: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """The entries of `tried` whose source held something wrong."""

    def __post_init__(self) -> None:
        self.stamps = Stamps(self.places.cache)
        self.size = self.known.size if self.known else None
        self.sha256 = self.known.sha256 if self.known else None

    def at_path(self, path: Path) -> Weights | None:
        """The file that the user names."""
        return self._verified(path, path.stem, "path")

    def in_cache(self) -> Weights | None:
        """Our own copy; we keep copies only of known models."""
        if self.known is None:
            return None
        target = cache_file(self.places.cache, self.known)
        if file_size(target) is None:
            self.miss("cache", f"{target} does not exist")
            return None
        return self._verified(target, self.name, "cache")

    def in_ollama(self) -> Weights | None:
        """A blob in one of the stores of Ollama."""
        # For a known model any blob with the right bytes will do, whatever Ollama calls it.
        blob = _find_blob(self.known.sha256, self.places.ollama) if self.known else None
        if blob is not None:
            return self._verified(blob, self.name, "ollama")
        manifests, problems = read_stores(self.places.ollama)
        if self.name not in manifests:
            for reason in (f"no store here has {self.name}", *problems):
                self.miss("Ollama", reason)
            return None
        try:
            stored = read_manifest(manifests[self.name])
        except Refused as why:
            self.refuse("Ollama", why)
            return None
        if self.sha256 is not None:
            self.refuse("Ollama", _other_bytes(self.name, stored.digest, self.sha256))
            return None
        return self._verified(stored.blob, stored.title, "ollama", stored)

    def miss(self, source: str, why: object) -> None:
        """Note that a source does not have the model."""
        self.tried.append(f"{source}: {why}")

    def refuse(self, source: str, why: object) -> None:
        """Note that a source holds something wrong."""
        self.miss(source, why)
        self.wrong.append(self.tried[-1])

    def say(self, done: int, what: str) -> None:
        """Report progress, in bytes."""
        self.progress(done, self.size or 0, what)

    def verify(self, path: Path, stored: StoredModel | None = None) -> str:
        """The sha256 of a file if it is the known one, or the one that a store describes. Raises Refused."""
        size, sha256 = (stored.size, stored.digest) if stored else (self.size, self.sha256)
        total = size or file_size(path) or 0
        return verify(path, self.stamps, size, sha256, lambda done: self.progress(done, total, f"checking {path.name}"))

    def weights(self, path: Path, digest: str, title: str, source: Source) -> Weights:
        """The result of the search."""
        title = self.known.title if self.known else title
        return Weights(self.name, path.absolute(), digest, file_size(path) or 0, title, source, tuple(self.wrong))

    def _verified(self, path: Path, title: str, source: Source, stored: StoredModel | None = None) -> Weights | None:
        """The file if its bytes are the right ones; otherwise notes why not."""
        try:
            return self.weights(path, self.verify(path, stored), title, source)
        except Refused as why:
            self.refuse("Ollama" if source == "ollama" else source, why)
            return None


def _other_bytes(name: str, found: str, wanted: str) -> str:
    return f"has {name}, but other bytes: sha256 {found}, expected {wanted}"


# --- our copies -----------------------------------------------------------------------------------------------------


class Kept(NamedTuple):
    """A file of weights in our cache."""

    name: str
    """The model's; the file's for weights that this version does not know."""
    path: Path
    size: int
    """Bytes."""
    whole: bool
    """False for a download that was interrupted."""

    def is_called(self, name: str) -> bool:
        """Whether a user means this file by a name."""
        return name in (self.name, self.path.name) or canonical(name) == self.name


def kept_files(cache: Path) -> list[Kept]:
    """Every file of weights in our cache, the largest first; empty if there is no cache."""
    names = {cache_file(cache, known).name: known.name for known in catalog.CATALOG.values()}
    found = []
    for path in sorted(cache.glob("*.gguf")) + sorted(cache.glob("*.gguf.partial")):
        size, whole = file_size(path), path.suffix == ".gguf"
        if size is not None:
            file = path.name if whole else path.stem
            found.append(Kept(names.get(file, file), path, size, whole))
    return sorted(found, key=lambda each: -each.size)


# --- all models ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Listed:
    """A model that can be requested, for lists: its bytes were not read."""

    name: str
    size: int | None = None
    """Bytes."""
    licence: str | None = None
    """SPDX identifier."""
    digest: str | None = None
    """The sha256 that the file should have."""
    path: Path | None = None
    """None if it is not on this machine."""
    checked: bool = False
    """Whether this very file has been checked: its sha256 is on record."""
    partial: int = 0
    """Bytes that an interrupted pull left."""
    note: str = ""
    """What is wrong; "" if nothing is."""


def known_here(places: Places) -> list[Listed]:
    """Every known model, present or not, then every other name in the Ollama stores. Reads no weights."""
    stamps = Stamps(places.cache)
    stored, _ = read_stores(places.ollama)
    rows = [_list_known(known, places, stamps, stored.get(known.name)) for known in catalog.CATALOG.values()]
    return rows + [_list_stored(stored[name], stamps) for name in sorted(stored) if name not in catalog.CATALOG]


def listed(name: str, places: Places) -> Listed | None:
    """One of `known_here`, by its name in any spelling; None if neither localgif nor a store knows it."""
    return next((each for each in known_here(places) if each.name == canonical(name)), None)


def _list_known(known: KnownModel, places: Places, stamps: Stamps, manifest: Manifest | None) -> Listed:
    target = cache_file(places.cache, known)
    kept = Partial(target, known.size).kept()
    row = bind(Listed, known.name, known.size, known.licence, known.sha256, partial=kept)
    note = ""
    for path in (target, _find_blob(known.sha256, places.ollama)):
        size = file_size(path) if path else None
        if path is None or size is None:
            continue
        digest = _stamped(stamps, path)
        if size == known.size and digest in (None, known.sha256):
            return row(path=path, checked=digest is not None, note=note)
        note = note or f"{path} holds other bytes"
    if manifest is not None and not note:
        try:
            note = f"Ollama {_other_bytes(known.name, read_manifest(manifest).digest, known.sha256)}"
        except Refused as why:
            note = f"Ollama: {why}"
    return row(note=note)


def _list_stored(manifest: Manifest, stamps: Stamps) -> Listed:
    try:
        stored = read_manifest(manifest)
    except Refused as why:
        return Listed(manifest.name, note=str(why))
    row = bind(Listed, stored.name, stored.size, digest=stored.digest)
    size = file_size(stored.blob)
    if size is None or stored.size not in (None, size):
        return row(note=f"{stored.blob} is missing or incomplete")
    return row(path=stored.blob, checked=_stamped(stamps, stored.blob) == stored.digest)


def _stamped(stamps: Stamps, path: Path) -> str | None:
    try:
        return stamps.digest_of(path, path.stat())
    except OSError:
        return None
