# 79 screen budget
# verdict: output_bad
# says: more than 200 frames
"""Each frame is allowed, together they unfold to 600 MB."""


def make_gif(path):
    frame = b",\x00\x00\x00\x00\xe8\x03\xe8\x03\x00\x02\x02\x4c\x01\x00"
    with open(path, "wb") as file:
        file.write(b"GIF89a\xe8\x03\xe8\x03\x00\x00\x00" + frame * 201 + b";")
