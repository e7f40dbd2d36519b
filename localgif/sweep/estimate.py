"""What a sweep will cost and what it can show: from stored runs, from what doctor measured, else by a default. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

from localgif.doctor.models import StoredPace, minutes
from localgif.settings import Settings
from localgif.sweep.plan import Cell, Plan
from localgif.sweep.runs import Finished, facets_of
from localgif.sweep.stats import pooled_deviation, power, runs_needed

#: Seconds that a sample takes with all that goes with it, where nothing is known: runs of a model of 1.5 billion
#: weights on two CPU cores took 20 (one task) to 45 (several) of them (docs/experiments.md).
DEFAULT_SECONDS = 30.0
#: Standard deviation between runs of one group where nothing is known: the article's way of doing it three times over
#: gave 0.29, 0.60 and 0.13.
DEFAULT_DEVIATION = 0.25
#: Fewer degrees of freedom tell nothing about a deviation.
FEWEST_FREEDOM = 3
#: The difference of mean scores that a plan is judged by.
DIFFERENCE = 0.2


class Estimate(NamedTuple):
    """What a plan comes to."""

    cells: int
    """That are not done yet; what follows is of these."""
    metric_calls: int
    samples: int
    """At most, re-tests not counted."""
    seconds: float
    """For all of them; runs that reach their target end earlier."""
    basis: str
    """Where the seconds come from."""
    groups: int
    """Of the whole plan, as all that follows."""
    comparisons: int
    """Pairs of groups."""
    runs: int
    """Of the smallest group."""
    deviation: float
    deviation_basis: str
    power: float
    """How often a true difference of 0.2 between two groups is found, 0 to 1."""
    needed: int | None
    """Runs of each group that find it in 80 % of such sweeps; None when 1,000 do not."""

    def as_json(self) -> dict[str, Any]:
        return {
            **self._asdict(),
            "seconds": round(self.seconds),
            "difference": DIFFERENCE,
            "power": round(self.power, 3),
        }


def estimate(
    plan: Plan,
    stored: Sequence[Finished],
    done: Collection[str] = (),
    measured: Callable[[Settings], StoredPace | None] = lambda settings: None,
) -> Estimate:
    """What a plan comes to.

    Args:
        plan: The sweep.
        stored: Runs that are done, of any kind.
        measured: Gives what doctor measured of the models of a run, used for cells whose models have no stored run.
        done: Names of the cells that are: they cost nothing more.
    """
    cells = [cell for cell in plan.cells if cell.name not in done]
    counted = [_seconds(cell, stored, measured(cell.settings)) for cell in cells]
    sizes = list(plan.groups.values())
    comparisons = math.comb(len(sizes), 2)
    deviation, deviation_basis = _deviation(plan, stored)
    return Estimate(
        cells=len(cells),
        metric_calls=sum(cell.settings.metric_calls for cell in cells),
        samples=sum(cell.samples for cell in cells),
        seconds=math.fsum(seconds for seconds, _ in counted),
        basis=_basis([source for _, source in counted]),
        groups=len(sizes),
        comparisons=comparisons,
        runs=min(sizes),
        deviation=deviation,
        deviation_basis=deviation_basis,
        power=power(min(sizes), DIFFERENCE, deviation, max(1, comparisons)),
        needed=runs_needed(DIFFERENCE, deviation, max(1, comparisons)),
    )


def _facets(settings: Settings) -> dict[str, Any]:
    return facets_of(settings.model_dump(mode="json"), {})


Source = frozenset[str] | StoredPace | None
"""Where the seconds of a cell come from: the names of runs, or a measurement of doctor; None for a guess."""


def _seconds(cell: Cell, stored: Sequence[Finished], measured: StoredPace | None) -> tuple[float, Source]:
    """Seconds of a cell, and where they come from: the runs most like it, or else doctor, or else nowhere."""
    own = _facets(cell.settings)
    models = ("animator", "animator.model", "reflector", "reflector.model")
    same = [run for run in stored if all(run.facets.get(key) == own[key] for key in models)]
    if not same:
        if measured is None:
            return cell.samples * DEFAULT_SECONDS, None
        return 60 * minutes(cell.settings, cell.suite, measured.attempt, measured.reflection).most, measured
    for key in ("reflection", "mode"):
        same = [run for run in same if run.facets.get(key) == own[key]] or same
    rate = 60 * math.fsum(run.minutes for run in same) / sum(run.samples for run in same)
    return cell.samples * rate, frozenset(str(run.folder) for run in same)


def _basis(sources: Sequence[Source]) -> str:
    """Where the seconds of all cells come from."""
    runs = [source for source in sources if isinstance(source, frozenset)]
    measured = [source for source in sources if isinstance(source, StoredPace)]
    said = []
    if runs:
        used = len(frozenset().union(*runs))
        said.append((len(runs), f"from {used} stored run{'s' if used != 1 else ''} of the same models"))
    if measured:
        said.append((len(measured), f"from what doctor measured on {min(each.at for each in measured)}"))
    if guessed := len(sources) - len(runs) - len(measured):
        said.append(
            (guessed, f"by a default of {DEFAULT_SECONDS:g} s a sample, no measurement (localgif doctor makes one)")
        )
    if len(said) == 1:
        return said[0][1]
    return "; ".join(f"for {count} cell{'s' if count != 1 else ''} {text}" for count, text in said)


def _deviation(plan: Plan, stored: Sequence[Finished]) -> tuple[float, str]:
    """Standard deviation between runs that differ by their seed alone, of the plan's models if they have such runs."""
    models = {(c.settings.animator.alias, c.settings.reflector.alias) for c in plan.cells}
    groups: dict[tuple[Any, ...], list[float]] = {}
    for run in stored:
        if (run.facets.get("animator"), run.facets.get("reflector")) in models:
            key = (run.rule, *sorted((k, str(v)) for k, v in run.facets.items() if k != "seed"))
            groups.setdefault(key, []).append(run.score)
    found = pooled_deviation(list(groups.values())) if groups else None
    if found is None or found[1] < FEWEST_FREEDOM or found[0] < 1e-9:
        return DEFAULT_DEVIATION, "assumed: too few runs are stored that differ by their seed alone"
    deviation, freedom = found
    return deviation, f"from {freedom + sum(len(g) > 1 for g in groups.values())} stored runs"
