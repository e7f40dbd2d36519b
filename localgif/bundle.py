"""Everything that an air-gapped machine of the same kind needs, in one folder."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
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

from packaging.markers import InvalidMarker, Marker

from localgif import __version__
from localgif.errors import ConfigError, PreflightError, nearest
from localgif.models.catalog import lookup
from localgif.models.download import last_words
from localgif.models.fetch import pull
from localgif.models.find import Places, Weights, cache_file
from localgif.models.toml import ModelsFile
from localgif.settings import ModelSettings

MACHINES = ("x86_64", "aarch64")

PYTHONS = ("3.11", "3.12", "3.13")

#: The oldest glibc that wheels are built for (manylinux2014).
OLDEST_GLIBC = 17

_PIN = re.compile(
    r"^(?P<name>[A-Za-z0-9][\w.-]*)==(?P<version>[^\s;\\]+)(?: ; (?P<marker>[^\\\n]*?))? \\\n"
    r"(?P<hashes>(?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Target:
    """The machine that a bundle is for: CPython on Linux with glibc."""

    python: str
    """Major and minor version, e.g. "3.12"."""
    machine: str
    """As `uname -m` says it."""


@dataclass(frozen=True)
class Pin:
    """One package of the lock."""

    name: str
    version: str
    marker: str
    """Where it is needed; "" for everywhere."""
    hashes: frozenset[str]
    """sha256 of each of its files, hex."""


def this_target() -> Target:
    """The machine that we are on."""
    return Target(f"{sys.version_info.major}.{sys.version_info.minor}", platform.machine())


def read_lock(text: str) -> tuple[Pin, ...]:
    """The packages of a lock as uv writes it.

    Raises:
        ConfigError: there is none, or a line that begins a package is not understood.
    """
    pins = tuple(
        Pin(
            match["name"].lower(),
            match["version"],
            (match["marker"] or "").strip(),
            frozenset(re.findall(r"sha256:([0-9a-f]{64})", match["hashes"])),
        )
        for match in _PIN.finditer(text)
    )
    begun = len(re.findall(r"^[A-Za-z0-9]", text, re.MULTILINE))
    if not pins or len(pins) != begun:
        raise ConfigError(
            f"requirements.lock holds {begun} packages, of which {len(pins)} have a version and hashes",
            "make it again: ./scripts/lock",
            code="E-BUNDLE-LOCK",
        )
    return pins


def needed(pins: Sequence[Pin], target: Target) -> tuple[Pin, ...]:
    """Those that the target needs.

    Raises:
        ConfigError: a marker cannot be read, or two versions of a package are needed at once.
    """
    environment = {
        "implementation_name": "cpython",
        "implementation_version": f"{target.python}.0",
        "os_name": "posix",
        "platform_machine": target.machine,
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "python_full_version": f"{target.python}.0",
        "python_version": target.python,
        "sys_platform": "linux",
    }
    chosen: dict[str, Pin] = {}
    for pin in pins:
        try:
            wanted = not pin.marker or Marker(pin.marker).evaluate(environment)
        except InvalidMarker as error:
            raise ConfigError(
                f"requirements.lock: {pin.name}: {error}", "make it again: ./scripts/lock", code="E-BUNDLE-LOCK"
            ) from None
        if not wanted:
            continue
        if pin.name in chosen:
            where = f"CPython {target.python} on {target.machine}"
            raise ConfigError(
                f"requirements.lock holds {pin.name} twice for {where}",
                "make it again: ./scripts/lock",
                code="E-BUNDLE-LOCK",
            )
        chosen[pin.name] = pin
    return tuple(chosen.values())


def as_requirements(pins: Sequence[Pin]) -> str:
    """The text of a requirements file for pip, without markers: pip would judge them by the Python it runs on."""
    return "".join(
        f"{pin.name}=={pin.version} " + " ".join(f"--hash=sha256:{digest}" for digest in sorted(pin.hashes)) + "\n"
        for pin in pins
    )


def tags(target: Target, glibc: int) -> tuple[str, ...]:
    """Platform tags of wheels that run there, those for the oldest glibc first.

    Args:
        glibc: Minor version of the newest glibc 2 that may be asked for.
    """
    newest = max(glibc, OLDEST_GLIBC)
    named = [f"manylinux2014_{target.machine}"]
    return (*named, *(f"manylinux_2_{minor}_{target.machine}" for minor in range(OLDEST_GLIBC, newest + 1)))


def glibc_here() -> int:
    """Minor version of this machine's glibc 2; the oldest one's where there is none."""
    library, version = platform.libc_ver()
    parts = version.split(".")
    if library != "glibc" or parts[0] != "2" or len(parts) < 2 or not parts[1].isdigit():
        return OLDEST_GLIBC
    return int(parts[1])


SUMS = "SHA256SUMS"


def sha256_of(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seal(folder: Path) -> str:
    """Write the sums of all files, in the form of sha256sum; a reader sees all of it or none.

    Returns:
        The sha256 of SHA256SUMS itself: who knows it can tell this bundle from any other.

    Raises:
        OSError: The disk.
    """
    names = sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() and path.name != SUMS
    )
    text = "".join(f"{sha256_of(folder / name)}  {name}\n" for name in names)
    temporary = folder / f".{SUMS}"
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(folder / SUMS)
    return hashlib.sha256(text.encode()).hexdigest()


def fetch_wheels(pins: Sequence[Pin], target: Target, glibc: int, folder: Path) -> tuple[Path, ...]:
    """Bring one wheel of each package into `folder`; what is there already, with the right bytes, is not fetched again.

    Files that the lock does not name are removed: a newer lock may have left them.

    Raises:
        PreflightError: pip cannot bring them; its words are in the message.
        OSError: The disk.
    """
    folder.mkdir(exist_ok=True)
    requirements = folder.parent / ".requirements"
    requirements.write_text(as_requirements(pins), "utf-8")
    try:
        _download(requirements, target, glibc, folder)
    finally:
        requirements.unlink()
    wanted = {digest for pin in pins for digest in pin.hashes}
    for path in sorted(folder.iterdir()):
        if sha256_of(path) not in wanted:
            path.unlink()
    wheels = tuple(sorted(folder.glob("*.whl")))
    there = {_package(path) for path in wheels}
    lacking = [f"{pin.name}=={pin.version}" for pin in pins if (pin.name, pin.version) not in there]
    if lacking:
        raise PreflightError(f"pip did not bring {', '.join(lacking)}", "run the command again", code="E-BUNDLE-FETCH")
    return wheels


def _download(requirements: Path, target: Target, glibc: int, folder: Path) -> None:
    """Raises PreflightError."""
    # -P: a pip.py in the current folder is not pip.
    command = [sys.executable, "-P", "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
    command += ["--require-hashes", "--no-deps", "--only-binary=:all:", "--progress-bar", "off"]
    command += ["--implementation", "cp", "--python-version", target.python]
    command += [word for tag in tags(target, glibc) for word in ("--platform", tag)]
    done = subprocess.run(
        [*command, "-d", str(folder), "-r", str(requirements)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    if done.returncode:
        raise PreflightError(
            f"the wheels for CPython {target.python} on {target.machine} cannot be had: "
            f"{last_words(done.stderr) or f'pip ended with status {done.returncode}'}",
            "A bundle is made on a machine that reaches a package index (pip config list, PIP_INDEX_URL). What was "
            "fetched is kept: the same command goes on there.",
            code="E-BUNDLE-FETCH",
        )


def _package(wheel: Path) -> tuple[str, str]:
    """Name and version in a wheel's file name, spelled as in a lock."""
    name, version = wheel.name.split("-")[:2]
    return re.sub(r"[-_.]+", "-", name).lower(), version


#: What of the folder is the project. Anything else (a .env, runs, an environment) stays where it is.
NEEDED = (
    "Justfile",
    "LICENSE",
    "README.md",
    "localgif",
    "models.toml",
    "pyproject.toml",
    "requirements.lock",
    "scripts",
)

ALSO = (".ci", ".gitignore", "CHANGELOG.md", "CONTRIBUTING.md", "docs", "tests")

#: The date of every file in it, so that the same tree gives the same bytes: 2020-01-01.
_DATE = 1_577_836_800

OFFLINE = "offline = true   # written by localgif bundle: nothing is fetched on this machine\n"


def project_root() -> Path:
    """The folder that localgif runs from.

    Raises:
        ConfigError: localgif was installed without it.
    """
    root = Path(__file__).resolve().parents[1]
    lacking = [name for name in NEEDED if not (root / name).exists()]
    if lacking:
        raise ConfigError(
            f"localgif is installed in {root} without {', '.join(lacking)}: it cannot bundle itself",
            "run the command in a checkout of the project: ./scripts/just bundle --out DIR",
            code="E-BUNDLE-DIR",
        )
    return root


def write_project(root: Path, models: str, target: Path) -> None:
    """Write the tar file.

    Args:
        models: The text of its models.toml.

    Raises:
        OSError: The disk.
    """
    replaced = {"models.toml": offline_by_default(models).encode()}
    with tarfile.open(target, "w") as archive:
        for name in project_files(root):
            data = replaced[name] if name in replaced else (root / name).read_bytes()
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime = len(data), _DATE
            entry.mode = 0o755 if (root / name).stat().st_mode & 0o100 else 0o644
            archive.addfile(entry, io.BytesIO(data))


def project_files(root: Path) -> list[str]:
    """Their names relative to the root, sorted."""
    names = []
    for top in (*NEEDED, *ALSO):
        path = root / top
        if path.is_dir():
            names += [found.relative_to(root).as_posix() for found in _below(path)]
        elif path.is_file():
            names.append(top)
    return sorted(names)


def _below(folder: Path) -> Iterator[Path]:
    for path, folders, names in os.walk(folder):
        # Caches of Python and of tools.
        folders[:] = [name for name in folders if name != "__pycache__" and not name.startswith(".")]
        yield from (Path(path, name) for name in names if not name.endswith((".pyc", ".pyo")))


def offline_by_default(models: str) -> str:
    """A models.toml that says offline = true, unless it says something about it already."""
    lines = models.splitlines(keepends=True)
    # A key of the whole file stands before its first table; comments at the top may belong to an editor.
    first = next((i for i, line in enumerate(lines) if line.strip() and not line.lstrip().startswith("#")), len(lines))
    for line in lines[first:]:
        if line.lstrip().startswith("["):
            break
        if line.split("=")[0].strip() in ("offline", '"offline"', "'offline'"):
            return models
    return "".join([*lines[:first], OFFLINE, "\n", *lines[first:]])


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
        (out / "install.sh").write_bytes(resources.files("localgif").joinpath("install.sh").read_bytes())
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
