import math
from PIL import Image, ImageDraw

def make_gif(path):
    frames = []
    for i in range(24):
        image = Image.new('RGB', (96, 96), 'white')
        x, y = (48 + 24 * math.cos(2 * math.pi * i / 24), 48 + 24 * math.sin(2 * math.pi * i / 24))
        ImageDraw.Draw(image).rectangle((x - 9, y - 9, x + 9, y + 9), fill='black')
        frames.append(image)
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=40, loop=0)
