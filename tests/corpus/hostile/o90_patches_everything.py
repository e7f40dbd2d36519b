# 90 patches builtins, gc, settrace
# verdict: error
# says: ValueError: everything is patched (line
"""Replaces what a careless harness would use to report."""

import builtins
import gc
import sys
import traceback


def trace(*args):
    raise RuntimeError("traced")


def make_gif(path):
    gc.disable()
    builtins.open = builtins.print = builtins.repr = None
    traceback.format_exception = traceback.print_exc = None
    sys.stdout = sys.stderr = sys.excepthook = None
    sys.settrace(trace)
    raise ValueError("everything is patched")
