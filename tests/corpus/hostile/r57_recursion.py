# 57 recursion 10^9, a heap bomb
# verdict: memory_limit cpu_limit error crashed
# limits: roomy
"""Recursion without end and without Python's own limit: a memory bomb since frames live on the heap.

Where no frame can be had before the watch sees how much there is, CPython 3.11.2 ends it with a SystemError, as it forgets
to set MemoryError, and CPython 3.13.0 with SIGSEGV.
"""

import sys


def deeper(n):
    return deeper(n + 1)


def make_gif(path):
    sys.setrecursionlimit(10**9)
    deeper(0)
