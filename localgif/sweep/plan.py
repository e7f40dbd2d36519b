"""Reads a sweep file into cells, one for each combination of its axes, and estimates what they cost and can show."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from localgif.doctor.models import StoredPace, minutes
from localgif.errors import ConfigError, nearest
from localgif.files import content_hash, parse_toml, read_input_text
from localgif.models.toml import ModelsFile, make_settings
from localgif.run.optimize import check_budget
from localgif.search.progress import counted
from localgif.settings import FIELDS, Settings
from localgif.significance import pooled_deviation, power, runs_needed
from localgif.sweep.read import Finished, facets_of
from localgif.tasks.suite import Suite, chosen_suite

#: Most cells of a sweep.
_MOST_CELLS = 10_000
_MAX_BYTES = 256 * 1024
#: Longest name of a cell. A folder name may have 255 bytes, and paths have a limit too.
LONGEST_NAME = 100


class Cell(NamedTuple):
    """One run of a sweep."""

    name: str
    """Name of the cell and of its folder, e.g. "reflection=plain_seed=3"."""
    values: dict[str, Any]
    """Axis -> value."""
    settings: Settings
    suite: Suite
    """The tasks, as read together with the plan."""

    @property
    def models(self) -> tuple[str, str]:
        """The aliases of animator and reflector."""
        return self.settings.animator.alias, self.settings.reflector.alias

    @property
    def samples(self) -> int:
        """The most samples that the run can take, without re-tests."""
        settings, suite = self.settings, self.suite
        final = settings.fresh * len(suite.tested) + len(suite.neighbours)
        return settings.metric_calls * settings.samples + 2 * final


class Plan(NamedTuple):
    """A checked sweep file."""

    name: str
    """Name of the folder, and of the file without its extension."""
    axes: dict[str, tuple[Any, ...]]
    cells: tuple[Cell, ...]
    """In the order in which they run."""


def read_plan(path: Path, models: ModelsFile) -> Plan:
    """The plan of a sweep file; raises as parse_plan."""
    return parse_plan(read_input_text(path, _MAX_BYTES, "a sweep file", "E-USAGE"), path.stem, str(path), models)


def parse_plan(text: str, name: str, place: str, models: ModelsFile) -> Plan:
    """The plan in the TOML text of the file `place`. Checks the settings, tasks and budget of every cell.

    Raises:
        ConfigError: Not TOML, an unknown key, a wrong value, no axis, too many cells; the message names file and key.
    """
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}", name):
        raise ConfigError(
            f"{place}: a sweep's folder has the name of its file, and {name!r} is not a valid folder name",
            "rename the file; use letters, digits, - and _",
        )
    data = parse_toml(text, place, "E-USAGE")
    fixed, axes = _tables(data, place)
    cells = math.prod(len(values) for values in axes.values())
    if cells > _MOST_CELLS:
        raise ConfigError(
            f"{place}: the axes make {cells:,} cells, more than {_MOST_CELLS:,}", "shorten or remove an axis"
        )
    combinations = itertools.product(*axes.values())
    made = [_cell(dict(zip(axes, values, strict=True)), fixed, place, models) for values in combinations]
    return Plan(name, axes, _ordered(made, axes))


def _tables(data: Mapping[str, Any], place: str) -> tuple[dict[str, Any], dict[str, tuple[Any, ...]]]:
    """The settings of all cells, and the axes."""
    for key in data:
        if key in FIELDS:
            raise ConfigError(
                f"{place}: {key} is outside a table",
                f"put it under [settings] (one value for all runs) or [axes] ({key} = [...], one run per value)",
            )
        if key == "workers":
            raise ConfigError(
                f"{place}: sweep files no longer have a table [workers]",
                "remove it; list the models of a worker when you start it: dask worker ADDRESS --resources 'ALIAS=1'",
            )
        if key not in ("axes", "settings"):
            raise ConfigError(f"{place}: unknown key {key}", nearest(key, ("axes", "settings")))
    fixed, axes = (_table(data.get(name, {}), name, place) for name in ("settings", "axes"))
    if not axes:
        raise ConfigError(f"{place} has no axis", "add [axes] with a line such as seed = [0, 1, 2, 3]")
    for key, value in fixed.items():
        if key in axes:
            raise ConfigError(f"{place}: {key} is under [settings] and under [axes]", "remove one of them")
        _check(key, value, f"{place}: settings.{key}")
    for key, values in axes.items():
        if not isinstance(values, list) or not values:
            raise ConfigError(
                f"{place}: axes.{key} = {_shown(values)} is not a list of values",
                f"write {key} = [...] with a value for each run, or put a single value under [settings]",
            )
        for value in values:
            _check(key, value, f"{place}: axes.{key}")
            if values.count(value) > 1:
                raise ConfigError(
                    f"{place}: axes.{key} has {_shown(value)} twice", "remove one; to repeat a run use several seeds"
                )
    return fixed, {key: tuple(values) for key, values in axes.items()}


def _table(table: Any, name: str, place: str) -> dict[str, Any]:
    if not isinstance(table, dict):
        raise ConfigError(f"{place}: {name} = {_shown(table)} is not a table", f"write [{name}], and its keys below")
    for key in table:
        if key not in FIELDS:
            raise ConfigError(f"{place}: unknown key {name}.{key}", nearest(key, FIELDS))
    return table


def _check(key: str, value: Any, where: str) -> None:
    if not FIELDS[key].fits(value):
        hint = "a list of values belongs under [axes]" if isinstance(value, list) else "correct the value"
        raise ConfigError(f"{where} = {_shown(value)} is not {FIELDS[key].values}", hint)


def _cell(values: dict[str, Any], fixed: Mapping[str, Any], place: str, models: ModelsFile) -> Cell:
    chosen = {key: FIELDS[key].parsed(value) for key, value in {**fixed, **values}.items()}
    name = cell_name(values)
    try:
        settings = make_settings(models, **chosen)
        suite = chosen_suite(settings)
        check_budget(settings, suite)
    except ConfigError as error:
        raise ConfigError(f"{place}: {_as_key(error.message, values)} (cell {name})", error.remedy) from None
    return Cell(name, values, settings, suite)


def _as_key(message: str, values: Mapping[str, Any]) -> str:
    """A message about a flag, turned into one about the key in the file."""
    flag = re.match(r"--([a-z][a-z-]*)", message)
    if flag is None or (key := flag[1].replace("-", "_")) not in FIELDS:
        return message
    return f"{'axes' if key in values else 'settings'}.{key}{message[flag.end() :]}"


def cell_name(values: Mapping[str, Any]) -> str:
    """The folder name of a cell, made of its values; unique within a sweep."""
    name = "_".join(f"{axis}={_word(value)}" for axis, value in values.items())
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 9]}-{content_hash(name)[:8]}"


def _word(value: Any) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    plain = re.sub(r"[^A-Za-z0-9.+-]+", "-", text)
    return plain if plain == text else f"{plain[:40].strip('-.')}-{content_hash(text)[:6]}"


def _shown(value: Any) -> str:
    return json.dumps(value, default=str, ensure_ascii=False)[:80]


def _ordered(cells: list[Cell], axes: Mapping[str, tuple[Any, ...]]) -> tuple[Cell, ...]:
    """The cells in their order: those with the same models together, so that a server loads each model once; within
    these seed by seed, so that an interrupted sweep has about the same number of runs in each group."""
    pairs: dict[tuple[str, str], int] = {}
    for cell in cells:
        pairs.setdefault(cell.models, len(pairs))
    seeds = axes.get("seed", ())
    return tuple(sorted(cells, key=lambda cell: (pairs[cell.models], seeds.index(cell.values["seed"]) if seeds else 0)))


# --- what a plan costs and can show -----------------------------------------------------------------------------------

#: Seconds per sample, all included, without measurements. Runs of a 1.5B model on two CPU cores took 20 s (one task) to
#: 45 s (several tasks) per sample (docs/lab/experiments.md).
DEFAULT_SECONDS = 30.0
#: Standard deviation between runs of one group, without stored runs. Three groups of three runs of the article's
#: procedure had 0.29, 0.60 and 0.13.
DEFAULT_DEVIATION = 0.25
#: The difference of mean scores that a plan should detect.
_DIFFERENCE = 0.2
#: Fewest degrees of freedom for an estimate of the deviation.
_FEWEST_FREEDOM = 3


class Estimate(NamedTuple):
    """The cost of a plan, and its power."""

    cells: int
    """Cells that are not done; metric calls, samples and seconds are the sums over these."""
    metric_calls: int
    samples: int
    """Upper bound, without re-tests."""
    seconds: float
    """Upper bound: runs that reach their target end earlier."""
    basis: str
    """The source of the seconds."""
    groups: int
    """Groups of the whole plan; the fields below also refer to the whole plan."""
    comparisons: int
    """Pairs of groups."""
    runs: int
    """Runs of the smallest group."""
    deviation: float
    deviation_basis: str
    power: float
    """How often a true difference of 0.2 between two groups is detected, 0 to 1."""
    needed: int | None
    """Runs per group that detect it 80 % of the time; None if 1,000 are too few."""

    def as_json(self) -> dict[str, Any]:
        return {
            **self._asdict(),
            "seconds": round(self.seconds),
            "difference": _DIFFERENCE,
            "power": round(self.power, 3),
        }


def estimate(
    plan: Plan,
    stored: Sequence[Finished],
    done: Collection[str] = (),
    measured: Callable[[Settings], StoredPace | None] = lambda settings: None,
) -> Estimate:
    """Estimate the cost and the power of a plan from finished runs.

    Args:
        stored: Finished runs of any kind.
        done: Names of the cells that are done, so cost nothing.
        measured: Returns the pace of a run's models that `localgif doctor` measured; used without stored runs of them.
    """
    cells = [cell for cell in plan.cells if cell.name not in done]
    counted = [_seconds(cell, stored, measured(cell.settings)) for cell in cells]
    sizes = Counter(tuple(v for axis, v in cell.values.items() if axis != "seed") for cell in plan.cells).values()
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
        power=power(min(sizes), _DIFFERENCE, deviation, max(1, comparisons)),
        needed=runs_needed(_DIFFERENCE, deviation, max(1, comparisons)),
    )


def seconds_of(cell: Cell, stored: Sequence[Finished], measured: StoredPace | None) -> tuple[float, str]:
    """Seconds of one run, and the source of the number; arguments as for `estimate`."""
    seconds, source = _seconds(cell, stored, measured)
    return seconds, _basis([source])


_Source = frozenset[str] | StoredPace | None
"""The source of a cell's seconds: names of runs, or doctor's measurement; None for the default."""


def _seconds(cell: Cell, stored: Sequence[Finished], measured: StoredPace | None) -> tuple[float, _Source]:
    """Seconds of a cell from the most similar stored runs, else from doctor's measurement, else by default."""
    own = facets_of(cell.settings.model_dump(mode="json"), {})
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


def _basis(sources: Sequence[_Source]) -> str:
    """The sources of all cells' seconds, in words."""
    runs = [source for source in sources if isinstance(source, frozenset)]
    measured = [source for source in sources if isinstance(source, StoredPace)]
    said = []
    if runs:
        used = len(frozenset().union(*runs))
        said.append((len(runs), f"from {counted(used, 'stored run')} of the same models"))
    if measured:
        said.append((len(measured), f"from what doctor measured on {min(each.at for each in measured)}"))
    if guessed := len(sources) - len(runs) - len(measured):
        said.append((guessed, f"a default of {DEFAULT_SECONDS:g} s per sample; localgif doctor measures it"))
    if len(said) == 1:
        return said[0][1]
    return "; ".join(f"for {counted(count, 'cell')} {text}" for count, text in said)


def _deviation(plan: Plan, stored: Sequence[Finished]) -> tuple[float, str]:
    """Standard deviation between stored runs of the plan's models that differ only in their seed, and its source."""
    models = {cell.models for cell in plan.cells}
    groups: dict[tuple[Any, ...], list[float]] = {}
    for run in stored:
        if (run.facets.get("animator"), run.facets.get("reflector")) in models:
            key = (run.rule, *sorted((k, str(v)) for k, v in run.facets.items() if k != "seed"))
            groups.setdefault(key, []).append(run.score)
    found = pooled_deviation(list(groups.values())) if groups else None
    if found is None or found[1] < _FEWEST_FREEDOM or found[0] < 1e-9:
        return DEFAULT_DEVIATION, "assumed: too few stored runs differ only in their seed"
    deviation, freedom = found
    return deviation, f"from {counted(freedom + sum(len(g) > 1 for g in groups.values()), 'stored run')}"


def plan_sentences(estimate: Estimate) -> list[str]:
    """The cost of a plan, and what it can show."""
    hours = estimate.seconds / 3600
    time = f"{hours:.1f} hours" if hours >= 1 else f"{estimate.seconds / 60:.0f} minutes"
    said = ["All cells are done."]
    if estimate.cells:
        said = [
            f"{counted(estimate.cells, 'cell')} to run, {counted(estimate.metric_calls, 'metric call')}, at most "
            f"{counted(estimate.samples, 'sample')} and about {time} ({estimate.basis})."
        ]
    if estimate.groups < 2:
        return [*said, "There is only one group of runs, so there is nothing to compare."]
    many = f", corrected for {estimate.comparisons} comparisons" if estimate.comparisons > 1 else ""
    said.append(
        f"{estimate.groups} groups of {counted(estimate.runs, 'run')}{many}: a true difference "
        f"of {_DIFFERENCE:g} between two of them is detected {100 * estimate.power:.0f} % of the time, if runs differ "
        f"by a standard deviation of {estimate.deviation:.2f} ({estimate.deviation_basis})."
    )
    if estimate.needed is None:
        said.append("Even 1,000 runs per group would not detect it 80 % of the time.")
    elif estimate.needed > estimate.runs:
        said.append(f"To detect it 80 % of the time takes {counted(estimate.needed, 'run')} per group.")
    return said
