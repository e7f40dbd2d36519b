"""What `localgif sweep` and `localgif compare` print for people: the plan, a line a cell, the comparison."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localgif.errors import LocalGifError
from localgif.sandbox.text import printable
from localgif.search.progress import Silent
from localgif.tally import clock

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from localgif.search.progress import Progress, Standing
    from localgif.sweep.cells import CellEnd
    from localgif.sweep.compare import Compared, Tested
    from localgif.sweep.plan import Cell, Plan


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


def _best_of(luck: dict[str, Any]) -> str:
    """What a run came to that asked no reflector."""
    return f"best of {luck['samples']} samples: {' '.join(f'{score:.3f}' for score in luck['scores'])}"


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
            seed, best, word = end.result["seed"], end.result["best"], end.result["verdict"]["word"]
            luck = end.result.get("best_of")
            head += f"  {seed['mean']:.3f} -> {best['mean']:.3f}  {word}" if luck is None else f"  {_best_of(luck)}"
        head += "  (was there)" if end.known else f"  {clock(end.seconds)}"
        head += f"  on {end.where}" if end.where else ""
        self._say(head)
        for line in (end.error + ("\n" + end.trace if end.trace else "")).splitlines():
            self._say(f"    {line}")
        if end.result is not None and not end.known:
            try:
                self._finished(Path(end.result["folder"]))
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
            *(_cell(number) for number in numbers),
            f"{row.gain.difference:+.3f}",
            f"{row.gain.adjusted:.3f}",
            ", ".join(f"{n} {word}" for word, n in row.verdicts.items()),
        )
        costs.add_row(
            name,
            f"{row.tokens:,.0f}",
            f"{row.minutes:.1f}",
            _cell(row.per_gain(row.tokens), "{:,.0f}"),
            _cell(row.per_gain(row.minutes), "{:.1f}"),
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
                _cell(v.tested.paired),
                {"better": "higher", "worse": "lower"}.get(v.tested.word, v.tested.word),
            )
        console.print(pairs)
    console.print(costs)
    for sentence in said:
        console.print(f"- {printable(sentence)}", markup=False, highlight=False, soft_wrap=True)


def _interval(tested: Tested) -> str:
    return "-" if tested.interval is None else f"{tested.interval[0]:+.3f} to {tested.interval[1]:+.3f}"


def _cell(value: float | None, form: str = "{:.3f}") -> str:
    return "-" if value is None else form.format(value)
