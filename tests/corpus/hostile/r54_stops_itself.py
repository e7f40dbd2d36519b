# 54 SIGSTOP itself
# verdict: wall_limit error
# limits: brief
"""Stops itself: nobody will continue it."""

import os
import signal


def make_gif(path):
    os.kill(os.getpid(), signal.SIGSTOP)
