# b4 numpy, font, filter
# verdict: ok
"""numpy, a font and a filter."""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont


def make_gif(path):
    noise = np.random.randint(0, 255, (32, 32, 3), dtype=np.uint8)
    image = Image.fromarray(noise).filter(ImageFilter.GaussianBlur(1))
    ImageDraw.Draw(image).text((2, 2), "hi", font=ImageFont.load_default())
    image.save(path)
