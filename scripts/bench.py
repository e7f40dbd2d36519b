"""Runs the benchmarks and writes their tables into docs/lab/benchmarks.md: `just bench [NAME...]`, without a name all.

One after another, so that none disturbs the next; each in a process of its own. A table is written as soon as its
benchmark is done. One that fails is reported and leaves its table as it was; the others go on, and the exit code is 1.
Run it on an idle machine: the load average stands above each table.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, NamedTuple

from scripts.figures import CONDITIONS
from scripts.sections import NoSection, replaced

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "lab" / "benchmarks.md"
END = "<!-- end -->"


class Bench(NamedTuple):
    """One benchmark."""

    recipe: str
    """Of the Justfile, for whoever wants to repeat it."""
    command: tuple[str, ...]
    """Arguments of Python; `--json` is added."""


def _script(recipe: str) -> Bench:
    return Bench(recipe, ("-m", f"scripts.{recipe.replace('-', '_')}"))


BENCHES = {
    "endpoint": _script("bench-endpoint"),
    "storm": _script("storm-endpoint"),
    "sandbox": _script("bench-sandbox"),
    "score": _script("bench-score"),
    "loop": _script("bench-loop"),
    "store": _script("bench-store"),
}


class Failed(Exception):
    """A benchmark gave no figures; the message says why."""


def measured(bench: Bench) -> dict[str, Any]:
    """The figures of a benchmark, run now. What it says on stderr goes to ours.

    Raises:
        Failed: it ended with an error, or printed something else than figures.
    """
    done = subprocess.run([sys.executable, *bench.command, "--json"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise Failed(f"it ended with exit code {done.returncode}")
    try:
        found = json.loads(done.stdout)
    except ValueError:
        raise Failed(f"it printed no JSON object: {done.stdout[:200]!r}") from None
    if not isinstance(found, dict) or not found.keys() - set(CONDITIONS):
        raise Failed("it printed no figures")
    return found


def section(recipe: str, found: Mapping[str, Any], day: date) -> str:
    """The figures of a benchmark as Markdown: its conditions, then its tables."""
    said = [f"`just {recipe}`", f"{day:%Y-%m-%d}"]
    if "model" in found:
        said.append(str(found["model"]))
    if "cores" in found:
        said.append(f"{found['cores']} CPU core{'s' if found['cores'] != 1 else ''}")
    if "repeat" in found:
        said.append("measured once" if found["repeat"] == 1 else f"repeated {_said(found['repeat'])} times")
    if "load average" in found:
        said.append(f"load average before it {_said(found['load average'])}")
    return f"{', '.join(said)}.\n\n{tables(found)}"


def tables(found: Mapping[str, Any]) -> str:
    """The figures without the conditions. Names with the same columns share a table."""
    rows: dict[tuple[str, ...], list[tuple[str, list[Any]]]] = {}
    for name, value in found.items():
        if name not in CONDITIONS:
            row = value if isinstance(value, Mapping) else {"": value}
            rows.setdefault(tuple(row), []).append((name, list(row.values())))
    return "\n".join(_table(columns, each) for columns, each in rows.items())


def _table(columns: Sequence[str], rows: Iterable[tuple[str, Sequence[Any]]]) -> str:
    lines = [_line(["", *columns]), "|---" * (len(columns) + 1) + "|"]
    return "\n".join([*lines, *(_line([name, *map(_said, values)]) for name, values in rows)]) + "\n"


def _line(cells: Iterable[str]) -> str:
    texts = (" ".join(cell.replace("|", "\\|").split()) for cell in cells)
    return "".join(f"| {text} " if text else "| " for text in texts) + "|"


def _said(value: Any) -> str:
    """A figure as it is read."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return f"{value:,.6g}" if isinstance(value, float) else f"{value:,}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_said(each)}" for name, each in value.items())
    if isinstance(value, list):
        return ", ".join(map(_said, value))
    return "" if value is None else str(value)


def begin(name: str) -> str:
    """The line above a benchmark's tables."""
    return f"<!-- bench: {name} -->"


def run(benches: Mapping[str, Bench], page: Path) -> dict[str, str]:
    """Run benchmarks and write their tables.

    Args:
        benches: What is run, by the name of its section.
        page: Where the tables go.

    Returns:
        Name -> why it failed, of those that did.

    Raises:
        NoSection: the page has no place for one of them; nothing is run then.
    """
    for name in benches:
        replaced(page.read_text(), begin(name), END, "")
    failures = {}
    for name, bench in benches.items():
        began = time.monotonic()
        print(f"{name}: just {bench.recipe} ...", file=sys.stderr, flush=True)
        try:
            body = section(bench.recipe, measured(bench), datetime.now(UTC).date())
        except Failed as error:
            failures[name] = str(error)
            print(f"{name}: failed, {error}; its table stays as it was", file=sys.stderr)
            continue
        page.write_text(replaced(page.read_text(), begin(name), END, body))
        print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    return failures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(BENCHES)}; without a name all of them")
    names = parser.parse_args().names or list(BENCHES)
    unknown = sorted({*names} - {*BENCHES})
    if unknown:
        parser.error(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(BENCHES)}")
    try:
        failures = run({name: BENCHES[name] for name in names}, PAGE)
    except NoSection as error:
        parser.error(f"{PAGE.relative_to(ROOT)}: {error}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
