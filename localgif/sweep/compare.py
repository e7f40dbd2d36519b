"""Compares many runs: groups, their gains and differences, the part of chance, in numbers, sentences and a page.

A run is one observation: samples of one run share a search, so they do not show what another search would find.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from localgif.errors import ConfigError, nearest
from localgif.records import Word
from localgif.report import page, plots
from localgif.search.progress import counted
from localgif.settings import FIELDS
from localgif.significance import (
    ALPHA,
    Spread,
    Strata,
    difference_interval,
    holm,
    mean_interval,
    permutation_p,
    pooled_deviation,
    runs_needed,
    sign_flip_p,
    smallest_p,
    spread,
)
from localgif.sweep.read import Finished, Left

_SEED = "seed"

# --- groups -----------------------------------------------------------------------------------------------------------


class Group(NamedTuple):
    """Runs that differ only in their seed and in the settings that are averaged over."""

    name: str
    values: dict[str, Any]
    strata: dict[str, tuple[Finished, ...]]
    """Name of a stratum -> its runs; a single one named "" if there is nothing to average over."""

    @property
    def runs(self) -> tuple[Finished, ...]:
        return tuple(run for runs in self.strata.values() for run in runs)


class Grouping(NamedTuple):
    """How runs are compared."""

    axes: tuple[str, ...]
    """The settings that define the groups."""
    over: tuple[str, ...]
    """Other settings that differ: groups are compared within each combination of them, and differences averaged."""
    groups: tuple[Group, ...]
    notes: tuple[str, ...]


def group(runs: Sequence[Finished], by: Sequence[str] = (), order: Sequence[str] = ()) -> Grouping:
    """Group one or more runs with the same rule by the settings in which they differ.

    Args:
        by: The settings that define the groups; empty: every setting in which the runs differ, except the seed.
        order: Settings that come first in the names of groups: the axes of a sweep.

    Raises:
        ConfigError: The runs do not differ in a setting of `by`.
    """
    axes, notes = _axes(runs, order)
    for name in by:
        if name not in axes:
            raise ConfigError(f"--by {name}: the runs do not differ in it", nearest(name, axes))
    chosen = tuple(by) or axes
    over = tuple(axis for axis in axes if axis not in chosen)
    found: dict[Hashable, dict[str, list[Finished]]] = {}
    values: dict[Hashable, dict[str, Any]] = {}
    for run in runs:
        key = _key(run, chosen)
        values.setdefault(key, {axis: run.facets.get(axis) for axis in chosen})
        found.setdefault(key, {}).setdefault(_label({axis: run.facets.get(axis) for axis in over}), []).append(run)
    groups = tuple(
        Group(_label(values[key]) or "all runs", values[key], {s: tuple(own) for s, own in strata.items()})
        for key, strata in found.items()
    )
    return Grouping(chosen, over, groups, tuple(notes))


def _axes(runs: Sequence[Finished], order: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """The settings in which runs differ, without those that follow from others; and notes."""
    known = dict.fromkeys(key for run in runs for key in run.facets)
    names = dict.fromkeys([*(key for key in (*order, *FIELDS) if key in known), *sorted(known)])
    kept: list[str] = []
    along: list[str] = []
    for name in names:
        if name == _SEED or len({_frozen(run.facets.get(name)) for run in runs}) == 1:
            continue
        if kept and _follows(runs, kept, name):
            if name.split(".")[0] not in kept:
                along.append(name)
        else:
            kept.append(name)
    notes = (
        [f"{', '.join(along)} differ{'s' if len(along) == 1 else ''} together with {', '.join(kept)}"] if along else []
    )
    if len(versions := sorted({run.version for run in runs})) > 1:
        notes.append(f"the runs were made by different versions of localgif: {', '.join(versions)}")
    return tuple(kept), notes


def _follows(runs: Sequence[Finished], kept: Sequence[str], name: str) -> bool:
    seen: dict[Hashable, Hashable] = {}
    return all(seen.setdefault(_key(r, kept), _frozen(r.facets.get(name))) == _frozen(r.facets.get(name)) for r in runs)


def _key(run: Finished, axes: Sequence[str]) -> Hashable:
    return tuple(_frozen(run.facets.get(axis)) for axis in axes)


def _frozen(value: Any) -> Hashable:
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else (type(value) is bool, value)


def _label(values: Mapping[str, Any]) -> str:
    words = []
    for axis, value in values.items():
        word = str(value).lower() if isinstance(value, bool) or value is None else str(value)
        words.append(word if axis in FIELDS and FIELDS[axis].bare else f"{axis} {word}")
    return ", ".join(words)


# --- comparison -------------------------------------------------------------------------------------------------------


class Tested(NamedTuple):
    """A difference of means, and how likely chance alone gives one as large."""

    difference: float
    interval: tuple[float, float] | None
    """95 % bootstrap interval, not corrected for other questions."""
    p_value: float
    """Two-sided, permutation test over runs."""
    adjusted_p_value: float
    """After Holm's correction for all questions of its kind; this one decides."""
    smallest_possible_p_value: float
    """The smallest adjusted p that this many runs can reach."""
    paired_p_value: float | None
    """Two-sided, from the signs of the pairs' differences, for information only; None if runs do not form pairs."""
    pairs: int

    @property
    def word(self) -> Word:
        if self.adjusted_p_value > ALPHA:
            return "not shown"
        return "better" if self.difference > 0 else "worse"


class Row(NamedTuple):
    """One group. Scores are means of fresh samples, one number per run."""

    group: Group
    scores: tuple[float, ...]
    start: float
    """Mean score of the seed prompt."""
    quartiles: tuple[float, float, float]
    gain: Tested
    """Evolved prompt minus seed prompt."""
    verdicts: dict[str, int]
    """Word of a verdict -> number of runs with this verdict."""
    spread: Spread
    tokens: float
    """Per run, written by both models."""
    minutes: float
    """Per run."""

    @property
    def mean(self) -> float:
        return statistics.fmean(self.scores)

    def per_gain(self, cost: float) -> float | None:
        """The cost of a gain of 0.1; None without a gain."""
        return cost / (10 * self.gain.difference) if self.gain.difference > 0.005 else None


class Versus(NamedTuple):
    """Two groups: the second minus the first."""

    first: Group
    second: Group
    tested: Tested
    sizes: tuple[int, int]
    """Numbers of compared runs."""
    means: tuple[float, float]
    """Mean scores of these runs, averaged over strata."""
    left_out: tuple[str, ...]
    """Strata that only one of the groups has."""
    needed: int | None = None
    """Runs per group, over all strata, that detect a true difference of the observed size 80 % of the time. None if the
    question is decided, if 1,000 are too few, or if the spread is unknown."""


class Compared(NamedTuple):
    """The whole comparison."""

    rule: str
    grouping: Grouping
    rows: tuple[Row, ...]
    versus: tuple[Versus, ...]
    deviation: float | None
    """Pooled standard deviation between runs within groups."""
    apart: tuple[str, ...]
    """Pairs of groups without a common stratum."""


def compare(grouping: Grouping) -> Compared:
    """Test every group's gain and every pair of groups."""
    gains = [_gain(group) for group in grouping.groups]
    corrected = holm([g.p_value for g in gains])
    gains = [_corrected(g, p, len(gains)) for g, p in zip(gains, corrected, strict=True)]
    cells = [[run.score for run in runs] for group in grouping.groups for runs in group.strata.values()]
    pooled = pooled_deviation(cells)
    deviation = pooled[0] if pooled is not None else None
    found, apart = [], []
    for i, first in enumerate(grouping.groups):
        for second in grouping.groups[i + 1 :]:
            if first.strata.keys() & second.strata.keys():
                found.append(_versus(first, second))
            else:
                apart.append(f"{first.name} and {second.name}")
    corrected = holm([versus.tested.p_value for versus in found])
    versus = tuple(_decided(each, p, len(found), deviation) for each, p in zip(found, corrected, strict=True))
    rows = tuple(_row(group, gain) for group, gain in zip(grouping.groups, gains, strict=True))
    return Compared(grouping.groups[0].runs[0].rule, grouping, rows, versus, deviation, tuple(apart))


def _tested(strata: Strata, interval: tuple[float, float] | None, differences: Sequence[float]) -> Tested:
    p = permutation_p(strata)
    return Tested(
        difference=statistics.fmean(statistics.fmean(b) - statistics.fmean(a) for a, b in strata),
        interval=interval,
        p_value=p,
        adjusted_p_value=p,
        smallest_possible_p_value=smallest_p([(len(a), len(b)) for a, b in strata]),
        paired_p_value=sign_flip_p(differences) if len(differences) > 1 else None,
        pairs=len(differences),
    )


def _corrected(tested: Tested, adjusted: float, questions: int) -> Tested:
    smallest = min(1.0, tested.smallest_possible_p_value * questions)
    return tested._replace(adjusted_p_value=adjusted, smallest_possible_p_value=smallest)


def _gain(group: Group) -> Tested:
    """Test a group's gain; the seed prompt and the evolved prompt of a run are a pair."""
    strata = [([run.start for run in runs], [run.score for run in runs]) for runs in group.strata.values()]
    by_stratum = [[run.gain for run in runs] for runs in group.strata.values()]
    return _tested(strata, mean_interval(by_stratum), [gain for gains in by_stratum for gain in gains])


def _versus(first: Group, second: Group) -> Versus:
    common = [name for name in first.strata if name in second.strata]
    both = [(first.strata[name], second.strata[name]) for name in common]
    strata = [([run.score for run in a], [run.score for run in b]) for a, b in both]
    differences = [difference for a, b in both for difference in _paired(a, b)]
    sizes = sum(len(a) for a, _ in both), sum(len(b) for _, b in both)
    if not sizes[0] == sizes[1] == len(differences):
        differences = []  # the paired test would leave out runs that the other test counts
    tested = _tested(strata, difference_interval(strata), differences)
    low, high = (statistics.fmean(map(statistics.fmean, side)) for side in zip(*strata, strict=True))
    return Versus(first, second, tested, sizes, (low, high), tuple(sorted(first.strata.keys() ^ second.strata.keys())))


def _paired(first: Sequence[Finished], second: Sequence[Finished]) -> list[float]:
    """Differences between runs with the same seed; empty if a seed occurs twice in a group."""
    sides = [{run.facets.get(_SEED): run.score for run in runs} for runs in (first, second)]
    if len(sides[0]) < len(first) or len(sides[1]) < len(second):
        return []
    return [sides[1][seed] - score for seed, score in sides[0].items() if seed in sides[1]]


def _decided(versus: Versus, adjusted: float, comparisons: int, deviation: float | None) -> Versus:
    tested = _corrected(versus.tested, adjusted, comparisons)
    needed = None
    # Rounded, so that nearly equal questions use the same cached answer.
    difference, spread = round(tested.difference, 4), round(deviation or 0.0, 4)
    if tested.word == "not shown" and spread > 0 and difference != 0:
        needed = runs_needed(difference, spread, comparisons)
    return versus._replace(tested=tested, needed=needed)


def _row(group: Group, gain: Tested) -> Row:
    runs = group.runs
    scores = tuple(run.score for run in runs)
    words = [run.word for run in runs]
    low, middle, high = (float(q) for q in np.quantile(scores, (0.25, 0.5, 0.75)))
    return Row(
        group=group,
        scores=scores,
        start=statistics.fmean(run.start for run in runs),
        quartiles=(low, middle, high),
        gain=gain,
        verdicts={word: words.count(word) for word in ("better", "not shown", "worse") if word in words},
        spread=_spread(group),
        tokens=statistics.fmean(run.tokens for run in runs),
        minutes=statistics.fmean(run.minutes for run in runs),
    )


def _spread(group: Group) -> Spread:
    """The spread of a group, pooled over strata: runs of different tasks differ by more than their seeds."""
    each = [spread([run.best for run in runs]) for runs in group.strata.values()]

    def pooled(values: Sequence[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return math.sqrt(math.fsum(v * v for v in known) / len(known)) if known else None

    return Spread(*(pooled(column) for column in zip(*each, strict=True)))


# --- for programs and for people --------------------------------------------------------------------------------------


def as_json(compared: Compared) -> dict[str, Any]:
    """The object that `--json` prints, without sentences; numbers are rounded to 4 decimals."""
    return {
        "rule": compared.rule,
        "axes": compared.grouping.axes,
        "over": compared.grouping.over,
        "deviation_between_runs": _rounded(compared.deviation),
        "groups": [_group_json(row) for row in compared.rows],
        "comparisons": [
            {
                "first": versus.first.name,
                "second": versus.second.name,
                "runs": versus.sizes,
                "means": _rounded(versus.means),
                "word": versus.tested.word,
                **_rounded(versus.tested._asdict()),
                "runs_needed": versus.needed,
                "left_out": versus.left_out,
            }
            for versus in compared.versus
        ],
        "apart": compared.apart,
    }


def _group_json(row: Row) -> dict[str, Any]:
    runs = [
        {
            "run": run.name,
            "seed": run.facets.get(_SEED),
            "seed_score": run.start,
            "score": run.score,
            "fresh": run.best,
            "tokens": run.tokens,
            "minutes": run.minutes,
        }
        for run in row.group.runs
    ]
    numbers = {
        "runs": runs,
        "mean": row.mean,
        "quartiles": row.quartiles,
        "range": (min(row.scores), max(row.scores)),
        "seed_mean": row.start,
        "gain": {"word": row.gain.word, **row.gain._asdict()},
        "verdicts": row.verdicts,
        "spread": row.spread._asdict(),
        "tokens": round(row.tokens),
        "minutes": row.minutes,
        "tokens_per_tenth": row.per_gain(row.tokens),
        "minutes_per_tenth": row.per_gain(row.minutes),
    }
    return {"group": row.group.name, "values": row.group.values, **_rounded(numbers)}


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    return round(value, 4) if isinstance(value, float) else value


#: Most groups in the plot; the tables have all of them.
_MOST_STRIPS = 24
#: Longest name of a group in the plot, characters; about as much as fits on a phone.
_LONGEST_LABEL = 72


def render(compared: Compared, title: str, said: Sequence[str], left: Sequence[Left]) -> str:
    """The text of compare.html: one self-contained page in the report's style, without a script.

    Args:
        said: Sentences; the first one is the headline.
        left: Runs that are not compared.
    """
    from markupsafe import Markup

    strips = [
        plots.Strip(
            _plot_label(row.group.name),
            [score for run in row.group.runs for scores in run.best for score in scores],
            row.scores,
            row.start,
        )
        for row in compared.rows[:_MOST_STRIPS]
    ]
    template = page.environment().get_template("compare.html")
    return template.render(
        title=title,
        style=Markup(page.asset("report.css")),
        plot=Markup(plots.strip_plot(strips)),
        plotted=_MOST_STRIPS,
        runs=sum(len(row.scores) for row in compared.rows),
        axes=compared.grouping.axes,
        over=compared.grouping.over,
        notes=compared.grouping.notes,
        rule=compared.rule,
        rows=compared.rows,
        versus=compared.versus,
        sentences=said,
        left=left,
    )


def _plot_label(name: str) -> str:
    """A name without letters that matplotlib's own font lacks and would warn about. The tables have the whole name."""
    plain = "".join(c if c.isprintable() and ord(c) < 0x250 else "?" for c in name)
    return plain if len(plain) <= _LONGEST_LABEL else f"{plain[: _LONGEST_LABEL - 3]}..."


# --- in sentences -----------------------------------------------------------------------------------------------------

#: Smaller differences do not matter, even if enough runs would show them.
_TINY = 0.02


def sentences(compared: Compared) -> list[str]:
    """The conclusions: differences between groups, then each group's gain, then the sources of the spread."""
    gains = len(compared.rows)
    said = [_versus_sentence(versus, len(compared.versus), compared.grouping.over) for versus in compared.versus]
    said += [
        f"{names} cannot be compared: no combination of the other settings is in both." for names in compared.apart
    ]
    said += [_gain_sentence(row, gains) for row in compared.rows]
    return said + [text for row in compared.rows if (text := _spread_sentence(row))]


def _versus_sentence(versus: Versus, comparisons: int, over: tuple[str, ...]) -> str:
    """A sentence about a pair of groups, the higher one first."""
    tested = versus.tested
    low, high, sizes, means = versus.first, versus.second, versus.sizes, versus.means
    if tested.difference < 0:
        low, high, sizes, means, tested = high, low, sizes[::-1], means[::-1], _turned(tested)
    numbers = f"mean fresh score {means[1]:.3f} against {means[0]:.3f}, {_numbers(tested, comparisons)}"
    inside = f", compared within each {' and '.join(over)}" if over else ""
    closing = f"({numbers}; {sizes[1]} and {counted(sizes[0], 'run')}{inside})"
    missing = f" Left out, because only one of them has it: {', '.join(versus.left_out)}." if versus.left_out else ""
    if tested.word != "not shown":
        return f"{high.name} scores higher than {low.name} {closing}.{missing}"
    return f"No difference between {high.name} and {low.name} was shown {closing}.{missing} {_open(versus)}"


def _turned(tested: Tested) -> Tested:
    """The same difference with the opposite sign."""
    interval = None if tested.interval is None else (-tested.interval[1], -tested.interval[0])
    return tested._replace(difference=-tested.difference, interval=interval)


def _open(versus: Versus) -> str:
    """What would decide an open question."""
    tested, fewest = versus.tested, min(versus.sizes)
    if tested.smallest_possible_p_value > ALPHA:
        text = f"With {counted(fewest, 'run')} in the smaller group no difference can be shown."
    elif abs(tested.difference) < _TINY:
        return "If there is a difference, it is small."
    else:
        text = "This does not show that they are equal."
    if versus.needed is not None and versus.needed > fewest:
        text += (
            f" If the true difference equals the observed one, {counted(versus.needed, 'run')} per group "
            f"({versus.needed - fewest} more) would detect it 80 % of the time."
        )
    elif versus.needed is None and abs(tested.difference) >= _TINY:
        text += " It is unknown how many runs would decide it."
    return text


def _gain_sentence(row: Row, groups: int) -> str:
    """A sentence about the gain of one group."""
    if all(run.facets.get("reflection") == "none" for run in row.group.runs):
        return (
            f"{row.group.name}: the best of each run's samples scores {row.mean:.3f}, the seed prompt's fresh samples "
            f"{row.start:.3f}. The best of several samples is higher by construction; this is not a gain of a prompt."
        )
    gain, n = row.gain, len(row.scores)
    runs = f"{n} run{'s' if n != 1 else ''}"
    own = ", ".join(f"{count} {word}" for word, count in row.verdicts.items())
    numbers = f"{row.start:.3f} before, {row.mean:.3f} after, {_numbers(gain, groups)}; {runs}, own verdicts: {own}"
    word = {
        "better": "the evolved prompts score higher than the seed prompt",
        "worse": "the evolved prompts score lower than the seed prompt",
        "not shown": "no difference from the seed prompt was shown",
    }[gain.word]
    text = f"{row.group.name}: {word} ({numbers})."
    return text + (f" With {runs} none can be shown." if gain.smallest_possible_p_value > ALPHA else "")


def _spread_sentence(row: Row) -> str:
    """A sentence that compares the spread between runs with the noise within them; "" if one is unknown."""
    between, noise = row.spread.between, row.spread.noise
    if between is None or noise is None:
        return ""
    if between > noise:
        advice = "more runs help more than more fresh samples"
    elif noise > 1e-9:
        advice = "more fresh samples per run help as much as more runs"
    else:
        advice = "all runs scored the same"
    return (
        f"{row.group.name}: the seed of the search changes the score by a standard deviation of {between:.3f}, "
        f"chance in the fresh samples changes a run's mean by {noise:.3f}: {advice}."
    )


def _numbers(tested: Tested, questions: int) -> str:
    parts = [f"difference {tested.difference:+.3f}"]
    if tested.interval is not None:
        parts.append(f"95 % interval {tested.interval[0]:+.3f} to {tested.interval[1]:+.3f}")
    parts.append(_p(tested.adjusted_p_value) + (f" corrected for {questions} comparisons" if questions > 1 else ""))
    if tested.paired_p_value is not None:
        parts.append(f"paired {_p(tested.paired_p_value)}")
    return ", ".join(parts)


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.0005 else f"p = {value:.3f}"
