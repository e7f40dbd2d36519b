# 82 image data that ends too early: the walk passes it, the decoder must not fill in
# verdict: ok
# measured: truncated
"""A frame of 64x64 with data for a few pixels."""


def make_gif(path):
    with open(path, "wb") as file:
        file.write(b"GIF89a\x40\x00\x40\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff")
        file.write(b",\x00\x00\x00\x00\x40\x00\x40\x00\x00\x02\x02\x4c\x01\x00;")
