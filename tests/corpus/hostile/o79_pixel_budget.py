# 79 pixel budget
# verdict: output_bad
# says: more than 50,000,000 pixels
"""Each frame is allowed, together they unfold to 180 MB."""


def make_gif(path):
    frame = b",\x00\x00\x00\x00\xe8\x03\xe8\x03\x00\x02\x02\x4c\x01\x00"
    with open(path, "wb") as file:
        file.write(b"GIF89a\xe8\x03\xe8\x03\x00\x00\x00" + frame * 60 + b";")
