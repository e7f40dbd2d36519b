"""What a sweep will cost and what it can show, from stored runs; where there are none, by a default. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from localgif.config import Settings
from localgif.sweep.plan import Plan
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


def estimate(plan: Plan, stored: Sequence[Finished], done: Collection[str] = ()) -> Estimate:
    """What a plan comes to.

    Args:
        plan: The sweep.
        stored: Runs that are done, of any kind.
        done: Names of the cells that are: they cost nothing more.
    """
    cells = [cell for cell in plan.cells if cell.name not in done]
    counted = [_seconds_per_sample(cell.settings, stored) for cell in cells]
    seconds = math.fsum(cell.samples * rate for cell, (rate, _) in zip(cells, counted, strict=True))
    used = {name for _, names in counted for name in names}
    guessed = sum(not names for _, names in counted)
    basis = f"from {len(used)} stored run{'s' if len(used) != 1 else ''} of the same models" if used else ""
    if guessed:
        default = f"a default of {DEFAULT_SECONDS:g} s a sample, no measurement"
        basis = f"{basis}; for {guessed} cells by {default}" if basis else f"by {default}"
    sizes = list(plan.groups.values())
    comparisons = math.comb(len(sizes), 2)
    deviation, deviation_basis = _deviation(plan, stored)
    return Estimate(
        cells=len(cells),
        metric_calls=sum(cell.settings.metric_calls for cell in cells),
        samples=sum(cell.samples for cell in cells),
        seconds=seconds,
        basis=basis,
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


def _seconds_per_sample(settings: Settings, stored: Sequence[Finished]) -> tuple[float, frozenset[str]]:
    """Seconds, and the names of the runs that they come from: those most like this one."""
    own = _facets(settings)
    same: Sequence[Finished] = stored
    for keys in (("animator", "animator.model", "reflector", "reflector.model"), ("reflection",), ("mode",)):
        closer = [run for run in same if all(run.facets.get(key) == own[key] for key in keys)]
        if keys[0] == "animator" and not closer:
            return DEFAULT_SECONDS, frozenset()
        same = closer or same
    samples = sum(run.samples for run in same)
    return 60 * math.fsum(run.minutes for run in same) / samples, frozenset(str(run.folder) for run in same)


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
