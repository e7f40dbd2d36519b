# 17 50 MB out.gif
# verdict: output_too_big
# says: out.gif is larger than 4,194,304 bytes
"""An output far over the limit."""


def make_gif(path):
    with open(path, "wb") as file:
        for _ in range(50):
            file.write(bytes(2**20))
