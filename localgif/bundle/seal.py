"""What makes a folder a whole bundle: SHA256SUMS, written last, with every file in it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

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
