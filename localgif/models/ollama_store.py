"""The blob store of an Ollama on this machine, read only.

`manifests/<host>/<namespace>/<model>/<tag>` is JSON; its layer of weights names `blobs/sha256-<hex>`. The files are
used where they are: never copied, moved or changed. Newer versions of Ollama keep names under `manifests-v2` too.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localgif.models.catalog import canonical
from localgif.models.verify import Refused, file_size, reason_of

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


def listing(stores: Iterable[Path]) -> Listing:
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
