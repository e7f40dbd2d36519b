# 18 seek to 1 TB, then write
# verdict: error output_too_big output_missing
"""Seeks far beyond the limit, then writes."""


def make_gif(path):
    with open(path, "wb") as file:
        file.seek(10**12)
        file.write(b"x")
