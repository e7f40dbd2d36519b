# b5 unusual stdlib imports
# verdict: ok
"""Less usual parts of the standard library."""

import asyncio
import colorsys
import contextlib
import dataclasses
import decimal
import fractions
import itertools
import logging
import pathlib
import statistics
import typing

from PIL import Image


@dataclasses.dataclass
class Ball:
    x: int
    name: typing.Optional[str] = None


def make_gif(path):
    logging.basicConfig()
    ball = Ball(int(statistics.mean([1, 2, 3])))
    red = tuple(int(255 * part) for part in colorsys.hsv_to_rgb(0.0, 1.0, 1.0))
    with contextlib.suppress(ZeroDivisionError):
        fractions.Fraction(1, 0)
    decimal.Decimal("1.5").quantize(decimal.Decimal("1"))
    asyncio.Queue
    image = Image.new("RGB", (8 + ball.x, 8), red)
    for x, y in itertools.product(range(2), range(2)):
        image.putpixel((x, y), (0, 0, 0))
    image.save(pathlib.Path(path))
