"""Finds the models.toml that a command uses, and the folder of its runs."""

from __future__ import annotations

import os
from pathlib import Path

from localgif.errors import ConfigError
from localgif.files import is_file
from localgif.offline import config_folder, named_models_file

NAME = "models.toml"
#: Follows the path of the built-in file in messages.
BUILT_IN = " (built-in; create your own: localgif init)"


def models_file() -> Path:
    """The models.toml to use if the command line names none.

    The first of: what LOCALGIF_MODELS names; the file of this folder or of the nearest one above it; the user's own, in
    the folder for settings; the built-in one.

    Raises:
        ConfigError: LOCALGIF_MODELS names a file that does not exist.
    """
    named = named_models_file()
    if named is not None:
        if not named.exists():
            raise ConfigError(
                f"LOCALGIF_MODELS names {named}, which does not exist",
                "correct the variable, or unset it: unset LOCALGIF_MODELS",
                code="E-CONFIG-FILE",
            )
        return named
    project, settings = _project(), config_folder()
    if project is not None:
        return project / NAME
    if settings is not None and is_file(settings / NAME):
        return settings / NAME
    return built_in()


def built_in() -> Path:
    """The models.toml that ships with localgif: in the package, or, in a checkout, beside it."""
    package = Path(__file__).parents[1]
    inside = package / NAME
    return inside if inside.exists() else package.parent / NAME


def runs_folder() -> Path:
    """The folder of runs: beside the models.toml of this folder or of the nearest one above, else in this folder."""
    return (_project() or Path()) / "runs"


def _project() -> Path | None:
    """This folder (as ""), or the nearest one above it, that has a models.toml; None if there is none.

    A file above this folder counts only if the user or root owns it: in a shared folder such as /tmp anybody could
    leave one, and it decides which server receives prompts.
    """
    if Path(NAME).exists():
        return Path()
    try:
        above = Path.cwd().parents
    except OSError:  # this folder was removed
        return None
    return next((folder for folder in above if _is_ours(folder / NAME)), None)


def _is_ours(path: Path) -> bool:
    try:
        return path.is_file() and path.stat().st_uid in (os.getuid(), 0)
    except OSError:
        return False
