"""`localgif doctor`, `models`, `sandbox`, `bundle` and `serve`: this machine and what it offers."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated

import typer

from localgif.cli.shared import (
    DEFAULT_LEVEL,
    DEFAULT_MODELS,
    DEFAULT_RUNS,
    JsonOption,
    LevelOption,
    ModelsOption,
    OfflineOption,
    command,
    echo,
    load_models,
    open_progress,
    print_json,
    write_file,
)
from localgif.errors import ConfigError, PreflightError, SandboxTooWeak, nearest
from localgif.files import read_input
from localgif.settings import known


@command
def doctor(
    offline: Annotated[
        bool, typer.Option("--offline", help="Check only this machine; missing weights are a failure.")
    ] = False,
    models: ModelsOption = DEFAULT_MODELS,
    as_json: JsonOption = False,
) -> None:
    """Check everything that a run needs and print a remedy for each failure; exit 3 if anything fails."""
    from localgif.doctor.doctor import as_object, examine, table
    from localgif.models.toml import make_settings

    settings = make_settings(load_models(models, offline or None))
    with open_progress() as progress:
        found = examine(settings, DEFAULT_RUNS, progress, offline)
    if as_json:
        print_json(as_object(found))
    else:
        echo(table(found.checks))
    if found.failed:
        raise typer.Exit(PreflightError.exit_code)


models_app = typer.Typer(help="List, choose, download and check models.", no_args_is_help=True, rich_markup_mode=None)


@models_app.command("list")
@command
def models_list(models: ModelsOption = DEFAULT_MODELS, as_json: JsonOption = False) -> None:
    """List the models a role can use, from models.toml, an Ollama and this machine, and whether each is available."""
    from localgif.cli.tables import models_text
    from localgif.run.model_list import list_rows

    rows = list_rows(load_models(models))
    if as_json:
        print_json([row.model_dump(mode="json") for row in rows])
    else:
        echo(models_text(rows))


@models_app.command("set")
@command
def models_set(
    role: Annotated[str, typer.Argument(help="animator or reflector.", metavar="ROLE")],
    name: Annotated[str, typer.Argument(help="A name in models.toml, or ollama:NAME.", metavar="NAME")],
    models: ModelsOption = DEFAULT_MODELS,
) -> None:
    """Give a role another model: check that it is available, then change one line of models.toml and show it."""
    from localgif.models.toml import with_role
    from localgif.run.model_list import ROLES, may_play

    if role not in ROLES:
        raise ConfigError(f'there is no role "{role}"', nearest(role, ROLES))
    file = load_models(models)
    line = may_play(file.role(role, name, said=f"models set {role}"))
    change = with_role(file, role, name)
    if change.line == 0:
        echo(f"{file.path}: {role} is {name} already")
    else:
        write_file(file.path, change.text.encode(), "check the permissions of the file and its folder")
        echo(f"{file.path}:{change.line}\n- {change.before}\n+ {change.after}")
    echo(line)


@models_app.command("pull")
@command
def models_pull(
    name: Annotated[str, typer.Argument(help="A name in models.toml, or e.g. qwen2.5-coder:1.5b.", metavar="NAME")],
    models: ModelsOption = DEFAULT_MODELS,
) -> None:
    """Find or download the weights of a model and verify them."""
    from localgif.models.fetch import pull
    from localgif.run.roles import fetch_weights, places

    file = load_models(models, offline=False)
    with open_progress() as progress:
        if name in file.aliases:
            weights = fetch_weights(file.role("animator", name), progress)
        else:
            weights = pull(name, places(), None, progress.download)
    about = f"{weights.size / 1e6:,.0f} MB, sha256 {weights.digest}, from: {weights.source}"
    for note in weights.notes:
        echo(f"note: {note}", err=True)
    echo(f"{weights.name}: {weights.path} ({about})")


@models_app.command("check")
@command
def models_check(models: ModelsOption = DEFAULT_MODELS) -> None:
    """Check models.toml and the models of both roles: verified weights, or a server that answers."""
    from localgif.run.roles import check_role

    file = load_models(models)
    echo(check_role(file.role("animator")))
    echo(check_role(file.role("reflector")))


_ABOUT_SANDBOX = "Run a program in the sandbox, and check the sandbox."
sandbox_app = typer.Typer(help=_ABOUT_SANDBOX, no_args_is_help=True, rich_markup_mode=None)

#: A larger file is not a program; the sandbox refuses programs above its own, far lower limit.
_MOST_READ = 64 * 2**20


@sandbox_app.command("run")
@command
def sandbox_run(
    file: Annotated[Path, typer.Argument(help="A program that defines make_gif(path).", metavar="FILE.py")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The GIF to write.", metavar="FILE.gif")],
    sandbox_level: LevelOption = DEFAULT_LEVEL,
    as_json: JsonOption = False,
) -> None:
    """Run one program in the sandbox and measure its GIF; exit 0 for the verdict ok, 1 for any other."""
    from localgif.gif import MEASURE
    from localgif.records import Verdict
    from localgif.sandbox import probe
    from localgif.sandbox.runner import measure_gif, run_program

    level = probe.decide(known("sandbox_level", sandbox_level)).level
    # Bytes that are not UTF-8 stay recognisable as such: the sandbox refuses them.
    result = run_program(read_input(file, _MOST_READ, "a Python file").decode(errors="surrogateescape"))
    verdict, reason, measured = result.verdict, result.reason, None
    if result.gif is not None:
        found = measure_gif(result.gif, MEASURE)
        if isinstance(found, str):
            verdict, reason = Verdict.OUTPUT_BAD, found
        else:
            measured = found
            write_file(output, result.gif, "name another file with -o")
    if as_json:
        gif = None
        if measured is not None and result.gif is not None:
            digest = hashlib.sha256(result.gif).hexdigest()
            gif = {"bytes": len(result.gif), "sha256": digest, "frames": measured.frames}
        seconds = {"cpu": result.cpu_seconds, "wall": result.wall_seconds}
        print_json(
            {"verdict": str(verdict), "reason": reason, "seconds": seconds}
            | {"peak_rss": result.peak_rss, "level": level, "gif": gif}
        )
    else:
        echo(f"{verdict}: {reason}")
        used = f"{result.wall_seconds:.3f} s, {result.cpu_seconds:.3f} s of CPU, {result.peak_rss / 2**20:.0f} MB"
        echo(f"  {used}; sandbox level {level}")
        if measured is not None:
            echo(f"  {output}: {measured.frames} frames, {measured.width}x{measured.height}")
        elif result.output:
            echo("  the end of what it printed:")
            echo("\n".join(f"  | {line}" for line in result.output.splitlines()[-20:]))
    if verdict is not Verdict.OK:
        raise typer.Exit(1)


@sandbox_app.command("check")
@command
def sandbox_check(as_json: JsonOption = False) -> None:
    """Attack the sandbox, and print its level on this machine; exit 0 only at level full."""
    from localgif.sandbox import probe
    from localgif.sandbox.keeper_client import PROMISES
    from localgif.sandbox.protocol import FULL

    found = probe.check()
    promise = PROMISES[found.level]
    if as_json:
        probes = [{"name": each.name, "refused": each.refused, "layer": each.layer} for each in found.probes]
        print_json({"level": found.level, "promise": promise, "probes": probes, "missing": list(found.missing)})
    else:
        echo(f"level {found.level}: {promise}")
        for each in found.probes:
            echo(f"  {'refused' if each.refused else 'POSSIBLE':<9} {each.name:<30} {each.layer}")
        for line in found.missing:
            echo(f"  not {line}")
    if found.level != FULL:
        raise typer.Exit(SandboxTooWeak.exit_code)


@command
def bundle(
    out: Annotated[Path, typer.Option("--out", help="The folder to create.", metavar="DIR")],
    model: Annotated[
        list[str] | None,
        typer.Option(help="Model of models.toml whose weights to include; repeatable (default: both roles)."),
    ] = None,
    models: ModelsOption = DEFAULT_MODELS,
) -> None:
    """Collect wheels, weights and the project in a folder that installs without a network.

    The folder serves machines of this kind: Linux, the same architecture, C library and minor version of Python.
    """
    from localgif.bundle import collect, models_to_carry
    from localgif.models.find import places_for
    from localgif.offline import weights_environment

    file = load_models(models, offline=False)
    carried = models_to_carry(file, model or [])
    with open_progress() as progress:
        whole = collect(out, file, carried, places_for(*weights_environment()), progress.note, progress.download)
    if not carried:
        echo("note: the bundle has no weights, because both roles run on separate servers", err=True)
    for part, (files, size) in whole.sizes.items():
        echo(f"{part or 'all':<12} {files:>4} file{' ' if files == 1 else 's'} {size / 1e6:>9,.1f} MB")
    echo(f"{whole.folder}: for machines with {', '.join(whole.kind)}")
    echo(f"sha256 of its SHA256SUMS: {whole.digest}")
    echo(f"on the other machine:  sh {whole.folder.name}/install.sh TARGET")


@command
def serve(
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="Model of models.toml, or of the --upstream; repeatable (default: both roles, or all of the upstream)."
        ),
    ] = None,
    upstream: Annotated[
        str | None,
        typer.Option(
            help="OpenAI-compatible server whose models to serve instead, e.g. http://127.0.0.1:8000/v1.", metavar="URL"
        ),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen at; 0 picks a free one.")] = 11435,
    host: Annotated[
        str,
        typer.Option(help="Address to listen at. Anything but 127.0.0.1 exposes the models to other machines."),
    ] = "127.0.0.1",
    models: ModelsOption = DEFAULT_MODELS,
    offline: OfflineOption = False,
) -> None:
    """Serve models over the Ollama API on loopback until Ctrl-C: embedded ones, or the models of another server."""
    from localgif.endpoint.server import serve as run
    from localgif.run.roles import config_of_models, config_of_upstream

    if upstream is not None:
        config = config_of_upstream(upstream, model or [], port)
    else:
        file = load_models(models, offline or None)
        named = [file.role("animator", alias, said="--model") for alias in model or ()]
        with open_progress() as progress:
            config = config_of_models(named or [file.role("animator"), file.role("reflector")], port, progress)
    run(config.model_copy(update={"host": host}))
