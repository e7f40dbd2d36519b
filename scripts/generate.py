"""Writes the generated parts of docs/: three tables, and the schemas of models.toml and of a result (`--json`).

`just fix` runs it; tests compare the files with what it would write.
"""

from __future__ import annotations

import json
from pathlib import Path

from localgif.gif import measure
from localgif.gif.score import RULES, SCORERS
from localgif.models.toml import ModelsToml
from localgif.records import Measurements, RunResult
from localgif.settings import FIELDS
from localgif.tasks.suite import brief_split, family_split, folds
from localgif.tasks.task import load_task

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
SCORING, RUNS, MODES = DOCS / "scoring.md", DOCS / "runs.md", DOCS / "modes.md"
BEGIN, END = "<!-- table: just fix -->\n", "<!-- end of table -->\n"


def scoring_table() -> str:
    """The scores of each GIF of tests/corpus/gifs by three rules, as Markdown; the article's favourites first.

    A file has the name of its trick, after the name of its task and a dot unless the task is the bouncing ball.
    """
    rows = []
    for path in sorted((ROOT / "tests" / "corpus" / "gifs").glob("*.gif")):
        name, _, trick = path.stem.rpartition(".")
        task = load_task(name or "bouncing-ball")
        m = Measurements.model_validate(measure.main(path.read_bytes()))  # our own GIFs: they need no sandbox
        strict, article = SCORERS["strict"](m, task), SCORERS["article"](m, task).total
        lost = sorted((p for p in strict.parts if p.value < 0.9), key=lambda p: p.weight * (p.value - 1))
        label = (f"`{name}`: " if name else "") + trick.replace("-", " ")
        words = ", ".join(f"{p.name} {p.value:.2f}" for p in lost)
        rows.append((-article, label, RULES["strict-3"](m, task).total, strict.total, words))
    lines = [
        f"| {label} | {-article:.3f} | {old:.3f} | {new:.3f} | {lost} |"
        for article, label, old, new, lost in sorted(rows)
    ]
    head = ["| GIF | article | strict-3 | strict | strict parts below 0.9 |", "|---|---|---|---|---|"]
    return "\n".join([*head, *lines]) + "\n"


def schemas() -> dict[Path, str]:
    """The JSON Schemas of models.toml and of a run's result: file -> text."""
    result = RunResult.model_json_schema(mode="serialization")
    found = {}
    for name, schema in (("models", ModelsToml.model_json_schema()), ("result", result)):
        whole = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
        found[DOCS / f"{name}.schema.json"] = json.dumps(whole, indent=2, ensure_ascii=False) + "\n"
    return found


def settings_table() -> str:
    """The table of docs/runs.md, as Markdown."""
    lines = ["| setting | values | default | in a fork | meaning |", "|---|---|---|---|---|"]
    for row in FIELDS.values():
        fork = "may change" if row.fork else "fixed"
        lines.append(f"| `{row.flag}` | {row.values} | {row.default_words} | {fork} | {row.help} |")
    return "\n".join(lines) + "\n"


def splits_table() -> str:
    """Every part of every split, as Markdown."""
    rows = {"briefs": brief_split()}
    rows |= {f"families, fold {fold}: {name}": family_split(fold) for fold, name in enumerate(folds(), 1)}
    lines = ["| split | train | val | test |", "|---|---|---|---|"]
    for name, parts in rows.items():
        lines.append(f"| {name} | " + " | ".join(", ".join(sorted(names)) for names in parts.values()) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Rewrite the files in place."""
    for file, text in schemas().items():
        file.write_text(text, encoding="utf-8")
    for page, table in ((SCORING, scoring_table()), (RUNS, settings_table()), (MODES, splits_table())):
        before, rest = page.read_text().split(BEGIN)
        page.write_text(before + BEGIN + table + END + rest.split(END, 1)[1])


if __name__ == "__main__":
    main()
