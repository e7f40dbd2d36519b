# 121 64 KB of beginnings of terminal sequences without an end: who cleans them up must not need their square
# verdict: error
# says: ValueError: slow to read
"""Prints what is expensive to make safe."""

import os


def make_gif(path):
    for text in ("\x9d", "\x9d\x9b", "\x1b]", "\x1b[", "\x1b[0", "\x9b ", "\u202e", "\ud800"):
        os.write(1, text.encode("utf-8", "surrogatepass") * 20_000)
    os.write(1, "\x9d".encode() * 32_000)
    raise ValueError("slow to read")
