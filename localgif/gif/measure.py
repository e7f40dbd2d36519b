"""Bytes of a GIF -> frames -> numbers, in a confined process."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import GifImagePlugin, Image, ImageFile

from localgif.gif import looks

#: Largest frame that Pillow decodes, pixels.
_MAX_PIXELS = 1024 * 1024

#: Colours of the first frame are counted up to this number.
MAX_COLOURS = 4096


def main(data: bytes) -> dict[str, object]:
    """The fields of records.Measurements for one GIF.

    Raises:
        ValueError: Pillow cannot decode it; the message says why.
    """
    with opened(data) as image:
        found = _numbers(_decoded(image, number) for number in positions(image))
    return {"width": image.width, "height": image.height, "size": len(data), "loop": image.info.get("loop"), **found}


# --- decoding, also for sheet.py ---------------------------------------------------------------------------------


@contextlib.contextmanager
def opened(data: bytes) -> Iterator[GifImagePlugin.GifImageFile]:
    """Open a GIF with Pillow's own limits set; a picture that is too large is an error.

    Raises:
        ValueError: Pillow cannot open it, or failed on a frame; the message says why.
    """
    Image.MAX_IMAGE_PIXELS = _MAX_PIXELS
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with refusing():
            image = Image.open(io.BytesIO(data), formats=["GIF"])
        assert isinstance(image, GifImagePlugin.GifImageFile)
        yield image


@contextlib.contextmanager
def refusing() -> Iterator[None]:
    """Turn any exception into a ValueError: Pillow can raise any type for a file that is broken on purpose."""
    try:
        yield
    except Exception as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def positions(image: GifImagePlugin.GifImageFile) -> Iterator[int]:
    """Seek each frame of the GIF in turn, and yield the frame's number from 0.

    Raises:
        ValueError: A frame cannot be reached, or is not as large as the first.
    """
    number, size = 0, image.size
    while True:
        with refusing():
            try:
                image.seek(number)
            except EOFError:
                return
        if image.size != size:  # Pillow enlarges the picture if it finds a frame that reaches outside
            raise ValueError(f"frame {number + 1} changes the size of the picture to {image.width}x{image.height}")
        yield number
        number += 1


def has_alpha(image: Image.Image) -> bool:
    """Whether some pixels of the current frame may be transparent."""
    return image.mode == "RGBA" or (image.mode == "P" and "transparency" in image.info)


# --- numbers -----------------------------------------------------------------------------------------------------


class _Frame(NamedTuple):
    """One decoded frame."""

    grey: npt.NDArray[np.uint8]
    """(height, width), 0-255."""
    digest: tuple[int, int]
    """Hashes of the grey pixels and of the colours in `small`; valid only inside one process."""
    colours: int | None
    """Different RGB colours; counted only in the first frame."""
    delay_ms: int
    small: npt.NDArray[np.uint8]
    """RGB of the pixels that looks.py examines, (height, width, 3), 0-255."""
    seen: looks.Look


def _decoded(image: GifImagePlugin.GifImageFile, number: int) -> _Frame:
    with refusing():
        rgb = image if image.mode == "RGB" else image.convert("RGB")
        colours = None
        if number == 0:
            counted = rgb.getcolors(maxcolors=MAX_COLOURS)
            colours = MAX_COLOURS if counted is None else len(counted)
        small = np.asarray(_reduced(rgb))
        grey = np.asarray(image.convert("L"))
        alpha = np.asarray(_reduced(image.convert("RGBA").getchannel("A"))) if has_alpha(image) else None
        return _Frame(
            grey=grey,
            # Compared only within one file, so Python's own hash is enough. It is four times as fast as sha1.
            digest=(hash(grey.tobytes()), hash(small.tobytes())),
            colours=colours,
            delay_ms=round(image.info.get("duration", 0)),
            small=small,
            seen=looks.look(looks.codes(small, alpha), small),
        )


def _reduced(image: Image.Image) -> Image.Image:
    """A large picture reduced to every second, third ... pixel; averaging pixels would invent colours."""
    every = looks.reduced(max(image.size))
    if every == 1:
        return image
    width, height = (max(1, side // every) for side in image.size)
    return image.resize((width, height), Image.Resampling.NEAREST)


def _numbers(frames: Iterator[_Frame]) -> dict[str, object]:
    """The measurements of the frames, read once in order."""
    first = previous = next(frames)
    background = int(np.bincount(first.grey.ravel()).argmax())
    delays, digests, steps, ink = [first.delay_ms], {first.digest}, [], [_ink(first, background)]
    colour_steps, seen = [], [first.seen]
    for frame in frames:
        colour_steps.append(_colour_difference(previous, frame))
        seen.append(frame.seen)
        ink.append(_ink(frame, background))
        steps.append(_difference(previous.grey, frame.grey))
        delays.append(frame.delay_ms)
        digests.add(frame.digest)
        previous = frame
    return {
        "frames": len(delays),
        "delays_ms": delays,
        "motion": sum(steps) / len(steps) if steps else 0.0,
        "gap": float(_difference(previous.grey, first.grey)),
        "colours": first.colours,
        "distinct_frames": len(digests),
        "steps": [float(step) for step in steps],
        "ink": ink,
        "colour_steps": [*colour_steps, _colour_difference(previous, first)],
        "looks": {
            "background": [each.background for each in seen],
            "cover": [each.cover for each in seen],
            "pieces": [each.pieces for each in seen],
            "ground": [each.ground for each in seen],
        },
    }


def _ink(frame: _Frame, background: int) -> float:
    """Share of the pixels whose grey level differs from the background's."""
    return float(np.count_nonzero(frame.grey != background) / frame.grey.size)


def _colour_difference(one: _Frame, other: _Frame) -> float:
    """Mean absolute difference of two frames over the pixels and channels of `small`, 0 to 1."""
    return round(_difference(one.small, other.small) / (255 * one.small.size), 7)


def _difference(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> int:
    """Summed absolute difference."""
    # In bytes: four times as fast as through wider signed numbers, with the same result. The sum of _MAX_PIXELS bytes,
    # or of all channels of `small`, is below 2**32.
    difference = np.maximum(one, other)
    difference -= np.minimum(one, other)
    return int(difference.sum(dtype=np.uint32))
