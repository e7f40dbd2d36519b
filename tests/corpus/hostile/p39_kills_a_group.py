# 39 killpg (of a stand-in, a group of its own)
# verdict: error
# verdict(limits-only): output_missing
# says(full no-read-confinement weak): PermissionError
# hits(limits-only): victim
"""Kills a process group."""

import os
import signal


def make_gif(path):
    os.killpg(@VICTIM@, signal.SIGKILL)
