# 57 recursion 10^9, a heap bomb
# verdict: memory_limit cpu_limit error
# limits: roomy
"""Recursion without end and without Python's own limit: a memory bomb since frames live on the heap.

CPython 3.11.2 ends it with a SystemError: it forgets to set MemoryError when no frame can be had.
"""

import sys


def deeper(n):
    return deeper(n + 1)


def make_gif(path):
    sys.setrecursionlimit(10**9)
    deeper(0)
