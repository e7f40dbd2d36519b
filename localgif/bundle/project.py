"""The project itself as one tar file: what `just optimize` and `just test` need, and nothing else of the folder."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

from localgif.errors import ConfigError

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
    root = Path(__file__).resolve().parents[2]
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
