"""What the keeper has in memory before it forks: loading it takes a hundred times as long as a fork.

Only what nearly every program and the measurer use; all of it counts as memory of every program.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import io
import sys

_MODULES = (
    "PIL.Image",
    "PIL.ImageDraw",
    "PIL.ImageFont",
    "PIL.ImageFilter",
    "PIL.ImageChops",
    "PIL.ImageColor",
    "PIL.GifImagePlugin",
    "PIL.ImageSequence",
    "numpy",
    "numpy.random",
    "numpy.typing",
    "math",
    "random",
    "colorsys",
    "itertools",
    "hashlib",
    "warnings",
)


def load() -> None:
    """Imports the libraries and uses them once, since they load and build much only when they are first used."""
    for name in _MODULES:
        with contextlib.suppress(ImportError):  # a program that needs it will say so itself
            importlib.import_module(name)
    with contextlib.suppress(ImportError):
        _use()


def load_measurer(name: str) -> None:
    """Imports a measurer of ours once, before the fork that needs it. Any other is left to its own process."""
    if name.startswith("localgif.") and name not in sys.modules:
        with contextlib.suppress(ImportError):  # its process will say so
            importlib.import_module(name)
            gc.freeze()


def _use() -> None:
    """Draws, writes and reads a small GIF of our own."""
    import numpy as np
    from PIL import Image, ImageDraw

    frames = [Image.new("RGB", (16, 16), (shade, 0, 0)) for shade in (0, 200)]
    ImageDraw.Draw(frames[0]).ellipse((2, 2, 9, 9), fill=(0, 200, 0))
    file = io.BytesIO()
    frames[0].save(file, format="GIF", save_all=True, append_images=frames[1:], duration=40, loop=0)
    with Image.open(io.BytesIO(file.getvalue()), formats=["GIF"]) as image:
        image.seek(1)
        image.convert("RGB").getcolors()
        grey = np.asarray(image.convert("L"), dtype=np.int16)
    np.unique(np.abs(grey - grey).astype(np.uint32), return_counts=True)
