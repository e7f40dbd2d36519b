"""Writes the table of docs/scoring.md: what each GIF of tests/corpus/gifs scores by either rule."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from localgif.gif import measure
from localgif.gif.score import SCORERS
from localgif.records import Measurements
from localgif.tasks.task import load_task

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "scoring.md"
CORPUS = ROOT / "tests" / "corpus" / "gifs"
BEGIN, END = "<!-- table: just scoring-table -->\n", "<!-- end of table -->\n"


class Row(NamedTuple):
    """One GIF."""

    name: str
    article: float
    strict: float
    lost: str
    """The parts below 1, the costliest first."""


def rows() -> list[Row]:
    """One for each GIF of the corpus. They are our own, so they are decoded right here."""
    task = load_task("bouncing-ball")
    found = []
    for path in sorted(CORPUS.glob("*.gif")):
        m = Measurements.model_validate(measure.main(path.read_bytes()))
        strict = SCORERS["strict"](m, task)
        lost = sorted((p for p in strict.parts if p.value < 0.9), key=lambda p: p.weight * (p.value - 1))
        words = ", ".join(f"{p.name} {p.value:.2f}" for p in lost)
        found.append(Row(path.stem.replace("-", " "), SCORERS["article"](m, task).total, strict.total, words))
    return found


def table(found: list[Row]) -> str:
    """The rows as Markdown, what the article's rule likes best first."""
    lines = ["| GIF | article | strict | where strict finds it |", "|---|---|---|---|"]
    for row in sorted(found, key=lambda row: (-row.article, row.name)):
        lines.append(f"| {row.name} | {row.article:.3f} | {row.strict:.3f} | {row.lost} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Rewrites the table in place."""
    text = PAGE.read_text()
    new = BEGIN + table(rows()) + END
    PAGE.write_text(re.sub(re.escape(BEGIN) + ".*?" + re.escape(END), lambda _: new, text, flags=re.DOTALL))


if __name__ == "__main__":
    main()
