"""Collects everything that an air-gapped machine of the same kind needs, in one folder."""

from __future__ import annotations

import contextlib
import hashlib
import io
import platform
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from packaging.tags import platform_tags

from localgif import __version__
from localgif.errors import ConfigError, PreflightError
from localgif.files import replace_file, sha256_of
from localgif.models.catalog import lookup
from localgif.models.download import last_words, pip_download
from localgif.models.fetch import pull
from localgif.models.find import Places, Weights, cache_file
from localgif.models.toml import ModelsFile
from localgif.run.checks import Pin, read_lock
from localgif.settings import ModelSettings

SUMS = "SHA256SUMS"

#: The files and folders of the project. Everything else (a .env, runs, an environment) is left out.
_NEEDED = ["Justfile", "LICENSE", "README.md", "localgif", "models.toml", "pyproject.toml", "requirements.lock"]
_NEEDED += ["scripts"]
_OPTIONAL = [".ci", ".gitattributes", ".gitignore", "CHANGELOG.md", "CONTRIBUTING.md", "docs", "tests"]
#: 2020-01-01, the date of every file in the archive, so that the same tree gives the same bytes.
_DATE = 1_577_836_800
_OFFLINE = "offline = true   # written by localgif bundle: localgif downloads nothing on this machine\n"

#: Receives a line about the current step.
Say = Callable[[str], None]
#: Receives downloaded bytes, total bytes, and what is downloaded.
Download = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Bundle:
    """A complete bundle."""

    folder: Path
    sizes: dict[str, tuple[int, int]]
    """Part -> (files, bytes)."""
    digest: str
    """sha256 of SHA256SUMS, which identifies the bundle."""
    kind: tuple[str, ...]
    """What the target machine must have, e.g. ("python 3.12", "machine x86_64", "libc glibc", "glibc 2.28")."""


def kind_here() -> str:
    """The lines of bundle.txt with this machine's Python, processor and libc; install.sh compares them."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return f"python {python}\nmachine {platform.machine()}\nlibc {platform.libc_ver()[0] or 'other'}\n"


def models_to_carry(file: ModelsFile, aliases: Sequence[str]) -> tuple[ModelSettings, ...]:
    """The models whose weights go into the bundle: the named ones, or the embedded models of the two roles.

    Raises:
        ConfigError: localgif cannot bundle or verify the weights of a model.
    """
    roles = (file.role("animator"), file.role("reflector"))
    chosen = [file.role("animator", alias) for alias in aliases] or [m for m in roles if m.endpoint.kind == "embedded"]
    carried: dict[str, ModelSettings] = {}
    for model in chosen:
        if model.endpoint.kind != "embedded":
            raise ConfigError(
                f"--model {model.alias} runs on {model.endpoint.name}: localgif cannot bundle the weights of a server",
                "name a model of the embedded endpoint, or copy the server's models with the server's own tools",
                code="E-BUNDLE-MODEL",
            )
        known = lookup(model.model)
        if known is None:
            raise ConfigError(
                f"--model {model.alias}: {model.model} is not in localgif's catalogue, so its sha256 cannot be checked",
                "name another model with --model NAME, and copy this GGUF file yourself",
                code="E-BUNDLE-MODEL",
            )
        carried.setdefault(known.name, model)
    return tuple(carried.values())


def collect(
    out: Path, models: ModelsFile, carried: Sequence[ModelSettings], places: Places, say: Say, download: Download
) -> Bundle:
    """Make the bundle in the folder `out`, or finish an interrupted one.

    Args:
        models: Becomes the bundle's models.toml, with `offline = true`.
        carried: The result of `models_to_carry`.
        places: Where this machine keeps weights.

    Raises:
        ConfigError: The folder contains something else, or a complete bundle.
        PreflightError: This system cannot make bundles, a download failed, or the disk is full.
    """
    if sys.platform != "linux":
        raise PreflightError(
            f"a bundle can be made only on Linux, this is {sys.platform}: its wheels are chosen by glibc version",
            "make it on a Linux machine like the target machine, or copy this folder and its .venv yourself",
        )
    with _disk_errors(out):
        root = project_root()
        pins = read_lock((root / "requirements.lock").read_text("utf-8"))
        kind = f"localgif {__version__}\n{kind_here()}"
        _claim(out, kind)
        (out / "install.sh").write_bytes(resources.files("localgif").joinpath("install.sh").read_bytes())
        write_project(root, models, out / "project.tar")
        say(f"{len(pins)} wheels for {sys.implementation.name} {platform.python_version()} on {platform.machine()}")
        wheels = _fetch_wheels(root / "requirements.lock", pins, out / "wheels")
        kind += f"glibc {_glibc_needed(wheels)}\n"
        replace_file(out / "bundle.txt", kind.encode())
        _carry_weights(carried, places, out / "weights", say, download)
        say("computing the checksums of all files")
        digest = seal(out)
        sizes = {part: _size(out, part) for part in ("wheels", "weights", "project.tar", "")}
        return Bundle(out, sizes, digest, tuple(kind.splitlines()[1:]))


def seal(folder: Path) -> str:
    """Write SHA256SUMS, which completes the bundle, for sha256sum; returns its own sha256. Raises OSError."""
    names = sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() and path.name != SUMS
    )
    data = "".join(f"{sha256_of(folder / name)}  {name}\n" for name in names).encode()
    replace_file(folder / SUMS, data)
    return hashlib.sha256(data).hexdigest()


@contextlib.contextmanager
def _disk_errors(out: Path) -> Iterator[None]:
    """Turn an OSError in the block into a PreflightError with a remedy."""
    try:
        yield
    except OSError as error:
        raise PreflightError(
            f"{error.filename or out} cannot be written: {error.strerror or error}",
            "free some space and repeat the command, which continues where it stopped; or choose another -o",
            code="E-DISK",
        ) from error


def _claim(out: Path, kind: str) -> None:
    """Create the folder, or check that it holds an unfinished bundle of the same kind. Raises ConfigError, OSError."""
    out.mkdir(parents=True, exist_ok=True)
    begun, remedy = out / "bundle.txt", "choose another -o, or remove it"
    if (out / SUMS).exists():
        raise ConfigError(f"{out} already holds a complete bundle", remedy, code="E-BUNDLE-DIR")
    if not begun.exists():
        if any(out.iterdir()):
            raise ConfigError(f"{out} is not empty, and is not a bundle", "choose another -o", code="E-BUNDLE-DIR")
    elif not (before := begun.read_text("utf-8", "replace")).startswith(kind):
        raise ConfigError(
            f"{out} holds an unfinished bundle of another kind ({', '.join(before.splitlines()[:4])})",
            remedy,
            code="E-BUNDLE-DIR",
        )
    begun.write_text(kind, "utf-8")


# --- wheels ----------------------------------------------------------------------------------------------------------


def _fetch_wheels(lock: Path, pins: Sequence[Pin], folder: Path) -> list[Path]:
    """Download every wheel of the lock that this machine needs into `folder`, and delete all other files there.

    Raises:
        PreflightError: pip cannot download a wheel; the message quotes pip.
    """
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        pip_download("--quiet", "--require-hashes", *_platforms(), "-d", str(folder), "-r", str(lock)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    if done.returncode:
        raise PreflightError(
            f"pip cannot download the wheels: {last_words(done.stderr) or f'it ended with status {done.returncode}'}",
            "Check that this machine reaches a package index (pip config list, PIP_INDEX_URL), and repeat the command: "
            "it continues where it stopped.",
            code="E-BUNDLE-FETCH",
        )
    wanted = {digest for pin in pins for digest in pin.hashes}
    for path in sorted(folder.iterdir()):
        if sha256_of(path) not in wanted:  # from an interrupted bundle with an older lock
            path.unlink()
    return sorted(folder.glob("*.whl"))


def _platforms() -> list[str]:
    """pip's options to prefer wheels for the oldest glibc; by default pip prefers the newest."""
    tags = [tag for tag in platform_tags() if tag.startswith("manylinux")]
    return [word for tag in reversed(tags) for word in ("--platform", tag)]


def _glibc_needed(wheels: Sequence[Path]) -> str:
    """The oldest glibc that all wheels run with, e.g. "2.28"; a wheel needs the oldest one in its tags."""
    minors = [min(map(int, found)) for wheel in wheels if (found := re.findall(r"manylinux_2_(\d+)_", wheel.name))]
    return f"2.{max(minors, default=17)}"  # manylinux2014, the oldest tag, means 2.17


# --- weights ---------------------------------------------------------------------------------------------------------


def _carry_weights(
    carried: Sequence[ModelSettings], places: Places, folder: Path, say: Say, download: Download
) -> None:
    """Copy these models' weights into `folder`, and delete all other files there. Raises PreflightError, OSError."""
    folder.mkdir(exist_ok=True)
    wanted = set()
    for model in carried:
        say(f"copying the weights of {model.model}")
        path = Path(model.path).expanduser() if model.path else None
        wanted.add(_carry(pull(model.model, places, path, download), folder))
    for found in folder.iterdir():  # from an interrupted bundle with other models
        if found not in wanted:
            found.unlink()


def _carry(weights: Weights, folder: Path) -> Path:
    """Copy a file of weights under the name of localgif's cache; returns its path. Raises PreflightError, OSError."""
    known = lookup(weights.name)
    assert known is not None  # models_to_carry refuses other models
    target = cache_file(folder, known)
    if not target.exists() or sha256_of(target) != known.sha256:
        part = target.with_suffix(".part")
        shutil.copyfile(weights.path, part)
        if sha256_of(part) != known.sha256:
            raise PreflightError(
                f"the copy of {weights.path} in {folder} differs from the original",
                "check the disk, or choose another -o folder",
                code="E-DISK",
            )
        part.replace(target)
    return target


def _size(folder: Path, part: str) -> tuple[int, int]:
    """The (files, bytes) of a part."""
    path = folder / part
    files = [path] if path.is_file() else [found for found in path.rglob("*") if found.is_file()]
    return len(files), sum(found.stat().st_size for found in files)


# --- the project -----------------------------------------------------------------------------------------------------


def project_root() -> Path:
    """The project's folder, which contains localgif/. Raises ConfigError if localgif was installed without it."""
    root = Path(__file__).resolve().parents[1]
    lacking = [name for name in _NEEDED if not (root / name).exists()]
    if lacking:
        raise ConfigError(
            f"localgif cannot bundle itself: {', '.join(lacking)} missing in {root}",
            "run the command in a checkout of the project: ./scripts/just bundle -o DIR",
            code="E-BUNDLE-DIR",
        )
    return root


def project_files(root: Path) -> list[str]:
    """The project's files, relative to its root, sorted."""
    names = []
    for top in (*_NEEDED, *_OPTIONAL):
        path = root / top
        if path.is_dir():
            found = [each.relative_to(root) for each in path.rglob("*") if each.is_file()]
            names += [name.as_posix() for name in found if not _is_cache(name)]
        elif path.is_file():
            names.append(top)
    return sorted(names)


def write_project(root: Path, models: ModelsFile, target: Path) -> None:
    """Write the project as a tar file, with `models` and `offline = true` as its models.toml. Raises OSError."""
    with tarfile.open(target, "w") as archive:
        for name in project_files(root):
            data = offline_by_default(models).encode() if name == "models.toml" else (root / name).read_bytes()
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime = len(data), _DATE
            entry.mode = 0o755 if (root / name).stat().st_mode & 0o100 else 0o644
            archive.addfile(entry, io.BytesIO(data))


def offline_by_default(models: ModelsFile) -> str:
    """The text of a models.toml with `offline = true` added; unchanged if the file sets `offline` itself."""
    if models.offline is not None:
        return models.text
    lines = models.text.splitlines(keepends=True)
    # Before the first key or table, but below the comments at the top, which an editor may read.
    first = next((i for i, line in enumerate(lines) if line.strip() and not line.lstrip().startswith("#")), len(lines))
    return "".join([*lines[:first], _OFFLINE, "\n", *lines[first:]])


def _is_cache(name: Path) -> bool:
    """Whether a file inside a folder of the project belongs to a cache of Python or of a tool."""
    inner = name.parts[1:-1]
    return name.suffix == ".pyc" or any(part == "__pycache__" or part.startswith(".") for part in inner)
