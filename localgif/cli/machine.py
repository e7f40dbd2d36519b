"""`localgif doctor`, `init`, `sandbox`, `bundle`, `serve` and `models`: this machine, and the models on it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated

import typer

from localgif.cli.shared import (
    DEFAULT_LEVEL,
    JsonOption,
    LevelOption,
    ModelOption,
    ModelsOption,
    OfflineOption,
    as_called,
    command,
    complete_model,
    echo,
    load_models,
    note_meaning,
    open_progress,
    print_json,
    settings_of,
    try_file,
    write_file,
)
from localgif.errors import ConfigError, PreflightError, SandboxTooWeak, nearest
from localgif.files import read_input
from localgif.search.progress import counted
from localgif.settings import known


@command
def doctor(
    offline: Annotated[
        bool, typer.Option("--offline", help="Check only this machine; missing weights are a failure.")
    ] = False,
    model: ModelOption = None,
    models: ModelsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check everything that a run needs, and name remedies.

    The exit code is 3 if a check fails.
    """
    from localgif.doctor.doctor import as_object, examine, table
    from localgif.models.toml import runs_folder

    settings = settings_of(load_models(models, offline or None), model, {})
    with open_progress() as progress:
        found = examine(settings, runs_folder(), progress, offline)
    if as_json:
        print_json(as_object(found))
    else:
        echo(table(found.checks))
    if found.failed:
        raise typer.Exit(PreflightError.exit_code)


#: The sentence from which `localgif init` makes its task file.
_EXAMPLE = "a green triangle spinning on a black background"
_EXAMPLE_FILE = "my-task.toml"


@command
def init() -> None:
    """Write a models.toml and an example task into this folder.

    The models.toml is a copy of the built-in one. localgif then uses it in this folder and in all folders below.
    """
    from localgif.models.toml import MODELS_TOML, built_in
    from localgif.tasks.sentence import read
    from localgif.tasks.task import toml_of

    models, task = Path(MODELS_TOML), Path(_EXAMPLE_FILE)
    for file in (models, task):
        if file.exists() or file.is_symlink():
            raise ConfigError(f"{file} exists in this folder", "remove it, or go to another folder", code="E-FILE")
    # Drop the line for editors: it names a file that exists only in the project.
    lines = built_in().read_text(encoding="utf-8").splitlines(keepends=True)
    text = as_called("".join(line for line in lines if not line.startswith("#:schema")))
    example = toml_of(read(_EXAMPLE, task.stem).task)
    remedy = "go to a folder that you can write to"
    write_file(models, text.encode(), remedy)
    write_file(task, f"# What to draw and what to check; docs/tasks.md explains every key.\n{example}".encode(), remedy)
    echo(f"{models}   the model of each role; next: localgif models list")
    echo(f"{task}   an example task; next: localgif optimize --task ./{task}")


_ABOUT_SANDBOX = "Run a program in the sandbox, and check the sandbox."
sandbox_app = typer.Typer(help=_ABOUT_SANDBOX, no_args_is_help=True, rich_markup_mode=None)

#: Larger files are not read, bytes. The sandbox has its own, far lower limit for programs.
_MOST_READ = 64 * 2**20


@sandbox_app.command("run")
@command
def sandbox_run(
    file: Annotated[Path, typer.Argument(help="A program that defines make_gif(path).", metavar="FILE.py")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The GIF to write.", metavar="FILE.gif")],
    sandbox_level: LevelOption = DEFAULT_LEVEL,
    as_json: JsonOption = False,
) -> None:
    """Run one program in the sandbox and measure its GIF.

    The exit code is 0 for the verdict ok, 1 for any other verdict.
    """
    from localgif.gif import MEASURE
    from localgif.records import Verdict
    from localgif.sandbox import probe
    from localgif.sandbox.runner import measure_gif, run_program

    level = known("sandbox_level", sandbox_level)
    source = read_input(file, _MOST_READ, "a Python file")
    try_file(output, "name another file with -o")
    level = probe.decide(level).level
    # Keep invalid UTF-8 as it is: the sandbox refuses it.
    result = run_program(source.decode(errors="surrogateescape"))
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
            echo(f"  {output}: {counted(measured.frames, 'frame')}, {measured.width}x{measured.height}")
        elif result.output:
            echo("  the end of what it printed:")
            echo("\n".join(f"  | {line}" for line in result.output.splitlines()[-20:]))
    if verdict is not Verdict.OK:
        raise typer.Exit(1)


@sandbox_app.command("check")
@command
def sandbox_check(as_json: JsonOption = False) -> None:
    """Attack the sandbox, and print the level that this machine reaches.

    The exit code is 0 only for the level full.
    """
    from localgif.sandbox import probe
    from localgif.sandbox.jobs import PROMISES
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
    output: Annotated[Path, typer.Option("-o", "--output", help="The folder to create.", metavar="DIR")],
    model: Annotated[
        list[str] | None,
        typer.Option(
            "-m",
            "--model",
            help="Model whose weights to include; repeatable (default: both roles).",
            metavar="MODEL",
            autocompletion=complete_model,
        ),
    ] = None,
    models: ModelsOption = None,
) -> None:
    """Collect everything that a machine without a network needs.

    The folder works on machines of the same kind: Linux, same architecture, C library and minor version of Python.
    """
    from localgif.bundle import collect, models_to_carry
    from localgif.models.find import places_for
    from localgif.offline import weights_environment

    file = load_models(models, offline=False)
    carried = models_to_carry(file, model or [])
    with open_progress() as progress:
        whole = collect(output, file, carried, places_for(*weights_environment()), progress.note, progress.download)
    if not carried:
        echo("note: the bundle contains no weights, because both roles use separate servers", err=True)
    for part, (files, size) in whole.sizes.items():
        echo(f"{part or 'all':<12} {counted(files, 'file'):>10} {size / 1e6:>9,.1f} MB")
    echo(f"{whole.folder}: for machines with {', '.join(whole.kind)}")
    echo(f"sha256 of its SHA256SUMS: {whole.digest}")
    echo(f"on the other machine:  sh {whole.folder.name}/install.sh TARGET")


@command
def serve(
    model: Annotated[
        list[str] | None,
        typer.Option(
            "-m",
            "--model",
            help="Model to serve; repeatable (default: both roles, or all models of the --upstream).",
            metavar="MODEL",
            autocompletion=complete_model,
        ),
    ] = None,
    upstream: Annotated[
        str | None,
        typer.Option(
            help="OpenAI-compatible server whose models to serve instead, e.g. http://127.0.0.1:8000/v1.", metavar="URL"
        ),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 picks a free one.")] = 11435,
    host: Annotated[
        str,
        typer.Option(help="Address to listen on. Anything but 127.0.0.1 exposes the models to other machines."),
    ] = "127.0.0.1",
    models: ModelsOption = None,
    offline: OfflineOption = False,
) -> None:
    """Serve models over the Ollama API until Ctrl-C.

    It serves localgif's embedded models, or with --upstream the models of another server.
    """
    from localgif.endpoint.server import check_port
    from localgif.endpoint.server import serve as run
    from localgif.run.roles import config_of_models, config_of_upstream, servable

    if upstream is not None:
        check_port(host, port)
        config = config_of_upstream(upstream, model or [], port)
    else:
        file = load_models(models, offline or None)
        for name in model or ():
            note_meaning(file, name)
        named = [file.role("animator", name, said="--model") for name in model or ()]
        chosen = servable(named or [file.role("animator"), file.role("reflector")])
        check_port(host, port)
        with open_progress() as progress:
            config = config_of_models(chosen, port, progress)
    run(config.model_copy(update={"host": host}))


# --- models -----------------------------------------------------------------------------------------------------------

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
    from localgif.models.toml import built_in, with_role
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
