# 45 sched_setaffinity of a stand-in
# verdict: error
# verdict(weak limits-only): output_missing error
# says(full no-read-confinement): PermissionError
# may(weak limits-only): victim
"""Puts somebody on one core."""

import os


def make_gif(path):
    os.sched_setaffinity(@VICTIM@, {0})
