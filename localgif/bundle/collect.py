"""Everything that a machine without a network needs, in one folder: wheels, weights, the project, install.sh.

    DIR/  install.sh  bundle.txt  project.tar  wheels/*.whl  weights/*.gguf  SHA256SUMS

SHA256SUMS is written last, so a folder without it is a bundle that was interrupted: the same command goes on there.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from localgif import __version__
from localgif.bundle.fetch import fetch_wheels
from localgif.bundle.lock import MACHINES, PYTHONS, Target, glibc_here, needed, read_lock
from localgif.bundle.project import project_root, write_project
from localgif.bundle.seal import SUMS, seal, sha256_of
from localgif.config import ModelSettings, ModelsFile, nearest
from localgif.errors import ConfigError, PreflightError
from localgif.models.catalog import lookup
from localgif.models.fetch import Places, Weights, cache_file, pull

Say = Callable[[str], None]
Download = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Bundle:
    """A whole bundle."""

    folder: Path
    sizes: dict[str, tuple[int, int]]
    """Part -> (files, bytes)."""
    digest: str
    """sha256 of SHA256SUMS."""


def known_target(python: str, machine: str) -> Target:
    """Raises ConfigError: nobody has tried the project there."""
    if python not in PYTHONS:
        raise ConfigError(f"--python-version {python}: localgif runs on {', '.join(PYTHONS)}", nearest(python, PYTHONS))
    if machine not in MACHINES:
        raise ConfigError(f"--platform {machine}: the lock is for {', '.join(MACHINES)}", nearest(machine, MACHINES))
    return Target(python, machine)


def models_to_carry(file: ModelsFile, aliases: Sequence[str]) -> tuple[ModelSettings, ...]:
    """The models whose weights go along: those named, else the roles' that are embedded.

    Raises:
        ConfigError: one that is named has no weights that can be carried.
    """
    roles = (file.role("animator"), file.role("reflector"))
    chosen = [file.role("animator", alias) for alias in aliases] or [m for m in roles if m.endpoint.kind == "embedded"]
    carried: dict[str, ModelSettings] = {}
    for model in chosen:
        if model.endpoint.kind != "embedded":
            raise ConfigError(
                f"--model {model.alias} runs on {model.endpoint.name}, a server of its own: it has no weights here",
                "name a model of the embedded endpoint, or carry the server's models by its own means",
                code="E-BUNDLE-MODEL",
            )
        known = lookup(model.model)
        if known is None:
            raise ConfigError(
                f"--model {model.alias}: {model.model} is none of the known weights, whose sha256 can be checked",
                "leave it out (--model NAME of another one) and carry its GGUF file and path yourself",
                code="E-BUNDLE-MODEL",
            )
        carried.setdefault(known.name, model)
    return tuple(carried.values())


def collect(
    out: Path,
    models: ModelsFile,
    carried: Sequence[ModelSettings],
    target: Target,
    places: Places,
    say: Say,
    download: Download,
) -> Bundle:
    """Make the bundle, or finish one that was interrupted.

    Args:
        out: Its folder; made when it is not there.
        models: The models file that goes along as models.toml.
        carried: What `models_to_carry` gave.
        target: The machine that it is for.
        places: Where weights are kept here.
        say: Told what is being done.
        download: Told how far weights are.

    Raises:
        ConfigError: the folder holds something else, or a bundle already.
        PreflightError: no package index, no weights, or the disk.
    """
    with _writing(out):
        root = project_root()
        pins = needed(read_lock((root / "requirements.lock").read_text("utf-8")), target)
        _begin(out, f"localgif {__version__}\npython {target.python}\nmachine {target.machine}\n")
        (out / "install.sh").write_bytes(resources.files("localgif.bundle").joinpath("install.sh").read_bytes())
        write_project(root, models.path.read_text("utf-8"), out / "project.tar")
        say(f"{len(pins)} wheels for CPython {target.python} on {target.machine}")
        fetch_wheels(pins, target, glibc_here(), out / "wheels")
        _carry_weights(carried, places, out / "weights", say, download)
        say("checksums of everything")
        digest = seal(out)
        return Bundle(out, {part: _size(out, part) for part in ("wheels", "weights", "project.tar", "")}, digest)


@contextlib.contextmanager
def _writing(out: Path) -> Iterator[None]:
    """What goes wrong with files in here is told as what went wrong with the bundle."""
    try:
        yield
    except OSError as error:
        raise PreflightError(
            f"{error.filename or out} cannot be written: {error.strerror or error}",
            "free some space, or choose another --out; the same command goes on where it stopped",
            code="E-DISK",
        ) from error


def _begin(out: Path, manifest: str) -> None:
    """Claim the folder. Raises ConfigError, OSError."""
    out.mkdir(parents=True, exist_ok=True)
    begun = out / "bundle.txt"
    if (out / SUMS).exists():
        raise ConfigError(
            f"{out} holds a whole bundle already", "choose another --out, or remove it", code="E-BUNDLE-DIR"
        )
    if begun.exists():
        before = begun.read_text("utf-8", "replace")
        if before != manifest:
            words = ", ".join(before.split("\n")[:3])
            raise ConfigError(
                f"{out} was begun as another bundle ({words})",
                "choose another --out, or remove it",
                code="E-BUNDLE-DIR",
            )
    elif any(out.iterdir()):
        raise ConfigError(
            f"{out} is not empty, and what is in it is no bundle", "choose another --out", code="E-BUNDLE-DIR"
        )
    begun.write_text(manifest, "utf-8")


def _carry_weights(
    carried: Sequence[ModelSettings], places: Places, folder: Path, say: Say, download: Download
) -> None:
    """Make `folder` hold the weights of these models and nothing else. Raises PreflightError, OSError."""
    folder.mkdir(exist_ok=True)
    wanted = set()
    for model in carried:
        say(f"the weights of {model.model}")
        path = Path(model.path).expanduser() if model.path else None
        wanted.add(_carry(pull(model.model, places, path, download), folder))
    for found in folder.iterdir():  # what an interrupted bundle with other models left
        if found not in wanted:
            found.unlink()


def _carry(weights: Weights, folder: Path) -> Path:
    """Copy a file of weights under the name that localgif looks for. Raises PreflightError, OSError."""
    known = lookup(weights.name)
    assert known is not None  # models_to_carry takes no others
    target = cache_file(folder, known)
    if not target.exists() or sha256_of(target) != known.sha256:
        part = target.with_suffix(".part")
        shutil.copyfile(weights.path, part)
        if sha256_of(part) != known.sha256:
            raise PreflightError(
                f"the copy of {weights.path} is not what was read", "is the disk well? another --out", code="E-DISK"
            )
        part.replace(target)
    return target


def _size(folder: Path, part: str) -> tuple[int, int]:
    """Files and bytes of a part."""
    path = folder / part
    files = [path] if path.is_file() else [found for found in path.rglob("*") if found.is_file()]
    return len(files), sum(found.stat().st_size for found in files)
