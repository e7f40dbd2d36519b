"""Runs -> groups that differ in something but the seed. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

from localgif.errors import ConfigError, nearest
from localgif.settings import FIELDS
from localgif.sweep.runs import Finished

SEED = "seed"


class Group(NamedTuple):
    """Runs of which one is as good as another: only their seeds differ, and what is averaged over (strata)."""

    name: str
    values: dict[str, Any]
    strata: dict[str, tuple[Finished, ...]]
    """Name of a stratum -> its runs; one named "" when nothing is averaged over."""

    @property
    def runs(self) -> tuple[Finished, ...]:
        return tuple(run for runs in self.strata.values() for run in runs)


class Grouping(NamedTuple):
    """How runs are compared."""

    axes: tuple[str, ...]
    """What tells the groups apart."""
    over: tuple[str, ...]
    """What else differs: groups are compared inside each combination of it, and the differences averaged."""
    groups: tuple[Group, ...]
    notes: tuple[str, ...]


def group(runs: Sequence[Finished], by: Sequence[str] = (), order: Sequence[str] = ()) -> Grouping:
    """Group runs by the settings in which they differ.

    Args:
        runs: At least one, all scored by the same rule.
        by: The settings that tell groups apart; by default all in which runs differ but for the seed.
        order: Settings to name groups by first: the axes of a sweep.

    Raises:
        ConfigError: runs do not differ in what `by` names.
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
    """Settings in which runs differ, without those that follow from others of them."""
    known = dict.fromkeys(key for run in runs for key in run.facets)
    names = dict.fromkeys([*(k for k in (*order, *FIELDS) if k in known), *sorted(known)])
    kept: list[str] = []
    along: list[str] = []
    for name in names:
        if name == SEED or len({_frozen(run.facets.get(name)) for run in runs}) == 1:
            continue
        if kept and _follows(runs, kept, name):
            if name.split(".")[0] not in kept:
                along.append(name)
        else:
            kept.append(name)
    notes = [f"{', '.join(along)} differ{'s' if len(along) == 1 else ''} along with {', '.join(kept)}"] if along else []
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
