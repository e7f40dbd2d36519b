# 61b anonymous shared memory
# verdict: error
# verdict(weak limits-only): memory_limit error
# says(full no-read-confinement): PermissionError
# limits: roomy
"""Fills shared memory that is no file."""

import mmap


def make_gif(path):
    kept = []
    for _ in range(60):
        kept.append(mmap.mmap(-1, 8 * 2**20))
        kept[-1].write(b"x" * (8 * 2**20))
