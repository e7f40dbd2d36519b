# 61 memfd_create: memory outside of RLIMIT_AS and of the scratch directory
# verdict: error
# says(full no-read-confinement): PermissionError
# verdict(weak limits-only): error memory_limit disk_limit output_missing
"""Fills 20 anonymous files."""

import os


def make_gif(path):
    kept = []
    for number in range(20):
        kept.append(os.memfd_create(str(number)))
        os.write(kept[-1], bytes(3 * 2**20))
