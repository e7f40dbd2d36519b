# b9 truetype by name with fallback
# verdict: ok
"""A font by name, with a fallback."""

from PIL import Image, ImageDraw, ImageFont


def make_gif(path):
    try:
        font = ImageFont.truetype("no-such-font.ttf", 12)
    except OSError:
        font = ImageFont.load_default()
    image = Image.new("RGB", (32, 32), "white")
    ImageDraw.Draw(image).text((2, 2), "hi", fill="black", font=font)
    image.save(path)
