"""`localgif bundle`: everything that a machine without a network needs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from localgif.command import DEFAULT_MODELS, ModelsOption, command, load_models, make_console


@command
def bundle(
    out: Annotated[Path, typer.Option("--out", help="Folder to make.", metavar="DIR")],
    model: Annotated[
        list[str] | None,
        typer.Option(help="Model of models.toml whose weights go along; may be repeated (default: the roles')."),
    ] = None,
    platform: Annotated[
        str | None, typer.Option(help="Machine that it is for: x86_64, aarch64 (default: as this one).")
    ] = None,
    python_version: Annotated[
        str | None, typer.Option(help="CPython that it is for: 3.11, 3.12, 3.13 (default: as this one).", metavar="X.Y")
    ] = None,
    models: ModelsOption = DEFAULT_MODELS,
) -> None:
    """Collect wheels, weights and the project in a folder that installs without a network."""
    from localgif.bundle.collect import collect, known_target, models_to_carry
    from localgif.bundle.lock import this_target
    from localgif.display import make_progress
    from localgif.environment import weights_environment
    from localgif.models.fetch import places_for

    here = this_target()
    target = known_target(python_version or here.python, platform or here.machine)
    file = load_models(models, offline=False)
    carried = models_to_carry(file, model or [])
    with make_progress(make_console(stderr=True)) as progress:
        whole = collect(
            out, file, carried, target, places_for(*weights_environment()), progress.note, progress.download
        )
    if not carried:
        print("note: no weights go along; both roles run on servers of their own", file=sys.stderr)
    for part, (files, size) in whole.sizes.items():
        print(f"{part or 'all':<12} {files:>4} file{' ' if files == 1 else 's'} {size / 1e6:>9,.1f} MB")
    print(f"{whole.folder}: for CPython {target.python} on Linux {target.machine}")
    print(f"sha256 of its SHA256SUMS: {whole.digest}")
    print(f"there:  sh {whole.folder.name}/install.sh TARGET")
