# 36d machine code from the output file, mapped executable
# verdict: error output_bad
# says: Error
"""Maps a file that it wrote as executable code: no new rights, the same filter holds."""

import mmap
import os


def make_gif(path):
    with open(path, "w+b") as file:
        file.write(b"\xc3" * 4096)
        file.flush()
        mmap.mmap(file.fileno(), 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC, flags=mmap.MAP_PRIVATE)
    raise ValueError("Error: mapped, and no wiser")
