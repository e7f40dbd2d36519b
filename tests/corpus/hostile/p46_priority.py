# 46 setpriority -20
# verdict: error
# says(full no-read-confinement): PermissionError
# verdict(root weak limits-only): error output_missing
"""Wants to go before everybody else."""

import os


def make_gif(path):
    os.setpriority(os.PRIO_PROCESS, 0, -20)
