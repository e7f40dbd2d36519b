# 24 a late writer that would swap the GIF
# verdict: error
# verdict(root weak limits-only): ok process_limit
"""Writes a good GIF, and leaves a process behind that would swap it."""

import os
import time

from PIL import Image


def make_gif(path):
    Image.new("RGB", (8, 8), "red").save(path)
    if os.fork() == 0:
        time.sleep(0.05)
        with open(path, "wb") as file:
            file.write(b"swapped")
        os._exit(0)
