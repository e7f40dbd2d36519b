# 126 huge pages do not count as resident memory
# verdict: error output_missing memory_limit
"""Asks for 64 MB of huge pages."""

import mmap


def make_gif(path):
    pages = mmap.mmap(-1, 64 * 2**20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40000)
    pages[:: 2**21] = b"x" * 32
