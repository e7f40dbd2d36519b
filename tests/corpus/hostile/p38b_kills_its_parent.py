# 38b kill the parent itself
# verdict: error
# says: PermissionError
# only: full no-read-confinement
"""Kills the process that started it."""

import os
import signal


def make_gif(path):
    os.kill(os.getppid(), signal.SIGKILL)
