# 83 endless sub-block chain
# verdict: output_bad
"""A chain of data blocks that never ends, and no trailer."""


def make_gif(path):
    start = b"GIF89a\x08\x00\x08\x00\x00\x00\x00,\x00\x00\x00\x00\x08\x00\x08\x00\x00\x02"
    with open(path, "wb") as file:
        file.write(start + (b"\xff" + bytes(255)) * 1000)
