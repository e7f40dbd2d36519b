# b1 plain
# verdict: ok
"""What most programs look like."""

from PIL import Image, ImageDraw


def make_gif(path):
    frames = []
    for step in range(12):
        frame = Image.new("RGB", (64, 64), "white")
        ImageDraw.Draw(frame).ellipse((step * 4, 20, step * 4 + 16, 36), fill="red")
        frames.append(frame)
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=80, loop=0)


if __name__ == "__main__":
    raise SystemExit("the guarded part must not run")
