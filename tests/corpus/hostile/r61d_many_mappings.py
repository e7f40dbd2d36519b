# 61d as many mappings as the kernel allows
# verdict: error memory_limit cpu_limit
"""Makes mappings until there are no more: kernel memory that no limit of ours counts."""

import mmap


def make_gif(path):
    kept = []
    for number in range(100_000):
        kept.append(mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=mmap.PROT_READ if number % 2 else mmap.PROT_READ | mmap.PROT_WRITE))
    raise ValueError("made them all")
