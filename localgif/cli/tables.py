"""What commands print on stdout for people: tables, verdicts, one line about each thing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localgif.errors import LocalGifError
from localgif.records import Measurements, Score
from localgif.report.story import verdict_sentence
from localgif.sandbox.text import printable
from localgif.search.progress import Silent, duration

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from localgif.records import BestOf, PromptResult, RunResult, SecondsByPart
    from localgif.run.model_list import Row
    from localgif.search.progress import Progress, Standing
    from localgif.store.read import RunRecord
    from localgif.sweep.cells import CellEnd
    from localgif.sweep.compare import Compared, Tested
    from localgif.sweep.plan import Cell, Plan


def result_table(console: Console, result: RunResult) -> None:
    """The article's table for this run, the verdict, the evolved prompt, and where it all lies."""
    from rich import box
    from rich.table import Table

    if result.mode != "single":
        _task_table(console, result)
        _closing(console, result)
        return
    fresh = len(result.seed.scores)
    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, title=f"{fresh} fresh samples of each prompt", title_justify="left"
    )
    others = list(result.seed.also)
    for name in ("prompt", "mean", *others, "samples", "frames", "loop (gap / step)", "in the search", "re-test"):
        table.add_column(name, justify="right" if name in ("mean", *others) else "left", no_wrap=name != "prompt")
    rows: list[tuple[str, PromptResult]] = [("seed", result.seed)]
    if not result.best.is_seed:
        rows.append(("evolved", result.best))
    for label, prompt in rows:
        table.add_row(
            label,
            f"{prompt.mean:.3f}",
            *(_mean_alone(prompt.also.get(rule)) for rule in others),
            " ".join(f"{s:.3f}" for s in prompt.scores),
            " ".join(_cell(f, "{}") for f in prompt.frames),
            " ".join(_cell(r, "{:.1f}") for r in prompt.loop_ratios),
            _mean(prompt.search_scores),
            _mean(prompt.retest_scores),
        )
    console.print(table)
    _closing(console, result)


def _task_table(console: Console, result: RunResult) -> None:
    """One row for each task that the two prompts were tested on, and their mean."""
    from rich import box
    from rich.table import Table

    seen = "held-out tasks, which the search never saw" if result.mode == "general" else "tasks"
    fresh = len(result.tasks[0].seed_scores)
    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        title=f"{len(result.tasks)} {seen}: {fresh} fresh samples of each, by {result.scorer}",
        title_justify="left",
    )
    for name in ("task", "seed", "evolved", "difference", "seed's samples", "evolved one's samples"):
        table.add_column(name, justify="right" if name in ("seed", "evolved", "difference") else "left")
    for row in result.tasks:
        table.add_row(
            row.task,
            f"{row.seed_mean:.3f}",
            f"{row.best_mean:.3f}",
            f"{row.difference:+.3f}",
            *(" ".join(f"{s:.3f}" for s in scores) for scores in (row.seed_scores, row.best_scores)),
        )
    table.add_section()
    table.add_row(
        "mean",
        f"{result.seed.mean:.3f}",
        f"{result.best.mean:.3f}",
        f"{result.verdict.difference:+.3f}",
    )
    console.print(table)


def _closing(console: Console, result: RunResult) -> None:
    """The verdict, the evolved prompt, and where it all lies."""
    console.print(verdict_sentence(result), markup=False, highlight=False, soft_wrap=True)
    if not result.best.is_seed:
        console.print("\nThe evolved prompt:\n", markup=False)
        console.print(printable(result.best.prompt), markup=False, highlight=False, soft_wrap=True)
    console.print(footer(result), markup=False, highlight=False, soft_wrap=True)


def _mean_alone(scores: Sequence[float] | None) -> str:
    return f"{sum(scores) / len(scores):.3f}" if scores else "-"


def _mean(scores: Sequence[float] | None) -> str:
    """Mean and number of the samples of one purpose; runs of older versions did not store them."""
    return f"{sum(scores) / len(scores):.3f} ({len(scores)})" if scores else "-"


def _cell(value: Any, form: str) -> str:
    return "-" if value is None else form.format(value)


def footer(result: RunResult) -> str:
    """Cost and places, a line each."""
    seconds, tokens = result.seconds, result.output_tokens
    rest = seconds.total - seconds.weights - seconds.load - seconds.llm - seconds.sandbox
    return "\n".join(
        [
            "",
            f"time      {duration(seconds.total)} = weights {duration(seconds.weights)} "
            f"+ load {duration(seconds.load)} + models {duration(seconds.llm)}{_by_role(seconds)} "
            f"+ sandbox {duration(seconds.sandbox)} + rest {duration(rest)}",
            f"models    {result.llm_calls} calls, {tokens.animator} tokens written by the animator, "
            f"{tokens.reflector} by the reflector",
            f"run       {result.folder}   (best_prompt.md, report.html, samples.jsonl, gifs/)",
        ]
    )


def _by_role(seconds: SecondsByPart) -> str:
    """Time of each role; runs of older versions did not store it."""
    if seconds.animator is None or seconds.reflector is None:
        return ""
    return f" (animator {duration(seconds.animator)}, reflector {duration(seconds.reflector)})"


def print_run(console: Console, record: RunRecord, status: str, folder: Path) -> None:
    """The result of a finished run; of any other its status and how to continue it."""
    if record.result is not None:
        result_table(console, record.result)
        return
    print(f"run {record.name}: {status}{f', {record.error}' if record.error else ''}")
    print(f"what was measured is in {folder}; continue it: localgif resume {record.name}")


def drawing_text(facts: Mapping[str, Any]) -> str:
    """`localgif draw`: what was drawn and its numbers, or why there is no GIF."""
    attempts = f"{facts['attempts']} attempt{'s' if facts['attempts'] != 1 else ''}"
    if facts["file"] is None:
        return f"no GIF in {attempts}: {facts['verdict']}, {printable(str(facts['reason']))}"
    m, score = Measurements.model_validate(facts["measurements"]), Score.model_validate(facts["score"])
    lines = [
        f"{facts['file']}: {m.frames} frames, {m.width}x{m.height}, {sum(m.delays_ms)} ms, {m.size:,} bytes, "
        + attempts,
        f"{score.total:.3f} by {score.scorer} (frames, loop, pace, size; whether it shows the brief was not measured)",
    ]
    return "\n".join([*lines, *(f"  {part.name:<8} {part.value:.2f}  {part.explanation}" for part in score.parts)])


def models_text(rows: Sequence[Row]) -> str:
    """`localgif models list`: what has a table, what an Ollama has besides, weights without a table."""
    titles = {
        "file": "in models.toml:",
        "ollama": "on Ollama, to be named as they are here:",
        "weights": "weights for the embedded endpoint that no table is about:",
    }
    lines: list[str] = []
    for found, title in titles.items():
        some = [line for row in rows if row.found == found for line in _model_lines(row)]
        lines += [title, *some] if some else []
    return "\n".join(lines)


def _model_lines(row: Row) -> list[str]:
    word = {True: "here", False: "NOT HERE", None: "unknown"}[row.present]
    facts = [
        f"{row.size / 1e6:,.0f} MB" if row.size else "",
        row.licence or "",
        f"sha256 {row.digest[:12]}" if row.digest else "",
    ]
    marks = f"   <- {', '.join(row.roles)}" if row.roles else ""
    lines = [
        f"  {row.name:<24} {row.model} on {row.endpoint}{marks}",
        f"  {'':<24} {word}: {row.where}",
    ]
    told = ", ".join(filter(None, facts))
    return [printable(line) for line in [*lines, *([f"  {'':<24} {told}"] if told else [])]]


def rescored_table(console: Console, result: dict[str, Any]) -> None:
    """`localgif rescore`: for each prompt and purpose the stored scores' mean and the new one."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=f"run {result['run']}", title_justify="left")
    for name in ("prompt", "purpose", "samples", result["old_scorer"], result["scorer"]):
        table.add_column(name, justify="left" if name in ("prompt", "purpose") else "right", no_wrap=True)
    for row in result["rows"]:
        table.add_row(
            row["candidate"][:12] + (f" ({row['label']})" if row["label"] else ""),
            row["purpose"],
            str(row["samples"]),
            f"{row['old_mean']:.3f}",
            f"{row['mean']:.3f}",
        )
    console.print(table)
    console.print(f"scores    {result['file']}", markup=False, highlight=False, soft_wrap=True)


def runs_table(console: Console, rows: Sequence[tuple[str, ...]]) -> None:
    """`localgif runs`."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("run", "status", "task", "seed", "best", "verdict"):
        table.add_column(name, no_wrap=name == "run")
    for row in rows:
        table.add_row(*(printable(cell) for cell in row))
    console.print(table)


def plan_table(console: Console, plan: Plan, chosen: Sequence[Cell], stored: Callable[[Cell], str]) -> None:
    """The cells in the order in which they are run, and what lies there already."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=f"sweep {plan.name}", title_justify="left")
    for name in ("cell", "metric calls", "samples, at most", "so far"):
        table.add_column(name, justify="left" if name in ("cell", "so far") else "right", no_wrap=name == "cell")
    for cell in chosen:
        table.add_row(printable(cell.name), str(cell.settings.metric_calls), str(cell.samples), stored(cell))
    console.print(table)


class CellProgress(Silent):
    """What a run tells, as the last words of a line that renews itself."""

    def __init__(self, head: str, say: Callable[[str], None]) -> None:
        self._head, self._say = head, say
        self._standing = ""
        say(f"{head}  starts")

    def metric_call(self, number: int, mean: float, what: str, task: str, standing: Standing | None) -> None:
        self._standing = f"  call {number}" + (f", {standing.seed:.3f} -> {standing.best:.3f}" if standing else "")

    def activity(self, text: str) -> None:
        self._say(f"{self._head}{self._standing}  {text}")

    def download(self, done: int, total: int, what: str) -> None:
        self._say(f"{self._head}  {what}: {100 * done // max(1, total)} % of {total / 1e6:,.0f} MB")


def _best_of(luck: BestOf) -> str:
    """What a run came to that asked no reflector."""
    return f"best of {luck.samples} samples: {' '.join(f'{score:.3f}' for score in luck.scores)}"


class SweepLines:
    """A line a cell on stderr, and on a terminal what the present ones do.

    Args:
        console: Of stderr.
        finished: Called with the folder of each cell that was run now.
    """

    def __init__(self, console: Console, finished: Callable[[Path], object]) -> None:
        from rich.status import Status

        self._console = console
        self._finished = finished
        self._status = Status("", console=console) if console.is_terminal and not console.is_dumb_terminal else None
        self._running: set[str] = set()
        self._ended = 0

    def begins(self, cell: Cell, number: int, cells: int) -> Progress:
        self._running.add(cell.name)
        if self._status is None:
            return Silent()
        self._status.start()
        return CellProgress(f"[{number}/{cells}] {cell.name}", self._show)

    def _show(self, text: str) -> None:
        from rich.text import Text

        if self._status is not None:
            several = f"{len(self._running)} at once, {self._ended} ended  " if len(self._running) > 1 else ""
            self._status.update(Text(printable(several + text), overflow="ellipsis", no_wrap=True))

    def ended(self, end: CellEnd, number: int, cells: int) -> None:
        self.stop()
        self._running.discard(end.cell.name)
        self._ended += 1
        head = f"[{number}/{cells}] {end.cell.name}  {end.status}"
        if end.result is not None:
            seed, best, luck = end.result.seed.mean, end.result.best.mean, end.result.best_of
            head += f"  {seed:.3f} -> {best:.3f}  {end.result.verdict.word}" if luck is None else f"  {_best_of(luck)}"
        head += "  (was there)" if end.known else f"  {duration(end.seconds)}"
        head += f"  on {end.where}" if end.where else ""
        self._say(head)
        for line in (end.error + ("\n" + end.trace if end.trace else "")).splitlines():
            self._say(f"    {line}")
        if end.result is not None and not end.known:
            try:
                self._finished(Path(end.result.folder))
            except (LocalGifError, OSError) as error:  # a page can be written again, a night cannot
                self._say(f"    its report could not be written: {error}")
        if self._running and self._status is not None:
            self._status.start()

    def note(self, text: str) -> None:
        """Something worth a line of its own."""
        self._say(f"note: {text}")

    def stop(self) -> None:
        if self._status is not None:
            self._status.stop()

    def _say(self, text: str) -> None:
        self._console.print(printable(text), markup=False, highlight=False, soft_wrap=True)


def compared_tables(console: Console, compared: Compared, said: Sequence[str]) -> None:
    """Groups, their differences, and what may be said of them."""
    from rich import box
    from rich.table import Table

    def table(title: str, *names: str) -> Table:
        made = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
        for name in names:
            left = name in ("group", "groups", "own verdicts", "verdict")
            made.add_column(name, justify="left" if left else "right", overflow="fold")
        return made

    scores = table(
        f"fresh scores by {compared.rule}, a number a run",
        *("group", "runs", "seed prompt", "mean", "median", "lowest", "highest", "sd", "gain", "p", "own verdicts"),
    )
    costs = table("costs, of a run and of a tenth of gain", "group", "tokens", "minutes", "tokens, 0.1", "minutes, 0.1")
    for row in compared.rows:
        name = printable(row.group.name)
        numbers = (row.start, row.mean, row.quartiles[1], min(row.scores), max(row.scores), row.spread.total)
        scores.add_row(
            name,
            str(len(row.scores)),
            *(_score_cell(number) for number in numbers),
            f"{row.gain.difference:+.3f}",
            f"{row.gain.adjusted:.3f}",
            ", ".join(f"{n} {word}" for word, n in row.verdicts.items()),
        )
        costs.add_row(
            name,
            f"{row.tokens:,.0f}",
            f"{row.minutes:.1f}",
            _score_cell(row.per_gain(row.tokens), "{:,.0f}"),
            _score_cell(row.per_gain(row.minutes), "{:.1f}"),
        )
    console.print(scores)
    if compared.versus:
        pairs = table(
            "differences between groups",
            "groups",
            "runs",
            "difference",
            "95 % interval",
            "p",
            "corrected",
            "paired",
            "verdict",
        )
        for v in compared.versus:
            pairs.add_row(
                printable(f"{v.second.name} minus {v.first.name}"),
                f"{v.sizes[1]}, {v.sizes[0]}",
                f"{v.tested.difference:+.3f}",
                _interval(v.tested),
                f"{v.tested.p_value:.3f}",
                f"{v.tested.adjusted:.3f}",
                _score_cell(v.tested.paired),
                {"better": "higher", "worse": "lower"}.get(v.tested.word, v.tested.word),
            )
        console.print(pairs)
    console.print(costs)
    for sentence in said:
        console.print(f"- {printable(sentence)}", markup=False, highlight=False, soft_wrap=True)


def _interval(tested: Tested) -> str:
    return "-" if tested.interval is None else f"{tested.interval[0]:+.3f} to {tested.interval[1]:+.3f}"


def _score_cell(value: float | None, form: str = "{:.3f}") -> str:
    return "-" if value is None else form.format(value)
