"""`python -m scripts.bench NAME [OPTIONS]` measures one benchmark and prints its figures.

`python -m scripts.bench all [NAME...]` measures several (without names: all), each in its own process, and writes its
figures into docs/lab/benchmarks.md at once. If a benchmark fails, its figures stay as they were, the others continue,
and the exit code is 1. Run benchmarks on an idle machine: the figures include the load average before them.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scripts.bench.figures import replaced, text

PAGE = Path(__file__).parent.parent.parent / "docs" / "lab" / "benchmarks.md"
#: Module of scripts.bench -> what it measures. Its `measure` takes the options, by name, and returns the figures.
NAMES = {
    "endpoint": "the embedded endpoint against llama.cpp's own server",
    "loop": "localgif's way to a scored sample against the article's",
    "sandbox": "what the sandbox adds to a program",
}


def arguments() -> argparse.Namespace:
    """The command line; the options of a benchmark are the parameters of its `measure`."""
    parser = argparse.ArgumentParser(
        prog="just bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    commands = parser.add_subparsers(dest="name", required=True, metavar="NAME")
    every = commands.add_parser("all", help="measure several and write their figures into docs/lab/benchmarks.md")
    every.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)} (default: all)")
    for name, help_text in NAMES.items():
        command = commands.add_parser(name, help=help_text, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
        if name in sys.argv[1:2]:  # only the chosen one is imported
            for option in inspect.signature(_measure(name)).parameters.values():
                command.add_argument(f"--{option.name}", default=option.default, type=type(option.default), help=" ")
    parsed = parser.parse_args()
    for name in getattr(parsed, "names", ()):
        if name not in NAMES:
            parser.error(f"there is no benchmark {name!r}; choose from {', '.join(NAMES)}")
    return parsed


def _measure(name: str) -> Any:
    return importlib.import_module(f"scripts.bench.{name}").measure


def write(name: str) -> str:
    """Measure one benchmark in a process of its own and write its figures.

    Returns:
        Why it failed, or "".
    """
    print(f"just bench {name} ...", file=sys.stderr, flush=True)
    done = subprocess.run([sys.executable, "-m", "scripts.bench", name], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        return f"it ended with exit code {done.returncode}"
    body = f"`just bench {name}`, {datetime.now(UTC):%Y-%m-%d}:\n\n```text\n{done.stdout}```\n"
    PAGE.write_text(replaced(PAGE.read_text(), name, body))
    return ""


def main() -> int:
    """Run the command line; returns the exit code."""
    options = vars(arguments())
    name = options.pop("name")
    if name == "all":
        names = options["names"] or list(NAMES)
        for each in names:  # a missing section fails before anything is measured
            replaced(PAGE.read_text(), each, "")
        failures = {each: why for each in names if (why := write(each))}
        for each, why in failures.items():
            print(f"{each} failed, and its figures stay as they were: {why}", file=sys.stderr)
        return int(bool(failures))
    print(text(_measure(name)(**options)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
