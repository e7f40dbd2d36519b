"""A sweep file -> cells: every combination of the axes, each a whole run with a name and checked settings."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from localgif.errors import ConfigError, nearest
from localgif.files import content_hash, parse_toml, read_input_text
from localgif.models.toml import ModelsFile, make_settings
from localgif.run.optimize import check_budget
from localgif.settings import FIELDS, Settings, sweep_keys
from localgif.sweep.places import read_places
from localgif.tasks.suite import Suite, load_suite

#: Nobody plans more; a file that comes to more has an axis too many.
MOST_CELLS = 10_000
MAX_BYTES = 256 * 1024
#: A folder name may have 255 bytes, and a path its own limit.
LONGEST_NAME = 100


class Cell(NamedTuple):
    """One run of a sweep."""

    name: str
    """Of its folder: "reflection=plain_seed=3"."""
    values: dict[str, Any]
    """Axis -> value."""
    settings: Settings
    suite: Suite
    """Its tasks, as their files were when the plan was read."""

    @property
    def samples(self) -> int:
        """The most that it can take, re-tests not counted."""
        return self.settings.metric_calls * self.settings.samples + 2 * self.settings.fresh * len(self.suite.tested)


class Plan(NamedTuple):
    """A checked sweep file."""

    name: str
    """Of the file without its ending, and of the folder."""
    axes: dict[str, tuple[Any, ...]]
    cells: tuple[Cell, ...]
    """In the order in which they are run."""
    workers: Mapping[str, Mapping[str, str]]
    """Name of a worker of a cluster -> name of an endpoint -> address of the server that it asks there."""

    @property
    def groups(self) -> dict[tuple[Any, ...], int]:
        """Values of all axes but the seed -> number of cells."""
        found: dict[tuple[Any, ...], int] = {}
        for cell in self.cells:
            key = tuple(value for axis, value in cell.values.items() if axis != "seed")
            found[key] = found.get(key, 0) + 1
        return found


def read_plan(path: Path, models: ModelsFile) -> Plan:
    """The plan of a sweep file.

    Raises:
        ConfigError: the file cannot be used; the message names it and the key.
    """
    return parse_plan(read_input_text(path, MAX_BYTES, "a sweep file", "E-USAGE"), path.stem, str(path), models)


def parse_plan(text: str, name: str, place: str, models: ModelsFile) -> Plan:
    """The plan that a TOML text describes; every cell's settings, tasks and budget are checked.

    Args:
        text: The TOML.
        name: What the sweep is called.
        place: The file, for messages.
        models: models.toml.

    Raises:
        ConfigError: no TOML, an unknown key, a wrong value, no axis, too many cells.
    """
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}", name):
        raise ConfigError(
            f"{place}: a sweep's folder is called as its file is, and {name!r} cannot be the name of a folder",
            "rename the file: letters, digits, - and _",
        )
    data = parse_toml(text, place, "E-USAGE")
    fixed, axes = _tables(data, place)
    cells = math.prod(len(values) for values in axes.values())
    if cells > MOST_CELLS:
        raise ConfigError(
            f"{place}: the axes make {cells:,} cells, more than {MOST_CELLS:,}", "shorten or drop an axis"
        )
    made = [
        _cell(dict(zip(axes, values, strict=True)), fixed, place, models)
        for values in itertools.product(*axes.values())
    ]
    ordered = _ordered(made, axes)
    endpoints = {m.endpoint.name: m.endpoint for c in made for m in (c.settings.animator, c.settings.reflector)}
    return Plan(name, axes, ordered, read_places(data.get("workers", {}), endpoints, place))


def _tables(data: Mapping[str, Any], place: str) -> tuple[dict[str, Any], dict[str, tuple[Any, ...]]]:
    """What all cells share, and the axes."""
    for key in data:
        if key in sweep_keys():
            raise ConfigError(
                f"{place}: {key} stands outside of a table",
                f"put it under [settings] (one value for all runs) or [axes] ({key} = [...], a run for each value)",
            )
        if key not in ("axes", "settings", "workers"):
            raise ConfigError(f"{place}: unknown key {key}", nearest(key, ("axes", "settings", "workers")))
    tables = {name: data.get(name, {}) for name in ("settings", "axes")}
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise ConfigError(f"{place}: {name} = {_shown(table)} is no table", f"write [{name}], and keys below it")
        for key in table:
            if key not in sweep_keys():
                raise ConfigError(f"{place}: unknown key {name}.{key}", nearest(key, sweep_keys()))
    fixed, axes = tables["settings"], tables["axes"]
    if not axes:
        raise ConfigError(f"{place} has no axis", "add [axes] with a line such as seed = [0, 1, 2, 3]")
    for key, value in fixed.items():
        if key in axes:
            raise ConfigError(f"{place}: {key} is under [settings] and under [axes]", "remove one of them")
        _check(key, value, f"{place}: settings.{key}")
    for key, values in axes.items():
        if not isinstance(values, list) or not values:
            raise ConfigError(
                f"{place}: axes.{key} = {_shown(values)} is no list of values",
                f"write {key} = [...] with a value for each run, or put a single value under [settings]",
            )
        for value in values:
            _check(key, value, f"{place}: axes.{key}")
            if values.count(value) > 1:
                raise ConfigError(
                    f"{place}: axes.{key} has {_shown(value)} twice", "remove one; other seeds repeat a run"
                )
    return fixed, {key: tuple(values) for key, values in axes.items()}


def _check(key: str, value: Any, where: str) -> None:
    if not FIELDS[key].fits(value):
        hint = "a list of values belongs under [axes]" if isinstance(value, list) else "correct the value"
        raise ConfigError(f"{where} = {_shown(value)} is not {FIELDS[key].values}", hint)


def _cell(values: dict[str, Any], fixed: Mapping[str, Any], place: str, models: ModelsFile) -> Cell:
    chosen = {key: FIELDS[key].parsed(value) for key, value in {**fixed, **values}.items()}
    name = cell_name(values)
    try:
        settings = make_settings(models, **chosen)
        suite = load_suite(settings.mode, settings.task)
        check_budget(settings, suite)
    except ConfigError as error:
        raise ConfigError(f"{place}: {_placed(error.message, values)} (cell {name})", error.remedy) from None
    return Cell(name, values, settings, suite)


def _placed(message: str, values: Mapping[str, Any]) -> str:
    """A message about a flag as one about a key of the file."""
    flag = re.match(r"--([a-z][a-z-]*)", message)
    if flag is None or (key := flag[1].replace("-", "_")) not in sweep_keys():
        return message
    return f"{'axes' if key in values else 'settings'}.{key}{message[flag.end() :]}"


def cell_name(values: Mapping[str, Any]) -> str:
    """A folder name that tells the cell's values; two cells of a sweep never share one."""
    name = "_".join(f"{axis}={_word(value)}" for axis, value in values.items())
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 9]}-{content_hash(name)[:8]}"


def _word(value: Any) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    plain = re.sub(r"[^A-Za-z0-9.+-]+", "-", text)
    return plain if plain == text else f"{plain[:40].strip('-.')}-{content_hash(text)[:6]}"


def _shown(value: Any) -> str:
    return json.dumps(value, default=str, ensure_ascii=False)[:80]


def _ordered(cells: list[Cell], axes: Mapping[str, tuple[Any, ...]]) -> tuple[Cell, ...]:
    """Cells with the same models one after another, so that a server swaps them once; within these seed by seed, so
    that a sweep that is cut off has about as many runs of each group."""
    pairs: dict[tuple[str, str], int] = {}
    for cell in cells:
        pairs.setdefault((cell.settings.animator.alias, cell.settings.reflector.alias), len(pairs))
    seeds = axes.get("seed", ())
    return tuple(
        sorted(
            cells,
            key=lambda cell: (
                pairs[cell.settings.animator.alias, cell.settings.reflector.alias],
                seeds.index(cell.values["seed"]) if seeds else 0,
            ),
        )
    )
