"""`localgif runs`, `show`, `report`, `view`, `export`, `draw`, `score`, `rescore`: results of runs, and single GIFs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from localgif.cli.shared import (
    DEFAULT_LEVEL,
    DEFAULT_SCORER,
    JsonOption,
    LevelOption,
    ModelsOption,
    OfflineOption,
    RunArgument,
    RunsOption,
    YesOption,
    command,
    complete_model,
    complete_run,
    complete_task,
    echo,
    load_models,
    make_console,
    open_progress,
    print_json,
    settings_of,
    try_file,
    write_file,
)
from localgif.errors import EXIT_BELOW, EXIT_NOT_RIGHT, ConfigError, RunCorrupt
from localgif.files import read_input, read_input_text, read_inside, sizes_below, text_of
from localgif.settings import known

if TYPE_CHECKING:
    from localgif.store.read import RunRecord
    from localgif.tasks.task import Task

ScorerOption = Annotated[
    str, typer.Option("--scorer", help="The rule, or an earlier version such as strict-3.", metavar="strict|article")
]


runs_app = typer.Typer(invoke_without_command=True, rich_markup_mode=None)


@runs_app.callback()
@command
def runs(context: typer.Context, *, runs_dir: RunsOption, as_json: JsonOption = False) -> None:
    """List the runs, newest first, or remove runs (rm)."""
    if context.invoked_subcommand is None:
        _list(runs_dir, as_json=as_json)
    elif any(
        (source := context.get_parameter_source(name)) and source.name != "DEFAULT" for name in ("runs_dir", "as_json")
    ):
        raise ConfigError("options before rm have no effect", "put them after rm: localgif runs rm RUN --runs-dir DIR")


@runs_app.command("rm")
@command
def runs_rm(
    names: Annotated[
        list[str],
        typer.Argument(help="Names of runs, or their first letters.", metavar="RUN...", autocompletion=complete_run),
    ],
    *,
    yes: YesOption = False,
    runs_dir: RunsOption,
) -> None:
    """Remove runs with all their measurements."""
    from localgif.search.progress import counted
    from localgif.store.read import find_run
    from localgif.store.write import remove_run

    folders = list(dict.fromkeys(find_run(runs_dir, name) for name in names))
    sizes = {folder: sum(sizes_below(folder)) for folder in folders}
    echo(
        f"{counted(len(folders), 'run')}, {sum(sizes.values()) / 1e6:,.1f} MB: {', '.join(map(str, folders))}", err=True
    )
    if not yes:
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise ConfigError("nothing was removed: localgif cannot ask without a terminal", "add --yes")
        if not typer.confirm("Remove permanently?", default=False, err=True):
            raise ConfigError("nothing was removed", "name the runs to remove, or add --yes")
    for folder in folders:
        remove_run(folder)
        echo(f"removed {folder} ({sizes[folder] / 1e6:,.1f} MB)")


def _list(runs_dir: Path, *, as_json: bool) -> None:
    from localgif.cli.tables import runs_table
    from localgif.store.read import list_runs, load_record, status_of

    rows: list[tuple[str, str, str, str, str, str]] = []
    objects: list[dict[str, Any]] = []
    for folder in list_runs(runs_dir):
        try:
            record = load_record(folder)
        except RunCorrupt as error:
            rows.append((folder.name, "", "", str(error), "unreadable", ""))
            objects.append({"run": folder.name, "status": "unreadable", "error": str(error)})
            continue
        status, result = status_of(folder, record), record.result
        stored = result.model_dump(mode="json") if result is not None else None
        objects.append(
            {"run": record.name, "status": status, "started": record.started, "demo": record.demo, "result": stored}
        )
        ends = ("", "", record.error or "")
        if result is not None:
            word = result.verdict.word + (", by copying" if result.verdict.by_copying else "")
            ends = (f"{result.seed.mean:.3f}", f"{result.best.mean:.3f}", word)
        task = record.task.name if record.task is not None else record.settings.task
        rows.append((folder.name, *ends, f"{status} DEMO" if record.demo else status, task))
    if as_json:
        print_json(objects)
    elif rows:
        runs_table(make_console(), rows)
    else:
        echo(f"no runs under {runs_dir}")


@command
def show(run: RunArgument = None, *, runs_dir: RunsOption, as_json: JsonOption = False) -> None:
    """Show a run's table, verdict and evolved prompt."""
    from localgif.cli.tables import print_run
    from localgif.store.read import find_run, load_record, status_of

    folder = find_run(runs_dir, run)
    record = load_record(folder)
    if as_json:
        print_json(record.model_dump(mode="json"))
    else:
        print_run(make_console(), record, status_of(folder, record), folder)


@command
def report(run: RunArgument = None, *, runs_dir: RunsOption) -> None:
    """Write the report.html of a run again."""
    from localgif.report.page import write_report
    from localgif.store.read import find_run

    echo(write_report(find_run(runs_dir, run)))


@command
def view(
    run: RunArgument = None,
    *,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the address.")] = False,
    runs_dir: RunsOption,
) -> None:
    """Open the report of a run in the browser.

    While the run is in progress, the page follows it.
    """
    import webbrowser

    from localgif.report.page import write_report
    from localgif.store.read import find_run, load_record, status_of

    def show(address: str) -> None:
        echo(address)
        if not no_browser:
            webbrowser.open(address)

    folder = find_run(runs_dir, run)
    if status_of(folder, load_record(folder)) != "running":
        show(write_report(folder).resolve().as_uri())
        return
    import asyncio

    from localgif.report.view import serve

    echo(f"following {folder.name}; Ctrl-C ends this page, not the run", err=True)
    asyncio.run(serve(folder, show))


@command
def export(
    run: RunArgument = None,
    *,
    to: Annotated[
        str, typer.Option(help="The format of the output.", metavar="md|modelfile|llm|promptfoo|python")
    ] = "md",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File to write (default: stdout).", metavar="FILE")
    ] = None,
    runs_dir: RunsOption,
) -> None:
    """Print a run's best prompt in the format of another tool."""
    from localgif.report.export import best_of
    from localgif.report.export import export as text_of
    from localgif.store.read import find_run

    if output is not None:
        try_file(output, "name another file with -o")
    text = text_of(best_of(*_best_prompt(find_run(runs_dir, run))), to).encode("utf-8", "replace")
    if output is None and sys.stdout.isatty():
        echo(text.decode(), end="")
    elif output is None:
        sys.stdout.buffer.write(text)
    else:
        write_file(output, text, "name another file with -o")


_BriefArgument = Annotated[
    str,
    typer.Argument(
        help="What to draw: a sentence, a shipped task, or a TOML file.", metavar="BRIEF", autocompletion=complete_task
    ),
]
_PromptsArgument = Annotated[
    str | None,
    typer.Argument(
        help="The run whose prompts to use (default: the newest run for several tasks whose verdict is better).",
        metavar="RUN",
        autocompletion=complete_run,
    ),
]
_AnimatorOption = Annotated[
    str | None,
    typer.Option(
        *("-m", "--model", "--animator"),
        help="The model that writes the code.",
        metavar="MODEL",
        autocompletion=complete_model,
    ),
]


@command
def draw(
    brief: _BriefArgument,
    run: _PromptsArgument = None,
    *,
    output: Annotated[Path, typer.Option("-o", "--output", help="The GIF to write.", metavar="FILE.gif")],
    prompt: Annotated[
        Path | None, typer.Option(help="A text file with the system prompt to use.", metavar="FILE")
    ] = None,
    seed_prompt: Annotated[
        bool, typer.Option("--seed-prompt", help="Use the prompt that every search starts from, without a run.")
    ] = False,
    tries: Annotated[int, typer.Option(min=1, max=64, help="At most this many answers of the model.")] = 4,
    must: Annotated[bool, typer.Option("--must", help="Exit with code 6 unless the picture is right.")] = False,
    yes: YesOption = False,
    seed: Annotated[int, typer.Option(help="Seed of the model; another seed gives another drawing.")] = 0,
    model: _AnimatorOption = None,
    sandbox_level: LevelOption = DEFAULT_LEVEL,
    runs_dir: RunsOption,
    models: ModelsOption = None,
    offline: OfflineOption = False,
    as_json: JsonOption = False,
) -> None:
    """Draw what a sentence asks for, and check the picture."""
    from localgif.cli.tasks import take_task
    from localgif.run.draw import draw as drawn

    if sum((run is not None, prompt is not None, seed_prompt)) > 1:
        raise ConfigError("RUN, --prompt and --seed-prompt exclude each other", "give only one of them")
    try_file(output, "name another file with -o")
    task = take_task(brief, yes=yes)
    if must and not task.subjects:
        raise ConfigError("--must: nothing in this brief can be checked", "remove it, or name a colour and a thing")
    # Only the animator is needed: giving its model both roles avoids loading a second model.
    file = load_models(models, offline or None)
    given = {"seed": seed, "sandbox_level": sandbox_level}
    settings = settings_of(file, model or file.named("animator"), given)
    source, prompts = _prompts(runs_dir, run, prompt, task if seed_prompt else None, settings.animator.model)
    echo(f"prompt: {source}", err=True)
    with open_progress() as progress:
        picture = drawn(settings, prompts, brief, progress, tries)
    if picture.gif is not None:
        write_file(output, picture.gif, "name another file with -o")
    if as_json:
        file_name = str(output) if picture.gif is not None else None
        print_json({"file": file_name, "prompt": source, **picture.model_dump(mode="json", exclude={"gif"})})
    else:
        echo(f"{output}: {picture.line}" if picture.gif is not None else picture.line)
    if picture.gif is None:
        raise typer.Exit(1)
    if must and picture.outcome != "checked":
        raise typer.Exit(EXIT_NOT_RIGHT)


def _prompts(
    runs_dir: Path, run: str | None, file: Path | None, seed_for: Task | None, model: str
) -> tuple[str, list[str]]:
    """The source of a drawing's prompts, in words, and the prompts, the most promising first.

    Args:
        run: The run to take them from.
        file: The file to take the prompt from.
        seed_for: The task to draw, to use the seed prompt.
        model: The animator's model, to choose the prompts that ship with localgif.
    """
    from localgif.agent.prompts import Parts, render
    from localgif.run.draw import shipped
    from localgif.store.read import find_run, read_content

    if seed_for is not None:
        return "the seed prompt", [render(seed_for.targets, Parts())]
    if file is not None:
        return str(file), [read_input_text(file, 2**20, "a text file with a system prompt")]
    folder = find_run(runs_dir, run) if run is not None else _newest_better(runs_dir)
    if folder is None:
        ours = shipped(model)
        return f"the {len(ours.prompts)} prompts that ship with localgif, made with {ours.model}", [*ours.prompts]
    record, best = _best_prompt(folder)
    prompts = [best]
    front = record.result.front if record.result is not None else None
    for each in front.prompts if front is not None else ():
        text = text_of(read_content(folder, "candidates", each.candidate))
        if text not in prompts:
            prompts.append(text)
    what = f"the {len(prompts)} prompts of the front of run" if len(prompts) > 1 else "the best prompt of run"
    word = record.result.verdict.word if record.result is not None else "not finished"
    return f"{what} {record.name} ({word})", prompts


def _newest_better(runs_dir: Path) -> Path | None:
    """The newest run for several tasks with the verdict "better"; None without one.

    Runs for one task are left out, because their prompts draw only that task.
    """
    from localgif.store.read import list_runs, load_record

    for folder in list_runs(runs_dir):
        try:
            record = load_record(folder)
        except RunCorrupt:
            continue
        result = None if record.demo else record.result
        if result is not None and result.verdict.word == "better" and result.mode != "single":
            return folder
    return None


def _best_prompt(folder: Path) -> tuple[RunRecord, str]:
    """A run and its best prompt. Raises ConfigError for a demo, and if the search has not ended."""
    from localgif.store.read import load_record, refuse_demo

    record = load_record(folder)
    refuse_demo(record)
    if record.result is not None:
        return record, record.result.best.prompt
    try:
        return record, read_inside(folder, "best_prompt.md", 2**20).decode("utf-8", "replace")
    except OSError:
        raise ConfigError(
            f"run {record.name} has no best prompt: its search has not ended", "name another run, or resume this one"
        ) from None


@command
def score(
    files: Annotated[list[Path], typer.Argument(help="GIFs from anywhere.", metavar="FILE.gif...")],
    task: Annotated[
        str | None,
        typer.Option(
            help="What they should show: a shipped task, a TOML file, or a sentence (default: the task of their run)."
        ),
    ] = None,
    scorer: ScorerOption = DEFAULT_SCORER,
    least: Annotated[
        float | None,
        typer.Option("--min", min=0, max=1, help="Exit with code 7 if a GIF scores lower.", metavar="NUMBER"),
    ] = None,
    sandbox_level: LevelOption = DEFAULT_LEVEL,
    as_json: JsonOption = False,
) -> None:
    """Measure and score GIFs. The parts that cost most come first."""
    from localgif.cli.tables import scored_text
    from localgif.cli.tasks import take_task
    from localgif.gif.score import version_of
    from localgif.run.rescore import GIF_LIMITS, score_gif, task_of

    version_of(scorer)
    known("sandbox_level", sandbox_level)
    named = take_task(task) if task is not None else None
    objects, below = [], 0
    for file in files:
        data = read_input(file, GIF_LIMITS.file_size, "a GIF file")
        wanted = named or task_of(file)
        if wanted is None:
            remedy = 'name the task: --task NAME, --task ./FILE.toml, or --task "a sentence"'
            raise ConfigError(f"{file} is not in a run folder, so its task is unknown", remedy)
        scored = score_gif(data, wanted, scorer, sandbox_level)
        below += least is not None and scored.score.total < least
        if as_json:
            objects.append({"file": str(file), "task": wanted.name, **scored.model_dump(mode="json")})
        else:
            echo(scored_text(str(file), wanted.name, scored.score, scored.measurements))
    if as_json:
        print_json(objects[0] if len(files) == 1 else objects)
    if below:
        echo(f"{below} of {len(files)} GIFs score below {least:g}", err=True)
        raise typer.Exit(EXIT_BELOW)


@command
def rescore(
    run: RunArgument = None,
    *,
    scorer: ScorerOption = DEFAULT_SCORER,
    task: Annotated[
        str | None, typer.Option(help="A shipped task, a TOML file, or a sentence (default: the run's own task).")
    ] = None,
    runs_dir: RunsOption,
    sandbox_level: LevelOption = DEFAULT_LEVEL,
    as_json: JsonOption = False,
) -> None:
    """Score a run's stored GIFs again, by another rule or task.

    It needs no model. An earlier version of a rule, such as strict-3, counts as another rule.
    """
    from localgif.cli.tables import rescored_table
    from localgif.cli.tasks import take_task
    from localgif.gif.score import version_of
    from localgif.run.rescore import rescore as again
    from localgif.sandbox import probe
    from localgif.store.read import find_run

    version_of(scorer)
    folder = find_run(runs_dir, run)
    probe.decide(known("sandbox_level", sandbox_level))
    wanted = take_task(task) if task is not None else None
    result = again(folder, scorer, wanted)
    if as_json:
        print_json(result)
    else:
        rescored_table(make_console(), result)
