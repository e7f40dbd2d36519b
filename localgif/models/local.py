"""The sources on this machine: a path the user gives, our cache, the stores of Ollama. No network.

Files are used where they are; what is wrong with one is noted, and the next source is looked at.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial as bind
from pathlib import Path
from typing import Literal

from localgif.models import ollama_store
from localgif.models.catalog import KnownModel
from localgif.models.verify import OnBytes, Refused, Stamps, Verified, file_size, verify

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
        blob = ollama_store.find_blob(search.known.sha256, stores)
        if blob is not None:
            try:
                return search.weights(blob, search.verify(blob, search.size, search.sha256), search.name, "ollama")
            except Refused as why:
                search.refuse("Ollama", why)
                return None
    listing = ollama_store.listing(stores)
    manifest = listing.manifests.get(search.name)
    if manifest is None:
        search.miss("Ollama", f"no store here has {search.name}")
        for problem in listing.problems:
            search.miss("Ollama", problem)
        return None
    try:
        stored = ollama_store.read(manifest)
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
