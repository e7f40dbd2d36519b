# 38 kill somebody (a stand-in for the parent)
# verdict: error
# verdict(limits-only): output_missing
# says(full no-read-confinement weak): PermissionError
# hits(limits-only): victim
"""Kills a process of the same user."""

import os
import signal


def make_gif(path):
    os.kill(@VICTIM@, signal.SIGKILL)
