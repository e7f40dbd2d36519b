"""Writes docs/models.schema.json from the records of models.toml; editors read it (a test compares the two)."""

from __future__ import annotations

import json
from pathlib import Path

from localgif.models.toml import json_schema

FILE = Path(__file__).parent.parent / "docs" / "models.schema.json"


def text() -> str:
    """The file."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
    print(FILE)
