"""What can be asked for, for `localgif models list`: without reading gigabytes, so by sizes and stamps only."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial as bind
from pathlib import Path

from localgif.models import catalog, ollama_store
from localgif.models.catalog import KnownModel
from localgif.models.local import Places, Source, cache_file, other_bytes
from localgif.models.partial import Partial
from localgif.models.verify import Refused, Stamps, file_size


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
    stored = ollama_store.listing(places.ollama).manifests
    rows = [_list_known(known, places, stamps, stored.get(known.name)) for known in catalog.CATALOG.values()]
    rows += [_list_stored(stored[name], stamps) for name in sorted(stored) if name not in catalog.CATALOG]
    return rows


def _list_known(known: KnownModel, places: Places, stamps: Stamps, manifest: ollama_store.Manifest | None) -> Listed:
    target = cache_file(places.cache, known)
    blob = ollama_store.find_blob(known.sha256, places.ollama)
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
            note = f"Ollama {other_bytes(known.name, ollama_store.read(manifest).digest, known.sha256)}"
        except Refused as why:
            note = f"Ollama: {why}"
    return row(source=None, path=None, checked=False, note=note)


def _list_stored(manifest: ollama_store.Manifest, stamps: Stamps) -> Listed:
    try:
        stored = ollama_store.read(manifest)
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
