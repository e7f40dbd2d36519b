"""Prompts that come with localgif: the front of a general run, for drawings before there is a run of one's own.

A search never reads them: what a run shows was found in that run.
"""

from __future__ import annotations

from importlib import resources

from localgif.records import Record


class Shipped(Record):
    """The front of a run, with the record of how it was made."""

    model: str
    """The animator's name on its endpoint."""
    digest: str | None
    """sha256 of its weights."""
    command: str
    version: str
    """The localgif that made it."""
    date: str
    """Start of the run, ISO 8601."""
    tested: tuple[str, ...]
    """The tasks that were drawn at the end; the search never saw them."""
    seed_mean: float
    """Mean score of the seed prompt on them, fresh samples."""
    best_mean: float
    """The same for the first prompt alone."""
    front_mean: float
    """The same for all prompts, the best measured answer kept."""
    prompts: tuple[str, ...]
    """The best on average first."""


def shipped(model: str) -> Shipped:
    """The prompts for a model: those that were made with it, else those of the usual animator."""
    name = model.removesuffix(":latest").replace(":", "-")
    folder = resources.files("localgif.run") / "prompts"
    file = folder / f"{name}.json"
    return Shipped.model_validate_json((file if file.is_file() else folder / USUAL).read_bytes())


#: The file for models without one of their own.
USUAL = "qwen2.5-coder-1.5b.json"
