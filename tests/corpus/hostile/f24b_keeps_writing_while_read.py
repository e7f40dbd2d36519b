# 24b a mapping of the output outlives the descriptor, not the process
# verdict: error
# verdict(weak limits-only): ok
# says(full no-read-confinement): PermissionError
"""Maps its good output and leaves the mapping open when it ends."""

import mmap

from PIL import Image

kept = []


def make_gif(path):
    Image.new("P", (8, 8)).save(path)
    with open(path, "r+b") as file:
        kept.append(mmap.mmap(file.fileno(), 0))
    kept[0][:6] = b"GIF89a"
