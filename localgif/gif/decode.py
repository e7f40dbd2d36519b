"""From the bytes of a GIF to its frames, one by one. Runs only in a confined process: a stranger's file is a risk."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator

from PIL import GifImagePlugin, Image, ImageFile

#: Largest frame that is decoded, pixels.
MAX_PIXELS = 1024 * 1024


@contextlib.contextmanager
def opened(data: bytes) -> Iterator[GifImagePlugin.GifImageFile]:
    """The GIF, with Pillow's own limits set; inside, a picture that is too large is an error.

    Raises:
        ValueError: Pillow cannot open it; the message says why.
    """
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            image = Image.open(io.BytesIO(data), formats=["GIF"])
        except Exception as error:
            raise bad(error) from error
        assert isinstance(image, GifImagePlugin.GifImageFile)
        yield image


def positions(image: GifImagePlugin.GifImageFile) -> Iterator[int]:
    """Puts the GIF on each of its frames in turn, and gives the frame's number from 0.

    Raises:
        ValueError: A frame cannot be reached, or is not as large as the first.
    """
    number, size = 0, image.size
    while True:
        try:
            image.seek(number)
        except EOFError:
            return
        except Exception as error:
            raise bad(error) from error
        if image.size != size:  # Pillow enlarges the picture when it finds a frame that reaches outside
            raise ValueError(f"frame {number + 1} changes the size of the picture to {image.width}x{image.height}")
        yield number
        number += 1


def bad(error: Exception) -> ValueError:
    """Whatever type Pillow raised: on a file that is broken or made to break it, any can come."""
    return ValueError(f"{type(error).__name__}: {error}")
