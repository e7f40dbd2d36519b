"""Changes one line of models.toml and leaves every other byte as it is. The only module that imports tomlkit."""

from __future__ import annotations

import os
import shutil
import tempfile
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from localgif.config import ModelsFile, Role, read_models
from localgif.errors import ConfigError


class Change(NamedTuple):
    """A file in which one line is another one."""

    text: str
    """The whole file, as it will be."""
    line: int
    """Which line, from 1; 0 when nothing changes."""
    before: str
    after: str


def with_role(file: ModelsFile, role: Role, name: str) -> Change:
    """The text of models.toml with another model in a role; nothing is written.

    Args:
        file: As it was read.
        role: Whose line is changed.
        name: What [roles] is to name: checked by the caller.

    Raises:
        ConfigError: more than that line would change, as with roles written in a way that tomlkit rewrites.
    """
    import tomlkit

    document = tomlkit.parse(file.text)
    document["roles"][role] = name
    text = tomlkit.dumps(document)
    wanted = tomllib.loads(file.text)
    wanted["roles"][role] = name
    before, after = file.text.split("\n"), text.split("\n")
    other = [number for number, lines in enumerate(zip(before, after, strict=False)) if lines[0] != lines[1]]
    if len(before) != len(after) or len(other) > 1 or tomllib.loads(text) != wanted:
        raise ConfigError(
            f"{file.path}: roles.{role} is written in a way that cannot be changed without touching other lines",
            f'change it by hand: {role} = "{name}" under [roles]',
        )
    read_models(file.path, text)
    if not other:
        return Change(text, 0, "", "")
    number = other[0]
    return Change(text, number + 1, before[number].rstrip("\r"), after[number].rstrip("\r"))


def replace_file(path: Path, text: str) -> None:
    """Replace a file as a whole: a reader sees the old text or the new one. Permissions stay, and a link stays a link.

    Raises:
        ConfigError: it cannot be written; the old file is untouched.
    """
    real = path.resolve()
    try:
        handle, temporary = tempfile.mkstemp(dir=real.parent, prefix=f".{real.name}-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="") as out:
                out.write(text)
                out.flush()
                os.fsync(out.fileno())
            shutil.copymode(real, temporary)
            Path(temporary).replace(real)
        except BaseException:
            with suppress(OSError):
                Path(temporary).unlink()
            raise
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be changed: {error.strerror or error}", "check the permissions of the file and its folder"
        ) from None
