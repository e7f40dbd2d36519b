# 39b SIGSTOP: not dead, but as good as
# verdict: error
# verdict(limits-only): output_missing
# says(full no-read-confinement weak): PermissionError
# hits(limits-only): victim
"""Stops a process of the same user."""

import os
import signal


def make_gif(path):
    os.kill(@VICTIM@, signal.SIGSTOP)
