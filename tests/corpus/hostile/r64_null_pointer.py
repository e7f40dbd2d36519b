# 64 NULL dereference
# verdict: crashed
# says: SIGSEGV
"""A crash of the interpreter itself."""

import ctypes


def make_gif(path):
    ctypes.string_at(0)
