"""Draws the plots of the report with matplotlib, as inline SVG in the page's colours.

matplotlib draws with stand-in colours, which CSS variables then replace, so one drawing works in dark and light mode.
Plots are about as wide as a phone. Labels are plain text without mathtext. The same numbers give the same bytes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, NamedTuple

from localgif.offline import pin_matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NAMES = ("ink", "muted", "line", "seed", "best", "other", "band", "paper", "sandbox", "rest")
#: Name of a colour on the page (a CSS variable) -> its stand-in.
COLOURS = {name: f"#0102{number:02x}" for number, name in enumerate(_NAMES, 3)}
#: Inches. A point (1/72 inch) of the drawing is about a pixel on a phone.
_WIDTH, _HEIGHT = 4.9, 2.9
#: Fewest points of a plot; below, a table shows more.
LEAST = 4

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "localgif",
    "font.size": 9.0,
    "axes.edgecolor": COLOURS["line"],
    "axes.labelcolor": COLOURS["muted"],
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "text.color": COLOURS["ink"],
    "text.parse_math": False,
    "xtick.color": COLOURS["line"],
    "ytick.color": COLOURS["line"],
    "xtick.labelcolor": COLOURS["muted"],
    "ytick.labelcolor": COLOURS["muted"],
    "grid.color": COLOURS["line"],
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "legend.handlelength": 1.4,
}


class Band(NamedTuple):
    """The range in which chance alone puts the mean of one metric call of the seed prompt; 0 to 1."""

    low: float
    high: float


@dataclass
class Trace:
    """The points of a score plot: (metric call or minutes, score 0 to 1)."""

    samples: list[tuple[float, float]] = field(default_factory=list)
    """Single samples of the search."""
    later: list[tuple[float, float]] = field(default_factory=list)
    """Single samples of the re-test and the final comparison."""
    programs: list[tuple[float, float]] = field(default_factory=list)
    """Measured programs of the reflector."""
    means: list[tuple[float, float]] = field(default_factory=list)
    """Mean of each metric call."""
    best: list[tuple[float, float]] = field(default_factory=list)
    """Mean of the best candidate so far, wherever it changed."""

    @property
    def points(self) -> int:
        """Number of scores of single samples and programs."""
        return len(self.samples) + len(self.later) + len(self.programs)

    def scaled(self, factor: float) -> Trace:
        """The trace with its x values multiplied by `factor`."""
        return Trace(*([(factor * x, y) for x, y in getattr(self, each.name)] for each in fields(self)))


def score_plot(trace: Trace, band: Band | None, seed: float | None, xlabel: str, *, whole: bool) -> str:
    """Scores over metric calls (`whole`: integer ticks) or over time."""

    with _axes() as (axes, drawn):
        from matplotlib.ticker import MaxNLocator  # only after _axes has set matplotlib's folder

        if band is not None:
            axes.axhspan(band.low, max(band.high, band.low + 0.004), color=COLOURS["band"], lw=0, label="seed's noise")
        if seed is not None:
            axes.axhline(seed, color=COLOURS["seed"], lw=1.2, ls=(0, (4, 3)), label="seed")
        _dots(axes, trace.programs, "reflector's programs", marker="x", s=16, color=COLOURS["other"], lw=1.0)
        _dots(axes, trace.samples, "sample", marker="o", s=9, color=COLOURS["muted"], alpha=0.65, lw=0)
        _dots(axes, trace.later, "re-test, fresh", marker="D", s=14, facecolor="none", color=COLOURS["best"], lw=1.0)
        _dots(axes, trace.means, "metric call", marker="o", s=26, color=COLOURS["best"], lw=0)
        if trace.best:
            right = max([x for x, _ in (*trace.later, *trace.programs, *trace.means, *trace.best)])
            x, y = zip(*trace.best, strict=True)
            axes.step([*x, right], [*y, y[-1]], where="post", color=COLOURS["best"], lw=1.6, label="best so far")
        axes.set(ylim=(-0.04, 1.04), xlabel=xlabel, ylabel="score")
        if whole:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="y")
        _legend(axes, 3)
    return drawn[0]


def bars_plot(rows: Sequence[tuple[str, Sequence[tuple[str, str, float]]]], xlabel: str) -> str:
    """Stacked bars. A row is (label, parts), a part is (name, name of a page colour, value)."""
    with _axes(0.9 + 0.42 * len(rows)) as (axes, drawn):
        named: set[str] = set()
        for place, (_, parts) in enumerate(rows):
            left = 0.0
            for name, colour, value in parts:
                axes.barh(
                    place,
                    value,
                    left=left,
                    height=0.62,
                    color=COLOURS[colour],
                    edgecolor=COLOURS["paper"],
                    linewidth=0.8,
                    label="_" if name in named else name,
                )
                named.add(name)
                left += value
        axes.set_yticks(range(len(rows)), [label for label, _ in rows])
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel(xlabel)
        axes.grid(axis="x")
        _legend(axes, 3)
    return drawn[0]


class Point(NamedTuple):
    """A candidate in the plot of two parts of the score."""

    name: str
    x: float
    y: float
    front: bool
    colour: str


def front_plot(points: Sequence[Point], xlabel: str, ylabel: str) -> str:
    """Candidates by two parts of the score; a line joins those on the Pareto front."""
    with _axes() as (axes, drawn):
        front = sorted((p.x, p.y) for p in points if p.front)
        if front:
            x, y = zip(*front, strict=True)
            axes.step(x, y, where="pre", color=COLOURS["line"], lw=1.4, zorder=1)
        seen: set[tuple[float, float]] = set()
        for p in points:
            axes.scatter(
                [p.x],
                [p.y],
                s=34,
                color=COLOURS[p.colour] if p.front else COLOURS["paper"],
                edgecolor=COLOURS[p.colour],
                linewidth=1.2,
                zorder=2,
            )
            place = (round(p.x, 2), round(p.y, 2))
            if place not in seen:
                seen.add(place)
                axes.annotate(
                    p.name, (p.x, p.y), xytext=(5, 5), textcoords="offset points", fontsize=8, color=COLOURS["muted"]
                )
        ticks = [0, 0.25, 0.5, 0.75, 1]
        axes.set(xlim=(-0.06, 1.12), ylim=(-0.06, 1.12), xticks=ticks, yticks=ticks, xlabel=xlabel, ylabel=ylabel)
        axes.grid()
    return drawn[0]


class Strip(NamedTuple):
    """A group of runs in a strip plot; scores, 0 to 1."""

    name: str
    fresh: Sequence[float]
    """Single fresh samples of the evolved prompts."""
    runs: Sequence[float]
    """Mean of each run."""
    seed: float
    """Mean score of the seed prompt."""


def strip_plot(strips: Sequence[Strip]) -> str:
    """A strip for each group: samples, runs, the means of the seed prompt and of the runs."""
    with _axes(0.7 + 0.62 * len(strips)) as (axes, drawn):
        for row, strip in enumerate(strips):
            said = row == 0
            for scores, place, label, colour, size in (
                (strip.fresh, row + 0.27, "fresh sample", "muted", 5),
                (strip.runs, row, "run", "best", 24),
            ):
                _dots(
                    axes, _piled(scores, place), label if said else "_", s=size, color=COLOURS[colour], alpha=0.75, lw=0
                )
            mean = sum(strip.runs) / len(strip.runs)
            low, high = row - 0.22, row + 0.4
            axes.vlines(mean, low, high, COLOURS["best"], label="mean of the runs" if said else "_", lw=1.6)
            seed = "seed prompt" if said else "_"
            axes.vlines(strip.seed, low, high, COLOURS["seed"], (0, (2, 1.5)), label=seed, lw=1.6)
            axes.text(-0.02, row - 0.3, strip.name, fontsize=8.5)
            if row:
                axes.axhline(row - 0.53, color=COLOURS["line"], lw=0.6)
        axes.set(xlim=(-0.04, 1.04), ylim=(len(strips) - 0.45, -0.6), yticks=[], xlabel="score")
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
        _legend(axes, 4)
    return drawn[0]


# --- drawing -----------------------------------------------------------------------------------------------------


def _dots(axes: Axes, points: Sequence[tuple[float, float]], label: str, **how: Any) -> None:
    if points:
        x, y = zip(*points, strict=True)
        axes.scatter(x, y, label=label, zorder=2, **how)


def _piled(scores: Sequence[float], place: float) -> list[tuple[float, float]]:
    """(score, height) of each score; equal scores get up to five heights around `place`, so that each is visible."""
    seen: dict[float, int] = {}
    points = []
    for score in sorted(scores):
        count = seen[round(score, 2)] = seen.get(round(score, 2), -1) + 1
        points.append((score, place + 0.045 * ((count % 5 + 1) // 2) * (-1) ** count))
    return points


def _legend(axes: Axes, columns: int) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=columns, borderpad=0, columnspacing=1.2)


@contextmanager
def _axes(height: float = _HEIGHT) -> Iterator[tuple[Axes, list[str]]]:
    """Axes to draw on; after the block the list contains the SVG."""
    pin_matplotlib()
    from matplotlib import rc_context, rcdefaults, rcParams
    from matplotlib.figure import Figure

    drawn: list[str] = []
    with rc_context():
        rcdefaults()  # ignore a matplotlibrc in the current folder or in the home folder
        rcParams.update(_STYLE)
        figure = Figure(figsize=(_WIDTH, height))
        axes = figure.add_subplot()
        yield axes, drawn
        file = io.StringIO()
        figure.savefig(
            file,
            format="svg",
            bbox_inches="tight",
            pad_inches=0.03,
            transparent=True,
            metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")),
        )
        drawn.append(_for_page(file.getvalue()))


def _for_page(svg: str) -> str:
    """The <svg> element with the page's colours and font, without a size, hidden from screen readers."""
    svg = svg[svg.index("<svg") :].rstrip()
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    head, rest = svg.split(">", 1)
    head = re.sub(r' (?:width|height|version|xmlns(?::\w+)?)="[^"]*"', "", head)
    svg = f'{head} aria-hidden="true" focusable="false">{rest}'
    svg = re.sub(r'xlink:href="#', 'href="#', svg)
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", svg)
    for name, stand_in in COLOURS.items():
        svg = svg.replace(stand_in, f"var(--{name})")
    return svg
