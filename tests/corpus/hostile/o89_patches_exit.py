# 89 patches os._exit
# verdict: error
# says: ValueError: patched (line
"""Takes away the ways out."""

import os
import signal
import sys


def stay(*args):
    raise RuntimeError("no way out")


os._exit = sys.exit = os.kill = stay


def make_gif(path):
    raise ValueError("patched")
