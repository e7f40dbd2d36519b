"""GIFs that look like a red ball that bounces on white, but are not: they must not fool the strict score.

`python -m tests.support.cheats` writes them to tests/corpus/gifs/. The files, not this module, are the corpus.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from tests.support.scenes import RGB, Scene, Thing, bounce, fixed, images, ring, saved, wave
from tests.support.scenes import gif as scene_gif

FOLDER = Path(__file__).parent.parent / "corpus" / "gifs"
SIZE = (120, 120)

BALL = Scene("white", (Thing("red", y=bounce(0.82, 0.6)),), size=SIZE)
LOOPED = {"duration": 40, "loop": 0}


def _noise() -> bytes:
    dice = random.Random(1)
    frames = [Image.frombytes("RGB", (48, 48), dice.randbytes(48 * 48 * 3)) for _ in range(24)]
    return saved([f.quantize(32) for f in frames], **LOOPED)


def _red_noise() -> bytes:
    """Red points on white, anew in every frame."""
    dice = random.Random(2)
    frames = []
    for _ in range(24):
        frame = Image.new("RGB", SIZE, "white")
        for _ in range(300):
            frame.putpixel((dice.randrange(120), dice.randrange(120)), RGB["red"])
        frames.append(frame)
    return saved(frames, **LOOPED)


def _one_pixel() -> bytes:
    """A ball that stands still, and a pixel that flickers so that no two frames are equal."""
    frames = images(replace(BALL.with_thing(y=fixed(0.5)), frames=24))
    for number, frame in enumerate(frames):
        frame.putpixel((3 + number, 3), RGB["red"])
    return saved(frames, **LOOPED)


def _palette_swap() -> bytes:
    """The picture stands still; its colours change places."""
    still = images(replace(BALL.with_thing(y=fixed(0.5)), frames=2))[0]
    swapped = Image.new("RGB", SIZE, RGB["red"])
    ImageDraw.Draw(swapped).ellipse((46, 46, 74, 74), fill="white")
    return saved([still if k % 2 else swapped for k in range(24)], **LOOPED)


def _two_frame_blink() -> bytes:
    """Two pictures in turns, 24 frames in all."""
    low, high = images(replace(BALL, frames=2, smooth=False))
    return saved([low if k % 2 else high for k in range(24)], **LOOPED)


def _padded_blink() -> bytes:
    """Twelve frames low, twelve high; a corner trembles so that all are stored."""
    low, high = images(replace(BALL, frames=2))
    frames = [(low if k < 12 else high).copy() for k in range(24)]
    for k, frame in enumerate(frames):
        ImageDraw.Draw(frame).rectangle((0, 0, k, 2), fill="red")
    return saved(frames, **LOOPED)


def _teleport() -> bytes:
    dice = random.Random(3)
    places = [dice.uniform(0.2, 0.8) for _ in range(24)]
    return scene_gif(BALL.with_thing(y=lambda t: places[round(t * 24) % 24]))


def _text() -> bytes:
    """The words in place of the ball."""
    frames = []
    for k in range(24):
        frame = Image.new("RGB", SIZE, "white")
        height = 20 + 60 * abs(math.sin(math.pi * k / 24))
        ImageDraw.Draw(frame).text((20, height), "red ball", fill="red", font=ImageFont.load_default(20))
        frames.append(frame)
    return saved(frames, **LOOPED)


def _moving_border() -> bytes:
    frames = images(replace(BALL.with_thing(y=fixed(0.5)), frames=24))
    for k, frame in enumerate(frames):
        draw = ImageDraw.Draw(frame)
        for place in range(0, 120, 10):
            draw.rectangle(((place + k) % 120, 0, (place + k) % 120 + 4, 6), fill="black")
    return saved(frames, **LOOPED)


def _transparent() -> bytes:
    """A ball on nothing: what is behind it is the page's affair."""
    frames = []
    for frame in images(replace(BALL, smooth=False)):
        clear = frame.convert("RGBA")
        clear.putalpha(frame.getchannel("G").point(lambda level: 0 if level == 255 else 255))
        frames.append(clear)
    return saved(frames, disposal=2, **LOOPED)


def _empty_frames() -> bytes:
    """The ball in every second frame, nothing in the others."""
    frames = images(replace(BALL, smooth=False))
    for k in range(1, 24, 2):
        frames[k] = Image.new("RGB", SIZE, "white")
        frames[k].putpixel((k, 0), (254, 254, 254))
    return saved(frames, **LOOPED)


def _huge() -> bytes:
    return scene_gif(replace(BALL, size=(1024, 1024), smooth=False, background="white"))


def _padded_bytes() -> bytes:
    """The right picture in a file that is far too large: a comment of 250 KB."""
    return scene_gif(replace(BALL, options={"comment": b"x" * 250_000}))


def _gradient() -> bytes:
    """A red glow all over the picture that goes up and down."""
    frames = []
    for k in range(24):
        centre = 60 + 30 * math.sin(2 * math.pi * k / 24)
        rows = [(255, *(2 * (min(255, int(abs(y - centre) * 5)),))) for y in range(120)]
        frame = Image.new("RGB", SIZE)
        frame.putdata([row for row in rows for _ in range(120)])
        frames.append(frame)
    return saved(frames, **LOOPED)


def _no_flag() -> bytes:
    return scene_gif(replace(BALL, loop=None))


CHEATS: dict[str, Callable[[], bytes]] = {
    "noise": _noise,
    "red-noise": _red_noise,
    "one-pixel-flickers": _one_pixel,
    "palette-swap": _palette_swap,
    "two-frame-blink": _two_frame_blink,
    "padded-blink": _padded_blink,
    "teleporting-ball": _teleport,
    "trail-never-cleared": lambda: scene_gif(replace(BALL, clears=False)),
    "blue-ball": lambda: scene_gif(BALL.with_thing(colour="blue")),
    "orange-ball": lambda: scene_gif(BALL.with_thing(colour="orange")),
    "red-square": lambda: scene_gif(BALL.with_thing(shape="square")),
    "ball-goes-sideways": lambda: scene_gif(BALL.with_thing(x=wave(0.2, 0.8), y=fixed(0.5))),
    "ball-goes-round": lambda: scene_gif(BALL.with_thing(x=ring(0.5, 0.3), y=ring(0.5, 0.3, 0.25))),
    "ball-leaves-the-canvas": lambda: scene_gif(BALL.with_thing(y=wave(0.3, 1.3))),
    "ball-above-the-canvas": lambda: scene_gif(BALL.with_thing(y=wave(-0.5, 0.4))),
    "ball-only-falls": lambda: scene_gif(BALL.with_thing(y=lambda t: 0.15 + 0.7 * t)),
    "half-a-bounce": lambda: scene_gif(replace(BALL, stretch=0.5)),
    "pulsing-ball": lambda: scene_gif(BALL.with_thing(y=fixed(0.5), radius=wave(0.08, 0.25))),
    "two-balls": lambda: scene_gif(
        replace(BALL, things=(*BALL.with_thing(x=fixed(0.3)).things, *BALL.with_thing(x=fixed(0.7)).things))
    ),
    "five-balls": lambda: scene_gif(
        replace(
            BALL, things=tuple(replace(BALL.things[0], x=fixed(0.1 + 0.2 * k), radius=fixed(0.07)) for k in range(5))
        )
    ),
    "black-background": lambda: scene_gif(replace(BALL, background="black")),
    "flashing-background": lambda: scene_gif(
        replace(BALL, background=lambda t: "white" if t * 24 % 2 < 1 else "yellow")
    ),
    "one-frame-of-10-s": lambda: scene_gif(replace(BALL, duration=(*(40,) * 23, 10_000))),
    "all-time-in-one-frame": lambda: scene_gif(replace(BALL, duration=(*(10,) * 23, 770))),
    "ten-times-too-slow": lambda: scene_gif(replace(BALL, duration=400)),
    "loop-flag-missing": _no_flag,
    "six-frames": lambda: scene_gif(replace(BALL, frames=6, duration=160)),
    "hundred-frames": lambda: scene_gif(replace(BALL, frames=100, duration=10)),
    "text-in-place-of-the-ball": _text,
    "static-ball-moving-border": _moving_border,
    "static-ball": lambda: scene_gif(BALL.with_thing(y=fixed(0.5))),
    "huge-canvas": _huge,
    "padded-file": _padded_bytes,
    "transparent-background": _transparent,
    "ball-in-every-second-frame": _empty_frames,
    "red-glow": _gradient,
    "loop-that-does-not-close": lambda: scene_gif(
        replace(BALL.with_thing(y=wave(0.1, 0.9, 0.25), radius=fixed(0.02)), stretch=1.2)
    ),
    "speck-that-jumps": lambda: scene_gif(
        replace(BALL.with_thing(y=wave(0.1, 0.9, 0.25), radius=fixed(0.015)), stretch=1.2, smooth=False)
    ),
    "two-and-two-thirds-of-a-swing": lambda: scene_gif(replace(BALL.with_thing(y=wave(0.2, 0.8, 0.25)), stretch=8 / 3)),
    "circle-on-a-wide-canvas": lambda: scene_gif(
        replace(BALL.with_thing(x=ring(0.5, 0.05), y=ring(0.5, 0.25, 0.25), radius=fixed(0.12)), size=(500, 100))
    ),
    "speck": lambda: scene_gif(BALL.with_thing(radius=fixed(0.012))),
}


def main() -> None:
    """Writes the corpus."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, make in CHEATS.items():
        (FOLDER / f"{name}.gif").write_bytes(make())


if __name__ == "__main__":
    main()
