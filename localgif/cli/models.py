"""`localgif models`: list, choose, download, check, measure and remove models."""

from __future__ import annotations

from typing import Annotated

import typer

from localgif.cli.shared import (
    JsonOption,
    ModelsOption,
    command,
    complete_model,
    echo,
    load_models,
    note_meaning,
    open_progress,
    print_json,
    write_file,
)
from localgif.errors import ConfigError, nearest
from localgif.models.toml import built_in

models_app = typer.Typer(help="List, choose, download and check models.", no_args_is_help=True, rich_markup_mode=None)

_NameArgument = Annotated[
    str,
    typer.Argument(
        help="A name in models.toml, or a model's own name.", metavar="MODEL", autocompletion=complete_model
    ),
]


@models_app.command("list")
@command
def models_list(models: ModelsOption = None, as_json: JsonOption = False) -> None:
    """List the models that a role can use.

    They come from models.toml, from an Ollama and from this machine. Each line says whether the model is available.
    """
    from localgif.cli.tables import models_text
    from localgif.run.model_list import list_rows

    file = load_models(models)
    rows = list_rows(file)
    if as_json:
        print_json([row.model_dump(mode="json") for row in rows])
    else:
        echo(models_text(rows, file.path))


@models_app.command("set")
@command
def models_set(
    role: Annotated[str, typer.Argument(help="The role that gets the model.", metavar="animator|reflector")],
    name: _NameArgument,
    models: ModelsOption = None,
) -> None:
    """Give a role another model in models.toml.

    localgif checks that the model is available, then changes one line and shows it.
    """
    from localgif.models.toml import with_role
    from localgif.run.model_list import ROLES, may_play

    if role not in ROLES:
        raise ConfigError(f'there is no role "{role}"', nearest(role, ROLES))
    file = load_models(models)
    if file.path == built_in():
        raise ConfigError(
            f"{file.path} belongs to localgif and is not changed", "first write your own models.toml: localgif init"
        )
    note_meaning(file, name)
    model = file.role(role, name, said=f"models set {role}")
    line = may_play(model)
    change = with_role(file, role, model.alias)
    if change.line == 0:
        echo(f"{file.path}: {role} is already {model.alias}")
    else:
        write_file(file.path, change.text.encode(), "check the permissions of the file and its folder")
        echo(f"{file.path}:{change.line}\n- {change.before}\n+ {change.after}")
    echo(line)


@models_app.command("pull")
@command
def models_pull(name: _NameArgument, models: ModelsOption = None) -> None:
    """Find or download the weights of a model and verify them."""
    from localgif.models.fetch import pull
    from localgif.models.toml import of_ollama
    from localgif.run.roles import fetch_weights, places

    file = load_models(models, offline=False)
    with open_progress() as progress:
        if name in file.aliases or of_ollama(name):
            model = file.role("animator", name, said="models pull")
            if model.endpoint.kind != "embedded":
                where = "ollama pull " + model.model if model.endpoint.kind == "ollama" else "load it on that server"
                raise ConfigError(f"{name} runs on the server {model.endpoint.name}, which has its own models", where)
            weights = fetch_weights(model, progress)
        else:
            weights = pull(name, places(), None, progress.download)
    about = f"{weights.size / 1e6:,.0f} MB, sha256 {weights.digest}, from: {weights.source}"
    for note in weights.notes:
        echo(f"note: {note}", err=True)
    echo(f"{weights.name}: {weights.path} ({about})")


@models_app.command("check")
@command
def models_check(models: ModelsOption = None) -> None:
    """Check models.toml and the models of both roles."""
    from localgif.run.roles import check_role

    file = load_models(models)
    both = file.role("animator"), file.role("reflector")
    # Servers first: a missing one is reported before gigabytes are read.
    lines = {model.role: check_role(model) for model in sorted(both, key=lambda each: each.endpoint.kind == "embedded")}
    for model in both:
        echo(lines[model.role])


@models_app.command("size")
@command
def models_size(as_json: JsonOption = False) -> None:
    """Show how much disk space the downloaded weights use."""
    from localgif.models.find import kept_files
    from localgif.run.roles import places

    folder = places().cache
    files = kept_files(folder)
    if as_json:
        print_json({"folder": str(folder), "files": [each._asdict() | {"path": str(each.path)} for each in files]})
        return
    for each in files:
        echo(f"{each.size / 1e6:>9,.1f} MB  {each.name}{'' if each.whole else ' (incomplete download)'}")
    echo(f"{sum(each.size for each in files) / 1e6:>9,.1f} MB  in {folder}")


@models_app.command("rm")
@command
def models_rm(
    names: Annotated[
        list[str],
        typer.Argument(
            help="Names of models, as `models size` lists them.", metavar="MODEL...", autocompletion=complete_model
        ),
    ],
    models: ModelsOption = None,
) -> None:
    """Remove the downloaded weights of models.

    localgif removes only its own copies, never the file of a gguf line or a model of an Ollama.
    """
    from localgif.models.find import kept_files
    from localgif.run.roles import places

    file, folder = load_models(models), places().cache
    found = []
    for name in names:
        own = file.role("animator", name, said="models rm").model if name in file.aliases else name
        some = [each for each in kept_files(folder) if each.is_called(own)]
        if not some:
            kept = {each.name for each in kept_files(folder)}
            raise ConfigError(f"localgif keeps no weights of {name} in {folder}", nearest(own, kept))
        found += some
    for each in found:
        try:
            each.path.unlink(missing_ok=True)
        except OSError as error:
            remedy = "check the permissions of the folder"
            raise ConfigError(f"{each.path} cannot be removed: {error.strerror}", remedy, code="E-FILE") from None
        echo(f"removed {each.name}: {each.size / 1e6:,.1f} MB ({each.path})")
