"""What commands print on stdout for people: tables, verdicts, lists of models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localgif.cli.shared import echo
from localgif.files import is_file
from localgif.models.toml import BUILT_IN, built_in
from localgif.report.story import verdict_sentence
from localgif.sandbox.text import printable
from localgif.search.progress import counted, duration
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


#: Printed before and after a demo.
DEMO = "DEMO: recorded answers replace the models. Sandbox, measurements and search are real; the result is not."

#: Words of this length are never broken; longer ones, such as an address in an error, may be.
_LONG_WORD = 12


class _Grid:
    """A table that fits its console: a narrow one shows fewer columns, and a line below names the missing ones."""

    def __init__(
        self,
        title: str | None,
        words: Sequence[str],
        numbers: Sequence[str] = (),
        last: Sequence[str] = (),
        *,
        keep: Sequence[str] = (),
    ) -> None:
        """Columns of words (left-aligned), numbers (right-aligned) and words again.

        Args:
            keep: Columns that are always shown, like the first one; the others are dropped from the right.
        """
        self._title = title
        self._columns = [(name, "left") for name in words] + [(name, "right") for name in numbers]
        self._columns += [(name, "left") for name in last]
        self._keep = {self._columns[0][0], *keep}
        self._rows: list[tuple[str, ...] | None] = []
        """Cells of each row, fewer than columns if the rest is empty; None for a rule."""

    def add(self, *cells: str) -> None:
        """Add a row."""
        self._rows.append(cells)

    def rule(self) -> None:
        """Add a horizontal rule."""
        self._rows.append(None)

    def print(self, console: Console) -> None:
        """Print as many columns as fit without breaking a word."""
        shown, whole = list(range(len(self._columns))), True
        while self._least(console, shown) > console.width:
            left = [n for n in shown if self._columns[n][0] not in self._keep]
            if not left:
                whole = False  # break the names of rows, but no numbers
                break
            shown.remove(left[-1])
        console.print(self._table(shown, whole=whole))
        missing = [name for n, (name, _) in enumerate(self._columns) if n not in shown]
        if missing:
            say(console, f"not shown in {console.width} columns: {', '.join(missing)}")

    def _least(self, console: Console, shown: Sequence[int]) -> int:
        """The width that a table needs to keep every word whole."""
        from rich.measure import Measurement

        wide = console.options.update(width=10_000)
        return Measurement.get(console, wide, self._table(shown, measured=True)).minimum

    def _table(self, shown: Sequence[int], *, measured: bool = False, whole: bool = True) -> Table:
        """The table to print, or the one to measure: without a title, and with long words cut."""
        from rich import box
        from rich.table import Table

        title = None if measured else self._title
        made = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
        rigid = {n for n in shown if self._columns[n][1] == "right" or (n == 0 and whole)}

        def text(words: str, n: int) -> str:
            if not measured:
                return words
            # rich measures the longest word, even in a cell that it does not break.
            return words.replace(" ", "_") if n in rigid else " ".join(word[:_LONG_WORD] for word in words.split())

        for n in shown:
            name, justify = self._columns[n]
            made.add_column(text(name, n), justify=justify, overflow="fold", no_wrap=n in rigid)  # type: ignore[arg-type]
        for row in self._rows:
            if row is None:
                made.add_section()
            else:
                made.add_row(*(text(row[n], n) for n in shown if n < len(row)))
        return made


def say(console: Console, *lines: str) -> None:
    """Print lines unchanged: no markup, no wrapping."""
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _number(value: float | None, form: str = "{:.3f}") -> str:
    return "-" if value is None else form.format(value)


def _mean(scores: Sequence[float] | None, form: str = "{:.3f}") -> str:
    """The mean of the scores; "-" without scores, as in runs of older versions."""
    return form.format(sum(scores) / len(scores), len(scores)) if scores else "-"


def print_run(console: Console, record: RunRecord, status: str, folder: Path) -> None:
    """Print the result of a finished run, else the status and how to continue."""
    if record.demo:
        say(console, DEMO)
    if record.result is not None:
        result_table(console, record.result, folder)
        return
    echo(f"run {record.name}: {status}{f', {record.error}' if record.error else ''}")
    resume = "" if record.demo else f"; continue it: localgif resume {record.name}"
    echo(f"what was measured is in {folder}{resume}")


def result_table(console: Console, result: RunResult, folder: Path | None = None) -> None:
    """Print the scores of both prompts, the verdict, the evolved prompt, the cost, and the files.

    Args:
        folder: Where the run folder is now; None: where the run was made.
    """
    folder = folder or Path(result.folder)
    (_prompt_table(result) if result.mode == "single" else _task_table(result)).print(console)
    colour = {"better": "bold green", "worse": "bold red"}.get(result.verdict.word, "yellow")
    console.print(verdict_sentence(result), style=colour, soft_wrap=True)  # rich respects NO_COLOR
    if result.front is not None and len(result.front.prompts) > 1:
        f = result.front
        reached = sum(score >= ENOUGH for score in f.scores)
        say(
            console,
            f"The front of {len(f.prompts)} prompts, keeping the best measured answer: {f.mean:.3f} on average, "
            f"{reached} of {len(f.scores)} at {ENOUGH:g} or more, with {counted(f.answers, 'answer')}.",
        )
    if result.transfer:
        _transfer_table(result).print(console)
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
        f"models    {counted(result.llm_calls, 'call')}, {tokens.animator:,} tokens written by the animator, "
        f"{tokens.reflector:,} by the reflector",
        *_prompts(result),
        f"run       {folder}   (best_prompt.md, samples.jsonl, gifs/)",
        f"report    {folder / 'report.html'}",
    )
    # Missing in older runs, and for a prompt that drew nothing.
    made = [(word, folder / f"{name}.gif") for name, word in (("seed", "seed prompt"), ("best", "best prompt"))]
    if shown := ", ".join(f"{path} ({word})" for word, path in made if is_file(path)):
        say(console, f"best gifs {shown}")


def _prompts(result: RunResult) -> list[str]:
    """A line about the tokens that the models read; empty for old runs."""
    if (tokens := result.prompt_tokens) is None:
        return []
    read, cached = tokens.read, tokens.cached
    return [
        f"prompts   {read.animator:,} tokens read by the animator ({cached.animator:,} more cached), "
        f"{read.reflector:,} by the reflector ({cached.reflector:,} more cached)"
    ]


def _prompt_table(result: RunResult) -> _Grid:
    """The table of the article: one row for each prompt."""
    others = list(result.seed.also)
    title = f"{counted(len(result.seed.scores), 'fresh sample')} of each prompt"
    columns = ("samples", "frames", "loop (gap / step)", "in the search", "re-test")
    table = _Grid(title, ["prompt"], ["mean", *others], columns, keep=["mean"])
    for label, prompt in (("seed", result.seed), ("evolved", result.best)):
        if label == "seed" or not result.best.is_seed:
            table.add(
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


#: The columns of a table of tasks that are always shown.
_BOTH = ("seed", "evolved", "difference")


def _task_table(result: RunResult) -> _Grid:
    """The table of a run with several tasks: one row for each tested task, and the mean."""
    seen = "held-out task" if result.mode == "general" else "task"
    unseen = ", which the search never saw" if result.mode == "general" else ""
    fresh = counted(len(result.tasks[0].seed_scores), "fresh sample")
    title = f"{counted(len(result.tasks), seen)}{unseen}: {fresh} of each, by {result.scorer}"
    table = _Grid(title, ["task"], _BOTH, ["samples of the seed", "samples of the evolved"], keep=_BOTH)
    for row in result.tasks:
        table.add(*_task_cells(row))
    table.rule()
    table.add("mean", f"{result.seed.mean:.3f}", f"{result.best.mean:.3f}", f"{result.verdict.difference:+.3f}")
    return table


def _task_cells(row: TaskResult) -> tuple[str, ...]:
    samples = (" ".join(f"{score:.3f}" for score in scores) for scores in (row.seed_scores, row.best_scores))
    return (row.task, f"{row.seed_mean:.3f}", f"{row.best_mean:.3f}", f"{row.difference:+.3f}", *samples)


def _transfer_table(result: RunResult) -> _Grid:
    """The table of both prompts on tasks that the search never saw."""
    count = len(result.transfer[0].seed_scores)
    # Runs of older versions took more, and repaired them.
    each = "1 answer of each prompt, without repairs" if count == 1 else f"{count} samples of each prompt"
    title = f"tasks that the search never saw: {each}, not part of the verdict"
    table = _Grid(title, ["carries over"], _BOTH, ["samples of the seed", "samples of the evolved"], keep=_BOTH)
    for row in result.transfer:
        table.add(*_task_cells(row))
    return table


def runs_table(console: Console, rows: Sequence[tuple[str, str, str, str, str, str]]) -> None:
    """Print the rows of `localgif runs`: name, seed, best, verdict or error, status, task."""
    table = _Grid(None, ["run"], ["seed", "best"], ["verdict", "status", "task"], keep=["seed", "best"])
    for row in rows:
        table.add(*map(printable, row))
    table.print(console)


def scored_text(file: str, task: str, score: Score, measured: Measurements | None) -> str:
    """A GIF's score and its parts, those that cost most first."""
    lines = [f"{score.total:.3f}  {printable(file)}  ({score.scorer}, task {printable(task)})"]
    if measured is None:
        return f"{lines[0]}\n  it cannot be measured: {printable(score.parts[0].explanation)}"
    for part in sorted(score.parts, key=lambda part: -part.weight * (1 - part.value)):
        lines.append(f"  {part.value:5.3f}  weight {part.weight:.2f}  {part.name:<10} {part.explanation}")
    return "\n".join(lines)


def rescored_table(console: Console, result: Mapping[str, Any]) -> None:
    """Print the stored mean and the new one for each prompt and purpose."""
    means = (result["old_scorer"], result["scorer"])
    table = _Grid(f"run {result['run']}", ["prompt", "purpose"], [*means, "samples"], keep=["purpose", *means])
    for row in result["rows"]:
        prompt = row["candidate"][:12] + (f" ({row['label']})" if row["label"] else "")
        table.add(prompt, row["purpose"], f"{row['old_mean']:.3f}", f"{row['mean']:.3f}", str(row["samples"]))
    table.print(console)
    say(console, f"scores    {result['file']}")


def models_text(rows: Sequence[Row], file: Path) -> str:
    """The text of `localgif models list`: models in `file`, other models of an Ollama, weights without a table."""
    titles = {
        "file": f"in {file}{BUILT_IN if file == built_in() else ''}:",
        "ollama": "on Ollama, usable by these names:",
        "weights": "weights for the embedded endpoint, usable by these names:",
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
    """Print the cells of a sweep in order, with the status of stored runs."""
    table = _Grid(f"sweep {plan.name}", ["cell"], ["metric calls", "samples, at most"], ["so far"])
    for cell in chosen:
        table.add(printable(cell.name), str(cell.settings.metric_calls), str(cell.samples), stored(cell))
    table.print(console)


def compared_tables(console: Console, compared: Compared, said: Sequence[str]) -> None:
    """Print the groups, their differences, and the conclusions."""
    scores = _Grid(
        f"fresh scores by {compared.rule}, one number per run",
        ["group"],
        ["mean", "gain", "p", "runs", "seed prompt", "sd", "median", "lowest", "highest"],
        ["own verdicts"],
        keep=["mean", "gain"],
    )
    costs = _Grid(
        "cost of a run, and of a gain of 0.1",
        ["group"],
        ["tokens", "minutes", "tokens, 0.1", "minutes, 0.1"],
        keep=["tokens", "minutes"],
    )
    for row in compared.rows:
        name = printable(row.group.name)
        means = (_number(row.mean), f"{row.gain.difference:+.3f}", f"{row.gain.adjusted_p_value:.3f}")
        spread = (row.start, row.spread.total, row.quartiles[1], min(row.scores), max(row.scores))
        verdicts = ", ".join(f"{n} {word}" for word, n in row.verdicts.items())
        scores.add(name, *means, str(len(row.scores)), *map(_number, spread), verdicts)
        per_gain = (_number(row.per_gain(row.tokens), "{:,.0f}"), _number(row.per_gain(row.minutes), "{:.1f}"))
        costs.add(name, f"{row.tokens:,.0f}", f"{row.minutes:.1f}", *per_gain)
    scores.print(console)
    if compared.versus:
        columns = ["difference", "corrected p", "95 % interval", "p", "paired p", "runs"]
        pairs = _Grid(
            "differences between groups", ["groups"], columns, ["verdict"], keep=["difference", "corrected p"]
        )
        for v in compared.versus:
            tested, ends = v.tested, v.tested.interval
            pairs.add(
                printable(f"{v.second.name} minus {v.first.name}"),
                f"{tested.difference:+.3f}",
                f"{tested.adjusted_p_value:.3f}",
                "-" if ends is None else f"{ends[0]:+.3f} to {ends[1]:+.3f}",
                f"{tested.p_value:.3f}",
                _number(tested.paired_p_value),
                f"{v.sizes[1]}, {v.sizes[0]}",
                {"better": "higher", "worse": "lower"}.get(tested.word, tested.word),
            )
        pairs.print(console)
    costs.print(console)
    say(console, *(f"- {printable(sentence)}" for sentence in said))
