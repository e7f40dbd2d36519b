"""Prompts that ship with localgif: the front of a general run, for drawings without a run of your own.

A search never reads them, so that a run finds everything itself.
"""

from __future__ import annotations

from importlib import resources

from localgif.records import Record


class Shipped(Record):
    """The front of a run, and how the run was made."""

    model: str
    """The animator's name on its endpoint."""
    digest: str | None
    """sha256 of its weights."""
    command: str
    version: str
    """Version of localgif that made it."""
    date: str
    """Start of the run, ISO 8601."""
    tested: tuple[str, ...]
    """The held-out tasks, which the search never saw."""
    seed_mean: float
    """Mean score of fresh samples of the seed prompt on `tested`."""
    best_mean: float
    """The same for the first prompt alone."""
    front_mean: float
    """The same for all prompts, keeping the best measured answer."""
    prompts: tuple[str, ...]
    """The best prompt on average comes first."""


def shipped(model: str) -> Shipped:
    """The prompts that were made with a model, or those of the default animator."""
    name = model.removesuffix(":latest").replace(":", "-")
    folder = resources.files("localgif.run") / "prompts"
    file = folder / f"{name}.json"
    return Shipped.model_validate_json((file if file.is_file() else folder / USUAL).read_bytes())


#: The file for models that do not have their own.
USUAL = "qwen2.5-coder-1.5b.json"
