"""What may be concluded from many runs: groups, their gains and differences, each with what chance could do. Pure.

Runs are the unit: the samples of a run share its search, so they are no witnesses of what another search would find.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from localgif.run.result import ALPHA, bootstrap, swapped_tasks
from localgif.sweep.groups import SEED, Group, Grouping
from localgif.sweep.runs import Finished
from localgif.sweep.stats import (
    Floats,
    Spread,
    Strata,
    difference_interval,
    holm,
    permutation_p,
    pooled_deviation,
    runs_needed,
    smallest_p,
    spread,
)

Word = Literal["better", "worse", "not shown"]


class Tested(NamedTuple):
    """A difference of means and what chance could do of it."""

    difference: float
    interval: tuple[float, float] | None
    """95 % bootstrap interval, for this difference alone."""
    p_value: float
    """Two-sided, permutation test over runs."""
    adjusted: float
    """After Holm's correction for all questions of its kind; this one decides."""
    smallest: float
    """The smallest adjusted p that so many runs can reach if it is the smallest of all."""
    paired: float | None
    """Two-sided, signs of the pairs' differences; None where runs do not pair up. For information."""
    pairs: int

    @property
    def word(self) -> Word:
        if self.adjusted > ALPHA:
            return "not shown"
        return "better" if self.difference > 0 else "worse"


class Row(NamedTuple):
    """One group. Scores are means of fresh samples, a number a run."""

    group: Group
    scores: tuple[float, ...]
    start: float
    """Mean of the seed prompt's."""
    quartiles: tuple[float, float, float]
    gain: Tested
    """Evolved prompt minus seed prompt."""
    verdicts: dict[str, int]
    """Word of a run's own verdict -> runs."""
    spread: Spread
    tokens: float
    """A run, both models."""
    minutes: float
    """A run."""

    @property
    def mean(self) -> float:
        return statistics.fmean(self.scores)

    def per_gain(self, cost: float) -> float | None:
        """What a tenth of gain cost; None without a gain."""
        return cost / (10 * self.gain.difference) if self.gain.difference > 0.005 else None


class Versus(NamedTuple):
    """Two groups: the second minus the first."""

    first: Group
    second: Group
    tested: Tested
    sizes: tuple[int, int]
    """Runs that were compared."""
    means: tuple[float, float]
    """Of these, over strata."""
    left_out: tuple[str, ...]
    """Strata that only one of them has."""
    needed: int | None
    """Runs of each, strata together, that show such a difference in 80 % of sweeps, were it the true one; None where
    the question is decided, where 1,000 do not, and where nothing is known of the spread."""


class Compared(NamedTuple):
    """The whole comparison."""

    rule: str
    grouping: Grouping
    rows: tuple[Row, ...]
    versus: tuple[Versus, ...]
    deviation: float | None
    """Standard deviation between runs inside groups, pooled."""
    apart: tuple[str, ...]
    """Pairs of groups that have no stratum in common."""


def compare(grouping: Grouping) -> Compared:
    """Everything that is said of the groups."""
    gains = [_gain(group) for group in grouping.groups]
    corrected = holm([g.p_value for g in gains])
    gains = [
        g._replace(adjusted=p, smallest=min(1.0, g.smallest * len(gains)))
        for g, p in zip(gains, corrected, strict=True)
    ]
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
    rule = grouping.groups[0].runs[0].rule
    rows = tuple(_row(group, gain) for group, gain in zip(grouping.groups, gains, strict=True))
    return Compared(rule, grouping, rows, versus, deviation, tuple(apart))


def _array(runs: Sequence[Finished], what: str) -> Floats:
    return np.array([getattr(run, what) for run in runs], dtype=np.float64)


def _tested(strata: Strata, interval: tuple[float, float] | None, differences: Sequence[float]) -> Tested:
    p = float(permutation_p(strata))
    return Tested(
        difference=math.fsum(float(b.mean() - a.mean()) for a, b in strata) / len(strata),
        interval=interval,
        p_value=p,
        adjusted=p,
        smallest=smallest_p([(len(a), len(b)) for a, b in strata]),
        paired=swapped_tasks(differences) if len(differences) > 1 else None,
        pairs=len(differences),
    )


def _gain(group: Group) -> Tested:
    """Seed prompt and evolved prompt of each run are a pair."""
    strata = [(_array(runs, "start"), _array(runs, "score")) for runs in group.strata.values()]
    by_stratum = [[run.gain for run in runs] for runs in group.strata.values()]
    return _tested(strata, bootstrap(by_stratum), [gain for gains in by_stratum for gain in gains])


def _versus(first: Group, second: Group) -> Versus:
    common = [name for name in first.strata if name in second.strata]
    both = [(first.strata[name], second.strata[name]) for name in common]
    strata = [(_array(a, "score"), _array(b, "score")) for a, b in both]
    differences = [difference for a, b in both for difference in _paired(a, b)]
    sizes = sum(len(a) for a, _ in both), sum(len(b) for _, b in both)
    if not sizes[0] == sizes[1] == len(differences):
        differences = []  # runs without a partner would count in one test and not in the other
    tested = _tested(strata, difference_interval(strata), differences)
    low, high = (math.fsum(float(each[i].mean()) for each in strata) / len(strata) for i in (0, 1))
    return Versus(
        first, second, tested, sizes, (low, high), tuple(sorted(first.strata.keys() ^ second.strata.keys())), None
    )


def _paired(first: Sequence[Finished], second: Sequence[Finished]) -> list[float]:
    """Differences of the runs with one seed; none where a seed is there twice."""
    sides = [{run.facets.get(SEED): run.score for run in runs} for runs in (first, second)]
    if len(sides[0]) < len(first) or len(sides[1]) < len(second):
        return []
    return [sides[1][seed] - score for seed, score in sides[0].items() if seed in sides[1]]


def _decided(versus: Versus, adjusted: float, comparisons: int, deviation: float | None) -> Versus:
    tested = versus.tested._replace(adjusted=adjusted, smallest=min(1.0, versus.tested.smallest * comparisons))
    needed = None
    # Rounded, so that much the same question is worked out once.
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
    """Pooled over strata: runs of different tasks differ by more than their seeds."""
    each = [spread([run.best for run in runs]) for runs in group.strata.values()]

    def pooled(values: list[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return math.sqrt(math.fsum(v * v for v in known) / len(known)) if known else None

    return Spread(*(pooled(list(column)) for column in zip(*each, strict=True)))


def as_json(compared: Compared) -> dict[str, Any]:
    """The object that `--json` prints, without its sentences."""
    return {
        "rule": compared.rule,
        "axes": list(compared.grouping.axes),
        "over": list(compared.grouping.over),
        "deviation_between_runs": _round(compared.deviation),
        "groups": [
            {
                "group": row.group.name,
                "values": row.group.values,
                "runs": [
                    {
                        "run": run.name,
                        "seed": run.facets.get(SEED),
                        "seed_score": _round(run.start),
                        "score": _round(run.score),
                    }
                    | {
                        "fresh": [list(scores) for scores in run.best],
                        "tokens": run.tokens,
                        "minutes": _round(run.minutes),
                    }
                    for run in row.group.runs
                ],
                "mean": _round(row.mean),
                "quartiles": [_round(q) for q in row.quartiles],
                "range": [min(row.scores), max(row.scores)],
                "seed_mean": _round(row.start),
                "gain": _test_json(row.gain),
                "verdicts": row.verdicts,
                "spread": {key: _round(value) for key, value in row.spread._asdict().items()},
                "tokens": round(row.tokens),
                "minutes": _round(row.minutes),
                "tokens_per_tenth": _round(row.per_gain(row.tokens)),
                "minutes_per_tenth": _round(row.per_gain(row.minutes)),
            }
            for row in compared.rows
        ],
        "comparisons": [
            {
                "first": versus.first.name,
                "second": versus.second.name,
                "runs": list(versus.sizes),
                "means": [_round(mean) for mean in versus.means],
                **_test_json(versus.tested),
                "runs_needed": versus.needed,
                "left_out": list(versus.left_out),
            }
            for versus in compared.versus
        ],
        "apart": list(compared.apart),
    }


def _test_json(tested: Tested) -> dict[str, Any]:
    return {
        "word": tested.word,
        "difference": _round(tested.difference),
        "interval": None if tested.interval is None else [_round(edge) for edge in tested.interval],
        "p_value": _round(tested.p_value),
        "adjusted_p_value": _round(tested.adjusted),
        "smallest_possible_p_value": _round(tested.smallest),
        "paired_p_value": _round(tested.paired),
        "pairs": tested.pairs,
    }


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
