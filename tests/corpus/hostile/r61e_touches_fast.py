# 61e fills memory as fast as it can, so that a slow watch comes late
# verdict: memory_limit
# limits: roomy
"""Takes all that the address space holds in one go, and touches it."""


def make_gif(path):
    kept = []
    size = 256 * 2**20
    while size:
        try:
            kept.append(bytearray(size))
        except MemoryError:
            size //= 2
            if size < 2**16:
                raise
