"""`localgif models`: models.toml and the weights behind it."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from localgif.command import DEFAULT_MODELS, ModelsOption, command, load_models, make_console

models_app = typer.Typer(help="models.toml and the weights behind it.", no_args_is_help=True, rich_markup_mode=None)


@models_app.command("list")
@command
def models_list(models: ModelsOption = DEFAULT_MODELS) -> None:
    """The models of models.toml, and the weights that localgif knows or finds on this machine."""
    from localgif.models.fetch import known_here
    from localgif.search.roles import places
    from localgif.tables import weights_word

    file = load_models(models)
    roles = {role: file.role(role).alias for role in ("animator", "reflector")}
    print(f"{file.path}:")
    for alias in file.aliases:
        settings = file.role("animator", alias)
        marks = ", ".join(role for role, chosen in roles.items() if chosen == alias)
        print(f"  {alias:<24} {settings.model:<24} on {settings.endpoint.name}" + (f"   <- {marks}" if marks else ""))
    print("weights for the embedded endpoint:")
    for known in known_here(places()):
        print(f"  {known.name:<24} {weights_word(known)}")


@models_app.command("pull")
@command
def models_pull(
    name: Annotated[str, typer.Argument(help="A name of models.toml or of the catalogue, e.g. qwen2.5-coder:1.5b.")],
    models: ModelsOption = DEFAULT_MODELS,
) -> None:
    """Find or download the weights of a model and verify them."""
    from localgif.display import make_progress
    from localgif.models.fetch import pull
    from localgif.search.roles import fetch_weights, places

    file = load_models(models)
    with make_progress(make_console(stderr=True)) as progress:
        if name in file.aliases:
            weights = fetch_weights(file.role("animator", name), progress)
        else:
            weights = pull(name, places(), None, progress.download)
    about = f"{weights.size / 1e6:,.0f} MB, sha256 {weights.digest}, from: {weights.source}"
    for note in weights.notes:
        print(f"note: {note}", file=sys.stderr)
    print(f"{weights.name}: {weights.path} ({about})")


@models_app.command("check")
@command
def models_check(models: ModelsOption = DEFAULT_MODELS) -> None:
    """Check models.toml, and that the roles' models are there: weights verified, servers answering."""
    from localgif.search.roles import check_role

    file = load_models(models)
    for role in ("animator", "reflector"):
        print(check_role(file.role(role)))
