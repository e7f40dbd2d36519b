"""localgif: make a small local model draw the GIF that you ask for, offline.

Importing this package is cheap: each name below, and each heavy library, loads when it is first used.

    models = localgif.load_models(Path("models.toml"))
    result = localgif.optimize(localgif.make_settings(models, task="bouncing-ball"))
    print(result.seed.mean, result.best.mean, result.verdict.word)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from localgif.models.toml import load_models_file as load_models
    from localgif.models.toml import make_settings
    from localgif.records import RunResult
    from localgif.run.draw import draw
    from localgif.run.optimize import optimize
    from localgif.run.rescore import score_gif
    from localgif.run.resume import resume
    from localgif.sandbox.runner import run_program
    from localgif.settings import Settings

__version__ = "0.1.0"

__all__ = [
    "RunResult",
    "Settings",
    "draw",
    "load_models",
    "make_settings",
    "optimize",
    "resume",
    "run_program",
    "score_gif",
]

#: Public name -> its module, and its name there.
_HOMES = {
    "RunResult": ("localgif.records", "RunResult"),
    "Settings": ("localgif.settings", "Settings"),
    "draw": ("localgif.run.draw", "draw"),
    "load_models": ("localgif.models.toml", "load_models_file"),
    "make_settings": ("localgif.models.toml", "make_settings"),
    "optimize": ("localgif.run.optimize", "optimize"),
    "resume": ("localgif.run.resume", "resume"),
    "run_program": ("localgif.sandbox.runner", "run_program"),
    "score_gif": ("localgif.run.rescore", "score_gif"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
