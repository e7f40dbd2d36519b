"""Writes the generated parts of docs/: the table of scoring.md, and models.schema.json, which editors read.

`just fix` runs it; tests compare the files with what it would write.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from localgif.gif import measure
from localgif.gif.score import SCORERS
from localgif.models.toml import json_schema
from localgif.records import Measurements
from localgif.tasks.task import load_task

ROOT = Path(__file__).parent.parent
SCHEMA = ROOT / "docs" / "models.schema.json"
SCORING = ROOT / "docs" / "scoring.md"
BEGIN, END = "<!-- table: just fix -->\n", "<!-- end of table -->\n"


def scoring_table() -> str:
    """The scores of each GIF of tests/corpus/gifs by both rules, as Markdown; the article's favourites first."""
    task = load_task("bouncing-ball")
    rows = []
    for path in sorted((ROOT / "tests" / "corpus" / "gifs").glob("*.gif")):
        m = Measurements.model_validate(measure.main(path.read_bytes()))  # our own GIFs: they need no sandbox
        strict, article = SCORERS["strict"](m, task), SCORERS["article"](m, task).total
        lost = sorted((p for p in strict.parts if p.value < 0.9), key=lambda p: p.weight * (p.value - 1))
        rows.append(
            (-article, path.stem.replace("-", " "), strict.total, ", ".join(f"{p.name} {p.value:.2f}" for p in lost))
        )
    lines = [f"| {name} | {-article:.3f} | {strict:.3f} | {lost} |" for article, name, strict, lost in sorted(rows)]
    return "\n".join(["| GIF | article | strict | where strict finds it |", "|---|---|---|---|", *lines]) + "\n"


def models_schema() -> str:
    """The JSON Schema of models.toml."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Rewrite both files in place."""
    SCHEMA.write_text(models_schema(), encoding="utf-8")
    new = BEGIN + scoring_table() + END
    SCORING.write_text(
        re.sub(re.escape(BEGIN) + ".*?" + re.escape(END), lambda _: new, SCORING.read_text(), flags=re.DOTALL)
    )


if __name__ == "__main__":
    main()
