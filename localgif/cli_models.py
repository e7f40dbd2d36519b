"""`localgif models`: models.toml and the weights behind it."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from localgif.command import DEFAULT_MODELS, JsonOption, ModelsOption, command, load_models, make_console, print_json
from localgif.errors import ConfigError

models_app = typer.Typer(help="models.toml and the weights behind it.", no_args_is_help=True, rich_markup_mode=None)


@models_app.command("list")
@command
def models_list(models: ModelsOption = DEFAULT_MODELS, as_json: JsonOption = False) -> None:
    """Everything that a role can name, and what is there of it: in models.toml, on an Ollama, on this machine."""
    from localgif.search.roster import roster
    from localgif.tables import models_text

    rows = roster(load_models(models))
    if as_json:
        print_json([row.model_dump(mode="json") for row in rows])
    else:
        print(models_text(rows))


@models_app.command("set")
@command
def models_set(
    role: Annotated[str, typer.Argument(help="animator or reflector.", metavar="ROLE")],
    name: Annotated[str, typer.Argument(help="A name of models.toml, or ollama:NAME for a model of a running Ollama.")],
    models: ModelsOption = DEFAULT_MODELS,
) -> None:
    """Give a role another model: checks that it is there, changes one line of models.toml and shows it."""
    from localgif.config import nearest
    from localgif.rewrite import replace_file, with_role
    from localgif.search.roster import ROLES, may_play

    if role not in ROLES:
        raise ConfigError(f'there is no role "{role}"', nearest(role, ROLES))
    file = load_models(models)
    line = may_play(file.role(role, name, said=f"models set {role}"))
    change = with_role(file, role, name)
    if change.line == 0:
        print(f"{file.path}: {role} is {name} already")
    else:
        replace_file(file.path, change.text)
        print(f"{file.path}:{change.line}\n- {change.before}\n+ {change.after}")
    print(line)


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

    file = load_models(models, offline=False)
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
