# 81 frame outside the screen
# verdict: output_bad
"""A frame that reaches outside the screen."""


def make_gif(path):
    frame = b",\x05\x00\x05\x00\x08\x00\x08\x00\x00\x02\x02\x44\x01\x00"
    with open(path, "wb") as file:
        file.write(b"GIF89a\x08\x00\x08\x00\x00\x00\x00" + frame + b";")
