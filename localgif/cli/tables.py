"""What commands print on stdout for people: tables, verdicts, a line for each model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localgif.cli.shared import echo
from localgif.files import is_file
from localgif.report.story import verdict_sentence
from localgif.sandbox.text import printable
from localgif.search.progress import duration
from localgif.settings import ENOUGH

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console
    from rich.table import Table

    from localgif.records import Measurements, RunResult, Score, TaskResult
    from localgif.run.model_list import Row
    from localgif.store.read import RunRecord
    from localgif.sweep.compare import Compared
    from localgif.sweep.plan import Cell, Plan


#: What the terminal says of a demo, before and after it.
DEMO = "DEMO: recorded answers stand in for the models. Sandbox, measurements and search are real; the result is not."


def _table(title: str | None, words: Sequence[str], numbers: Sequence[str] = (), last: Sequence[str] = ()) -> Table:
    """A table whose columns are words (left), numbers (right) and words again."""
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
    for names, justify in ((words, "left"), (numbers, "right"), (last, "left")):
        for name in names:
            made.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
    return made


def say(console: Console, *lines: str) -> None:
    """Print lines as they are: no markup, no wrapping."""
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _number(value: float | None, form: str = "{:.3f}") -> str:
    return "-" if value is None else form.format(value)


def _mean(scores: Sequence[float] | None, form: str = "{:.3f}") -> str:
    """The mean of the scores; "-" for what runs of older versions did not store."""
    return form.format(sum(scores) / len(scores), len(scores)) if scores else "-"


def print_run(console: Console, record: RunRecord, status: str, folder: Path) -> None:
    """Print the result of a finished run; of any other its status and how to continue it."""
    if record.demo:
        say(console, DEMO)
    if record.result is not None:
        result_table(console, record.result, folder)
        return
    echo(f"run {record.name}: {status}{f', {record.error}' if record.error else ''}")
    resume = "" if record.demo else f"; continue it: localgif resume {record.name}"
    echo(f"what was measured is in {folder}{resume}")


def result_table(console: Console, result: RunResult, folder: Path | None = None) -> None:
    """Print the scores of both prompts, the verdict, the evolved prompt, the cost, and where the files are.

    Args:
        folder: Where the run folder is now; None for where it was made.
    """
    folder = folder or Path(result.folder)
    console.print(_prompt_table(result) if result.mode == "single" else _task_table(result))
    say(console, verdict_sentence(result))
    if result.front is not None and len(result.front.prompts) > 1:
        f = result.front
        reached = sum(score >= ENOUGH for score in f.scores)
        say(
            console,
            f"The front of {len(f.prompts)} prompts, the best measured answer kept: {f.mean:.3f} on average, "
            f"{reached} of {len(f.scores)} at {ENOUGH:g} or more, with {f.answers} answers.",
        )
    if result.transfer:
        console.print(_transfer_table(result))
    if not result.best.is_seed:
        say(console, "\nThe evolved prompt:\n", printable(result.best.prompt))
    seconds, tokens = result.seconds, result.output_tokens
    roles = ""
    if seconds.animator is not None and seconds.reflector is not None:  # runs of older versions did not store them
        roles = f" (animator {duration(seconds.animator)}, reflector {duration(seconds.reflector)})"
    rest = seconds.total - seconds.weights - seconds.load - seconds.llm - seconds.sandbox
    say(
        console,
        f"\ntime      {duration(seconds.total)} = weights {duration(seconds.weights)} + load {duration(seconds.load)} "
        f"+ models {duration(seconds.llm)}{roles} + sandbox {duration(seconds.sandbox)} + rest {duration(rest)}",
        f"models    {result.llm_calls} calls, {tokens.animator} tokens written by the animator, "
        f"{tokens.reflector} by the reflector",
        f"run       {folder}   (best_prompt.md, samples.jsonl, gifs/)",
        f"report    {folder / 'report.html'}",
    )
    # Older runs have no such files, and a prompt that drew nothing has none either.
    made = [(word, folder / f"{name}.gif") for name, word in (("seed", "seed prompt"), ("best", "best prompt"))]
    if shown := ", ".join(f"{path} ({word})" for word, path in made if is_file(path)):
        say(console, f"best gifs {shown}")


def _prompt_table(result: RunResult) -> Table:
    """The article's table: one row for each prompt."""
    others = list(result.seed.also)
    title = f"{len(result.seed.scores)} fresh samples of each prompt"
    columns = ("samples", "frames", "loop (gap / step)", "in the search", "re-test")
    table = _table(title, ["prompt"], ["mean", *others], columns)
    for label, prompt in (("seed", result.seed), ("evolved", result.best)):
        if label == "seed" or not result.best.is_seed:
            table.add_row(
                label,
                f"{prompt.mean:.3f}",
                *(_mean(prompt.also.get(rule)) for rule in others),
                " ".join(f"{score:.3f}" for score in prompt.scores),
                " ".join(_number(frames, "{}") for frames in prompt.frames),
                " ".join(_number(ratio, "{:.1f}") for ratio in prompt.loop_ratios),
                _mean(prompt.search_scores, "{:.3f} ({})"),
                _mean(prompt.retest_scores, "{:.3f} ({})"),
            )
    return table


def _task_table(result: RunResult) -> Table:
    """One row for each task that the two prompts were tested on, and their mean."""
    seen = "held-out tasks, which the search never saw" if result.mode == "general" else "tasks"
    fresh = len(result.tasks[0].seed_scores)
    title = f"{len(result.tasks)} {seen}: {fresh} fresh samples of each, by {result.scorer}"
    table = _table(
        title, ["task"], ["seed", "evolved", "difference"], ["samples of the seed", "samples of the evolved"]
    )
    for row in result.tasks:
        table.add_row(*_task_cells(row))
    table.add_section()
    means = (f"{result.seed.mean:.3f}", f"{result.best.mean:.3f}", f"{result.verdict.difference:+.3f}")
    table.add_row("mean", *means)
    return table


def _task_cells(row: TaskResult) -> tuple[str, ...]:
    samples = (" ".join(f"{score:.3f}" for score in scores) for scores in (row.seed_scores, row.best_scores))
    return (row.task, f"{row.seed_mean:.3f}", f"{row.best_mean:.3f}", f"{row.difference:+.3f}", *samples)


def _transfer_table(result: RunResult) -> Table:
    """What both prompts make of tasks that the search never saw."""
    count = len(result.transfer[0].seed_scores)
    # Runs of older versions took more, and repaired them.
    each = "1 answer of each prompt, not repaired" if count == 1 else f"{count} samples of each prompt"
    title = f"tasks that the search never saw: {each}, no part of the verdict"
    columns = ("samples of the seed", "samples of the evolved")
    table = _table(title, ["carries over"], ["seed", "evolved", "difference"], columns)
    for row in result.transfer:
        table.add_row(*_task_cells(row))
    return table


def runs_table(console: Console, rows: Sequence[tuple[str, ...]]) -> None:
    """Print the rows of `localgif runs`."""
    table = _table(None, ("run", "status", "task", "seed", "best", "verdict"))
    table.columns[0].no_wrap = True
    for row in rows:
        table.add_row(*(printable(cell) for cell in row))
    console.print(table)


def scored_text(file: str, task: str, score: Score, measured: Measurements | None) -> str:
    """A GIF's score and its parts, the costliest first."""
    lines = [f"{score.total:.3f}  {printable(file)}  ({score.scorer}, task {printable(task)})"]
    if measured is None:
        return f"{lines[0]}\n  it cannot be measured: {printable(score.parts[0].explanation)}"
    for part in sorted(score.parts, key=lambda part: -part.weight * (1 - part.value)):
        lines.append(f"  {part.value:5.3f}  weight {part.weight:.2f}  {part.name:<10} {part.explanation}")
    return "\n".join(lines)


def rescored_table(console: Console, result: Mapping[str, Any]) -> None:
    """Print the stored mean and the new one for each prompt and purpose."""
    table = _table(f"run {result['run']}", ("prompt", "purpose"), ("samples", result["old_scorer"], result["scorer"]))
    for row in result["rows"]:
        prompt = row["candidate"][:12] + (f" ({row['label']})" if row["label"] else "")
        table.add_row(prompt, row["purpose"], str(row["samples"]), f"{row['old_mean']:.3f}", f"{row['mean']:.3f}")
    console.print(table)
    say(console, f"scores    {result['file']}")


def models_text(rows: Sequence[Row]) -> str:
    """`localgif models list`: models with a table, other models of an Ollama, weights without a table."""
    titles = {
        "file": "in models.toml:",
        "ollama": "on Ollama, to use by these names:",
        "weights": "weights for the embedded endpoint, without a table in models.toml:",
    }
    lines: list[str] = []
    for found, title in titles.items():
        some = [line for row in rows if row.found == found for line in _model_lines(row)]
        lines += [title, *some] if some else []
    return "\n".join(lines)


def _model_lines(row: Row) -> list[str]:
    word = {True: "here", False: "NOT HERE", None: "unknown"}[row.present]
    size = f"{row.size / 1e6:,.0f} MB" if row.size else ""
    facts = ", ".join(filter(None, (size, row.licence, f"sha256 {row.digest[:12]}" if row.digest else "")))
    marks = f"   <- {', '.join(row.roles)}" if row.roles else ""
    lines = [f"  {row.name:<24} {row.model} on {row.endpoint}{marks}"]
    lines += [f"  {'':<24} {text}" for text in (f"{word}: {row.where}", facts) if text]
    return [printable(line) for line in lines]


def plan_table(console: Console, plan: Plan, chosen: Sequence[Cell], stored: Callable[[Cell], str]) -> None:
    """Print the cells of a sweep in their order, with the status of what is stored."""
    table = _table(f"sweep {plan.name}", ["cell"], ["metric calls", "samples, at most"], ["so far"])
    table.columns[0].no_wrap = True
    for cell in chosen:
        table.add_row(printable(cell.name), str(cell.settings.metric_calls), str(cell.samples), stored(cell))
    console.print(table)


def compared_tables(console: Console, compared: Compared, said: Sequence[str]) -> None:
    """Print the groups, their differences, and the conclusions."""
    scores = _table(
        f"fresh scores by {compared.rule}, one number per run",
        ["group"],
        ["runs", "seed prompt", "mean", "median", "lowest", "highest", "sd", "gain", "p"],
        ["own verdicts"],
    )
    costs = _table(
        "cost of a run, and of a gain of 0.1", ["group"], ["tokens", "minutes", "tokens, 0.1", "minutes, 0.1"]
    )
    for row in compared.rows:
        name = printable(row.group.name)
        numbers = (row.start, row.mean, row.quartiles[1], min(row.scores), max(row.scores), row.spread.total)
        gain = (f"{row.gain.difference:+.3f}", f"{row.gain.adjusted_p_value:.3f}")
        verdicts = ", ".join(f"{n} {word}" for word, n in row.verdicts.items())
        scores.add_row(name, str(len(row.scores)), *map(_number, numbers), *gain, verdicts)
        per_gain = (_number(row.per_gain(row.tokens), "{:,.0f}"), _number(row.per_gain(row.minutes), "{:.1f}"))
        costs.add_row(name, f"{row.tokens:,.0f}", f"{row.minutes:.1f}", *per_gain)
    console.print(scores)
    if compared.versus:
        columns = ["runs", "difference", "95 % interval", "p", "corrected", "paired"]
        pairs = _table("differences between groups", ["groups"], columns, ["verdict"])
        for v in compared.versus:
            tested, ends = v.tested, v.tested.interval
            pairs.add_row(
                printable(f"{v.second.name} minus {v.first.name}"),
                f"{v.sizes[1]}, {v.sizes[0]}",
                f"{tested.difference:+.3f}",
                "-" if ends is None else f"{ends[0]:+.3f} to {ends[1]:+.3f}",
                f"{tested.p_value:.3f}",
                f"{tested.adjusted_p_value:.3f}",
                _number(tested.paired_p_value),
                {"better": "higher", "worse": "lower"}.get(tested.word, tested.word),
            )
        console.print(pairs)
    console.print(costs)
    say(console, *(f"- {printable(sentence)}" for sentence in said))
